//! The relay between two simulated sockets: any order of events, partial writes, late and spurious
//! edges, jumps of time, peers that end in every way there is.
//!
//! `LOCKGATE_SEED=n cargo test seeds_hold -- --nocapture` replays one seed and prints its steps;
//! `LOCKGATE_SEEDS=n` sets how many are tried.

mod checks;
mod claims;
mod run;
mod script;
mod table;
mod world;

use std::{
    collections::{BTreeMap, HashSet},
    env,
};

use super::Reason;
use run::Run;

const SEEDS: u64 = 20_000;

/// Says which seed it was.
struct Witness(u64);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("replay with LOCKGATE_SEED={}", self.0);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|value| value.parse().expect("a number"))
}

#[test]
fn seeds_hold() {
    if let Some(seed) = number("LOCKGATE_SEED") {
        let mut run = Run::new(seed);
        run.trace = true;
        run.run();
        return;
    }
    let mut reasons = BTreeMap::<Reason, u32>::new();
    let mut actions = HashSet::new();
    for seed in 0..number("LOCKGATE_SEEDS").unwrap_or(SEEDS) {
        let witness = Witness(seed);
        let mut run = Run::new(seed);
        *reasons.entry(run.run()).or_default() += 1;
        actions.extend(run.actions);
        drop(witness);
    }
    println!("{reasons:?}");
    for reason in Reason::ALL {
        assert!(reasons.contains_key(&reason), "no seed ends with {reason}");
    }
    assert_eq!(actions.len(), 14, "every action is performed in some seed");
}
