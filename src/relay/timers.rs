//! When which connection wants to be woken: at most one time for each.
//!
//! A bound on each wait would cost a timer of the kernel's per wait. So there is one alarm for all
//! (timerfd_create(2)), which is set when a time is earlier than it, or when it is over. Most times move on
//! before they come, so it rings for nobody now and then, and is seldom set.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use super::core::Tick;

#[derive(Debug)]
pub struct Timers {
    times: BTreeSet<(Tick, usize)>,
    alarm: TimerFd,
    rings: Option<Tick>,
}

impl Timers {
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Timers {
            times: BTreeSet::new(),
            alarm: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?,
            rings: None,
        })
    }

    /// Becomes readable, which is an event each time, when a connection's time has come or before that.
    pub fn alarm(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }

    /// Replaces `old`, the time that was set before.
    pub fn set(&mut self, slot: usize, old: &mut Option<Tick>, at: Tick) {
        if *old != Some(at) {
            self.clear(slot, old);
            self.times.insert((at, slot));
            *old = Some(at);
        }
    }

    pub fn clear(&mut self, slot: usize, old: &mut Option<Tick>) {
        if let Some(at) = old.take() {
            self.times.remove(&(at, slot));
        }
    }

    /// Takes one connection whose time has come.
    pub fn pop(&mut self, now: Tick) -> Option<usize> {
        let (at, slot) = *self.times.first()?;
        (at <= now).then(|| {
            self.times.pop_first();
            slot
        })
    }

    /// Makes the alarm ring in time for the earliest. It never rings before the tick that it was set to.
    pub fn arm(&mut self, now: Tick) -> io::Result<()> {
        let Some((at, _)) = self.times.first() else {
            return Ok(());
        };
        if self.rings.is_some_and(|rings| now < rings && rings <= *at) {
            return Ok(());
        }
        let wait = Duration::from_millis(at.0.saturating_sub(now.0).max(1));
        let once = Expiration::OneShot(TimeSpec::from(wait));
        self.alarm.set(once, TimerSetTimeFlags::empty())?;
        self.rings = Some(*at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::timerfd::Expiration::OneShot;

    use super::*;

    /// In thousands of seconds, so that none of them passes meanwhile.
    fn left(timers: &Timers) -> Option<i64> {
        match timers.alarm.get().unwrap() {
            Some(OneShot(left)) => Some(left.tv_sec() / 1000),
            _ => None,
        }
    }

    #[test]
    fn the_alarm_is_set_for_what_is_earlier_and_again_when_it_is_over() {
        let mut timers = Timers::new().unwrap();
        let (mut first, mut second) = (None, None);
        timers.arm(Tick(0)).unwrap();
        assert_eq!(left(&timers), None);
        timers.set(0, &mut first, Tick(100_900_000));
        timers.arm(Tick(0)).unwrap();
        assert_eq!(left(&timers), Some(100));
        timers.set(1, &mut second, Tick(50_500_000));
        timers.arm(Tick(0)).unwrap();
        assert_eq!(left(&timers), Some(50));
        // It moved on.
        timers.set(1, &mut second, Tick(900_500_000));
        timers.arm(Tick(40_000_000)).unwrap();
        assert_eq!(left(&timers), Some(50));
        timers.arm(Tick(50_500_000)).unwrap();
        assert_eq!(left(&timers), Some(50));
        assert_eq!(timers.pop(Tick(100_899_000)), None);
        assert_eq!(timers.pop(Tick(100_900_000)), Some(0));
        timers.arm(Tick(100_900_000)).unwrap();
        assert_eq!(left(&timers), Some(799));
        assert_eq!(timers.pop(Tick(900_500_000)), Some(1));
    }
}
