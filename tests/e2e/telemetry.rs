//! Export of the figures by OTLP, to a real receiver.

use std::{collections::BTreeSet, fs, io::Read, net::TcpListener, process::Command, time::Instant};

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, machine,
    metrics::get,
    monitoring::{self, Database},
    patience,
    sessions::echo,
    wait_until,
};

const EXPORTS: &str = "lockgate_telemetry_exports_total";

fn telemetry(endpoint: &str) -> String {
    format!("[telemetry]\notlp_endpoint = \"http://{endpoint}\"\ninterval = \"1s\"")
}

fn times(lockgate: &Lockgate, text: &str) -> usize {
    lockgate.log().matches(text).count()
}

/// The sum of a metric in the database; `None` while it has none.
fn sum(database: &Database, expression: &str) -> Option<u64> {
    let result = database.query(&format!("sum({expression})"));
    let value: f64 = result.first()?["value"][1].as_str()?.parse().ok()?;
    Some(value as u64)
}

#[test]
fn a_collector_gets_what_a_scrape_would_and_its_absence_is_said_once() {
    monitoring::program("victoria-metrics");
    let backend = Backend::tcp(echo);
    let nobody = format!("127.0.0.1:{}/v1/metrics", machine::free_port());
    let lockgate = Setup::to(&backend.address)
        .client_auth("request")
        .extra(&telemetry(&nobody))
        .start();
    let (failing, again) = ("figures cannot be exported", "figures are exported again");
    lockgate.wait_for(EXPORTS, &["result=failed"], 3);
    assert_eq!(times(&lockgate, failing), 1, "{}", lockgate.log());

    // Another collector, by a reload.
    let database = Database::victoria_metrics();
    let collector = format!("{}/opentelemetry/v1/metrics", database.address());
    let path = lockgate.folder().join("lockgate.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace(&nobody, &collector)).unwrap();
    wait_until("it was reloaded", || {
        times(&lockgate, "reloaded: telemetry") == 1
    });
    lockgate.wait_for(EXPORTS, &["result=ok"], 1);
    wait_until("it was said", || times(&lockgate, again) == 1);

    for _ in 0..3 {
        let mut client = Connector::new().connect(lockgate.address);
        client.ping(b"something");
        assert_eq!(client.close().1, End::Clean);
    }
    lockgate.wait_closed("finished", 3);
    for (expression, expected) in [
        (
            "lockgate_connections_accepted_total{service_name=\"lockgate\"}",
            3,
        ),
        (
            "lockgate_handshakes_total{result=\"ok\",version=\"1.3\"}",
            3,
        ),
        (
            "lockgate_handshake_duration_seconds_count{kind=\"full\"}",
            3,
        ),
        (
            "lockgate_handshake_duration_seconds_bucket{kind=\"full\",le=\"+Inf\"}",
            3,
        ),
        ("lockgate_relay_bytes_total{direction=\"up\"}", 27),
    ] {
        wait_until(expression, || sum(&database, expression) == Some(expected));
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let resource = format!(
        "lockgate_build_info{{service_name=\"lockgate\",service_version={:?},service_instance_id={:?}}}",
        env!("CARGO_PKG_VERSION"),
        host.trim()
    );
    assert_eq!(database.query(&resource).len(), 1, "{resource}");
    assert_same_names(&lockgate, &database);

    drop(database);
    lockgate.wait_for(EXPORTS, &["result=failed"], 5);
    wait_until("it was said", || times(&lockgate, failing) == 2);
    lockgate.finish();
}

/// Every family under its name, and none besides.
#[track_caller]
fn assert_same_names(lockgate: &Lockgate, database: &Database) {
    let (_, text) = get(&lockgate.folder().join("admin"), "/metrics").unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let scraped: BTreeSet<&str> = lines
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let answer = database.get("/api/v1/label/__name__/values");
    let names = answer["data"].as_array().unwrap().iter();
    let exported: BTreeSet<&str> = names
        .filter_map(|name| name.as_str())
        .filter(|name| *name != "target_info")
        .collect();
    assert_eq!(scraped, exported);
}

#[test]
fn what_happened_after_the_last_export_is_exported_at_the_end() {
    let backend = Backend::tcp(echo);
    let database = Database::victoria_metrics();
    let collector = format!("{}/opentelemetry/v1/metrics", database.address());
    let rarely = telemetry(&collector).replace("1s", "1h");
    let lockgate = Setup::to(&backend.address).extra(&rarely).start();
    lockgate.wait_for(EXPORTS, &["result=ok"], 1);
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"something");
    assert_eq!(client.close().1, End::Clean);
    lockgate.wait_closed("finished", 1);
    lockgate.finish();
    let expression = "lockgate_connections_accepted_total";
    wait_until(expression, || sum(&database, expression) == Some(1));
}

#[test]
fn an_endpoint_that_cannot_be_is_a_problem_of_the_configuration() {
    let setup = Setup::to("127.0.0.1:9").extra(&telemetry("x").replace("http:", "https:"));
    let config = setup.folder.write("lockgate.toml", setup.toml(1));
    let check = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .args(["check", "--config", &config])
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(78));
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(
        said.contains("telemetry.otlp_endpoint") && said.contains("without TLS"),
        "{said}"
    );
}

#[test]
fn a_collector_that_never_answers_keeps_nobody_waiting() {
    let backend = Backend::tcp(echo);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let lockgate = Setup::to(&backend.address)
        .extra(&telemetry(&address.to_string()))
        .start();
    silent.set_nonblocking(true).unwrap();
    let mut accepted = None;
    wait_until("the collector was asked", || {
        accepted = silent.accept().ok();
        accepted.is_some()
    });
    let (mut asked, _) = accepted.unwrap();
    asked.set_nonblocking(false).unwrap();
    asked.set_read_timeout(Some(patience())).unwrap();
    let mut head = [0; 512];
    let length = asked.read(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");

    let began = Instant::now();
    let (_, reloaded) = lockgate.ask("POST", "/reload");
    assert!(reloaded.contains("\"result\":\"ok\""), "{reloaded}");
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"something");
    assert_eq!(client.close().1, End::Clean);
    assert_eq!(lockgate.metrics().sum(EXPORTS), 0, "{:?}", began.elapsed());

    lockgate.wait_for(EXPORTS, &["result=failed"], 1);
    wait_until("it was said", || {
        times(&lockgate, "no answer within 5s") == 1
    });
    drop((asked, silent));
    lockgate.finish();
}
