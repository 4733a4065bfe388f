//! Audit events: each one happens, with every field that is documented and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    net::TcpStream,
    path::PathBuf,
};

use serde_json::Value;

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, StreamEnd, documented, pki,
    pki::{Identity, SPIFFE},
    sessions::echo,
    wait_until,
};

const EVENTS: &str = "### Audit events";

fn start(setup: impl FnOnce(Setup) -> Setup) -> (Backend<StreamEnd>, Lockgate) {
    let backend = Backend::tcp(echo);
    let lockgate = setup(Setup::to(&backend.address)).start();
    (backend, lockgate)
}

fn with_audit() -> (Backend<StreamEnd>, Lockgate) {
    start(|setup| {
        let setup = setup.extra("[audit]\nfile = \"audit.log\"");
        setup.client_auth("required")
    })
}

fn audit_file(lockgate: &Lockgate) -> PathBuf {
    lockgate.folder().join("audit.log")
}

fn events_in(text: &str) -> Vec<Value> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn events(lockgate: &Lockgate) -> Vec<Value> {
    events_in(&fs::read_to_string(audit_file(lockgate)).unwrap())
}

/// The event that this is true of, once it is there.
#[track_caller]
fn wait_event(lockgate: &Lockgate, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let find = || events(lockgate).into_iter().find(|event| is(event));
    wait_until(what, || find().is_some());
    find().unwrap()
}

#[track_caller]
fn wait_named(lockgate: &Lockgate, name: &str) -> Value {
    wait_event(lockgate, name, |event| event["event"] == name)
}

fn visit(connector: &Connector, lockgate: &Lockgate) {
    let mut client = connector.connect(lockgate.address);
    client.ping(b"some bytes");
    assert_eq!(client.close().1, End::Clean);
}

fn replace(lockgate: &Lockgate, name: &str, text: &str) {
    let (path, new) = (lockgate.folder().join(name), lockgate.folder().join("new"));
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

#[track_caller]
fn edit(lockgate: &Lockgate, from: &str, to: &str) {
    let text = fs::read_to_string(lockgate.folder().join("lockgate.toml")).unwrap();
    assert!(text.contains(from), "{text}");
    replace(lockgate, "lockgate.toml", &text.replace(from, to));
}

#[track_caller]
fn assert_describes(certificate: &Value, identity: &Identity, name: &str) {
    let info = lockgate::tls::CertificateInfo::from_der(&identity.chain()[0]).unwrap();
    assert_eq!(certificate["subject"], format!("CN={name}"));
    assert_eq!(certificate["serial"], *info.serial);
    assert_eq!(certificate["sha256"], info.fingerprint_text());
    let not_after = lockgate::tls::iso8601(info.not_after);
    assert_eq!(certificate["not_after"], not_after);
}

#[test]
fn every_event_happens_with_its_documented_fields_and_no_other() {
    let (_backend, lockgate) = with_audit();
    visit(&Connector::new().identity(&pki().client), &lockgate);
    let untrusted = Connector::new().identity(&pki().client_untrusted);
    untrusted.verdict(lockgate.address);
    wait_named(&lockgate, "MTLS_HANDSHAKE_FAILED");
    let (_, key) = pki().server_ed25519.write(lockgate.folder());
    let key = fs::read_to_string(key).unwrap();
    replace(&lockgate, "server.pem", &pki().server_ed25519.certificate);
    wait_named(&lockgate, "CONFIG_REJECTED");
    replace(&lockgate, "server.key", &key);
    wait_named(&lockgate, "CERTIFICATE_ROTATED");
    replace(&lockgate, "client-ca.pem", &pki().other_ca);
    wait_named(&lockgate, "MTLS_BUNDLE_ROTATED");
    wait_until("both reloads were recorded", || {
        let events = events(&lockgate);
        let reloaded = events.iter().filter(|e| e["event"] == "CONFIG_RELOADED");
        reloaded.count() == 2
    });

    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events(&lockgate) {
        let mut keys = documented::keys(&event);
        assert!(keys.remove("time") && keys.remove("event"), "{event}");
        let name = event["event"].as_str().unwrap().to_owned();
        seen.entry(name).or_default().extend(keys);
    }
    let mut documented = documented::fields(EVENTS);
    // Takes a stream that cannot be written for long: src/audit shows it.
    let lost = documented.remove("AUDIT_EVENTS_LOST").unwrap();
    assert_eq!(lost, BTreeSet::from(["lost".to_owned()]));
    assert_eq!(seen, documented);
    lockgate.finish();
}

#[test]
fn who_got_in_and_who_did_not_is_told_with_the_certificate() {
    let (_backend, lockgate) = with_audit();
    let p = pki();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let good = Connector::new()
            .version(version)
            .identity(&p.client)
            .resuming();
        visit(&good, &lockgate);
        visit(&good, &lockgate);
        let number = version.version.as_str().unwrap();
        for resumed in [false, true] {
            let event = wait_event(&lockgate, "a handshake was recorded", |event| {
                event["event"] == "MTLS_HANDSHAKE_OK"
                    && event["resumed"] == resumed
                    && number
                        .replace('_', ".")
                        .ends_with(event["version"].as_str().unwrap())
            });
            assert_eq!(event["identity"], SPIFFE, "{event}");
            assert_eq!(event["sni"], pki::HOST);
            assert_eq!(event["listener"], "main");
            assert_describes(&event["certificate"], &p.client, "client-one");
        }
        for (identity, name, issuer, reason) in [
            (
                &p.client_expired,
                "client-expired",
                "CN=lockgate test CA",
                "client_certificate_expired",
            ),
            (
                &p.client_untrusted,
                "client-untrusted",
                "CN=another CA",
                "client_certificate_untrusted",
            ),
            (
                &p.client_bad_usage,
                "client-bad-usage",
                "CN=lockgate test CA",
                "client_certificate_bad_usage",
            ),
        ] {
            let connector = Connector::new().version(version).identity(identity);
            let before = events(&lockgate).len();
            connector.verdict(lockgate.address);
            wait_until("the refusal was recorded", || {
                events(&lockgate).len() > before
            });
            let event = events(&lockgate).pop().unwrap();
            assert_eq!(event["event"], "MTLS_HANDSHAKE_FAILED");
            assert_eq!(event["reason"], reason);
            assert_eq!(event["sni"], pki::HOST);
            assert_describes(&event["certificate"], identity, name);
            assert_eq!(event["certificate"]["issuer"], issuer);
        }
    }
    // Without a certificate, and without TLS.
    Connector::new().verdict(lockgate.address);
    let missing = wait_event(&lockgate, "the missing certificate was recorded", |event| {
        event["reason"] == "client_certificate_missing"
    });
    assert_eq!(missing["certificate"], Value::Null);
    let mut plain = TcpStream::connect(lockgate.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let peer = plain.local_addr().unwrap().to_string();
    let event = wait_event(&lockgate, "plain HTTP was recorded", |event| {
        event["peer"] == peer
    });
    assert_eq!(event["reason"], "not_tls");
    drop(plain);
    lockgate.finish();
}

#[test]
fn a_client_that_does_not_hold_its_certificates_key_is_told_with_the_certificate() {
    let (_backend, lockgate) = with_audit();
    let stolen = Identity {
        name: "stolen",
        certificate: pki().client.certificate.clone(),
        key: pki().client_plain.key.clone(),
    };
    let connector = Connector::new().identity(&stolen);
    connector.verdict(lockgate.address);
    let event = wait_named(&lockgate, "MTLS_HANDSHAKE_FAILED");
    assert_describes(&event["certificate"], &stolen, "client-one");
    assert_eq!(event["reason"], "client_certificate_invalid");
    lockgate.finish_on_any_path();
}

#[test]
fn nothing_is_recorded_where_no_certificate_is_asked_for() {
    let (_backend, lockgate) = start(|setup| setup.extra("[audit]\nfile = \"audit.log\""));
    visit(&Connector::new(), &lockgate);
    let mut plain = TcpStream::connect(lockgate.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    lockgate.wait_for("lockgate_handshake_failures_total", &["reason=not_tls"], 1);
    drop(plain);
    lockgate.signal(libc::SIGHUP);
    let event = wait_named(&lockgate, "CONFIG_RELOADED");
    assert_eq!(event["trigger"], "signal");
    assert_eq!(event["generation"], 2);
    assert_eq!(events(&lockgate).len(), 1);
    lockgate.finish();
}

#[test]
fn the_audit_file_is_changed_by_a_reload_and_a_bad_one_is_refused() {
    let (_backend, lockgate) = with_audit();
    let second = lockgate.folder().join("second.log");
    edit(&lockgate, "audit.log", "nowhere/audit.log");
    let event = wait_named(&lockgate, "CONFIG_REJECTED");
    assert_eq!(event["trigger"], "files");
    let problem = event["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("audit.file: "), "{problem}");

    edit(&lockgate, "nowhere/audit.log", "second.log");
    wait_named(&lockgate, "CONFIG_RELOADED");
    let text = || fs::read_to_string(&second).unwrap_or_default();
    wait_until("the new file begins with the change", || {
        events_in(&text()).first().is_some_and(|event| {
            event["event"] == "CONFIG_RELOADED"
                && event["changes"][0] == format!("audit.file: {}", second.display())
        })
    });
    let in_the_first = events(&lockgate).len();
    visit(&Connector::new().identity(&pki().client), &lockgate);
    wait_until("events went to the new file", || {
        text().contains("MTLS_HANDSHAKE_OK")
    });
    assert_eq!(events(&lockgate).len(), in_the_first);

    // Off: the last event says so.
    edit(&lockgate, "[audit]\nfile = \"second.log\"", "");
    wait_until("the last event says so", || {
        let events = events_in(&text());
        events.last().unwrap()["changes"][0] == "audit.file: absent"
    });
    let before = text();
    visit(&Connector::new().identity(&pki().client), &lockgate);
    lockgate.wait_closed("finished", 2);
    assert_eq!(text(), before);
    lockgate.finish_on_any_path();
}

#[test]
fn standard_output_has_audit_events_alone() {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address)
        .client_auth("required")
        .extra("[audit]\nfile = \"stdout\"");
    let stdout = setup.folder.join("stdout").to_str().unwrap().to_owned();
    let lockgate = setup
        .launcher(&["sh", "-c", "exec \"$@\" >\"$0\"", &stdout])
        .start();
    visit(&Connector::new().identity(&pki().client), &lockgate);
    let text = || fs::read_to_string(&stdout).unwrap();
    wait_until("the event was there", || text().ends_with('\n'));
    let all = text();
    assert_eq!(all.lines().count(), 1, "{all}");
    assert_eq!(events_in(&all)[0]["event"], "MTLS_HANDSHAKE_OK");
    lockgate.finish();
}

/// `/dev/full` is a disk without space.
#[test]
fn a_full_disk_is_said_and_keeps_nobody_from_being_served() {
    let (_backend, lockgate) = start(|setup| {
        let path = setup.folder.join("audit.log");
        std::os::unix::fs::symlink("/dev/full", path).unwrap();
        let setup = setup.extra("[audit]\nfile = \"audit.log\"");
        setup.client_auth("required")
    });
    let connector = Connector::new().identity(&pki().client);
    for _ in 0..5 {
        visit(&connector, &lockgate);
    }
    wait_until("the log said so", || {
        lockgate.log().contains("audit events cannot be written to")
    });
    let path = audit_file(&lockgate);
    fs::remove_file(&path).unwrap();
    lockgate.signal(libc::SIGUSR1);
    wait_until("the log said that it goes on", || {
        lockgate.log().contains("audit events are written again")
    });
    assert_eq!(events(&lockgate).len(), 5);
    lockgate.finish();
}
