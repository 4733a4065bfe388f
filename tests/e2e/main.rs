//! End to end: the real program between real clients and backends, judged from outside.
//!
//! A test's name is its claim. Each starts its own lockgate, waits for conditions instead of
//! sleeping, compares every byte, and ends with nothing left over: connections, descriptors,
//! pipes, keys in the kernel. `harness::machine` says what the environment can ask for; the same
//! tests run in user space, over epoll, and in guests with kernel TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets what it does not expect fails"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of tests are small"
)]

mod harness;

mod admin;
mod admin_bounds;
mod admin_tls;
mod audit;
mod auth;
mod bulk;
mod churn;
mod commands;
mod empty;
mod ends;
mod fallback;
mod files;
mod flags;
mod folders;
mod handover;
mod hello;
mod hostile;
mod journal;
mod keys;
mod limits;
mod log;
mod losses;
mod metrics;
mod moves;
mod names;
mod peers;
mod prometheus;
mod records;
mod reload;
mod resumption;
mod rotation;
mod secrets;
mod suites;
mod telemetry;
mod top;
