//! Where log events go: standard error, as text for people or JSON for machines.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Call it once. A level that was not checked before falls back to `info`.
pub fn start(log: &Log) {
    use std::io::IsTerminal;
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call has no effect.
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
