//! Under systemd: events become records of the journal, field by field.
//!
//! journald's place is taken by a datagram socket of the test, which lockgate finds under journald's
//! name in a mount namespace of its own; the records are read as journald reads them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::net::UnixDatagram,
    path::PathBuf,
};

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, documented, holds_within, patience, pki, pki::SPIFFE,
    sessions::echo, wait_until,
};

const CONNECTION: &str = "### The line of a connection";

type Record = BTreeMap<String, String>;

struct Journal {
    path: PathBuf,
    socket: UnixDatagram,
    records: Vec<Record>,
}

impl Journal {
    fn bind(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Journal {
            path,
            socket,
            records: Vec::new(),
        }
    }

    /// Its name is there no more, as while journald is restarted.
    fn stop(self) -> PathBuf {
        fs::remove_file(&self.path).unwrap();
        self.path
    }

    fn read(&mut self) -> &[Record] {
        let mut datagram = vec![0; 256 << 10];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            self.records.push(parse(&datagram[..length]));
        }
        &self.records
    }

    /// The record of a connection that has ended.
    #[track_caller]
    fn closed(&mut self, peer: &str) -> Record {
        let mut found = None;
        let there = holds_within(patience(), || {
            let mut records = self.read().iter();
            found = records
                .find(|record| {
                    record.get("LOCKGATE_PEER").is_some_and(|p| p == peer)
                        && record["MESSAGE"] == "connection closed"
                })
                .cloned();
            found.is_some()
        });
        assert!(there, "no record of {peer}: {:?}", self.records);
        found.unwrap()
    }
}

/// `NAME=value` and a line feed; or `NAME`, a line feed, the length in 8 bytes, the value and a line
/// feed (systemd, "Native Journal Protocol").
fn parse(mut datagram: &[u8]) -> Record {
    let mut record = Record::new();
    while !datagram.is_empty() {
        let end = datagram.iter().position(|&byte| byte == b'\n').unwrap();
        let (line, rest) = (&datagram[..end], &datagram[end + 1..]);
        let (name, value, rest) = match line.iter().position(|&byte| byte == b'=') {
            Some(at) => (&line[..at], &line[at + 1..], rest),
            None => {
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                let (value, rest) = rest[8..].split_at(length);
                assert_eq!(rest[0], b'\n');
                (line, value, &rest[1..])
            }
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let name = text(name);
        let is_allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(
            name.chars().all(is_allowed) && !name.starts_with('_'),
            "{name}"
        );
        assert_eq!(record.insert(name, text(value)), None);
        datagram = rest;
    }
    record
}

/// A lockgate whose journal is the socket in this test's folder.
fn in_service(setup: Setup) -> (Lockgate, Journal) {
    let folder = setup.folder.join("journal");
    fs::create_dir(&folder).unwrap();
    let journal = Journal::bind(folder.join("socket"));
    let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal \
                  && mount --bind \"$0\" /run/systemd/journal \
                  && JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) && export JOURNAL_STREAM \
                  && exec \"$@\"";
    let folder = folder.to_str().unwrap();
    let launcher = ["unshare", "--mount", "sh", "-c", script, folder];
    (setup.launcher(&launcher).start(), journal)
}

fn visit(lockgate: &Lockgate) -> String {
    let connector = Connector::new()
        .identity(&pki().client)
        .alpn(&["h2"])
        .version(&rustls::version::TLS13);
    let mut client = connector.connect(lockgate.address);
    client.ping(b"some bytes");
    let peer = client.local().to_string();
    assert_eq!(client.close().1, End::Clean);
    peer
}

#[test]
fn a_connection_is_a_record_with_the_documented_fields_and_no_other() {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address).client_auth("request");
    let (lockgate, mut journal) = in_service(setup.listener("alpn = [\"h2\"]"));
    let record = journal.closed(&visit(&lockgate));
    let mut names: BTreeSet<_> = documented::names(CONNECTION)
        .iter()
        .map(|name| format!("LOCKGATE_{}", name.to_uppercase()))
        .collect();
    names.extend(["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"].map(str::to_owned));
    assert_eq!(record.keys().cloned().collect::<BTreeSet<_>>(), names);
    for (name, value) in [
        ("SYSLOG_IDENTIFIER", "lockgate"),
        ("PRIORITY", "6"),
        ("LOCKGATE_IDENTITY", SPIFFE),
        ("LOCKGATE_UP", "10"),
        ("LOCKGATE_RESUMED", "false"),
        ("LOCKGATE_VERSION", "1.3"),
        ("LOCKGATE_REASON", "finished"),
    ] {
        assert_eq!(record[name], value, "{name}");
    }
    assert!(!lockgate.log().contains("connection closed"));

    // A warning, and a value that has more than one line.
    fs::write(lockgate.folder().join("lockgate.toml"), "[log\nlevel").unwrap();
    let mut found = None;
    wait_until("the refused reload was recorded", || {
        let mut records = journal.read().iter();
        found = records
            .find(|r| r["MESSAGE"].starts_with("not reloaded"))
            .cloned();
        found.is_some()
    });
    assert_eq!(found.unwrap()["PRIORITY"], "3");
    lockgate.finish();
}

#[test]
fn a_journal_that_is_busy_or_restarted_holds_up_nobody_and_misses_nothing() {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address).client_auth("request");
    let (lockgate, mut journal) = in_service(setup.listener("alpn = [\"h2\"]"));
    // More than a datagram socket queues (net.unix.max_dgram_qlen): it does not read.
    let mut peers: Vec<_> = (0..50).map(|_| visit(&lockgate)).collect();
    for peer in &peers {
        journal.closed(peer);
    }
    let path = journal.stop();
    peers = (0..5).map(|_| visit(&lockgate)).collect();
    wait_until("it was said on standard error", || {
        lockgate.log().contains("the log cannot be written")
    });
    let mut journal = Journal::bind(path);
    for peer in &peers {
        journal.closed(peer);
    }
    lockgate.finish();
}

#[test]
fn standard_error_that_was_redirected_is_no_journal() {
    let backend = Backend::tcp(echo);
    let mut setup = Setup::to(&backend.address);
    setup
        .environment
        .push(("JOURNAL_STREAM".to_owned(), "1:2".to_owned()));
    let lockgate = setup.start();
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"some bytes");
    let peer = client.local();
    client.close();
    lockgate.closed_line(peer);
    lockgate.finish();
}
