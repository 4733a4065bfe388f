//! When which connection wants to be woken: at most one time for each.

use std::collections::BTreeSet;

use super::core::Tick;

#[derive(Debug, Default)]
pub struct Timers(BTreeSet<(Tick, usize)>);

impl Timers {
    /// Replaces `old`, the time that was set before.
    pub fn set(&mut self, slot: usize, old: &mut Option<Tick>, at: Tick) {
        if *old != Some(at) {
            self.clear(slot, old);
            self.0.insert((at, slot));
            *old = Some(at);
        }
    }

    pub fn clear(&mut self, slot: usize, old: &mut Option<Tick>) {
        if let Some(at) = old.take() {
            self.0.remove(&(at, slot));
        }
    }

    pub fn next(&self) -> Option<Tick> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes one connection whose time has come.
    pub fn pop(&mut self, now: Tick) -> Option<usize> {
        let (at, slot) = *self.0.first()?;
        (at <= now).then(|| {
            self.0.pop_first();
            slot
        })
    }
}
