//! What stands around a relay: two sockets as the kernel keeps them, and a peer behind each.

use std::collections::VecDeque;

use super::super::{Failure, Input};
use crate::limits;

/// SplitMix64: the same numbers for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = (mixed ^ (mixed >> 31)) % bound as u64;
        usize::try_from(number).expect("below a usize")
    }

    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Any order of magnitude up to `high`.
    pub fn size(&mut self, high: usize) -> usize {
        let magnitude = self.between(0, high.ilog2() as usize);
        self.between(1, (1 << magnitude).min(high))
    }
}

/// What a peer does next, and what then waits in our receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    Data(usize),
    Empty,
    Warning,
    KeyUpdate {
        answer: bool,
    },
    CloseNotify,
    Fatal,
    Garbage,
    Unexpected,
    Fin,
    /// From here on what we send meets a reset.
    FinAndClose,
    Reset,
    /// Nothing comes from there any more, and nothing is taken.
    Vanish,
    /// Waits until the other side has ended its stream.
    Await,
}

/// What we sent. `form` counts bytes as they are written, `bytes` those of the stream in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Data {
        start: u64,
        bytes: usize,
        form: usize,
    },
    CloseNotify,
    Alert,
    KeyUpdate,
    Fin,
}

impl Sent {
    fn size(self) -> usize {
        match self {
            Sent::Data { form, .. } => form,
            Sent::Fin => 0,
            _ => 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Fast,
    Slow,
    Stopped,
}

/// The flags of an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    pub readable: bool,
    pub writable: bool,
    pub ending: bool,
    pub hangup: bool,
}

impl Event {
    pub fn any(self) -> bool {
        self.readable || self.writable || self.ending || self.hangup
    }

    pub fn and(self, other: Event) -> Event {
        Event {
            readable: self.readable | other.readable,
            writable: self.writable | other.writable,
            ending: self.ending | other.ending,
            hangup: self.hangup | other.hangup,
        }
    }
}

/// What the peer has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub bytes: u64,
    pub close_notify: bool,
    pub alert: bool,
    pub fin: bool,
    pub key_updates: u32,
}

#[derive(Debug)]
pub struct Socket {
    inbound: VecDeque<Item>,
    inbound_bytes: usize,
    inbound_capacity: usize,
    outbound: VecDeque<Sent>,
    outbound_bytes: usize,
    outbound_capacity: usize,
    pub fin_arrived: bool,
    /// A KeyUpdate was read: EKEYEXPIRED before its keys are here.
    pub key_expired: bool,
    pub write_shut: bool,
    pub reset: bool,
    /// A write was refused, so that room will be announced.
    no_space: bool,
    error: bool,
    edge: Event,

    pub script: VecDeque<Item>,
    pub pace: Pace,
    /// Bytes that the peer has sent before the end of its stream.
    pub sent: u64,
    ended: bool,
    pub seen: Seen,
    peer_closed: bool,
    vanished: bool,
}

/// What a read gave: `Input::Data` is filled in by the caller.
pub enum Got {
    Data { bytes: usize, drained: bool },
    Input(Input),
}

pub const UNEXPECTED_MESSAGE: u8 = 10;
pub const BAD_RECORD_MAC: u8 = 20;

impl Socket {
    pub fn new(inbound_capacity: usize, outbound_capacity: usize, script: Vec<Item>) -> Self {
        Socket {
            inbound: VecDeque::new(),
            inbound_bytes: 0,
            inbound_capacity,
            outbound: VecDeque::new(),
            outbound_bytes: 0,
            outbound_capacity,
            fin_arrived: false,
            key_expired: false,
            write_shut: false,
            reset: false,
            no_space: false,
            error: false,
            edge: Event {
                writable: true,
                ..Event::default()
            },
            script: script.into(),
            pace: Pace::Fast,
            sent: 0,
            ended: false,
            seen: Seen::default(),
            peer_closed: false,
            vanished: false,
        }
    }

    // The peer.

    /// Does the next thing of the script; whether it could.
    pub fn act(&mut self, random: &mut Random) -> bool {
        let Some(&item) = self.script.front() else {
            return false;
        };
        if self.reset || self.vanished || self.peer_closed {
            self.script.clear();
            return false;
        }
        match item {
            Item::Data(bytes) => {
                let room = self.inbound_capacity.saturating_sub(self.inbound_bytes);
                if room == 0 {
                    return false;
                }
                let mut now = bytes.min(room);
                if random.percent(30) {
                    now = random.between(1, now);
                }
                if !self.ended {
                    self.sent += now as u64;
                }
                self.inbound_bytes += now;
                self.inbound.push_back(Item::Data(now));
                if now < bytes {
                    self.script[0] = Item::Data(bytes - now);
                } else {
                    self.script.pop_front();
                }
                self.edge.readable = true;
                return true;
            }
            Item::Fin | Item::FinAndClose => {
                self.inbound.push_back(Item::Fin);
                self.fin_arrived = true;
                self.edge = self.edge.and(self.state());
                self.peer_closed = item == Item::FinAndClose;
            }
            Item::Reset => self.be_reset(),
            Item::Vanish => self.vanished = true,
            Item::Await if self.seen.close_notify || self.seen.alert || self.seen.fin => {}
            Item::Await => return false,
            record => {
                self.ended |= matches!(record, Item::CloseNotify | Item::Fatal | Item::Unexpected);
                self.inbound.push_back(record);
                self.edge.readable = true;
            }
        }
        self.script.pop_front();
        true
    }

    /// Takes and acknowledges something of what we sent; whether it did.
    pub fn take(&mut self, random: &mut Random) -> bool {
        let stopped = self.vanished || self.pace == Pace::Stopped;
        if stopped || self.reset || self.outbound.is_empty() {
            return false;
        }
        if self.peer_closed && self.outbound[0] != Sent::Fin {
            self.be_reset();
            return true;
        }
        let mut most = match self.pace {
            Pace::Fast => usize::MAX,
            _ => random.between(1, self.outbound_capacity / 4 + 1),
        };
        while let Some(&sent) = self.outbound.front() {
            if sent.size() > most && !matches!(sent, Sent::Data { .. }) {
                break;
            }
            let size = sent.size().min(most);
            most -= size;
            self.outbound_bytes -= size;
            self.outbound.pop_front();
            self.receive(sent, size);
            if most == 0 {
                break;
            }
        }
        // sk_stream_write_space(): a third must be free.
        if self.no_space && self.outbound_bytes <= self.outbound_capacity * 2 / 3 {
            self.no_space = false;
            self.edge.writable = true;
        }
        true
    }

    fn receive(&mut self, sent: Sent, size: usize) {
        assert!(!self.seen.fin, "something came after FIN: {sent:?}");
        assert!(
            !self.seen.close_notify || sent == Sent::Fin,
            "after close_notify: {sent:?}"
        );
        match sent {
            Sent::Data { start, bytes, form } => {
                assert_eq!(start, self.seen.bytes, "bytes are lost or out of order");
                let now = bytes.min(size);
                self.seen.bytes += now as u64;
                if size < form {
                    let (start, bytes) = (start + now as u64, bytes - now);
                    self.outbound.push_front(Sent::Data {
                        start,
                        bytes,
                        form: form - size,
                    });
                }
            }
            Sent::CloseNotify => self.seen.close_notify = true,
            Sent::Alert => self.seen.alert = true,
            Sent::KeyUpdate => self.seen.key_updates += 1,
            Sent::Fin => self.seen.fin = true,
        }
    }

    /// A reset arrived. What waits to be read stays; what waits to be sent does not.
    fn be_reset(&mut self) {
        self.reset = true;
        self.error = true;
        self.outbound.clear();
        self.edge = Event {
            readable: true,
            writable: true,
            ending: true,
            hangup: true,
        };
    }

    /// Whether the peer takes what it is sent.
    pub fn listens(&self) -> bool {
        !self.reset && !self.vanished && !self.peer_closed && self.pace != Pace::Stopped
    }

    // The kernel.

    /// What poll(2) would say.
    pub fn state(&self) -> Event {
        Event {
            readable: !self.inbound.is_empty() || self.reset,
            writable: !self.no_space || self.reset,
            ending: self.fin_arrived || self.reset,
            hangup: self.reset || (self.fin_arrived && self.write_shut),
        }
    }

    /// The event that was not delivered yet.
    pub fn event(&mut self) -> Event {
        std::mem::take(&mut self.edge)
    }

    pub fn has_event(&self) -> bool {
        self.edge.any()
    }

    pub fn unread(&self) -> impl Iterator<Item = &Item> {
        self.inbound.iter()
    }

    pub fn unacknowledged(&self) -> usize {
        self.outbound_bytes
    }

    pub fn read(&mut self, random: &mut Random, splice: bool) -> Got {
        assert!(!self.key_expired, "read without the keys");
        let Some(&item) = self.inbound.front() else {
            return Got::Input(match (self.reset, self.error) {
                (false, _) => Input::Blocked,
                (true, true) => {
                    self.error = false;
                    Input::Failed(Failure::Lost)
                }
                (true, false) => Input::End,
            });
        };
        if splice && !matches!(item, Item::Data(_) | Item::Empty | Item::Fin) {
            return Got::Input(Input::Unspliceable);
        }
        if let Item::Data(_) = item {
            return self.read_data(random, splice);
        }
        if !matches!(item, Item::Fin | Item::Garbage) {
            self.inbound.pop_front();
        }
        Got::Input(match item {
            Item::Empty => Input::Empty,
            Item::Warning => Input::Warning(90),
            Item::KeyUpdate { answer } => {
                self.key_expired = true;
                Input::KeyUpdate { answer }
            }
            Item::CloseNotify => Input::CloseNotify,
            Item::Fatal => Input::Fatal(40),
            Item::Garbage => Input::Violation(BAD_RECORD_MAC),
            Item::Unexpected => Input::Violation(UNEXPECTED_MESSAGE),
            _ => Input::End,
        })
    }

    fn read_data(&mut self, random: &mut Random, splice: bool) -> Got {
        let mut bytes = 0;
        while let Some(Item::Data(waiting)) = self.inbound.front_mut() {
            let now = (*waiting).min(limits::COPY_BYTES - bytes);
            bytes += now;
            *waiting -= now;
            if *waiting > 0 {
                break;
            }
            self.inbound.pop_front();
            if splice || random.percent(10) {
                break;
            }
        }
        self.inbound_bytes -= bytes;
        let drained = match self.inbound.front() {
            None | Some(Item::Fin) => random.percent(60),
            Some(Item::Data(_)) => false,
            // Kernel TLS announces the record at which a read ended.
            Some(_) => {
                let announced = random.percent(30);
                self.edge.readable |= announced;
                announced
            }
        };
        Got::Data { bytes, drained }
    }

    /// What a call on a socket that was reset fails with.
    fn failure(&mut self) -> Failure {
        let told = std::mem::replace(&mut self.error, false);
        if told && !self.fin_arrived {
            Failure::Lost
        } else {
            Failure::Ended
        }
    }

    /// Room for at least one byte, or why not.
    pub fn room(&mut self) -> Result<usize, Option<Failure>> {
        assert!(!self.write_shut, "write after shutdown");
        if self.reset {
            return Err(Some(self.failure()));
        }
        let room = self.outbound_capacity.saturating_sub(self.outbound_bytes);
        self.no_space |= room == 0;
        if room == 0 { Err(None) } else { Ok(room) }
    }

    pub fn send(&mut self, sent: Sent) {
        self.outbound_bytes += sent.size();
        self.outbound.push_back(sent);
    }

    pub fn shut_write(&mut self) -> Result<(), Failure> {
        if self.reset {
            return Err(self.failure());
        }
        if !self.write_shut {
            self.write_shut = true;
            self.send(Sent::Fin);
            self.edge = self.edge.and(self.state());
        }
        Ok(())
    }
}
