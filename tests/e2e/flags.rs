//! Without a file: certificates from `pki`, settings from flags, and the demo.

use std::{process::Command, time::Instant};

use crate::harness::{
    Connector, End, Folder, Program,
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
