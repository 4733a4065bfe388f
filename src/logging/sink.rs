//! Where lines end up: a file, a standard stream, the journal.

use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::{MetadataExt, OpenOptionsExt},
            net::UnixDatagram,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::write,
};

pub enum Sink {
    Stderr,
    Stdout,
    File {
        path: PathBuf,
        file: File,
    },
    /// One datagram a record.
    Journal(UnixDatagram),
}

/// Where journald listens (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Names of clients are in it: not for every user of the machine.
const MODE: u32 = 0o640;

impl Sink {
    /// Appends to a file, which is made if it is not there.
    pub fn file(path: &Path) -> io::Result<Sink> {
        Ok(Sink::File {
            path: path.to_owned(),
            file: append(path)?,
        })
    }

    pub fn journal() -> io::Result<Sink> {
        Ok(Sink::Journal(UnixDatagram::unbound()?))
    }

    /// For messages about it.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Sink::Stderr => "standard error".into(),
            Sink::Stdout => "standard output".into(),
            Sink::File { path, .. } => path.display().to_string().into(),
            Sink::Journal(_) => JOURNAL.into(),
        }
    }

    /// Opens a file by its name again, and tells whether it is another one now. Streams are left as
    /// they are.
    pub fn reopen(&mut self) -> io::Result<bool> {
        let Sink::File { path, file } = self else {
            return Ok(false);
        };
        let new = append(path)?;
        let (old_is, new_is) = (file.metadata()?, new.metadata()?);
        *file = new;
        Ok((old_is.dev(), old_is.ino()) != (new_is.dev(), new_is.ino()))
    }

    /// Writes what is left of the batch, for as long as it takes. After an error, what was written is
    /// done with.
    pub fn write(&mut self, batch: &mut Batch) -> io::Result<()> {
        // Without the locks of std's streams: whoever prints there is not to wait for this.
        match self {
            Sink::Stderr => stream(io::stderr().as_fd(), batch),
            Sink::Stdout => stream(io::stdout().as_fd(), batch),
            Sink::File { file, .. } => stream(file.as_fd(), batch),
            Sink::Journal(socket) => datagrams(socket, batch),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).open(path)
}

fn stream(fd: BorrowedFd<'_>, batch: &mut Batch) -> io::Result<()> {
    while !batch.rest().is_empty() {
        match write(fd, batch.rest()) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => batch.advance(bytes),
            Err(Errno::EINTR) => {}
            // Somebody made the stream non-blocking; others may share it.
            Err(Errno::EAGAIN) => {
                let mut waited = [PollFd::new(fd, PollFlags::POLLOUT)];
                poll(&mut waited, PollTimeout::NONE)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn datagrams(socket: &UnixDatagram, batch: &mut Batch) -> io::Result<()> {
    while let Some(record) = batch.record() {
        let length = record.len();
        match socket.send_to(record, JOURNAL) {
            Ok(_) => batch.advance(length),
            // Larger than any record of ours: its texts are bounded.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => batch.advance(length),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Records, one after the other, and how far they have been written.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
    written: usize,
}

/// What a queue keeps of its memory when it is empty.
const KEPT_BYTES: usize = 64 << 10;
const KEPT_RECORDS: usize = 256;

impl Batch {
    pub fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.written = 0;
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.shrink_to(KEPT_RECORDS);
    }

    /// Not written yet.
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// The first record that is not written.
    fn record(&self) -> Option<&[u8]> {
        let next = self.ends.partition_point(|end| *end <= self.written);
        self.bytes.get(self.written..*self.ends.get(next)?)
    }

    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// To the beginning of the record that is written in part.
    pub fn rewind(&mut self) {
        let whole = self.ends.partition_point(|end| *end <= self.written);
        let last = whole.checked_sub(1).and_then(|last| self.ends.get(last));
        self.written = last.copied().unwrap_or(0);
    }

    /// Records that are not written whole.
    pub fn records_left(&self) -> usize {
        self.ends.len() - self.ends.partition_point(|end| *end <= self.written)
    }
}
