//! TLS without sockets: bytes and files come in, bytes, keys and facts go out.
//!
//! ```text
//! configuration ─> server ──> listener_tls(): a rustls ServerConfig, and what is in it
//!                    ├── certificates, chain, pem   chains and keys from PEM
//!                    ├── loaded                     those whose files are as they were
//!                    ├── store, names               which certificate a client gets
//!                    ├── client_auth                whom client certificates are taken from
//!                    └── tickets                    resumption within one listener and trust
//!
//! a connection ──> session ──> established ──> keys ──> kernel, or record
//!                    ├── capture                    what rustls' callbacks tell a session
//!                    ├── session_error              why it failed
//!                    └── identity                   who the client is
//!
//! an operator <─── describe                      what a certificate says
//!             <─── client                        trust of the program's own commands
//! ```
//!
//! Cryptography is rustls' and aws-lc's; nothing of it is implemented here. This module reads the
//! files that the configuration names and the clock, and does no other I/O.

mod capture;
mod certificates;
mod chain;
mod client;
mod client_auth;
mod describe;
mod established;
mod identity;
pub mod kernel;
mod keys;
mod loaded;
mod names;
mod pem;
mod record;
mod server;
mod session;
mod session_error;
mod store;
#[cfg(test)]
mod tests;
mod tickets;

pub use certificates::{CertificateError, CertifiedChain, Validity, load};
pub use client::client_config;
pub use describe::{CertificateInfo, DescribeError, fingerprint_text, hex, iso8601};
pub use established::{Established, SessionInfo};
pub use identity::{ClientCertificate, Serial};
pub use keys::{Cipher, DirectionKeys, KeyError, KeySource, RecordKeys, TrafficSecret};
pub use loaded::Loaded;
pub use record::{ContentType, Opened, Opener, RecordError, Sealer};
pub use server::{AdminTls, ListenerTls, TlsError, admin_tls, listener_tls, listener_tls_again};
pub use session::{Presented, Progress, Session, record_length};
pub use session_error::SessionError;
pub use store::CertificateStore;
pub use tickets::TicketKeys;
