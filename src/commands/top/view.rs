//! What is shown: rates and latencies between two observations, and what the last one says.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;

use super::{figures::Figures, poll::Observation};
use crate::{commands::remote::words, limits};

/// Kinds of handshakes.
pub const KINDS: [&str; 3] = ["full", "mutual", "resumed"];

/// As many as the widest screen has columns.
const HISTORY: usize = 512;

pub struct View {
    pub target: String,
    pub interval: Duration,
    /// Why nobody answers, since when in seconds since 1970.
    pub lost: Option<(String, i64)>,
    pub last: Option<Observation>,
    /// Between the last two observations.
    pub rates: Option<Rates>,
    /// A second's handshakes and bytes, the newest last.
    pub handshakes: VecDeque<f64>,
    pub bytes: VecDeque<f64>,
}

/// A second, unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    pub accepted: f64,
    pub handshakes: f64,
    pub resumed: f64,
    pub mutual: f64,
    pub failed: f64,
    pub refused: f64,
    /// Bytes.
    pub up: f64,
    pub down: f64,
    /// Of all bytes, 0 to 1; `None`: there were none.
    pub spliced: Option<f64>,
    /// By [`KINDS`].
    pub handshake: [Option<Latency>; 3],
    pub connect: Option<Latency>,
    /// By path, the reason why it is not the kernel.
    pub paths: Vec<(String, f64)>,
    /// By reason, in the whole time between.
    pub failures: Vec<(String, f64)>,
}

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

/// A certificate that expires soon.
#[derive(Debug, PartialEq)]
pub struct Expiring {
    pub subject: String,
    pub listener: String,
    /// Seconds since 1970.
    pub at: i64,
}

impl View {
    pub fn new(target: String, interval: Duration) -> Self {
        View {
            target,
            interval,
            lost: None,
            last: None,
            rates: None,
            handshakes: VecDeque::new(),
            bytes: VecDeque::new(),
        }
    }

    pub fn observe(&mut self, now: Observation) {
        self.lost = None;
        self.rates = self.last.as_ref().and_then(|before| {
            let time = now.at.saturating_duration_since(before.at).as_secs_f64();
            rates(&before.figures, &now.figures, time)
        });
        if let Some(rates) = &self.rates {
            for (history, value) in [
                (&mut self.handshakes, rates.handshakes),
                (&mut self.bytes, rates.up + rates.down),
            ] {
                history.push_back(value);
                if history.len() > HISTORY {
                    history.pop_front();
                }
            }
        }
        self.last = Some(now);
    }

    /// What was seen last stays to be looked at.
    pub fn lose(&mut self, why: String) {
        let since = self.lost.take().map_or_else(words::now, |(_, since)| since);
        self.lost = Some((why, since));
        self.rates = None;
    }

    /// Soonest first.
    pub fn expiring(&self, now: i64) -> Vec<Expiring> {
        let near = i64::try_from(limits::EXPIRY_NEAR.as_secs()).unwrap_or(i64::MAX);
        let list = self
            .last
            .iter()
            .flat_map(|last| last.certificates.as_array());
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let mut expiring: Vec<Expiring> = list
            .flatten()
            .filter_map(|certificate| {
                let at = certificate["not_after_seconds"].as_i64()?;
                (at <= now + near).then(|| Expiring {
                    subject: word(&certificate["subject"]),
                    listener: word(&certificate["listener"]),
                    at,
                })
            })
            .collect();
        expiring.sort_by_key(|certificate| certificate.at);
        expiring
    }
}

/// `None`: these are figures of two processes, or of no time.
fn rates(before: &Figures, now: &Figures, seconds: f64) -> Option<Rates> {
    let grown =
        |name: &str, labels: &[(&str, &str)]| now.sum(name, labels) - before.sum(name, labels);
    if seconds <= 0.0 || grown("lockgate_connections_accepted_total", &[]) < 0.0 {
        return None;
    }
    let rate = |name: &str, labels: &[(&str, &str)]| grown(name, labels).max(0.0) / seconds;
    let by = |name: &str, label: &str| {
        let earlier = before.by(name, label);
        let grown = now.by(name, label).into_iter().map(move |(key, value)| {
            let known = earlier.iter().find(|(known, _)| *known == key);
            let before = known.map_or(0.0, |(_, before)| *before);
            (key, (value - before).max(0.0))
        });
        grown.collect::<Vec<_>>()
    };
    const HANDSHAKES: &str = "lockgate_handshakes_total";
    const FAILURES: &str = "lockgate_handshake_failures_total";
    const BYTES: &str = "lockgate_relay_bytes_total";
    let (up, down) = (
        rate(BYTES, &[("direction", "up")]),
        rate(BYTES, &[("direction", "down")]),
    );
    let spliced = rate("lockgate_spliced_bytes_total", &[]);
    let mut failures = by(FAILURES, "reason");
    failures.retain(|(_, count)| *count > 0.0);
    failures.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    Some(Rates {
        accepted: rate("lockgate_connections_accepted_total", &[]),
        handshakes: rate(HANDSHAKES, &[("result", "ok")]),
        resumed: rate(HANDSHAKES, &[("resumed", "true")]),
        mutual: rate(HANDSHAKES, &[("client_certificate", "true")]),
        failed: rate(FAILURES, &[]),
        refused: rate("lockgate_connections_refused_total", &[]),
        up,
        down,
        spliced: (up + down > 0.0).then(|| spliced / (up + down)),
        handshake: KINDS.map(|kind| {
            let name = "lockgate_handshake_duration_seconds";
            latency(before, now, name, &[("kind", kind)])
        }),
        connect: latency(
            before,
            now,
            "lockgate_backend_connect_duration_seconds",
            &[],
        ),
        paths: by("lockgate_connections_by_path_total", "reason")
            .into_iter()
            .map(|(reason, count)| (reason, count / seconds))
            .collect(),
        failures,
    })
}

/// Of what was recorded in between. `None`: nothing was.
fn latency(
    before: &Figures,
    now: &Figures,
    name: &str,
    labels: &[(&str, &str)],
) -> Option<Latency> {
    let earlier = before.buckets(name, labels);
    let between: Vec<(f64, f64)> = now
        .buckets(name, labels)
        .into_iter()
        .map(|(bound, count)| {
            let known = earlier
                .iter()
                .find(|(known, _)| known.total_cmp(&bound).is_eq());
            (bound, count - known.map_or(0.0, |(_, before)| *before))
        })
        .collect();
    Some(Latency {
        p50: quantile(&between, 0.5)?,
        p99: quantile(&between, 0.99)?,
    })
}

/// As Prometheus' histogram_quantile: evenly spread between two bounds.
fn quantile(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let (_, total) = *buckets.last()?;
    if total <= 0.0 {
        return None;
    }
    let rank = quantile * total;
    let (mut lower, mut below) = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= rank {
            // Above the highest bound nothing more is known.
            let is_open = bound.is_infinite() || count <= below;
            let share = (rank - below) / (count - below);
            return Some(if is_open {
                lower
            } else {
                lower + (bound - lower) * share
            });
        }
        (lower, below) = (bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    /// Figures at one time: of each list, one for each series.
    fn figures(
        accepted: u32,
        handshakes: [u32; 3],
        failures: [u32; 2],
        bytes: [u32; 3],
    ) -> Figures {
        let sample = |labels: Value, value: u32| json!({ "labels": labels, "value": value });
        let [mutual, resumed, failed] = handshakes;
        let [up, down, spliced] = bytes;
        let handshake = |result, resumed, mutual, count| {
            let labels =
                json!({ "result": result, "resumed": resumed, "client_certificate": mutual });
            sample(labels, count)
        };
        let failure = |reason, count| sample(json!({ "reason": reason }), count);
        let bytes = |direction, count| sample(json!({ "direction": direction }), count);
        let durations = json!({
            "labels": { "kind": "mutual" },
            "count": mutual,
            "buckets": [{ "le": 0.001, "count": 50 }, { "le": 0.002, "count": mutual.min(60) }],
        });
        let all = json!({
            "lockgate_connections_accepted_total": { "samples": [sample(json!({}), accepted)] },
            "lockgate_handshakes_total": { "samples": [
                handshake("ok", "false", "true", mutual),
                handshake("ok", "true", "false", resumed),
                handshake("failed", "none", "none", failed),
            ] },
            "lockgate_handshake_failures_total": { "samples": [
                failure("timeout", failures[0]),
                failure("unknown_ca", failures[1]),
            ] },
            "lockgate_relay_bytes_total": { "samples": [bytes("up", up), bytes("down", down)] },
            "lockgate_spliced_bytes_total": { "samples": [bytes("up", spliced)] },
            "lockgate_connections_by_path_total": { "samples": [
                sample(json!({ "path": "kernel", "reason": "none" }), mutual + resumed),
            ] },
            "lockgate_handshake_duration_seconds": { "samples": [durations] },
        });
        Figures::parse(&all.to_string()).unwrap()
    }

    fn before() -> Figures {
        figures(100, [50, 50, 1], [1, 0], [1000, 0, 1000])
    }

    #[test]
    fn rates_are_what_has_grown_in_the_time_between() {
        let before = before();
        let after = figures(120, [64, 60, 7], [1, 6], [3000, 2000, 2000]);
        let rates = super::rates(&before, &after, 2.0).unwrap();
        let latency = rates.handshake[1].unwrap();
        assert!((latency.p50 - 0.0017).abs() < 1e-9, "{latency:?}");
        assert_eq!(latency.p99, 0.002, "above the highest bound");
        let expected = Rates {
            accepted: 10.0,
            handshakes: 12.0,
            resumed: 5.0,
            mutual: 7.0,
            failed: 3.0,
            refused: 0.0,
            up: 1000.0,
            down: 1000.0,
            spliced: Some(0.25),
            handshake: [None, Some(latency), None],
            connect: None,
            paths: vec![("none".into(), 12.0)],
            failures: vec![("unknown_ca".into(), 6.0)],
        };
        assert_eq!(rates, expected);
        assert_eq!(super::rates(&after, &before, 2.0), None, "another process");
        assert_eq!(super::rates(&before, &after, 0.0), None);
    }

    #[test]
    fn who_does_not_answer_is_lost_since_the_first_time() {
        let mut view = View::new("unix:a".into(), Duration::from_secs(1));
        let observation = || Observation {
            at: Instant::now(),
            figures: before(),
            ready: json!({}),
            backends: json!([]),
            certificates: json!([
                { "subject": "CN=b", "listener": "edge", "not_after_seconds": 2000 },
                { "subject": "CN=far", "listener": "edge", "not_after_seconds": 1_000_000_000 },
                { "subject": "CN=a", "listener": null, "not_after_seconds": 1000 },
            ]),
        };
        view.observe(observation());
        let names: Vec<String> = view.expiring(1500).into_iter().map(|c| c.subject).collect();
        assert_eq!(names, ["CN=a", "CN=b"]);
        view.lose("refused".into());
        let since = view.lost.clone().unwrap().1;
        view.lost = Some(("refused".into(), since - 10));
        view.lose("refused again".into());
        assert_eq!(view.lost, Some(("refused again".into(), since - 10)));
        view.observe(observation());
        assert_eq!(view.lost, None);
        assert!(view.last.is_some());
    }
}
