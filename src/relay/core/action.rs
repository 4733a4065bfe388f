//! What a relay asks for and what it is answered.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Backend,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Backend,
            Side::Backend => Side::Client,
        }
    }
}

/// A direction of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Client to backend.
    Up,
    /// Backend to client.
    Down,
}

impl Way {
    pub fn from(self) -> Side {
        match self {
            Way::Up => Side::Client,
            Way::Down => Side::Backend,
        }
    }

    pub fn to(self) -> Side {
        self.from().other()
    }

    pub fn other(self) -> Way {
        match self {
            Way::Up => Way::Down,
            Way::Down => Way::Up,
        }
    }
}

/// What the caller does next. All of it is non-blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read what the source has into a buffer: answered with [`Outcome::Input`].
    Read(Way),
    /// Splice it into a pipe: the same. `Blocked` and `Unspliceable` leave the pipe empty.
    Splice(Way),
    /// Write what is held: `Accepted` or `Blocked` or `Failed`.
    Write(Way),
    /// End the destination's stream cleanly: close_notify on a TLS leg, shutdown on a plain one.
    /// `Done`, `Blocked` or `Failed`.
    EndStream(Side),
    /// Send a KeyUpdate that asks for none in return: `Done`, `Blocked` or `Failed`.
    SendKeyUpdate(Side),
    /// Use the next keys for what is sent: `Done` or `Failed`.
    UpdateTransmit(Side),
    /// Use the next keys for what is read: `Done` or `Failed`.
    UpdateReceive(Side),
    /// Send a fatal alert: `Done`, `Blocked` or `Failed`.
    Alert(Side, u8),
    /// Shut down the sending side of the socket: `Done`.
    ShutdownWrite(Side),
    /// Read and drop: answered with [`Outcome::Input`].
    Discard(Side),
    /// Has the peer acknowledged all that was sent? `Unacknowledged(bytes)`, or `Failed` where
    /// there is no connection any more (TCP_CLOSE): SIOCOUTQ keeps its last value after a reset.
    AskAcknowledged(Side),
    /// Nothing before the next readiness or [`super::Relay::deadline`].
    Wait,
    /// Let other connections have their turn, then call again.
    Yield,
    /// Close both sockets; the relay is over.
    Close { client: Ending, backend: Ending },
}

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a FIN: after close_notify for a clean end, without one for a cut.
    Finish,
    /// With a reset.
    Reset,
}

/// What an action led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Input(Input),
    /// Of what was held, this much left.
    Accepted(usize),
    Done,
    Blocked,
    /// The leg is of no use any more in this direction.
    Failed(Failure),
    Unacknowledged(usize),
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `bytes` of the stream, now held as `held` bytes to write; `drained`: the source is known to
    /// have no more for now.
    Data {
        bytes: usize,
        held: usize,
        drained: bool,
    },
    /// A record without data.
    Empty,
    Blocked,
    /// Splice met a record that holds no data, or found no pipe: read it instead.
    Unspliceable,
    CloseNotify,
    /// An alert that does not end the connection.
    Warning(u8),
    /// An alert that does.
    Fatal(u8),
    KeyUpdate {
        answer: bool,
    },
    /// A record that has no place here; the alert to answer it with.
    Violation(u8),
    /// FIN.
    End,
    Failed(Failure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer had ended its own stream properly before it stopped to listen (EPIPE; tcp_reset()
    /// in CLOSE_WAIT).
    Ended,
    /// Anything else: reset, unreachable, timed out.
    Lost,
    /// This kernel or version of TLS has no KeyUpdate.
    Unsupported,
}
