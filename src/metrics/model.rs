//! Figures as values: families of samples, whatever they are written as in the end.

use crate::durations::Recorded;

/// All samples of one name.
#[derive(Clone, Debug)]
pub struct Family {
    /// As in Prometheus' text format: with its unit, and `_total` or `_info` where it is that.
    pub name: &'static str,
    pub kind: Kind,
    /// A sentence.
    pub help: &'static str,
    /// The same for every sample.
    pub labels: &'static [&'static str],
    pub samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    Gauge,
    /// Always 1; its labels say something.
    Info,
    Histogram,
}

#[derive(Clone, Debug)]
pub struct Sample {
    /// Values of [`Family::labels`], in their order.
    pub labels: Vec<String>,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Whole(u64),
    Real(f64),
    /// Of a [`Kind::Histogram`], and only there.
    Durations(Recorded),
}

impl Family {
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Family::new(name, Kind::Counter, help)
    }

    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Family::new(name, Kind::Gauge, help)
    }

    pub fn info(name: &'static str, help: &'static str) -> Self {
        Family::new(name, Kind::Info, help)
    }

    /// Of durations, in seconds.
    pub fn histogram(name: &'static str, help: &'static str) -> Self {
        Family::new(name, Kind::Histogram, help)
    }

    fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Family {
            name,
            kind,
            help,
            labels: &[],
            samples: Vec::new(),
        }
    }

    /// Its only sample.
    pub fn value(self, value: impl Into<Value>) -> Self {
        self.values([value])
    }

    /// Its only sample, or none: what cannot be found out is left out.
    pub fn values<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        let samples = values.into_iter().map(|value| Sample {
            labels: Vec::new(),
            value: value.into(),
        });
        self.samples.extend(samples);
        self
    }

    /// Samples by the values of `labels`.
    pub fn by<const N: usize, L: ToString, V: Into<Value>>(
        mut self,
        labels: &'static [&'static str; N],
        samples: impl IntoIterator<Item = ([L; N], V)>,
    ) -> Self {
        self.labels = labels;
        let samples = samples.into_iter().map(|(labels, value)| Sample {
            labels: labels.iter().map(ToString::to_string).collect(),
            value: value.into(),
        });
        self.samples.extend(samples);
        self
    }

    /// The name without the ending that its kind gives it.
    pub fn base(&self) -> &'static str {
        let ending = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(ending).unwrap_or(self.name)
    }

    /// The unit, which is the last word of the name.
    pub fn unit(&self) -> Option<&'static str> {
        let (_, last) = self.base().rsplit_once('_')?;
        ["seconds", "bytes"].contains(&last).then_some(last)
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
            Kind::Histogram => "histogram",
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(value.into())
    }
}

impl From<Recorded> for Value {
    fn from(value: Recorded) -> Self {
        Value::Durations(value)
    }
}
