//! What the relay of bulk costs on this machine: a connection of the relay plane between sockets of
//! this process, as those of clients are served, and how long its turns take, in which nothing waits.
//!
//! By the clock, and not by that of the thread's CPU time, which some kernels count in ticks; the caller
//! repeats it and takes the least, so that what disturbs one run does not decide.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ClientTls, Handoff, RelayCounters,
    connection::{Connection, Workshop},
    core::{Settings, Side, Tick, Way},
    pool::Pool,
};
use crate::{
    config::Server,
    connection::{Admission, Fallback, Info, Path, Traffic},
    limits,
    sys::socket,
    tls::SessionInfo,
};

/// The two legs, and who is at their other ends.
pub struct Ends {
    pub client: OwnedFd,
    pub client_peer: OwnedFd,
    pub backend: OwnedFd,
    pub backend_peer: OwnedFd,
}

/// What goes one way.
pub struct Stream<'a> {
    pub way: Way,
    /// As its source sends it.
    pub wire: &'a [u8],
    /// Bytes of the stream in it, and how many of these go before the clock starts: until the relay
    /// is in full swing.
    pub bytes: u64,
    pub warm_up: u64,
}

/// Nanoseconds that the relay took for a byte behind `warm_up`, and whether the kernel made the records
/// at the end.
///
/// # Errors
/// TimedOut: not all of them arrived before `until`. Others are those of the sockets.
pub fn measure(
    stream: &Stream<'_>,
    tls: Box<ClientTls>,
    ends: Ends,
    until: Instant,
) -> io::Result<(f64, bool)> {
    let Ends {
        client,
        client_peer,
        backend,
        backend_peer,
    } = ends;
    let handoff = handoff(tls, client, backend)?;
    let mut connection = Connection::new(handoff, Tick::default())
        .map_err(|error| io::Error::other(error.to_string()))?;
    let (source, destination) = match stream.way {
        Way::Up => (&client_peer, &backend_peer),
        Way::Down => (&backend_peer, &client_peer),
    };
    let (mut pool, counters) = (Pool::default(), RelayCounters::default());
    let mut scratch = vec![0; limits::COPY_BYTES];
    let mut received = vec![0; limits::COPY_BYTES];
    let (mut rest, mut spent, mut counted) = (stream.wire, Duration::ZERO, 0);
    let is_over = |connection: &Connection| {
        connection.relay.bytes(stream.way) >= stream.bytes && !connection.relay.holds(stream.way)
    };
    while !is_over(&connection) {
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        rest = feed(source.as_fd(), rest)?;
        for side in [Side::Client, Side::Backend] {
            connection.relay.ready(side, true, true, false, false);
        }
        let before = connection.relay.bytes(stream.way);
        let began = Instant::now();
        let mut workshop = Workshop {
            pool: &mut pool,
            scratch: &mut scratch,
            counters: &counters,
        };
        connection.run(Tick::default(), &mut workshop);
        // A turn counts as a whole.
        if before >= stream.warm_up {
            spent += began.elapsed();
            counted += connection.relay.bytes(stream.way) - before;
        }
        while unless_blocked(socket::receive(destination.as_fd(), &mut received))? > 0 {}
    }
    let bytes = u32::try_from(counted).map_or(f64::NAN, f64::from);
    let nanoseconds = spent.as_secs_f64() * 1e9;
    Ok((nanoseconds / bytes, connection.info.path() == Path::Kernel))
}

/// Sends what there is room for; returns what is left.
fn feed<'a>(to: BorrowedFd<'_>, mut rest: &'a [u8]) -> io::Result<&'a [u8]> {
    while !rest.is_empty() {
        match unless_blocked(socket::send(to, rest))? {
            0 => break,
            count => rest = rest.get(count..).unwrap_or_default(),
        }
    }
    Ok(rest)
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// As the handshake plane hands a connection over.
fn handoff(tls: Box<ClientTls>, client: OwnedFd, backend: OwnedFd) -> io::Result<Handoff> {
    let name: Arc<str> = Arc::from("");
    let place = Admission::new()
        .admit(1)
        .ok_or(io::ErrorKind::QuotaExceeded)?;
    let began = Path::User(Fallback::UntilBulk);
    let session = SessionInfo {
        version: tls.transmit.keys.version(),
        suite: "",
        cipher: tls.transmit.keys.cipher(),
        group: None,
        sni: None,
        alpn: None,
        resumed: false,
        client: None,
    };
    let timeout = Duration::from_secs(3600);
    Ok(Handoff {
        client,
        client_tls: tls,
        client_waits: false,
        backend,
        client_records: 0,
        settings: Settings {
            idle_timeout: timeout,
            half_closed_timeout: timeout,
            lifetime: None,
            truncation_is_clean: false,
            records_per_key: u64::MAX,
            client_updates: false,
        },
        info: Info {
            id: 0,
            accepted: Instant::now(),
            peer: None,
            listener: Arc::clone(&name),
            session,
            backend: name,
            server: Arc::new(Server::Name {
                host: String::new(),
                port: 0,
            }),
            backend_local: None,
            began,
            traffic: Traffic::begins(began),
        },
        place,
    })
}
