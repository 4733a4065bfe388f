//! Prometheus' text format 0.0.4, and OpenMetrics 1.0: the same lines for samples, other ones for
//! what is said about them.

use std::fmt::Write;

use super::{
    BUCKETS,
    model::{Family, Kind, Value},
};
use crate::durations::Recorded;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Prometheus,
    OpenMetrics,
}

pub fn encode(families: &[Family], dialect: Dialect) -> String {
    let mut text = Text(String::new());
    for family in families {
        text.describe(family, dialect);
        for sample in &family.samples {
            let labels = family.labels.iter().copied();
            let labels: Vec<_> = labels
                .zip(sample.labels.iter().map(String::as_str))
                .collect();
            match &sample.value {
                Value::Whole(value) => text.sample(family.name, "", &labels, value),
                Value::Real(value) => text.sample(family.name, "", &labels, value),
                Value::Durations(durations) => text.histogram(family.name, &labels, durations),
            }
        }
    }
    if dialect == Dialect::OpenMetrics {
        text.0.push_str("# EOF\n");
    }
    text.0
}

struct Text(String);

// Writing to a String does not fail.
impl Text {
    fn describe(&mut self, family: &Family, dialect: Dialect) {
        let (name, kind, help) = match dialect {
            // It knows no info.
            Dialect::Prometheus => {
                let kind = match family.kind {
                    Kind::Info => Kind::Gauge,
                    kind => kind,
                };
                let help = family.help.replace('\\', "\\\\");
                (family.name, kind, help.replace('\n', "\\n"))
            }
            Dialect::OpenMetrics => (family.base(), family.kind, escape(family.help)),
        };
        let _ = writeln!(self.0, "# HELP {name} {help}");
        let _ = writeln!(self.0, "# TYPE {name} {}", kind.name());
        if let (Dialect::OpenMetrics, Some(unit)) = (dialect, family.unit()) {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
    }

    fn sample(
        &mut self,
        name: &str,
        ending: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        let _ = write!(self.0, "{name}{ending}");
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"{}\"", escape(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], durations: &Recorded) {
        let buckets = BUCKETS.map(|bound| {
            // As OpenMetrics wants it: with a point.
            let le = format!("{:?}", bound.as_secs_f64());
            (le, durations.count_up_to(bound))
        });
        let last = ("+Inf".to_owned(), durations.count());
        for (le, count) in buckets.iter().chain([&last]) {
            let labels = [labels, &[("le", le.as_str())]].concat();
            self.sample(name, "_bucket", &labels, count);
        }
        self.sample(name, "_sum", labels, durations.sum().as_secs_f64());
        self.sample(name, "_count", labels, durations.count());
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let family =
            Family::counter("m_total", "Say \"m\".").by(&["a", "b"], [(["x\"y\\z\n", "c"], 7)]);
        let prometheus = encode(std::slice::from_ref(&family), Dialect::Prometheus);
        let sample = "m_total{a=\"x\\\"y\\\\z\\n\",b=\"c\"} 7\n";
        assert_eq!(
            prometheus,
            format!("# HELP m_total Say \"m\".\n# TYPE m_total counter\n{sample}")
        );
        let open = encode(&[family], Dialect::OpenMetrics);
        assert_eq!(
            open,
            format!("# HELP m Say \\\"m\\\".\n# TYPE m counter\n{sample}# EOF\n")
        );
    }

    #[test]
    fn open_metrics_names_unit_and_kind() {
        let families = [
            Family::counter("read_bytes_total", "Bytes.").value(1),
            Family::info("build_info", "Version.").by(&["version"], [(["1"], 1)]),
            Family::gauge("age_seconds", "Age.").value(1.5),
        ];
        let text = encode(&families, Dialect::OpenMetrics);
        for line in [
            "# TYPE read_bytes counter\n# UNIT read_bytes bytes\nread_bytes_total 1\n",
            "# TYPE build info\nbuild_info{version=\"1\"} 1\n",
            "# UNIT age_seconds seconds\nage_seconds 1.5\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let text = encode(&families, Dialect::Prometheus);
        assert!(text.contains("# TYPE build_info gauge\n"), "{text}");
        assert!(!text.contains("UNIT") && !text.contains("EOF"), "{text}");
    }

    #[test]
    fn a_histogram_counts_each_duration_once_in_cumulative_buckets() {
        let mut durations = Recorded::default();
        durations.record(Duration::from_micros(300));
        durations.record(Duration::from_secs(2));
        let family =
            Family::histogram("h_seconds", "How long.").by(&["kind"], [(["full"], durations)]);
        let text = encode(&[family], Dialect::Prometheus);
        for line in [
            "h_seconds_bucket{kind=\"full\",le=\"0.00025\"} 0\n",
            "h_seconds_bucket{kind=\"full\",le=\"0.0005\"} 1\n",
            "h_seconds_bucket{kind=\"full\",le=\"1.0\"} 1\n",
            "h_seconds_bucket{kind=\"full\",le=\"2.5\"} 2\n",
            "h_seconds_bucket{kind=\"full\",le=\"+Inf\"} 2\n",
            "h_seconds_sum{kind=\"full\"} 2.0003\n",
            "h_seconds_count{kind=\"full\"} 2\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
