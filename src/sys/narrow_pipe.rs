//! A pipe of one slot, through which is seen what splice(2) does when it runs out of room.
//!
//! Not for traffic: several kernels lose bytes of kernel TLS in it, which is what it is there to
//! find out. Traffic goes through [`super::pipe`].

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{pipe2, read},
};

#[derive(Debug)]
pub struct NarrowPipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl NarrowPipe {
    pub fn new() -> io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // The kernel rounds up to one page.
        fcntl(write.as_raw_fd(), FcntlArg::F_SETPIPE_SZ(1))?;
        Ok(NarrowPipe { read, write })
    }

    /// Moves at most `length` bytes from a socket into the pipe. Never blocks.
    pub fn splice_from(&self, socket: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
        let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
        // SAFETY: null offsets are allowed for pipes and sockets; no memory of ours is passed.
        let moved = unsafe {
            libc::splice(
                socket.as_raw_fd(),
                std::ptr::null_mut(),
                self.write.as_raw_fd(),
                std::ptr::null_mut(),
                length,
                flags,
            )
        };
        super::check(moved as libc::c_long)
    }

    /// Takes bytes out of the pipe. Never blocks.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(read(self.read.as_raw_fd(), buffer)?)
    }
}
