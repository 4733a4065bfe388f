//! Where log events go: standard error, as text for people or JSON for machines.

use std::sync::OnceLock;

use tracing_subscriber::{EnvFilter, reload::Error};

use crate::config::{Log, LogFormat};

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), Error> + Send + Sync>;

/// There is one subscriber in a process.
static FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Call it once. A level that was not checked before falls back to `info`.
pub fn start(log: &Log) {
    use std::io::IsTerminal;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log))
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call has no effect.
    match log.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            if builder.try_init().is_ok() {
                let _ = FILTER.set(Box::new(move |filter| handle.reload(filter)));
            }
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            if builder.try_init().is_ok() {
                let _ = FILTER.set(Box::new(move |filter| handle.reload(filter)));
            }
        }
    }
}

/// Changes what is logged from now on.
pub fn set_level(log: &Log) {
    if let Some(set) = FILTER.get()
        && let Err(error) = set(filter(log))
    {
        tracing::warn!("the log level cannot be changed: {error}");
    }
}

fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"))
}
