//! The relay of one connection, without I/O of its own.
//!
//! ```text
//!   client leg (TLS)                                 backend leg (plain)
//!        │   ── Up:   read ─> held ─> write ──────────────>  │
//!        │  <────────────── write <─ held <─ read :Down ──   │
//! ```
//!
//! Readiness, the results of system calls and the time come in; actions go out:
//!
//! ```text
//!   ready(side, ..) ─┐
//!   tick(now) ───────┼─> next() -> Action ──> the caller performs it ──> done(action, outcome) ─┐
//!   end(reason) ─────┘     ^                                                                    │
//!                          └────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A flow reads only while it holds nothing, so that backpressure is the kernel's, a pipe is only
//! filled when empty, and memory is bounded by what one read brings. What it must never do:
//! - turn the loss of a peer into a clean end for the other: a bad end leads to [`Action::Close`]
//!   with [`Ending::Reset`], after all that had arrived was delivered and acknowledged;
//! - close or shut down a TLS leg before its close_notify (or alert) was accepted, which the
//!   kernel refuses until accepted data has room, for otherwise accepted data is lost;
//! - read on while a KeyUpdate's keys are not installed, or send between a KeyUpdate and its keys.

mod action;
mod closing;
mod flow;
mod reason;
#[cfg(test)]
mod simulation;
mod update;

use std::time::Duration;

use crate::limits;
pub use action::{Action, Ending, Failure, Input, Outcome, Side, Way};
use closing::Closing;
use flow::{Flow, FlowState, Leg};
pub use reason::Reason;
use update::Update;

/// Milliseconds on a clock that never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tick(pub u64);

impl Tick {
    pub fn after(self, duration: Duration) -> Tick {
        Tick(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// What of the configuration a relay needs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub idle_timeout: Duration,
    pub half_closed_timeout: Duration,
    /// From the start of the relay.
    pub lifetime: Option<Duration>,
    pub truncation_is_clean: bool,
    pub records_per_key: u64,
    /// Whether the client's leg can update keys.
    pub client_updates: bool,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Relay {
    client: Leg,
    backend: Leg,
    up: Flow,
    down: Flow,
    closing: Option<Closing>,
    /// The way that is looked at first, for fairness between the two.
    first: Way,
    /// Bytes that may still be read in this turn.
    budget: usize,
    now: Tick,
    active: Tick,
    started: Tick,
    settings: Settings,
    updates_received: u32,
    updates_sent: u32,
    truncated: bool,
}

impl Relay {
    /// `client_records`: records sent to the client so far under its present key.
    pub fn new(settings: Settings, client_records: u64, now: Tick) -> Self {
        Relay {
            client: Leg::tls(client_records, settings.client_updates),
            backend: Leg::plain(),
            up: Flow::new(),
            down: Flow::new(),
            closing: None,
            first: Way::Up,
            budget: limits::TURN_BYTES,
            now,
            active: now,
            started: now,
            settings,
            updates_received: 0,
            updates_sent: 0,
            truncated: false,
        }
    }

    /// Bytes of the stream that were read from the source of `way`.
    pub fn bytes(&self, way: Way) -> u64 {
        self.flow(way).bytes
    }

    /// Whether the next bytes of `way` are spliced.
    pub fn splices(&self, way: Way) -> bool {
        self.flow(way).bulk
    }

    pub fn key_updates(&self) -> (u32, u32) {
        (self.updates_received, self.updates_sent)
    }

    /// Whether the client's FIN came without close_notify, however it was taken.
    pub fn was_truncated(&self) -> bool {
        self.truncated
    }

    /// Whether a direction holds bytes, and so a buffer or a pipe.
    pub fn holds(&self, way: Way) -> bool {
        self.flow(way).held > 0
    }

    /// Whether something is sent at once behind what is held: the source's end is known to be there,
    /// and will be read next. A client always gets a last word, close_notify or an alert; a backend may
    /// get nothing but a reset, which waits for what it has not got.
    pub fn goes_on(&self, way: Way) -> bool {
        let source = self.leg(way.from());
        way == Way::Down
            && self.closing.is_none()
            && self.flow(way).state == FlowState::Open
            && source.ending
            && source.readable
    }

    /// Why the connection ended or is about to.
    pub fn reason(&self) -> Reason {
        self.closing
            .as_ref()
            .map_or(Reason::Finished, |closing| closing.reason)
    }

    /// The kernel says that something changed.
    pub fn ready(
        &mut self,
        side: Side,
        readable: bool,
        writable: bool,
        ending: bool,
        hangup: bool,
    ) {
        let leg = self.leg_mut(side);
        leg.readable |= readable | ending | hangup;
        leg.writable |= writable | hangup;
        leg.ending |= ending | hangup;
        leg.hung |= hangup;
        self.heed_hangup(side);
    }

    /// The next action. The caller performs it and calls [`Relay::done`], unless it is `Wait`,
    /// `Yield` or `Close`.
    #[allow(
        clippy::should_implement_trait,
        reason = "it takes answers: no iterator"
    )]
    pub fn next(&mut self) -> Action {
        if self.closing.is_none() {
            if let Some(action) = self.relaying() {
                return action;
            }
            match self.over() {
                Some(reason) => self.close(reason),
                None => return Action::Wait,
            }
        }
        self.closing_action()
    }

    /// A new turn: the budget is whole again.
    pub fn turn(&mut self, now: Tick) {
        self.now = now;
        self.budget = limits::TURN_BYTES;
    }

    /// When [`Relay::tick`] wants to be called.
    pub fn deadline(&self) -> Tick {
        if let Some(closing) = &self.closing {
            return closing.wake();
        }
        let idle = self.active.after(self.idle_timeout());
        match self.settings.lifetime {
            Some(lifetime) => idle.min(self.started.after(lifetime)),
            None => idle,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Tick) {
        self.now = now;
        if self.closing.is_some() {
            self.closing_tick();
        } else if self
            .settings
            .lifetime
            .is_some_and(|l| now >= self.started.after(l))
        {
            self.close(Reason::Lifetime);
        } else if now >= self.active.after(self.idle_timeout()) {
            self.close(if self.is_half_closed() {
                Reason::HalfClosedIdle
            } else {
                Reason::Idle
            });
        }
    }

    /// An end that neither peer asked for. What is held is delivered first. The clock may have
    /// stood still since the last turn, so it is set.
    pub fn end(&mut self, reason: Reason, now: Tick) {
        self.now = now;
        self.close(reason);
    }

    /// The result of an action that [`Relay::next`] gave.
    pub fn done(&mut self, action: Action, outcome: Outcome) {
        match (action, outcome) {
            (Action::Read(way), Outcome::Input(input)) => self.input(way, input, false),
            (Action::Splice(way), Outcome::Input(input)) => self.input(way, input, true),
            (Action::Write(way), outcome) => self.written(way, outcome),
            (Action::UpdateReceive(side), outcome) => self.receive_updated(side, outcome),
            (Action::SendKeyUpdate(side), outcome) => self.key_update_sent(side, outcome),
            (Action::UpdateTransmit(side), outcome) => self.transmit_updated(side, outcome),
            (Action::EndStream(side), outcome) if self.closing.is_none() => {
                self.stream_ended(side, outcome);
            }
            (action, outcome) => self.closing_done(action, outcome),
        }
    }

    fn relaying(&mut self) -> Option<Action> {
        if let Some(action) = self.update_action() {
            return Some(action);
        }
        let first = self.first;
        self.flow_action(first)
            .or_else(|| self.flow_action(first.other()))
    }

    fn flow_action(&self, way: Way) -> Option<Action> {
        let flow = self.flow(way);
        let source = self.leg(way.from());
        let destination = self.leg(way.to());
        match flow.state {
            // Records are sealed when they are read, so this goes before a KeyUpdate that is due.
            FlowState::Open | FlowState::Ended if flow.held > 0 => {
                destination.writable.then_some(Action::Write(way))
            }
            // A KeyUpdate waits for room. An answer goes before what is read after the question.
            FlowState::Open if destination.update != Update::None || !source.readable => None,
            FlowState::Open if self.budget == 0 => Some(Action::Yield),
            FlowState::Open if flow.bulk => Some(Action::Splice(way)),
            FlowState::Open => Some(Action::Read(way)),
            FlowState::Ended if destination.writable => Some(Action::EndStream(way.to())),
            FlowState::Ended | FlowState::Told | FlowState::Dead => None,
        }
    }

    /// The reason to close, once there is nothing left to relay.
    fn over(&self) -> Option<Reason> {
        match (self.up.state, self.down.state) {
            // The backend ended its stream, the client has all of it; what the client sent after
            // that nobody wanted.
            (FlowState::Told | FlowState::Dead, FlowState::Told) => Some(Reason::Finished),
            (FlowState::Told | FlowState::Dead, FlowState::Dead) => Some(Reason::ClientReset),
            _ => None,
        }
    }

    fn input(&mut self, way: Way, input: Input, spliced: bool) {
        let side = way.from();
        match input {
            Input::Data {
                bytes,
                held,
                drained,
            } => self.data(way, bytes, held, drained, spliced),
            Input::Blocked => self.leg_mut(side).readable = false,
            Input::Unspliceable => self.flow_mut(way).leave_bulk(),
            Input::Empty => {
                self.flow_mut(way).leave_bulk();
                let leg = self.leg_mut(side);
                leg.empty_records += 1;
                if leg.empty_records > limits::EMPTY_RECORDS_MAX {
                    self.violation(Reason::RecordFlood, ALERT_UNEXPECTED_MESSAGE);
                }
            }
            Input::CloseNotify => self.source_ended(way),
            Input::End => self.source_finished(way),
            Input::Fatal(_) => self.close(Reason::ClientAlert),
            Input::Warning(_) => {
                let leg = self.leg_mut(side);
                leg.warnings += 1;
                if leg.warnings > limits::WARNING_ALERTS_MAX {
                    self.violation(Reason::RecordFlood, ALERT_UNEXPECTED_MESSAGE);
                }
            }
            Input::KeyUpdate { answer } => self.key_update(side, answer),
            Input::Violation(alert) => {
                let reason = if alert == ALERT_UNEXPECTED_MESSAGE {
                    Reason::UnexpectedMessage
                } else {
                    Reason::BadRecord
                };
                self.violation(reason, alert);
            }
            Input::Failed(_) => {
                self.leg_mut(side).lost = true;
                self.close(lost(side));
            }
        }
    }

    fn data(&mut self, way: Way, bytes: usize, held: usize, drained: bool, spliced: bool) {
        self.active = self.now;
        self.first = way.other();
        self.budget = self.budget.saturating_sub(bytes);
        let leg = self.leg_mut(way.from());
        leg.empty_records = 0;
        if drained && !leg.ending {
            leg.readable = false;
        }
        self.flow_mut(way).arrived(bytes, held, spliced);
    }

    fn written(&mut self, way: Way, outcome: Outcome) {
        match outcome {
            Outcome::Accepted(bytes) => {
                self.active = self.now;
                let flow = self.flow_mut(way);
                flow.held = flow.held.saturating_sub(bytes);
                self.leg_mut(way.to()).sent(bytes);
                match &mut self.closing {
                    Some(closing) => closing.progress(self.now),
                    None => self.watch_record_limit(way.to()),
                }
            }
            Outcome::Failed(failure) => self.destination_lost(way, failure),
            _ => self.leg_mut(way.to()).writable = false,
        }
    }

    fn stream_ended(&mut self, side: Side, outcome: Outcome) {
        let way = way_to(side);
        match outcome {
            Outcome::Done => {
                self.active = self.now;
                self.flow_mut(way).state = FlowState::Told;
            }
            Outcome::Failed(failure) => self.destination_lost(way, failure),
            _ => self.leg_mut(side).writable = false,
        }
    }

    /// A FIN: the end of a plain stream, but of a TLS stream only after close_notify.
    fn source_finished(&mut self, way: Way) {
        let side = way.from();
        let Leg {
            tls,
            lost: leg_lost,
            ..
        } = *self.leg(side);
        if leg_lost {
            return self.close(lost(side));
        }
        self.truncated |= tls;
        if tls && !self.settings.truncation_is_clean {
            return self.close(Reason::ClientTruncated);
        }
        self.source_ended(way);
    }

    fn source_ended(&mut self, way: Way) {
        self.active = self.now;
        self.flow_mut(way).state = FlowState::Ended;
        self.heed_hangup(way.from());
    }

    /// Writing to the destination of `way` failed. The other way goes on: its source may still
    /// hold what the peer sent before, and then its end.
    fn destination_lost(&mut self, way: Way, failure: Failure) {
        let leg = self.leg_mut(way.to());
        leg.lost |= failure != Failure::Ended;
        leg.update = Update::None;
        // The half-closed timeout begins.
        self.active = self.now;
        let flow = self.flow_mut(way);
        flow.held = 0;
        flow.state = FlowState::Dead;
    }

    /// A socket that is closed in both directions takes nothing any more. Where somebody still
    /// reads from it, the read will tell; where nobody does, nothing else would. A backend's whose
    /// sending side we shut down, or one that lingers, may be closed properly.
    fn heed_hangup(&mut self, side: Side) {
        let way = way_to(side);
        let state = self.flow(way).state;
        let lost = match &self.closing {
            None => state.sends() && self.flow(way.other()).state != FlowState::Open,
            Some(closing) if closing.lingers() => false,
            // close_notify alone shuts nothing down.
            Some(_) => state.sends() || (state == FlowState::Told && side == Side::Client),
        };
        if lost && self.leg(side).hung {
            self.destination_lost(way, Failure::Lost);
        }
    }

    /// The client broke a rule: what it sent before that is delivered, then both legs are cut.
    fn violation(&mut self, reason: Reason, alert: u8) {
        self.close(reason);
        if let Some(closing) = &mut self.closing {
            closing.answer_with(alert);
        }
    }

    fn is_half_closed(&self) -> bool {
        self.up.state != FlowState::Open || self.down.state != FlowState::Open
    }

    fn idle_timeout(&self) -> Duration {
        if self.is_half_closed() {
            self.settings
                .half_closed_timeout
                .min(self.settings.idle_timeout)
        } else {
            self.settings.idle_timeout
        }
    }

    fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        }
    }

    fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }

    fn flow(&self, way: Way) -> &Flow {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    fn flow_mut(&mut self, way: Way) -> &mut Flow {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

const ALERT_UNEXPECTED_MESSAGE: u8 = 10;
const ALERT_INTERNAL_ERROR: u8 = 80;

fn lost(side: Side) -> Reason {
    match side {
        Side::Client => Reason::ClientReset,
        Side::Backend => Reason::BackendReset,
    }
}

fn way_to(side: Side) -> Way {
    match side {
        Side::Client => Way::Down,
        Side::Backend => Way::Up,
    }
}

fn way_from(side: Side) -> Way {
    way_to(side).other()
}
