//! The process's own figures, under the names that Prometheus' own libraries use.
//!
//! What cannot be found out, such as when no descriptor is left to open /proc with, is left out.

use std::{fs, time::SystemTime};

use super::model::Family;
use crate::sys::process;

pub fn families(started: SystemTime) -> [Family; 7] {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let stat = Stat::parse(&stat);
    let page = process::page_bytes().ok();
    let started = started.duration_since(SystemTime::UNIX_EPOCH);
    [
        Family::counter(
            "process_cpu_seconds_total",
            "User and system time spent, of all threads.",
        )
        .values(process::cpu_time().map(|time| time.as_secs_f64())),
        Family::gauge("process_open_fds", "Open descriptors.").values(open_descriptors()),
        Family::gauge("process_max_fds", "Descriptors that may be open.")
            .values(process::descriptor_limit()),
        Family::gauge("process_resident_memory_bytes", "Resident memory.").values(
            stat.as_ref()
                .and_then(|stat| Some(stat.resident_pages * page?)),
        ),
        Family::gauge("process_virtual_memory_bytes", "Virtual memory.")
            .values(stat.as_ref().map(|stat| stat.virtual_bytes)),
        Family::gauge("process_threads", "Threads.").values(stat.as_ref().map(|stat| stat.threads)),
        Family::gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
        )
        .values(started.map(|started| started.as_secs_f64())),
    ]
}

/// The size of the folder is their number (from Linux 6.2 on; before, it is 0).
fn open_descriptors() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        // One of them reads the folder.
        0 => Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// Of /proc/self/stat (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The second field is the program's name in brackets, and may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        // Fields 20, 23 and 24, counted from 1; the first one here is 3.
        Some(Stat {
            threads: fields.nth(17)?.parse().ok()?,
            virtual_bytes: fields.nth(2)?.parse().ok()?,
            resident_pages: fields.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::model::Value;

    #[test]
    fn the_fields_of_stat_are_found_behind_any_name() {
        let text = "7 (a) b) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25";
        let stat = Stat::parse(text).unwrap();
        let expected = Stat {
            threads: 20,
            virtual_bytes: 23,
            resident_pages: 24,
        };
        assert_eq!(stat, expected);
        assert_eq!(Stat::parse("7 (a) S 3"), None);
    }

    #[test]
    fn every_figure_of_this_process_can_be_found_out() {
        for family in families(SystemTime::now()) {
            let value = match &family.samples[..] {
                [sample] => &sample.value,
                other => panic!("{}: {other:?}", family.name),
            };
            assert!(!matches!(value, Value::Whole(0)), "{}", family.name);
        }
    }
}
