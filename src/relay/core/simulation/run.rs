//! One run: the driver of a relay, between two sockets, in some weather.

use std::{
    collections::HashSet,
    mem::{Discriminant, discriminant},
    time::Duration,
};

use super::super::{
    Action, Ending, Failure, Input, Outcome, Reason, Relay, Settings, Side, Tick, Way, way_to,
};
use super::script::{Rest, Weather, script};
use super::world::{Event, Got, Pace, Random, Sent, Socket};
use crate::limits;

pub const SIDES: [Side; 2] = [Side::Client, Side::Backend];

/// One direction, as the driver and the checks see it.
#[derive(Debug, Default)]
pub struct Stream {
    /// Start, bytes of the stream, bytes as they are written.
    pub held: Option<(u64, usize, usize)>,
    pub read: u64,
    pub accepted: u64,
    /// The relay was told that the source ended cleanly, that it did not, that nothing goes on.
    pub ended: bool,
    pub source_lost: bool,
    pub destination_lost: bool,
    /// The destination was told of a clean end.
    pub told: bool,
}

pub struct Run {
    pub random: Random,
    pub weather: Weather,
    pub trace: bool,
    pub settings: Settings,
    pub relay: Relay,
    pub client: Socket,
    pub backend: Socket,
    pub up: Stream,
    pub down: Stream,
    pub now: Tick,
    /// What is written may be longer than what was read.
    pub sealing: usize,
    pub rekey_receive_fails: bool,
    /// Ways may move into a kernel whose keys are for good.
    moves: bool,
    pub receives_updates: bool,
    pub sends_updates: bool,
    pub rekey_transmit_fails: bool,
    /// A KeyUpdate was sent and the keys not changed.
    pub between_keys: bool,
    /// Bytes of the backend up to which data may go before the answer to a KeyUpdate does.
    pub answer_before: Option<u64>,
    pub client_told: bool,
    pub abandoned: bool,
    pub ended: Option<Reason>,
    pub closing_since: Option<Tick>,
    pub closed: Option<(Ending, Ending)>,
    pub yielded: bool,
    pub settling: bool,
    pub turn_bytes: usize,
    /// Actions that achieved something.
    pub progress: u64,
    pub actions: HashSet<Discriminant<Action>>,
}

impl Run {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let weather = random.pick(&[
            Weather::Clear,
            Weather::Calm,
            Weather::Rough,
            Weather::Rough,
        ]);
        let rough = weather == Weather::Rough;
        let milliseconds = |random: &mut Random| {
            let high = if rough { 20_000 } else { 1 };
            Duration::from_millis(random.size(high) as u64 + if rough { 0 } else { 1 << 40 })
        };
        let settings = Settings {
            idle_timeout: milliseconds(&mut random),
            half_closed_timeout: milliseconds(&mut random),
            lifetime: (rough && random.percent(20)).then(|| milliseconds(&mut random)),
            truncation_is_clean: random.percent(20),
            records_per_key: match random.percent(30) && weather != Weather::Clear {
                true => random.between(4, 40) as u64,
                false => limits::RECORDS_PER_KEY,
            },
            client_updates: random.percent(60) || weather == Weather::Clear,
        };
        // Some are wide enough to use up the budget of a turn.
        let wide = random.percent(5);
        let capacity = |random: &mut Random| if wide { 600_000 } else { random.size(300_000) };
        let (client_in, client_out) = (capacity(&mut random), capacity(&mut random));
        let (backend_in, backend_out) = (capacity(&mut random), capacity(&mut random));
        // At most one peer waits for the other's end, or never comes to its own.
        let rests = [Rest::Waits, Rest::Endless, Rest::None, Rest::None];
        let (rest, rester) = (random.pick(&rests), random.pick(&SIDES));
        let rests = |side| if rester == side { rest } else { rest.across() };
        let narrow = client_in.min(backend_out);
        let client = script(
            &mut random,
            weather,
            Side::Client,
            rests(Side::Client),
            narrow,
        );
        let narrow = backend_in.min(client_out);
        let backend = script(
            &mut random,
            weather,
            Side::Backend,
            rests(Side::Backend),
            narrow,
        );
        let mut run = Run {
            weather,
            trace: false,
            settings,
            relay: Relay::new(settings, random.below(3) as u64, Tick(0)),
            client: Socket::new(client_in, client_out, client),
            backend: Socket::new(backend_in, backend_out, backend),
            up: Stream::default(),
            down: Stream::default(),
            now: Tick(0),
            sealing: if random.percent(50) { 0 } else { 22 },
            rekey_receive_fails: rough && random.percent(5),
            moves: weather != Weather::Clear && random.percent(20),
            receives_updates: settings.client_updates,
            sends_updates: settings.client_updates,
            rekey_transmit_fails: rough && random.percent(5),
            between_keys: false,
            answer_before: None,
            client_told: false,
            abandoned: false,
            ended: None,
            closing_since: None,
            closed: None,
            yielded: false,
            settling: false,
            turn_bytes: 0,
            progress: 0,
            actions: HashSet::new(),
            random,
        };
        for side in SIDES {
            let choices: &[Pace] = match weather {
                Weather::Rough => &[Pace::Fast, Pace::Fast, Pace::Slow, Pace::Stopped],
                _ => &[Pace::Fast, Pace::Slow],
            };
            run.socket(side).pace = run.random.pick(choices);
        }
        run
    }

    pub fn socket(&mut self, side: Side) -> &mut Socket {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }

    pub fn stream(&mut self, way: Way) -> &mut Stream {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    pub fn note(&self, what: impl std::fmt::Debug) {
        if self.trace {
            println!("{:>8} {what:?}", self.now.0);
        }
    }

    // The world goes on.

    pub fn run(&mut self) -> Reason {
        self.note((
            self.weather,
            &self.settings,
            &self.client.script,
            &self.backend.script,
        ));
        for _ in 0..self.random.between(10, 400) {
            self.stir();
            if self.random.percent(30) {
                self.deliver_event();
            }
            if self.random.percent(50) {
                self.drive();
            }
            if self.closed.is_some() {
                return self.relay.reason();
            }
        }
        self.settle();
        self.relay.reason()
    }

    /// One thing happens somewhere.
    pub fn stir(&mut self) {
        let side = self.random.pick(&SIDES);
        let rough = self.weather == Weather::Rough;
        match self.random.below(100) {
            0..40 => {
                self.act(side);
            }
            40..75 => {
                self.take(side);
            }
            75..80 => self.event(
                side,
                Event {
                    readable: true,
                    writable: true,
                    ..Event::default()
                },
            ),
            80..81 if rough && self.random.percent(20) => {
                let reason = self.random.pick(&[Reason::Drained, Reason::Closed]);
                self.note(("end", reason));
                self.ended.get_or_insert(reason);
                self.relay.end(reason, self.now);
                self.closing_since.get_or_insert(self.now);
            }
            81..82 if rough && self.random.percent(10) => {
                self.note("abandon");
                self.ended.get_or_insert(Reason::Drained);
                self.abandoned = true;
                self.relay.abandon(Reason::Drained);
            }
            82..84 if rough => self.now.0 += self.random.size(8_000) as u64,
            84..90 => self.now.0 += self.random.between(0, 2) as u64,
            _ => {}
        }
    }

    pub fn act(&mut self, side: Side) -> bool {
        let Run {
            client,
            backend,
            random,
            ..
        } = self;
        let socket = if side == Side::Client {
            client
        } else {
            backend
        };
        let item = socket.script.front().copied();
        let done = socket.act(random);
        if done {
            self.note((side, "does", item));
        }
        done
    }

    pub fn take(&mut self, side: Side) -> bool {
        let Run {
            client,
            backend,
            random,
            ..
        } = self;
        if side == Side::Client {
            client.take(random)
        } else {
            backend.take(random)
        }
    }

    pub fn deliver_event(&mut self) -> bool {
        let mut any = false;
        for side in SIDES {
            if self.socket(side).has_event() {
                any = true;
                let mut event = self.socket(side).event();
                if self.random.percent(50) {
                    event = event.and(self.socket(side).state());
                }
                self.event(side, event);
            }
        }
        any
    }

    pub fn event(&mut self, side: Side, event: Event) {
        self.note((side, event));
        if event.hangup && !self.socket(side).write_shut {
            self.stream(way_to(side)).destination_lost = true;
        }
        let Event {
            readable,
            writable,
            ending,
            hangup,
        } = event;
        self.relay.ready(side, readable, writable, ending, hangup);
    }

    /// All that can happen does, then only time passes, until the relay is over.
    pub fn settle(&mut self) {
        self.settling = true;
        let mut jumps = 0;
        while self.closed.is_none() {
            let mut busy = self.yielded;
            for side in SIDES {
                busy |= self.act(side);
                busy |= self.take(side);
            }
            busy |= self.deliver_event();
            let before = self.progress;
            self.drive();
            busy |= self.progress > before;
            if busy || self.closed.is_some() {
                continue;
            }
            self.nothing_was_missed();
            if self.closed.is_none() {
                jumps += 1;
                assert!(jumps < 200, "no end: {:?}", self.relay);
                let deadline = self.relay.deadline();
                assert!(deadline > self.now, "waits for a time that has passed");
                if self.weather != Weather::Rough {
                    let short = deadline.0 - self.now.0 <= 2_000;
                    assert!(short, "waits for a timeout: {:?}", self.relay);
                }
                self.now = deadline;
                self.note("time passes");
                self.drive();
            }
        }
    }

    /// Every event was delivered, so that telling all of the state again changes nothing.
    pub fn nothing_was_missed(&mut self) {
        for side in SIDES {
            let state = self.socket(side).state();
            self.event(
                side,
                Event {
                    readable: true,
                    ..state
                },
            );
        }
        let before = self.progress;
        self.drive();
        assert_eq!(before, self.progress, "a wakeup was lost: {:?}", self.relay);
    }

    // The driver.

    pub fn drive(&mut self) {
        if self.closed.is_some() {
            return;
        }
        let now = self.now;
        self.relay.turn(now);
        if now >= self.relay.deadline() {
            self.relay.tick(now);
        }
        self.turn_bytes = 0;
        self.yielded = false;
        let mut fruitless = 0;
        loop {
            if self.relay.closing.is_some() {
                self.closing_since.get_or_insert(now);
            }
            let action = self.relay.next();
            self.actions.insert(discriminant(&action));
            let before = self.progress;
            let outcome = match action {
                Action::Wait => {
                    assert!(self.relay.deadline() > now, "would spin: {:?}", self.relay);
                    return;
                }
                Action::Yield => {
                    assert!(
                        self.turn_bytes >= limits::TURN_BYTES,
                        "yields with a budget"
                    );
                    self.yielded = true;
                    return;
                }
                Action::Close { client, backend } => return self.closes(client, backend),
                action => self.perform(action),
            };
            self.note((action, outcome));
            fruitless = if self.progress > before {
                0
            } else {
                fruitless + 1
            };
            assert!(fruitless < 12, "spins: {action:?}");
            self.relay.done(action, outcome);
            assert_eq!(self.relay.bytes(Way::Up), self.up.read);
            assert_eq!(self.relay.bytes(Way::Down), self.down.read);
            if !self.settling && self.random.percent(15) {
                self.stir();
            }
        }
    }

    pub fn perform(&mut self, action: Action) -> Outcome {
        if matches!(action, Action::SendKeyUpdate(_) | Action::Write(Way::Down)) {
            assert!(!self.client_told, "sends after the last word");
            assert!(!self.between_keys, "sends between KeyUpdate and its keys");
        }
        match action {
            Action::Read(way) => Outcome::Input(self.read(way, false)),
            Action::Splice(way) => Outcome::Input(self.read(way, true)),
            Action::Discard(side) => Outcome::Input(self.discard(side)),
            Action::Write(way) => self.write(way),
            Action::EndStream(Side::Backend) => self.shut_backend(),
            Action::EndStream(Side::Client) => {
                self.check_close_notify();
                self.say(Sent::CloseNotify)
            }
            Action::Alert(Side::Client, _) => self.say(Sent::Alert),
            Action::SendKeyUpdate(Side::Client) => self.send_key_update(),
            Action::UpdateTransmit(Side::Client) => {
                assert!(self.between_keys, "no KeyUpdate was sent");
                self.progress += 1;
                if self.rekey_transmit_fails {
                    self.down.destination_lost = true;
                    return Outcome::Failed(Failure::Unsupported);
                }
                self.between_keys = false;
                Outcome::Done
            }
            Action::UpdateReceive(Side::Client) => {
                assert!(self.client.key_expired, "no KeyUpdate was read");
                self.progress += 1;
                if self.rekey_receive_fails {
                    return Outcome::Failed(Failure::Unsupported);
                }
                self.client.key_expired = false;
                Outcome::Done
            }
            Action::ShutdownWrite(Side::Client) => {
                assert!(self.client_told, "shut down without a last word");
                self.progress += 1;
                self.client
                    .shut_write()
                    .map_or_else(Outcome::Failed, |()| Outcome::Done)
            }
            Action::AskAcknowledged(side) => {
                assert!(self.relay.closing.is_some());
                match self.socket(side).reset {
                    true => Outcome::Failed(Failure::Lost),
                    false => Outcome::Unacknowledged(self.socket(side).unacknowledged()),
                }
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn read(&mut self, way: Way, splice: bool) -> Input {
        assert!(self.relay.closing.is_none(), "reads on while closing");
        assert!(
            self.turn_bytes < limits::TURN_BYTES,
            "reads beyond its budget"
        );
        assert!(
            self.stream(way).held.is_none(),
            "reads while it holds bytes"
        );
        assert!(!self.stream(way).ended, "reads beyond the end");
        if splice && self.random.percent(5) {
            return Input::Unspliceable;
        }
        // Into a kernel whose keys are for good.
        if splice && self.moves && self.random.percent(5) {
            self.relay.keeps_keys(way);
            match way {
                Way::Up => self.receives_updates = false,
                Way::Down => self.sends_updates = false,
            }
        }
        let input = match self.get(way.from(), splice) {
            Got::Data { bytes, drained } => {
                let sealing = if way == Way::Down { self.sealing } else { 0 };
                self.turn_bytes += bytes;
                let stream = self.stream(way);
                let held = bytes + sealing;
                stream.held = Some((stream.read, bytes, held));
                stream.read += bytes as u64;
                Input::Data {
                    bytes,
                    held,
                    drained,
                }
            }
            Got::Input(input) => input,
        };
        self.progress += u64::from(!matches!(input, Input::Blocked | Input::Unspliceable));
        let lenient = self.settings.truncation_is_clean;
        let (read, stream) = (self.down.read, self.stream(way));
        match input {
            Input::CloseNotify => stream.ended = true,
            Input::End if way == Way::Down || lenient => stream.ended = !stream.source_lost,
            Input::Failed(_) => stream.source_lost = true,
            Input::KeyUpdate { answer: true } if self.receives_updates && self.sends_updates => {
                self.answer_before.get_or_insert(read);
            }
            _ => {}
        }
        if input == Input::Failed(Failure::Lost) {
            self.stream(way.other()).destination_lost = true;
        }
        input
    }

    pub fn get(&mut self, side: Side, splice: bool) -> Got {
        let Run {
            client,
            backend,
            random,
            ..
        } = self;
        if side == Side::Client {
            client.read(random, splice)
        } else {
            backend.read(random, splice)
        }
    }

    pub fn discard(&mut self, side: Side) -> Input {
        assert!(self.relay.closing.is_some());
        let supported = self.receives_updates && !self.rekey_receive_fails;
        if self.client.key_expired && !supported {
            return Input::Failed(Failure::Unsupported);
        }
        match self.get(side, false) {
            Got::Data { bytes, drained } => {
                self.turn_bytes += bytes.max(1 << 10);
                self.progress += 1;
                Input::Data {
                    bytes,
                    held: 0,
                    drained,
                }
            }
            Got::Input(input) => {
                self.turn_bytes += 1 << 10;
                let last = matches!(input, Input::Blocked | Input::End | Input::Violation(_));
                self.progress += u64::from(!last);
                input
            }
        }
    }

    pub fn write(&mut self, way: Way) -> Outcome {
        let (start, bytes, form) = self.stream(way).held.expect("writes what is not held");
        if way == Way::Down
            && self
                .answer_before
                .is_some_and(|before| start + bytes as u64 > before)
        {
            panic!("data goes before the answer to a KeyUpdate");
        }
        match self.socket(way.to()).room() {
            Ok(room) => {
                let mut form_now = form.min(room);
                if self.random.percent(20) {
                    form_now = self.random.between(1, form_now);
                }
                let now = bytes.min(form_now);
                self.socket(way.to()).send(Sent::Data {
                    start,
                    bytes: now,
                    form: form_now,
                });
                let stream = self.stream(way);
                let left = (start + now as u64, bytes - now, form - form_now);
                stream.held = (left.2 > 0).then_some(left);
                stream.accepted += now as u64;
                self.progress += 1;
                Outcome::Accepted(form_now)
            }
            Err(None) => Outcome::Blocked,
            Err(Some(failure)) => {
                self.lost(way, failure);
                Outcome::Failed(failure)
            }
        }
    }

    /// A call that sends has failed.
    pub fn lost(&mut self, way: Way, failure: Failure) {
        self.progress += 1;
        let ended = failure == Failure::Ended;
        self.stream(way).destination_lost = true;
        self.stream(way).held = None;
        let source = self.stream(way.other());
        source.source_lost |= !ended && !source.ended;
    }

    pub fn shut_backend(&mut self) -> Outcome {
        let up = &self.up;
        assert!(up.ended, "a clean end that the client did not tell");
        assert!(
            up.accepted == up.read && up.held.is_none(),
            "the end before the bytes"
        );
        match self.backend.shut_write() {
            Ok(()) => {
                self.up.told = true;
                self.progress += 1;
                Outcome::Done
            }
            Err(failure) => {
                self.lost(Way::Up, failure);
                Outcome::Failed(failure)
            }
        }
    }

    /// close_notify or an alert.
    pub fn say(&mut self, sent: Sent) -> Outcome {
        assert!(!self.client_told, "a word after the last");
        assert!(!self.between_keys, "sends between KeyUpdate and its keys");
        assert!(self.down.held.is_none(), "the end before the bytes");
        match self.client.room() {
            Ok(_) => {
                self.client.send(sent);
                self.client_told = true;
                self.down.told = sent == Sent::CloseNotify;
                self.progress += 1;
                Outcome::Done
            }
            Err(None) => Outcome::Blocked,
            Err(Some(failure)) => {
                self.lost(Way::Down, failure);
                Outcome::Failed(failure)
            }
        }
    }

    pub fn send_key_update(&mut self) -> Outcome {
        assert!(self.sends_updates && self.relay.closing.is_none());
        assert!(
            self.down.held.is_none(),
            "what was sealed before goes before"
        );
        match self.client.room() {
            Ok(_) => {
                self.client.send(Sent::KeyUpdate);
                self.between_keys = true;
                self.answer_before = None;
                self.progress += 1;
                Outcome::Done
            }
            Err(None) => Outcome::Blocked,
            Err(Some(failure)) => {
                self.lost(Way::Down, failure);
                Outcome::Failed(failure)
            }
        }
    }
}
