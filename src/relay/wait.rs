//! Waiting for readiness, by io_uring or epoll.

use std::{io, os::fd::BorrowedFd, time::Duration};

use crate::{
    limits,
    sys::{epoll::Epoll, event::Event, ring::Ring},
};

pub enum Waiter {
    Ring(Box<Ring>),
    Epoll(Epoll),
}

impl Waiter {
    /// io_uring where the kernel grants it and `ring` allows it, else epoll.
    pub fn new(ring: bool) -> io::Result<Self> {
        if ring && let Ok(ring) = Ring::new(limits::RING_ENTRIES) {
            return Ok(Waiter::Ring(Box::new(ring)));
        }
        Epoll::new(limits::EVENTS_PER_TURN).map(Waiter::Epoll)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Waiter::Ring(_) => "io_uring",
            Waiter::Epoll(_) => "epoll",
        }
    }

    pub fn add(&mut self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        match self {
            Waiter::Ring(ring) => ring.add(fd, token),
            Waiter::Epoll(epoll) => epoll.add(fd, token),
        }
    }

    /// [`Event::Removed`] follows; until then the descriptor stays open.
    pub fn remove(&mut self, token: u64) -> io::Result<()> {
        match self {
            Waiter::Ring(ring) => ring.remove(token),
            Waiter::Epoll(epoll) => {
                epoll.remove(token);
                Ok(())
            }
        }
    }

    pub fn wait(&mut self, timeout: Option<Duration>, out: &mut Vec<Event>) -> io::Result<()> {
        match self {
            Waiter::Ring(ring) => ring.wait(timeout, out),
            Waiter::Epoll(epoll) => epoll.wait(timeout, out),
        }
    }
}
