//! What can be seen of the program from outside: figures, log, memory, time.

use std::{fs, net::SocketAddr, time::Duration};

use super::{
    Lockgate, holds_within, machine,
    metrics::{self, Metrics},
    patience,
};

impl Lockgate {
    /// Asks its admin socket: the status and the body.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let answer = metrics::ask(&self.folder().join("admin"), method, path);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The JSON that its admin socket answers.
    #[track_caller]
    pub fn json(&self, path: &str) -> serde_json::Value {
        let (_, body) = self.ask("GET", path);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("GET {path}: {error}: {body}"))
    }

    /// As `--admin` takes it.
    pub fn admin(&self) -> String {
        format!("unix:{}", self.folder().join("admin").display())
    }

    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let answer = metrics::get(&self.folder().join("admin"), "/metrics");
        let (status, body) = answer.unwrap_or_else(|error| panic!("GET /metrics: {error}"));
        assert_eq!(status, 200, "{body}");
        Metrics::parse(&body)
    }

    /// Waits until a metric, summed over the series with these labels, is at least `value`.
    #[track_caller]
    pub fn wait_for(&self, name: &str, labels: &[&str], value: u64) {
        let found = holds_within(patience(), || self.metrics().of(name, labels) >= value);
        assert!(
            found,
            "{name}{labels:?} did not reach {value}; counted:\n{}",
            self.metrics().show("total")
        );
    }

    /// Waits until so many connections ended for this reason.
    #[track_caller]
    pub fn wait_closed(&self, reason: &str, count: u64) {
        let label = format!("reason={reason}");
        self.wait_for("lockgate_connections_closed_total", &[&label], count);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// The log line of the connection that came from this address, once it has ended.
    #[track_caller]
    pub fn closed_line(&self, peer: SocketAddr) -> String {
        let wanted = format!("peer={peer}");
        let find = || {
            let log = self.log();
            let mut lines = log.lines().filter(|line| line.contains("reason="));
            lines
                .find(|line| words(line).any(|word| word == wanted))
                .map(str::to_owned)
        };
        let found = holds_within(patience(), || find().is_some());
        assert!(
            found,
            "no line with {wanted} and a reason in the log:\n{}",
            self.log()
        );
        find().unwrap()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:") * 1024
    }

    /// The most that it ever was.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:") * 1024
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time that it spent in its own code so far.
    pub fn user_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields = &stat[stat.rfind(')').unwrap() + 2..];
        let ticks: f64 = fields.split(' ').nth(11).unwrap().parse().unwrap();
        Duration::from_secs_f64(ticks / machine::ticks_per_second())
    }
}

/// The words of a log line; quotes around values are not part of them.
fn words(line: &str) -> impl Iterator<Item = String> + '_ {
    line.split_whitespace().map(|word| word.replace('"', ""))
}

/// The value of `key=` in a log line.
pub fn field(line: &str, key: &str) -> Option<String> {
    let prefix = format!("{key}=");
    words(line).find_map(|word| word.strip_prefix(&prefix).map(str::to_owned))
}
