//! Readiness by epoll(7), edge-triggered: what stands in where io_uring is refused.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use super::event::{Event, Readiness};

#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
    removed: Vec<u64>,
}

impl Epoll {
    /// `capacity`: events taken in one wait.
    pub fn new(capacity: usize) -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        super::check(fd.into())?;
        // SAFETY: the call succeeded, so the descriptor is open and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1)],
            removed: Vec::new(),
        })
    }

    /// Reports `fd`'s readiness under `token`, once for every change, until it is removed.
    pub fn add(&mut self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        #[expect(clippy::cast_sign_loss, reason = "EPOLLET is the top bit of a bit set")]
        let edge = libc::EPOLLET as u32;
        let mut event = libc::epoll_event {
            events: Readiness::ALL.bits() | edge,
            u64: token,
        };
        // SAFETY: `event` outlives the call.
        let result = unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &raw mut event,
            )
        };
        super::check(result.into()).map(drop)
    }

    /// The next wait reports [`Event::Removed`]. The kernel forgets the descriptor when it is closed,
    /// which is to follow; nothing else may hold its file open.
    pub fn remove(&mut self, token: u64) {
        self.removed.push(token);
    }

    /// Waits for events, at most for `timeout` (rounded up to milliseconds; `None`: no bound), and
    /// appends them to `out`.
    pub fn wait(&mut self, timeout: Option<Duration>, out: &mut Vec<Event>) -> io::Result<()> {
        let timeout = if self.removed.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let milliseconds = timeout.map_or(-1, |t| {
            i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        let capacity = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: the buffer holds `capacity` events and outlives the call.
        let count = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                capacity,
                milliseconds,
            )
        };
        match super::check(count.into()) {
            Ok(count) => out.extend(self.events.iter().take(count).map(|event| Event::Ready {
                token: event.u64,
                readiness: Readiness::from_bits(event.events),
            })),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // After the events: one of the same wait may still name a token that was removed before it.
        out.extend(self.removed.drain(..).map(|token| Event::Removed { token }));
        Ok(())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
