//! `lockgate connections`: who is connected now; and ending one of them.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Failure, ask, ask_json, client, fail, print, report, table::Table, word, words};
use crate::{cli::ConnectionsArgs, limits};

pub fn connections(arguments: &ConnectionsArgs) -> ExitCode {
    let json = arguments.report.json;
    if let Some(id) = arguments.end {
        let client = client(&arguments.report.remote);
        let answer =
            client.and_then(|client| ask(&client, "DELETE", &format!("/connections/{id}")));
        return report(json, answer, |_| format!("ending {id}\n"));
    }
    match gather(arguments) {
        Ok(answer) if json => print(&format!("{answer}\n")),
        Ok(answer) => print(&text(&answer)),
        Err(failure) => return fail(failure),
    }
    ExitCode::SUCCESS
}

/// As many answers as it takes, put together.
fn gather(arguments: &ConnectionsArgs) -> Result<Value, Failure> {
    let client = client(&arguments.report.remote)?;
    let mut all = Vec::new();
    let (mut total, mut after) = (None, arguments.after);
    loop {
        let left = arguments.limit.saturating_sub(all.len());
        let limit = left.min(limits::CONNECTIONS_LISTED_MAX);
        let mut answer = ask_json(&client, &query(arguments, limit, after))?;
        total = total.or(answer["total"].as_u64());
        if let Some(list) = answer["connections"].as_array_mut() {
            all.append(list);
        }
        after = answer["next"].as_u64();
        if after.is_none() || all.len() >= arguments.limit {
            return Ok(json!({ "connections": all, "total": total, "next": after }));
        }
    }
}

fn query(arguments: &ConnectionsArgs, limit: usize, after: Option<u64>) -> String {
    let mut query = format!("/connections?limit={limit}");
    let after = after.map(|after| after.to_string());
    for (key, value) in [
        ("listener", &arguments.listener),
        ("identity", &arguments.identity),
        ("peer", &arguments.peer),
        ("sni", &arguments.sni),
        ("backend", &arguments.backend),
        ("path", &arguments.path),
        ("after", &after),
    ] {
        if let Some(value) = value {
            query.push_str(&format!("&{key}={}", escape(value)));
        }
    }
    query
}

fn text(answer: &Value) -> String {
    let titles = [
        ">ID", "PEER", "LISTENER", "IDENTITY", "SNI", "ALPN", "TLS", "SUITE", "PATH", "BACKEND",
        ">UP", ">DOWN", ">AGE",
    ];
    let mut table = Table::new(&titles);
    let list = answer["connections"].as_array();
    for connection in list.into_iter().flatten() {
        let (up, down) = (word(&connection["path_up"]), word(&connection["path_down"]));
        let path = match up == down {
            true => up.to_owned(),
            false => format!("{up}, {down}"),
        };
        let bytes = |key: &str| words::bytes(connection[key].as_f64().unwrap_or_default());
        let age = connection["age_seconds"].as_f64().unwrap_or_default();
        table.row(vec![
            connection["id"].to_string().into(),
            word(&connection["peer"]).into(),
            word(&connection["listener"]).into(),
            word(&connection["identity"]).into(),
            word(&connection["sni"]).into(),
            word(&connection["alpn"]).into(),
            word(&connection["version"]).into(),
            word(&connection["suite"]).into(),
            path.into(),
            word(&connection["server"]).into(),
            bytes("bytes_up").into(),
            bytes("bytes_down").into(),
            words::time(age).into(),
        ]);
    }
    let shown = list.map_or(0, Vec::len);
    format!("{}{shown} of {}\n", table.text(), answer["total"])
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
