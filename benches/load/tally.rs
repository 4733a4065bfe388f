//! What was counted, in one process or, merged, in all of them.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{Error, client::Agreed};

/// Three significant digits up to ten minutes, in nanoseconds.
const LATENCY_MAX: u64 = 600 * 1_000_000_000;

pub struct Tally {
    pub counts: Counts,
    pub latency: Histogram<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    pub done: u64,
    pub failed: u64,
    /// Of bodies, or of greetings.
    pub bytes: u64,
    /// The longest process.
    pub seconds: f64,
    /// Connections that ended without close_notify where nothing was missing.
    pub unclean_ends: u64,
    pub kinds: BTreeMap<String, u64>,
    pub versions: BTreeMap<String, u64>,
    pub suites: BTreeMap<String, u64>,
    pub groups: BTreeMap<String, u64>,
    pub errors: BTreeMap<String, u64>,
}

/// As it goes from a child to its parent.
#[derive(Serialize, Deserialize)]
pub struct Sent {
    pub counts: Counts,
    /// Value and how often.
    pub latency: Vec<(u64, u64)>,
}

impl Tally {
    pub fn new() -> Result<Self, Error> {
        Ok(Tally {
            counts: Counts::default(),
            latency: Histogram::new_with_bounds(1, LATENCY_MAX, 3)?,
        })
    }

    pub fn done(&mut self, latency: Duration, bytes: u64) {
        self.counts.done += 1;
        self.counts.bytes += bytes;
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_MAX);
        self.latency.saturating_record(nanoseconds);
    }

    pub fn failed(&mut self, error: &Error) {
        self.counts.failed += 1;
        add(&mut self.counts.errors, &error.to_string(), 1);
    }

    pub fn agreed(&mut self, agreed: &Agreed) {
        let counts = &mut self.counts;
        add(&mut counts.kinds, agreed.kind, 1);
        add(&mut counts.versions, &agreed.version, 1);
        add(&mut counts.suites, &agreed.suite, 1);
        add(&mut counts.groups, &agreed.group, 1);
    }

    pub fn to_sent(&self) -> Sent {
        let latency = self.latency.iter_recorded();
        Sent {
            counts: self.counts.clone(),
            latency: latency
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
        }
    }

    pub fn merge(&mut self, other: &Sent) {
        let (ours, theirs) = (&mut self.counts, &other.counts);
        ours.done += theirs.done;
        ours.failed += theirs.failed;
        ours.bytes += theirs.bytes;
        ours.seconds = ours.seconds.max(theirs.seconds);
        ours.unclean_ends += theirs.unclean_ends;
        for (ours, theirs) in [
            (&mut ours.kinds, &theirs.kinds),
            (&mut ours.versions, &theirs.versions),
            (&mut ours.suites, &theirs.suites),
            (&mut ours.groups, &theirs.groups),
            (&mut ours.errors, &theirs.errors),
        ] {
            for (key, count) in theirs {
                add(ours, key, *count);
            }
        }
        for (value, count) in &other.latency {
            self.latency.saturating_record_n(*value, *count);
        }
    }
}

fn add(map: &mut BTreeMap<String, u64>, key: &str, count: u64) {
    *map.entry(key.to_owned()).or_default() += count;
}
