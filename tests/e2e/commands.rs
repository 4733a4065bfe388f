//! What the commands that speak to a running lockgate print, for people and for machines.

use std::{fs, process::Command};

use serde_json::Value;

use crate::harness::{
    Backend, Connector, End, Lockgate, Program, Setup,
    command::{self, Finished},
    machine, pki,
    pki::SPIFFE,
    sessions::echo,
};

fn start() -> (Backend<crate::harness::StreamEnd>, Lockgate) {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address).client_auth("request");
    (backend, setup.start())
}

/// A command on a terminal, as script(1) makes one.
fn on_terminal(words: &[&str], environment: &[(&str, &str)]) -> Finished {
    let line = [&[env!("CARGO_BIN_EXE_lockgate")], words]
        .concat()
        .join(" ");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    command.env_remove("NO_COLOR").env("TERM", "xterm");
    command.envs(environment.iter().copied());
    let mut program = Program::start(&mut command);
    program.close_stdin();
    program.finish().success()
}

#[test]
fn status_tells_state_path_backends_certificates_and_the_last_reload() {
    let (_backend, lockgate) = start();
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"hello");
    let status = || {
        command::lockgate(&["status", "--admin", &lockgate.admin()])
            .success()
            .text()
    };
    let text = status();
    let row = |title: &str| {
        let lines = text.lines().find(|line| line.starts_with(title));
        lines
            .unwrap_or_else(|| panic!("no {title}: {text}"))
            .to_owned()
    };
    assert!(row("state ").ends_with("serving"));
    assert!(row("connections ").ends_with(" 1"));
    assert!(row("last reload ").ends_with("none so far"));
    assert!(!row("data path ").ends_with('-'));
    let backend: Vec<String> = row("main ").split_whitespace().map(str::to_owned).collect();
    assert_eq!(backend[3..], ["up", "1", "0"]);
    assert!(
        text.contains("2 certificates, the first expires in "),
        "{text}"
    );
    // What is wrong is told as well.
    let config = lockgate.folder().join("lockgate.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{good}\nnonsense = 1\n")).unwrap();
    let refused = command::lockgate(&["reload", "--admin", &lockgate.admin()]).failure();
    assert_eq!(refused.status.code(), Some(78));
    let text = status();
    assert!(
        text.contains("rejected, ") && text.contains("nonsense"),
        "{text}"
    );
    fs::write(&config, good).unwrap();
    drop(client.close());
    lockgate.finish();
}

#[test]
fn a_backend_that_cannot_be_reached_and_a_certificate_near_expiry_stand_out() {
    machine::isolate();
    let nobody = format!("127.0.0.1:{}", machine::free_port());
    let lockgate = Setup::to(&nobody)
        .certificates(&[&pki().short_lived])
        .start();
    assert_ne!(Connector::new().verdict(lockgate.address), End::Clean);
    let status = command::lockgate(&["status", "--admin", &lockgate.admin()])
        .success()
        .text();
    let backend = status
        .lines()
        .find(|line| line.starts_with("main "))
        .unwrap();
    let backend: Vec<&str> = backend.split_whitespace().collect();
    assert_eq!(backend[3..], ["down", "0", "1"], "{status}");
    let certificate = status
        .lines()
        .find(|line| line.contains("CN=short-lived"))
        .unwrap();
    assert!(
        certificate.ends_with("in 4 days") || certificate.ends_with("in 5 days"),
        "{status}"
    );
    lockgate.finish_on_any_path();
}

#[test]
fn machines_get_one_json_object_of_each_command() {
    let (_backend, lockgate) = start();
    let mut client = Connector::new()
        .identity(&pki().client)
        .connect(lockgate.address);
    client.ping(b"hello");
    let json = |words: &[&str]| -> Value {
        let admin = lockgate.admin();
        let all = [words, &["--json", "--admin", &admin]].concat();
        let text = command::lockgate(&all).success().text();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let status = json(&["status"]);
    assert_eq!(
        (&status["ready"], &status["connections"]),
        (&true.into(), &1.into())
    );
    assert_eq!(status["backends"][0]["name"], "main");
    assert_eq!(status["certificates"][0]["listener"], "main");
    let list = json(&["connections", "--identity", SPIFFE]);
    assert_eq!((&list["total"], &list["next"]), (&1.into(), &Value::Null));
    assert_eq!(list["connections"][0]["identity"], SPIFFE);
    let id = list["connections"][0]["id"].to_string();
    assert_eq!(json(&["reload"])["result"], "ok");
    assert_eq!(
        json(&["connections", "--end", &id])["ending"].to_string(),
        id
    );
    drop(client.read_all());
    lockgate.wait_closed("closed", 1);
    assert_eq!(json(&["drain"])["draining"], true);
}

#[test]
fn long_lists_come_in_as_many_answers_as_it_takes() {
    let (_backend, lockgate) = start();
    let clients: Vec<_> = (0..30)
        .map(|_| {
            let mut client = Connector::new().connect(lockgate.address);
            client.ping(b"x");
            client
        })
        .collect();
    let list = |words: &[&str]| {
        let admin = lockgate.admin();
        let all = [&["connections", "--json", "--admin", &admin], words].concat();
        let list: Value = serde_json::from_str(&command::lockgate(&all).success().text()).unwrap();
        list
    };
    let first = list(&["--limit", "20"]);
    assert_eq!(first["connections"].as_array().unwrap().len(), 20);
    assert_eq!(first["total"], 30);
    let rest = list(&["--after", &first["next"].to_string()]);
    assert_eq!(rest["connections"].as_array().unwrap().len(), 10);
    assert!(rest["next"].is_null());
    for client in clients {
        assert_eq!(client.close().1, End::Clean);
    }
    lockgate.finish();
}

#[test]
fn colours_are_for_terminals_and_not_for_who_wants_none() {
    let (_backend, lockgate) = start();
    let admin = lockgate.admin();
    let words = ["status", "--admin", &admin];
    const ESCAPE: char = '\x1b';
    assert!(
        on_terminal(&words, &[])
            .text()
            .contains("\x1b[32mserving\x1b[0m")
    );
    assert!(
        !on_terminal(&words, &[("NO_COLOR", "1")])
            .text()
            .contains(ESCAPE)
    );
    assert!(!command::lockgate(&words).success().text().contains(ESCAPE));
    lockgate.finish_on_any_path();
}

#[test]
fn without_an_answer_it_is_said_where_it_was_asked() {
    machine::isolate();
    let nobody = format!("127.0.0.1:{}", machine::free_port());
    let finished = command::lockgate(&["status", "--admin", &nobody]).failure();
    assert_eq!(finished.status.code(), Some(69));
    let expected = format!("no lockgate answers at {nobody}: ");
    assert!(finished.stderr.contains(&expected), "{}", finished.stderr);
    let finished = command::lockgate(&["status", "--config", "/nowhere/lockgate.toml"]).failure();
    assert_eq!(finished.status.code(), Some(78));
    let finished = command::lockgate(&["top", "--admin", &nobody]).failure();
    assert!(
        finished.stderr.contains("needs a terminal"),
        "{}",
        finished.stderr
    );
}
