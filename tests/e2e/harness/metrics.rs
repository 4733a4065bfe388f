//! The Prometheus text that lockgate serves, as numbers.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// One sample of every series.
#[derive(Clone, Default)]
pub struct Metrics(Vec<Series>);

#[derive(Clone)]
struct Series {
    name: String,
    /// With a comma before and after each `key="value"`.
    labels: String,
    value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let series = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics(series.map(Series::parse).collect())
    }

    /// The sum of a metric over all labels; 0 when it is not there.
    pub fn sum(&self, name: &str) -> u64 {
        self.of(name, &[])
    }

    /// The sum over the series that have all these labels, each `key=value`.
    pub fn of(&self, name: &str, labels: &[&str]) -> u64 {
        let wanted: Vec<String> = labels
            .iter()
            .map(|label| {
                let (key, value) = label.split_once('=').unwrap();
                format!(",{key}=\"{value}\",")
            })
            .collect();
        let chosen = self.0.iter().filter(|series| {
            series.name == name && wanted.iter().all(|label| series.labels.contains(label))
        });
        chosen.map(|series| series.value).sum::<f64>() as u64
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|series| series.name == name)
    }

    /// What is not zero of the metrics whose name has this in it, for messages.
    pub fn show(&self, part: &str) -> String {
        let chosen = self.0.iter().filter(|series| series.name.contains(part));
        chosen
            .filter(|series| series.value != 0.0)
            .map(|series| format!("{}{{{}}} {}\n", series.name, series.labels, series.value))
            .collect()
    }
}

impl Series {
    fn parse(line: &str) -> Self {
        let (series, value) = line
            .rsplit_once(' ')
            .unwrap_or_else(|| panic!("no series: {line}"));
        let value = value
            .parse()
            .unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels
            .strip_suffix('}')
            .unwrap_or_else(|| panic!("no labels: {line}"));
        Series {
            name: name.to_owned(),
            labels: format!(",{labels},"),
            value,
        }
    }
}

/// GET over the admin socket: the status and the body.
pub fn get(admin: &Path, path: &str) -> io::Result<(u16, String)> {
    ask(admin, "GET", path)
}

/// Any request over the admin socket.
pub fn ask(admin: &Path, method: &str, path: &str) -> io::Result<(u16, String)> {
    let mut socket = UnixStream::connect(admin)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: lockgate\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    assert!(
        !head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked"),
        "the harness reads no chunks"
    );
    Ok((status, body.to_owned()))
}
