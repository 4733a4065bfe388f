//! What must be as before once a test's connections are gone, and on which path they went.

use std::{collections::BTreeMap, fs, time::Duration};

use super::{Lockgate, holds_within, machine, patience, wait_until};

/// What must be as before once a test's connections are gone.
#[derive(Default)]
pub struct Baseline {
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
    /// Waits until nothing changes any more: what a thread needs, it opens when it runs for the
    /// first time, and that may be after the first answer of `/health`.
    pub fn settled(&self) -> Baseline {
        let mut last = BTreeMap::new();
        let mut quiet = 0;
        wait_until("descriptors settled", || {
            while quiet < 10 {
                std::thread::sleep(Duration::from_millis(10));
                let now = self.descriptors();
                let same = std::mem::replace(&mut last, now.clone()) == now;
                if !(same && self.is_asleep()) {
                    quiet = 0;
                    return false;
                }
                quiet += 1;
            }
            true
        });
        Baseline {
            descriptors: last,
            keys: self.tls_stat(),
        }
    }

    /// All of its threads wait for something to happen.
    fn is_asleep(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        tasks.flatten().all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" S"))
        })
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
}
