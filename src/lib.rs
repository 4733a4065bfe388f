//! lockgate: a TLS and mutual-TLS terminator for Linux edge servers.
//!
//! ```text
//!                     control plane: one thread, never on the path of data
//!   files, signals, admin HTTP ──> config ──> control ──> Snapshot (immutable) ──ArcSwap──> the other two
//!                                                 ^ metrics <── counters of each thread
//!
//!   handshake plane: tokio-uring threads              relay plane: io_uring threads
//!   accept, handshake, keys into the kernel,          own the connection for the rest of its life:
//!   connect to the backend ───────── inbox ─────────> copy, splice, half-close, KeyUpdate, close
//! ```
//!
//! Imports go one way. [`sys`] knows nothing of ours; [`tls`] and [`config`] know no sockets;
//! nothing in [`handshake`], [`relay`], [`tls`] or [`sys`] knows [`control`], [`admin`] or
//! [`commands`]. `unsafe` is in [`sys`] alone.

#[cfg(not(target_os = "linux"))]
compile_error!("lockgate is for Linux: kernel TLS, io_uring and splice are what it is made of");

pub mod admin;
pub mod announce;
pub mod audit;
pub mod backend;
pub mod cli;
pub mod commands;
pub mod config;
pub mod connection;
pub mod control;
pub mod counter;
pub mod durations;
pub mod handshake;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod pki;
pub mod probe;
pub mod relay;
pub mod snapshot;
pub mod status;
pub mod sys;
pub mod telemetry;
pub mod tls;
