//! What `check` and `run` say about files and flags that are wrong, and the admin socket.

use std::io::Write;

use crate::harness::{Folder, Setup, command::lockgate, machine, metrics, pki};

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
fn the_admin_socket_answers_only_what_it_knows() {
    let lockgate = Setup::to("127.0.0.1:9").start();
    let admin = lockgate.folder().join("admin");
    for (path, status) in [
        ("/health", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/nothing", 404),
    ] {
        let answer = metrics::get(&admin, path).unwrap();
        assert_eq!(answer.0, status, "{path}");
    }
    // Garbage does not stop it.
    let mut socket = std::os::unix::net::UnixStream::connect(&admin).unwrap();
    socket.write_all(&[0xff; 5000]).unwrap();
    drop(socket);
    assert_eq!(metrics::get(&admin, "/health").unwrap().0, 200);
    lockgate.finish_on_any_path();
}
