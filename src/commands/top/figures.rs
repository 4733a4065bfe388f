//! The metrics, as numbers: the JSON form that `GET /metrics?format=json` has.

use serde_json::Value;

/// One sample of every series.
#[derive(Clone, Debug, Default)]
pub struct Figures(Value);

impl Figures {
    /// `None`: it is no JSON.
    pub fn parse(text: &str) -> Option<Self> {
        let families: Value = serde_json::from_str(text).ok()?;
        families.is_object().then_some(Figures(families))
    }

    /// The sum over the series that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.samples(name, labels);
        samples.filter_map(|sample| sample["value"].as_f64()).sum()
    }

    /// The sums by the value of one label, in the order of the answer.
    pub fn by(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let mut sums: Vec<(String, f64)> = Vec::new();
        for sample in self.samples(name, &[]) {
            let key = sample["labels"][label].as_str().unwrap_or_default();
            let value = sample["value"].as_f64().unwrap_or_default();
            match sums.iter_mut().find(|(known, _)| known == key) {
                Some((_, sum)) => *sum += value,
                None => sums.push((key.to_owned(), value)),
            }
        }
        sums
    }

    /// How many values of a histogram are at most as large as each bound, by bound; the last bound
    /// is infinite.
    pub fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        let mut add = |bound: f64, count: f64| {
            let same = |(known, _): &&mut (f64, f64)| known.total_cmp(&bound).is_eq();
            match buckets.iter_mut().find(same) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        };
        for sample in self.samples(name, labels) {
            for bucket in sample["buckets"].as_array().into_iter().flatten() {
                if let (Some(bound), Some(count)) =
                    (bucket["le"].as_f64(), bucket["count"].as_f64())
                {
                    add(bound, count);
                }
            }
            add(f64::INFINITY, sample["count"].as_f64().unwrap_or_default());
        }
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        buckets
    }

    /// Those with these labels.
    fn samples(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Value> {
        let all = self.0[name]["samples"].as_array().into_iter().flatten();
        all.filter(move |sample| {
            let mut labels = labels.iter();
            labels.all(|(label, value)| sample["labels"][label] == *value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_their_labels() {
        let text = r#"{
            "a_total": { "type": "counter", "samples": [
                { "labels": { "x": "1", "y": "a" }, "value": 3 },
                { "labels": { "x": "1", "y": "b" }, "value": 1 },
                { "labels": { "x": "2", "y": "b" }, "value": 4 } ] },
            "h_seconds": { "type": "histogram", "samples": [
                { "labels": { "x": "1" }, "count": 2, "buckets": [{ "le": 0.1, "count": 1 }] },
                { "labels": { "x": "2" }, "count": 3, "buckets": [{ "le": 0.1, "count": 3 }] } ] }
        }"#;
        let figures = Figures::parse(text).unwrap();
        assert_eq!(figures.sum("a_total", &[]), 8.0);
        assert_eq!(figures.sum("a_total", &[("x", "1"), ("y", "b")]), 1.0);
        assert_eq!(figures.sum("none", &[]), 0.0);
        let by = figures.by("a_total", "x");
        assert_eq!(by, [("1".to_owned(), 4.0), ("2".to_owned(), 4.0)]);
        let all = [(0.1, 4.0), (f64::INFINITY, 5.0)];
        assert_eq!(figures.buckets("h_seconds", &[]), all);
        let one = [(0.1, 1.0), (f64::INFINITY, 2.0)];
        assert_eq!(figures.buckets("h_seconds", &[("x", "1")]), one);
        assert!(Figures::parse("# HELP a A.\n").is_none());
    }
}
