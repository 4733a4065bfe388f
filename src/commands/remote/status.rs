//! `lockgate status`: what an operator wants to know first.

use std::process::ExitCode;

use anstyle::Style;
use serde_json::Value;

use super::{
    Failure, ask_json, client, fail, print,
    table::{BAD, GOOD, Table, WARNING, styled},
    texts, word,
    words::{self, expiry},
};
use crate::{cli::ReportArgs, commands::EXIT_UNAVAILABLE, limits};

pub fn status(arguments: &ReportArgs) -> ExitCode {
    let all = match gather(arguments) {
        Ok(all) => all,
        Err(failure) => return fail(failure),
    };
    match arguments.json {
        true => print(&format!("{all}\n")),
        false => print(&text(&all, words::now())),
    }
    match all["ready"].as_bool() {
        Some(true) => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_UNAVAILABLE),
    }
}

/// The answer of /ready, with `backends` and `certificates`.
fn gather(arguments: &ReportArgs) -> Result<Value, Failure> {
    let client = client(&arguments.remote)?;
    let mut all = ask_json(&client, "/ready")?;
    all["backends"] = ask_json(&client, "/backends")?;
    all["certificates"] = ask_json(&client, "/certificates")?;
    Ok(all)
}

/// `now` in seconds since 1970.
fn text(all: &Value, now: i64) -> String {
    let mut text = String::new();
    match all["draining"].as_bool() {
        Some(true) => fact(&mut text, "state", "draining", WARNING),
        _ => fact(&mut text, "state", "serving", GOOD),
    }
    let plain = Style::new();
    fact(&mut text, "version", word(&all["version"]), plain);
    fact(&mut text, "data path", word(&all["data_path"]), plain);
    let connections = all["connections"].to_string();
    fact(&mut text, "connections", &connections, plain);
    let since = format!("{}, since {}", all["generation"], word(&all["loaded"]));
    fact(&mut text, "generation", &since, plain);
    last_reload(&mut text, &all["last_reload"]);
    text.push('\n');
    text.push_str(&backends(&all["backends"]).text());
    text.push('\n');
    text.push_str(&certificates(&all["certificates"], now));
    text
}

fn fact(text: &mut String, title: &str, value: &str, style: Style) {
    text.push_str(&format!("{title:<13}{style}{value}{style:#}\n"));
}

fn last_reload(text: &mut String, last: &Value) {
    let said = format!("{}, {}", word(&last["result"]), word(&last["at"]));
    match last["result"].as_str() {
        None => fact(text, "last reload", "none so far", Style::new()),
        Some("ok") => fact(text, "last reload", &said, GOOD),
        Some(_) => fact(text, "last reload", &said, BAD),
    }
    for key in ["problems", "not_live", "warnings"] {
        for problem in texts(&last[key]) {
            fact(text, "", problem, Style::new());
        }
    }
}

fn backends(backends: &Value) -> Table {
    let titles = [
        "BACKEND",
        "SERVER",
        "ADDRESS",
        "STATE",
        ">CONNECTS",
        ">FAILURES",
    ];
    let mut table = Table::new(&titles);
    for backend in backends.as_array().into_iter().flatten() {
        for server in backend["servers"].as_array().into_iter().flatten() {
            let state = match server["up"].as_bool() {
                Some(true) => styled("up", GOOD),
                _ => styled("down", BAD),
            };
            table.row(vec![
                word(&backend["name"]).into(),
                word(&server["server"]).into(),
                word(&server["address"]).into(),
                state,
                server["connects"].to_string().into(),
                server["failures"].to_string().into(),
            ]);
        }
    }
    table
}

/// Those that expire soon, soonest first; or when the first one does.
fn certificates(certificates: &Value, now: i64) -> String {
    let expires = |certificate: &Value| certificate["not_after_seconds"].as_i64();
    let mut all: Vec<&Value> = certificates.as_array().into_iter().flatten().collect();
    all.sort_by_key(|certificate| expires(certificate));
    let near = i64::try_from(limits::EXPIRY_NEAR.as_secs()).unwrap_or(i64::MAX);
    let until = |certificate: &&Value| expires(certificate).is_some_and(|at| at <= now + near);
    let Some(first) = all.first().and_then(|first| expires(first)) else {
        return String::new();
    };
    if !all.first().is_some_and(until) {
        let count = all.len();
        return format!(
            "{count} certificates, the first expires {}\n",
            expiry(first, now)
        );
    }
    let mut table = Table::new(&["CERTIFICATE", "PURPOSE", "LISTENER", "EXPIRES"]);
    for certificate in all.iter().take_while(|certificate| until(certificate)) {
        let at = expires(certificate).unwrap_or_default();
        let style = if at < now { BAD } else { WARNING };
        table.row(vec![
            word(&certificate["subject"]).into(),
            word(&certificate["purpose"]).into(),
            word(&certificate["listener"]).into(),
            styled(&expiry(at, now), style),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn certificate(subject: &str, not_after: i64) -> Value {
        json!({ "subject": subject, "purpose": "listener", "listener": "edge",
                "not_after_seconds": not_after })
    }

    #[test]
    fn certificates_near_expiry_are_listed_soonest_first() {
        const DAY: i64 = 86_400;
        let far = json!([certificate("CN=a", 90 * DAY), certificate("CN=b", 40 * DAY)]);
        let text = certificates(&far, 0);
        assert_eq!(text, "2 certificates, the first expires in 40 days\n");
        let near = json!([
            certificate("CN=a", 90 * DAY),
            certificate("CN=b", 40 * DAY),
            certificate("CN=c", 5 * DAY),
        ]);
        let text = anstream::adapter::strip_str(&certificates(&near, 20 * DAY)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].starts_with("CN=c") && lines[1].ends_with("expired 1970-01-06T00:00:00Z"));
        assert!(lines[2].starts_with("CN=b") && lines[2].ends_with("in 20 days"));
    }

    #[test]
    fn a_rejected_reload_is_told_with_its_problems() {
        let mut text = String::new();
        let last = json!({ "result": "rejected", "at": "now", "problems": ["a", "b"] });
        last_reload(&mut text, &last);
        let text = anstream::adapter::strip_str(&text).to_string();
        let expected = "last reload  rejected, now\n             a\n             b\n";
        assert_eq!(text, expected);
    }
}
