//! What is different between two configurations, in words; and what takes a restart to change.

use std::{collections::HashSet, fmt::Display, sync::Arc};

use crate::{
    config::{Audit, Config, Listener},
    limits,
    snapshot::Snapshot,
    tls::{CertificateInfo, CertifiedChain, iso8601},
};

/// What `new` changes that `old` is in use for; empty: nothing.
pub fn between(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let mut changes = Vec::new();
    for listener in &old.config.listeners {
        if !new.listeners.contains_key(listener.name.as_str()) {
            changes.push(format!("listener \"{}\": removed", listener.name));
        }
    }
    for listener in &new.config.listeners {
        let mut earlier = old.config.listeners.iter();
        match earlier.find(|earlier| earlier.name == listener.name) {
            None => changes.push(format!("listener \"{}\": added", listener.name)),
            Some(earlier) => {
                let mut parts = settings(earlier, listener);
                parts.extend(files(&listener.name, old, new));
                let name = &listener.name;
                changes.extend(
                    parts
                        .iter()
                        .map(|part| format!("listener \"{name}\": {part}")),
                );
            }
        }
    }
    backends(old, new, &mut changes);
    if old.config.limits != new.config.limits {
        changes.push("limits".to_owned());
    }
    if old.config.telemetry != new.config.telemetry {
        changes.push("telemetry".to_owned());
    }
    if old.config.log.level != new.config.log.level {
        changes.push(format!("log.level: {}", new.config.log.level));
    }
    let fingerprint = |snapshot: &Snapshot| {
        let admin = snapshot.admin.as_ref();
        admin.map(|admin| admin.certificate.fingerprint_sha256)
    };
    if let Some(admin) = &new.admin
        && fingerprint(old) != fingerprint(new)
    {
        changes.push(format!("admin: {}", describe(&admin.certificate)));
    }
    if old.config.audit != new.config.audit {
        let file = match &new.config.audit {
            None => "absent".to_owned(),
            Some(Audit::Stdout) => "stdout".to_owned(),
            Some(Audit::File(path)) => path.display().to_string(),
        };
        changes.push(format!("audit.file: {file}"));
    }
    if old.config.log.lines_per_second != new.config.log.lines_per_second {
        let lines = new.config.log.lines_per_second;
        changes.push(format!("log.lines_per_second: {lines}"));
    }
    changes
}

fn describe(certificate: &CertificateInfo) -> String {
    format!(
        "certificate {} (serial {}, until {})",
        certificate.subject,
        certificate.serial,
        iso8601(certificate.not_after)
    )
}

/// Keys that are not the same.
fn settings(old: &Listener, new: &Listener) -> Vec<String> {
    let keys = [
        ("listen", old.listen != new.listen),
        ("backend", old.backend != new.backend),
        ("min_tls", old.min_tls != new.min_tls),
        ("alpn", old.alpn != new.alpn),
        (
            "certificates_dir",
            old.certificates_dir != new.certificates_dir,
        ),
        ("unknown_sni", old.unknown_sni != new.unknown_sni),
        ("on_truncation", old.on_truncation != new.on_truncation),
    ];
    let different = keys.into_iter().filter(|(_, differs)| *differs);
    different.map(|(key, _)| key.to_owned()).collect()
}

/// What its files say now.
fn files(name: &str, old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let (Some(old), Some(new)) = (old.listeners.get(name), new.listeners.get(name)) else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    let others = others(&old.certificates, &new.certificates);
    let described = others.iter().take(limits::CERTIFICATES_DESCRIBED);
    parts.extend(described.map(|chain| describe(&chain.info)));
    if let Some(more @ 1..) = others.len().checked_sub(limits::CERTIFICATES_DESCRIBED) {
        parts.push(format!("{more} more certificates"));
    }
    if parts.is_empty() && old.certificates.len() != new.certificates.len() {
        parts.push("certificates: fewer, or one more often".to_owned());
    }
    if old.trust != new.trust {
        parts.push("client_auth: whom it trusts; older tickets are refused".to_owned());
    }
    parts
}

/// Those of `new` that `old` does not have, or not in the place of another one. Most are the same
/// ones in the same place, and are not looked at.
pub(super) fn others<'n>(
    old: &[Arc<CertifiedChain>],
    new: &'n [Arc<CertifiedChain>],
) -> Vec<&'n CertifiedChain> {
    let differs = |one: &[Arc<CertifiedChain>], index, chain: &Arc<CertifiedChain>| {
        !one.get(index).is_some_and(|one| Arc::ptr_eq(one, chain))
    };
    let gone = old.iter().enumerate();
    let gone = gone.filter(|(index, chain)| differs(new, *index, chain));
    let gone: HashSet<_> = gone
        .map(|(_, chain)| chain.info.fingerprint_sha256)
        .collect();
    let come = new.iter().enumerate();
    come.filter(|(index, chain)| differs(old, *index, chain))
        .map(|(_, chain)| &**chain)
        .filter(|chain| !gone.contains(&chain.info.fingerprint_sha256))
        .collect()
}

fn backends(old: &Snapshot, new: &Snapshot, changes: &mut Vec<String>) {
    let servers = |snapshot: &Snapshot, name: &str| {
        let mut listeners = snapshot.listeners.values();
        let listener = listeners.find(|listener| *listener.backend.name == *name)?;
        let targets = listener.backend.targets().iter();
        Some(
            targets
                .map(|target| target.address.clone())
                .collect::<Vec<_>>(),
        )
    };
    for backend in &new.config.backends {
        let (earlier, now) = (servers(old, &backend.name), servers(new, &backend.name));
        if let Some(now) = now
            && earlier.is_none_or(|earlier| earlier != now)
        {
            let list: Vec<String> = now.iter().map(ToString::to_string).collect();
            changes.push(format!("backend \"{}\": {}", backend.name, list.join(", ")));
        }
    }
}

/// Gives `wanted` what cannot change while the program runs, and tells where that is not what was
/// asked for.
pub fn keep_fixed(running: &Config, wanted: &mut Config) -> Vec<String> {
    let mut kept = Vec::new();
    let mut differs = |key: &str, running: &dyn Display, wanted: &dyn Display| {
        let (running, wanted) = (running.to_string(), wanted.to_string());
        if running != wanted {
            kept.push(format!(
                "{key} stays {running} until a restart, which makes it {wanted}"
            ));
        }
    };
    let (old, new) = (&running.runtime, &wanted.runtime);
    differs("runtime.offload", &old.offload.name(), &new.offload.name());
    differs(
        "runtime.handshake_threads",
        &old.handshake_threads,
        &new.handshake_threads,
    );
    differs(
        "runtime.relay_threads",
        &old.relay_threads,
        &new.relay_threads,
    );
    let lower = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    differs("runtime.waiter", &lower(&old.waiter), &lower(&new.waiter));
    differs(
        "log.format",
        &lower(&running.log.format),
        &lower(&wanted.log.format),
    );
    let file = |config: &Config| match &config.log.file {
        Some(path) => path.display().to_string(),
        None => "standard error".to_owned(),
    };
    differs("log.file", &file(running), &file(wanted));
    let address = |config: &Config| match &config.admin {
        Some(admin) => admin.listen.to_string(),
        None => "absent".to_owned(),
    };
    differs("admin.listen", &address(running), &address(wanted));
    wanted.runtime = running.runtime.clone();
    wanted.log.format = running.log.format;
    wanted.log.file.clone_from(&running.log.file);
    // What guards one address might leave another one open.
    if address(running) != address(wanted) {
        wanted.admin.clone_from(&running.admin);
    }
    kept
}
