//! Waiting for a socket in a task, and direct calls once it is ready.
//!
//! Dropping a future of tokio-uring does not end its operation, which then keeps the file open: a
//! task that gives up on a wait calls [`Socket::abort`], so that the operation completes.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use io_uring::{cqueue, opcode, types};
use tokio::io::{Interest, unix::AsyncFd};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use crate::sys::{event::Readiness, socket, watch::watch};

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Ring,
    Epoll,
}

pub struct Socket {
    fd: Rc<OwnedFd>,
    epoll: Option<AsyncFd<Rc<OwnedFd>>>,
}

impl Socket {
    pub fn new(fd: OwnedFd, driver: Driver) -> io::Result<Self> {
        let fd = Rc::new(fd);
        let epoll = match driver {
            Driver::Ring => None,
            Driver::Epoll => Some(watch(Rc::clone(&fd))?),
        };
        Ok(Socket { fd, epoll })
    }

    /// Repeats a non-blocking read until it does not block.
    pub async fn read<T>(
        &self,
        call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.until_done(Interest::READABLE, call).await
    }

    /// Repeats a non-blocking write until it does not block.
    pub async fn write<T>(
        &self,
        call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.until_done(Interest::WRITABLE, call).await
    }

    /// Waits for the end of a connect that is under way.
    pub async fn connected(&self) -> io::Result<()> {
        match &self.epoll {
            None => self.poll(Readiness::WRITABLE).await?,
            Some(epoll) => drop(epoll.writable().await?),
        }
        socket::take_error(self.as_fd())
    }

    pub async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.write(|fd| socket::send(fd, bytes)).await?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// As [`Socket::send_all`], of bytes that may leave with the next ones.
    pub async fn send_with_next(&self, bytes: &[u8]) -> io::Result<()> {
        match socket::send_with_next(self.as_fd(), bytes) {
            Ok(sent) => self.send_all(bytes.get(sent..).unwrap_or_default()).await,
            Err(_) => self.send_all(bytes).await,
        }
    }

    /// Ends the connection, and with it every wait for it.
    pub fn abort(&self) {
        socket::shutdown_both(self.as_fd());
    }

    /// The descriptor, when nothing waits for it any more.
    pub fn into_fd(self) -> Option<OwnedFd> {
        drop(self.epoll);
        Rc::into_inner(self.fd)
    }

    async fn until_done<T>(
        &self,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match call(self.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                done => return done,
            }
        }
        loop {
            match &self.epoll {
                None => {
                    self.poll(if interest.is_readable() {
                        Readiness::READABLE
                    } else {
                        Readiness::WRITABLE
                    })
                    .await?;
                    match call(self.as_fd()) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        done => return done,
                    }
                }
                Some(epoll) => {
                    let mut guard = epoll.ready(interest).await?;
                    match guard.try_io(|_| call(self.as_fd())) {
                        Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                        Ok(done) => return done,
                        Err(_would_block) => {}
                    }
                }
            }
        }
    }

    async fn poll(&self, readiness: Readiness) -> io::Result<()> {
        let entry = opcode::PollAdd::new(types::Fd(self.fd.as_raw_fd()), readiness.bits()).build();
        UnsubmittedOneshot::new(Rc::clone(&self.fd), PollDone, entry)
            .submit()
            .await
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Keeps the descriptor until the poll is complete.
struct PollDone;

impl OneshotOutputTransform for PollDone {
    type Output = io::Result<()>;
    type StoredData = Rc<OwnedFd>;

    fn transform_oneshot_output(self, _: Self::StoredData, entry: cqueue::Entry) -> Self::Output {
        match entry.result() {
            negative if negative < 0 => Err(io::Error::from_raw_os_error(-negative)),
            _ => Ok(()),
        }
    }
}
