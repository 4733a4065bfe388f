//! Readiness by io_uring: multishot POLL_ADD, submitted and reaped with one system call a turn.
//!
//! Nothing but readiness goes through the ring. IORING_OP_SPLICE always runs on a worker thread
//! (io_uring/splice.c, 6.1 to 7.3), and for small records a RECV saves less than its buffer costs.
//! A multishot poll has edge semantics: five records that wait may be one event.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use io_uring::{IoUring, cqueue, opcode, types};

use super::event::{Event, Readiness};

/// Marks the completion of a removal; tokens stay below it.
const REMOVAL: u64 = 1 << 63;

pub struct Ring {
    ring: IoUring,
}

impl Ring {
    /// SINGLE_ISSUER and DEFER_TASKRUN (6.1): completions are made on this thread, in `wait`.
    /// Older kernels get a ring without them.
    ///
    /// # Errors
    /// EPERM or ENOSYS where io_uring is refused (a container's seccomp filter,
    /// kernel.io_uring_disabled).
    pub fn new(entries: u32) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(entries * 4)
            .build(entries)
            .or_else(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => IoUring::builder().setup_cqsize(entries * 4).build(entries),
                _ => Err(error),
            })?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        Ok(Ring { ring })
    }

    /// Reports `fd`'s readiness under `token` (below 2^63) until it is removed.
    /// The kernel keeps the file open until [`Event::Removed`].
    pub fn add(&mut self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), Readiness::ALL.bits())
            .multi(true)
            .build()
            .user_data(token);
        self.push(&entry)
    }

    /// A later wait reports [`Event::Removed`], when the poll has ended.
    pub fn remove(&mut self, token: u64) -> io::Result<()> {
        // Not POLL_REMOVE, which gives up (EALREADY) on a poll whose event is on its way.
        let entry = opcode::AsyncCancel::new(token)
            .build()
            .user_data(token | REMOVAL);
        self.push(&entry)
    }

    /// Submits what was queued and waits for events, at most for `timeout` (`None`: no bound), and
    /// appends them to `out`.
    pub fn wait(&mut self, timeout: Option<Duration>, out: &mut Vec<Event>) -> io::Result<()> {
        let waited = match timeout {
            None => self.ring.submit_and_wait(1),
            Some(timeout) => {
                let time = types::Timespec::new()
                    .sec(timeout.as_secs())
                    .nsec(timeout.subsec_nanos());
                self.ring
                    .submitter()
                    .submit_with_args(1, &types::SubmitArgs::new().timespec(&time))
            }
        };
        match waited {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
                _ => return Err(error),
            },
        }
        let mut busy = Vec::new();
        for completion in self.ring.completion() {
            let token = completion.user_data();
            if token & REMOVAL != 0 {
                // The poll itself reports its end. One that had ended before: ENOENT, and its end
                // was reported then.
                if completion.result() == -libc::EALREADY {
                    busy.push(token & !REMOVAL);
                }
                continue;
            }
            if let Ok(bits) = u32::try_from(completion.result()) {
                out.push(Event::Ready {
                    token,
                    readiness: Readiness::from_bits(bits),
                });
            }
            if !cqueue::more(completion.flags()) {
                out.push(Event::Removed { token });
            }
        }
        busy.into_iter().try_for_each(|token| self.remove(token))
    }

    fn push(&mut self, entry: &io_uring::squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: POLL_ADD and ASYNC_CANCEL refer to no memory of ours.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }
}
