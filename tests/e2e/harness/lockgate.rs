//! The program under test: one process per test, watched from outside.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use super::{
    Folder, Setup, holds_within, machine,
    metrics::{self, Metrics},
    patience, wait_until,
};

pub struct Lockgate {
    child: Child,
    folder: Folder,
    pub address: SocketAddr,
    baseline: Baseline,
    ended: bool,
}

/// What must be as before once a test's connections are gone.
struct Baseline {
    descriptors: BTreeMap<String, usize>,
    keys: TlsStat,
}

/// /proc/net/tls_stat; nothing where the kernel has no TLS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsStat(BTreeMap<String, u64>);

impl TlsStat {
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

impl Lockgate {
    #[track_caller]
    pub fn start(setup: Setup) -> Self {
        // Another process may take the port first where networks are shared.
        for attempt in 0.. {
            let port = machine::free_port();
            let config = setup.folder.write("lockgate.toml", setup.toml(port));
            let mut child = spawn(&setup, &config);
            let admin = setup.folder.join("admin");
            let mut exit = None;
            wait_until("lockgate was ready or gone", || {
                exit = child.try_wait().unwrap();
                exit.is_some() || matches!(metrics::get(&admin, "/health"), Ok((200, _)))
            });
            let Some(status) = exit else {
                let baseline = Baseline {
                    descriptors: BTreeMap::new(),
                    keys: TlsStat::default(),
                };
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                let folder = setup.folder;
                let mut lockgate = Lockgate {
                    child,
                    folder,
                    address,
                    baseline,
                    ended: false,
                };
                lockgate.baseline = lockgate.settled();
                return lockgate;
            };
            let log = fs::read_to_string(setup.folder.join("log")).unwrap_or_default();
            let taken = log.contains("in use") && attempt < 3;
            assert!(
                taken,
                "lockgate ended at its start, {status}:\n{log}\n{}",
                setup.toml(port)
            );
        }
        unreachable!()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A folder for the test's other files.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.port())
    }

    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let answer = metrics::get(&self.folder.join("admin"), "/metrics");
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
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
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

    /// How much a figure of /proc/net/tls_stat has grown since the start, when lockgate tried out
    /// what the kernel can do.
    pub fn tls_stat_growth(&self, name: &str) -> u64 {
        self.tls_stat().of(name) - self.baseline.keys.of(name)
    }

    fn tls_stat(&self) -> TlsStat {
        let path = format!("/proc/{}/net/tls_stat", self.pid());
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| line.split_once(char::is_whitespace));
        TlsStat(
            lines
                .filter_map(|(k, v)| Some((k.into(), v.trim().parse().ok()?)))
                .collect(),
        )
    }

    /// Open descriptors by kind: `socket`, `pipe`, `anon_inode:[io_uring]`, ...
    pub fn descriptors(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .into_iter()
            .flatten()
        {
            let Ok(target) = entry.and_then(|entry| fs::read_link(entry.path())) else {
                continue;
            };
            let target = target.to_string_lossy();
            let kind = match target.split_once(':') {
                Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
                Some(("anon_inode", kind)) => kind.to_owned(),
                _ => "file".to_owned(),
            };
            *kinds.entry(kind).or_default() += 1;
        }
        kinds
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

    fn settled(&self) -> Baseline {
        // What a thread needs it opens when it runs for the first time.
        for plane in ["plane=relay", "plane=handshake"] {
            self.wait_for("lockgate_waiter_info", &[plane], 1);
        }
        let mut last = BTreeMap::new();
        wait_until("descriptors settled", || {
            std::thread::sleep(Duration::from_millis(10));
            let now = self.descriptors();
            std::mem::replace(&mut last, now.clone()) == now
        });
        Baseline {
            descriptors: last,
            keys: self.tls_stat(),
        }
    }

    /// Connections, descriptors, pipes and keys are back to where they were after the start.
    #[track_caller]
    pub fn assert_baseline(&self) {
        let mut what = String::new();
        let back = holds_within(patience(), || match self.leftover() {
            None => true,
            Some(leftover) => {
                what = leftover;
                false
            }
        });
        assert!(back, "not back to the baseline: {what}");
    }

    fn leftover(&self) -> Option<String> {
        let metrics = self.metrics();
        for name in ["lockgate_connections_open", "lockgate_pipes_in_use"] {
            assert!(metrics.has(name), "no metric {name}");
            if metrics.sum(name) != 0 {
                return Some(format!("{name} {}", metrics.sum(name)));
            }
        }
        let pooled = 2 * metrics.sum("lockgate_pipes_pooled") as usize;
        for (kind, count) in self.descriptors() {
            let before = self.baseline.descriptors.get(&kind).copied().unwrap_or(0);
            let allowed = before + if kind == "pipe" { pooled } else { 0 };
            if count > allowed {
                return Some(format!(
                    "{count} descriptors of kind {kind}, {allowed} expected"
                ));
            }
        }
        let keys = self.tls_stat();
        for name in [
            "TlsCurrTxSw",
            "TlsCurrRxSw",
            "TlsCurrTxDevice",
            "TlsCurrRxDevice",
        ] {
            if machine::isolate() && keys.of(name) != self.baseline.keys.of(name) {
                return Some(format!("{name} {}", keys.of(name)));
            }
        }
        None
    }

    /// Every connection so far was relayed on the path that this machine has for ordinary ones.
    #[track_caller]
    pub fn assert_path(&self) {
        let metrics = self.metrics();
        let path = if machine::expects_kernel() {
            "path=kernel"
        } else {
            "path=user"
        };
        let name = "lockgate_connections_by_path_total";
        let (all, expected) = (metrics.sum(name), metrics.of(name, &[path]));
        assert!(
            all > 0,
            "no connection was counted by path:\n{}",
            metrics.show("total")
        );
        assert_eq!(
            expected,
            all,
            "not all on {path}:\n{}",
            metrics.show("by_path")
        );
        if machine::expects_kernel() && machine::isolate() {
            for name in ["TlsTxSw", "TlsRxSw"] {
                let grown = self.tls_stat_growth(name);
                assert!(grown >= all, "{name} grew by {grown}, connections: {all}");
            }
        }
    }

    /// The kernel met no record that it could not decrypt.
    #[track_caller]
    pub fn assert_decrypted(&self) {
        let name = "TlsDecryptError";
        assert_eq!(
            self.tls_stat().of(name),
            self.baseline.keys.of(name),
            "{name}"
        );
    }

    /// The end of an ordinary test: right path, nothing left over, exit status 0.
    #[track_caller]
    pub fn finish(self) {
        self.assert_path();
        self.assert_decrypted();
        self.finish_on_any_path();
    }

    /// The same where the path is not the point, or keys were broken on purpose.
    #[track_caller]
    pub fn finish_on_any_path(self) {
        self.assert_baseline();
        self.stop();
    }

    pub fn signal(&self, signal: libc::c_int) {
        machine::signal(self.pid(), signal);
    }

    /// SIGTERM; it must end in time with status 0.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(libc::SIGTERM);
        let status = self.wait_end();
        assert_eq!(status.code(), Some(0), "{status} after SIGTERM");
    }

    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        wait_until("lockgate ended", || self.is_over());
        self.child.wait().unwrap()
    }

    pub fn is_over(&mut self) -> bool {
        self.ended = self.ended || self.child.try_wait().unwrap().is_some();
        self.ended
    }
}

impl Drop for Lockgate {
    fn drop(&mut self) {
        if !self.is_over() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        let log = self.log();
        let panicked = log.contains("panicked at");
        if std::thread::panicking() || panicked {
            let start = log.len().saturating_sub(8000);
            let start = (start..log.len())
                .find(|&at| log.is_char_boundary(at))
                .unwrap_or(0);
            eprintln!("--- end of the log of lockgate ---\n{}---", &log[start..]);
        }
        assert!(std::thread::panicking() || !panicked, "lockgate panicked");
    }
}

fn spawn(setup: &Setup, config: &str) -> Child {
    let log: PathBuf = setup.folder.join("log");
    let log = fs::File::create(log).unwrap();
    let program = env!("CARGO_BIN_EXE_lockgate").to_owned();
    let mut words = setup.launcher.clone();
    words.extend([program, "run".into(), "--config".into(), config.to_owned()]);
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .envs(setup.environment.iter().cloned());
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    machine::dies_with_test(&mut command);
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"))
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
