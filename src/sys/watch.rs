//! Readiness for a task, by tokio's reactor.

use std::{io, os::fd::OwnedFd, rc::Rc};

use tokio::io::unix::AsyncFd;

/// Must be called within a tokio runtime.
pub fn watch(fd: Rc<OwnedFd>) -> io::Result<AsyncFd<Rc<OwnedFd>>> {
    // SAFETY: the descriptor stays open while it is registered, because the AsyncFd holds a
    // reference to its owner, which never gives it up before the last reference is gone.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}
