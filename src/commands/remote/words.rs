//! Figures as people read them.

use crate::{status::unix_seconds, tls::iso8601};

/// Such as `1.5 MiB`.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match unit {
        0 => format!("{value:.0} {name}"),
        _ => format!("{value:.1} {name}"),
    }
}

/// Such as `850 ms`, `42 s`, `3 min`, `5 h` or `12 days`.
pub fn time(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 2.0 * MINUTE => format!("{s:.0} s"),
        s if s < 2.0 * HOUR => format!("{:.0} min", s / MINUTE),
        s if s < 2.0 * DAY => format!("{:.0} h", s / HOUR),
        s => format!("{:.0} days", (s / DAY).floor()),
    }
}

/// When something expires, and how far away that is. `at` and `now` in seconds since 1970.
pub fn expiry(at: i64, now: i64) -> String {
    let left = at.saturating_sub(now);
    match left {
        0.. => format!("in {}", time(left as f64)),
        _ => format!("expired {}", iso8601(at)),
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    i64::try_from(unix_seconds(std::time::SystemTime::now())).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units_of_their_size() {
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(bytes(5e9), "4.7 GiB");
        assert_eq!(time(0.000_25), "250 µs");
        assert_eq!(time(0.0025), "2.5 ms");
        assert_eq!(time(0.85), "850 ms");
        assert_eq!(time(119.0), "119 s");
        assert_eq!(time(3600.0), "60 min");
        assert_eq!(time(86_400.0 * 12.9), "12 days");
        assert_eq!(expiry(100, 70), "in 30 s");
        assert_eq!(expiry(0, 70), "expired 1970-01-01T00:00:00Z");
    }
}
