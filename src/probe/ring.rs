//! io_uring: whether a ring can be made, and whether it does what the relay waits with.

use std::{io, os::fd::AsFd, time::Duration};

use io_uring::{Probe, opcode};

use super::{deadline::Deadline, files::Files, remedy};
use crate::{
    limits,
    sys::{
        event::{Event, Readiness},
        eventfd::EventFd,
        ring::Ring,
    },
};

/// What lockgate waits with, then what it could use one day.
const OPERATIONS: [(u8, &str); 18] = [
    (opcode::PollAdd::CODE, "poll_add"),
    (opcode::PollRemove::CODE, "poll_remove"),
    (opcode::AsyncCancel::CODE, "async_cancel"),
    (opcode::Timeout::CODE, "timeout"),
    (opcode::LinkTimeout::CODE, "link_timeout"),
    (opcode::Accept::CODE, "accept"),
    (opcode::Connect::CODE, "connect"),
    (opcode::Send::CODE, "send"),
    (opcode::Recv::CODE, "recv"),
    (opcode::SendMsg::CODE, "sendmsg"),
    (opcode::RecvMsg::CODE, "recvmsg"),
    (opcode::SendZc::CODE, "send_zc"),
    (opcode::SendMsgZc::CODE, "sendmsg_zc"),
    (opcode::Splice::CODE, "splice"),
    (opcode::Shutdown::CODE, "shutdown"),
    (opcode::Socket::CODE, "socket"),
    (opcode::MsgRingData::CODE, "msg_ring"),
    (opcode::UringCmd16::CODE, "uring_cmd"),
];

/// A kernel whose io_uring the relay can wait with.
#[derive(Debug)]
pub struct IoUring {
    /// SINGLE_ISSUER and DEFER_TASKRUN are granted: completions are made when the relay looks.
    pub deferred_completions: bool,
    /// Those of [`OPERATIONS`] that are supported.
    pub operations: Vec<&'static str>,
}

pub fn probe(files: &Files, deadline: Deadline) -> Result<IoUring, String> {
    let refused = |error| remedy::no_io_uring(&error, files);
    let (ring, deferred_completions) = plain_ring().map_err(refused)?;
    let operations = operations(&ring);
    drop(ring);
    let mut ring = Ring::new(limits::RING_ENTRIES).map_err(refused)?;
    multishot_poll(&mut ring, deadline).map_err(|error| {
        format!(
            "io_uring does not report readiness more than once ({}); a kernel of 6.1 or newer does",
            remedy::errno(&error)
        )
    })?;
    Ok(IoUring {
        deferred_completions,
        operations,
    })
}

/// A ring for questions, and whether it has the flags that the relay's asks for.
fn plain_ring() -> io::Result<(io_uring::IoUring, bool)> {
    let deferred = io_uring::IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(2);
    match deferred {
        Ok(ring) => Ok((ring, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok((io_uring::IoUring::new(2)?, false))
        }
        Err(error) => Err(error),
    }
}

/// Empty where the kernel does not tell.
fn operations(ring: &io_uring::IoUring) -> Vec<&'static str> {
    let mut probe = Probe::new();
    if ring.submitter().register_probe(&mut probe).is_err() {
        return Vec::new();
    }
    OPERATIONS
        .into_iter()
        .filter(|(code, _)| probe.is_supported(*code))
        .map(|(_, name)| name)
        .collect()
}

/// One poll reports two changes, and its end when it is removed.
fn multishot_poll(ring: &mut Ring, deadline: Deadline) -> io::Result<()> {
    const TOKEN: u64 = 1;
    let fd = EventFd::new()?;
    ring.add(fd.as_fd(), TOKEN)?;
    for _ in 0..2 {
        fd.wake();
        until(ring, deadline, |event| match event {
            Event::Ready { readiness, .. } => is_read(readiness).then_some(Ok(())),
            Event::Removed { .. } => Some(Err(io::ErrorKind::Unsupported.into())),
        })?;
        fd.clear();
        // What the kernel reports of this change as well is not to be taken for the next.
        ring.wait(Some(Duration::ZERO), &mut Vec::new())?;
    }
    ring.remove(TOKEN)?;
    until(ring, deadline, |event| {
        matches!(event, Event::Removed { .. }).then_some(Ok(()))
    })
}

fn is_read(readiness: Readiness) -> bool {
    readiness.bits() & Readiness::READABLE.bits() != 0
}

/// Waits for an event of which `decide` makes something.
fn until(
    ring: &mut Ring,
    deadline: Deadline,
    decide: impl Fn(Event) -> Option<io::Result<()>>,
) -> io::Result<()> {
    let mut events = Vec::new();
    loop {
        ring.wait(Some(deadline.remaining()?), &mut events)?;
        if let Some(decided) = events.drain(..).find_map(&decide) {
            return decided;
        }
    }
}
