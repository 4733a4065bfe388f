//! Stream sockets, TCP and unix.

use std::{
    io,
    mem::{MaybeUninit, size_of},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, connect, listen,
    socket, sockopt,
};

use super::descriptors::ordinary;

/// A non-blocking listener, whose connections have TCP_NODELAY from it (sk_clone in net/core/sock.c).
/// IPv6 listeners take IPv6 only, so that both families can have one.
pub fn listen_tcp(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = stream_socket(family)?;
    nix::sys::socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    nix::sys::socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    if address.is_ipv6() {
        nix::sys::socket::setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?;
    Ok(fd)
}

/// A non-blocking listener at `path`. A socket that a dead process left there is replaced; one
/// that answers is EADDRINUSE.
pub fn listen_unix(path: &Path, backlog: i32) -> io::Result<OwnedFd> {
    let address = UnixAddr::new(path)?;
    let fd = stream_socket(AddressFamily::Unix)?;
    match bind(fd.as_raw_fd(), &address) {
        Err(nix::Error::EADDRINUSE) => {
            let probe = stream_socket(AddressFamily::Unix)?;
            if connect(probe.as_raw_fd(), &address) != Err(nix::Error::ECONNREFUSED) {
                return Err(nix::Error::EADDRINUSE.into());
            }
            std::fs::remove_file(path)?;
            bind(fd.as_raw_fd(), &address)?;
        }
        bound => bound?,
    }
    listen(&fd, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?;
    Ok(fd)
}

/// The next connection of a listener; the peer's address is `None` on a unix socket.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = super::socket_length(size_of::<libc::sockaddr_storage>());
    // SAFETY: the pointers are those of `storage` and of its length.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            storage.as_mut_ptr().cast(),
            &raw mut length,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    };
    super::check(fd.into())?;
    // SAFETY: the call succeeded, so the descriptor is open and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all-zero is a valid sockaddr_storage, and the kernel wrote at most its size.
    Ok((fd, address_of(&unsafe { storage.assume_init() })))
}

/// Starts to connect; `true` when it is done already, as on this host it mostly is: the second call
/// asks. Otherwise wait for writable and look at [`take_error`].
///
/// # Errors
/// EMFILE: no descriptors but those of the reserve ([`super::descriptors`]).
pub fn connect_tcp(address: SocketAddr) -> io::Result<(OwnedFd, bool)> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = ordinary(stream_socket(family)?)?;
    nix::sys::socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    let address = SockaddrStorage::from(address);
    let mut done = connect(fd.as_raw_fd(), &address);
    if done == Err(nix::Error::EINPROGRESS) {
        done = connect(fd.as_raw_fd(), &address);
    }
    match done {
        Ok(()) | Err(nix::Error::EISCONN) => Ok((fd, true)),
        Err(nix::Error::EALREADY | nix::Error::EINPROGRESS) => Ok((fd, false)),
        Err(error) => Err(error.into()),
    }
}

/// Connects to a unix socket.
///
/// # Errors
/// EAGAIN: its listen queue is full. EMFILE: as [`connect_tcp`].
pub fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let fd = ordinary(stream_socket(AddressFamily::Unix)?)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// SO_ERROR, and clears it.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<()> {
    match nix::sys::socket::getsockopt(&socket, sockopt::SocketError)? {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Closing this TCP socket sends a reset and drops what was not sent (socket(7), SO_LINGER 0).
pub fn reset_on_close(socket: BorrowedFd<'_>) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // It fails only on a descriptor that is no socket; a unix socket takes and ignores it.
    let _ = nix::sys::socket::setsockopt(&socket, sockopt::Linger, &linger);
}

/// Bytes that the peer has not acknowledged yet (tcp(7), SIOCOUTQ).
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    super::check(result.into())?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Whether nothing of this TCP connection is left, so that nobody will acknowledge anything more. The
/// count of [`unacknowledged`] bytes stays what it was when a reset was received.
pub fn is_gone(socket: BorrowedFd<'_>) -> bool {
    // The first byte of tcp_info is the state (tcp(7)); 7 is TCP_CLOSE.
    const TCP_CLOSE: u8 = 7;
    let mut state = 0u8;
    let mut length = super::socket_length(size_of::<u8>());
    // SAFETY: the pointer and the length are those of `state`; a short TCP_INFO is allowed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    result == 0 && state == TCP_CLOSE
}

pub fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(nix::sys::socket::shutdown(
        socket.as_raw_fd(),
        nix::sys::socket::Shutdown::Write,
    )?)
}

/// Ends both directions, so that whoever waits for the socket wakes.
pub fn shutdown_both(socket: BorrowedFd<'_>) {
    let _ = nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
}

/// Reads what is there; 0 is the end. Never blocks.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of `buffer`.
    let count = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    super::check(count as libc::c_long)
}

/// As [`receive`], and leaves the bytes where they are (recv(2), MSG_PEEK).
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of `buffer`.
    let count = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT | libc::MSG_PEEK,
        )
    };
    super::check(count as libc::c_long)
}

/// Takes `length` bytes that were peeked at out of a TCP socket (tcp(7), MSG_TRUNC).
pub fn drop_received(socket: BorrowedFd<'_>, mut length: usize) -> io::Result<()> {
    while length > 0 {
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: with MSG_TRUNC TCP drops the bytes and writes nothing (tcp_recvmsg_locked).
        let count = unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), length, flags) };
        match super::check(count as libc::c_long) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => length = length.saturating_sub(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads into several buffers at once; 0 is the end. Never blocks.
pub fn receive_vectored(
    socket: BorrowedFd<'_>,
    parts: &mut [io::IoSliceMut<'_>],
) -> io::Result<usize> {
    // SAFETY: all-zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = parts.as_mut_ptr().cast();
    header.msg_iovlen = parts.len() as _;
    // SAFETY: IoSliceMut has the layout of iovec; the parts outlive the call.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    super::check(count as libc::c_long)
}

/// Writes what fits. Never blocks, never raises SIGPIPE. No other flag: kernel TLS refuses
/// MSG_WAITALL and MSG_ZEROCOPY, and MSG_MORE loses bytes.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    send_flagged(socket, bytes, 0)
}

fn send_flagged(socket: BorrowedFd<'_>, bytes: &[u8], flags: libc::c_int) -> io::Result<usize> {
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and the length are those of `bytes`.
    let count = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
        )
    };
    super::check(count as libc::c_long)
}

/// As [`send`], of bytes that need not leave before the next ones: TCP waits for those, but no longer
/// than about 200 ms (tcp(7), TCP_CORK). Never on a socket that has keys of kernel TLS.
pub fn send_with_next(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    send_flagged(socket, bytes, libc::MSG_MORE)
}

/// This side's address; `None` on a unix socket.
pub fn local_address(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = super::socket_length(size_of::<libc::sockaddr_storage>());
    // SAFETY: the pointers are those of `storage` and of its length.
    let result = unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            storage.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    super::check(result.into()).ok()?;
    // SAFETY: all-zero is a valid sockaddr_storage, and the kernel wrote at most its size.
    address_of(&unsafe { storage.assume_init() })
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(family, SockType::Stream, flags, None)?)
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in is there; the storage is large and
            // aligned enough for it.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddr::new(
                IpAddr::V4(ip),
                u16::from_be(address.sin_port),
            ))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, with a sockaddr_in6.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some(SocketAddr::new(
                IpAddr::V6(ip),
                u16::from_be(address.sin6_port),
            ))
        }
        _ => None,
    }
}
