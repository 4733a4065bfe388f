//! Real receivers of figures: Debian's Prometheus, its promtool and VictoriaMetrics, fetched by
//! scripts/monitoring-tools.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

use super::{
    Folder, Program,
    command::{Finished, curl, run},
    machine, patience, text, wait_until,
};

/// The path of `prometheus`, `promtool` or `victoria-metrics`. Must come before the test's first socket: the first time
/// ever, they are downloaded.
pub fn program(name: &str) -> String {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    let folder = PROGRAMS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/monitoring-tools");
        let output = Command::new(script).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    });
    text(&folder.join(name))
}

#[track_caller]
pub fn promtool(arguments: &[&str]) -> Finished {
    let program = program("promtool");
    run(&program, arguments)
}

/// A database of figures, which answers as Prometheus does.
pub struct Database {
    server: Program,
    address: String,
    _folder: Folder,
}

impl Database {
    /// Prometheus, with this configuration.
    #[track_caller]
    pub fn prometheus(config: &str) -> Self {
        let folder = Folder::new();
        let config = folder.write("prometheus.yml", config);
        let address = address();
        let mut command = Command::new(program("prometheus"));
        command
            .arg(format!("--config.file={config}"))
            .arg(format!(
                "--storage.tsdb.path={}",
                text(&folder.join("data"))
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn");
        Database::start(command, address, "/-/ready", folder)
    }

    /// VictoriaMetrics, which receives OTLP.
    #[track_caller]
    pub fn victoria_metrics() -> Self {
        let folder = Folder::new();
        let address = address();
        let mut command = Command::new(program("victoria-metrics"));
        command
            .arg(format!("-storageDataPath={}", text(&folder.join("data"))))
            .arg(format!("-httpListenAddr={address}"))
            .arg("-opentelemetry.usePrometheusNaming")
            // What has just arrived is of interest here.
            .args(["-search.latencyOffset=0s", "-search.disableCache"])
            .arg("-loggerLevel=WARN");
        Database::start(command, address, "/health", folder)
    }

    #[track_caller]
    fn start(mut command: Command, address: String, ready: &str, folder: Folder) -> Self {
        let mut database = Database {
            server: Program::start(&mut command),
            address,
            _folder: folder,
        };
        wait_until("the database was ready", || {
            assert!(!database.server.has_ended(), "{}", database.server.output());
            database.curl(&["-f"], ready).status.success()
        });
        database
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The values that an expression has now.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let query = format!("query={expression}");
        let arguments = ["--get", "--data-urlencode", &query];
        let answer = self.json(&arguments, "/api/v1/query");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.json(&[], path)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str], path: &str) -> Value {
        let answer = self.curl(arguments, path).success().text();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Finished {
        let url = format!("http://{}{path}", self.address);
        let mut program = Program::start(curl(arguments).arg(url));
        program.close_stdin();
        program.finish_within(patience())
    }
}

fn address() -> String {
    format!("127.0.0.1:{}", machine::free_port())
}
