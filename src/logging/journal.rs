//! Events as journald takes them: each field by itself (systemd.journal-fields(7)).
//!
//! Not by `tracing-journald`: it sends on the thread that has the event, which waits while journald
//! is busy, and a relay thread must not. Here the record goes the way of all lines.

use std::{fmt, sync::Arc};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::writer::Writer;

/// Whether standard error is a stream of the journal: `JOURNAL_STREAM` names its device and inode
/// (systemd.exec(5)); whoever redirected it inherited the variable all the same.
pub fn is_stderr() -> bool {
    use std::os::fd::AsRawFd;
    let stat = nix::sys::stat::fstat(std::io::stderr().as_raw_fd());
    match (std::env::var("JOURNAL_STREAM"), stat) {
        (Ok(stream), Ok(stat)) => stream == format!("{}:{}", stat.st_dev, stat.st_ino),
        _ => false,
    }
}

/// Hands each event over as one record of the journal's native protocol.
pub struct Journal(pub Arc<Writer>);

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut record = Record(Vec::with_capacity(1024));
        record.field("PRIORITY", priority(*event.metadata().level()));
        record.field("SYSLOG_IDENTIFIER", "lockgate");
        event.record(&mut record);
        self.0.put(&record.0);
    }
}

/// As in syslog(3).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

struct Record(Vec<u8>);

impl Record {
    /// `NAME=value`, or with its length where the value has line feeds.
    fn field(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend((value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    /// Fields of ours cannot be taken for those of others.
    fn event_field(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.field("MESSAGE", value),
            name => {
                let name = format!("LOCKGATE_{}", name.to_ascii_uppercase().replace('.', "_"));
                self.field(&name, value);
            }
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.event_field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.event_field(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_the_native_protocol_has_them() {
        let mut record = Record(Vec::new());
        record.field("MESSAGE", "one line");
        record.field("LOCKGATE_TEXT", "two\nlines=x");
        let expected = b"MESSAGE=one line\nLOCKGATE_TEXT\n\x0b\0\0\0\0\0\0\0two\nlines=x\n";
        assert_eq!(record.0, expected);
    }
}
