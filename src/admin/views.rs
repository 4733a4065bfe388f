//! What the program does, as JSON. Inline PEM, which may be a key, never appears.

pub mod certificates;
pub mod connections;

use serde_json::{Value, json};

use crate::{
    config::{
        Audit, CertificateSource, ClientAuth, Config, Listener, LogFormat, OnTruncation, Pem,
        UnknownSni, Waiter,
    },
    metrics::Sources,
    snapshot::Snapshot,
    status::{Attempt, unix_seconds},
    tls::iso8601,
};

/// Whether connections are accepted, and what is in use.
pub fn ready(sources: &Sources) -> (bool, Value) {
    let draining = sources.shared.is_draining();
    let state = sources.status.state();
    let body = json!({
        "ready": !draining,
        "draining": draining,
        "version": env!("CARGO_PKG_VERSION"),
        "data_path": data_path(sources),
        "generation": state.generation,
        "loaded": time(unix_seconds(state.loaded)),
        "connections": sources.shared.admission.open(),
        "last_reload": state.last.as_ref().map(attempt),
    });
    (!draining, body)
}

/// Who encrypts connections that come by TCP, and why it is not the kernel.
fn data_path(sources: &Sources) -> String {
    let offload = sources.shared.snapshot.load().config.runtime.offload;
    let path = sources.shared.kernel.data_path(offload);
    path.trim_start_matches("data path: ").to_owned()
}

fn attempt(attempt: &Attempt) -> Value {
    let at = time(unix_seconds(attempt.at));
    match &attempt.result {
        Ok(applied) => json!({
            "at": at,
            "result": "ok",
            "changes": applied.changes,
            "not_live": applied.not_live,
            "warnings": applied.warnings,
        }),
        Err(rejected) => json!({
            "at": at,
            "result": "rejected",
            "problems": rejected.problems,
        }),
    }
}

/// Every value that is in use, defaults included.
pub fn config(config: &Config) -> Value {
    let limits = &config.limits;
    json!({
        "runtime": {
            "offload": config.runtime.offload.name(),
            "handshake_threads": config.runtime.handshake_threads,
            "relay_threads": config.runtime.relay_threads,
            "waiter": match config.runtime.waiter {
                Waiter::Auto => "auto",
                Waiter::Epoll => "epoll",
            },
        },
        "limits": {
            "connections": limits.connections,
            "handshake_timeout_seconds": limits.handshake_timeout.as_secs_f64(),
            "connect_timeout_seconds": limits.connect_timeout.as_secs_f64(),
            "idle_timeout_seconds": limits.idle_timeout.as_secs_f64(),
            "half_closed_timeout_seconds": limits.half_closed_timeout.as_secs_f64(),
            "lifetime_seconds": limits.lifetime.map(|lifetime| lifetime.as_secs_f64()),
            "drain_timeout_seconds": limits.drain_timeout.as_secs_f64(),
            "records_per_key": limits.records_per_key,
        },
        "log": {
            "level": config.log.level,
            "format": match config.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
            "file": config.log.file,
            "lines_per_second": config.log.lines_per_second,
        },
        "audit": config.audit.as_ref().map(|audit| match audit {
            Audit::Stdout => json!({ "file": "stdout" }),
            Audit::File(path) => json!({ "file": path }),
        }),
        "admin": config.admin.as_ref().map(|admin| json!({
            "listen": admin.listen.to_string(),
            "token_file": admin.token_file,
            "tls": admin.tls.as_ref().map(certificate_source),
        })),
        "telemetry": config.telemetry.as_ref().map(|telemetry| json!({
            "otlp_endpoint": telemetry.otlp_endpoint.to_string(),
            "interval_seconds": telemetry.interval.as_secs_f64(),
        })),
        "listener": config.listeners.iter().map(listener).collect::<Vec<_>>(),
        "backend": config.backends.iter().map(|backend| json!({
            "name": backend.name,
            "servers": texts(&backend.servers),
        })).collect::<Vec<_>>(),
    })
}

fn listener(listener: &Listener) -> Value {
    let (mode, ca) = match &listener.client_auth {
        ClientAuth::None => ("none", None),
        ClientAuth::Request { ca } => ("request", Some(ca)),
        ClientAuth::Required { ca } => ("required", Some(ca)),
    };
    json!({
        "name": listener.name,
        "listen": texts(&listener.listen),
        "backend": listener.backend,
        "min_tls": listener.min_tls.to_string(),
        "alpn": listener.alpn,
        "unknown_sni": match listener.unknown_sni {
            UnknownSni::Default => "default",
            UnknownSni::Reject => "reject",
        },
        "on_truncation": match listener.on_truncation {
            OnTruncation::Reset => "reset",
            OnTruncation::Close => "close",
        },
        "certificates_dir": listener.certificates_dir,
        "client_auth": { "mode": mode, "ca": ca.map(source) },
        "certificates": listener.certificates.iter().map(certificate_source).collect::<Vec<_>>(),
    })
}

fn certificate_source(from: &CertificateSource) -> Value {
    json!({ "certificate": source(&from.certificate), "key": source(&from.key) })
}

fn source(pem: &Pem) -> Value {
    match pem {
        Pem::File(path) => json!({ "file": &**path }),
        Pem::Inline(_) => json!("inline, not shown"),
    }
}

pub fn backends(snapshot: &Snapshot) -> Value {
    let configured = snapshot.config.backends.iter();
    let all = configured.filter_map(|backend| {
        let mut listeners = snapshot.listeners.values();
        let used = listeners.find(|listener| *listener.backend.name == *backend.name)?;
        let servers = used.backend.targets().iter().map(|target| {
            json!({
                "server": target.server.to_string(),
                "address": target.address.to_string(),
                "up": target.is_up(),
                "connects": target.connects(),
                "failures": target.failures(),
            })
        });
        Some(json!({ "name": backend.name, "servers": servers.collect::<Vec<_>>() }))
    });
    Value::Array(all.collect())
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn time(seconds: u64) -> String {
    iso8601(i64::try_from(seconds).unwrap_or(i64::MAX))
}
