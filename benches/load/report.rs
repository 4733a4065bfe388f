//! The result for people and for programs.

use serde_json::json;

use crate::{Error, tally::Tally};

const QUANTILES: [(&str, f64); 8] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("p99.999", 0.99999),
    ("max", 1.0),
];

pub fn text(tally: &Tally) {
    let counts = &tally.counts;
    println!(
        "{} done, {} failed, {} bytes in {:.3} s: {:.1}/s, {:.1} MB/s",
        counts.done,
        counts.failed,
        counts.bytes,
        counts.seconds,
        per_second(counts.done, counts.seconds),
        per_second(counts.bytes, counts.seconds) / 1e6,
    );
    for (name, map) in [
        ("handshakes", &counts.kinds),
        ("versions", &counts.versions),
        ("suites", &counts.suites),
        ("groups", &counts.groups),
        ("errors", &counts.errors),
    ] {
        for (key, count) in map {
            println!("{name:>10}  {count:>10}  {key}");
        }
    }
    if counts.unclean_ends > 0 {
        println!(
            "{:>10}  {:>10}  ends without close_notify",
            "", counts.unclean_ends
        );
    }
    println!("   latency    microseconds");
    for (name, quantile) in QUANTILES {
        println!("{name:>10}  {:>14.1}", microseconds(tally, quantile));
    }
}

pub fn json(tally: &Tally) -> Result<(), Error> {
    let latency: serde_json::Map<_, _> = QUANTILES
        .iter()
        .map(|(name, quantile)| ((*name).to_owned(), json!(microseconds(tally, *quantile))))
        .collect();
    let counts = &tally.counts;
    let report = json!({
        "counts": counts,
        "per_second": per_second(counts.done, counts.seconds),
        "bytes_per_second": per_second(counts.bytes, counts.seconds),
        "latency_us": latency,
        "latency_histogram_ns": tally.to_sent().latency,
    });
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn microseconds(tally: &Tally, quantile: f64) -> f64 {
    tally.latency.value_at_quantile(quantile) as f64 / 1e3
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}
