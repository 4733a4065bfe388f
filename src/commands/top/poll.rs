//! Asks a running lockgate again and again.

use std::{
    sync::mpsc::Sender,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Message, figures::Figures};
use crate::admin::client::Client;

/// What was seen at one time.
pub struct Observation {
    pub at: Instant,
    pub figures: Figures,
    pub ready: Value,
    pub backends: Value,
    pub certificates: Value,
}

/// There may be many certificates, and they change seldom.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(30);

/// Until nobody takes the messages any more.
pub fn start(mut client: Client, interval: Duration, messages: Sender<Message>) {
    // Better to say that there is no answer than to show an old one.
    client.patience = interval.max(Duration::from_secs(1)) * 5;
    thread::spawn(move || {
        let mut certificates: Option<(Instant, Value)> = None;
        loop {
            let began = Instant::now();
            let is_old = |(at, _): &(Instant, Value)| at.elapsed() >= CERTIFICATES_EVERY;
            if certificates.as_ref().is_none_or(is_old) {
                certificates = json(&client, "/certificates")
                    .ok()
                    .map(|list| (began, list));
            }
            let list = certificates.as_ref().map(|(_, list)| list.clone());
            let observed = observe(&client, list.unwrap_or_default());
            if observed.is_err() {
                certificates = None;
            }
            let message = Message::Observed(observed.map(Box::new));
            if messages.send(message).is_err() {
                return;
            }
            thread::sleep(interval.saturating_sub(began.elapsed()));
        }
    });
}

fn observe(client: &Client, certificates: Value) -> Result<Observation, String> {
    let ready = json(client, "/ready")?;
    let backends = json(client, "/backends")?;
    let (status, text) = ask(client, "/metrics?format=json")?;
    let figures = Figures::parse(&text).filter(|_| status == 200);
    let figures = figures.ok_or_else(|| format!("GET /metrics: status {status}"))?;
    Ok(Observation {
        at: Instant::now(),
        figures,
        ready,
        backends,
        certificates,
    })
}

fn json(client: &Client, path: &str) -> Result<Value, String> {
    let (status, text) = ask(client, path)?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    match (status, value["error"].as_str()) {
        (_, Some(error)) => Err(error.to_owned()),
        (200 | 503, None) if !value.is_null() => Ok(value),
        _ => Err(format!("GET {path}: status {status}")),
    }
}

fn ask(client: &Client, path: &str) -> Result<(u16, String), String> {
    client.ask("GET", path).map_err(|error| error.to_string())
}
