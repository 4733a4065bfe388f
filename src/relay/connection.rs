//! One connection: performs what [`super::core`] decides.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Handoff,
    core::{Action, Ending, Failure, Input, Outcome, Reason, Relay, Side, Tick, Way},
    counters::RelayCounters,
    leg::{Leg, Transport},
    pool::{Carrier, Pool},
    tls,
};
use crate::{
    connection::{Info, Place},
    limits,
    sys::{ktls::Direction, socket},
    tls::RecordError,
};

pub struct Connection {
    pub relay: Relay,
    client: Leg,
    backend: Leg,
    up: Carrier,
    down: Carrier,
    pub info: Arc<Info>,
    place: Place,
    /// When the thread's timers wake it.
    pub timer: Option<Tick>,
    /// It is in the list of connections that have something to do.
    pub queued: bool,
    /// The waiter holds a poll of the client's socket, and of the backend's.
    polled: [bool; 2],
    /// One of the sockets is closed in both directions.
    pub hung_up: bool,
    pub closing: Option<(Ending, Ending)>,
    /// Bytes by way, for its log line.
    pub spliced: [u64; 2],
}

/// What one relay thread lends to the connection whose turn it is.
pub struct Workshop<'a> {
    pub pool: &'a mut Pool,
    /// Room for one read of ciphertext.
    pub scratch: &'a mut [u8],
    pub counters: &'a RelayCounters,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Until readiness or time.
    Wait,
    /// There is more to do, after the others.
    Again,
    Over {
        client: Ending,
        backend: Ending,
    },
}

impl Connection {
    /// An error is a defect of ours; the sockets are closed.
    pub fn new(handoff: Handoff, now: Tick) -> Result<Self, RecordError> {
        let mut relay = Relay::new(handoff.settings, handoff.client_records, now);
        if handoff.client_waits {
            relay.ready(Side::Client, true, true, false, false);
        }
        let transport = Transport::Tls(handoff.client_tls.into_tls()?);
        let mut info = handoff.info;
        // The text in it as well is to lie where the rest does, see `ClientTls`.
        info.session = info.session.clone();
        Ok(Connection {
            relay,
            client: Leg::new(handoff.client, transport),
            backend: Leg::new(handoff.backend, Transport::Plain),
            up: Carrier::None,
            down: Carrier::None,
            info: Arc::new(info),
            place: handoff.place,
            timer: None,
            queued: false,
            polled: [false; 2],
            hung_up: false,
            closing: None,
            spliced: [0; 2],
        })
    }

    pub fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        }
    }

    pub fn is_polled(&self, side: Side) -> bool {
        self.polled[side as usize]
    }

    pub fn set_polled(&mut self, side: Side, polled: bool) {
        self.polled[side as usize] = polled;
    }

    /// Works until the connection has to wait, has used up its turn, or is over.
    pub fn run(&mut self, now: Tick, workshop: &mut Workshop<'_>) -> Turn {
        self.relay.turn(now);
        let turn = loop {
            let action = self.relay.next();
            let outcome = match action {
                Action::Wait => break Turn::Wait,
                Action::Yield => break Turn::Again,
                Action::Close { client, backend } => break Turn::Over { client, backend },
                action => self.perform(action, workshop),
            };
            self.relay.done(action, outcome);
        };
        self.tell();
        for way in [Way::Up, Way::Down] {
            if !self.relay.holds(way) {
                workshop.pool.release(self.carrier(way));
            }
        }
        turn
    }

    /// For whoever looks at live connections.
    fn tell(&self) {
        let traffic = &self.info.traffic;
        traffic.up.set(self.relay.bytes(Way::Up));
        traffic.down.set(self.relay.bytes(Way::Down));
        let splices = |way| self.relay.splices(way);
        traffic
            .splices_up
            .store(splices(Way::Up), Ordering::Relaxed);
        let down = splices(Way::Down);
        traffic.splices_down.store(down, Ordering::Relaxed);
    }

    /// Gives back all that it still holds, and closes its sockets.
    pub fn finish(mut self, pool: &mut Pool) -> (Arc<Info>, Relay) {
        pool.release(&mut self.up);
        pool.release(&mut self.down);
        let (client, backend) = self.closing.unwrap_or((Ending::Reset, Ending::Reset));
        close(self.client.into_socket(), client);
        close(self.backend.into_socket(), backend);
        drop(self.place);
        (self.info, self.relay)
    }

    pub fn reason(&self) -> Reason {
        self.relay.reason()
    }

    fn perform(&mut self, action: Action, workshop: &mut Workshop<'_>) -> Outcome {
        match action {
            Action::Read(way) => Outcome::Input(self.read(way, workshop)),
            Action::Splice(way) => Outcome::Input(self.splice(way, workshop)),
            Action::Write(way) => self.write(way),
            Action::EndStream(side) => self.leg_mut(side).end_stream(),
            Action::SendKeyUpdate(side) => self.leg_mut(side).send_key_update(),
            Action::UpdateTransmit(side) => {
                let outcome = self.leg_mut(side).update(Direction::Transmit);
                if outcome == Outcome::Done {
                    workshop.counters.key_updates_sent.add(1);
                }
                outcome
            }
            Action::UpdateReceive(side) => self.leg_mut(side).update(Direction::Receive),
            Action::Alert(side, description) => self.leg_mut(side).alert(description),
            Action::ShutdownWrite(side) => {
                // It fails only where the connection is gone, which the next read tells.
                let _ = socket::shutdown_write(self.leg(side).socket());
                Outcome::Done
            }
            Action::Discard(side) => Outcome::Input(self.leg_mut(side).discard(workshop.scratch)),
            Action::AskAcknowledged(side) => {
                let socket = self.leg(side).socket();
                match socket::unacknowledged(socket) {
                    Ok(bytes) if bytes == 0 || !socket::is_gone(socket) => {
                        Outcome::Unacknowledged(bytes)
                    }
                    _ => Outcome::Failed(Failure::Lost),
                }
            }
            Action::Wait | Action::Yield | Action::Close { .. } => Outcome::Done,
        }
    }

    fn read(&mut self, way: Way, workshop: &mut Workshop<'_>) -> Input {
        let mut buffer = match std::mem::take(self.carrier(way)) {
            Carrier::Buffer(buffer) => buffer,
            mut other => {
                workshop.pool.release(&mut other);
                workshop.pool.buffer()
            }
        };
        let (source, destination) = match way {
            Way::Up => (&mut self.client, &mut self.backend),
            Way::Down => (&mut self.backend, &mut self.client),
        };
        let input = source.read(destination, &mut buffer, workshop.scratch);
        self.watch_moves(workshop.counters);
        let counters = workshop.counters;
        match input {
            Input::Data { bytes, .. } => {
                let kernel = self.is_in_kernel(way);
                counters.bytes(way, kernel).add(bytes as u64);
            }
            Input::KeyUpdate { .. } => counters.key_updates_received.add(1),
            _ => {}
        }
        *self.carrier(way) = Carrier::Buffer(buffer);
        input
    }

    /// Fills an empty pipe. More than one record at a time, each charged with the slots it may
    /// take, because a full pipe loses bytes on several kernels.
    fn splice(&mut self, way: Way, workshop: &mut Workshop<'_>) -> Input {
        if let Some(failed) = self.leg(way.from()).failed() {
            return failed;
        }
        let spliceable = self.leg_mut(way.from()).splices(Direction::Receive)
            && self.leg_mut(way.to()).splices(Direction::Transmit);
        self.watch_moves(workshop.counters);
        if !spliceable {
            return Input::Unspliceable;
        }
        let records = self.leg(way.from()).is_kernel_tls(Direction::Receive);
        let pipe = match std::mem::take(self.carrier(way)) {
            Carrier::Pipe { pipe, filled: 0 } => pipe,
            mut other => {
                workshop.pool.release(&mut other);
                match workshop.pool.pipe() {
                    Some(pipe) => pipe,
                    None => return Input::Unspliceable,
                }
            }
        };
        let calls = if records {
            pipe.slots() / limits::PIPE_SLOTS_PER_RECORD
        } else {
            1
        };
        let (mut filled, mut stopped) = (0, Input::Unspliceable);
        for _ in 0..calls {
            match pipe.splice_from(self.leg(way.from()).socket(), limits::COPY_BYTES) {
                // The end, or a record without data: a read tells.
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) => {
                    stopped = tls::splice_stopped(&error);
                    break;
                }
            }
        }
        let kernel = self.is_in_kernel(way);
        workshop.counters.bytes(way, kernel).add(filled as u64);
        workshop.counters.spliced(way).add(filled as u64);
        self.spliced[way as usize] += filled as u64;
        *self.carrier(way) = Carrier::Pipe { pipe, filled };
        if filled == 0 {
            return stopped;
        }
        self.leg_mut(way.from()).remember(stopped);
        Input::Data {
            bytes: filled,
            held: filled,
            drained: stopped == Input::Blocked,
        }
    }

    /// Whether the kernel makes the records of this way.
    fn is_in_kernel(&self, way: Way) -> bool {
        let direction = match way {
            Way::Up => Direction::Receive,
            Way::Down => Direction::Transmit,
        };
        self.client.is_kernel_tls(direction)
    }

    /// Tells whom it concerns that a way has moved into the kernel.
    fn watch_moves(&mut self, counters: &RelayCounters) {
        let traffic = &self.info.traffic;
        for (way, known) in [
            (Way::Up, &traffic.kernel_up),
            (Way::Down, &traffic.kernel_down),
        ] {
            if self.is_in_kernel(way) && !known.load(Ordering::Relaxed) {
                known.store(true, Ordering::Relaxed);
                counters.moved(way).add(1);
                if !self.client.updates_in_kernel() {
                    self.relay.keeps_keys(way);
                }
            }
        }
    }

    fn write(&mut self, way: Way) -> Outcome {
        let goes_on = self.relay.goes_on(way);
        let (leg, carrier) = match way {
            Way::Up => (&mut self.backend, &mut self.up),
            Way::Down => (&mut self.client, &mut self.down),
        };
        match carrier {
            Carrier::Buffer(buffer) => leg.write(buffer, goes_on),
            Carrier::Pipe { pipe, filled } => {
                let outcome = leg.write_pipe(pipe, *filled);
                if let Outcome::Accepted(bytes) = outcome {
                    *filled = filled.saturating_sub(bytes);
                }
                outcome
            }
            Carrier::None => Outcome::Accepted(0),
        }
    }

    fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }

    fn carrier(&mut self, way: Way) -> &mut Carrier {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

fn close(fd: OwnedFd, ending: Ending) {
    if ending == Ending::Reset {
        socket::reset_on_close(std::os::fd::AsFd::as_fd(&fd));
    }
}
