//! The end of a connection, as a walk: deliver, say farewell, wait for acknowledgement, linger.
//!
//! ```text
//!   Deliver ──> Farewell ──────────> Acknowledge ─────────> Linger ─────────> Over
//!   what is     close_notify         where a reset          what the client   close
//!   held        or alert accepted    would drop bytes       still sends
//! ```
//!
//! Each step is skipped where it has nothing to do, and bounded in time where it waits: a side that
//! keeps the walk waiting for too long is given up, and the walk goes on without it.

use std::time::Duration;

use super::{
    ALERT_INTERNAL_ERROR, Action, Ending, FlowState, Input, Outcome, Reason, Relay, Side, Tick,
    Update, Way, way_to,
};
use crate::limits;

#[derive(Debug)]
pub(super) struct Closing {
    pub reason: Reason,
    farewell: Farewell,
    client: Ending,
    backend: Ending,
    step: Step,
    /// The end of the walk, whatever happens.
    latest: Tick,
    /// The end of the present wait; pushed on by progress.
    deadline: Tick,
    poll: Poll,
    /// What may still be read and dropped.
    discards: u64,
    client_ended: bool,
    write_shut: bool,
}

/// What the client is told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    None,
    CloseNotify,
    Alert(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Deliver,
    Farewell,
    Acknowledge(Side),
    Linger,
    Over,
}

/// Asking for acknowledgement: nothing announces it, so it is asked for again, less and less often.
#[derive(Debug)]
struct Poll {
    at: Tick,
    interval: u64,
    last: usize,
}

const POLL_MILLISECONDS_MAX: u64 = 64;

impl Poll {
    fn starting(now: Tick) -> Self {
        Poll {
            at: now,
            interval: 1,
            last: usize::MAX,
        }
    }
}

/// What a read that is dropped costs at least, so that a trickle comes to an end too.
const DISCARD_BYTES_MIN: usize = 1 << 10;

impl Closing {
    fn new(reason: Reason, now: Tick, latest: Tick) -> Self {
        use Ending::{Finish, Reset};
        let (farewell, client, backend) = match reason {
            Reason::Finished => (Farewell::None, Finish, Finish),
            Reason::Idle | Reason::HalfClosedIdle => (Farewell::CloseNotify, Finish, Finish),
            // The client has all that was sent to it; the backend must not take what it got for
            // all that there was.
            Reason::Lifetime | Reason::Drained | Reason::Closed | Reason::RecordLimit => {
                (Farewell::CloseNotify, Finish, Reset)
            }
            Reason::ClientTruncated | Reason::ClientAlert => (Farewell::None, Finish, Reset),
            Reason::ClientReset => (Farewell::None, Reset, Reset),
            Reason::BackendReset => (Farewell::Alert(ALERT_INTERNAL_ERROR), Reset, Reset),
            Reason::BadRecord
            | Reason::UnexpectedMessage
            | Reason::RecordFlood
            | Reason::KeyUpdateFlood
            | Reason::KeyUpdateUnsupported => {
                (Farewell::Alert(ALERT_INTERNAL_ERROR), Finish, Reset)
            }
        };
        Closing {
            reason,
            farewell,
            client,
            backend,
            step: Step::Deliver,
            latest,
            deadline: now.after(limits::ACKNOWLEDGE_TIMEOUT),
            poll: Poll::starting(now),
            discards: limits::LINGER_BYTES,
            client_ended: matches!(
                reason,
                Reason::ClientTruncated | Reason::ClientReset | Reason::ClientAlert
            ),
            write_shut: false,
        }
    }

    pub fn answer_with(&mut self, alert: u8) {
        if matches!(self.farewell, Farewell::Alert(_)) {
            self.farewell = Farewell::Alert(alert);
        }
    }

    pub fn wake(&self) -> Tick {
        let deadline = self.deadline.min(self.latest);
        match self.step {
            Step::Acknowledge(_) => deadline.min(self.poll.at),
            _ => deadline,
        }
    }

    pub fn progress(&mut self, now: Tick) {
        self.deadline = now.after(limits::ACKNOWLEDGE_TIMEOUT);
    }

    pub fn lingers(&self) -> bool {
        matches!(self.step, Step::Linger | Step::Over)
    }

    fn go(&mut self, step: Step, now: Tick, wait: Duration) {
        self.step = step;
        self.deadline = now.after(wait);
        self.poll = Poll::starting(now);
    }

    fn said(&mut self, now: Tick) {
        self.go(
            Step::Acknowledge(Side::Client),
            now,
            limits::ACKNOWLEDGE_TIMEOUT,
        );
    }

    fn acknowledged(&mut self, side: Side, now: Tick) {
        match side {
            Side::Client => {
                self.go(
                    Step::Acknowledge(Side::Backend),
                    now,
                    limits::ACKNOWLEDGE_TIMEOUT,
                );
            }
            Side::Backend => self.go(Step::Linger, now, limits::LINGER_TIMEOUT),
        }
    }

    /// Whether acknowledgement matters: a reset drops what is on its way, and what a client that
    /// has not ended its stream sends may turn close into one.
    fn awaits(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client == Ending::Reset || !self.client_ended,
            Side::Backend => self.backend == Ending::Reset,
        }
    }

    fn reset_both(&mut self) {
        self.client = Ending::Reset;
        self.backend = Ending::Reset;
    }
}

impl Relay {
    /// The first reason to close stays the reason.
    pub(super) fn close(&mut self, reason: Reason) {
        if self.closing.is_some() {
            return;
        }
        let reason = self.cause(reason);
        let timeout = self.settings.idle_timeout.max(limits::ACKNOWLEDGE_TIMEOUT);
        let mut closing = Closing::new(reason, self.now, self.now.after(timeout));
        if self.down.state == FlowState::Told {
            // Nothing may follow a close_notify.
            closing.farewell = Farewell::None;
        }
        let ended = matches!(self.up.state, FlowState::Ended | FlowState::Told);
        if ended && reason != Reason::ClientReset {
            closing.backend = Ending::Finish;
        }
        if self.client.lost {
            closing.client = Ending::Reset;
        }
        closing.client_ended |= ended;
        if self.client.update == Update::Send {
            // It has no data to precede.
            self.client.update = Update::None;
        }
        self.closing = Some(closing);
        // From here on no read would tell.
        self.heed_hangup(Side::Client);
        self.heed_hangup(Side::Backend);
    }

    /// A peer that was already lost when the relay came to its own end is the reason for the end,
    /// so that the other does not take this for a clean one.
    fn cause(&self, reason: Reason) -> Reason {
        match reason {
            Reason::Idle
            | Reason::HalfClosedIdle
            | Reason::Lifetime
            | Reason::Drained
            | Reason::Closed
            | Reason::RecordLimit => {
                if self.client.lost || self.client.hung {
                    Reason::ClientReset
                } else if self.backend.lost && self.down.state == FlowState::Open {
                    Reason::BackendReset
                } else {
                    reason
                }
            }
            _ => reason,
        }
    }

    /// Closes at once, without the walk.
    pub fn abandon(&mut self, reason: Reason) {
        self.close(reason);
        if let Some(closing) = &mut self.closing {
            if !closing.lingers() {
                closing.reset_both();
            }
            closing.step = Step::Over;
        }
    }

    pub(super) fn closing_action(&mut self) -> Action {
        if let Some(action) = self.update_action() {
            return action;
        }
        let now = self.now;
        loop {
            let (up, down) = (self.deliverable(Way::Up), self.deliverable(Way::Down));
            let (client_gone, backend_gone) =
                (self.is_gone(Side::Client), self.is_gone(Side::Backend));
            // Lost before the end of its stream, that is.
            let backend_lost = self.backend.lost && self.down.state == FlowState::Open;
            let Some(closing) = &mut self.closing else {
                return Action::Wait;
            };
            match closing.step {
                Step::Deliver if up && self.backend.writable => return Action::Write(Way::Up),
                Step::Deliver if down && self.client.writable => return Action::Write(Way::Down),
                Step::Deliver if up || down => return Action::Wait,
                Step::Deliver => closing.go(Step::Farewell, now, limits::ACKNOWLEDGE_TIMEOUT),
                Step::Farewell => match closing.farewell {
                    Farewell::CloseNotify | Farewell::Alert(_) if client_gone => closing.said(now),
                    Farewell::None => closing.said(now),
                    Farewell::CloseNotify if backend_lost => {
                        closing.farewell = Farewell::Alert(ALERT_INTERNAL_ERROR);
                        closing.client = Ending::Reset;
                    }
                    _ if !self.client.writable => return Action::Wait,
                    Farewell::CloseNotify => return Action::EndStream(Side::Client),
                    Farewell::Alert(alert) => return Action::Alert(Side::Client, alert),
                },
                Step::Acknowledge(side) => {
                    if client_gone && self.up.state != FlowState::Told {
                        closing.backend = Ending::Reset;
                    }
                    let gone = match side {
                        Side::Client => client_gone,
                        Side::Backend => backend_gone,
                    };
                    if gone || !closing.awaits(side) {
                        closing.acknowledged(side, now);
                    } else if now >= closing.poll.at {
                        return Action::AskAcknowledged(side);
                    } else {
                        return Action::Wait;
                    }
                }
                Step::Linger if client_gone || closing.client == Ending::Reset => {
                    closing.step = Step::Over;
                }
                Step::Linger if closing.discards == 0 => closing.step = Step::Over,
                Step::Linger if self.client.readable && self.budget == 0 => return Action::Yield,
                Step::Linger if self.client.readable => return Action::Discard(Side::Client),
                Step::Linger if closing.client_ended => closing.step = Step::Over,
                Step::Linger if !closing.write_shut => return Action::ShutdownWrite(Side::Client),
                Step::Linger => return Action::Wait,
                Step::Over => {
                    return Action::Close {
                        client: closing.client,
                        backend: closing.backend,
                    };
                }
            }
        }
    }

    fn deliverable(&self, way: Way) -> bool {
        self.holds(way) && !self.is_gone(way.to())
    }

    /// Whether nothing can be sent to that side any more.
    fn is_gone(&self, side: Side) -> bool {
        self.leg(side).lost || self.flow(way_to(side)).state == FlowState::Dead
    }

    pub(super) fn closing_tick(&mut self) {
        let now = self.now;
        let (up, down) = (self.deliverable(Way::Up), self.deliverable(Way::Down));
        let Some(closing) = &mut self.closing else {
            return;
        };
        if now < closing.deadline.min(closing.latest) {
            return;
        }
        match closing.step {
            Step::Deliver | Step::Farewell => {
                let client = down || closing.step == Step::Farewell;
                // Something was not delivered: nobody may take this for a clean end.
                closing.reset_both();
                self.client.lost |= client;
                self.backend.lost |= up;
            }
            Step::Acknowledge(Side::Client) => {
                closing.client = Ending::Reset;
                self.client.lost = true;
            }
            Step::Acknowledge(Side::Backend) => self.backend.lost = true,
            Step::Linger | Step::Over => closing.step = Step::Over,
        }
        if now >= closing.latest {
            closing.step = Step::Over;
        }
    }

    pub(super) fn closing_done(&mut self, action: Action, outcome: Outcome) {
        let now = self.now;
        let Some(closing) = &mut self.closing else {
            return;
        };
        match (action, outcome) {
            (Action::EndStream(_) | Action::Alert(..), Outcome::Done) => closing.said(now),
            (Action::EndStream(side) | Action::Alert(side, _), Outcome::Blocked) => {
                self.leg_mut(side).writable = false;
            }
            (Action::EndStream(_) | Action::Alert(..), _) => {
                closing.client = Ending::Reset;
                self.client.lost = true;
            }
            (Action::ShutdownWrite(_), _) => closing.write_shut = true,
            (Action::AskAcknowledged(_), Outcome::Unacknowledged(bytes)) if bytes > 0 => {
                if bytes < closing.poll.last {
                    closing.poll.last = bytes;
                    closing.poll.interval = 1;
                    closing.progress(now);
                }
                closing.poll.at = Tick(now.0 + closing.poll.interval);
                closing.poll.interval = (closing.poll.interval * 2).min(POLL_MILLISECONDS_MAX);
            }
            (Action::AskAcknowledged(side), _) => closing.acknowledged(side, now),
            (Action::Discard(_), Outcome::Input(input)) => self.discarded(input),
            _ => {}
        }
    }

    fn discarded(&mut self, input: Input) {
        let client = &mut self.client;
        let Some(closing) = &mut self.closing else {
            return;
        };
        let mut cost = DISCARD_BYTES_MIN;
        match input {
            Input::Data { bytes, drained, .. } => {
                cost = cost.max(bytes);
                client.readable = !drained || client.ending;
            }
            Input::Blocked => client.readable = false,
            // After any of these nothing can be read.
            Input::End | Input::Failed(_) | Input::Violation(_) => {
                client.readable = false;
                closing.client_ended = true;
            }
            Input::CloseNotify | Input::Fatal(_) => closing.client_ended = true,
            Input::KeyUpdate { .. } if client.receives_updates => client.receive_update = true,
            Input::KeyUpdate { .. } => closing.client_ended = true,
            Input::Empty | Input::Warning(_) | Input::Unspliceable => {}
        }
        closing.discards = closing.discards.saturating_sub(cost as u64);
        self.budget = self.budget.saturating_sub(cost);
    }
}
