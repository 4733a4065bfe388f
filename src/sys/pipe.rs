//! Pipes and splice(2).
//!
//! Both ends and every call are non-blocking: kernel TLS looks only at SPLICE_F_NONBLOCK
//! (tls_sw_splice_read), plain TCP at O_NONBLOCK of the socket.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::descriptors::ordinary;

const PAGE: usize = 4096;

#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    slots: usize,
}

impl Pipe {
    /// # Errors
    /// EMFILE, ENFILE: no descriptors but those of the reserve, or the user's pages for pipes are used up (pipe(7),
    /// pipe-user-pages-hard).
    pub fn new() -> io::Result<Self> {
        let mut ends = [-1; 2];
        // SAFETY: `ends` has room for the two descriptors.
        let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
        super::check(result.into())?;
        // SAFETY: the call succeeded, so both descriptors are open and nobody else owns them.
        let (read, write) =
            unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        let (read, write) = (ordinary(read)?, ordinary(write)?);
        // SAFETY: F_GETPIPE_SZ takes no pointer.
        let bytes =
            super::check(unsafe { libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ) }.into())?;
        Ok(Pipe {
            read,
            write,
            slots: bytes / PAGE,
        })
    }

    /// Buffers that fit, each a page or a part of one. 16 by default, 2 once an unprivileged user
    /// has used up its share (pipe(7), pipe-user-pages-soft).
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Moves at most `length` bytes from a socket into the pipe.
    ///
    /// # Errors
    /// EAGAIN: nothing to read, or the pipe is full. EINVAL from kernel TLS: the next record holds
    /// no data, or a bad header. 0 is not always the end: a record without data gives it as well.
    pub fn splice_from(&self, socket: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
        splice(socket.as_raw_fd(), self.write.as_raw_fd(), length, 0)
    }

    /// Moves at most `length` bytes from the pipe to a socket.
    pub fn splice_to(&self, socket: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
        splice(self.read.as_raw_fd(), socket.as_raw_fd(), length, 0)
    }

    /// As [`Pipe::splice_to`], of bytes that others follow at once: TCP waits for those before it sends
    /// a segment that is not full. Kernel TLS waits with a record that is not full as well, and shutdown
    /// and close would lose it (net/tls/tls_sw.c): what follows must be in the pipe already.
    pub fn splice_to_with_next(&self, socket: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
        let more = libc::SPLICE_F_MORE;
        splice(self.read.as_raw_fd(), socket.as_raw_fd(), length, more)
    }
}

fn splice(from: i32, to: i32, length: usize, flags: libc::c_uint) -> io::Result<usize> {
    let flags = flags | libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: null offsets are allowed for pipes and sockets; no memory of ours is passed.
    let moved = unsafe {
        libc::splice(
            from,
            std::ptr::null_mut(),
            to,
            std::ptr::null_mut(),
            length,
            flags,
        )
    };
    super::check(moved as libc::c_long)
}
