//! The log: what is in the line of a connection, where lines go, and that nobody waits for them.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    os::fd::AsRawFd,
    path::Path,
    time::Instant,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::Value;

use crate::harness::{
    Backend, Connector, End, Folder, Lockgate, Setup, StreamEnd, command, documented, machine,
    patience, pki, pki::SPIFFE, sessions::echo, wait_until,
};

const CONNECTION: &str = "### The line of a connection";

fn start(setup: impl FnOnce(Setup) -> Setup) -> (Backend<StreamEnd>, Lockgate) {
    let backend = Backend::tcp(echo);
    let lockgate = setup(Setup::to(&backend.address)).start();
    (backend, lockgate)
}

/// Comes, says something and leaves: one line.
#[track_caller]
fn visit(connector: &Connector, lockgate: &Lockgate) -> String {
    let mut client = connector.connect(lockgate.address);
    client.ping(b"some bytes");
    let peer = client.local().to_string();
    assert_eq!(client.close().1, End::Clean);
    peer
}

fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[track_caller]
fn closed_object(lockgate: &Lockgate, peer: &str) -> Value {
    let find = || {
        let mut objects = objects(&lockgate.log()).into_iter();
        objects.find(|line| line["peer"] == peer && line["message"] == "connection closed")
    };
    wait_until("the connection's line was there", || find().is_some());
    find().unwrap()
}

/// What another implementation says of a certificate: its fingerprint and serial number.
fn described(folder: &Folder, certificate: &str) -> (String, String) {
    let path = folder.write("described.pem", certificate);
    let of = |option: &str| {
        let arguments = ["x509", "-in", &path, "-noout", "-sha256", option];
        let text = command::run("openssl", &arguments).success().text();
        text.trim().split('=').nth(1).unwrap().to_owned()
    };
    (of("-fingerprint"), of("-serial"))
}

#[test]
fn a_connection_is_told_in_json_with_every_documented_field_and_no_other() {
    let (backend, lockgate) = start(|setup| {
        let setup = setup.log("format = \"json\"").client_auth("request");
        setup.listener("alpn = [\"h2\", \"http/1.1\"]")
    });
    let connector = Connector::new()
        .identity(&pki().client)
        .alpn(&["http/1.1"])
        .version(&rustls::version::TLS13);
    let line = closed_object(&lockgate, &visit(&connector, &lockgate));
    let mut documented = documented::names(CONNECTION);
    documented.extend(["timestamp", "level", "message"].map(str::to_owned));
    assert_eq!(documented::keys(&line), documented);

    let (fingerprint, serial) = described(lockgate.folder(), &pki().client.certificate);
    for (key, value) in [
        ("listener", "main"),
        ("sni", pki::HOST),
        ("alpn", "http/1.1"),
        ("version", "1.3"),
        ("identity", SPIFFE),
        ("certificate_sha256", &fingerprint),
        ("backend", "main"),
        ("server", &backend.address),
        ("reason", "finished"),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    let told = line["certificate_serial"].as_str().unwrap();
    assert_eq!(told.replace(':', "").to_uppercase(), serial);
    assert_eq!((&line["up"], &line["down"]), (&10.into(), &10.into()));
    assert_eq!(line["resumed"], false);
    assert!(line["duration_ms"].as_u64().unwrap() < 60_000);

    // Nothing is said where there is nothing to say.
    let connector = Connector::new().version(&rustls::version::TLS12);
    let line = closed_object(&lockgate, &visit(&connector, &lockgate));
    let keys = documented::keys(&line);
    let left_out: BTreeSet<_> = documented.difference(&keys).map(String::as_str).collect();
    let expected = [
        "alpn",
        "certificate_serial",
        "certificate_sha256",
        "identity",
    ];
    assert_eq!(left_out, BTreeSet::from(expected));
    lockgate.finish();
}

#[test]
fn spliced_bytes_are_told_apart_where_the_kernel_splices() {
    use crate::harness::{data, sessions::ordered};
    const BYTES: u64 = 8 << 20;
    let backend = Backend::tcp(ordered);
    let lockgate = Setup::to(&backend.address).log("format = \"json\"").start();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(&BYTES.to_be_bytes());
    client.close_notify();
    assert_eq!(client.check(data::DOWN), (BYTES, End::Clean));
    let line = closed_object(&lockgate, &client.local().to_string());
    assert_eq!(line["down"], BYTES);
    assert_eq!(line["up"], 8);
    assert_eq!(line["up_spliced"], 0);
    let spliced = line["down_spliced"].as_u64().unwrap();
    // How many they are depends on how the backend is scheduled: what it sends in bits is copied.
    match machine::expects_kernel() {
        true => assert!(spliced > 0 && spliced <= BYTES, "{spliced}"),
        false => assert_eq!(spliced, 0),
    }
    let counted = lockgate
        .metrics()
        .of("lockgate_spliced_bytes_total", &["direction=down"]);
    assert_eq!(spliced, counted);
    backend.next();
    lockgate.finish();
}

/// Standard error is the smallest pipe there is, and its reader does not read.
fn with_a_log_that_nobody_reads<T>(backend: &Backend<T>) -> (Lockgate, fs::File) {
    let setup = Setup::to(&backend.address);
    let fifo = setup.folder.join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    // Both ends, so that opening does not wait.
    let reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .unwrap();
    let size = nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096);
    nix::fcntl::fcntl(reader.as_raw_fd(), size).unwrap();
    let fifo = fifo.to_str().unwrap();
    let script = ["sh", "-c", "exec \"$@\" 2>\"$0\"", fifo];
    let lockgate = setup.launcher(&script).start();
    (lockgate, reader)
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    let backend = Backend::tcp(echo);
    let (lockgate, reader) = with_a_log_that_nobody_reads(&backend);

    let began = Instant::now();
    let connector = Connector::new().resuming();
    let peers: Vec<_> = (0..100).map(|_| visit(&connector, &lockgate)).collect();
    assert!(began.elapsed() < patience(), "{:?}", began.elapsed());
    lockgate.wait_closed("finished", 100);

    // All of it is there once somebody reads.
    let mut told = Vec::new();
    let mut lines = BufReader::new(reader).lines();
    while told.len() < peers.len() {
        let line = lines.next().unwrap().unwrap();
        let peer = line
            .split("peer=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        told.extend(peer.map(str::to_owned));
    }
    told.sort_unstable();
    let mut peers = peers;
    peers.sort_unstable();
    assert_eq!(told, peers);
    drop(lines);
    lockgate.finish();
}

#[test]
fn the_end_of_the_program_does_not_wait_for_a_log_that_nobody_reads() {
    let backend = Backend::tcp(echo);
    let (lockgate, _reader) = with_a_log_that_nobody_reads(&backend);
    for _ in 0..20 {
        visit(&Connector::new(), &lockgate);
    }
    // Waits until it has ended, with status 0.
    lockgate.finish();
}

#[test]
fn lines_above_the_bound_are_left_out_and_their_number_is_told() {
    let (_backend, lockgate) =
        start(|setup| setup.log("lines_per_second = 2").log("format = \"json\""));
    let connector = Connector::new().resuming();
    const VISITS: usize = 50;
    for _ in 0..VISITS {
        visit(&connector, &lockgate);
    }
    lockgate.wait_closed("finished", VISITS as u64);
    let count = || {
        let objects = objects(&lockgate.log());
        let closed = |line: &&Value| line["message"] == "connection closed";
        let told = objects.iter().filter(closed).count();
        let left_out = objects.iter().filter_map(|line| line["left_out"].as_u64());
        (told, left_out.sum::<u64>() as usize)
    };
    wait_until("all lines were accounted for", || {
        let (told, left_out) = count();
        told + left_out == VISITS
    });
    assert!(count().1 > 0, "nothing was left out: {:?}", count());
    let objects = objects(&lockgate.log());
    let mut notices = objects.iter().filter(|line| line["left_out"].is_u64());
    assert!(notices.all(|line| line["cause"] == "lines_per_second"));
    let (name, left_out) = ("lockgate_log_lines_left_out_total", count().1 as u64);
    let metrics = lockgate.metrics();
    assert_eq!(metrics.of(name, &["cause=lines_per_second"]), left_out);

    // What the operator is told has its own bound, and the bound changes while it runs.
    let path = lockgate.folder().join("lockgate.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("lines_per_second = 2", "lines_per_second = 1000"),
    )
    .unwrap();
    lockgate.wait_for("lockgate_config_generation", &[], 2);
    wait_until("the reload was told", || {
        lockgate.log().contains("log.lines_per_second: 1000")
    });
    let before = count().0;
    for _ in 0..VISITS {
        visit(&connector, &lockgate);
    }
    wait_until("every connection had its line", || {
        count().0 == before + VISITS
    });
    lockgate.finish();
}

#[test]
fn a_log_file_is_rotated_under_load_without_a_line_lost_or_torn() {
    let (_backend, lockgate) = start(|setup| {
        let setup = setup
            .log("format = \"json\"")
            .log("file = \"lockgate.log\"");
        setup
            .extra("[audit]\nfile = \"audit.log\"")
            .client_auth("required")
    });
    let files = ["lockgate.log", "audit.log"].map(|name| lockgate.folder().join(name));
    let mut peers = Vec::new();
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..2)
            .map(|_| {
                let lockgate = &lockgate;
                scope.spawn(move || {
                    let connector = Connector::new().identity(&pki().client).resuming();
                    let visits = (0..60).map(|_| visit(&connector, lockgate));
                    visits.collect::<Vec<_>>()
                })
            })
            .collect();
        for turn in 0..5 {
            for path in &files {
                fs::rename(path, path.with_extension(format!("{turn}.json"))).unwrap();
            }
            lockgate.signal(libc::SIGUSR1);
            wait_until("both files were there again", || {
                files.iter().all(|path| path.exists())
            });
        }
        for visitor in visitors {
            peers.extend(visitor.join().unwrap());
        }
    });
    lockgate.wait_closed("finished", peers.len() as u64);
    peers.sort_unstable();
    let folder = lockgate.folder().path().to_owned();
    for (stem, key, value) in [
        ("lockgate.", "message", "connection closed"),
        ("audit.", "event", "MTLS_HANDSHAKE_OK"),
    ] {
        let told = || {
            let texts = all(&folder, stem);
            let objects = texts.iter().flat_map(|text| {
                assert!(text.is_empty() || text.ends_with('\n'), "torn: {text}");
                objects(text)
            });
            let ours = objects.filter(|line| line[key] == value);
            let peer = |line: Value| line["peer"].as_str().unwrap().to_owned();
            let mut peers: Vec<_> = ours.map(peer).collect();
            peers.sort_unstable();
            peers
        };
        wait_until("every line was there", || told().len() == peers.len());
        assert_eq!(told(), peers, "{stem}");
    }
    lockgate.finish();
}

/// The files whose name begins so, and which are no configuration.
fn all(folder: &Path, stem: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(stem) && !name.ends_with(".toml") {
            let mut text = String::new();
            let mut file = fs::File::open(&path).unwrap();
            file.read_to_string(&mut text).unwrap();
            texts.push(text);
        }
    }
    texts
}

#[test]
fn a_log_that_cannot_be_opened_is_said_and_ends_the_start() {
    let folder = Folder::new();
    let (certificate, key) = pki().server.write(&folder);
    let config = folder.write(
        "lockgate.toml",
        format!(
            "[log]\nfile = \"nowhere/log\"\n[[listener]]\nname = \"main\"\nlisten = \"127.0.0.1:1\"\n\
             backend = \"main\"\n\
             certificates = [{{ certificate_file = {certificate:?}, key_file = {key:?} }}]\n\
             [[backend]]\nname = \"main\"\nservers = [\"127.0.0.1:1\"]\n"
        ),
    );
    let ended = command::lockgate(&["run", "--config", &config]);
    assert_eq!(ended.status.code(), Some(69), "{}", ended.all());
    let expected = format!(
        "log.file: {} cannot be",
        folder.join("nowhere/log").display()
    );
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);

    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[log]\n", "[audit]\n")).unwrap();
    let ended = command::lockgate(&["run", "--config", &config]);
    assert_eq!(ended.status.code(), Some(69), "{}", ended.all());
    assert!(ended.stderr.contains("audit.file: "), "{}", ended.stderr);
}
