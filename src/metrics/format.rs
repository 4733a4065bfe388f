//! What figures are written as, and how that is asked for.

use super::{json, model::Family, text, text::Dialect};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    Json,
}

impl Format {
    /// By `format=text|openmetrics|json` in the query; without it by the header Accept (RFC 9110,
    /// section 12.5.1). Whoever accepts none of them gets text, as Prometheus' own libraries do it.
    pub fn asked(query: &str, accept: Option<&str>) -> Result<Self, String> {
        let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
        match pairs.next() {
            None => Ok(accept.map_or(Format::Text, accepted)),
            Some("format=text") => Ok(Format::Text),
            Some("format=openmetrics") => Ok(Format::OpenMetrics),
            Some("format=json") => Ok(Format::Json),
            Some(other) => Err(format!(
                "{other}: use format=text, format=openmetrics or format=json"
            )),
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Json => "application/json",
        }
    }

    pub fn encode(self, families: &[Family]) -> String {
        match self {
            Format::Text => text::encode(families, Dialect::Prometheus),
            Format::OpenMetrics => text::encode(families, Dialect::OpenMetrics),
            Format::Json => json::encode(families),
        }
    }
}

/// The one of the highest weight, the first of these.
fn accepted(accept: &str) -> Format {
    let mut best = (0.0, Format::Text);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut weight, mut version) = (1.0, None);
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("q", value)) => weight = value.parse().unwrap_or(0.0),
                Some(("version", value)) => version = Some(value.trim_matches('"')),
                _ => {}
            }
        }
        let format = match (kind, version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
            ("application/json", _) => Format::Json,
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Text,
            _ => continue,
        };
        if weight > best.0 {
            best = (weight, format);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_client_likes_best() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let cases = [
            (prometheus_2, Format::OpenMetrics),
            (
                "application/openmetrics-text; version=0.0.1,text/plain;q=0.1",
                Format::Text,
            ),
            (
                "application/openmetrics-text; version=\"1.0.0\"",
                Format::OpenMetrics,
            ),
            ("*/*", Format::Text),
            ("application/json", Format::Json),
            ("application/json;q=0.2, text/plain", Format::Text),
            ("application/vnd.google.protobuf", Format::Text),
            ("application/json;q=0", Format::Text),
            ("", Format::Text),
        ];
        for (accept, format) in cases {
            assert_eq!(Format::asked("", Some(accept)), Ok(format), "{accept}");
        }
        assert_eq!(Format::asked("", None), Ok(Format::Text));
        assert_eq!(Format::asked("format=json", Some("*/*")), Ok(Format::Json));
        assert_eq!(
            Format::asked("format=text", Some(prometheus_2)),
            Ok(Format::Text)
        );
        assert!(Format::asked("format=xml", None).is_err());
    }
}
