//! A TLS client in the test's process, for control over what it does and when.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use rustls::{AlertDescription, ClientConnection};

use super::{Check, machine};

/// How the server's stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// With close_notify.
    Clean,
    /// With a FIN and no close_notify.
    Truncated,
    Reset,
    Alert(AlertDescription),
    Failed(rustls::Error),
}

/// One connection; see [`super::Connector`].
pub struct Client {
    pub tls: ClientConnection,
    pub socket: TcpStream,
    /// Came behind data that is to be read first.
    pub ended: Option<End>,
}

pub fn end_of(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::Reset,
        _ => panic!("socket: {error}"),
    }
}

impl Client {
    pub fn handshake(&mut self) -> Result<(), End> {
        while self.tls.is_handshaking() {
            self.flush()?;
            if self.tls.is_handshaking() {
                self.receive()?;
            }
        }
        self.flush()
    }

    /// Reads from the socket once.
    fn receive(&mut self) -> Result<(), End> {
        let result = self.tls.read_tls(&mut self.socket);
        let bytes = result.map_err(|error| end_of(&error))?;
        let state = self
            .tls
            .process_new_packets()
            .map_err(|error| match error {
                rustls::Error::AlertReceived(alert) => End::Alert(alert),
                error => End::Failed(error),
            })?;
        match bytes {
            0 if state.peer_has_closed() => Err(End::Clean),
            0 => Err(End::Truncated),
            _ => Ok(()),
        }
    }

    pub fn flush(&mut self) -> Result<(), End> {
        while self.tls.wants_write() {
            self.tls
                .write_tls(&mut self.socket)
                .map_err(|error| end_of(&error))?;
        }
        Ok(())
    }

    /// What would be sent next, for the test to send in its own way.
    pub fn pending(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    pub fn try_write(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() {
            let taken = self.tls.writer().write(bytes).unwrap();
            bytes = &bytes[taken..];
            self.flush()?;
        }
        Ok(())
    }

    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes)
            .unwrap_or_else(|end| panic!("writing: {end:?}"));
    }

    /// At least one byte, or the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        loop {
            match self.tls.reader().read(buffer) {
                Ok(0) => return Err(End::Clean),
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(End::Truncated),
            }
            if let Some(end) = self.ended.clone() {
                return Err(end);
            }
            self.ended = self.receive().err();
            // An answer to a KeyUpdate, perhaps; that nobody wants it is told by what is read.
            drop(self.flush());
        }
    }

    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> End {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.read(&mut buffer) {
                Ok(bytes) => take(&buffer[..bytes]),
                Err(end) => return end,
            }
        }
    }

    pub fn read_all(&mut self) -> (Vec<u8>, End) {
        let mut all = Vec::new();
        let end = self.drain(|bytes| all.extend_from_slice(bytes));
        (all, end)
    }

    #[track_caller]
    pub fn check(&mut self, seed: u64) -> (u64, End) {
        let mut check = Check::new(seed);
        let end = self.drain(|bytes| check.feed(bytes));
        (check.bytes, end)
    }

    #[track_caller]
    pub fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut have = 0;
        while have < length {
            match self.read(&mut bytes[have..]) {
                Ok(more) => have += more,
                Err(end) => panic!("{end:?} after {have} of {length} bytes"),
            }
        }
        bytes
    }

    /// Sends and gets back.
    #[track_caller]
    pub fn ping(&mut self, bytes: &[u8]) {
        self.write(bytes);
        assert_eq!(self.read_exactly(bytes.len()), bytes, "echo");
    }

    pub fn close_notify(&mut self) {
        self.tls.send_close_notify();
        drop(self.flush());
    }

    /// FIN.
    pub fn fin(&self) {
        drop(self.socket.shutdown(Shutdown::Write));
    }

    pub fn reset(self) {
        machine::reset_on_close(&self.socket);
    }

    pub fn local(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// A proper end from here; what the server still sent, and how it ended.
    pub fn close(mut self) -> (Vec<u8>, End) {
        self.close_notify();
        self.read_all()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {:?}", self.socket.local_addr())
    }
}
