//! What the callbacks of rustls tell the session that is being advanced on this thread.
//!
//! rustls calls back into a key log, a certificate resolver, a client verifier and a ticketer that
//! all connections of a listener share. None of them is told which connection it serves, and some of
//! what they see is to be had nowhere else: the TLS 1.3 traffic secrets without a `KernelConnection`
//! (which would hold each idle connection's client certificates), the server name, why no
//! certificate was chosen. So [`Session`](super::session::Session) lends this thread its [`Notes`]
//! for as long as rustls runs, and the callbacks write into them.
//!
//! Nothing here outlives that call: without lent notes, secrets are not even computed for the log.

use std::cell::RefCell;

use rustls::KeyLog;
use zeroize::Zeroizing;

use super::describe::CertificateInfo;

/// What was seen of one connection.
#[derive(Default)]
pub(super) struct Notes {
    pub client_secret: Option<Secret>,
    pub server_secret: Option<Secret>,
    pub server_name: Option<Box<str>>,
    pub no_certificate: Option<NoCertificate>,
    /// The certificate that was refused.
    pub refused: Option<Box<CertificateInfo>>,
    /// Unix seconds at which the client's certificate expires; a ticket must not outlive it.
    pub client_not_after: Option<i64>,
}

/// Why no certificate could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoCertificate {
    UnknownName,
    NoSignatureScheme,
}

/// 32 or 48 bytes.
pub(super) struct Secret {
    bytes: Zeroizing<[u8; 48]>,
    length: usize,
}

impl Secret {
    fn new(secret: &[u8]) -> Option<Secret> {
        let mut bytes = Zeroizing::new([0; 48]);
        bytes.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(Secret {
            bytes,
            length: secret.len(),
        })
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

thread_local! {
    static LENT: RefCell<Option<Box<Notes>>> = const { RefCell::new(None) };
}

/// Notes lent to this thread; given back when dropped, also by a panic.
pub(super) struct Lent<'a> {
    owner: &'a mut Option<Box<Notes>>,
}

/// A pointer moves, not the notes: no copy of a secret stays behind.
pub(super) fn lend(notes: &mut Option<Box<Notes>>) -> Lent<'_> {
    LENT.set(notes.take());
    Lent { owner: notes }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.owner = LENT.take();
    }
}

/// Called by a callback; does nothing where no session has lent its notes.
pub(super) fn note(write: impl FnOnce(&mut Notes)) {
    LENT.with_borrow_mut(|lent| {
        if let Some(notes) = lent {
            write(notes);
        }
    });
}

pub(super) fn read<T>(read: impl FnOnce(&Notes) -> Option<T>) -> Option<T> {
    LENT.with_borrow(|lent| lent.as_deref().and_then(read))
}

/// Takes the two secrets that KeyUpdates start from; never writes anything anywhere else.
#[derive(Debug)]
pub(super) struct SecretCapture;

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for SecretCapture {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        note(|notes| match label {
            CLIENT => notes.client_secret = Secret::new(secret),
            SERVER => notes.server_secret = Secret::new(secret),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER) && LENT.with_borrow(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_captured_without_a_session() {
        assert!(!SecretCapture.will_log(CLIENT));
        SecretCapture.log(CLIENT, &[], &[1; 32]);
        let mut notes = Some(Box::default());
        drop(lend(&mut notes));
        assert!(notes.is_some_and(|notes| notes.client_secret.is_none()));
    }

    #[test]
    fn lent_notes_receive_the_two_application_secrets_and_nothing_else() {
        let mut notes = Some(Box::default());
        {
            let _lent = lend(&mut notes);
            assert!(SecretCapture.will_log(SERVER));
            assert!(!SecretCapture.will_log("CLIENT_HANDSHAKE_TRAFFIC_SECRET"));
            assert!(!SecretCapture.will_log("CLIENT_RANDOM"));
            SecretCapture.log(SERVER, &[], &[7; 48]);
            SecretCapture.log("EXPORTER_SECRET", &[], &[9; 32]);
            SecretCapture.log(CLIENT, &[], &[9; 49]);
        }
        let notes = notes.unwrap();
        assert_eq!(notes.server_secret.unwrap().as_bytes(), [7; 48]);
        assert!(notes.client_secret.is_none(), "a secret of no known length");
        assert!(!SecretCapture.will_log(SERVER));
    }

    #[test]
    fn notes_come_back_after_a_panic() {
        let mut notes = Some(Box::default());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _lent = lend(&mut notes);
            panic!("in rustls");
        }));
        assert!(caught.is_err());
        assert!(notes.is_some());
        assert!(!SecretCapture.will_log(SERVER));
    }
}
