//! The end of a connection, as a walk: deliver, say farewell, wait for acknowledgement, linger.
//!
//! ```text
//!   Deliver ──> Farewell ──────────> Acknowledge ─────────> Linger ─────────> Over
//!   what is     close_notify         where a reset          what the client   close
//!   held        or alert accepted    would drop bytes       still sends
//! ```
//!
//! Each step is skipped where it has nothing to do, and bounded in time where it waits.

use std::time::Duration;

use super::{
    ALERT_INTERNAL_ERROR, Action, Ending, FlowState, Input, Outcome, Reason, Relay, Side, Tick, Way,
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
    now: Tick,
    poll: Poll,
    discarded: u64,
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
    fn from(now: Tick) -> Self {
        Poll { at: now, interval: 1, last: usize::MAX }
    }
}

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
            now,
            poll: Poll::from(now),
            discarded: 0,
            client_ended: false,
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
        self.now = now;
        self.deadline = now.after(limits::ACKNOWLEDGE_TIMEOUT);
    }

    pub fn tick(&mut self, now: Tick) {
        self.now = now;
        if now >= self.deadline.min(self.latest) && self.step != Step::Over {
            if self.step != Step::Linger {
                // Something was not delivered: nobody may take this for a clean end.
                self.client = Ending::Reset;
                self.backend = Ending::Reset;
            }
            self.step = Step::Over;
        }
    }

    fn go(&mut self, step: Step, wait: Duration) {
        self.step = step;
        self.deadline = self.now.after(wait);
        self.poll = Poll::from(self.now);
    }
}

impl Relay {
    pub(super) fn close(&mut self, reason: Reason) {
        let mut closing = Closing::new(reason, self.now, self.now.after(self.settings.idle_timeout));
        if self.down.state == FlowState::Told && closing.farewell == Farewell::CloseNotify {
            closing.farewell = Farewell::None;
        }
        if self.up.state == FlowState::Told && reason != Reason::ClientReset {
            closing.backend = Ending::Finish;
        }
        closing.client_ended = matches!(self.up.state, FlowState::Ended(_) | FlowState::Told);
        self.closing = Some(closing);
    }

    /// Closes at once, without the walk.
    pub fn abandon(&mut self, reason: Reason) {
        self.end(reason);
        if let Some(closing) = &mut self.closing {
            if closing.step != Step::Linger {
                closing.client = Ending::Reset;
                closing.backend = Ending::Reset;
            }
            closing.step = Step::Over;
        }
    }

    pub(super) fn closing_action(&mut self) -> Action {
        loop {
            let client_gone = self.client.lost || self.down.state == FlowState::Dead;
            let backend_gone = self.backend.lost || self.up.state == FlowState::Dead;
            let deliverable = |flow: &super::Flow| flow.held > 0 && flow.state != FlowState::Dead;
            let (up, down) = (deliverable(&self.up), deliverable(&self.down));
            let (client_writable, backend_writable) = (self.client.writable, self.backend.writable);
            let Some(closing) = &mut self.closing else { return Action::Wait };
            match closing.step {
                Step::Deliver if up && backend_writable => return Action::Write(Way::Up),
                Step::Deliver if down && client_writable => return Action::Write(Way::Down),
                Step::Deliver if up || down => return Action::Wait,
                Step::Deliver => closing.go(Step::Farewell, limits::ACKNOWLEDGE_TIMEOUT),
                Step::Farewell => match closing.farewell {
                    Farewell::CloseNotify if !client_gone && client_writable => {
                        return Action::EndStream(Side::Client);
                    }
                    Farewell::Alert(alert) if !client_gone && client_writable => {
                        return Action::Alert(Side::Client, alert);
                    }
                    Farewell::CloseNotify | Farewell::Alert(_) if !client_gone => {
                        return Action::Wait;
                    }
                    _ => closing.said(),
                },
                Step::Acknowledge(side) => {
                    let (gone, ending) = match side {
                        Side::Client => (client_gone, closing.client),
                        Side::Backend => (backend_gone, closing.backend),
                    };
                    // An alert must have arrived before unread bytes make close a reset.
                    let alerted = side == Side::Client
                        && matches!(closing.farewell, Farewell::Alert(_));
                    if gone || (ending == Ending::Finish && !alerted) {
                        closing.acknowledged(side);
                    } else if closing.now >= closing.poll.at {
                        return Action::AskAcknowledged(side);
                    } else {
                        return Action::Wait;
                    }
                }
                Step::Linger if client_gone || closing.client == Ending::Reset => {
                    closing.step = Step::Over;
                }
                Step::Linger if closing.discarded >= limits::LINGER_BYTES => {
                    closing.step = Step::Over;
                }
                Step::Linger if self.client.readable => return Action::Discard(Side::Client),
                Step::Linger if closing.client_ended => closing.step = Step::Over,
                Step::Linger if !closing.write_shut => return Action::ShutdownWrite(Side::Client),
                Step::Linger => return Action::Wait,
                Step::Over => {
                    return Action::Close { client: closing.client, backend: closing.backend };
                }
            }
        }
    }

    pub(super) fn closing_done(&mut self, action: Action, outcome: Outcome) {
        let now = self.now;
        let Some(closing) = &mut self.closing else { return };
        closing.now = now;
        match (action, outcome) {
            (Action::EndStream(_) | Action::Alert(..), Outcome::Done) => closing.said(),
            (Action::EndStream(side) | Action::Alert(side, _), Outcome::Blocked) => {
                self.leg_mut(side).writable = false;
            }
            (Action::EndStream(_) | Action::Alert(..), _) => {
                closing.client = Ending::Reset;
                closing.said();
            }
            (Action::ShutdownWrite(_), _) => closing.write_shut = true,
            (Action::AskAcknowledged(side), Outcome::Unacknowledged(bytes)) if bytes > 0 => {
                if bytes < closing.poll.last {
                    closing.poll.last = bytes;
                    closing.poll.interval = 1;
                    closing.progress(now);
                }
                closing.poll.at = Tick(now.0 + closing.poll.interval);
                closing.poll.interval = (closing.poll.interval * 2).min(POLL_MILLISECONDS_MAX);
                let _ = side;
            }
            (Action::AskAcknowledged(side), _) => closing.acknowledged(side),
            (Action::Discard(_), Outcome::Input(input)) => match input {
                Input::Data { bytes, drained, .. } => {
                    closing.discarded += bytes as u64;
                    if drained && !self.client.ending {
                        self.client.readable = false;
                    }
                }
                Input::Blocked => self.client.readable = false,
                Input::End | Input::Failed(_) => {
                    closing.client_ended = true;
                    self.client.readable = false;
                }
                Input::CloseNotify => closing.client_ended = true,
                // Anything else costs a little of the bound, so that this ends.
                _ => closing.discarded += 1 << 10,
            },
            _ => {}
        }
    }
}

impl Closing {
    fn said(&mut self) {
        self.go(Step::Acknowledge(Side::Backend), limits::ACKNOWLEDGE_TIMEOUT);
    }

    fn acknowledged(&mut self, side: Side) {
        match side {
            Side::Backend => {
                self.go(Step::Acknowledge(Side::Client), limits::ACKNOWLEDGE_TIMEOUT);
            }
            Side::Client => self.go(Step::Linger, limits::LINGER_TIMEOUT),
        }
    }
}
