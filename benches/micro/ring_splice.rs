//! IORING_OP_SPLICE, which lockgate does not use: the kernel runs it on a worker thread each time
//! (io_uring/splice.c). Here to show what that costs.

#![expect(
    unsafe_code,
    reason = "the ring's submission queue; lockgate::sys has no splice for it by design"
)]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use io_uring::{IoUring, opcode, types};

pub struct RingSplice {
    ring: IoUring,
    read: OwnedFd,
    write: OwnedFd,
}

impl RingSplice {
    pub fn new() -> io::Result<Self> {
        let (read, write) = nix::unistd::pipe()?;
        let ring = IoUring::new(4)?;
        Ok(RingSplice { ring, read, write })
    }

    pub fn splice_in(&mut self, socket: RawFd, length: u32) -> io::Result<usize> {
        self.splice(socket, self.write.as_raw_fd(), length)
    }

    pub fn splice_out(&mut self, socket: RawFd, length: u32) -> io::Result<usize> {
        self.splice(self.read.as_raw_fd(), socket, length)
    }

    fn splice(&mut self, from: RawFd, to: RawFd, length: u32) -> io::Result<usize> {
        let entry = opcode::Splice::new(types::Fd(from), -1, types::Fd(to), -1, length).build();
        // SAFETY: the entry points to no memory, and its descriptors are open until it has
        // completed, which is awaited here.
        unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
        self.ring.submit_and_wait(1)?;
        let result = match self.ring.completion().next() {
            Some(completion) => completion.result(),
            None => return Err(io::ErrorKind::WouldBlock.into()),
        };
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }
}
