//! What the program does, as JSON. Inline PEM, which may be a key, never appears.

use serde_json::{Value, json};

use crate::{
    config::{ClientAuth, Config, Listener, LogFormat, OnTruncation, Pem, UnknownSni, Waiter},
    connection::Info,
    limits,
    metrics::Sources,
    snapshot::Snapshot,
    status::{Attempt, unix_seconds},
    tls::{fingerprint_text, iso8601},
};

/// Whether connections are accepted, and what is in use.
pub fn ready(sources: &Sources) -> (bool, Value) {
    let draining = sources.shared.is_draining();
    let state = sources.status.state();
    let body = json!({
        "ready": !draining,
        "draining": draining,
        "version": env!("CARGO_PKG_VERSION"),
        "generation": state.generation,
        "loaded": time(unix_seconds(state.loaded)),
        "connections": sources.shared.admission.open(),
        "last_reload": state.last.as_ref().map(attempt),
    });
    (!draining, body)
}

fn attempt(attempt: &Attempt) -> Value {
    let at = time(unix_seconds(attempt.at));
    match &attempt.result {
        Ok(applied) => json!({
            "at": at,
            "result": "ok",
            "changes": applied.changes,
            "not_live": applied.not_live,
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
        },
        "admin": config.admin.as_ref().map(|admin| json!({
            "listen": admin.listen.to_string(),
            "token_file": admin.token_file,
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
        "client_auth": { "mode": mode, "ca": ca.map(source) },
        "certificates": listener.certificates.iter().map(|certificate| json!({
            "certificate": source(&certificate.certificate),
            "key": source(&certificate.key),
        })).collect::<Vec<_>>(),
    })
}

fn source(pem: &Pem) -> Value {
    match pem {
        Pem::File(path) => json!({ "file": path }),
        Pem::Inline(_) => json!("inline, not shown"),
    }
}

pub fn certificates(snapshot: &Snapshot) -> Value {
    let listeners = snapshot.config.listeners.iter();
    let all = listeners.flat_map(|listener| {
        let loaded = snapshot.listeners.get(listener.name.as_str());
        let infos = loaded.map_or(&[][..], |loaded| loaded.certificates.as_slice());
        infos
            .iter()
            .zip(&listener.certificates)
            .map(|(info, from)| {
                json!({
                    "listener": listener.name,
                    "subject": info.subject,
                    "issuer": info.issuer,
                    "serial": info.serial,
                    "dns_names": info.dns_names,
                    "uris": info.uris,
                    "ips": info.ips,
                    "not_before": iso8601(info.not_before),
                    "not_after": iso8601(info.not_after),
                    "fingerprint_sha256": fingerprint_text(&info.fingerprint_sha256),
                    "key_kind": info.key_kind,
                    "certificate": source(&from.certificate),
                    "key": source(&from.key),
                })
            })
    });
    Value::Array(all.collect())
}

pub fn backends(snapshot: &Snapshot) -> Value {
    let configured = snapshot.config.backends.iter();
    let all = configured.filter_map(|backend| {
        let mut listeners = snapshot.listeners.values();
        let used = listeners.find(|listener| *listener.backend.name == *backend.name)?;
        let servers = used.backend.targets().iter().map(|target| {
            let count = |counter: &std::sync::atomic::AtomicU64| {
                counter.load(std::sync::atomic::Ordering::Relaxed)
            };
            json!({
                "server": target.server.to_string(),
                "address": target.address.to_string(),
                "connects": count(&target.connects),
                "failures": count(&target.failures),
            })
        });
        Some(json!({ "name": backend.name, "servers": servers.collect::<Vec<_>>() }))
    });
    Value::Array(all.collect())
}

/// Which connections are asked for.
pub struct Filter {
    listener: Option<String>,
    identity: Option<String>,
    limit: usize,
}

impl Filter {
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Filter {
            listener: None,
            identity: None,
            limit: limits::CONNECTIONS_LISTED_MAX,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "listener" => filter.listener = Some(unescape(value)),
                "identity" => filter.identity = Some(unescape(value)),
                "limit" => {
                    let limit: usize = value
                        .parse()
                        .map_err(|_| format!("limit={value}: not a number"))?;
                    filter.limit = limit.min(limits::CONNECTIONS_LISTED_MAX);
                }
                _ => return Err(format!("{key}: use listener, identity and limit")),
            }
        }
        Ok(filter)
    }

    fn takes(&self, info: &Info) -> bool {
        let listener = self.listener.as_deref();
        let identity = self.identity.as_deref();
        listener.is_none_or(|wanted| wanted == &*info.listener)
            && identity.is_none_or(|wanted| info.identity() == Some(wanted))
    }
}

/// `%2F` becomes `/` (RFC 3986, section 2.1); what is no such triple stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let pair = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let value = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match value {
            Some(value) if first == b'%' => {
                bytes.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Live connections, oldest first.
pub fn connections(sources: &Sources, filter: &Filter) -> Value {
    let relays = sources.shared.relays.iter();
    let mut live: Vec<_> = relays
        .flat_map(|relay| relay.live())
        .filter(|info| filter.takes(info))
        .collect();
    live.sort_unstable_by_key(|info| info.id);
    let listed = live.iter().take(filter.limit).map(|info| {
        json!({
            "id": info.id,
            "peer": info.peer.map(|peer| peer.to_string()),
            "listener": &*info.listener,
            "identity": info.identity(),
            "sni": info.session.sni,
            "alpn": info.session.alpn,
            "version": info.session.version.to_string(),
            "suite": info.session.suite,
            "group": info.session.group,
            "resumed": info.session.resumed,
            "backend": &*info.backend,
            "server": info.server.to_string(),
            "path": info.path.name(),
            "fallback": info.path.fallback(),
            "age_seconds": info.accepted.elapsed().as_secs_f64(),
        })
    });
    json!({ "total": live.len(), "connections": listed.collect::<Vec<_>>() })
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn time(seconds: u64) -> String {
    iso8601(i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_and_its_limit_bounded() {
        let filter = Filter::parse("identity=spiffe%3A%2F%2Fa&listener=edge&limit=99999999");
        let filter = filter.ok().unwrap();
        assert_eq!(filter.identity.as_deref(), Some("spiffe://a"));
        assert_eq!(filter.listener.as_deref(), Some("edge"));
        assert_eq!(filter.limit, limits::CONNECTIONS_LISTED_MAX);
        assert!(Filter::parse("limit=x").is_err());
        assert!(Filter::parse("peer=x").is_err());
        assert_eq!(unescape("%zz%4"), "%zz%4");
    }
}
