//! When the next unit begins.
//!
//! Closed loop: when the one before is over. Open loop: by a clock that waits for nobody. A unit
//! that should have begun while its connection was busy begins late, and its latency counts from
//! the moment it should have begun, so that a stall is seen by all that it delayed (no coordinated
//! omission).

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use lockgate::sys::watch::watch;
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

pub enum Pace {
    Closed { end: Instant, left: Rc<Cell<u64>> },
    Open(UnboundedReceiver<Instant>),
}

impl Pace {
    /// The moment from which the next unit counts; `None` at the end of the run.
    pub async fn next(&mut self) -> Option<Instant> {
        match self {
            Pace::Closed { end, left } => {
                let now = Instant::now();
                if now >= *end || left.get() == 0 {
                    return None;
                }
                left.set(left.get() - 1);
                Some(now)
            }
            Pace::Open(starts) => starts.recv().await,
        }
    }
}

/// One pace for each of `slots`, from now on. Called on a `LocalSet`.
pub fn paces(slots: u32, rate: Option<u32>, time: Duration, count: u64) -> io::Result<Vec<Pace>> {
    let Some(rate) = rate else {
        let (end, left) = (Instant::now() + time, Rc::new(Cell::new(count)));
        let closed = |_| Pace::Closed {
            end,
            left: Rc::clone(&left),
        };
        return Ok((0..slots).map(closed).collect());
    };
    let (senders, paces): (Vec<_>, _) = (0..slots)
        .map(|_| unbounded_channel())
        .map(|(sender, receiver)| (sender, Pace::Open(receiver)))
        .unzip();
    let interval = Duration::from_nanos(1_000_000_000 / u64::from(rate));
    let start = Instant::now();
    let timer = timer(interval)?;
    let units = u64::from(rate) * time.as_secs();
    tokio::task::spawn_local(keep_time(timer, senders, start, interval, units));
    Ok(paces)
}

/// The runtime's own timers have a resolution of a millisecond. A thread that sleeps, wakes and is heard costs 16 us a
/// unit on the CPU of the client, and delays each by some 100 us more than this one, by which the runtime wakes itself.
fn timer(interval: Duration) -> io::Result<AsyncFd<Rc<OwnedFd>>> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
    let interval = Expiration::Interval(TimeSpec::from_duration(interval));
    timer.set(interval, TimerSetTimeFlags::empty())?;
    watch(Rc::new(timer.as_fd().try_clone_to_owned()?))
}

async fn keep_time(
    timer: AsyncFd<Rc<OwnedFd>>,
    senders: Vec<UnboundedSender<Instant>>,
    start: Instant,
    interval: Duration,
    units: u64,
) {
    let mut intended = start;
    let mut slots = senders.iter().cycle();
    let mut left = units;
    while left > 0 {
        let expired = timer.async_io(Interest::READABLE, |timer| {
            let mut count = [0; size_of::<u64>()];
            nix::unistd::read(timer.as_raw_fd(), &mut count)?;
            Ok(u64::from_ne_bytes(count))
        });
        // Without a clock the run is over; the shortfall shows in its rate.
        let Ok(expired) = expired.await else { return };
        for sender in slots
            .by_ref()
            .take(usize::try_from(expired.min(left)).unwrap_or(0))
        {
            intended += interval;
            // A slot that failed for good takes no more.
            let _ = sender.send(intended);
        }
        left = left.saturating_sub(expired);
    }
}
