//! What must hold when the client is told of an end, and when the relay is over.

use super::super::{Ending, Reason, Side, Tick, way_to};
use super::run::Run;
use super::script::Weather;
use super::world::Item;
use crate::limits;

impl Run {
    pub fn check_close_notify(&self) {
        let down = &self.down;
        assert_eq!(down.accepted, down.read, "the end before the bytes");
        if !down.ended {
            assert!(
                !down.source_lost,
                "a clean end after the loss of the backend"
            );
            assert!(
                is_own(self.relay.reason()),
                "a clean end that the backend did not tell"
            );
        }
    }

    pub fn closes(&mut self, client: Ending, backend: Ending) {
        self.note(("close", self.relay.reason(), client, backend));
        assert_eq!(self.closed, None, "closes twice");
        self.closed = Some((client, backend));
        let reason = self.relay.reason();
        let since = self.closing_since.unwrap_or(self.now).0;
        let patient = self.now.0 - since < Tick(0).after(limits::ACKNOWLEDGE_TIMEOUT).0;
        self.check_reason(reason);

        let up_whole = self.up.ended && self.up.accepted == self.up.read;
        if backend == Ending::Finish && !up_whole && !self.up.destination_lost {
            let idle = matches!(reason, Reason::Idle | Reason::HalfClosedIdle);
            assert!(
                idle && !self.up.source_lost,
                "the backend sees a clean end: {reason}"
            );
        }
        if client == Ending::Finish && !self.client_told && !self.down.destination_lost {
            let spoke = matches!(reason, Reason::ClientTruncated | Reason::ClientAlert);
            assert!(spoke, "the client's leg is closed without a word: {reason}");
        }
        if !self.abandoned && patient {
            for (side, ending) in [(Side::Client, client), (Side::Backend, backend)] {
                let way = way_to(side);
                let stream = self.stream(way);
                let done = stream.destination_lost || stream.read == stream.accepted;
                assert!(done, "closes with undelivered bytes: {way:?}");
                let gone = stream.destination_lost || self.socket(side).reset;
                let unacknowledged = self.socket(side).unacknowledged();
                let client_ended = self.up.ended
                    || matches!(reason, Reason::ClientTruncated | Reason::ClientAlert);
                let unended = side == Side::Client && !client_ended;
                if (ending == Ending::Reset || unended) && !gone {
                    assert_eq!(
                        unacknowledged, 0,
                        "resets what was not acknowledged: {side:?}"
                    );
                }
            }
        }
        if self.weather != Weather::Rough {
            self.check_complete(reason);
        }
    }

    /// All that came before the end has gone on, where it could.
    pub fn check_complete(&mut self, reason: Reason) {
        let took = self.now.0 - self.closing_since.unwrap_or(self.now).0;
        assert!(took < 3_000, "closing waits for a timeout");
        let (up_whole, down_whole) = match reason {
            Reason::Finished => (self.up.told, true),
            // Its keys may have been used up first.
            Reason::BackendReset => (false, self.settings.records_per_key > 40),
            Reason::ClientTruncated
            | Reason::ClientReset
            | Reason::ClientAlert
            | Reason::BadRecord => (!self.up.told, false),
            _ => (false, false),
        };
        if up_whole && self.backend.listens() && !self.up.destination_lost {
            assert_eq!(
                self.client.sent, self.up.accepted,
                "what the client sent: {reason}"
            );
        }
        if down_whole && self.client.listens() {
            assert_eq!(
                self.backend.sent, self.down.accepted,
                "what the backend sent: {reason}"
            );
        }
        if self.weather == Weather::Clear {
            assert_eq!(reason, Reason::Finished);
            assert_eq!(self.closed, Some((Ending::Finish, Ending::Finish)));
            let all_read = self.client.unread().all(|item| *item == Item::Fin);
            assert!(all_read, "unread bytes make this a reset");
            while self.take(Side::Client) || self.take(Side::Backend) {}
            assert_eq!(self.client.sent, self.backend.seen.bytes);
            assert_eq!(self.backend.sent, self.client.seen.bytes);
            assert!(self.client.seen.close_notify && self.backend.seen.fin);
        }
    }

    pub fn check_reason(&self, reason: Reason) {
        let (client, backend) = (&self.client, &self.backend);
        let holds = match reason {
            Reason::Finished => self.down.told && self.down.ended,
            Reason::ClientTruncated => client.fin_arrived && !self.settings.truncation_is_clean,
            Reason::ClientReset => client.reset,
            Reason::BackendReset => backend.reset,
            Reason::ClientAlert | Reason::UnexpectedMessage | Reason::BadRecord => !self.up.ended,
            Reason::RecordFlood => !self.up.ended,
            Reason::KeyUpdateFlood => self.relay.key_updates().0 > limits::KEY_UPDATES_BURST,
            Reason::KeyUpdateUnsupported => {
                !self.receives_updates
                    || !self.sends_updates
                    || self.rekey_receive_fails
                    || self.rekey_transmit_fails
            }
            Reason::RecordLimit => !self.sends_updates,
            Reason::Idle | Reason::HalfClosedIdle => self.weather == Weather::Rough,
            Reason::Lifetime => self.settings.lifetime.is_some(),
            Reason::Drained | Reason::Closed => self.ended == Some(reason),
        };
        assert!(holds, "the reason is not {reason}");
    }
}

/// An end that the relay came to by itself.
fn is_own(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Idle
            | Reason::HalfClosedIdle
            | Reason::Lifetime
            | Reason::Drained
            | Reason::Closed
            | Reason::RecordLimit
    )
}
