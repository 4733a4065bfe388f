//! The loop of one relay thread: the only place of the plane that waits, and that reads the clock.
//!
//! ```text
//!   wait ──> events, messages, timers ──> queue of connections with something to do ──> run each once
//!     ^                                                                                       │
//!     └─── again at once, while one of them has more to do than its turn allows ──────────────┘
//! ```
//!
//! A connection's slot is free again when the waiter holds nothing of it any more.

use std::{
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    Handoff, Inbox, Message,
    access::{self, Moved},
    connection::{Connection, Turn, Workshop},
    core::{Ending, Reason, Side, Tick, Way},
    counters::RelayCounters,
    pool::Pool,
    timers::Timers,
    wait::Waiter,
};
use crate::{
    limits, logging,
    sys::{
        event::{Event, Readiness},
        process,
    },
};

/// Above every token of a connection, below the bit that the ring keeps for itself.
const INBOX: u64 = 1 << 62;
const ALARM: u64 = INBOX + 1;

pub(super) fn start(
    index: usize,
    ring: bool,
    inbox: Arc<Inbox>,
    counters: Arc<RelayCounters>,
) -> io::Result<JoinHandle<()>> {
    let (started, outcome) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new()
        .name(format!("relay-{index}"))
        .spawn(move || {
            process::block_signals();
            if let Err(error) = process::wake_promptly(limits::RELAY_SLICE) {
                tracing::debug!("handshakes may delay established connections: {error}");
            }
            // The ring belongs to the thread that made it (SINGLE_ISSUER).
            match Relays::new(ring, inbox, counters) {
                Ok(mut relays) => {
                    let _ = started.send(Ok(()));
                    if let Err(error) = relays.run() {
                        // Without readiness no connection of this thread goes on.
                        tracing::error!("relay thread: waiting for events failed: {error}");
                        logging::flush();
                        std::process::abort();
                    }
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
    match outcome.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the relay thread ended before it began")),
    }
}

struct Relays {
    waiter: Waiter,
    inbox: Arc<Inbox>,
    counters: Arc<RelayCounters>,
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    queue: Vec<usize>,
    timers: Timers,
    pool: Pool,
    scratch: Box<[u8]>,
    clock: Instant,
    stopping: bool,
}

impl Relays {
    fn new(ring: bool, inbox: Arc<Inbox>, counters: Arc<RelayCounters>) -> io::Result<Self> {
        let mut waiter = Waiter::new(ring)?;
        waiter.add(inbox.socket(), INBOX)?;
        let timers = Timers::new()?;
        waiter.add(timers.alarm(), ALARM)?;
        let _ = counters.waiter.set(waiter.name());
        Ok(Relays {
            waiter,
            inbox,
            counters,
            slots: Vec::new(),
            free: Vec::new(),
            queue: Vec::new(),
            timers,
            pool: Pool::default(),
            scratch: vec![0; limits::COPY_BYTES].into_boxed_slice(),
            clock: Instant::now(),
            stopping: false,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(limits::EVENTS_PER_TURN);
        let mut turns = Vec::new();
        while !(self.stopping && self.is_empty()) {
            let more = (!self.queue.is_empty()).then_some(Duration::ZERO);
            self.waiter.wait(more, &mut events)?;
            let now = self.now();
            for event in events.drain(..) {
                match event {
                    Event::Ready { token: INBOX, .. } => {
                        for message in self.inbox.take() {
                            self.message(message, now);
                        }
                    }
                    Event::Removed { token: INBOX } => {
                        self.waiter.add(self.inbox.socket(), INBOX)?;
                    }
                    // It has woken this thread, which looks at the timers each time.
                    Event::Ready { token: ALARM, .. } => {}
                    Event::Removed { token: ALARM } => {
                        self.waiter.add(self.timers.alarm(), ALARM)?;
                    }
                    Event::Ready { token, readiness } => self.ready(token, readiness),
                    Event::Removed { token } => self.removed(token),
                }
            }
            while let Some(slot) = self.timers.pop(now) {
                if let Some(connection) = self.connection(slot) {
                    connection.timer = None;
                    connection.relay.tick(now);
                    self.enqueue(slot);
                }
            }
            std::mem::swap(&mut self.queue, &mut turns);
            for slot in turns.drain(..) {
                self.turn(slot, now);
            }
            self.timers.arm(now)?;
            self.gauge();
        }
        Ok(())
    }

    fn message(&mut self, message: Message, now: Tick) {
        match message {
            Message::Adopt(handoff) => self.adopt(*handoff, now),
            Message::End(id, reason) => self.each(|connection| {
                if connection.info.id == id {
                    connection.relay.end(reason, now);
                }
            }),
            Message::EndAll(reason) => self.each(|connection| connection.relay.end(reason, now)),
            Message::AbandonAll(reason) => self.each(|connection| connection.relay.abandon(reason)),
            Message::Stop => self.stopping = true,
        }
    }

    fn adopt(&mut self, handoff: Handoff, now: Tick) {
        let (id, peer) = (handoff.info.id, handoff.info.peer);
        let mut connection = match Connection::new(handoff, now) {
            Ok(connection) => Box::new(connection),
            Err(error) => {
                tracing::error!(id, ?peer, "closed: the keys cannot be used: {error}");
                self.counters.closed(Reason::Closed).add(1);
                return self.inbox.refused();
            }
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.inbox.adopted(&connection.info);
        for side in [Side::Client, Side::Backend] {
            match self
                .waiter
                .add(connection.leg(side).socket(), token(slot, side))
            {
                Ok(()) => connection.set_polled(side, true),
                Err(error) => {
                    tracing::warn!(
                        "a connection is dropped, its socket cannot be waited for: {error}"
                    );
                    connection.relay.abandon(Reason::Closed);
                }
            }
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(connection);
        }
        // The first events come at once and say what is ready; this sets the deadline.
        self.enqueue(slot);
    }

    fn ready(&mut self, token: u64, readiness: Readiness) {
        let (slot, side) = of_token(token);
        let Some(connection) = self.connection(slot) else {
            return;
        };
        if connection.closing.is_some() {
            return;
        }
        connection.hung_up |= readiness.is_hangup();
        connection.relay.ready(
            side,
            readiness.is_readable(),
            readiness.is_writable(),
            readiness.is_ending(),
            readiness.is_hangup(),
        );
        self.enqueue(slot);
    }

    fn removed(&mut self, token: u64) {
        let (slot, side) = of_token(token);
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let Some(connection) = place else { return };
        if !connection.is_polled(side) {
            return;
        }
        connection.set_polled(side, false);
        if connection.closing.is_none() {
            // The kernel ended the poll by itself. After a hang-up nothing blocks any more, and
            // another poll would end at once as well.
            if connection.hung_up {
                self.enqueue(slot);
            } else if self
                .waiter
                .add(connection.leg(side).socket(), token)
                .is_ok()
            {
                connection.set_polled(side, true);
            } else {
                connection.relay.abandon(Reason::Closed);
                self.enqueue(slot);
            }
        } else if !connection.is_polled(side.other())
            && let Some(connection) = place.take()
        {
            self.free.push(slot);
            self.over(*connection);
        }
    }

    fn turn(&mut self, slot: usize, now: Tick) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return;
        };
        connection.queued = false;
        if connection.closing.is_some() {
            return;
        }
        let mut workshop = Workshop {
            pool: &mut self.pool,
            scratch: &mut self.scratch,
            counters: &self.counters,
        };
        match connection.run(now, &mut workshop) {
            Turn::Wait => {
                // A deadline that has moved on is looked at again when the earlier time comes.
                let deadline = connection.relay.deadline();
                if connection.timer.is_none_or(|timer| deadline < timer) {
                    self.timers.set(slot, &mut connection.timer, deadline);
                }
            }
            Turn::Again => self.enqueue(slot),
            Turn::Over { client, backend } => self.close(slot, client, backend),
        }
    }

    /// The sockets are closed when the waiter has let go of them.
    fn close(&mut self, slot: usize, client: Ending, backend: Ending) {
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let Some(connection) = place else { return };
        self.timers.clear(slot, &mut connection.timer);
        connection.closing = Some((client, backend));
        let polled = [Side::Client, Side::Backend].map(|side| (side, connection.is_polled(side)));
        if polled.iter().all(|(_, polled)| !polled) {
            if let Some(connection) = place.take() {
                self.free.push(slot);
                self.over(*connection);
            }
            return;
        }
        for (side, _) in polled.into_iter().filter(|(_, polled)| *polled) {
            if let Err(error) = self.waiter.remove(token(slot, side)) {
                tracing::error!("a socket cannot be taken from the ring: {error}");
            }
        }
    }

    fn over(&mut self, connection: Connection) {
        let reason = connection.reason();
        let spliced = connection.spliced;
        let (info, relay) = connection.finish(&mut self.pool);
        self.inbox.over(&info);
        self.counters.closed(reason).add(1);
        self.counters
            .truncated
            .add(u64::from(relay.was_truncated()));
        let moved = |way: Way| Moved {
            bytes: relay.bytes(way),
            spliced: spliced[way as usize],
        };
        access::log(&info, reason, moved(Way::Up), moved(Way::Down));
    }

    fn each(&mut self, act: impl Fn(&mut Connection)) {
        for slot in 0..self.slots.len() {
            if let Some(connection) = self.connection(slot)
                && connection.closing.is_none()
            {
                act(connection);
                self.enqueue(slot);
            }
        }
    }

    fn enqueue(&mut self, slot: usize) {
        if let Some(Some(connection)) = self.slots.get_mut(slot)
            && !connection.queued
        {
            connection.queued = true;
            self.queue.push(slot);
        }
    }

    fn connection(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)?.as_deref_mut()
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    fn now(&self) -> Tick {
        Tick(u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn gauge(&self) {
        self.counters
            .pipes_in_use
            .set(self.pool.pipes_in_use() as u64);
        self.counters
            .pipes_pooled
            .set(self.pool.pipes_pooled() as u64);
        self.counters.pipe_failures.set(self.pool.pipe_failures());
    }
}

fn token(slot: usize, side: Side) -> u64 {
    (slot as u64) << 1 | u64::from(side == Side::Backend)
}

fn of_token(token: u64) -> (usize, Side) {
    let side = if token & 1 == 0 {
        Side::Client
    } else {
        Side::Backend
    };
    (usize::try_from(token >> 1).unwrap_or(usize::MAX), side)
}
