//! One connection, from accept to the relay plane.

use std::{
    fmt::Display,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    connect::connect,
    counters::Refusal,
    install::{self, Failed},
    records::{Incoming, Reading},
    runtime::Local,
    socket::Socket,
};
use crate::{
    audit::Event,
    config::{Config, OnTruncation, TlsVersion},
    connection::{Info, Path, Place, Traffic},
    limits,
    relay::{Handoff, core::Settings, send_alert},
    snapshot::{Endpoint, Listener, Snapshot},
    sys::socket::{self, receive},
    tls::{Established, Presented, Progress, Session, SessionError},
};

pub struct Accepted {
    pub fd: OwnedFd,
    pub peer: Option<SocketAddr>,
    pub at: Instant,
    pub endpoint: Endpoint,
    /// Who served the endpoint then.
    pub listener: Arc<Listener>,
    pub place: Place,
}

const ALERT_INTERNAL_ERROR: u8 = 80;

pub async fn serve(local: &Local, accepted: Accepted) {
    let snapshot = local.shared.snapshot.load_full();
    let Accepted {
        fd,
        peer,
        at,
        endpoint,
        listener: then,
        place,
    } = accepted;
    // A listener that was removed in the meantime serves those that it has accepted.
    let listener = snapshot.listener_at(&endpoint).unwrap_or(&then);
    let (config, kernel) = (&snapshot.config, &local.shared.kernel);
    let offload = config.runtime.offload;
    let fallback = install::prepare(fd.as_fd(), endpoint.is_tcp(), offload, kernel);
    let Ok(client) = Socket::new(fd, local.driver) else {
        return local.counters.refusal(Refusal::Socket).add(1);
    };

    let reading = match fallback {
        None => Reading::Exactly,
        Some(_) => Reading::Ahead,
    };
    let Some((established, ahead)) =
        handshake(local, &client, listener, config, peer, at, reading).await
    else {
        return;
    };
    local.counters.complete(&established.info, at.elapsed());
    let audit = &local.shared.audit;
    if audit.is_on()
        && let Some(event) = Event::handshake_ok(&listener.name, peer, &established.info)
    {
        audit.record(&event);
    }

    let session = established.info.clone();
    let client_records = established.tx.keys.sequence();
    let client_waits = !ahead.is_empty();
    let (client_tls, path) = match install::install(
        client.as_fd(),
        established,
        ahead,
        fallback,
        offload,
        kernel,
    ) {
        Ok(installed) => installed,
        Err(failed) => return refuse(local, &client, listener, peer, failed).await,
    };

    let began = Instant::now();
    let Some((backend, target)) = connect(
        &listener.backend,
        local.driver,
        config.limits.connect_timeout,
    )
    .await
    else {
        local.counters.refusal(Refusal::BackendUnavailable).add(1);
        tracing::warn!(listener = %listener.name, backend = %listener.backend.name, "no server of the backend can be reached");
        send_alert(client.as_fd(), client_tls, ALERT_INTERNAL_ERROR);
        return farewell(&client).await;
    };
    listener.backend.durations.record(began.elapsed());
    local.counters.path(path).add(1);

    let info = Info {
        id: local.shared.next_id.fetch_add(1, Ordering::Relaxed),
        accepted: at,
        peer,
        listener: Arc::clone(&listener.name),
        session,
        backend: Arc::clone(&listener.backend.name),
        server: Arc::clone(&target.server),
        backend_local: socket::local_address(backend.as_fd()),
        began: path,
        traffic: Traffic::begins(path),
    };
    let updates = info.session.version == TlsVersion::Tls13
        && (path != Path::Kernel || kernel.can_update_keys());
    let settings = settings(&snapshot, listener, updates);
    let Some(client) = client.into_fd() else {
        return local.counters.refusal(Refusal::Socket).add(1);
    };
    hand_over(
        local,
        Handoff {
            client,
            client_tls,
            client_waits,
            backend,
            client_records,
            settings,
            info,
            place,
        },
    )
    .await;
}

/// The handshake, within its deadline. `None`: it failed, and that was counted and said.
async fn handshake(
    local: &Local,
    client: &Socket,
    listener: &Listener,
    config: &Config,
    peer: Option<SocketAddr>,
    accepted: Instant,
    reading: Reading,
) -> Option<(Established, Vec<u8>)> {
    let deadline = tokio::time::Instant::from_std(accepted + config.limits.handshake_timeout);
    let mut presented = Presented::default();
    let exchanged = exchange(client, listener, reading, &mut presented);
    let exchanged = tokio::time::timeout_at(deadline, exchanged).await;
    let audit = |reason: &str, detail: &dyn Display| {
        if listener.asks_certificate && local.shared.audit.is_on() {
            let name = &listener.name;
            let event = Event::handshake_failed(name, peer, reason, detail, &presented);
            local.shared.audit.record(&event);
        }
    };
    match exchanged {
        Ok(Ok(established)) => Some(established),
        Ok(Err(error)) => {
            if let Some(counter) = local.counters.failure(error.index()) {
                counter.add(1);
            }
            audit(error.reason(), &error);
            tracing::info!(
                listener = %listener.name,
                peer = %Peer(peer),
                reason = error.reason(),
                "handshake failed: {error}"
            );
            farewell(client).await;
            None
        }
        Err(_elapsed) => {
            client.abort();
            local.counters.timeouts.add(1);
            audit("timeout", &"it was not complete in time");
            tracing::info!(
                listener = %listener.name,
                peer = %Peer(peer),
                reason = "timeout",
                "handshake failed: it was not complete within {:?}",
                config.limits.handshake_timeout
            );
            None
        }
    }
}

/// What was agreed, and what was read of the client's data meanwhile, still encrypted. Where it fails,
/// `presented` is what is known of the client.
async fn exchange(
    client: &Socket,
    listener: &Listener,
    reading: Reading,
    presented: &mut Presented,
) -> Result<(Established, Vec<u8>), SessionError> {
    let mut session = Session::new(Arc::clone(&listener.tls))?;
    let (mut incoming, mut outgoing) = (Incoming::default(), Vec::new());
    // The client's Finished is an answer to something.
    let mut next = Reading::Ahead;
    loop {
        let progress = session.advance(&mut incoming.bytes, &mut outgoing);
        if progress.is_err() {
            *presented = session.take_presented();
        }
        if !outgoing.is_empty() {
            let sent = match progress {
                Ok(Progress::Done) if session.ends_with_tickets() => {
                    client.send_with_next(&outgoing).await
                }
                _ => client.send_all(&outgoing).await,
            };
            outgoing.clear();
            next = reading;
            // Why the handshake failed says more than that its alert could not be sent.
            if progress.is_ok() {
                sent.map_err(closed)?;
            }
        }
        match progress? {
            Progress::NeedRecord => {
                if !incoming.read(client, next).await.map_err(closed)? {
                    return Err(SessionError::Closed);
                }
            }
            Progress::Done => break,
        }
    }
    let ahead = incoming.finish(client).map_err(closed)?;
    if reading == Reading::Exactly && !ahead.is_empty() {
        return Err(SessionError::ProtocolError(
            "the client sent its Finished before it could know the server's".into(),
        ));
    }
    match session.into_established(&mut outgoing) {
        Ok(established) => Ok((established, ahead)),
        Err(error) => {
            let _ = client.send_all(&outgoing).await;
            Err(error)
        }
    }
}

/// A client that is gone is gone, whatever the socket calls it.
fn closed(_: io::Error) -> SessionError {
    SessionError::Closed
}

fn settings(snapshot: &Snapshot, listener: &Listener, client_updates: bool) -> Settings {
    let limits = &snapshot.config.limits;
    Settings {
        idle_timeout: limits.idle_timeout,
        half_closed_timeout: limits.half_closed_timeout,
        lifetime: limits.lifetime,
        truncation_is_clean: listener.on_truncation == OnTruncation::Close,
        records_per_key: limits.records_per_key,
        client_updates,
    }
}

/// Other handshakes that are as far are handed over with it, see [`crate::relay::RelayThread::adopt`].
async fn hand_over(local: &Local, handoff: Handoff) {
    if let Some(relay) = local.shared.relays.iter().min_by_key(|relay| relay.load())
        && relay.adopt(handoff)
    {
        tokio::task::yield_now().await;
        relay.wake();
    }
}

async fn refuse(
    local: &Local,
    client: &Socket,
    listener: &Listener,
    peer: Option<SocketAddr>,
    failed: Failed,
) {
    let refusal = match failed {
        Failed::Refused(refusal, tls, fallback) => {
            tracing::warn!(listener = %listener.name, peer = %Peer(peer), "refused: kernel TLS is required, but {fallback}");
            send_alert(client.as_fd(), tls, ALERT_INTERNAL_ERROR);
            refusal
        }
        Failed::HalfInstalled(error) => {
            tracing::error!(listener = %listener.name, peer = %Peer(peer), "closed: the kernel took the keys of one direction only: {error}");
            Refusal::HalfInstalled
        }
    };
    local.counters.refusal(refusal).add(1);
    farewell(client).await;
}

/// Lets an alert arrive: closing with unread bytes would reset the connection and lose it.
async fn farewell(client: &Socket) {
    let _ = socket::shutdown_write(client.as_fd());
    let mut scratch = [0; 4096];
    let mut left = limits::HANDSHAKE_BYTES_MAX;
    let drain = async {
        while left > 0 {
            match client.read(|fd| receive(fd, &mut scratch)).await {
                Ok(0) | Err(_) => break,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    };
    if tokio::time::timeout(limits::REFUSAL_LINGER, drain)
        .await
        .is_err()
    {
        client.abort();
    }
}

struct Peer(Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}
