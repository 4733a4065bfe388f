//! What one relay thread counts. Only that thread writes.

use std::sync::OnceLock;

use super::core::{Reason, Way};
use crate::counter::Counter;

#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RelayCounters {
    /// By [`Reason::ALL`].
    closed: [Counter; Reason::ALL.len()],
    /// Bytes by way, then user space or kernel.
    bytes: [[Counter; 2]; 2],
    spliced: [Counter; 2],
    /// Ways that moved into the kernel.
    moved: [Counter; 2],
    pub truncated: Counter,
    pub key_updates_received: Counter,
    pub key_updates_sent: Counter,
    pub pipes_in_use: Counter,
    pub pipes_pooled: Counter,
    pub pipe_failures: Counter,
    pub waiter: OnceLock<&'static str>,
}

impl RelayCounters {
    pub fn closed(&self, reason: Reason) -> &Counter {
        &self.closed[reason as usize]
    }

    pub fn bytes(&self, way: Way, kernel: bool) -> &Counter {
        &self.bytes[way as usize][usize::from(kernel)]
    }

    pub fn moved(&self, way: Way) -> &Counter {
        &self.moved[way as usize]
    }

    pub fn spliced(&self, way: Way) -> &Counter {
        &self.spliced[way as usize]
    }
}
