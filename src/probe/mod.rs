//! What the kernel under us can do, found out by doing it.
//!
//! ```text
//!   Kernel::probe() ── kernel_tls ── byte_loss     on a loopback connection, with random keys
//!                   │             └─ cost          whether bulk costs less there
//!                   ├─ ring                        one ring, one eventfd
//!                   ├─ pipes, descriptors          one pipe; /proc/sys
//!                   └─ remedy                      why something is missing, and what helps
//! ```
//!
//! Versions are never compared: distributions move features and fixes between them. Nothing here is
//! an error: what cannot be used, or not even be tested, is a reason in words. No privilege and no
//! /proc is needed, every wait ends, and no descriptor outlives the probe.

mod byte_loss;
mod cost;
mod deadline;
mod descriptors;
mod files;
mod json;
mod kernel_tls;
mod loopback;
mod next_record;
mod pipes;
mod remedy;
mod ring;
mod table;
#[cfg(test)]
mod tests;

use std::{path::Path, time::Duration};

use crate::{
    config::{Offload, TlsVersion},
    limits,
    relay::Moves,
    tls::Cipher,
};
pub use cost::Cost;
use deadline::Deadline;
pub use descriptors::Descriptors;
use files::Files;
pub use kernel_tls::{KernelTls, Suite};
pub use pipes::Pipes;
pub use ring::IoUring;

/// For all tests of kernel TLS together, and for those of io_uring. They take a few milliseconds;
/// this is for a machine that is busy, and for a kernel that never answers.
const TESTS_TIMEOUT: Duration = Duration::from_secs(5);

/// What was found. An `Err` says why not, and what helps.
#[derive(Debug)]
pub struct Kernel {
    /// As uname(1) prints it; for people, not for decisions.
    pub release: String,
    pub tls: Result<KernelTls, String>,
    pub io_uring: Result<IoUring, String>,
    pub pipes: Pipes,
    pub descriptors: Descriptors,
    /// What an operator should change, whatever the configuration.
    pub warnings: Vec<String>,
}

impl Kernel {
    pub fn probe() -> Kernel {
        Self::probe_at(Path::new("/"))
    }

    /// `root`: where /proc, /lib/modules and /boot are looked for.
    fn probe_at(root: &Path) -> Kernel {
        let files = Files::new(root);
        let release = release();
        let tls = kernel_tls::probe(&files, &release, Deadline::after(TESTS_TIMEOUT));
        let io_uring = ring::probe(&files, Deadline::after(TESTS_TIMEOUT));
        let pipes = Pipes::probe(&files);
        let descriptors = Descriptors::probe(&files);
        let warnings = warnings(&tls, &pipes, &descriptors);
        Kernel {
            release,
            tls,
            io_uring,
            pipes,
            descriptors,
            warnings,
        }
    }

    /// Measures as well whether kernel TLS is worth it, which takes some 100 ms.
    pub fn probe_with_costs() -> Kernel {
        let mut kernel = Self::probe();
        if let Ok(tls) = &mut kernel.tls {
            tls.measure_costs();
        }
        kernel
    }

    /// What may move into the kernel of a connection with these keys, once it is bulk.
    pub fn moves(&self, offload: Offload, version: TlsVersion, cipher: Cipher) -> Moves {
        let (transmit, receive) = match (&self.tls, offload) {
            (Ok(tls), Offload::Auto) if tls.offloads(version, cipher) => tls.pays(cipher),
            (Ok(tls), Offload::Bulk) => {
                let offloads = tls.offloads(version, cipher);
                (offloads, offloads)
            }
            _ => (false, false),
        };
        Moves {
            transmit,
            receive,
            no_padding: self.expects_no_padding(),
            updates: self.can_update_keys(),
            announces: self.announces_next_record(),
        }
    }

    /// Whether the kernel takes over connections of this version and cipher.
    pub fn offloads(&self, version: TlsVersion, cipher: Cipher) -> bool {
        self.tls
            .as_ref()
            .is_ok_and(|tls| tls.offloads(version, cipher))
    }

    /// Whether a connection in the kernel can go on after a KeyUpdate.
    pub fn can_update_keys(&self) -> bool {
        self.tls.as_ref().is_ok_and(|tls| tls.rekey)
    }

    /// Whether it can decrypt TLS 1.3 straight into the reader's buffer, and does it right.
    pub fn expects_no_padding(&self) -> bool {
        self.tls.as_ref().is_ok_and(|tls| tls.no_padding)
    }

    /// Whether a record that ended a read has an event of its own.
    pub fn announces_next_record(&self) -> bool {
        self.tls.as_ref().is_ok_and(|tls| tls.announces_next_record)
    }

    /// Whether bulk of any cipher costs less in the kernel.
    pub fn moves_any(&self) -> bool {
        let pays = |tls: &KernelTls, cost: &Cost| tls.pays(cost.cipher) != (false, false);
        self.tls
            .as_ref()
            .is_ok_and(|tls| tls.costs.iter().any(|cost| pays(tls, cost)))
    }

    /// Whether it takes over any.
    pub fn has_kernel_tls(&self) -> bool {
        self.tls.is_ok()
    }

    /// One line: who encrypts here with that setting, who waits, and why.
    pub fn data_path(&self, offload: Offload) -> String {
        let path = match (&self.tls, offload) {
            (_, Offload::Off) => "user space for every connection".to_owned(),
            (Err(why), _) => format!("user space, because {why}"),
            (Ok(tls), Offload::Required) => format!("kernel TLS{}", tls.coverage()),
            (Ok(tls), Offload::Bulk) => {
                format!("user space, and for bulk kernel TLS{}", tls.coverage())
            }
            (Ok(tls), Offload::Auto) => tls.worth(),
        };
        let waiter = match &self.io_uring {
            Ok(_) => "io_uring".to_owned(),
            Err(why) => format!("epoll, because {why}"),
        };
        format!("data path: {path}; waiter: {waiter}")
    }

    /// What was found, aligned, for people.
    pub fn table(&self) -> String {
        table::table(self)
    }

    /// What was found, for programs; the keys are stable.
    pub fn json(&self) -> serde_json::Value {
        json::json(self)
    }
}

fn release() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |names| names.release().to_string_lossy().into_owned(),
    )
}

fn warnings(
    tls: &Result<KernelTls, String>,
    pipes: &Pipes,
    descriptors: &Descriptors,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Ok(tls) = tls {
        warnings.extend(tls.warnings.iter().cloned());
    }
    warnings.extend(pipes.warning());
    if let Some(queue) = descriptors.listen_queue
        && queue < u64::from(limits::LISTEN_BACKLOG.unsigned_abs())
    {
        warnings.push(format!(
            "net.core.somaxconn is {queue}: more clients than that are dropped while they wait to \
             be accepted; raise it to {} (sysctl -w net.core.somaxconn={})",
            limits::LISTEN_BACKLOG,
            limits::LISTEN_BACKLOG
        ));
    }
    warnings
}
