//! What the kernel counts of its TLS: /proc/net/tls_stat, for all programs in this network
//! namespace (Documentation/networking/tls.rst).

use std::fs;

use super::model::Family;
use crate::limits;

/// Without samples where the kernel has no TLS.
pub fn families() -> [Family; 2] {
    let text = fs::read_to_string("/proc/net/tls_stat").unwrap_or_default();
    of(&text)
}

fn of(text: &str) -> [Family; 2] {
    let figures = || {
        text.lines()
            .filter_map(figure)
            .take(limits::KERNEL_SERIES_MAX)
    };
    let is_current = |name: &str| name.starts_with("TlsCurr");
    [
        Family::gauge(
            "lockgate_kernel_tls_current",
            "Directions in kernel TLS now, of all programs, by the kernel's own name.",
        )
        .by(
            &["name"],
            figures()
                .filter(|(name, _)| is_current(name))
                .map(|(name, count)| ([name], count)),
        ),
        Family::counter(
            "lockgate_kernel_tls_stat_total",
            "What the kernel has counted of its TLS, of all programs, by the kernel's own name.",
        )
        .by(
            &["name"],
            figures()
                .filter(|(name, _)| !is_current(name))
                .map(|(name, count)| ([name], count)),
        ),
    ]
}

fn figure(line: &str) -> Option<(&str, u64)> {
    let (name, count) = line.split_once(char::is_whitespace)?;
    Some((name, count.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::model::Value;

    #[test]
    fn what_is_now_is_told_from_what_has_been() {
        let [current, total] =
            of("TlsCurrTxSw                     \t2\nTlsDecryptError  \t5\n\n?\n");
        for (family, label, count) in [(current, "TlsCurrTxSw", 2), (total, "TlsDecryptError", 5)] {
            assert_eq!(family.samples.len(), 1, "{family:?}");
            assert_eq!(family.samples[0].labels, [label]);
            assert!(matches!(family.samples[0].value, Value::Whole(value) if value == count));
        }
    }
}
