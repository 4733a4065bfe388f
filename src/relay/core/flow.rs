//! What the relay knows of a leg and of a flow.

use super::update::Update;
use crate::limits;

/// One socket. The flags are the kernel's word (edges) until a call would block.
#[derive(Debug)]
pub(super) struct Leg {
    pub tls: bool,
    pub readable: bool,
    pub writable: bool,
    /// The kernel said that an end or an error waits behind what can be read.
    pub ending: bool,
    /// The kernel said that the socket is closed in both directions.
    pub hung: bool,
    /// A call failed, so that an end which is read after that is not the peer's.
    pub lost: bool,
    /// The peer's KeyUpdate was read; nothing more is, before the new keys are in place.
    pub receive_update: bool,
    /// Our own KeyUpdate.
    pub update: Update,
    /// Whether the keys of what is received, and of what is sent, can be changed.
    pub receives_updates: bool,
    pub sends_updates: bool,
    /// Sent under the present key, counted upwards: a write may make one more than its bytes need.
    pub records: u64,
    pub empty_records: u32,
    pub warnings: u32,
}

impl Leg {
    pub fn tls(records: u64, updates: bool) -> Self {
        Leg {
            tls: true,
            records,
            receives_updates: updates,
            sends_updates: updates,
            ..Leg::plain()
        }
    }

    pub fn plain() -> Self {
        Leg {
            tls: false,
            readable: false,
            writable: true,
            ending: false,
            hung: false,
            lost: false,
            receive_update: false,
            update: Update::None,
            receives_updates: false,
            sends_updates: false,
            records: 0,
            empty_records: 0,
            warnings: 0,
        }
    }

    pub fn sent(&mut self, bytes: usize) {
        if self.tls {
            self.records += (bytes / limits::RECORD_PAYLOAD_MAX + 1) as u64;
        }
    }
}

/// One direction of the stream.
#[derive(Debug)]
pub(super) struct Flow {
    pub state: FlowState,
    /// Bytes that were read and not yet written, in the form in which they are written.
    pub held: usize,
    /// Bytes of the stream that were read.
    pub bytes: u64,
    /// Reads splice.
    pub bulk: bool,
    /// Large reads in a row.
    streak: u8,
}

/// ```text
///   Open ──> Ended ──> Told
///     └────────└─────> Dead: the destination takes no more
/// ```
///
/// A bad end has no state: it closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowState {
    Open,
    /// The source ended cleanly; the destination does not know yet.
    Ended,
    Told,
    Dead,
}

impl FlowState {
    /// Whether anything may still be sent to the destination.
    pub fn sends(self) -> bool {
        matches!(self, FlowState::Open | FlowState::Ended)
    }
}

impl Flow {
    pub fn new() -> Self {
        Flow {
            state: FlowState::Open,
            held: 0,
            bytes: 0,
            bulk: false,
            streak: 0,
        }
    }

    pub fn arrived(&mut self, bytes: usize, held: usize, spliced: bool) {
        self.held = held;
        self.bytes += bytes as u64;
        if spliced {
            if bytes < limits::BULK_LEAVE_BYTES {
                self.leave_bulk();
            }
        } else if bytes >= limits::BULK_ENTER_BYTES {
            self.streak = self.streak.saturating_add(1);
            self.bulk = self.streak >= limits::BULK_ENTER_READS;
        } else {
            self.streak = 0;
        }
    }

    pub fn leave_bulk(&mut self) {
        self.bulk = false;
        self.streak = 0;
    }
}
