//! Lines on their way out: whoever has one hands it over and goes on; a thread writes it.
//!
//! ```text
//!   relay, handshake, control ── put ──> queue (bounded in bytes) ──> thread ──> sink
//!                                  └───> full: left out, and counted
//! ```
//!
//! A sink that blocks, such as a pipe that nobody reads, holds up this thread and nobody else. What
//! cannot be written, because the disk is full or the journal is being restarted, is kept and tried
//! again every second, from the very byte on: no line is torn. Nothing is lost silently: what does
//! not fit into the queue meanwhile is counted, and told as soon as writing works again.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::sink::{Batch, Sink};
use crate::{limits, sys::process};

/// The way to one sink. Its thread ends, after what it was given, when this is dropped.
pub struct Writer {
    shared: Arc<Shared>,
}

/// What a writer has to tell about itself, on its own thread, where nothing that waits does harm.
pub enum Trouble<'a> {
    /// Writing began to fail; it is tried again until it works.
    Failing(&'a io::Error),
    Recovered,
    /// The file goes on under whatever name it has now.
    NotReopened(&'a io::Error),
    /// So many lines since the last time, because they could not be written as fast as they came.
    LeftOut(u64),
}

/// What it returns is written next.
type Tell = Box<dyn Fn(&str, Trouble<'_>) -> Option<Vec<u8>> + Send>;

struct Shared {
    state: Mutex<State>,
    /// There is something to do.
    work: Condvar,
    /// There is nothing left to do, or it cannot be done now.
    idle: Condvar,
    /// Bytes that may wait.
    room: usize,
    /// Lines that were left out; shared with whoever shows it.
    left_out: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    waiting: Batch,
    reopen: bool,
    closed: bool,
    /// Lines have been taken out of `waiting` and are not written yet.
    writing: bool,
    failing: bool,
}

impl Writer {
    /// `room`: how many bytes may wait; as many again may be in the thread's hands.
    pub fn start(
        name: &str,
        sink: Sink,
        room: usize,
        left_out: Arc<AtomicU64>,
        tell: impl Fn(&str, Trouble<'_>) -> Option<Vec<u8>> + Send + 'static,
    ) -> io::Result<Writer> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            room,
            left_out,
        });
        let thread = Thread {
            told: shared.left_out.load(Ordering::Relaxed),
            shared: Arc::clone(&shared),
            sink,
            batch: Batch::default(),
            tell: Box::new(tell),
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                process::block_signals();
                thread.run();
            })?;
        Ok(Writer { shared })
    }

    /// Takes one record, with its line feed if it is a line. Never waits for the sink.
    pub fn put(&self, record: &[u8]) {
        self.shared.put(record);
    }

    /// Opens the file again by its name: what is put from now on goes there.
    pub fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.work.notify_one();
    }

    /// Waits until all that was put is written; not for long, and not where writing fails.
    pub fn flush(&self, limit: Duration) {
        let latest = Instant::now() + limit;
        let mut state = self.shared.lock();
        while !(state.is_done() || state.failing) {
            let left = latest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.idle.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.waiting.is_empty() && !self.writing && !self.reopen
    }
}

impl Shared {
    fn put(&self, record: &[u8]) {
        let mut state = self.lock();
        if state.waiting.bytes() + record.len() > self.room {
            drop(state);
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.push(record);
        drop(state);
        if was_empty {
            self.work.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Thread {
    shared: Arc<Shared>,
    sink: Sink,
    /// What is being written.
    batch: Batch,
    tell: Tell,
    /// How much of `left_out` has been told.
    told: u64,
}

impl Thread {
    fn run(mut self) {
        loop {
            let (reopen, closed) = self.wait();
            // What was put before the file was to be reopened may go either way; nothing is torn.
            if reopen {
                self.reopen();
            }
            if self.batch.is_empty() {
                if closed {
                    return;
                }
                continue;
            }
            self.tell_left_out();
            match self.sink.write(&mut self.batch) {
                Ok(()) => self.written(),
                Err(error) => {
                    if !self.failed(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// Until there is something to do. Takes what waits, unless the last batch is not done.
    fn wait(&mut self) -> (bool, bool) {
        let mut state = self.shared.lock();
        loop {
            state.writing = !self.batch.is_empty();
            if !state.writing && !state.waiting.is_empty() {
                std::mem::swap(&mut state.waiting, &mut self.batch);
                state.writing = true;
            }
            let reopen = std::mem::take(&mut state.reopen);
            if state.writing || reopen || state.closed {
                // Not done before it is reopened.
                state.writing |= reopen;
                return (reopen, state.closed);
            }
            self.shared.idle.notify_all();
            let waited = self.shared.work.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn written(&mut self) {
        self.batch.clear();
        let recovered = std::mem::take(&mut self.shared.lock().failing);
        if recovered {
            self.tell(Trouble::Recovered);
        }
    }

    /// Before a batch is written, because then the queue has room for the line that says it; not
    /// while that fails again and again.
    fn tell_left_out(&mut self) {
        if self.shared.lock().failing {
            return;
        }
        let left_out = self.shared.left_out.load(Ordering::Relaxed);
        let new = left_out - self.told;
        if new > 0 {
            self.told = left_out;
            self.tell(Trouble::LeftOut(new));
        }
    }

    /// `false`: nobody waits for another attempt.
    fn failed(&mut self, error: &io::Error) -> bool {
        let mut state = self.shared.lock();
        let is_new = !std::mem::replace(&mut state.failing, true);
        let closed = state.closed;
        let lost = self.batch.records_left() + state.waiting.records_left();
        self.shared.idle.notify_all();
        drop(state);
        if is_new {
            self.tell(Trouble::Failing(error));
        }
        if closed {
            self.shared
                .left_out
                .fetch_add(lost as u64, Ordering::Relaxed);
            return false;
        }
        // A reopened file may work at once; more lines do not make a difference.
        let latest = Instant::now() + limits::LOG_RETRY;
        let mut state = self.shared.lock();
        while !(state.reopen || state.closed) {
            let left = latest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.work.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn tell(&self, trouble: Trouble<'_>) {
        if let Some(record) = (self.tell)(&self.sink.name(), trouble) {
            self.shared.put(&record);
        }
    }

    fn reopen(&mut self) {
        match self.sink.reopen() {
            // A line that was written in part is written whole into the new file.
            Ok(true) => self.batch.rewind(),
            Ok(false) => {}
            Err(error) => self.tell(Trouble::NotReopened(&error)),
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
