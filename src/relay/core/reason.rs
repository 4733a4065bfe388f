use std::fmt;

/// Why a connection ended; the label of its counter and a word of its log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Both streams ended properly.
    Finished,
    /// The client's FIN came without close_notify.
    ClientTruncated,
    ClientReset,
    BackendReset,
    /// The client sent a fatal alert.
    ClientAlert,
    /// A record did not decrypt or was malformed.
    BadRecord,
    /// A record of a type, or a message, that has no place after the handshake.
    UnexpectedMessage,
    /// Too many records without data, or warning alerts.
    RecordFlood,
    KeyUpdateFlood,
    /// The client updated its keys and the kernel cannot follow.
    KeyUpdateUnsupported,
    /// The keys have protected as many records as they may, and cannot be updated.
    RecordLimit,
    Idle,
    HalfClosedIdle,
    Lifetime,
    /// The drain's deadline, or a second SIGTERM.
    Drained,
    /// An operator closed it.
    Closed,
}

impl Reason {
    pub const ALL: [Reason; 16] = [
        Reason::Finished,
        Reason::ClientTruncated,
        Reason::ClientReset,
        Reason::BackendReset,
        Reason::ClientAlert,
        Reason::BadRecord,
        Reason::UnexpectedMessage,
        Reason::RecordFlood,
        Reason::KeyUpdateFlood,
        Reason::KeyUpdateUnsupported,
        Reason::RecordLimit,
        Reason::Idle,
        Reason::HalfClosedIdle,
        Reason::Lifetime,
        Reason::Drained,
        Reason::Closed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Reason::Finished => "finished",
            Reason::ClientTruncated => "client_truncated",
            Reason::ClientReset => "client_reset",
            Reason::BackendReset => "backend_reset",
            Reason::ClientAlert => "client_alert",
            Reason::BadRecord => "bad_record",
            Reason::UnexpectedMessage => "unexpected_message",
            Reason::RecordFlood => "record_flood",
            Reason::KeyUpdateFlood => "key_update_flood",
            Reason::KeyUpdateUnsupported => "key_update_unsupported",
            Reason::RecordLimit => "record_limit",
            Reason::Idle => "idle",
            Reason::HalfClosedIdle => "half_closed_idle",
            Reason::Lifetime => "lifetime",
            Reason::Drained => "drained",
            Reason::Closed => "closed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
