//! Figures as the request of an OTLP export (OpenTelemetry protocol 1.x), under the names that they
//! have everywhere else.

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};

use super::{
    BUCKETS,
    model::{Family, Kind, Sample, Value},
};
use crate::durations::Recorded;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Since when the counters count, and when they were read; in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    now: u64,
}

/// `resource`: the attributes that say whose figures they are.
pub fn request(
    families: &[Family],
    resource: &[(&str, &str)],
    started: SystemTime,
) -> ExportMetricsServiceRequest {
    let span = Span {
        start: unix_nanoseconds(started),
        now: unix_nanoseconds(SystemTime::now()),
    };
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    // A metric without points says nothing.
    let known = families.iter().filter(|family| !family.samples.is_empty());
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes(resource.iter().copied()),
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope),
                metrics: known.map(|family| metric(family, span)).collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn metric(family: &Family, span: Span) -> Metric {
    let numbers = || family.samples.iter().map(|of| number(family, of, span));
    let data = match family.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers().collect(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        Kind::Gauge | Kind::Info => Data::Gauge(Gauge {
            data_points: numbers().collect(),
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: family
                .samples
                .iter()
                .filter_map(|sample| match &sample.value {
                    Value::Durations(durations) => {
                        Some(histogram(labels(family, sample), durations, span))
                    }
                    Value::Whole(_) | Value::Real(_) => None,
                })
                .collect(),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    // As UCUM has them.
    let unit = match family.unit() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    };
    Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(family: &Family, sample: &Sample, span: Span) -> NumberDataPoint {
    let value = match sample.value {
        Value::Whole(value) => i64::try_from(value).map_or(
            number_data_point::Value::AsInt(i64::MAX),
            number_data_point::Value::AsInt,
        ),
        Value::Real(value) => number_data_point::Value::AsDouble(value),
        Value::Durations(_) => number_data_point::Value::AsInt(0),
    };
    NumberDataPoint {
        attributes: labels(family, sample),
        start_time_unix_nano: match family.kind {
            Kind::Counter => span.start,
            Kind::Gauge | Kind::Info | Kind::Histogram => 0,
        },
        time_unix_nano: span.now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// Buckets count what is above the bound before: not cumulative here.
fn histogram(attributes: Vec<KeyValue>, durations: &Recorded, span: Span) -> HistogramDataPoint {
    let up_to = BUCKETS.map(|bound| durations.count_up_to(bound));
    let mut before = 0;
    let bucket_counts = up_to.into_iter().chain([durations.count()]).map(|count| {
        let within = count.saturating_sub(before);
        before = count;
        within
    });
    HistogramDataPoint {
        bucket_counts: bucket_counts.collect(),
        attributes,
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        count: durations.count(),
        sum: Some(durations.sum().as_secs_f64()),
        explicit_bounds: BUCKETS.map(|bound| bound.as_secs_f64()).to_vec(),
        max: durations.quantile(1.0).as_ref().map(Duration::as_secs_f64),
        ..HistogramDataPoint::default()
    }
}

fn labels(family: &Family, sample: &Sample) -> Vec<KeyValue> {
    let values = sample.labels.iter().map(String::as_str);
    attributes(family.labels.iter().copied().zip(values))
}

fn attributes<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<KeyValue> {
    pairs
        .map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(value.to_owned())),
            }),
            ..KeyValue::default()
        })
        .collect()
}

fn unix_nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_cumulative_and_buckets_are_not() {
        let mut durations = Recorded::default();
        for milliseconds in [1, 7, 7, 60_000] {
            durations.record(Duration::from_millis(milliseconds));
        }
        let families = [
            Family::counter("read_bytes_total", "Bytes.").by(&["path"], [(["kernel"], 5)]),
            Family::gauge("open", "Open.").value(2),
            Family::gauge("unknown", "Nobody knows.").values(None::<u64>),
            Family::histogram("took_seconds", "How long.").value(durations),
        ];
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let request = request(&families, &[("service.name", "lockgate")], started);
        let all = &request.resource_metrics[0];
        assert_eq!(
            all.resource.as_ref().unwrap().attributes[0].key,
            "service.name"
        );
        let metrics = &all.scope_metrics[0].metrics;
        let [read, open, took] = &metrics[..] else {
            panic!("{metrics:?}");
        };
        assert_eq!((&*read.name, &*read.unit), ("read_bytes_total", "By"));
        let Some(Data::Sum(sum)) = &read.data else {
            panic!("{read:?}");
        };
        assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
        assert_eq!(sum.data_points[0].start_time_unix_nano, 1_000_000_000);
        assert_eq!(sum.data_points[0].attributes[0].key, "path");
        assert!(matches!(open.data, Some(Data::Gauge(_))));
        let Some(Data::Histogram(histogram)) = &took.data else {
            panic!("{took:?}");
        };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), 4);
        assert_eq!(point.bucket_counts[6], 2, "{point:?}");
        assert_eq!(point.bucket_counts.last(), Some(&1));
    }
}
