//! Figures as one JSON object, by the name of the family, with quantiles instead of guesses from
//! buckets.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::{
    BUCKETS,
    model::{Family, Sample, Value},
};
use crate::durations::Recorded;

/// Names of quantiles, and the part of all that is not above.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

pub fn encode(families: &[Family]) -> String {
    let all: Map<String, Json> = families
        .iter()
        .map(|family| (family.name.to_owned(), object(family)))
        .collect();
    format!("{}\n", Json::Object(all))
}

fn object(family: &Family) -> Json {
    let samples = family.samples.iter().map(|found| sample(family, found));
    json!({
        "type": family.kind.name(),
        "unit": family.unit(),
        "help": family.help,
        "labels": family.labels,
        "samples": samples.collect::<Vec<_>>(),
    })
}

fn sample(family: &Family, sample: &Sample) -> Json {
    let values = sample.labels.iter().map(|value| json!(value));
    let names = family.labels.iter().map(|&name| name.to_owned());
    let labels: Map<String, Json> = names.zip(values).collect();
    match &sample.value {
        Value::Whole(value) => json!({ "labels": labels, "value": value }),
        Value::Real(value) => json!({ "labels": labels, "value": value }),
        Value::Durations(durations) => json!({
            "labels": labels,
            "count": durations.count(),
            "sum": durations.sum().as_secs_f64(),
            "quantiles": quantiles(durations),
            "buckets": buckets(durations),
        }),
    }
}

/// `null` before the first.
fn quantiles(durations: &Recorded) -> Json {
    let seconds = |part| durations.quantile(part).as_ref().map(Duration::as_secs_f64);
    let all = QUANTILES.map(|(name, part)| (name.to_owned(), json!(seconds(part))));
    Json::Object(all.into_iter().collect())
}

/// Cumulative, as in the other formats; all of them are `count`.
fn buckets(durations: &Recorded) -> Json {
    let all = BUCKETS
        .map(|bound| json!({ "le": bound.as_secs_f64(), "count": durations.count_up_to(bound) }));
    json!(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_with_their_quantiles() {
        let mut durations = Recorded::default();
        let families = |durations: &Recorded| {
            let families = [
                Family::histogram("h_seconds", "H.").by(&["kind"], [(["full"], durations.clone())]),
                Family::counter("c_total", "C.").value(3),
            ];
            serde_json::from_str::<Json>(&encode(&families)).unwrap()
        };
        let empty = families(&durations);
        assert!(empty["h_seconds"]["samples"][0]["quantiles"]["p50"].is_null());
        for _ in 0..999 {
            durations.record(Duration::from_millis(10));
        }
        durations.record(Duration::from_secs(1));
        let json = families(&durations);
        assert_eq!(json["c_total"]["samples"][0]["value"], 3);
        assert_eq!(json["c_total"]["unit"], Json::Null);
        let sample = &json["h_seconds"]["samples"][0];
        assert_eq!(sample["labels"]["kind"], "full");
        assert_eq!(sample["count"], 1000);
        let quantile = |name: &str| sample["quantiles"][name].as_f64().unwrap();
        assert!((0.0100..0.0102).contains(&quantile("p50")));
        assert!((0.0100..0.0102).contains(&quantile("p99.9")));
        assert!((1.0..1.02).contains(&quantile("max")));
        assert_eq!(sample["buckets"][14]["count"], 1000);
    }
}
