//! What the admin address tells: every endpoint with every field, as docs/observability.md has it.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, data, machine, pki, pki::SPIFFE, sessions::echo,
    wait_until,
};

/// `### METHOD PATH` of the page, and the names in the tables below each.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## Admin address\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let parts = section.split("\n### ").skip(1);
    let names = |part: &str| {
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split('`').next().unwrap().to_owned())
            .collect()
    };
    parts
        .map(|part| (part.lines().next().unwrap().to_owned(), names(part)))
        .collect()
}

/// Every field of an answer, as the page writes it.
fn fields(value: &Value, name: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = match name {
                    "" => key.clone(),
                    name => format!("{name}.{key}"),
                };
                fields(value, &name, all);
            }
        }
        Value::Array(list) => {
            let name = format!("{name}[]");
            if list.is_empty() {
                all.insert(name.clone());
            }
            list.iter().for_each(|value| fields(value, &name, all));
        }
        _ => drop(all.insert(name.to_owned())),
    }
}

/// Fields of several answers of one endpoint. What is null or empty in one may have parts in another.
fn union(answers: &[Value]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    answers
        .iter()
        .for_each(|answer| fields(answer, "", &mut all));
    let has_parts = |name: &String| {
        let is_part = |other: &&String| {
            let rest = other.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        all.iter().any(|other| is_part(&other))
    };
    all.iter()
        .filter(|name| !has_parts(name))
        .cloned()
        .collect()
}

fn parsed((status, body): (u16, String)) -> (u16, Value) {
    let value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}"));
    (status, value)
}

/// A lockgate with everything that an answer can have, but for TLS of the admin address.
fn complete() -> (Backend<crate::harness::StreamEnd>, Lockgate) {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address)
        .client_auth("request")
        .listener("alpn = [\"h2\"]")
        .extra("[audit]\nfile = \"audit.log\"")
        .extra("[telemetry]\notlp_endpoint = \"http://127.0.0.1:9\"");
    (backend, setup.start())
}

#[test]
fn the_page_and_the_program_name_the_same_endpoints_and_fields() {
    let (_backend, lockgate) = complete();
    let mut client = Connector::new()
        .identity(&pki().client)
        .alpn(&["h2"])
        .connect(lockgate.address);
    client.ping(b"hello");
    let before = lockgate.json("/ready");
    let config = lockgate.folder().join("lockgate.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{good}\nnonsense = 1\n")).unwrap();
    let (status, rejected) = parsed(lockgate.ask("POST", "/reload"));
    assert_eq!(status, 422, "{rejected}");
    let with_problems = lockgate.json("/ready");
    fs::write(
        &config,
        good.replace("[limits]", "[limits]\nlifetime = \"1h\""),
    )
    .unwrap();
    let (status, applied) = parsed(lockgate.ask("POST", "/reload"));
    assert_eq!(status, 200, "{applied}");
    let id = lockgate.json("/connections")["connections"][0]["id"].to_string();
    let answers = |endpoint: &str| -> Vec<Value> {
        match endpoint {
            "GET /ready" => vec![
                before.clone(),
                with_problems.clone(),
                lockgate.json("/ready"),
            ],
            "GET /config" => vec![lockgate.json("/config"), admin_tls_of_config()],
            "GET /certificates" | "GET /backends" | "GET /connections" => {
                vec![lockgate.json(endpoint.strip_prefix("GET ").unwrap())]
            }
            "POST /reload" => vec![rejected.clone(), applied.clone()],
            "DELETE /connections/ID" => {
                let (status, answer) =
                    parsed(lockgate.ask("DELETE", &format!("/connections/{id}")));
                assert_eq!(status, 202);
                vec![answer]
            }
            "POST /drain" => {
                let (status, answer) = parsed(lockgate.ask("POST", "/drain"));
                assert_eq!(status, 202);
                vec![answer]
            }
            "GET /health" | "GET /metrics" => {
                let path = endpoint.strip_prefix("GET ").unwrap();
                assert_eq!(lockgate.ask("GET", path).0, 200);
                vec![]
            }
            other => panic!("the page has an endpoint that this test does not know: {other}"),
        }
    };
    assert_eq!(lockgate.json("/workers"), lockgate.json("/backends"));
    let mut documented = documented();
    let endpoints: BTreeSet<String> = documented.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(endpoints, known_to_the_program(&lockgate));
    // It ends with the drain.
    documented.sort_by_key(|(endpoint, _)| endpoint == "POST /drain");
    for (endpoint, names) in documented {
        assert_eq!(names, union(&answers(&endpoint)), "{endpoint}");
    }
    drop(client.read_all());
}

/// What is in [admin] with TLS; a test of its own runs with it.
fn admin_tls_of_config() -> Value {
    serde_json::json!({ "admin": {
        "token_file": "a", "tls": { "certificate": { "file": "a" }, "key": { "file": "b" } },
    } })
}

/// As it says itself to who asks for something else.
fn known_to_the_program(lockgate: &Lockgate) -> BTreeSet<String> {
    let (status, list) = lockgate.ask("GET", "/");
    assert_eq!(status, 404);
    let mut all = BTreeSet::new();
    for group in list.trim().split(", ") {
        let (method, paths) = group.split_once(' ').unwrap();
        // One that is another name only.
        let paths = paths.split_whitespace().filter(|path| *path != "/workers");
        all.extend(paths.map(|path| format!("{method} {path}")));
    }
    all
}

#[test]
fn certificates_are_told_with_their_files_and_so_are_the_cas_of_clients() {
    let (_backend, lockgate) = complete();
    let list = lockgate.json("/certificates");
    let list = list.as_array().unwrap();
    let purposes: Vec<&str> = list
        .iter()
        .map(|c| c["purpose"].as_str().unwrap())
        .collect();
    assert_eq!(purposes, ["listener", "client_ca"]);
    let file = |name: &str| lockgate.folder().join(name).display().to_string();
    let served = &list[0];
    assert_eq!(served["certificate"]["file"], file("server.pem"));
    assert_eq!(served["key"]["file"], file("server.key"));
    assert!(
        served["dns_names"]
            .as_array()
            .unwrap()
            .contains(&"example.test".into())
    );
    assert_eq!(served["ips"][0], "127.0.0.1");
    assert_eq!(served["issuer"], "CN=lockgate test CA");
    let ca = &list[1];
    assert_eq!(ca["subject"], "CN=lockgate test CA");
    assert_eq!(ca["certificate"]["file"], file("client-ca.pem"));
    assert!(ca["key"].is_null());
    // As another tool reads them.
    for (entry, file) in [(served, file("server.pem")), (ca, file("client-ca.pem"))] {
        let arguments = ["x509", "-in", &file, "-noout", "-fingerprint", "-sha256"];
        let openssl = crate::harness::command::run("openssl", &arguments)
            .success()
            .text();
        let fingerprint = openssl.trim().split_once('=').unwrap().1;
        assert_eq!(entry["fingerprint_sha256"], fingerprint);
    }
    lockgate.finish_on_any_path();
}

#[test]
fn a_live_connection_is_told_with_its_bytes_and_found_by_every_filter() {
    let (_backend, lockgate) = complete();
    let mut named = Connector::new()
        .identity(&pki().client)
        .alpn(&["h2"])
        .connect(lockgate.address);
    let mut other = Connector::new().name("localhost").connect(lockgate.address);
    named.ping(&[7; 5000]);
    other.ping(b"hello");
    let peer = named.local();
    let identity = format!(
        "identity={}",
        SPIFFE.replace(':', "%3A").replace('/', "%2F")
    );
    for query in [
        identity,
        "sni=EXAMPLE.test".to_owned(),
        format!("peer={peer}"),
        "limit=1".to_owned(),
    ] {
        let answer = lockgate.json(&format!("/connections?{query}"));
        let list = answer["connections"].as_array().unwrap();
        assert_eq!(list.len(), 1, "{query}: {answer}");
        assert_eq!(list[0]["peer"], peer.to_string(), "{query}");
    }
    let path = if machine::expects_kernel() {
        "kernel"
    } else {
        "user"
    };
    for (query, expected) in [
        ("listener=main&backend=main", 2),
        ("listener=other", 0),
        ("backend=other", 0),
        ("peer=127.0.0.1", 2),
        ("peer=127.0.0.2", 0),
        (&format!("path={path}"), 2),
    ] {
        let answer = lockgate.json(&format!("/connections?{query}"));
        assert_eq!(answer["total"], expected, "{query}: {answer}");
    }
    assert_eq!(lockgate.ask("GET", "/connections?path=x").0, 400);
    // Told after the turn in which they were moved.
    wait_until("bytes were told in both directions", || {
        let live = &lockgate.json("/connections")["connections"][0];
        live["bytes_up"] == 5000 && live["bytes_down"] == 5000
    });
    let live = &lockgate.json("/connections")["connections"][0];
    assert_eq!(live["alpn"], "h2");
    assert_eq!(live["version"], "1.3");
    let path = if machine::expects_kernel() {
        "kernel_copy"
    } else {
        "user"
    };
    assert_eq!(
        (&live["path_up"], &live["path_down"]),
        (&path.into(), &path.into())
    );
    assert!(live["age_seconds"].as_f64().unwrap() > 0.0);
    for client in [named, other] {
        assert_eq!(client.close().1, End::Clean);
    }
    lockgate.finish();
}

#[test]
fn a_busy_connection_is_told_with_the_path_of_each_direction() {
    let (_backend, lockgate) = complete();
    let mut client = Connector::new().connect(lockgate.address);
    let expected = match machine::expects_kernel() {
        true => "kernel_splice",
        false => "user",
    };
    let seen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !seen.load(Ordering::Relaxed) {
                client.echo(data::UP, 4 << 20);
            }
        });
        let _stop = OnDrop(&seen);
        wait_until("both directions were on their path", || {
            let live = &lockgate.json("/connections")["connections"][0];
            live["path_up"] == expected && live["path_down"] == expected
        });
    });
    assert_eq!(client.close().1, End::Clean);
    lockgate.finish();
}

/// Says so when it goes, also when a test fails.
struct OnDrop<'f>(&'f AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn all_connections_are_listed_in_pieces_while_others_come_and_go() {
    const LIVE: usize = 150;
    let (_backend, lockgate) = complete();
    let mut clients: Vec<_> = (0..LIVE)
        .map(|_| {
            let mut client = Connector::new().connect(lockgate.address);
            client.ping(b"x");
            client
        })
        .collect();
    let all = lockgate.json("/connections?limit=10000");
    assert_eq!((&all["total"], all["next"].is_null()), (&LIVE.into(), true));
    let id = |connection: &Value| connection["id"].as_u64().unwrap();
    let known: Vec<u64> = all["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(id)
        .collect();
    assert!(known.is_sorted() && known.len() == LIVE);

    let (mut seen, mut after) = (Vec::new(), Some(0));
    while let Some(number) = after {
        drop(Connector::new().connect(lockgate.address).close());
        let piece = lockgate.json(&format!("/connections?limit=40&after={number}"));
        seen.extend(piece["connections"].as_array().unwrap().iter().map(id));
        after = piece["next"].as_u64();
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "each once, by number");
    assert!(known.iter().all(|id| seen.binary_search(id).is_ok()));
    clients.iter_mut().for_each(|client| client.ping(b"y"));
    clients.into_iter().for_each(|client| drop(client.close()));
    lockgate.finish();
}

#[test]
fn secrets_in_the_configuration_are_not_told() {
    let backend = Backend::tcp(echo);
    let identity = &pki().server;
    let lockgate = Setup::to(&backend.address)
        .extra(&format!(
            "[[listener]]\nname = \"inline\"\nlisten = \"unix:inline\"\nbackend = \"main\"\n\
             certificates = [{{ certificate = {:?}, key = {:?} }}]\n",
            identity.certificate, identity.key
        ))
        .start();
    let secret = identity.key.lines().nth(1).unwrap();
    for path in ["/config", "/certificates", "/ready", "/metrics"] {
        let (_, body) = lockgate.ask("GET", path);
        assert!(
            !body.contains(secret) && !body.contains("PRIVATE"),
            "{path}"
        );
    }
    let inline = &lockgate.json("/config")["listener"][1]["certificates"][0]["key"];
    assert_eq!(inline, "inline, not shown");
    lockgate.finish_on_any_path();
}
