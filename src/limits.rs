//! Every bound and every default deadline of the program, in one place.
//!
//! What an operator can change has its default here and its key in `[limits]`; the rest is fixed.
//! Relations between them are checked when the program is compiled.

use std::time::Duration;

// Defaults of `[limits]`.

pub const CONNECTIONS: usize = 65_536;
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
pub const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(300);
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Half of what AES-GCM allows for one key (RFC 8446, section 5.5; 2^24.5 full records).
pub const RECORDS_PER_KEY: u64 = 1 << 23;

/// Of the log, for what clients cause, and as many for all else.
pub const LOG_LINES_PER_SECOND: u32 = 10_000;

// Bounds of what an operator may set.

pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
pub const THREADS_MAX: usize = 256;
pub const LOG_LINES_PER_SECOND_MAX: u32 = 1_000_000;
/// Descriptors that are not for connections' sockets: listeners, pipes, rings, files being read.
pub const DESCRIPTORS_RESERVED: u64 = 256;
/// Of these, and of fewer where fewer may be open, what connections never get: the admin server's
/// connections, and files that are read again. At most one part in so many of all.
pub const DESCRIPTORS_KEPT: u64 = 64;
pub const DESCRIPTORS_KEPT_SHARE: u64 = 4;
pub const CONNECTIONS_MAX: usize = 4_000_000;
pub const CONFIG_FILE_BYTES_MAX: u64 = 16 << 20;
pub const PEM_FILE_BYTES_MAX: u64 = 16 << 20;
/// Below this, KeyUpdates would be a good part of the traffic.
pub const RECORDS_PER_KEY_MIN: u64 = 4;
pub const RECORDS_PER_KEY_MAX: u64 = 1 << 24;
pub const NAME_BYTES_MAX: usize = 64;
/// Messages quote no longer run of base64 with letters and digits of all kinds; a line of PEM has 64.
pub const QUOTED_BASE64_MAX: usize = 40;
pub const LISTENERS_MAX: usize = 256;
pub const ADDRESSES_PER_LISTENER_MAX: usize = 64;
pub const CERTIFICATES_PER_LISTENER_MAX: usize = 65_536;
pub const BACKENDS_MAX: usize = 1024;
pub const SERVERS_PER_BACKEND_MAX: usize = 1024;
pub const ALPN_PROTOCOLS_MAX: usize = 16;
/// RFC 7301, section 3.1.
pub const ALPN_PROTOCOL_BYTES_MAX: usize = 255;
/// `sun_path` without its terminating zero (unix(7)).
pub const UNIX_PATH_BYTES_MAX: usize = 107;
/// A longer handshake timeout lets slow clients hold many slots; worth a warning.
pub const HANDSHAKE_TIMEOUT_LONG: Duration = Duration::from_secs(60);
/// What `pki issue` grants at most, whatever its CA would outlive.
pub const CERTIFICATE_DAYS_MAX: u32 = 3650;

// TLS.

/// Payload of one record (RFC 8446, section 5.1).
pub const RECORD_PAYLOAD_MAX: usize = 16_384;
/// Ciphertext of one TLS 1.3 record (RFC 8446, section 5.2); during a TLS 1.2 handshake rustls
/// checks its own, larger bound.
pub const RECORD_CIPHERTEXT_MAX: usize = RECORD_PAYLOAD_MAX + 256;
/// TLS 1.2 allows this much (RFC 5246, section 6.2.3).
pub const RECORD_CIPHERTEXT_MAX_TLS12: usize = RECORD_PAYLOAD_MAX + 2048;
pub const RECORD_HEADER: usize = 5;
/// All that a client may send until its handshake is done: a chain of certificates fits, a flood
/// does not.
pub const HANDSHAKE_BYTES_MAX: usize = 128 << 10;
/// Read at once of a handshake; a client's flight without a long chain fits.
pub const HANDSHAKE_READ_BYTES: usize = 4096;
/// Consecutive records without a byte of data.
pub const EMPTY_RECORDS_MAX: u32 = 32;
/// KeyUpdates that a peer may send without data in between pays for them: this many at once, and
/// one more for each [`KEY_UPDATE_BYTES`] received.
pub const KEY_UPDATES_BURST: u32 = 32;
pub const KEY_UPDATE_BYTES: u64 = 1 << 20;
/// Warning alerts that a TLS 1.2 or 1.3 peer may send.
pub const WARNING_ALERTS_MAX: u32 = 8;

/// So long tickets are made with one key, and so long again they are taken. Not above six hours,
/// after which rustls changes keys by itself.
pub const TICKET_KEY_SECONDS: u32 = 6 * 3600;

// Handshake plane.

/// After so many, memory that is free is given back to the system, in a second with fewer than the
/// second number of them.
pub const MANY_HANDSHAKES: u64 = 1000;
pub const QUIET_HANDSHAKES: u64 = 10;
/// Connections that are handed over to a relay thread before it is woken at the latest.
pub const HAND_OVERS_PER_WAKE: usize = 16;
/// How far handshake threads stand back behind relay threads (sched(7)).
pub const HANDSHAKE_NICE: i32 = 10;
/// The time at once that they ask for: shorter than that of whoever reads certificates.
pub const HANDSHAKE_SLICE: Duration = Duration::from_micros(400);
/// Shorter than that, so that an established connection does not wait for the end of a handshake.
pub const RELAY_SLICE: Duration = Duration::from_micros(100);
/// The same for whoever looks at files and reads them: there may be ten thousand.
pub const RELOAD_NICE: i32 = 19;
/// Handshakes that one thread works on at once; further clients wait in the listen queue.
pub const HANDSHAKES_PER_THREAD: usize = 1024;
pub const LISTEN_BACKLOG: i32 = 4096;
/// Connections accepted in one turn, so that a flood of them does not keep handshakes waiting.
pub const ACCEPTS_PER_TURN: usize = 16;
/// How long accepting pauses when descriptors have run out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a refused client's alert may take to leave, and unread bytes to arrive, before close.
pub const REFUSAL_LINGER: Duration = Duration::from_millis(500);

// Relay plane.

/// Bytes read in one copy; four full records.
pub const COPY_BYTES: usize = 4 * RECORD_PAYLOAD_MAX;
/// Bytes that one direction moves before others get their turn.
pub const TURN_BYTES: usize = 256 << 10;
/// Reads of at least this size, this many in a row, move a direction to splice; one smaller than
/// [`BULK_LEAVE_BYTES`] moves it back.
pub const BULK_ENTER_BYTES: usize = 16 << 10;
pub const BULK_ENTER_READS: u8 = 4;
pub const BULK_LEAVE_BYTES: usize = 8 << 10;
/// What the probe sends to see whether kernel TLS is worth it: first until the relay is in full swing,
/// then with the clock running; and how long it may take for all of it.
pub const PROBE_WARM_UP_BYTES: usize = 1 << 20;
pub const PROBE_COST_BYTES: usize = 512 << 10;
pub const PROBE_COST_TIMEOUT: Duration = Duration::from_secs(1);
/// A pipe of fewer slots loses bytes of kernel TLS on several kernels.
pub const PIPE_SLOTS_MIN: usize = 16;
/// Slots that one spliced TLS record may take: four pages of data and one for what straddles.
pub const PIPE_SLOTS_PER_RECORD: usize = 5;
/// Pipes of one relay thread; an unprivileged user has 1,024 of full size in all.
pub const PIPES_PER_THREAD: usize = 256;
/// Empty pipes and buffers that one relay thread keeps for the next direction that needs one.
pub const PIPES_KEPT: usize = 16;
pub const BUFFERS_KEPT: usize = 16;
/// How long a peer may take to acknowledge what was sent before its connection is reset.
pub const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long, and how many bytes, a client's leftovers are read after both directions ended, so
/// that closing does not reset what it has yet to read.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
pub const LINGER_BYTES: u64 = 1 << 20;
/// Events taken from the kernel in one turn.
pub const EVENTS_PER_TURN: usize = 256;
pub const RING_ENTRIES: u32 = 256;

// Control plane.

/// After an event of a file, this long without another one is waited for, so that what is written
/// in several steps is read once; but no longer than the second.
pub const RELOAD_QUIET: Duration = Duration::from_millis(5);
pub const RELOAD_DELAY_MAX: Duration = Duration::from_secs(1);
/// How often files are looked at without an event.
pub const RELOAD_POLL: Duration = Duration::from_secs(10);
/// Reloads that wait for their turn.
pub const RELOADS_WAITING: usize = 64;
/// As many as the kernel follows in one path (path_resolution(7)).
pub const SYMLINKS_MAX: usize = 40;
/// So few certificates are loaded by whoever asks for them; of more, each thread takes this many.
pub const CERTIFICATES_PER_LOADER: usize = 128;
/// Certificates of one listener that are described at the start, and changes told after a reload.
pub const CERTIFICATES_DESCRIBED: usize = 20;
/// Series of one metric about certificates; of the rest the earliest expiry is told.
pub const CERTIFICATE_SERIES_MAX: usize = 1000;
/// Series of one metric about servers, and histograms about backends; the rest is one more.
pub const SERVER_SERIES_MAX: usize = 1000;
pub const BACKEND_HISTOGRAMS_MAX: usize = 100;
/// Series of what the kernel counts of its TLS.
pub const KERNEL_SERIES_MAX: usize = 64;

// Telemetry.

pub const TELEMETRY_INTERVAL: Duration = Duration::from_secs(15);
pub const TELEMETRY_INTERVAL_MIN: Duration = Duration::from_secs(1);
pub const TELEMETRY_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// For one export, from the resolver to the end of the answer.
pub const TELEMETRY_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for the last one, which the end of the process waits for.
pub const TELEMETRY_LAST_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is looked at whether an export is due: a reload counts this soon.
pub const TELEMETRY_POLL: Duration = Duration::from_millis(250);
pub const TELEMETRY_ANSWER_BYTES_MAX: usize = 64 << 10;

// Log and audit.

/// Bytes of lines that wait to be written; as many again may be on their way.
pub const LOG_QUEUE_BYTES: usize = 4 << 20;
/// The same for audit events: as many as a reload of 10,000 certificates makes.
pub const AUDIT_QUEUE_BYTES: usize = 16 << 20;
/// How often writing is tried again where it fails.
pub const LOG_RETRY: Duration = Duration::from_secs(1);
/// How long the end of the program waits for the last lines to be written.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Names of one certificate in an audit event.
pub const AUDIT_NAMES_MAX: usize = 8;

// Admin.

pub const ADMIN_CONNECTIONS: usize = 32;
pub const ADMIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// From the connection to the end of its answer; a reload may have names to resolve.
pub const ADMIN_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
pub const ADMIN_HEADERS_BYTES_MAX: usize = 16 << 10;
pub const ADMIN_ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How often `lockgate top` may ask.
pub const TOP_INTERVAL_MIN: Duration = Duration::from_millis(100);
pub const TOP_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Expiry that `lockgate status` and `top` tell of.
pub const EXPIRY_NEAR: Duration = Duration::from_secs(30 * 24 * 3600);
pub const TOKEN_BYTES_MAX: u64 = 4096;
/// Connections in one answer: unless told otherwise, and at most.
pub const CONNECTIONS_LISTED: usize = 1000;
pub const CONNECTIONS_LISTED_MAX: usize = 10_000;
/// Live connections that are looked at in one go, while their thread may have to wait.
pub const CONNECTIONS_PER_LOOK: usize = 128;

const _: () = assert!(DESCRIPTORS_KEPT >= ADMIN_CONNECTIONS as u64 + 16);
const _: () = assert!(DESCRIPTORS_RESERVED >= 2 * DESCRIPTORS_KEPT);
const _: () = assert!(TELEMETRY_POLL.as_millis() < TELEMETRY_INTERVAL_MIN.as_millis());
const _: () = assert!(TICKET_KEY_SECONDS <= 6 * 3600);
const _: () = assert!(RELOAD_QUIET.as_millis() < RELOAD_DELAY_MAX.as_millis());
const _: () = assert!(BULK_LEAVE_BYTES < BULK_ENTER_BYTES);
const _: () = assert!(BULK_ENTER_BYTES <= COPY_BYTES);
const _: () = assert!(PIPE_SLOTS_MIN >= 3 * PIPE_SLOTS_PER_RECORD);
const _: () = assert!(COPY_BYTES.is_multiple_of(RECORD_PAYLOAD_MAX));
const _: () = assert!(TURN_BYTES >= COPY_BYTES);
const _: () = assert!((PROBE_WARM_UP_BYTES + PROBE_COST_BYTES).is_multiple_of(RECORD_PAYLOAD_MAX));
const _: () = assert!(RECORDS_PER_KEY < 1 << 24);
const _: () =
    assert!(RECORDS_PER_KEY_MIN <= RECORDS_PER_KEY && RECORDS_PER_KEY <= RECORDS_PER_KEY_MAX);
const _: () = assert!(HANDSHAKE_TIMEOUT.as_secs() <= HANDSHAKE_TIMEOUT_LONG.as_secs());
