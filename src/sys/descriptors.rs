//! Descriptors that connections leave to whoever looks after the program: it has to accept, and to
//! open files, while connections have used up all the rest.
//!
//! The kernel gives out the lowest number that is free (open(2)), so one of the last numbers says
//! that all below them are taken. Whoever serves connections gives such a descriptor back.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
};

/// The first number of the reserve.
static RESERVE: AtomicI32 = AtomicI32::new(RawFd::MAX);
/// A connection got a number of the reserve since somebody looked.
static SHORT: AtomicBool = AtomicBool::new(false);

/// From now on the last `count` numbers below `limit` (RLIMIT_NOFILE) are not for connections.
pub fn reserve(limit: u64, count: u64) {
    let first = RawFd::try_from(limit.saturating_sub(count)).unwrap_or(RawFd::MAX);
    RESERVE.store(first, Ordering::Relaxed);
}

/// `fd`, if connections may have it.
///
/// # Errors
/// EMFILE: it was of the reserve, and is closed.
pub fn ordinary(fd: OwnedFd) -> io::Result<OwnedFd> {
    match is_ordinary(&fd) {
        true => Ok(fd),
        false => Err(io::Error::from_raw_os_error(libc::EMFILE)),
    }
}

/// Whether connections may have `fd`. If not, they are short of descriptors.
pub fn is_ordinary(fd: &impl AsRawFd) -> bool {
    let is_ordinary = fd.as_raw_fd() < RESERVE.load(Ordering::Relaxed);
    if !is_ordinary {
        SHORT.store(true, Ordering::Relaxed);
    }
    is_ordinary
}

/// Whether connections are short of descriptors. `any` is an open descriptor, to try with.
pub fn are_short(any: BorrowedFd<'_>) -> bool {
    if !SHORT.load(Ordering::Relaxed) {
        return false;
    }
    let is_over = lowest(any).is_ok_and(|fd| is_ordinary(&fd));
    if is_over {
        SHORT.store(false, Ordering::Relaxed);
    }
    !is_over
}

/// The same file under the lowest free number.
pub fn lowest(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and no pointer.
    let lowest = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) };
    super::check(lowest.into())?;
    // SAFETY: the call succeeded, so the descriptor is open and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(lowest) })
}
