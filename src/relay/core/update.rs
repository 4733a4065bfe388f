//! KeyUpdates of the client leg, the peer's and our own (RFC 8446, section 4.6.3).

use super::{
    ALERT_INTERNAL_ERROR, ALERT_UNEXPECTED_MESSAGE, Action, Failure, Outcome, Reason, Relay, Side,
    Way, lost, way_from, way_to,
};
use crate::limits;

/// The next step of a KeyUpdate that we send (RFC 8446, section 4.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    None,
    /// It is due; nothing is read for this leg any more before it was sent.
    Send,
    /// It was sent; nothing else is, before the new keys are in place.
    Transmit,
}

impl Relay {
    /// From now on the client's leg cannot change the keys that the bytes of `way` go under.
    pub fn keeps_keys(&mut self, way: Way) {
        match way {
            Way::Up => self.client.receives_updates = false,
            Way::Down => self.client.sends_updates = false,
        }
    }

    pub(super) fn key_update(&mut self, side: Side, answer: bool) {
        self.updates_received += 1;
        // After close_notify nothing is sent any more, and so under no key.
        let sends = self.flow(way_to(side)).state.sends();
        let leg = self.leg(side);
        // One that asks for an answer must get it (RFC 8446, section 4.6.3).
        if !leg.receives_updates || (answer && sends && !leg.sends_updates) {
            return self.violation(Reason::KeyUpdateUnsupported, ALERT_INTERNAL_ERROR);
        }
        let paid = self.flow(way_from(side)).bytes / limits::KEY_UPDATE_BYTES;
        let leg = self.leg_mut(side);
        leg.receive_update = true;
        if answer && sends && leg.update == Update::None {
            leg.update = Update::Send;
        }
        if u64::from(self.updates_received) > u64::from(limits::KEY_UPDATES_BURST) + paid {
            self.violation(Reason::KeyUpdateFlood, ALERT_UNEXPECTED_MESSAGE);
        }
    }

    pub(super) fn update_action(&self) -> Option<Action> {
        let side = Side::Client;
        let leg = self.leg(side);
        if leg.receive_update {
            return Some(Action::UpdateReceive(side));
        }
        match leg.update {
            Update::Send if leg.writable && !self.holds(way_to(side)) => {
                Some(Action::SendKeyUpdate(side))
            }
            Update::None | Update::Send => None,
            Update::Transmit => Some(Action::UpdateTransmit(side)),
        }
    }

    pub(super) fn receive_updated(&mut self, side: Side, outcome: Outcome) {
        self.leg_mut(side).receive_update = false;
        if outcome != Outcome::Done {
            self.violation(Reason::KeyUpdateUnsupported, ALERT_INTERNAL_ERROR);
        }
    }

    pub(super) fn key_update_sent(&mut self, side: Side, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.leg_mut(side).update = Update::Transmit,
            Outcome::Failed(Failure::Unsupported) => {
                self.violation(Reason::KeyUpdateUnsupported, ALERT_INTERNAL_ERROR);
            }
            Outcome::Failed(failure) => self.destination_lost(way_to(side), failure),
            _ => self.leg_mut(side).writable = false,
        }
    }

    pub(super) fn transmit_updated(&mut self, side: Side, outcome: Outcome) {
        let leg = self.leg_mut(side);
        if outcome == Outcome::Done {
            leg.update = Update::None;
            leg.records = 0;
            self.updates_sent += 1;
        } else {
            // The peer awaits the next keys: under the present ones not even an alert arrives.
            self.destination_lost(way_to(side), Failure::Lost);
            let gone = outcome == Outcome::Failed(Failure::Lost);
            self.close(if gone {
                lost(side)
            } else {
                Reason::KeyUpdateUnsupported
            });
        }
    }

    pub(super) fn watch_record_limit(&mut self, side: Side) {
        let leg = self.leg(side);
        if leg.tls && leg.update == Update::None && leg.records >= self.settings.records_per_key {
            if leg.sends_updates {
                self.leg_mut(side).update = Update::Send;
            } else {
                self.close(Reason::RecordLimit);
            }
        }
    }
}
