//! Durations that one thread records and others read: how many, how long, and how they spread.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

/// The lock is held for one recording, once a handshake or less, and while somebody copies the
/// figures; it is not for what happens more often.
#[derive(Debug, Default)]
pub struct Durations(Mutex<Recorded>);

/// What was recorded so far. Up to an hour in microseconds, with two significant digits: about
/// 30 KiB from the first one on.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    histogram: Option<Histogram<u64>>,
    sum: Duration,
}

impl Durations {
    pub fn record(&self, duration: Duration) {
        self.lock().record(duration);
    }

    pub fn recorded(&self) -> Recorded {
        self.lock().clone()
    }

    /// Whoever panicked left data that is whole: each guard covers one call.
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    pub fn record(&mut self, duration: Duration) {
        self.sum += duration;
        if self.histogram.is_none() {
            // Bounds that hdrhistogram takes; without it nothing would be recorded.
            self.histogram = Histogram::new_with_bounds(1, 3_600_000_000, 2).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(microseconds(duration));
        }
    }

    pub fn add(&mut self, other: &Recorded) {
        self.sum += other.sum;
        match (&mut self.histogram, &other.histogram) {
            (_, None) => {}
            (None, Some(_)) => self.histogram.clone_from(&other.histogram),
            // They have the same bounds.
            (Some(histogram), Some(other)) => drop(histogram.add(other)),
        }
    }

    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// Exact, unlike the rest.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    pub fn count_up_to(&self, bound: Duration) -> u64 {
        let histogram = self.histogram.as_ref();
        histogram.map_or(0, |histogram| {
            histogram.count_between(0, microseconds(bound))
        })
    }

    /// The duration that this part of all is not above, such as 0.99; `None` before the first.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let histogram = self.histogram.as_ref()?;
        Some(Duration::from_micros(histogram.value_at_quantile(part)))
    }
}

impl FromIterator<Recorded> for Recorded {
    fn from_iter<I: IntoIterator<Item = Recorded>>(parts: I) -> Self {
        let mut whole = Recorded::default();
        for part in parts {
            whole.add(&part);
        }
        whole
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_quantiles_are_within_their_error() {
        let (one, two) = (Durations::default(), Durations::default());
        for millisecond in 1..=1000 {
            let durations = if millisecond % 2 == 0 { &one } else { &two };
            durations.record(Duration::from_millis(millisecond));
        }
        let all: Recorded = [one.recorded(), two.recorded()].into_iter().collect();
        assert_eq!(all.count(), 1000);
        assert_eq!(all.sum(), Duration::from_millis(500_500));
        assert_eq!(all.count_up_to(Duration::from_millis(100)), 100);
        let close = |part: f64, expected: f64| {
            let found = all.quantile(part).unwrap().as_secs_f64();
            assert!(
                (expected..=expected * 1.01).contains(&found),
                "{part}: {found}"
            );
        };
        close(0.5, 0.5);
        close(0.999, 0.999);
        close(1.0, 1.0);
    }

    #[test]
    fn nothing_recorded_has_no_quantiles() {
        let nothing = Durations::default().recorded();
        assert_eq!((nothing.count(), nothing.quantile(0.5)), (0, None));
        assert_eq!(nothing.count_up_to(Duration::MAX), 0);
    }
}
