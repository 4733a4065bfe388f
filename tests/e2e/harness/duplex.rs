//! Both directions of a client at once, without a second thread.

use std::io::{self, Read, Write};

use super::{Check, Client, End, Pattern, client::end_of, data, machine, patience};

impl Client {
    /// Sends `up` bytes of the pattern `data::UP` and close_notify, while it compares what comes
    /// with `data::DOWN`: how many bytes came, and how they ended.
    #[track_caller]
    pub fn exchange(&mut self, up: u64) -> (u64, End) {
        let mut sender = Sender {
            pattern: Pattern::new(data::UP),
            left: up,
            ends: true,
            told: false,
        };
        let mut check = Check::new(data::DOWN);
        let end = self.both_ways(&mut sender, &mut check, u64::MAX);
        (check.bytes, end.unwrap())
    }

    /// Sends so many bytes of a pattern to a backend that returns them.
    #[track_caller]
    pub fn echo(&mut self, seed: u64, length: u64) {
        let mut sender = Sender {
            pattern: Pattern::new(seed),
            left: length,
            ends: false,
            told: false,
        };
        let mut check = Check::new(seed);
        let end = self.both_ways(&mut sender, &mut check, length);
        assert_eq!((check.bytes, end), (length, None), "echo");
    }

    /// Until everything was sent and `wanted` bytes, or an end, have come.
    #[track_caller]
    fn both_ways(&mut self, sender: &mut Sender, check: &mut Check, wanted: u64) -> Option<End> {
        self.socket.set_nonblocking(true).unwrap();
        let mut ended = None;
        loop {
            sender.fill(self);
            let sent = sender.is_done() && !self.tls.wants_write();
            let received = check.bytes >= wanted || ended.is_some();
            if sent && received || ended.as_ref().is_some_and(|end| *end != End::Clean) {
                break;
            }
            let (readable, writable) = machine::poll(
                &self.socket,
                ended.is_none(),
                self.tls.wants_write(),
                patience(),
            );
            assert!(
                readable || writable,
                "nothing moved: {} bytes to send, {} received",
                sender.left,
                check.bytes
            );
            if writable && let Err(end) = would_block(self.tls.write_tls(&mut self.socket)) {
                ended = Some(end);
            }
            if readable && ended.is_none() {
                ended = self.take(check);
            }
        }
        self.socket.set_nonblocking(false).unwrap();
        ended
    }

    fn take(&mut self, check: &mut Check) -> Option<End> {
        let bytes = match would_block(self.tls.read_tls(&mut self.socket)) {
            Ok(None) => return None,
            Ok(Some(bytes)) => bytes,
            Err(end) => return Some(end),
        };
        let end = match self.tls.process_new_packets() {
            Ok(state) if state.peer_has_closed() => Some(End::Clean),
            Ok(_) if bytes == 0 => Some(End::Truncated),
            Ok(_) => None,
            Err(rustls::Error::AlertReceived(alert)) => Some(End::Alert(alert)),
            Err(error) => Some(End::Failed(error)),
        };
        let mut buffer = [0; 16 << 10];
        while let Ok(bytes @ 1..) = self.tls.reader().read(&mut buffer) {
            check.feed(&buffer[..bytes]);
        }
        end
    }
}

struct Sender {
    pattern: Pattern,
    left: u64,
    /// With close_notify behind the last byte.
    ends: bool,
    told: bool,
}

impl Sender {
    fn fill(&mut self, client: &mut Client) {
        let mut buffer = [0; 16 << 10];
        while !client.tls.wants_write() && self.left > 0 {
            let part = buffer
                .len()
                .min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.pattern.clone().fill(&mut buffer[..part]);
            let taken = client.tls.writer().write(&buffer[..part]).unwrap();
            self.pattern.skip(taken);
            self.left -= taken as u64;
        }
        if self.left == 0 && self.ends && !self.told {
            client.tls.send_close_notify();
            self.told = true;
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.told == self.ends
    }
}

fn would_block(result: io::Result<usize>) -> Result<Option<usize>, End> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(end_of(&error)),
    }
}
