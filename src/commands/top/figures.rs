//! The metrics, as numbers: the text exposition format of Prometheus, version 0.0.4.

/// One sample of every series.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Series>);

#[derive(Clone, Debug, PartialEq)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Figures {
    /// What is no sample is passed over.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Figures(lines.filter_map(series).collect())
    }

    /// The sum over the series that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|series| series.value).sum()
    }

    /// The sums by the value of one label, in the order of the text.
    pub fn by(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let mut sums: Vec<(String, f64)> = Vec::new();
        for series in self.of(name, &[]) {
            let value = series.label(label).unwrap_or_default();
            match sums.iter_mut().find(|(known, _)| known == value) {
                Some((_, sum)) => *sum += series.value,
                None => sums.push((value.to_owned(), series.value)),
            }
        }
        sums
    }

    /// How many values of a histogram are at most as large as each bound, by bound.
    pub fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for series in self.of(&name, &[]) {
            let bound = match series.label("le") {
                Some("+Inf") => f64::INFINITY,
                Some(bound) => bound.parse().unwrap_or(f64::INFINITY),
                None => continue,
            };
            match buckets
                .iter_mut()
                .find(|(known, _)| known.total_cmp(&bound).is_eq())
            {
                Some((_, count)) => *count += series.value,
                None => buckets.push((bound, series.value)),
            }
        }
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        buckets
    }

    fn of<'f>(&'f self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &'f Series> {
        self.0.iter().filter(move |series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(label, value)| series.label(label) == Some(value))
        })
    }
}

impl Series {
    fn label(&self, wanted: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        let (_, value) = labels.find(|(label, _)| label == wanted)?;
        Some(value)
    }
}

fn series(line: &str) -> Option<Series> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while let Some((label, quoted)) = rest.split_once("=\"") {
            let label = label.trim_start_matches(',');
            if label.contains('}') {
                break;
            }
            let (value, after) = unquote(quoted)?;
            labels.push((label.to_owned(), value));
            rest = after;
        }
        rest = rest.trim_start_matches(',').strip_prefix('}')?;
    }
    // A time may follow.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Series {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Text up to the closing quote, and what is behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP a_total Something.
# TYPE a_total counter
a_total{x=\"1\",y=\"a \\\"b\\\"} \\\\c\"} 3
a_total{x=\"2\",y=\"d\"} 4
plain 5 1700000000
h_bucket{le=\"0.1\"} 1
h_bucket{le=\"+Inf\"} 2
nonsense
broken{x=\"1 6
";

    #[test]
    fn samples_are_read_with_their_labels() {
        let figures = Figures::parse(TEXT);
        assert_eq!(figures.0.len(), 5);
        assert_eq!(figures.sum("a_total", &[]), 7.0);
        assert_eq!(figures.sum("a_total", &[("y", "a \"b\"} \\c")]), 3.0);
        assert_eq!(figures.sum("a_total", &[("x", "3")]), 0.0);
        assert_eq!(figures.sum("plain", &[]), 5.0);
        let by = figures.by("a_total", "x");
        assert_eq!(by, [("1".to_owned(), 3.0), ("2".to_owned(), 4.0)]);
        assert_eq!(figures.buckets("h"), [(0.1, 1.0), (f64::INFINITY, 2.0)]);
    }
}
