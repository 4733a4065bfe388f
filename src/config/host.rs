//! What the machine contributes to a configuration: defaults and warnings depend on it.

use std::{fs, thread};

use nix::sys::resource::{Resource, getrlimit};

/// Facts about this machine and this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Cores that this process may use; at least 1.
    pub cores: usize,
    /// Files that this process may have open, once it has raised its limit.
    pub descriptors: u64,
    /// The lowest port that this process may listen on.
    pub lowest_port: u16,
}

/// Without which ports below the kernel's bound are refused (capabilities(7)).
const CAP_NET_BIND_SERVICE: u32 = 10;
/// The kernel's default of `ip_unprivileged_port_start` (ip(7)).
const UNPRIVILEGED_PORT_START: u16 = 1024;

impl Host {
    pub fn current() -> Host {
        Host {
            cores: thread::available_parallelism().map_or(1, usize::from),
            // It fails only for a resource that does not exist.
            descriptors: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard),
            lowest_port: lowest_port(),
        }
    }
}

fn lowest_port() -> u16 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if may_bind_any_port(&status) {
        return 0;
    }
    fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(UNPRIVILEGED_PORT_START)
}

fn may_bind_any_port(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set >> CAP_NET_BIND_SERVICE & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_capability_decides_about_low_ports() {
        assert!(may_bind_any_port("Name:\tx\nCapEff:\t0000000000000400\n"));
        assert!(!may_bind_any_port(
            "CapPrm:\t0000000000000400\nCapEff:\t0000000000000000\n"
        ));
        assert!(!may_bind_any_port(""));
    }
}
