//! Sends the figures to a collector, by OTLP over HTTP, as long as the configuration names one.
//!
//! One task of the control thread: it waits, it never keeps others waiting. Where the collector is
//! and how often it is told may change with a reload. Refused: TLS and compression, which are the
//! business of a collector on this machine.

use std::{fmt::Display, sync::Arc};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Uri,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{config::Telemetry, limits, metrics::Sources, sys::process};

/// Exports until it is dropped. Must run in a `LocalSet`.
pub async fn export(sources: Arc<Sources>) {
    let instance = process::host_name();
    let mut last: Option<Instant> = None;
    let mut failing: Option<Uri> = None;
    loop {
        let telemetry = sources.shared.snapshot.load().config.telemetry.clone();
        let due = |telemetry: &Telemetry| last.is_none_or(|at| at.elapsed() >= telemetry.interval);
        if let Some(telemetry) = telemetry.filter(due) {
            last = Some(Instant::now());
            let result = export_once(&sources, &telemetry.otlp_endpoint, &instance).await;
            sources.status.exported(result.is_ok());
            say(&mut failing, &telemetry, result);
        }
        sleep(limits::TELEMETRY_POLL).await;
    }
}

/// What has happened since the last export, before the process ends. A collector that does not answer
/// within [`limits::TELEMETRY_LAST_TIMEOUT`] never learns it.
pub async fn export_last(sources: &Sources) {
    let telemetry = sources.shared.snapshot.load().config.telemetry.clone();
    if let Some(Telemetry { otlp_endpoint, .. }) = telemetry {
        let instance = process::host_name();
        let export = export_once(sources, &otlp_endpoint, &instance);
        let error = match timeout(limits::TELEMETRY_LAST_TIMEOUT, export).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_elapsed) => format!("no answer within {:?}", limits::TELEMETRY_LAST_TIMEOUT),
        };
        tracing::warn!(endpoint = %otlp_endpoint, "telemetry: the last figures cannot be exported: {error}");
    }
}

/// A failure is said when it begins and when it ends.
fn say(failing: &mut Option<Uri>, telemetry: &Telemetry, result: Result<(), String>) {
    let endpoint = &telemetry.otlp_endpoint;
    match result {
        Ok(()) => {
            if failing.take().is_some() {
                tracing::info!(%endpoint, "telemetry: figures are exported again");
            }
        }
        Err(error) if failing.as_ref() != Some(endpoint) => {
            let every = telemetry.interval;
            tracing::warn!(%endpoint, "telemetry: figures cannot be exported: {error}; trying every {every:?}");
            *failing = Some(endpoint.clone());
        }
        Err(_) => {}
    }
}

async fn export_once(sources: &Sources, endpoint: &Uri, instance: &str) -> Result<(), String> {
    let resource = [
        ("service.name", env!("CARGO_PKG_NAME")),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", instance),
    ];
    let body = sources.otlp(&resource).encode_to_vec();
    match timeout(limits::TELEMETRY_TIMEOUT, post(endpoint, body)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(format!("no answer within {:?}", limits::TELEMETRY_TIMEOUT)),
    }
}

async fn post(endpoint: &Uri, body: Vec<u8>) -> Result<(), String> {
    let host = endpoint.host().unwrap_or_default();
    // The brackets of an IPv6 address belong to the URL.
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((address, endpoint.port_u16().unwrap_or(80)))
        .await
        .map_err(words)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(words)?;
    let request = Request::post(endpoint.path_and_query().map_or("/", |path| path.as_str()))
        .header(
            HOST,
            endpoint.authority().map_or(host, |host| host.as_str()),
        )
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(Bytes::from(body)))
        .map_err(words)?;
    let exchange = async move {
        let mut sender = sender;
        let answer = sender.send_request(request).await.map_err(words)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), limits::TELEMETRY_ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(words)?.to_bytes();
        match status.is_success() {
            true => accepted(&body),
            false => Err(format!("the collector answers {status}")),
        }
    };
    // The connection does the work, and ends when nobody has a sender any more.
    let (result, _) = tokio::join!(exchange, connection);
    result
}

/// A collector may take a part only (OTLP specification, "Partial Success").
fn accepted(body: &[u8]) -> Result<(), String> {
    let answer = ExportMetricsServiceResponse::decode(body).unwrap_or_default();
    match answer.partial_success {
        Some(part) if part.rejected_data_points > 0 => Err(format!(
            "the collector refuses {} points: {}",
            part.rejected_data_points, part.error_message
        )),
        _ => Ok(()),
    }
}

fn words(error: impl Display) -> String {
    error.to_string()
}
