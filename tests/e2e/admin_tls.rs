//! The admin address by TCP: its TLS, its token, and the commands that come that way.

use std::{
    io::Read,
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use crate::harness::{
    Program, Setup,
    command::{self, Finished, curl},
    machine,
    pki::{Identity, pki},
    wait_until,
};

/// A lockgate whose admin address is 127.0.0.1:PORT, with these lines beside.
struct Tcp {
    /// Ends with the test.
    _program: Program,
    setup: Setup,
    port: u16,
    scheme: &'static str,
    config: String,
}

impl Tcp {
    fn start(lines: impl FnOnce(&Setup) -> String) -> Self {
        let setup = Setup::to("127.0.0.1:9");
        let port = machine::free_port();
        let lines = lines(&setup);
        let socket = format!("unix:{}", setup.folder.join("admin").display());
        let listen = format!("127.0.0.1:{port}");
        let listen = if lines.contains("remote") {
            format!("0.0.0.0:{port}")
        } else {
            listen
        };
        let text = setup.toml(machine::free_port());
        let text = text.replace(&format!("{socket:?}"), &format!("{listen:?}\n{lines}"));
        let config = setup.folder.write("lockgate.toml", text);
        setup.folder.write("ca.pem", &pki().ca);
        setup.folder.write("token", "secret\n");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
        let program = Program::start(command.args(["run", "--config", &config]));
        let scheme = if lines.contains("tls") {
            "https"
        } else {
            "http"
        };
        let started = Tcp {
            _program: program,
            setup,
            port,
            scheme,
            config,
        };
        wait_until("it answered", || started.curl("/health", &[]).0 == 200);
        started
    }

    fn file(&self, name: &str) -> String {
        self.setup.folder.join(name).display().to_string()
    }

    fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// What curl gets, which trusts the test CA: the status, 0 without an answer, and the body.
    fn curl(&self, path: &str, arguments: &[&str]) -> (u16, String) {
        let (url, ca) = (self.url() + path, self.file("ca.pem"));
        let mut all = vec!["--cacert", &ca, "-w", "\n%{http_code}"];
        all.extend(arguments);
        all.push(&url);
        let text = Program::start(&mut curl(&all)).finish().text();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), body.to_owned())
    }

    fn command(&self, words: &[&str]) -> Finished {
        command::lockgate(words)
    }

    fn reloads(&self, result: &str) -> u64 {
        let (_, text) = self.curl("/metrics", &["-H", "Authorization: Bearer secret"]);
        crate::harness::metrics::Metrics::parse(&text).of(
            "lockgate_tls_reload_total",
            &["scope=admin", &format!("result={result}")],
        )
    }
}

fn tls(setup: &Setup, identity: &Identity) -> String {
    format!("tls = {}", setup.certificate(identity))
}

#[test]
fn by_tcp_everybody_may_look_and_whoever_has_the_token_may_change() {
    let tcp = Tcp::start(|setup| format!("token_file = {:?}", setup.folder.join("token")));
    let post = |token: &str| tcp.curl("/reload", &["-X", "POST", "-H", token]).0;
    assert_eq!(tcp.curl("/config", &[]).0, 200);
    assert_eq!(post("X: y"), 401);
    assert_eq!(post("Authorization: Bearer wrong"), 401);
    assert_eq!(post("Authorization: Bearer secret"), 200);
    // Another token counts at once.
    tcp.setup.folder.write("token", "changed");
    assert_eq!(post("Authorization: Bearer secret"), 401);
    assert_eq!(post("Authorization: Bearer changed"), 200);
    let refused = tcp.command(&["reload", "--admin", &format!("127.0.0.1:{}", tcp.port)]);
    assert!(
        refused
            .failure()
            .all()
            .contains("refused: by TCP this needs")
    );
    tcp.command(&["reload", "--config", &tcp.config]).success();
}

#[test]
fn without_a_token_file_nobody_changes_anything_by_tcp() {
    let tcp = Tcp::start(|_| String::new());
    let (status, body) = tcp.curl("/drain", &["-X", "POST", "-H", "Authorization: Bearer "]);
    assert_eq!(status, 401);
    assert!(body.contains("set admin.token_file"), "{body}");
    assert_eq!(tcp.curl("/ready", &[]).0, 200);
}

#[test]
fn from_other_machines_everything_needs_tls_and_the_token_but_health() {
    let tcp = Tcp::start(|setup| {
        let token = setup.folder.join("token");
        let tls = tls(setup, &pki().server);
        format!("access = \"remote\"\ntoken_file = {token:?}\n{tls}")
    });
    let with = ["-H", "Authorization: Bearer secret"];
    assert_eq!(tcp.curl("/health", &[]).0, 200);
    for path in [
        "/ready",
        "/metrics",
        "/config",
        "/certificates",
        "/backends",
        "/connections",
    ] {
        assert_eq!(tcp.curl(path, &[]).0, 401, "{path}");
        assert_eq!(tcp.curl(path, &with).0, 200, "{path}");
    }
    let plain = format!("http://127.0.0.1:{}/health", tcp.port);
    Program::start(&mut curl(&[&plain])).finish().failure();
    // The configuration says how to get in: its address, its certificate's names, its token.
    let ca = tcp.file("ca.pem");
    let status = tcp.command(&["status", "--config", &tcp.config, "--admin-ca", &ca]);
    assert!(status.success().text().contains("serving"));
}

#[test]
fn the_commands_speak_tls_and_verify_whom_they_speak_to() {
    let tcp = Tcp::start(|setup| tls(setup, &pki().server));
    let url = tcp.url();
    let (ca, other) = (
        tcp.file("ca.pem"),
        tcp.setup.folder.write("other.pem", &pki().other_ca),
    );
    let status = tcp.command(&["status", "--admin", &url, "--admin-ca", &ca]);
    assert!(status.success().text().contains("serving"));
    let list = tcp.command(&["connections", "--admin", &url, "--admin-ca", &ca]);
    assert!(list.success().text().contains("0 of 0"));
    let wrong = tcp
        .command(&["status", "--admin", &url, "--admin-ca", &other])
        .failure();
    assert!(
        wrong.all().contains("invalid peer certificate"),
        "{}",
        wrong.all()
    );
    let wrong = tcp.command(&["status", "--admin", &url]).failure();
    assert!(
        wrong.all().contains("--admin-ca is missing"),
        "{}",
        wrong.all()
    );
    let name = format!("https://localhost:{}", tcp.port);
    tcp.command(&["status", "--admin", &name, "--admin-ca", &ca])
        .success();
    let (status, list) = tcp.curl("/certificates", &[]);
    assert_eq!(status, 200);
    assert!(list.contains("\"purpose\":\"admin\""), "{list}");
}

#[test]
fn its_certificate_is_watched_and_a_bad_one_changes_nothing() {
    let tcp = Tcp::start(|setup| tls(setup, &pki().server));
    let reads_with = |identity: &Identity| {
        let address = format!("127.0.0.1:{}", tcp.port);
        let arguments = ["s_client", "-connect", &address, "-showcerts"];
        let shown = command::run("openssl", &arguments).text();
        let body = identity.certificate.lines().nth(1).unwrap();
        shown.contains(body)
    };
    assert!(reads_with(&pki().server));
    let ok = tcp.reloads("ok");
    // Another pair under the same names: certificate first, key some time later.
    let (certificate, key) = (tcp.file("server.pem"), tcp.file("server.key"));
    let new = &pki().server_rsa;
    std::fs::write(&certificate, &new.certificate).unwrap();
    wait_until("the half was rejected", || tcp.reloads("parse_error") >= 1);
    assert!(reads_with(&pki().server));
    std::fs::write(&key, &new.key).unwrap();
    wait_until("the new one was served", || reads_with(new));
    wait_until("that was counted", || tcp.reloads("ok") > ok);
    std::fs::remove_file(&key).unwrap();
    wait_until("the loss was noticed", || tcp.reloads("io_error") >= 1);
    assert!(reads_with(new));
    let (_, ready) = tcp.curl("/ready", &[]);
    assert!(ready.contains("admin.tls.key_file"), "{ready}");
}

#[test]
fn an_address_that_stays_until_a_restart_keeps_what_guards_it() {
    let tcp = Tcp::start(|setup| {
        let token = setup.folder.join("token");
        format!("token_file = {token:?}\n{}", tls(setup, &pki().server))
    });
    let text = std::fs::read_to_string(&tcp.config).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("tls = "));
    let without: Vec<&str> = lines
        .filter(|line| !line.starts_with("token_file"))
        .collect();
    let (old, new) = (format!("127.0.0.1:{}", tcp.port), "127.0.0.2:1");
    std::fs::write(&tcp.config, without.join("\n").replace(&old, new)).unwrap();
    let with = ["-X", "POST", "-H", "Authorization: Bearer secret"];
    let (status, answer) = tcp.curl("/reload", &with);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("admin.listen stays"), "{answer}");
    assert_eq!(tcp.curl("/reload", &["-X", "POST"]).0, 401);
    let plain = format!("http://{old}/health");
    Program::start(&mut curl(&[&plain])).finish().failure();
}

#[test]
fn a_tls_handshake_that_does_not_go_on_ends_in_time_and_keeps_nobody_out() {
    let tcp = Tcp::start(|setup| tls(setup, &pki().server));
    let began = Instant::now();
    let mut silent: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(("127.0.0.1", tcp.port)).unwrap())
        .collect();
    assert_eq!(tcp.curl("/ready", &[]).0, 200);
    let slack = 3.0 * machine::scale();
    assert!(
        began.elapsed() < Duration::from_secs_f64(slack),
        "{:?}",
        began.elapsed()
    );
    let mut last = silent.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    assert_eq!(last.read(&mut [0; 100]).unwrap_or(0), 0);
    assert!(
        began.elapsed() > Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    let limit = 5.0 + slack;
    assert!(
        began.elapsed() < Duration::from_secs_f64(limit),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn an_admin_certificate_that_cannot_be_used_is_told_by_check_and_run() {
    let setup = Setup::to("127.0.0.1:9");
    let socket = format!("unix:{}", setup.folder.join("admin").display());
    let lines = "\"127.0.0.1:0\"\ntls = { certificate_file = \"server.pem\", key_file = \"none\" }";
    let text = setup
        .toml(machine::free_port())
        .replace(&format!("{socket:?}"), lines);
    let config = setup.folder.write("lockgate.toml", text);
    for verb in ["check", "run"] {
        let finished = command::lockgate(&[verb, "--config", &config]).failure();
        assert_eq!(finished.status.code(), Some(78), "{}", finished.all());
        assert!(
            finished.all().contains("admin.tls.key_file"),
            "{}",
            finished.all()
        );
    }
}
