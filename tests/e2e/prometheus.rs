//! A real Prometheus: what it makes of the figures, of the alert rules and of the dashboard.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::{
    Backend, Connector, End, Folder, Program, Setup,
    command::curl,
    machine,
    monitoring::{self, Database, promtool},
    pki,
    sessions::echo,
    text, wait_until,
};

const ALERTS: &str = include_str!("../../scripts/monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../../scripts/monitoring/dashboard.json");

fn monitoring(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/monitoring");
    text(&folder.join(name))
}

/// A lockgate whose admin address Prometheus can reach.
struct Scraped {
    _program: Program,
    _folder: Folder,
    address: SocketAddr,
    admin: String,
}

impl Scraped {
    #[track_caller]
    fn start(setup: Setup) -> Self {
        let (port, admin) = (machine::free_port(), machine::free_port());
        let admin = format!("127.0.0.1:{admin}");
        let unix = format!("unix:{}", text(&setup.folder.join("admin")));
        let toml = setup.toml(port).replace(&unix, &admin);
        let config = setup.folder.write("lockgate.toml", toml);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
        let program = Program::start(command.args(["run", "--config", &config]));
        program.wait_for(&format!("admin          {admin}"));
        Scraped {
            _program: program,
            _folder: setup.folder,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            admin,
        }
    }

    #[track_caller]
    fn metrics(&self) -> String {
        let mut curl = Program::start(curl(&["-f"]).arg(format!("http://{}/metrics", self.admin)));
        curl.close_stdin();
        curl.finish().success().text()
    }

    fn visit(&self) {
        let mut client = Connector::new().connect(self.address);
        client.ping(b"something");
        assert_eq!(client.close().1, End::Clean);
    }
}

/// Names of series that are exposed, those of histograms included.
fn exposed(metrics: &str) -> BTreeSet<String> {
    let families = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    families
        .flat_map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let endings: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            endings.iter().map(move |ending| format!("{name}{ending}"))
        })
        .collect()
}

/// Words of an expression that can only be names of metrics.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("lockgate_") || word.starts_with("process_"))
}

/// Every expression of the dashboard, as Grafana would send it.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let shown = panels.filter(|panel| panel["type"] != "row");
    let targets = shown.flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        targets
            .iter()
            .map(|target| target["expr"].as_str().unwrap())
    });
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let annotations = annotations.map(|annotation| annotation["expr"].as_str().unwrap());
    targets
        .chain(annotations)
        .map(|expression| {
            let filled = expression
                .replace("$__rate_interval", "1m")
                .replace("$job", ".*")
                .replace("$instance", ".*");
            assert!(!filled.contains('$'), "{expression}");
            filled
        })
        .collect()
}

fn is_firing(prometheus: &Database, alert: &str) -> bool {
    let answer = prometheus.get("/api/v1/alerts");
    let alerts = answer["data"]["alerts"].as_array().unwrap();
    alerts
        .iter()
        .any(|found| found["labels"]["alertname"] == alert && found["state"] == "firing")
}

#[test]
fn the_alert_rules_fire_when_they_should_and_only_then() {
    promtool(&["check", "rules", "--lint-fatal", &monitoring("alerts.yml")]).success();
    promtool(&["test", "rules", &monitoring("alerts-test.yml")]).success();
}

#[test]
fn prometheus_scrapes_lockgate_and_shows_the_dashboard_and_fires_an_alert() {
    monitoring::program("prometheus");
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address)
        .certificates(&[&pki().short_lived])
        .client_auth("request");
    let lockgate = Scraped::start(setup);
    let rules = PathBuf::from(monitoring("alerts.yml"));
    let prometheus = Database::prometheus(&format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [{rules:?}]\n\
         scrape_configs:\n- job_name: lockgate\n  static_configs: [{{ targets: [{:?}] }}]\n",
        lockgate.admin
    ));
    wait_until("the target was up", || {
        lockgate.visit();
        let up = prometheus.query("up{job=\"lockgate\"} == 1");
        !up.is_empty()
    });
    wait_until("the alert fired", || {
        is_firing(&prometheus, "LockgateCertificateExpiresVerySoon")
    });
    assert!(!is_firing(&prometheus, "LockgateCaExpiresVerySoon"));
    let rules = prometheus.get("/api/v1/rules");
    for rule in rules["data"]["groups"][0]["rules"].as_array().unwrap() {
        wait_until("every rule was evaluated", || {
            let rules = prometheus.get("/api/v1/rules");
            let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
            rules
                .iter()
                .any(|found| found["name"] == rule["name"] && found["health"] == "ok")
        });
    }

    let metrics = lockgate.metrics();
    let exposed = exposed(&metrics);
    for expression in dashboard().iter().map(String::as_str).chain([ALERTS]) {
        for name in names(expression) {
            assert!(exposed.contains(name), "{name} in {expression}");
        }
    }
    for expression in dashboard() {
        // What happens seldom, and what the kernel may not have.
        let may_be_empty = expression.contains("> 0") || expression.contains("kernel_tls");
        wait_until(&expression, || {
            let shown = prometheus.query(&expression);
            may_be_empty || !shown.is_empty()
        });
    }
    // What Prometheus has is what lockgate says.
    let version = format!(
        "lockgate_build_info{{version={:?}}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(prometheus.query(&version).len(), 1);
}

#[test]
fn promtool_finds_nothing_to_complain_of_in_the_figures() {
    monitoring::program("promtool");
    let backend = Backend::tcp(echo);
    let lockgate = Scraped::start(Setup::to(&backend.address).client_auth("request"));
    lockgate.visit();
    let mut promtool =
        Program::start(Command::new(monitoring::program("promtool")).args(["check", "metrics"]));
    promtool.send(lockgate.metrics().as_bytes());
    promtool.close_stdin();
    let said = promtool.finish().success().all();
    assert_eq!(said, "");
}
