//! `lockgate reload`, `status`, `drain` and `connections`: speak to a lockgate that runs.

mod connections;
mod status;
mod table;
mod target;
pub(super) mod words;

use std::{io::Write, process::ExitCode};

use serde_json::Value;

use super::{EXIT_CONFIG, EXIT_UNAVAILABLE};
use crate::{
    admin::client::{Answer, Client},
    cli::ReportArgs,
};
pub use connections::connections;
pub use status::status;
pub(super) use target::client;

/// Why there is no answer: an exit code, and what is said.
pub(super) type Failure = (u8, String);

pub fn reload(arguments: &ReportArgs) -> ExitCode {
    let answer = client(&arguments.remote).and_then(|client| ask(&client, "POST", "/reload"));
    report(arguments.json, answer, |answer| {
        let mut lines = Vec::new();
        match answer["result"].as_str() {
            Some("ok") => {
                lines.push(format!("generation {} is in use", answer["generation"]));
                if answer["changes"].as_array().is_some_and(Vec::is_empty) {
                    lines.push("nothing is different".to_owned());
                }
            }
            _ => lines.push("rejected, what was in use stays".to_owned()),
        }
        for (key, title) in [
            ("changes", "changed"),
            ("not_live", "not now"),
            ("warnings", "warning"),
            ("problems", "problem"),
        ] {
            lines.extend(texts(&answer[key]).map(|text| format!("{title}: {text}")));
        }
        lines.join("\n") + "\n"
    })
}

pub fn drain(arguments: &ReportArgs) -> ExitCode {
    let answer = client(&arguments.remote).and_then(|client| ask(&client, "POST", "/drain"));
    report(arguments.json, answer, |_| {
        "draining: no new connections\n".to_owned()
    })
}

fn ask(client: &Client, method: &str, path: &str) -> Result<Answer, Failure> {
    client.ask(method, path).map_err(|error| {
        let text = format!("no lockgate answers at {}: {error}", client.target);
        (EXIT_UNAVAILABLE, text)
    })
}

/// The body of a good answer, for commands that put several together.
fn ask_json(client: &Client, path: &str) -> Result<Value, Failure> {
    let (status, body) = ask(client, "GET", path)?;
    let value: Value = serde_json::from_str(&body).unwrap_or_default();
    // /ready has one that says no.
    match (status, value["error"].as_str()) {
        (_, Some(error)) => Err((EXIT_UNAVAILABLE, format!("refused: {error}"))),
        (200 | 503, None) => Ok(value),
        (status, None) => Err((EXIT_UNAVAILABLE, format!("GET {path}: status {status}"))),
    }
}

/// Prints an answer, for people or as it came.
fn report(
    json: bool,
    answer: Result<Answer, Failure>,
    text: impl FnOnce(&Value) -> String,
) -> ExitCode {
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(failure) => return fail(failure),
    };
    let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
    match (json, parsed["error"].as_str()) {
        (false, Some(error)) => print(&format!("refused: {error}\n")),
        (false, None) => print(&text(&parsed)),
        (true, _) => print(&body),
    }
    match status {
        200..300 => ExitCode::SUCCESS,
        422 => ExitCode::from(EXIT_CONFIG),
        _ => ExitCode::from(EXIT_UNAVAILABLE),
    }
}

fn fail((code, text): Failure) -> ExitCode {
    eprintln!("lockgate: {text}");
    ExitCode::from(code)
}

/// Colours are for terminals, unless NO_COLOR asks for none.
fn print(text: &str) {
    // Whoever closed the output has the exit code.
    anstream::stdout().write_all(text.as_bytes()).ok();
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}
