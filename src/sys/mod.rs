//! System calls: the only folder with `unsafe`. It knows nothing of lockgate.
//!
//! Each function is one call, or a few that belong together, with errno as [`std::io::Error`].
//! Every descriptor that is made here is non-blocking and close-on-exec.

#![allow(unsafe_code, reason = "this folder is where it lives")]

pub mod descriptors;
pub mod epoll;
pub mod event;
pub mod eventfd;
pub mod ktls;
pub mod narrow_pipe;
pub mod pipe;
pub mod process;
pub mod random;
pub mod ring;
pub mod socket;
pub mod watch;

use std::io;

/// The size of a structure or a slice, as socket calls want it.
fn socket_length(bytes: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes).unwrap_or(libc::socklen_t::MAX)
}

/// Turns the return value of a system call into a result.
fn check(value: libc::c_long) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::Error::last_os_error())
}
