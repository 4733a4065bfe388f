//! Everything changes while it runs: files in every way that files change, under load, with
//! nothing lost; and what is wrong changes nothing.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rustls::{AlertDescription, HandshakeKind, NamedGroup};

use crate::harness::{
    Backend, Client, Connector, End, Folder, Lockgate, Program, Setup, command, machine, metrics,
    patience, pki,
    pki::{Identity, SPIFFE},
    sessions::echo,
    wait_until,
};

const GENERATION: &str = "lockgate_config_generation";
const RELOADS: &str = "lockgate_tls_reload_total";

/// Whose certificate a new connection gets.
fn is_served(address: SocketAddr, identity: &Identity) -> bool {
    let client = Connector::new().connect(address);
    let served = client.tls.peer_certificates().unwrap()[0].clone();
    drop(client.close());
    served == identity.chain()[0]
}

#[track_caller]
fn wait_served(lockgate: &Lockgate, identity: &Identity) {
    wait_until("the new certificate was served", || {
        is_served(lockgate.address, identity)
    });
}

fn admin(lockgate: &Lockgate) -> String {
    format!("unix:{}", lockgate.folder().join("admin").display())
}

/// What `lockgate reload` answers.
#[track_caller]
fn reload(lockgate: &Lockgate) -> String {
    let answer = command::lockgate(&["reload", "--admin", &admin(lockgate)]);
    answer.success().text()
}

/// The same without a process for each.
fn post(lockgate: &Lockgate, path: &str) -> String {
    let mut socket = UnixStream::connect(lockgate.folder().join("admin")).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    write!(socket, "POST {path} HTTP/1.1\r\nHost: lockgate\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn get(lockgate: &Lockgate, path: &str) -> (u16, String) {
    metrics::get(&lockgate.folder().join("admin"), path).unwrap()
}

/// Changes the configuration as an editor does: another file takes its place.
#[track_caller]
fn edit(lockgate: &Lockgate, change: impl Fn(String) -> String) {
    let path = lockgate.folder().join("lockgate.toml");
    let text = change(fs::read_to_string(&path).unwrap());
    rename_over(&path, &text);
}

fn rename_over(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

fn threads(lockgate: &Lockgate) -> usize {
    fs::read_dir(format!("/proc/{}/task", lockgate.pid()))
        .unwrap()
        .count()
}

/// Clients that come, say something and leave, and one that stays; until it is dropped.
struct Load {
    over: Arc<AtomicBool>,
    visits: Arc<AtomicU64>,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let visits = Arc::new(AtomicU64::new(0));
        let connector = Connector::new().group(NamedGroup::X25519);
        let mut workers = Vec::new();
        for stays in [false, false, true] {
            let (over, visits, connector) = (over.clone(), visits.clone(), connector.clone());
            workers.push(thread::spawn(move || {
                let mut open: Option<Client> = None;
                while !over.load(Ordering::Relaxed) {
                    let mut client = open.take().unwrap_or_else(|| connector.connect(address));
                    client.ping(&[7; 5000]);
                    visits.fetch_add(1, Ordering::Relaxed);
                    if stays {
                        open = Some(client);
                    } else {
                        assert_eq!(client.close().1, End::Clean);
                    }
                }
                if let Some(client) = open {
                    assert_eq!(client.close().1, End::Clean);
                }
            }));
        }
        Load {
            over,
            visits,
            workers,
        }
    }

    /// Waits for some more of it, so that it was there before and after.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.visits.load(Ordering::Relaxed);
        wait_until("clients were served", || {
            self.visits.load(Ordering::Relaxed) >= before + 10
        });
    }

    #[track_caller]
    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.join().expect("a client lost something");
        }
    }
}

#[test]
fn a_certificate_is_rotated_under_load_in_every_way_that_files_change() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let (first, second) = (&pki().server, &pki().server_ed25519);
    let (certificate, key) = (
        lockgate.folder().join("server.pem"),
        lockgate.folder().join("server.key"),
    );
    let load = Load::on(lockgate.address);
    load.goes_on();

    // Written in place, the key some time after its certificate.
    fs::write(&certificate, &second.certificate).unwrap();
    lockgate.wait_for(RELOADS, &["result=parse_error"], 1);
    assert!(is_served(lockgate.address, first), "the last good one");
    fs::write(&key, &second.key).unwrap();
    wait_served(&lockgate, second);

    // Renamed over.
    rename_over(&key, &first.key);
    rename_over(&certificate, &first.certificate);
    wait_served(&lockgate, first);

    // Removed, and put back later.
    fs::remove_file(&certificate).unwrap();
    fs::remove_file(&key).unwrap();
    lockgate.wait_for(RELOADS, &["result=io_error"], 1);
    assert!(is_served(lockgate.address, first), "the last good one");
    fs::write(&key, &second.key).unwrap();
    fs::write(&certificate, &second.certificate).unwrap();
    wait_served(&lockgate, second);

    // A symlink takes its place, and then points elsewhere.
    for (identity, name) in [(first, "one"), (second, "two"), (first, "three")] {
        let folder = lockgate.folder().join(name);
        fs::create_dir(&folder).unwrap();
        for (path, text) in [(&certificate, &identity.certificate), (&key, &identity.key)] {
            let target = folder.join(path.file_name().unwrap());
            fs::write(&target, text).unwrap();
            let link = path.with_extension("link");
            symlink(&target, &link).unwrap();
            fs::rename(&link, path).unwrap();
        }
        wait_served(&lockgate, identity);
    }
    // Written in place behind the symlink.
    fs::write(
        lockgate.folder().join("three/server.pem"),
        &second.certificate,
    )
    .unwrap();
    fs::write(lockgate.folder().join("three/server.key"), &second.key).unwrap();
    wait_served(&lockgate, second);

    load.goes_on();
    load.end();
    lockgate.finish();
}

#[test]
fn a_secret_that_kubernetes_mounts_is_rotated_under_load() {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address);
    let mount = setup.folder.join("mount");
    fs::create_dir(&mount).unwrap();
    let swap = |version: &str, identity: &Identity| {
        let folder = mount.join(format!("..{version}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tls.crt"), &identity.certificate).unwrap();
        fs::write(folder.join("tls.key"), &identity.key).unwrap();
        let old = fs::read_link(mount.join("..data")).ok();
        symlink(format!("..{version}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(mount.join(old)).unwrap();
        }
    };
    swap("1", &pki().server);
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), mount.join(name)).unwrap();
    }
    let port = machine::free_port();
    let lockgate = setup
        .extra(&format!(
            "[[listener]]\nname = \"mounted\"\nlisten = \"127.0.0.1:{port}\"\nbackend = \"main\"\n\
             certificates = [{{ certificate_file = \"mount/tls.crt\", key_file = \"mount/tls.key\" }}]"
        ))
        .start();
    let address = ([127, 0, 0, 1], port).into();
    let load = Load::on(address);
    load.goes_on();
    for (version, identity) in [
        ("2", &pki().server_ed25519),
        ("3", &pki().server),
        ("4", &pki().server_ed25519),
    ] {
        swap(version, identity);
        wait_until("the mounted certificate was served", || {
            is_served(address, identity)
        });
    }
    load.goes_on();
    load.end();
    let metrics = lockgate.metrics();
    let bad = metrics.of(RELOADS, &["result=io_error"]);
    assert_eq!(bad + metrics.of(RELOADS, &["result=parse_error"]), 0);
    assert_eq!(metrics.sum(GENERATION), 4);
    lockgate.finish();
}

#[test]
fn bad_files_keep_the_last_good_and_are_said_once() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let certificate = lockgate.folder().join("server.pem");
    fs::write(&certificate, "no certificate\n").unwrap();
    lockgate.wait_for(RELOADS, &["scope=listener", "result=parse_error"], 1);
    assert!(is_served(lockgate.address, &pki().server));
    let refused = command::lockgate(&["reload", "--admin", &admin(&lockgate)]).failure();
    assert!(
        refused.all().contains("holds no PEM certificate"),
        "{}",
        refused.all()
    );
    lockgate.signal(libc::SIGHUP);
    lockgate.wait_for(RELOADS, &["result=parse_error"], 3);
    assert_eq!(lockgate.log().matches("holds no PEM").count(), 1);
    assert_eq!(lockgate.metrics().sum(GENERATION), 1);
    let (status, ready) = get(&lockgate, "/ready");
    assert_eq!(status, 200, "it serves: {ready}");
    assert!(ready.contains("\"rejected\"") && ready.contains("server.pem"));

    // So is a configuration that is none.
    fs::write(&certificate, &pki().server.certificate).unwrap();
    lockgate.wait_for(GENERATION, &[], 2);
    edit(&lockgate, |text| format!("{text}\nnonsense = ?\n"));
    lockgate.wait_for(RELOADS, &["result=parse_error"], 4);
    assert!(is_served(lockgate.address, &pki().server));
    edit(&lockgate, |text| text.replace("\nnonsense = ?\n", ""));
    lockgate.wait_for(GENERATION, &[], 3);
    lockgate.finish();
}

#[test]
fn sighup_reloads_and_what_needs_a_restart_is_told() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    lockgate.signal(libc::SIGHUP);
    lockgate.wait_for(GENERATION, &[], 2);
    edit(&lockgate, |text| {
        text.replace("handshake_threads = 1", "handshake_threads = 3")
            .replace("[limits]", "[limits]\nidle_timeout = \"7s\"")
    });
    lockgate.wait_for(GENERATION, &[], 3);
    let answer = reload(&lockgate);
    assert!(
        answer.contains("not now: runtime.handshake_threads stays 1"),
        "{answer}"
    );
    let (_, config) = get(&lockgate, "/config");
    assert!(
        config.contains("\"idle_timeout_seconds\":7.0") && config.contains("handshake_threads\":1"),
        "{config}"
    );
    assert!(!config.contains("PRIVATE"), "{config}");
    assert!(is_served(lockgate.address, &pki().server));
    lockgate.finish();
}

#[test]
fn listeners_and_backends_come_and_go_with_their_connections_kept() {
    let backend = Backend::tcp(echo);
    let other = Backend::tcp(|mut socket| {
        socket.write_all(b"other").unwrap();
        echo(socket)
    });
    let setup = Setup::to(&backend.address);
    let certificate = setup.certificate(&pki().server);
    let lockgate = setup.start();
    let port = machine::free_port();
    let second: SocketAddr = ([127, 0, 0, 1], port).into();
    let added = format!(
        "\n[[listener]]\nname = \"second\"\nlisten = \"127.0.0.1:{port}\"\nbackend = \"other\"\n\
         certificates = [{certificate}]\n[[backend]]\nname = \"other\"\nservers = {:?}\n",
        other.address
    );
    let load = Load::on(lockgate.address);
    for _ in 0..3 {
        edit(&lockgate, |text| text + &added);
        wait_until("the new listener accepted", || {
            TcpStream::connect(second).is_ok()
        });
        let mut client = Connector::new().connect(second);
        assert_eq!(client.read_exactly(5), b"other");
        client.ping(b"before");

        edit(&lockgate, |text| text.replace(&added, ""));
        wait_until("the removed listener refused", || {
            TcpStream::connect(second).is_err()
        });
        client.ping(b"and after");
        load.goes_on();
        assert_eq!(client.close().1, End::Clean);
    }
    // An address moves to a listener of another name.
    edit(&lockgate, |text| {
        text.replace("name = \"main\"\nlisten", "name = \"renamed\"\nlisten")
    });
    wait_until("the renamed listener served", || {
        get(&lockgate, "/certificates").1.contains("\"renamed\"")
    });
    load.goes_on();
    load.end();
    // An address that is taken: nothing of the configuration is used.
    let generation = lockgate.metrics().sum(GENERATION);
    let taken = added.replace(
        &port.to_string(),
        backend.address.rsplit(':').next().unwrap(),
    );
    edit(&lockgate, |text| text + &taken);
    lockgate.wait_for(RELOADS, &["result=io_error"], 1);
    assert_eq!(lockgate.metrics().sum(GENERATION), generation);
    lockgate.finish();
}

#[test]
fn tickets_outlive_a_reload_unless_it_changes_whom_to_trust() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).client_auth("required").start();
    let visit = |connector: &Connector| {
        let mut client = connector.connect(lockgate.address);
        client.ping(b"ticket");
        let kind = client.tls.handshake_kind().unwrap();
        assert_eq!(client.close().1, End::Clean);
        kind
    };
    let ca = lockgate.folder().join("client-ca.pem");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let connector = Connector::new()
            .version(version)
            .identity(&pki().client)
            .resuming();
        assert_eq!(visit(&connector), HandshakeKind::Full);
        // Another certificate, for the same suites; the same trust.
        let next = match version.version {
            rustls::ProtocolVersion::TLSv1_2 => &pki().server_ed25519,
            _ => &pki().server,
        };
        rename_over(&lockgate.folder().join("server.key"), &next.key);
        rename_over(&lockgate.folder().join("server.pem"), &next.certificate);
        reload(&lockgate);
        assert_eq!(visit(&connector), HandshakeKind::Resumed, "{version:?}");
        // One more authority.
        let more = format!("{}{}", pki().ca, pki().other_ca);
        rename_over(&ca, &more);
        reload(&lockgate);
        assert_eq!(visit(&connector), HandshakeKind::Full, "{version:?}");
        // Another one: the certificate behind the ticket is none any more.
        rename_over(&ca, &pki().other_ca);
        reload(&lockgate);
        let end = connector.verdict(lockgate.address);
        assert_eq!(end, End::Alert(AlertDescription::UnknownCA), "{version:?}");
        rename_over(&ca, &pki().ca);
        reload(&lockgate);
    }
    lockgate.finish_on_any_path();
}

#[test]
fn two_hundred_reloads_under_load_lose_nothing_and_leave_nothing() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).client_auth("request").start();
    let load = Load::on(lockgate.address);
    let identities = [&pki().server, &pki().server_ed25519];
    let (mut tasks, mut memory) = (0, 0);
    for round in 0..200 {
        let identity = identities[round % 2];
        rename_over(&lockgate.folder().join("server.key"), &identity.key);
        rename_over(&lockgate.folder().join("server.pem"), &identity.certificate);
        let answer = post(&lockgate, "/reload");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        if round == 20 {
            (tasks, memory) = (threads(&lockgate), lockgate.memory());
        }
    }
    load.goes_on();
    load.end();
    assert!(threads(&lockgate) <= tasks, "threads");
    let grown = lockgate.memory().saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes more than after 20 reloads");
    let failures = lockgate.metrics().sum("lockgate_handshake_failures_total");
    assert_eq!(failures, 0);
    assert!(
        lockgate
            .metrics()
            .of(RELOADS, &["scope=listener", "result=ok"])
            >= 200
    );
    lockgate.finish();
}

#[test]
fn flags_without_a_file_reload_the_certificates_they_name() {
    let backend = Backend::tcp(echo);
    let folder = Folder::new();
    let (certificate, key) = pki().server.write(&folder);
    let port = machine::free_port();
    let listen = format!("127.0.0.1:{port}");
    let admin = format!("127.0.0.1:{}", machine::free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
    command.args(["run", "--listen", &listen, "--backend", &backend.address]);
    command.args(["--tls-cert-path", &certificate, "--tls-key-path", &key]);
    command.args(["--admin", &admin]);
    let program = Program::start(&mut command);
    let address = ([127, 0, 0, 1], port).into();
    wait_until("it accepted", || TcpStream::connect(address).is_ok());
    assert!(is_served(address, &pki().server));
    rename_over(&PathBuf::from(key), &pki().server_rsa.key);
    rename_over(&PathBuf::from(certificate), &pki().server_rsa.certificate);
    wait_until("the new certificate was served", || {
        is_served(address, &pki().server_rsa)
    });
    // Whoever can connect may look; without a token nobody changes anything by TCP.
    let status = command::lockgate(&["status", "--admin", &admin]).success();
    assert!(status.text().contains("generation"), "{}", status.text());
    for change in ["reload", "drain"] {
        let refused = command::lockgate(&[change, "--admin", &admin]).failure();
        assert!(refused.all().contains("bearer token"), "{}", refused.all());
    }
    machine::signal(program.child.id(), libc::SIGTERM);
    program.finish().success();
}

#[test]
fn live_connections_are_listed_and_one_is_closed_by_its_number() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).client_auth("request").start();
    let mut named = Connector::new()
        .identity(&pki().client)
        .connect(lockgate.address);
    let mut other = Connector::new().connect(lockgate.address);
    named.ping(b"one");
    other.ping(b"two");
    let list = |arguments: &[&str]| {
        let admin = admin(&lockgate);
        let words = [&["connections", "--admin", &admin], arguments].concat();
        command::lockgate(&words).success().text()
    };
    assert!(list(&[]).contains("2 of 2"), "{}", list(&[]));
    let one = list(&["--identity", SPIFFE]);
    assert!(one.contains("1 of 1") && one.contains(SPIFFE), "{one}");
    let row = one.lines().nth(1).unwrap();
    let id = row.split_whitespace().next().unwrap();
    assert_eq!(list(&["--end", id]), format!("ending {id}\n"));
    lockgate.wait_closed("closed", 1);
    drop(named.read_all());
    other.ping(b"still here");
    assert_eq!(other.close().1, End::Clean);

    let status = command::lockgate(&["status", "--admin", &admin(&lockgate)]);
    let status = status.success().text();
    assert!(status.contains("state        serving"), "{status}");
    lockgate.assert_baseline();
}

#[test]
fn drain_by_command_ends_it_with_its_last_connection() {
    let backend = Backend::tcp(echo);
    let mut lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"here");
    let admin = admin(&lockgate);
    command::lockgate(&["drain", "--admin", &admin]).success();
    wait_until("nobody was accepted", || {
        TcpStream::connect(lockgate.address).is_err()
    });
    let status = command::lockgate(&["status", "--admin", &admin]).failure();
    assert!(status.all().contains("draining"), "{}", status.all());
    client.ping(b"still here");
    assert_eq!(client.close().1, End::Clean);
    assert_eq!(lockgate.wait_end().code(), Some(0));
}
