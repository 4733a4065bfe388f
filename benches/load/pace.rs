//! When the next unit begins.
//!
//! Closed loop: when the one before is over. Open loop: by a clock that waits for nobody. A unit
//! that should have begun while its connection was busy begins late, and its latency counts from
//! the moment it should have begun, so that a stall is seen by all that it delayed (no coordinated
//! omission).

use std::{
    cell::Cell,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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

/// One pace for each of `slots`, from now on.
pub fn paces(slots: u32, rate: Option<u32>, time: Duration, count: u64) -> Vec<Pace> {
    let Some(rate) = rate else {
        let (end, left) = (Instant::now() + time, Rc::new(Cell::new(count)));
        let closed = |_| Pace::Closed {
            end,
            left: Rc::clone(&left),
        };
        return (0..slots).map(closed).collect();
    };
    let (senders, paces): (Vec<_>, _) = (0..slots)
        .map(|_| unbounded_channel())
        .map(|(sender, receiver)| (sender, Pace::Open(receiver)))
        .unzip();
    thread::spawn(move || keep_time(&senders, rate, time));
    paces
}

/// A thread of its own: the runtime's timers have a resolution of a millisecond.
fn keep_time(senders: &[UnboundedSender<Instant>], rate: u32, time: Duration) {
    let start = Instant::now();
    let units = u64::from(rate) * time.as_secs();
    for (unit, sender) in (0..units).zip(senders.iter().cycle()) {
        let intended = start + Duration::from_nanos(unit * 1_000_000_000 / u64::from(rate));
        let wait = intended.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        // A slot that failed for good takes no more.
        let _ = sender.send(intended);
    }
}
