use std::path::Path;

use clap::CommandFactory;

use super::*;
use crate::config::{ClientAuth, Config, LogFormat, Pem, Server};

const TLS: &str = "--tls-cert-path server.crt --tls-key-path server.key";

fn cli(arguments: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("lockgate").chain(arguments.split_whitespace()))
}

fn run(flags: &str) -> RunArgs {
    match cli(&format!("run {flags}"))
        .expect("clap accepts this")
        .command
    {
        Command::Run(run) => *run,
        other => panic!("{other:?}"),
    }
}

fn good(flags: &str) -> Config {
    run(flags)
        .configuration()
        .unwrap_or_else(|problems| panic!("{flags}: {problems}"))
        .0
}

fn problem(flags: &str) -> String {
    let problems = run(flags).configuration().expect_err(flags);
    assert_eq!(problems.list.len(), 1, "{flags}: {problems}");
    problems.list[0].to_string()
}

fn servers(flags: &str) -> Vec<String> {
    let config = good(&format!("--port 1 {TLS} {flags}"));
    config.backends[0]
        .servers
        .iter()
        .map(Server::to_string)
        .collect()
}

fn listen(flags: &str) -> Vec<String> {
    let config = good(&format!("{flags} {TLS} --backend a:1"));
    config.listeners[0]
        .listen
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_spelling_of_addresses_ends_in_the_same_list() {
    assert_eq!(listen("--listen 0.0.0.0:8443"), ["0.0.0.0:8443"]);
    assert_eq!(
        listen("--listen [::]:8443 --listen unix:/run/a.sock"),
        ["[::]:8443", "unix:/run/a.sock"]
    );
    assert_eq!(listen("--port 9000"), ["127.0.0.1:9000"]);
    assert_eq!(listen("--host 0.0.0.0"), ["0.0.0.0:8443"]);
    assert_eq!(listen("--host ::1 --port 9000"), ["[::1]:9000"]);
    assert_eq!(
        listen("--listen 127.0.0.1:1234 --port 9000"),
        ["127.0.0.1:1234", "127.0.0.1:9000"]
    );
}

#[test]
fn every_spelling_of_servers_ends_in_the_same_list() {
    assert_eq!(servers("--backend 127.0.0.1:8080"), ["127.0.0.1:8080"]);
    assert_eq!(
        servers("--backend a:1 --backend unix:/run/b.sock"),
        ["a:1", "unix:/run/b.sock"]
    );
    assert_eq!(
        servers("--worker-urls http://a:8000 http://b/ HTTP://[::1]:81 http://[::2]"),
        ["a:8000", "b:80", "[::1]:81", "[::2]:80"]
    );
    assert_eq!(
        servers("--worker-urls http://a:8000 --backend b:1"),
        ["b:1", "a:8000"]
    );
}

#[test]
fn worker_urls_that_would_need_more_than_bytes_passed_on_are_refused() {
    for (url, expected) in [
        (
            "https://a:8000",
            "TLS to workers is not supported by this flag",
        ),
        ("http://a:8000/v1", "write \"http://a:8000\""),
        ("http://a?x=1", "has the path \"?x=1\""),
        ("http://user@a", "without a user name"),
        ("http:///", "no plain host"),
        ("ftp://a", "has the scheme \"ftp\""),
        ("a:8000", "write \"http://a:8000\""),
        ("http://a:b", "is not a port"),
    ] {
        let problem = problem(&format!("--port 1 {TLS} --worker-urls {url}"));
        assert!(
            problem.starts_with("--worker-urls: ") && problem.contains(expected),
            "{problem}"
        );
    }
}

#[test]
fn client_authentication_and_inline_pem_reach_the_configuration() {
    let config = good(&format!(
        "--port 1 {TLS} --backend a:1 --client-auth required --client-ca-path ca.crt \
         --admin 127.0.0.1:9443 --log-format json --log-level debug --offload off"
    ));
    let ca = Pem::file("ca.crt");
    assert_eq!(config.listeners[0].client_auth, ClientAuth::Required { ca });
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("debug", LogFormat::Json)
    );
    assert_eq!(config.runtime.offload, Offload::Off);
    assert_eq!(
        config.admin.expect("given").listen.to_string(),
        "127.0.0.1:9443"
    );

    let pem = "-----BEGIN X-----";
    let mut args = run("--port 1 --backend a:1 --client-auth request");
    args.tls_cert = Some(pem.to_owned());
    args.tls_key = Some(pem.to_owned());
    args.client_ca = Some(pem.to_owned());
    let (config, _) = args.configuration().expect("good");
    let inline = Pem::Inline(pem.to_owned());
    assert_eq!(config.listeners[0].certificates[0].key, inline);
    assert_eq!(
        config.listeners[0].client_auth,
        ClientAuth::Request { ca: inline }
    );
}

#[test]
fn problems_are_named_by_their_flags() {
    for (flags, expected) in [
        ("", "lockgate run: nothing says what to listen on"),
        (
            &*format!("{TLS} --backend a:1"),
            "--listen: is missing; add it, such as --listen 0.0.0.0:8443",
        ),
        (
            &*format!("--listen 8443 {TLS} --backend a:1"),
            "--listen: \"8443\" is not an IP address",
        ),
        (
            &*format!("--port 1 {TLS}"),
            "--backend: is missing; add it, such as --backend 127.0.0.1:8080",
        ),
        (
            &*format!("--port 1 {TLS} --backend a"),
            "--backend: \"a\" has no port",
        ),
        (
            "--port 1 --tls-key-path a --backend a:1",
            "--tls-cert-path: is missing; add --tls-cert-path server.crt",
        ),
        (
            "--port 1 --tls-cert-path a --backend a:1",
            "--tls-key-path: is missing; add --tls-key-path server.key",
        ),
        (
            &*format!("--port 1 {TLS} --tls-key x --backend a:1"),
            "--tls-key: is given both as a path and as text; keep one of --tls-key-path and --tls-key",
        ),
        (
            &*format!("--port 1 {TLS} --backend a:1 --client-auth required"),
            "--client-ca-path: is missing",
        ),
        (
            &*format!("--port 1 {TLS} --backend a:1 --client-ca-path ca.crt"),
            "--client-auth: is missing; add --client-auth required",
        ),
        (
            &*format!("--port 1 {TLS} --backend a:1 --admin 0.0.0.0:1"),
            "--admin: 0.0.0.0:1 can be reached from other machines",
        ),
        (
            &*format!("--port 1 {TLS} --backend a:1 --log-level loud"),
            "--log-level: \"loud\" is not a level",
        ),
    ] {
        let problem = problem(flags);
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn a_file_goes_with_overrides_only() {
    for flags in [
        "--listen a:1",
        "--backend a:1",
        "--worker-urls http://a",
        "--tls-key x",
        "--port 1",
        "--admin x",
    ] {
        let error = cli(&format!("run --config a.toml {flags}")).expect_err(flags);
        assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict);
    }
    let folder = std::env::temp_dir().join(format!("lockgate-cli-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join("lockgate.toml");
    std::fs::write(&path, "[runtime]\noffload = \"no\"\n[log]\nlevel = \"info\"\n[[listener]]\nname = \"edge\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\ncertificates = [{ certificate_file = \"a\", key_file = \"b\" }]\n[[backend]]\nname = \"app\"\nservers = \"a:1\"\n").expect("written");
    let config = good(&format!(
        "--config {} --offload required --log-level warn",
        path.display()
    ));
    assert_eq!(
        (config.runtime.offload, config.log.level.as_str()),
        (Offload::Required, "warn")
    );
    assert_eq!(
        config.listeners[0].certificates[0].key,
        Pem::file(folder.join("b"))
    );
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn the_other_commands_have_their_defaults() {
    let Command::Demo(demo) = cli("demo").expect("good").command else {
        panic!()
    };
    assert_eq!(
        (demo.listen.to_string().as_str(), demo.offload),
        ("127.0.0.1:8443", Offload::Auto)
    );
    let Command::Demo(demo) = cli("demo --offload off").expect("good").command else {
        panic!()
    };
    assert_eq!(demo.offload, Offload::Off);
    let Command::Probe(probe) = cli("probe --json").expect("good").command else {
        panic!()
    };
    assert!(probe.json);
    let Command::Check(check) = cli("check --config a.toml").expect("good").command else {
        panic!()
    };
    assert_eq!(check.config, Path::new("a.toml"));
    let Command::Pki(PkiCommand::Init(init)) = cli("pki init").expect("good").command else {
        panic!()
    };
    assert_eq!((init.dir.as_path(), init.force), (Path::new("pki"), false));
    let Command::Pki(PkiCommand::Issue(issue)) =
        cli("pki issue orders --dns a --dns b --ip ::1 --key-type rsa2048")
            .expect("good")
            .command
    else {
        panic!()
    };
    assert_eq!(
        (issue.dns.len(), issue.days, issue.key_type),
        (2, 90, KeyType::Rsa2048)
    );
}

#[test]
fn top_asks_every_second_unless_told_otherwise_within_bounds() {
    let interval = |arguments: &str| match cli(arguments).map(|cli| cli.command) {
        Ok(Command::Top(top)) => Some(top.interval.as_millis()),
        _ => None,
    };
    assert_eq!(interval("top"), Some(1000));
    assert_eq!(interval("top --interval 250ms"), Some(250));
    for wrong in ["0s", "99ms", "61s", "often"] {
        assert_eq!(
            interval(&format!("top --interval {wrong}")),
            None,
            "{wrong}"
        );
    }
    assert!(cli("status --admin unix:a --config b").is_err());
    assert!(cli("connections --end 1 --listener a").is_err());
    assert!(cli("connections --end 1 --json").is_ok());
}

#[test]
fn a_wrong_command_line_exits_with_the_code_of_sysexits() {
    let code = |arguments: &str| {
        parse(
            std::iter::once("lockgate")
                .chain(arguments.split_whitespace())
                .map(OsString::from),
        )
        .map(|_| ())
    };
    assert_eq!(code("check"), Err(EX_USAGE));
    assert_eq!(code("run --offload maybe"), Err(EX_USAGE));
    assert_eq!(code("--version"), Err(0));
    assert_eq!(code("probe"), Ok(()));
}
