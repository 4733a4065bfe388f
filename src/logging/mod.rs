//! Where log events go: standard error, a file, or the journal; as text for people or JSON for
//! machines.
//!
//! ```text
//!   event ──> level ──> lines per second ──> formatted ──> writer ──> sink
//! ```
//!
//! No thread that has something to say waits for the sink: see [`writer`].

mod journal;
mod limit;
pub mod sink;
pub mod writer;

use std::{
    fmt, io,
    io::IsTerminal,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{MakeWriter, layer},
    layer::{Layer, SubscriberExt},
    reload::{self, Handle},
    util::SubscriberInitExt,
};

use crate::{
    config::{Log, LogFormat},
    limits,
};
use limit::{Bounded, Limit};
use sink::Sink;
use writer::{Trouble, Writer};

/// There is one subscriber in a process.
static LOGGING: OnceLock<Logging> = OnceLock::new();

struct Logging {
    filter: Handle<EnvFilter, Registry>,
    limit: Arc<Limit>,
    /// How many of the lines that the limit left out were told.
    told: AtomicU64,
    writer: Arc<Writer>,
    /// Lines that the writer could not take.
    unwritten: Arc<AtomicU64>,
}

/// Why nothing can be logged.
#[derive(Debug)]
pub enum LogError {
    File { path: PathBuf, error: io::Error },
    Start(io::Error),
}

/// Call it once; a second call has no effect. A level that was not checked before falls back to
/// `info`.
pub fn start(log: &Log) -> Result<(), LogError> {
    let (sink, is_journal) = sink(log)?;
    let unwritten = Arc::new(AtomicU64::new(0));
    let (room, count) = (limits::LOG_QUEUE_BYTES, Arc::clone(&unwritten));
    let colours = matches!(sink, Sink::Stderr) && io::stderr().is_terminal();
    let writer = Writer::start("log", sink, room, count, tell).map_err(LogError::Start)?;
    let writer = Arc::new(writer);
    let (filter, handle) = reload::Layer::new(filter(log));
    let limit = Limit::new(log.lines_per_second);
    let lines = layer()
        .with_writer(Lines(Arc::clone(&writer)))
        .with_target(false)
        .with_ansi(colours);
    let output = match log.format {
        LogFormat::Text if is_journal => journal::Journal(Arc::clone(&writer)).boxed(),
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(Bounded(Arc::clone(&limit)))
        .with(output);
    if subscriber.try_init().is_ok() {
        let _ = LOGGING.set(Logging {
            filter: handle,
            limit,
            told: AtomicU64::new(0),
            writer,
            unwritten,
        });
    }
    Ok(())
}

/// Changes what is logged from now on: the level, and how many lines a second.
pub fn change(log: &Log) {
    let Some(logging) = LOGGING.get() else { return };
    if let Err(error) = logging.filter.reload(filter(log)) {
        tracing::warn!("the log level cannot be changed: {error}");
    }
    logging.limit.set(log.lines_per_second);
}

/// Opens the log's file again by its name, after it was renamed.
pub fn reopen() {
    if let Some(logging) = LOGGING.get() {
        logging.writer.reopen();
    }
}

/// Says how many lines the bound has left out since the last call. To be called every second.
pub fn tell_left_out() {
    let Some(logging) = LOGGING.get() else { return };
    let left_out = logging.limit.left_out();
    let new = left_out - logging.told.swap(left_out, Ordering::Relaxed);
    if new > 0 {
        tracing::warn!(
            target: "lockgate::logging",
            left_out = new,
            cause = "lines_per_second",
            "lines were left out: there were more than log.lines_per_second"
        );
    }
}

/// Waits, not for long, until what was logged is written. Call it before the process ends.
pub fn flush() {
    tell_left_out();
    if let Some(logging) = LOGGING.get() {
        logging.writer.flush(limits::LOG_FLUSH_TIMEOUT);
    }
}

/// Lines that were left out since the start, by their cause.
pub fn left_out() -> [(&'static str, u64); 2] {
    let count = |of: fn(&Logging) -> u64| LOGGING.get().map_or(0, of);
    [
        ("lines_per_second", count(|it| it.limit.left_out())),
        ("slow", count(|it| it.unwritten.load(Ordering::Relaxed))),
    ]
}

fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// And whether it is the journal, which has fields of its own.
fn sink(log: &Log) -> Result<(Sink, bool), LogError> {
    if let Some(path) = &log.file {
        let file = Sink::file(path).map_err(|error| LogError::File {
            path: path.clone(),
            error,
        })?;
        return Ok((file, false));
    }
    // Whoever asked for JSON gets JSON.
    if log.format == LogFormat::Text && journal::is_stderr() {
        return Ok((Sink::journal().map_err(LogError::Start)?, true));
    }
    Ok((Sink::Stderr, false))
}

/// On the writer's thread. A log that cannot be written says so on standard error, if that is
/// another place.
fn tell(sink: &str, trouble: Trouble<'_>) -> Option<Vec<u8>> {
    match trouble {
        Trouble::Failing(error) => eprintln!(
            "lockgate: the log cannot be written to {sink}: {error}; it is tried again every second"
        ),
        Trouble::Recovered => {
            tracing::warn!(target: "lockgate::logging", "the log is written again, to {sink}");
        }
        Trouble::NotReopened(error) => tracing::error!(
            target: "lockgate::logging",
            "the log stays in the file it is in: {sink} cannot be opened: {error}"
        ),
        Trouble::LeftOut(lines) => tracing::warn!(
            target: "lockgate::logging",
            left_out = lines,
            cause = "slow",
            "lines were left out: they could not be written to {sink} as fast as they came"
        ),
    }
    None
}

/// Hands each line over.
struct Lines(Arc<Writer>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

/// Gets each line whole, in one call.
struct Line<'a>(&'a Writer);

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::File { path, error } => write!(
                f,
                "log.file: {} cannot be written: {error}; make its folder, and let the user that \
                 runs lockgate write to it",
                path.display()
            ),
            LogError::Start(error) => write!(f, "the log cannot be started: {error}"),
        }
    }
}

impl std::error::Error for LogError {}
