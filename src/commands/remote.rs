//! `lockgate reload`, `status`, `drain` and `connections`: speak to a lockgate that runs.

use std::{io::Write, path::Path, process::ExitCode};

use serde_json::Value;

use super::{EXIT_CONFIG, EXIT_UNAVAILABLE};
use crate::{
    admin::client::{self, Answer},
    cli::{ConnectionsArgs, EX_USAGE, RemoteArgs},
    config::value::listen_address,
};

pub fn reload(arguments: &RemoteArgs) -> ExitCode {
    report(arguments, ask(arguments, "POST", "/reload"), |answer| {
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
        lines
    })
}

pub fn status(arguments: &RemoteArgs) -> ExitCode {
    report(arguments, ask(arguments, "GET", "/ready"), |answer| {
        let state = match answer["draining"].as_bool() {
            Some(true) => "draining",
            _ => "serving",
        };
        let mut lines = vec![
            format!("state        {state}"),
            format!("version      {}", word(&answer["version"])),
            format!("connections  {}", answer["connections"]),
            format!(
                "generation   {}, since {}",
                answer["generation"],
                word(&answer["loaded"])
            ),
        ];
        let last = &answer["last_reload"];
        if !last.is_null() {
            let (result, at) = (word(&last["result"]), word(&last["at"]));
            lines.push(format!("last reload  {result}, {at}"));
            lines.extend(texts(&last["problems"]).map(|text| format!("             {text}")));
        }
        lines
    })
}

pub fn drain(arguments: &RemoteArgs) -> ExitCode {
    report(arguments, ask(arguments, "POST", "/drain"), |_| {
        vec!["draining: no new connections".to_owned()]
    })
}

pub fn connections(arguments: &ConnectionsArgs) -> ExitCode {
    let mut path = format!("/connections?limit={}", arguments.limit);
    for (key, value) in [
        ("listener", &arguments.listener),
        ("identity", &arguments.identity),
    ] {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", escape(value)));
        }
    }
    let remote = &arguments.remote;
    report(remote, ask(remote, "GET", &path), |answer| {
        let row = |connection: &Value| {
            format!(
                "{:>8}  {:<22} {:<12} {:>3}  {:<28} {:<6} {:>6.0} s  {}",
                connection["id"].to_string(),
                word(&connection["peer"]),
                word(&connection["listener"]),
                word(&connection["version"]),
                word(&connection["suite"]),
                word(&connection["path"]),
                connection["age_seconds"].as_f64().unwrap_or_default(),
                word(&connection["identity"]),
            )
        };
        let list = answer["connections"].as_array();
        let mut lines: Vec<String> = list.into_iter().flatten().map(row).collect();
        lines.push(format!("{} of {}", lines.len(), answer["total"]));
        lines
    })
}

fn ask(arguments: &RemoteArgs, method: &str, path: &str) -> Result<Answer, (u8, String)> {
    let address = listen_address(&arguments.admin, Path::new("")).map_err(|fault| {
        (
            EX_USAGE,
            format!("--admin: {}; {}", fault.message, fault.remedy),
        )
    })?;
    let token = match &arguments.token_file {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            (
                EX_USAGE,
                format!("--token-file: {}: {error}", path.display()),
            )
        })?),
    };
    client::ask(&address, method, path, token.as_deref().map(str::trim)).map_err(|error| {
        let text = format!("no lockgate answers at {address}: {error}");
        (EXIT_UNAVAILABLE, text)
    })
}

/// Prints an answer, for people or as it came.
fn report(
    arguments: &RemoteArgs,
    answer: Result<Answer, (u8, String)>,
    lines: impl FnOnce(&Value) -> Vec<String>,
) -> ExitCode {
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err((code, text)) => {
            eprintln!("lockgate: {text}");
            return ExitCode::from(code);
        }
    };
    let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
    let text = match (arguments.json, parsed["error"].as_str()) {
        (false, Some(error)) => format!("refused: {error}\n"),
        (false, None) => lines(&parsed).join("\n") + "\n",
        (true, _) => body,
    };
    // Whoever closed the output has the exit code.
    std::io::stdout().write_all(text.as_bytes()).ok();
    match status {
        200..300 => ExitCode::SUCCESS,
        422 => ExitCode::from(EXIT_CONFIG),
        _ => ExitCode::from(EXIT_UNAVAILABLE),
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// For a query (RFC 3986, section 2.1).
fn escape(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
