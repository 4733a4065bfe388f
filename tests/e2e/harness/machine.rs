//! The machine that the tests run on: what it can do, and what this run expects of it.
//!
//! `LOCKGATE_TEST_EXPECT=kernel|user`: the path that ordinary connections must take. Without it,
//! what a socket of this machine says. `LOCKGATE_TEST_REKEY=yes|no`: whether the kernel can change
//! keys; needed on the kernel path. `LOCKGATE_TEST_NO_CHACHA=1`: the kernel lacks that cipher.
//! `LOCKGATE_TEST_SCALE`: multiplies what things may take. `LOCKGATE_TEST_WAITER`: see `setup`.

use std::{
    cell::Cell,
    io,
    net::{TcpListener, TcpStream},
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether ordinary connections must be in kernel TLS.
pub fn expects_kernel() -> bool {
    static KERNEL: OnceLock<bool> = OnceLock::new();
    *KERNEL.get_or_init(|| match variable("LOCKGATE_TEST_EXPECT").as_deref() {
        Some("kernel") => true,
        Some("user") => false,
        Some(other) => panic!("LOCKGATE_TEST_EXPECT={other}: kernel or user"),
        None => has_kernel_tls(),
    })
}

/// Whether a key can be changed on the path of an ordinary TLS 1.3 connection.
pub fn can_update_keys() -> bool {
    if !expects_kernel() {
        return true;
    }
    match variable("LOCKGATE_TEST_REKEY").as_deref() {
        Some("yes") => true,
        Some("no") => false,
        _ => panic!("LOCKGATE_TEST_REKEY must be yes or no on the kernel path"),
    }
}

pub fn kernel_has_chacha() -> bool {
    variable("LOCKGATE_TEST_NO_CHACHA").is_none()
}

pub fn waiter() -> Option<String> {
    variable("LOCKGATE_TEST_WAITER")
}

/// A guest has one slow processor.
pub fn is_guest() -> bool {
    variable("LOCKGATE_GUEST").is_some()
}

pub fn scale() -> f64 {
    let default = if is_guest() { 3.0 } else { 1.0 };
    variable("LOCKGATE_TEST_SCALE").map_or(default, |value| value.parse().unwrap())
}

/// Whether this machine has kernel TLS, asked of a socket and not of lockgate.
pub fn has_kernel_tls() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let name = b"tls\0";
    // SAFETY: the pointer and the length are those of `name`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_ULP,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    };
    result == 0
}

thread_local! {
    static ISOLATED: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Gives the calling test a network of its own: ports and /proc/net/tls_stat are nobody else's.
/// Must come before the test's first socket. Takes root; without it tests share the machine's
/// network, except on the kernel path, where each test counts keys.
pub fn isolate() -> bool {
    ISOLATED.with(|cell| {
        cell.get().unwrap_or_else(|| {
            let isolated = own_network().is_ok();
            assert!(
                isolated || !expects_kernel(),
                "the kernel path is tested as root"
            );
            cell.set(Some(isolated));
            isolated
        })
    })
}

fn own_network() -> io::Result<()> {
    // SAFETY: unshare(2) takes no pointer; it concerns this thread, and those it will start.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A port that nothing uses at the moment.
pub fn free_port() -> u16 {
    isolate();
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The child ends when the thread that starts it does, however that comes about.
pub fn dies_with_test(command: &mut Command) {
    // SAFETY: prctl(2) with these arguments is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| {
            check(libc::prctl(
                libc::PR_SET_PDEATHSIG,
                libc::SIGKILL as libc::c_ulong,
            ))
        });
    }
}

pub fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: kill(2) takes no pointer; the process is a child of ours that was not waited for.
    let result = unsafe { libc::kill(pid as libc::pid_t, signal) };
    assert_eq!(result, 0, "kill {pid}: {}", io::Error::last_os_error());
}

/// A close sends a reset.
pub fn reset_on_close(socket: &impl AsRawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the pointer and the length are those of `linger`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "SO_LINGER: {}", io::Error::last_os_error());
}

/// Sets a socket's receive buffer (`SO_RCVBUF`) or send buffer (`SO_SNDBUF`).
pub fn set_buffer(socket: &impl AsRawFd, which: libc::c_int, bytes: libc::c_int) {
    // SAFETY: the pointer and the length are those of `bytes`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            which,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "buffer size: {}", io::Error::last_os_error());
}

/// Stops a listener: accept(2) returns an error from now on.
pub fn stop_listening(listener: &impl AsRawFd) {
    // SAFETY: shutdown(2) takes no pointer.
    unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Waits until the socket can be read or written, as asked. Returns (readable, writable).
pub fn poll(socket: &impl AsRawFd, read: bool, write: bool, limit: Duration) -> (bool, bool) {
    let events = if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events,
        revents: 0,
    };
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one pollfd, and a count of one.
    unsafe { libc::poll(&raw mut entry, 1, limit) };
    let failed = entry.revents & (libc::POLLERR | libc::POLLHUP) != 0;
    let is = |event| entry.revents & event != 0;
    (
        read && (failed || is(libc::POLLIN)),
        write && (failed || is(libc::POLLOUT)),
    )
}

/// Waits until the peer's kernel has acknowledged all that was written to a TCP socket.
pub fn wait_acknowledged(socket: &impl AsRawFd) {
    super::wait_until("everything was acknowledged", || {
        let mut bytes: libc::c_int = -1;
        // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        result == 0 && bytes == 0
    });
}

/// Ticks of the clock in which /proc counts processor time.
pub fn ticks_per_second() -> f64 {
    // SAFETY: sysconf(3) takes no pointer.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}
