//! The machine that the tests run on: what it can do, and what this run expects of it.
//!
//! `LOCKGATE_TEST_EXPECT=kernel|user`: the path on which ordinary connections must begin. Without it,
//! what a socket of this machine says. `LOCKGATE_TEST_OFFLOAD`: that of ordinary configurations; without
//! it, the one that brings all into the kernel where that is expected. `LOCKGATE_TEST_REKEY=yes|no`: whether the kernel can change
//! keys; needed on the kernel path. `LOCKGATE_TEST_NO_CHACHA=1`: the kernel lacks that cipher.
//! `LOCKGATE_TEST_SCALE`: multiplies what things may take. `LOCKGATE_TEST_WAITER`: see `setup`.

use std::{
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    sys::{
        signal::{Signal, kill},
        socket::{Shutdown, setsockopt, shutdown, sockopt},
    },
    unistd::Pid,
};

use super::sys;
pub use super::sys::dies_with_test;

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

/// The setting of ordinary configurations.
pub fn offload() -> String {
    variable("LOCKGATE_TEST_OFFLOAD").unwrap_or_else(|| {
        let word = if expects_kernel() { "required" } else { "auto" };
        word.to_owned()
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

/// Whether kernel TLS guesses that records have no padding: the guest's older kernel goes wrong after a
/// wrong guess.
pub fn decrypts_in_place() -> bool {
    variable("LOCKGATE_GUEST").as_deref() == Some("7")
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
    setsockopt(&socket, sockopt::TcpUlp::default(), b"tls").is_ok()
}

/// Gives the calling test a network of its own, which the threads and programs that it starts
/// share: ports and /proc/net/tls_stat are nobody else's. Must come before the test's first
/// socket. Takes root; without it tests share the machine's network, except on the kernel path,
/// where each test counts keys.
pub fn isolate() -> bool {
    static MACHINE: OnceLock<PathBuf> = OnceLock::new();
    let network = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    // The first to ask is a test that has not been isolated yet.
    let isolated = *MACHINE.get_or_init(network) != network() || sys::own_network().is_ok();
    assert!(
        isolated || !expects_kernel(),
        "the kernel path is tested as root"
    );
    isolated
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

pub fn signal(pid: u32, signal: libc::c_int) {
    let pid = Pid::from_raw(pid.cast_signed());
    kill(pid, Signal::try_from(signal).unwrap()).unwrap();
}

/// A close sends a reset.
pub fn reset_on_close(socket: &impl AsFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(socket, sockopt::Linger, &linger).unwrap();
}

pub fn set_receive_buffer(socket: &impl AsFd, bytes: usize) {
    setsockopt(socket, sockopt::RcvBuf, &bytes).unwrap();
}

/// Stops a listener: accept(2) returns an error from now on.
pub fn stop_listening(listener: &impl AsRawFd) {
    // It may not be listening any more.
    let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
}

/// Waits until the socket can be read or written, as asked. Returns (readable, writable).
pub fn poll(socket: &impl AsFd, read: bool, write: bool, limit: Duration) -> (bool, bool) {
    let mut events = PollFlags::empty();
    events.set(PollFlags::POLLIN, read);
    events.set(PollFlags::POLLOUT, write);
    let mut entry = [PollFd::new(socket.as_fd(), events)];
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    // An interrupted or timed-out wait is one without an event.
    let _ = nix::poll::poll(&mut entry, limit);
    let happened = entry[0].revents().unwrap_or(PollFlags::empty());
    let failed = happened.intersects(PollFlags::POLLERR | PollFlags::POLLHUP);
    let is = |event| failed || happened.contains(event);
    (
        read && is(PollFlags::POLLIN),
        write && is(PollFlags::POLLOUT),
    )
}

/// Waits until the peer's kernel has acknowledged all that was written to a TCP socket.
pub fn wait_acknowledged(socket: &impl AsFd) {
    super::wait_until("everything was acknowledged", || {
        sys::unacknowledged(socket) == Some(0)
    });
}

/// Ticks of the clock in which /proc counts processor time.
pub fn ticks_per_second() -> f64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap();
    f64::from(i32::try_from(ticks.unwrap()).unwrap())
}
