//! Whether kernel TLS is worth it: what bulk costs there, and what it costs in user space.
//!
//! It depends on the machine. Both have the processor's instructions for AES in the end, but not of
//! the same age: a kernel that is older than the processor, one without its fast ciphers, or one that
//! hands TCP a record at a time, can take more for encryption than it saves in copies. What a network
//! card does for it cannot be seen here.

use std::{fmt, io, time::Instant};

use super::{deadline::Deadline, loopback::Loopback};
use crate::{
    limits::{PROBE_COST_BYTES, PROBE_COST_TIMEOUT, PROBE_WARM_UP_BYTES, RECORD_PAYLOAD_MAX},
    relay::{
        ClientTls, InitialPath, Moves,
        core::Way,
        cost::{Ends, Stream, measure},
    },
    sys::random,
    tls::{Cipher, ContentType, DirectionKeys, Sealer, TrafficSecret},
};

/// What bulk takes in kernel TLS, divided by what it takes in user space. `None`: not measured.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub cipher: Cipher,
    pub to_clients: Option<f64>,
    pub from_clients: Option<f64>,
}

impl Cost {
    pub fn is_known(&self) -> bool {
        self.to_clients.is_some() || self.from_clients.is_some()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times =
            |cost: Option<f64>| cost.map_or_else(|| "?".to_owned(), |cost| format!("{cost:.2}x"));
        write!(
            f,
            "{} {} to clients, {} from them",
            self.cipher,
            times(self.to_clients),
            times(self.from_clients)
        )
    }
}

/// The best of several rounds counts: whatever disturbs one makes it longer.
const ROUNDS: usize = 3;
/// More than that is dearer without another round.
const CLEARLY: f64 = 2.0;

/// Of each of `ciphers`, which the kernel takes over.
pub fn costs(ciphers: impl Iterator<Item = Cipher>) -> Vec<Cost> {
    let until = Instant::now() + PROBE_COST_TIMEOUT;
    let Ok(loopback) = Loopback::new() else {
        return Vec::new();
    };
    let cost = |cipher, way| ratio(&loopback, cipher, way, until).ok().flatten();
    ciphers
        .map(|cipher| Cost {
            cipher,
            to_clients: cost(cipher, Way::Down),
            from_clients: cost(cipher, Way::Up),
        })
        .collect()
}

/// `Ok(None)`: the kernel did not take the keys.
fn ratio(loopback: &Loopback, cipher: Cipher, way: Way, until: Instant) -> io::Result<Option<f64>> {
    let secret = random_secret(cipher)?;
    let wire = match way {
        Way::Up => records(&secret)?,
        Way::Down => vec![0x5a; BYTES],
    };
    let stream = Stream {
        way,
        wire: &wire,
        bytes: BYTES as u64,
        warm_up: PROBE_WARM_UP_BYTES as u64,
    };
    let (mut kernel, mut user) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        for (moves, least) in [(Moves::default(), &mut user), (BOTH, &mut kernel)] {
            let tls = client_tls(&secret, moves)?;
            let (spent, in_kernel) = measure(&stream, tls, ends(loopback, until)?, until)?;
            if in_kernel != (moves == BOTH) {
                return Ok(None);
            }
            *least = f64::min(spent, *least);
        }
        if kernel > CLEARLY * user {
            break;
        }
    }
    Ok(Some(kernel / user).filter(|cost| cost.is_finite()))
}

const BYTES: usize = PROBE_WARM_UP_BYTES + PROBE_COST_BYTES;

const BOTH: Moves = Moves {
    transmit: true,
    receive: true,
    no_padding: false,
    updates: false,
    announces: false,
};

struct Secret {
    cipher: Cipher,
    bytes: Vec<u8>,
}

fn random_secret(cipher: Cipher) -> io::Result<Secret> {
    let length = match cipher {
        Cipher::Aes128Gcm | Cipher::ChaCha20Poly1305 => 32,
        Cipher::Aes256Gcm => 48,
    };
    let mut bytes = vec![0; length];
    random::fill(&mut bytes)?;
    Ok(Secret { cipher, bytes })
}

/// The keys that both ends use; the same for both directions, which never use them both here.
fn keys(secret: &Secret) -> io::Result<DirectionKeys> {
    let mut secret = TrafficSecret::new(secret.cipher, &secret.bytes).map_err(defect)?;
    let keys = secret.update().map_err(defect)?;
    Ok(DirectionKeys {
        keys,
        next: Some(Box::new(secret)),
    })
}

fn client_tls(secret: &Secret, moves: Moves) -> io::Result<Box<ClientTls>> {
    Ok(Box::new(ClientTls {
        transmit: keys(secret)?,
        receive: keys(secret)?,
        path: InitialPath::User {
            unopened: Vec::new(),
        },
        moves,
    }))
}

/// What a client sends.
fn records(secret: &Secret) -> io::Result<Vec<u8>> {
    let mut sealer = Sealer::new(&keys(secret)?.keys).map_err(defect)?;
    let mut wire = Vec::new();
    for _ in 0..BYTES / RECORD_PAYLOAD_MAX {
        sealer
            .seal(
                ContentType::ApplicationData,
                &[0x5a; RECORD_PAYLOAD_MAX],
                &mut wire,
            )
            .map_err(defect)?;
    }
    Ok(wire)
}

fn ends(loopback: &Loopback, until: Instant) -> io::Result<Ends> {
    let deadline = Deadline::after(until.saturating_duration_since(Instant::now()));
    let (client, backend) = (loopback.pair(deadline)?, loopback.pair(deadline)?);
    Ok(Ends {
        client: client.server,
        client_peer: client.client,
        backend: backend.client,
        backend_peer: backend.server,
    })
}

fn defect(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
