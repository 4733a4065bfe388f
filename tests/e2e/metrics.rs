//! Figures: every format says the same, the page of the operators says what the program says, and
//! what happens is counted where it belongs.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    AlertDescription,
    version::{TLS12, TLS13},
};
use serde_json::Value;

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, machine,
    metrics::{self, Metrics},
    patience, pki,
    sessions::echo,
    wait_until,
};

/// A family as the program or the page has it.
#[derive(Debug, PartialEq)]
struct Family {
    kind: String,
    unit: String,
    labels: Vec<String>,
    help: String,
}

/// Status, head and body.
fn ask(lockgate: &Lockgate, path: &str, accept: &str) -> (String, String) {
    let mut socket = UnixStream::connect(lockgate.folder().join("admin")).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: lockgate\r\nAccept: {accept}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn json(lockgate: &Lockgate) -> BTreeMap<String, Value> {
    let (head, body) = ask(lockgate, "/metrics?format=json", "*/*");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(&body).unwrap()
}

/// Full, mutual and resumed, of both versions, and one that fails.
fn visit(lockgate: &Lockgate) {
    for version in [&TLS12, &TLS13] {
        let resuming = Connector::new().version(version).resuming();
        let mutual = Connector::new().version(version).identity(&pki().client);
        for connector in [&resuming, &resuming, &mutual] {
            let mut client = connector.connect(lockgate.address);
            client.ping(b"something");
            assert_eq!(client.close().1, End::Clean);
        }
    }
    let expired = Connector::new().identity(&pki().client_expired);
    let alert = AlertDescription::CertificateExpired;
    assert_eq!(expired.verdict(lockgate.address), End::Alert(alert));
    lockgate.wait_for("lockgate_handshake_failures_total", &[], 1);
    lockgate.wait_closed("finished", 6);
}

fn start<T: Send + 'static>(backend: &Backend<T>) -> Lockgate {
    let lockgate = Setup::to(&backend.address).client_auth("request").start();
    visit(&lockgate);
    // The one that failed gives its place back after it was counted.
    lockgate.assert_baseline();
    lockgate
}

#[test]
fn every_format_has_the_same_samples() {
    let backend = Backend::tcp(echo);
    let lockgate = start(&backend);
    // What is the same in three requests.
    let lasting = |name: &str| name.starts_with("lockgate_");
    let (head, text) = ask(&lockgate, "/metrics", "*/*");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    let wanted = "application/openmetrics-text; version=1.0.0";
    let (head, open) = ask(&lockgate, "/metrics", wanted);
    assert!(
        head.contains(&format!("content-type: {wanted}; charset=utf-8")),
        "{head}"
    );
    let samples = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| lasting(line));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(samples(&text), samples(&open));
    assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1);
    assert!(
        open.contains("\n# TYPE lockgate_relay_bytes counter\n# UNIT lockgate_relay_bytes bytes\n")
    );

    let (head, body) = ask(&lockgate, "/metrics", "application/json");
    assert!(head.contains("content-type: application/json"), "{head}");
    let json: BTreeMap<String, Value> = serde_json::from_str(&body).unwrap();
    let parsed = Metrics::parse(&text);
    for (name, family) in json.iter().filter(|(name, _)| lasting(name)) {
        let samples = family["samples"].as_array().unwrap();
        let sum = |key: &str| -> u64 {
            samples
                .iter()
                .map(|sample| sample[key].as_f64().unwrap() as u64)
                .sum()
        };
        match family["type"] == "histogram" {
            true => assert_eq!(sum("count"), parsed.sum(&format!("{name}_count")), "{name}"),
            false => assert_eq!(sum("value"), parsed.sum(name), "{name}"),
        }
    }
    let (head, body) = ask(&lockgate, "/metrics?format=xml", "*/*");
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(body.contains("format=json"), "{body}");
    lockgate.finish();
}

#[test]
fn handshakes_are_counted_by_what_they_were_and_timed_by_what_they_took() {
    let backend = Backend::tcp(echo);
    let lockgate = start(&backend);
    let metrics = lockgate.metrics();
    let name = "lockgate_handshakes_total";
    for version in ["version=1.2", "version=1.3"] {
        let count = |labels: &[&str]| metrics.of(name, &[&["result=ok", version], labels].concat());
        assert_eq!(count(&["resumed=false", "client_certificate=false"]), 1);
        assert_eq!(count(&["resumed=true", "client_certificate=false"]), 1);
        assert_eq!(count(&["resumed=false", "client_certificate=true"]), 1);
    }
    assert_eq!(metrics.of(name, &["result=failed"]), 1);
    let reason = "reason=client_certificate_expired";
    assert_eq!(
        metrics.of("lockgate_handshake_failures_total", &[reason]),
        1
    );
    let json = json(&lockgate);
    let durations = &json["lockgate_handshake_duration_seconds"]["samples"];
    for sample in durations.as_array().unwrap() {
        assert_eq!(sample["count"], 2, "{sample}");
        let quantile = |name: &str| sample["quantiles"][name].as_f64().unwrap();
        assert!(
            quantile("p50") > 0.0 && quantile("p50") <= quantile("max"),
            "{sample}"
        );
        let mean = sample["sum"].as_f64().unwrap() / 2.0;
        assert!(mean <= quantile("max") * 1.01, "{sample}");
    }
    assert_eq!(
        metrics.of(
            "lockgate_backend_connect_duration_seconds_count",
            &["backend=main"]
        ),
        6
    );
    lockgate.finish();
}

#[test]
fn the_state_of_a_server_is_that_of_the_last_connect() {
    let backend = Backend::tcp(echo);
    let nobody = format!("127.0.0.1:{}", machine::free_port());
    let lockgate = Setup::to(&backend.address)
        .servers(&[&nobody, &backend.address])
        .start();
    let up = |server: &str| {
        let server = format!("server={server}");
        lockgate
            .metrics()
            .of("lockgate_backend_up", &["backend=main", &server])
    };
    assert_eq!(
        (up(&nobody), up(&backend.address)),
        (1, 1),
        "before the first"
    );
    for _ in 0..2 {
        let mut client = Connector::new().connect(lockgate.address);
        client.ping(b"something");
        assert_eq!(client.close().1, End::Clean);
    }
    assert_eq!((up(&nobody), up(&backend.address)), (0, 1));
    lockgate.finish();
}

#[test]
fn the_expiry_of_certificates_and_of_their_authorities_is_told_by_name() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).client_auth("request").start();
    let metrics = lockgate.metrics();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for (name, label) in [
        (
            "lockgate_certificate_expiry_timestamp_seconds",
            "name=server",
        ),
        (
            "lockgate_ca_expiry_timestamp_seconds",
            "name=lockgate test CA",
        ),
    ] {
        let expiry = metrics.of(name, &["listener=main", label]);
        assert!(expiry > now, "{name}: {expiry}");
    }
    lockgate.finish_on_any_path();
}

#[test]
fn the_process_tells_its_own_figures() {
    let backend = Backend::tcp(echo);
    let lockgate = start(&backend);
    let metrics = lockgate.metrics();
    let close = |name: &str, seen: u64| {
        let told = metrics.sum(name);
        assert!(
            told.abs_diff(seen) <= seen / 4 + 2,
            "{name}: {told}, seen from outside: {seen}"
        );
    };
    close(
        "process_open_fds",
        lockgate.descriptors().values().sum::<usize>() as u64,
    );
    close("process_resident_memory_bytes", lockgate.memory());
    let tasks = format!("/proc/{}/task", lockgate.pid());
    close(
        "process_threads",
        std::fs::read_dir(tasks).unwrap().count() as u64,
    );
    wait_until("processor time was counted", || {
        let (_, text) = metrics::get(&lockgate.folder().join("admin"), "/metrics").unwrap();
        text.lines().any(|line| {
            line.strip_prefix("process_cpu_seconds_total ")
                .is_some_and(|seconds| seconds.parse::<f64>().unwrap() > 0.0)
        })
    });
    let has_kernel_tls = machine::has_kernel_tls();
    assert_eq!(metrics.has("lockgate_kernel_tls_current"), has_kernel_tls);
    lockgate.finish();
}

#[test]
fn key_updates_are_counted_while_the_connection_lives() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.tls.refresh_traffic_keys().unwrap();
    client.write(b"something");
    lockgate.wait_for("lockgate_key_updates_total", &["direction=received"], 1);
    if machine::can_update_keys() {
        assert_eq!(client.read_exactly(9), b"something");
        assert_eq!(lockgate.metrics().sum("lockgate_connections_open"), 1);
        assert_eq!(client.close().1, End::Clean);
    } else {
        lockgate.wait_closed("key_update_unsupported", 1);
    }
    lockgate.finish_on_any_path();
}

const PAGE: &str = include_str!("../../docs/observability.md");

/// Rows of the table below a heading of the page: cells without blanks around them.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = PAGE.split_once(&format!("\n### {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let section = section.split("\n### ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with('|'));
    lines
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// What stands between backticks.
fn words(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_page_lists_every_figure_and_the_program_has_every_one_it_lists() {
    let backend = Backend::tcp(echo);
    let lockgate = start(&backend);
    let served: BTreeMap<String, Family> = json(&lockgate)
        .into_iter()
        .map(|(name, family)| {
            let text = |key: &str| family[key].as_str().unwrap_or_default().to_owned();
            let labels = family["labels"].as_array().unwrap().iter();
            let described = Family {
                kind: text("type"),
                unit: text("unit"),
                labels: labels
                    .map(|label| label.as_str().unwrap().to_owned())
                    .collect(),
                help: text("help"),
            };
            (name, described)
        })
        .collect();
    let listed: BTreeMap<String, Family> = rows("Families")
        .into_iter()
        .map(|row| {
            let [name, kind, unit, labels, help] = row.try_into().unwrap();
            let described = Family {
                kind,
                unit,
                labels: words(&labels),
                help: help.replace('`', ""),
            };
            (words(&name).remove(0), described)
        })
        .collect();
    for (name, family) in &served {
        assert_eq!(listed.get(name), Some(family), "{name} on the page");
    }
    for name in listed.keys() {
        assert!(served.contains_key(name), "the program has no {name}");
    }
    lockgate.finish();
}

/// Values that begin with a backtick are all that there are; behind "of", all that may come; other
/// words are about names of the operator's.
#[test]
fn the_page_lists_every_value_of_every_label() {
    let backend = Backend::tcp(echo);
    let lockgate = start(&backend);
    let mut served: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (name, family) in json(&lockgate) {
        for label in family["labels"].as_array().unwrap() {
            let label = label.as_str().unwrap();
            let samples = family["samples"].as_array().unwrap().iter();
            let values = samples.map(|sample| sample["labels"][label].as_str().unwrap().to_owned());
            served.insert((name.clone(), label.to_owned()), values.collect());
        }
    }
    for row in rows("Values of labels") {
        let [names, label, cell] = row.try_into().unwrap();
        let label = words(&label).remove(0);
        let listed: BTreeSet<String> = words(&cell).into_iter().collect();
        for name in words(&names) {
            let key = (name, label.clone());
            let values = served.remove(&key).unwrap_or_else(|| panic!("no {key:?}"));
            if cell.starts_with('`') {
                assert_eq!(listed, values, "{key:?}");
            } else if cell.starts_with("of ") {
                assert!(values.is_subset(&listed), "{key:?}: {values:?}");
            }
        }
    }
    assert!(served.is_empty(), "not on the page: {:?}", served.keys());
    lockgate.finish();
}
