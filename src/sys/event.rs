//! What the kernel says of a descriptor, the same from [`super::ring`] and [`super::epoll`].

use std::ops::BitOr;

/// Readiness of the descriptor that was registered under `token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Ready {
        token: u64,
        readiness: Readiness,
    },
    /// Nothing of this token is in flight any more; its descriptor may be closed.
    Removed {
        token: u64,
    },
}

/// A set of poll bits. Edge semantics: a bit that is not reported again may still hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Readiness(u32);

impl Readiness {
    pub const READABLE: Readiness = Readiness(libc::EPOLLIN as u32);
    pub const WRITABLE: Readiness = Readiness(libc::EPOLLOUT as u32);
    /// The peer has shut down its sending side; bytes may still wait to be read.
    pub const PEER_ENDED: Readiness = Readiness(libc::EPOLLRDHUP as u32);
    pub const HANGUP: Readiness = Readiness((libc::EPOLLHUP | libc::EPOLLERR) as u32);
    /// All that a relay waits for.
    pub const ALL: Readiness = Readiness(
        (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR)
            as u32,
    );

    pub fn from_bits(bits: u32) -> Self {
        Readiness(bits & Self::ALL.0)
    }

    pub fn bits(self) -> u32 {
        self.0
    }

    /// A read would not block: bytes, the end, or an error.
    pub fn is_readable(self) -> bool {
        self.0 & (Self::READABLE.0 | Self::PEER_ENDED.0 | Self::HANGUP.0) != 0
    }

    /// A write would not block: room, or an error.
    pub fn is_writable(self) -> bool {
        self.0 & (Self::WRITABLE.0 | Self::HANGUP.0) != 0
    }

    /// Both directions are closed, or the socket has an error.
    pub fn is_hangup(self) -> bool {
        self.0 & Self::HANGUP.0 != 0
    }

    /// More than bytes waits to be read: the end, or an error.
    pub fn is_ending(self) -> bool {
        self.0 & (Self::PEER_ENDED.0 | Self::HANGUP.0) != 0
    }
}

impl BitOr for Readiness {
    type Output = Readiness;
    fn bitor(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }
}
