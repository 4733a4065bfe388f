//! The commands: what they write and print is what works.

use std::{io::Write, process::Command, time::Instant};

use crate::harness::{
    Connector, End, Folder, Lockgate, Program, Setup,
    command::{curl, lockgate, run},
    machine,
    nginx::Nginx,
    patience, pki,
    pki::HOST,
    wait_until,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lockgate");

#[test]
fn pki_makes_certificates_that_openssl_verifies_and_lockgate_serves() {
    let folder = Folder::new();
    let dir = folder.join("pki").display().to_string();
    let out = folder.path().display().to_string();
    lockgate(&["pki", "init", "--dir", &dir]).success();
    let issue = |arguments: &[&str]| {
        let mut all = vec!["pki", "issue"];
        all.extend(arguments);
        all.extend(["--dir", &dir, "--out", &out]);
        lockgate(&all)
    };
    issue(&["edge", "--server", "--dns", HOST, "--ip", "127.0.0.1"]).success();
    issue(&["alice", "--client", "--uri", "spiffe://lab.test/alice"]).success();
    issue(&["alice", "--client"]).failure();

    let root = format!("{dir}/root-ca.crt");
    for (name, purpose) in [("edge", "sslserver"), ("alice", "sslclient")] {
        let certificate = format!("{out}/{name}.crt");
        run(
            "openssl",
            &[
                "verify",
                "-x509_strict",
                "-purpose",
                purpose,
                "-CAfile",
                &root,
                "-untrusted",
                &certificate,
                &certificate,
            ],
        )
        .success();
        // The key fits the certificate and is for nobody else.
        let public = |arguments: &[&str]| run("openssl", arguments).success().stdout;
        let key = format!("{out}/{name}.key");
        let of_certificate = public(&["x509", "-in", &certificate, "-noout", "-pubkey"]);
        assert_eq!(of_certificate, public(&["pkey", "-in", &key, "-pubout"]));
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&key).unwrap());
        assert_eq!(mode & 0o077, 0, "{key} can be read by others");
    }

    let nginx = Nginx::tcp();
    let port = machine::free_port();
    let _running = run_with_flags(&[
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--backend",
        &nginx.address,
        "--tls-cert-path",
        &format!("{out}/edge.crt"),
        "--tls-key-path",
        &format!("{out}/edge.key"),
        "--client-auth",
        "required",
        "--client-ca-path",
        &root,
    ]);
    let url = format!("https://{HOST}:{port}/index.html");
    let resolve = format!("{HOST}:{port}:127.0.0.1");
    let common = [
        "--cacert",
        &root,
        "--resolve",
        &resolve,
        "--retry",
        "20",
        "--retry-connrefused",
    ];
    let (certificate, key) = (format!("{out}/alice.crt"), format!("{out}/alice.key"));
    let mut with = curl(&common);
    with.args([
        "--retry-delay",
        "1",
        "--cert",
        &certificate,
        "--key",
        &key,
        &url,
    ]);
    assert_eq!(
        Program::start(&mut with).finish().success().text(),
        "hello from nginx\n"
    );
    let mut without = curl(&common[..4]);
    Program::start(without.arg(&url)).finish().failure();
}

/// `lockgate run` with flags; ends with the test.
fn run_with_flags(flags: &[&str]) -> Program {
    Program::start(Command::new(PROGRAM).arg("run").args(flags))
}

#[track_caller]
fn assert_serves(port: u16, program: &mut Program) {
    let address = ([127, 0, 0, 1], port).into();
    wait_until("it accepts", || {
        assert!(!program.has_ended(), "it ended: {}", program.output());
        std::net::TcpStream::connect(address).is_ok()
    });
    let mut client = Connector::new().connect(address);
    client.write(b"GET /index.html HTTP/1.0\r\n\r\n");
    let (answer, end) = client.read_all();
    assert_eq!(end, End::Clean);
    assert!(
        answer.ends_with(b"hello from nginx\n"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    machine::signal(program.child.id(), libc::SIGTERM);
}

#[test]
fn every_spelling_of_the_flags_serves() {
    let nginx = Nginx::tcp();
    let folder = Folder::new();
    let (certificate, key) = pki().server.write(&folder);
    let url = format!("http://{}", nginx.address);
    let by_path = ["--tls-cert-path", &certificate, "--tls-key-path", &key];
    let inline = [
        "--tls-cert",
        &pki().server.certificate,
        "--tls-key",
        &pki().server.key,
    ];
    let equals = [
        format!("--tls-cert={}", pki().server.certificate),
        format!("--tls-key={}", pki().server.key),
    ];
    let equals: Vec<&str> = equals.iter().map(String::as_str).collect();
    for (place, backend) in [
        (0, vec!["--backend", &nginx.address]),
        (1, vec!["--worker-urls", &url]),
        (1, vec!["--worker-urls", &url, &url]),
        (
            0,
            vec!["--backend", &nginx.address, "--backend", &nginx.address],
        ),
    ] {
        for certificate in [&by_path[..], &equals, &inline[..]] {
            let port = machine::free_port();
            let (listen, number) = (format!("127.0.0.1:{port}"), port.to_string());
            let mut flags: Vec<&str> = match place {
                0 => vec!["--listen", &listen],
                _ => vec!["--host", "127.0.0.1", "--port", &number],
            };
            flags.extend(certificate);
            flags.extend(&backend);
            let mut program = run_with_flags(&flags);
            assert_serves(port, &mut program);
            let finished = program.finish().success();
            let log = finished.all();
            assert!(!log.contains("PRIVATE KEY"), "the key is in the log");
        }
    }
}

#[test]
fn a_worker_url_with_a_path_is_refused_with_words() {
    let folder = Folder::new();
    let (certificate, key) = pki().server.write(&folder);
    let finished = lockgate(&[
        "run",
        "--port",
        "1",
        "--tls-cert-path",
        &certificate,
        "--tls-key-path",
        &key,
        "--worker-urls",
        "http://127.0.0.1:8000/path",
    ]);
    assert_eq!(finished.status.code(), Some(78), "{}", finished.all());
    assert!(
        finished.all().contains("--worker-urls"),
        "{}",
        finished.all()
    );
}

#[test]
fn check_accepts_what_run_accepts_and_reports_every_problem_at_once() {
    let setup = Setup::to("127.0.0.1:9").client_auth("required");
    let good = setup.folder.write("good.toml", setup.toml(4433));
    lockgate(&["check", "--config", &good]).success();
    let bad = setup
        .toml(4433)
        .replace(
            "name = \"main\"\nlisten",
            "name = \"main\"\nmin_tls = \"1.1\"\nlisten",
        )
        .replace("backend = \"main\"", "backend = \"nobody\"")
        .replace(
            "[limits]",
            "[limits]\nidle_timeout = \"soon\"\nconections = 5",
        );
    let bad = setup.folder.write("bad.toml", bad);
    for command in ["check", "run"] {
        let finished = lockgate(&[command, "--config", &bad]);
        assert_eq!(finished.status.code(), Some(78), "{}", finished.all());
        let said = finished.all();
        for part in [
            "min_tls",
            "nobody",
            "idle_timeout",
            "conections",
            "connections",
        ] {
            assert!(
                said.contains(part),
                "{part} is not reported by {command}:\n{said}"
            );
        }
    }
    let missing = setup.toml(4433).replace("server.pem", "missing.pem");
    let missing = setup.folder.write("missing.toml", missing);
    let finished = lockgate(&["check", "--config", &missing]);
    assert_eq!(finished.status.code(), Some(78), "{}", finished.all());
    assert!(finished.all().contains("missing.pem"), "{}", finished.all());
    // A key of another certificate.
    let other = setup.toml(4433).replace("server.key", "other.key");
    setup.folder.write("other.key", &pki().exact.key);
    let other = setup.folder.write("other.toml", other);
    assert_eq!(
        lockgate(&["check", "--config", &other]).status.code(),
        Some(78)
    );
}

#[test]
fn a_wrong_command_line_is_status_64_and_help_is_0() {
    for wrong in [
        &["run", "--no-such-flag"][..],
        &["no-such-command"],
        &["check"],
    ] {
        assert_eq!(lockgate(wrong).status.code(), Some(64), "{wrong:?}");
    }
    for right in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["pki", "issue", "--help"],
    ] {
        lockgate(right).success();
    }
}

#[test]
fn a_taken_port_is_said_and_no_crash() {
    machine::isolate();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let setup = Setup::to("127.0.0.1:9");
    let config = setup.folder.write("lockgate.toml", setup.toml(port));
    let finished = lockgate(&["run", "--config", &config]).failure();
    let said = finished.all();
    assert!(
        said.contains(&port.to_string()) && said.contains("in use"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn the_demo_prints_commands_that_work() {
    let port = machine::free_port();
    let listen = format!("127.0.0.1:{port}");
    let demo = Program::start(Command::new(PROGRAM).args(["demo", "--listen", &listen]));
    let commands = || -> Vec<String> {
        let output = demo.output();
        let lines = output
            .lines()
            .map(str::trim)
            .map(|line| line.trim_start_matches("$ "));
        lines
            .filter(|line| line.starts_with("curl "))
            .map(str::to_owned)
            .collect()
    };
    wait_until("the demo printed two commands", || commands().len() >= 2);
    let commands = commands();
    let mut answers = Vec::new();
    for command in &commands {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir("/")
            .env("NO_PROXY", "*");
        answers.push(Program::start(&mut shell).finish().success().text());
    }
    assert!(
        answers.iter().all(|answer| !answer.is_empty()),
        "{commands:?}: {answers:?}"
    );
    // The second one comes with a client certificate, and the page says whose.
    assert!(answers[1].contains("spiffe://"), "{}", answers[1]);
    assert!(!answers[0].contains("spiffe://"), "{}", answers[0]);
    let started = Instant::now();
    machine::signal(demo.child.id(), libc::SIGINT);
    let finished = demo.finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.all());
    assert!(started.elapsed() < patience());
}

#[test]
fn the_admin_socket_answers_only_what_it_knows() {
    let lockgate: Lockgate = Setup::to("127.0.0.1:9").start();
    let admin = lockgate.folder().join("admin");
    for (path, status) in [
        ("/health", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/nothing", 404),
    ] {
        let answer = crate::harness::metrics::get(&admin, path).unwrap();
        assert_eq!(answer.0, status, "{path}");
    }
    // Garbage does not stop it.
    let mut socket = std::os::unix::net::UnixStream::connect(&admin).unwrap();
    socket.write_all(&[0xff; 5000]).unwrap();
    drop(socket);
    assert_eq!(
        crate::harness::metrics::get(&admin, "/health").unwrap().0,
        200
    );
    lockgate.finish_on_any_path();
}
