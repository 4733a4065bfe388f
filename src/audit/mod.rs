//! Audit events: who got in, who was refused and why, what was changed. One JSON object a line, in a
//! stream of their own.
//!
//! They take the same way as lines of the log ([`crate::logging::writer`]), in a larger queue and
//! without a bound on events per second. Nobody who is served waits for them: where they cannot be
//! written, they are kept and tried again every second while the log says so. What does not fit into
//! the queue meanwhile is lost, counted, and said in the log and by an event in the stream itself.

mod event;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::ArcSwapOption;
use serde::Serialize;

use crate::{
    config, limits,
    logging::{
        sink::Sink,
        writer::{Trouble, Writer},
    },
    tls::iso8601,
};
pub use event::{Certificate, Event};

/// Where events are recorded; one for the life of the process.
#[derive(Default)]
pub struct Audit {
    stream: ArcSwapOption<Stream>,
    /// The one before a reload, until what the reload did is recorded in it as well.
    leaving: ArcSwapOption<Stream>,
    lost: Arc<AtomicU64>,
}

struct Stream {
    to: config::Audit,
    writer: Writer,
}

/// A stream that is ready and not yet in use.
pub struct Opened(Option<Arc<Stream>>);

/// Audit events cannot be written where they should be.
#[derive(Debug)]
pub struct AuditError {
    to: config::Audit,
    error: io::Error,
}

impl Audit {
    /// Nothing is changed yet; `None`: nothing is to be changed.
    pub fn open(&self, wanted: Option<&config::Audit>) -> Result<Option<Opened>, AuditError> {
        let running = self.stream.load();
        if running.as_ref().map(|stream| &stream.to) == wanted {
            return Ok(None);
        }
        let Some(to) = wanted else {
            return Ok(Some(Opened(None)));
        };
        let failed = |error| AuditError {
            to: to.clone(),
            error,
        };
        let sink = match to {
            config::Audit::Stdout => Sink::Stdout,
            config::Audit::File(path) => Sink::file(path).map_err(failed)?,
        };
        let (room, lost) = (limits::AUDIT_QUEUE_BYTES, Arc::clone(&self.lost));
        let writer = Writer::start("audit", sink, room, lost, tell).map_err(failed)?;
        Ok(Some(Opened(Some(Arc::new(Stream {
            to: to.clone(),
            writer,
        })))))
    }

    /// Events go there from now on, and to where they went before until [`Audit::leave`].
    pub fn switch(&self, opened: Opened) {
        self.leaving.store(self.stream.swap(opened.0));
    }

    pub fn leave(&self) {
        self.leaving.store(None);
    }

    pub fn is_on(&self) -> bool {
        self.stream.load().is_some() || self.leaving.load().is_some()
    }

    /// Never waits.
    pub fn record(&self, event: &Event<'_>) {
        let (stream, leaving) = (self.stream.load(), self.leaving.load());
        let streams = [stream.as_ref(), leaving.as_ref()];
        if streams.iter().any(Option::is_some) {
            let line = line(event);
            for stream in streams.into_iter().flatten() {
                stream.writer.put(&line);
            }
        }
    }

    /// Opens the file again by its name, after it was renamed.
    pub fn reopen(&self) {
        if let Some(stream) = &*self.stream.load() {
            stream.writer.reopen();
        }
    }

    /// Waits, not for long, until what was recorded is written.
    pub fn flush(&self) {
        if let Some(stream) = &*self.stream.load() {
            stream.writer.flush(limits::LOG_FLUSH_TIMEOUT);
        }
    }

    /// Events since the start that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn line(event: &Event<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a> {
        time: String,
        #[serde(flatten)]
        event: &'a Event<'a>,
    }
    let time = now();
    // Only maps with keys that are no text cannot be written.
    let mut line = serde_json::to_vec(&Line { time, event }).unwrap_or_default();
    line.push(b'\n');
    line
}

/// `2026-11-23T01:03:00.000001Z`.
fn now() -> String {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = iso8601(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let seconds = seconds.trim_end_matches('Z');
    format!("{seconds}.{:06}Z", since.subsec_micros())
}

/// On the writer's thread.
fn tell(sink: &str, trouble: Trouble<'_>) -> Option<Vec<u8>> {
    match trouble {
        Trouble::Failing(error) => tracing::error!(
            "audit events cannot be written to {sink}: {error}; they are kept while they fit, and \
             tried again every second"
        ),
        Trouble::Recovered => tracing::warn!("audit events are written again, to {sink}"),
        Trouble::NotReopened(error) => tracing::error!(
            "audit events stay in the file they are in: {sink} cannot be opened: {error}"
        ),
        Trouble::LeftOut(lost) => {
            tracing::error!(
                lost,
                "audit events were lost: they could not be written to {sink}"
            );
            return Some(line(&Event::EventsLost { lost }));
        }
    }
    None
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.to {
            config::Audit::Stdout => PathBuf::from("standard output"),
            config::Audit::File(path) => path.clone(),
        };
        write!(
            f,
            "audit.file: {} cannot be written: {}; make its folder, and let the user that runs \
             lockgate write to it",
            place.display(),
            self.error
        )
    }
}

impl std::error::Error for AuditError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_were_lost_are_told_in_the_stream_itself() {
        let line = tell("audit.log", Trouble::LeftOut(7)).unwrap();
        assert_eq!(line.last(), Some(&b'\n'));
        let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let keys: Vec<_> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["event", "lost", "time"]);
        assert_eq!(event["event"], "AUDIT_EVENTS_LOST");
        assert_eq!(event["lost"], 7);
    }

    #[test]
    fn times_are_in_utc_with_microseconds() {
        let now = now();
        assert_eq!(now.len(), "2026-11-23T01:03:00.000001Z".len(), "{now}");
        assert!(now.ends_with('Z') && now.as_bytes().get(19) == Some(&b'.'));
    }
}
