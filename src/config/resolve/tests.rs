use std::path::{Path, PathBuf};

use super::*;
use crate::config::{
    Address, Admin, CertificateSource, ClientAuth, Listener, OnTruncation, Pem, Server, TlsVersion,
    UnknownSni, file,
};

const HOST: Host = Host {
    cores: 8,
    descriptors: 1 << 20,
    lowest_port: 1024,
};

const GOOD: &str = r#"
[[listener]]
name = "edge"
listen = "0.0.0.0:8443"
backend = "app"
certificates = [{ certificate_file = "server.crt", key_file = "server.key" }]

[[backend]]
name = "app"
servers = "127.0.0.1:8080"
"#;

fn resolved(text: &str) -> Result<(Config, Vec<Warning>), Problems> {
    resolve(
        file::parse(text, Path::new("/etc/lockgate/lockgate.toml"))?,
        &HOST,
    )
}

fn good(text: &str) -> Config {
    resolved(text)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .0
}

fn problems(text: &str) -> Vec<String> {
    let problems = resolved(text).expect_err(text);
    problems.list.iter().map(ToString::to_string).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = resolved(text).unwrap_or_else(|problems| panic!("{problems}"));
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_shortest_file_gets_every_default() {
    let config = good(GOOD);
    assert_eq!(
        config.runtime,
        Runtime {
            offload: Offload::Auto,
            handshake_threads: 4,
            relay_threads: 4,
            waiter: Waiter::Auto,
        }
    );
    assert_eq!(config.limits.connections, limits::CONNECTIONS);
    assert_eq!(config.limits.lifetime, None);
    assert_eq!(config.log.level, "info");
    assert_eq!(config.admin, None);
    assert_eq!(config.telemetry, None);
    assert_eq!(
        config.listeners,
        [Listener {
            name: "edge".into(),
            listen: vec![Address::Tcp(([0, 0, 0, 0], 8443).into())],
            backend: "app".into(),
            min_tls: TlsVersion::Tls12,
            alpn: vec![],
            unknown_sni: UnknownSni::Default,
            certificates: [CertificateSource {
                certificate: Pem::file("/etc/lockgate/server.crt"),
                key: Pem::file("/etc/lockgate/server.key"),
            }]
            .into(),
            certificates_named: 1,
            certificates_dir: None,
            client_auth: ClientAuth::None,
            on_truncation: OnTruncation::Reset,
        }]
    );
    assert!(warnings(GOOD).is_empty());
}

#[test]
fn without_a_path_the_collector_is_asked_at_the_one_of_the_protocol() {
    let telemetry = |lines: &str| {
        good(&format!("[telemetry]\n{lines}\n{GOOD}"))
            .telemetry
            .unwrap()
    };
    let with = telemetry("otlp_endpoint = \"http://collector.internal:4318\"\ninterval = \"30s\"");
    assert_eq!(
        with.otlp_endpoint,
        "http://collector.internal:4318/v1/metrics"
    );
    assert_eq!(with.interval, Duration::from_secs(30));
    let with = telemetry("otlp_endpoint = \"http://[::1]/otlp/\"");
    assert_eq!(with.otlp_endpoint, "http://[::1]/otlp/");
    assert_eq!(with.interval, limits::TELEMETRY_INTERVAL);
}

#[test]
fn every_key_reaches_the_configuration() {
    let config = good(
        r#"
        [runtime]
        offload = "required"
        handshake_threads = 3
        relay_threads = 5
        waiter = "epoll"
        [limits]
        connections = 100
        handshake_timeout = "1s"
        connect_timeout = "2s"
        idle_timeout = "3s"
        half_closed_timeout = "4s"
        lifetime = "5h"
        drain_timeout = "6s"
        records_per_key = 64
        [log]
        level = "warn,lockgate=debug"
        format = "json"
        [admin]
        listen = "0.0.0.0:9443"
        access = "remote"
        token_file = "admin.token"
        tls = { certificate_file = "admin.crt", key_file = "/run/admin.key" }
        [[listener]]
        name = "edge"
        listen = ["127.0.0.1:0", "127.0.0.1:0", "unix:/run/edge.sock"]
        backend = "app"
        min_tls = "1.3"
        alpn = ["h2", "http/1.1"]
        unknown_sni = "reject"
        on_truncation = "close"
        certificates = [{ certificate = "-----BEGIN CERTIFICATE-----", key = "-----BEGIN PRIVATE KEY-----" }]
        client_auth = { mode = "request", ca_file = "ca.crt" }
        [[backend]]
        name = "app"
        servers = ["127.0.0.1:8080", "unix:/run/app.sock", "app.internal:8080"]
        "#,
    );
    assert_eq!(config.runtime.offload, Offload::Required);
    assert_eq!(
        (
            config.runtime.handshake_threads,
            config.runtime.relay_threads
        ),
        (3, 5)
    );
    assert_eq!(config.runtime.waiter, Waiter::Epoll);
    assert_eq!(
        config.limits,
        Limits {
            connections: 100,
            handshake_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(3),
            half_closed_timeout: Duration::from_secs(4),
            lifetime: Some(Duration::from_secs(5 * 3600)),
            drain_timeout: Duration::from_secs(6),
            records_per_key: 64,
        }
    );
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("warn,lockgate=debug", LogFormat::Json)
    );
    assert_eq!(
        config.admin,
        Some(Admin {
            listen: Address::Tcp(([0, 0, 0, 0], 9443).into()),
            token_file: Some("/etc/lockgate/admin.token".into()),
            tls: Some(CertificateSource {
                certificate: Pem::file("/etc/lockgate/admin.crt"),
                key: Pem::file("/run/admin.key"),
            }),
        })
    );
    let listener = &config.listeners[0];
    assert_eq!(listener.listen.len(), 3);
    assert_eq!(
        (listener.min_tls, listener.unknown_sni),
        (TlsVersion::Tls13, UnknownSni::Reject)
    );
    assert_eq!(
        (listener.alpn.len(), listener.on_truncation),
        (2, OnTruncation::Close)
    );
    assert!(matches!(listener.certificates[0].key, Pem::Inline(_)));
    let ca = Pem::file("/etc/lockgate/ca.crt");
    assert_eq!(listener.client_auth, ClientAuth::Request { ca });
    assert_eq!(
        config.backends[0].servers,
        [
            Server::Address(Address::Tcp(([127, 0, 0, 1], 8080).into())),
            Server::Address(Address::Unix(PathBuf::from("/run/app.sock"))),
            Server::Name {
                host: "app.internal".into(),
                port: 8080
            },
        ]
    );
}

/// `GOOD` with a text of it replaced, and what must be said about that, in part.
#[rustfmt::skip]
const BAD: &[(&str, &str, &str)] = &[
    ("name = \"edge\"\n", "", "line 2: listener[0].name: is missing; add it, such as name = \"edge\""),
    ("\"edge\"", "\"ed ge\"", "\"ed ge\" is not a usable name"),
    ("listen = \"0.0.0.0:8443\"", "", "(listener \"edge\"): is missing; add it, such as listen = "),
    ("\"0.0.0.0:8443\"", "[]", "listener[0].listen (listener \"edge\"): is empty"),
    ("\"0.0.0.0:8443\"", "\"localhost:8443\"", "is not an IP address with a port"),
    ("\"0.0.0.0:8443\"", "[\"0.0.0.0:8443\", \"0.0.0.0:8443\"]", "listener[0].listen[1] (listener \"edge\"): 0.0.0.0:8443 is listened on by listener[0].listen[0] already"),
    ("backend = \"app\"", "", "listener[0].backend (listener \"edge\"): is missing"),
    ("backend = \"app\"", "backend = \"ap\"", "no backend is named \"ap\"; did you mean \"app\"?"),
    ("backend = \"app\"", "backend = \"web\"", "no backend is named \"web\"; add a [[backend]] of that name, or use one of app"),
    ("backend = \"app\"", "backend = \"app\"\nmin_tls = \"1.1\"", "\"1.1\" is not known here; did you mean 1.2? It takes 1.2, 1.3"),
    ("backend = \"app\"", "backend = \"app\"\nunknown_sni = \"drop\"", "write one of default, reject"),
    ("backend = \"app\"", "backend = \"app\"\non_truncation = \"rst\"", "\"rst\" is not known here"),
    ("backend = \"app\"", "backend = \"app\"\nalpn = [\"\"]", "listener[0].alpn[0] (listener \"edge\"): a protocol name has 0 bytes"),
    ("backend = \"app\"", "backend = \"app\"\nalpn = [\"h2\", \"h2\"]", "\"h2\" is listed twice"),
    ("[{ certificate_file = \"server.crt\", key_file = \"server.key\" }]", "[]", "no certificate to serve"),
    ("certificates = [{ certificate_file = \"server.crt\", key_file = \"server.key\" }]", "", "no certificate to serve"),
    (", key_file = \"server.key\"", "", "listener[0].certificates[0].key_file (listener \"edge\"): is missing; add key_file = \"server.key\""),
    ("certificate_file = \"server.crt\", ", "", "certificates[0].certificate_file (listener \"edge\"): is missing"),
    ("key_file = \"server.key\"", "key_file = \"a\", key = \"-----BEGIN\"", "certificates[0].key (listener \"edge\"): is given both as a path and as text; keep one of key_file and key"),
    ("certificate_file = \"server.crt\"", "certificate_file = \"a\", certificate = \"b\"", "keep one of certificate_file and certificate"),
    ("key_file = \"server.key\"", "key = \"server.key\"", "is not PEM text; for a path use key_file = \"server.key\""),
    ("key_file = \"server.key\"", "key_file = \"-----BEGIN PRIVATE KEY-----\"", "is PEM text, not a path; give the text as key"),
    ("key_file = \"server.key\"", "key_file = \"\"", "is empty; write a path"),
    ("\n\n[[backend]]", "\nclient_auth = { mode = \"required\" }\n[[backend]]", "listener[0].client_auth.ca_file (listener \"edge\"): is missing; add ca_file = \"ca.crt\""),
    ("\n\n[[backend]]", "\nclient_auth = { mode = \"request\" }\n[[backend]]", "listener[0].client_auth.ca_file (listener \"edge\"): is missing"),
    ("\n\n[[backend]]", "\nclient_auth = { mode = \"none\", ca_file = \"ca.crt\" }\n[[backend]]", "client_auth.ca_file (listener \"edge\"): a CA is of no use without client authentication"),
    ("\n\n[[backend]]", "\nclient_auth = { ca_file = \"ca.crt\" }\n[[backend]]", "client_auth.mode (listener \"edge\"): is missing; add mode = \"required\""),
    ("\n\n[[backend]]", "\nclient_auth = {}\n[[backend]]", "client_auth.mode (listener \"edge\"): is missing"),
    ("\n\n[[backend]]", "\nclient_auth = { mode = \"require\", ca_file = \"a\" }\n[[backend]]", "did you mean required?"),
    ("\n\n[[backend]]", "\nclient_auth = { mode = \"required\", ca_file = \"a\", ca = \"b\" }\n[[backend]]", "keep one of ca_file and ca"),
    ("[[backend]]\nname = \"app\"\nservers = \"127.0.0.1:8080\"", "", "backend: is empty; add at least one entry"),
    ("name = \"app\"", "", "backend[0].name: is missing"),
    ("servers = \"127.0.0.1:8080\"", "", "backend[0].servers (backend \"app\"): is missing"),
    ("\"127.0.0.1:8080\"", "[]", "backend[0].servers (backend \"app\"): is empty"),
    ("\"127.0.0.1:8080\"", "\"127.0.0.1\"", "has no port"),
    ("[[backend]]\n", "[[backend]]\nname = \"app\"\nservers = \"a:1\"\n[[backend]]\n", "backend[1].name (backend \"app\"): \"app\" is taken by backend[0].name"),
    ("\n[[listener]]", "[runtime]\noffload = \"on\"\n[[listener]]", "\"on\" is not known here"),
    ("\n[[listener]]", "[runtime]\nwaiter = \"io_uring\"\n[[listener]]", "write one of auto, epoll"),
    ("\n[[listener]]", "[runtime]\nrelay_threads = 257\n[[listener]]", "257 is out of range; write a number from 0 to 256"),
    ("\n[[listener]]", "[runtime]\nhandshake_threads = -1\n[[listener]]", "-1 is out of range"),
    ("\n[[listener]]", "[limits]\nconnections = 0\n[[listener]]", "write a number from 1 to 4000000"),
    ("\n[[listener]]", "[limits]\nrecords_per_key = 1\n[[listener]]", "1 is out of range"),
    ("\n[[listener]]", "[limits]\nidle_timeout = \"0s\"\n[[listener]]", "\"0s\" is out of range; write a duration from 1ms to 30d"),
    ("\n[[listener]]", "[limits]\nlifetime = \"31d\"\n[[listener]]", "write a duration from 0ms to 30d"),
    ("\n[[listener]]", "[limits]\ndrain_timeout = \"soon\"\n[[listener]]", "\"soon\" is not a duration"),
    ("\n[[listener]]", "[log]\nlevel = \"verbose\"\n[[listener]]", "\"verbose\" is not a level"),
    ("\n[[listener]]", "[log]\nformat = \"xml\"\n[[listener]]", "write one of text, json"),
    ("\n[[listener]]", "[admin]\nlisten = \"0.0.0.0:9443\"\n[[listener]]", "0.0.0.0:9443 can be reached from other machines; write \"127.0.0.1:9443\""),
    ("\n[[listener]]", "[admin]\nlisten = \"0.0.0.0:9443\"\naccess = \"remote\"\n[[listener]]", "admin.access: other machines need TLS and a token"),
    ("\n[[listener]]", "[admin]\nlisten = \"0.0.0.0:9443\"\naccess = \"remote\"\ntls = { certificate_file = \"a\", key_file = \"b\" }\n[[listener]]", "admin.access: other machines need TLS and a token"),
    ("\n[[listener]]", "[admin]\nlisten = \"0.0.0.0:9443\"\ntoken_file = \"t\"\ntls = { certificate_file = \"a\", key_file = \"b\" }\n[[listener]]", "0.0.0.0:9443 can be reached from other machines"),
    ("\n[[listener]]", "[admin]\nlisten = \"127.0.0.1:9443\"\ntls = { certificate_file = \"a\" }\n[[listener]]", "admin.tls.key_file: is missing"),
    ("\n[[listener]]", "[admin]\nlisten = \"unix:a\"\ntls = { certificate_file = \"a\", key_file = \"b\" }\n[[listener]]", "has no TLS"),
    ("\n[[listener]]", "[admin]\n[[listener]]", "admin.listen: is missing"),
    ("\n[[listener]]", "[telemetry]\n[[listener]]", "telemetry.otlp_endpoint: is missing"),
    ("\n[[listener]]", "[telemetry]\notlp_endpoint = \"https://a\"\n[[listener]]", "lockgate exports without TLS"),
    ("\n[[listener]]", "[telemetry]\notlp_endpoint = \"127.0.0.1:4318\"\n[[listener]]", "is not an http URL"),
    ("\n[[listener]]", "[telemetry]\notlp_endpoint = \"http://a b\"\n[[listener]]", "is not a URL"),
    ("\n[[listener]]", "[telemetry]\notlp_endpoint = \"http://me:secret@a/x\"\n[[listener]]", "has credentials in it"),
    ("\n[[listener]]", "[telemetry]\notlp_endpoint = \"http://a\"\ninterval = \"2h\"\n[[listener]]", "write a duration from 1s to 1h"),
    ("\n[[listener]]", "[admin]\nlisten = \"127.0.0.1:8443\"\n[[listener]]\nlisten = \"127.0.0.1:8443\"\n[[listener]]", "127.0.0.1:8443 is listened on by"),
];

#[test]
fn every_problem_is_named_with_place_and_remedy() {
    for (from, to, expected) in BAD {
        assert!(GOOD.contains(from), "{from}");
        let problems = problems(&GOOD.replacen(from, to, 1));
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{to}: {expected}\n{problems:#?}"
        );
    }
}

#[test]
fn one_mistake_is_one_problem() {
    // A missing backend is the exception: the listener that wants it is not to blame.
    for (from, to, _) in BAD
        .iter()
        .filter(|(_, to, _)| !to.contains("[[listener]]\nlisten"))
    {
        let problems = problems(&GOOD.replacen(from, to, 1));
        assert_eq!(problems.len(), 1, "{to}: {problems:#?}");
    }
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[runtime]\noffload = 1\nofload = \"off\"\n[limits]\nidle_timeout = \"x\"\n[[listener]]\nname = \"edge\"\n";
    let lines: Vec<_> = resolved(text)
        .expect_err("bad")
        .list
        .iter()
        .map(|p| p.place.line)
        .collect();
    assert_eq!(lines.len(), 7, "{:#?}", problems(text));
    assert!(lines.is_sorted());
}

#[test]
fn warnings_leave_the_configuration_usable() {
    for (from, to, expected) in [
        (
            "0.0.0.0:8443",
            "0.0.0.0:443",
            "may not listen on ports below 1024; grant CAP_NET_BIND_SERVICE",
        ),
        (
            "\"127.0.0.1:8080\"",
            "[\"a:1\", \"a:1\"]",
            "backend[0].servers[1] (backend \"app\"): a:1 is listed twice",
        ),
        (
            "[[backend]]\n",
            "[[backend]]\nname = \"old\"\nservers = \"a:1\"\n[[backend]]\n",
            "no listener uses the backend \"old\"",
        ),
        (
            "\n[[listener]]",
            "[limits]\nhandshake_timeout = \"5m\"\n[[listener]]",
            "clients may take 5m to finish a handshake",
        ),
        (
            "\n[[listener]]",
            "[limits]\nlifetime = \"1m\"\nidle_timeout = \"2m\"\n[[listener]]",
            "limits.idle_timeout: never runs out",
        ),
        (
            "}]",
            "}, { certificate_file = \"server.crt\", key_file = \"server.key\" }]",
            "the same certificate is listed before",
        ),
    ] {
        let warnings = warnings(&GOOD.replacen(from, to, 1));
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        assert!(warnings[0].contains(expected), "{warnings:#?}");
    }
}

#[test]
fn a_readable_file_with_an_inline_key_is_warned_about() {
    let text = GOOD.replace(
        "key_file = \"server.key\"",
        "key = \"-----BEGIN PRIVATE KEY-----\"",
    );
    let mut file = file::parse(&text, Path::new("lockgate.toml")).expect("TOML");
    file.readable_by_others = true;
    let (_, warnings) = resolve(file, &HOST).expect("usable");
    assert!(
        warnings[0].message.contains("can read the private key"),
        "{warnings:?}"
    );
}

#[test]
fn a_machine_with_one_core_still_gets_a_thread_for_each_plane() {
    let host = Host { cores: 1, ..HOST };
    let file = file::parse(GOOD, Path::new("lockgate.toml")).expect("TOML");
    let (config, _) = resolve(file, &host).expect("good");
    assert_eq!(
        (
            config.runtime.handshake_threads,
            config.runtime.relay_threads
        ),
        (1, 1)
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_with_its_path() {
    let missing =
        crate::config::load(Path::new("/nonexistent/lockgate.toml")).expect_err("missing");
    assert!(
        missing
            .to_string()
            .starts_with("/nonexistent/lockgate.toml\n"),
        "{missing}"
    );
    let folder = crate::config::load(Path::new("/")).expect_err("a folder");
    assert!(folder.to_string().contains("cannot be read"), "{folder}");
    let endless = crate::config::load(Path::new("/dev/zero")).expect_err("endless");
    assert!(endless.to_string().contains("longer than"), "{endless}");
}

#[test]
fn no_inline_key_is_ever_printed() {
    let text = GOOD
        .replace(
            "key_file = \"server.key\"",
            "key = \"sEcReT\", key_file = \"sEcReT-----BEGIN \"",
        )
        .replace("certificate_file", "certificate");
    assert!(!format!("{:?}", problems(&text)).contains("sEcReT"));
}
