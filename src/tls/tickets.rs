//! Session tickets: resumption without a session cache, for TLS 1.2 and 1.3.
//!
//! A ticket carries all of its session, the client's certificate included, so it must be good only
//! where that certificate would be accepted. Hence one set of keys for each listener and trust (mode
//! and set of CAs): under another trust a ticket does not decrypt, and the client goes through a
//! full handshake. rustls itself checks that the server name is the same, and each ticket ends with
//! the client certificate that it stands for.
//!
//! Keys are random, live in memory only and rotate every six hours; a ticket is good for twelve at
//! most. A reload that leaves a listener's trust as it was keeps its keys, for as long as some
//! configuration made with them is in use. Processes do not share keys.
//!
//! rustls does not verify a client's certificate again when it resumes; a client that keeps coming
//! back is verified again when its certificate has expired, when the trust changes, or when it stays
//! away for longer than its ticket lives.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rustls::{
    Error,
    crypto::{GetRandomFailed, aws_lc_rs::Ticketer},
    server::ProducesTickets,
    ticketer::TicketRotator,
};

use super::{capture, certificates::unix_now};
use crate::limits;

/// Keys of all listeners; one for the life of the process.
pub struct TicketKeys {
    /// Seconds until new tickets are made with the next key.
    rotation: u32,
    /// Weak: keys go when the last configuration that uses them does.
    ticketers: Mutex<HashMap<Scope, Weak<BoundTicketer>>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Scope {
    listener: String,
    trust: [u8; 32],
}

impl TicketKeys {
    pub fn new() -> Self {
        Self::rotating_every(limits::TICKET_KEY_SECONDS)
    }

    pub(super) fn rotating_every(seconds: u32) -> Self {
        TicketKeys {
            rotation: seconds,
            ticketers: Mutex::default(),
        }
    }

    pub(super) fn ticketer(
        &self,
        listener: &str,
        trust: [u8; 32],
    ) -> Result<Arc<dyn ProducesTickets>, Error> {
        let mut ticketers = self
            .ticketers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ticketers.retain(|_, ticketer| ticketer.strong_count() > 0);
        let scope = Scope {
            listener: listener.to_owned(),
            trust,
        };
        if let Some(ticketer) = ticketers.get(&scope).and_then(Weak::upgrade) {
            return Ok(ticketer);
        }
        let ticketer = Arc::new(BoundTicketer {
            inner: TicketRotator::new(self.rotation, one_key)?,
        });
        ticketers.insert(scope, Arc::downgrade(&ticketer));
        Ok(ticketer)
    }
}

impl Default for TicketKeys {
    fn default() -> Self {
        Self::new()
    }
}

/// rustls' own ticketer rotates as well, but not before it is dropped here.
fn one_key() -> Result<Box<dyn ProducesTickets>, GetRandomFailed> {
    match Ticketer::new() {
        Ok(ticketer) => Ok(Box::new(OneKey(ticketer))),
        Err(_) => Err(GetRandomFailed),
    }
}

/// A ticketer that the rotator can own.
#[derive(Debug)]
struct OneKey(Arc<dyn ProducesTickets>);

impl ProducesTickets for OneKey {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}

/// Puts the expiry of the client's certificate in front of what rustls wants kept.
#[derive(Debug)]
struct BoundTicketer {
    inner: TicketRotator,
}

impl ProducesTickets for BoundTicketer {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let not_after = capture::read(|notes| notes.client_not_after).unwrap_or(i64::MAX);
        let mut bound = zeroize::Zeroizing::new(Vec::with_capacity(8 + plain.len()));
        bound.extend_from_slice(&not_after.to_be_bytes());
        bound.extend_from_slice(plain);
        self.inner.encrypt(&bound)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let bound = zeroize::Zeroizing::new(self.inner.decrypt(cipher)?);
        let (not_after, plain) = bound.split_first_chunk::<8>()?;
        let not_after = i64::from_be_bytes(*not_after);
        if not_after < unix_now() {
            return None;
        }
        // A resumed session gets new tickets, which are to end when this one does.
        capture::note(|notes| notes.client_not_after = Some(not_after));
        Some(plain.to_vec())
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}
