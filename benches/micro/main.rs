//! What can be measured alone, in memory or on one pair of sockets, with criterion.
//!
//! These find out why a figure of scripts/compare is what it is; they prove nothing about a proxy.
//! `cargo bench --bench micro`; `cargo bench --bench micro -- --test` runs each once.

#![expect(clippy::unwrap_used, reason = "a bench that cannot set itself up ends")]

mod pki;
mod recording;
mod relay;
mod ring_splice;
mod tls;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    tls::handshakes,
    tls::records,
    tls::certificate_choice,
    relay::snapshot,
    relay::core_event,
    relay::splice_or_copy,
    recording::recording,
);
criterion_main!(benches);
