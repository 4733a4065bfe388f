//! System calls that no crate of the tree wraps.
#![expect(unsafe_code, reason = "system calls; each block says why it is sound")]

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A network namespace for this thread, and those it will start, with a loopback that is up.
pub fn own_network() -> io::Result<()> {
    // SAFETY: unshare(2) takes no pointer.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}

/// The child ends when the thread that starts it does, however that comes about.
pub fn dies_with_test(command: &mut Command) {
    // SAFETY: prctl(2) with these arguments is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)));
    }
}

/// Bytes that were written to a TCP socket and not acknowledged.
pub fn unacknowledged(socket: &impl AsFd) -> Option<libc::c_int> {
    let mut bytes = 0;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes one int.
    check(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) }).ok()?;
    Some(bytes)
}
