//! What lockgate serves, as `run` says at start and `check` when all is well: plain, aligned text.

use std::fmt::Display;

use crate::{
    config::{ClientAuth, Config, Listener, OnTruncation, Pem, TlsVersion, UnknownSni},
    limits,
    tls::{CertificateInfo, fingerprint_text, iso8601},
};

/// Labels end here.
const LABEL_WIDTH: usize = 13;

/// `certificates` gives those of the listener of that name; `offload` says whether connections go
/// into the kernel, and why not.
pub fn text<'c>(
    config: &Config,
    certificates: impl Fn(&str) -> Vec<&'c CertificateInfo>,
    offload: &str,
) -> String {
    let mut text = Text::default();
    for listener in &config.listeners {
        text.listener(config, listener);
        let all = certificates(&listener.name);
        let (first, more) = all.split_at(all.len().min(limits::CERTIFICATES_DESCRIBED));
        for certificate in first {
            text.certificate(certificate);
        }
        if !more.is_empty() {
            text.line(2, "certificates", format!("{} more", more.len()));
        }
    }
    let threads = &config.runtime;
    let threads = format!(
        "{} for handshakes, {} for traffic",
        threads.handshake_threads, threads.relay_threads
    );
    text.line(0, "offload", offload);
    text.line(0, "threads", threads);
    match &config.admin {
        Some(admin) if admin.tls.is_some() => {
            text.line(0, "admin", format!("https://{}", admin.listen));
        }
        Some(admin) => text.line(0, "admin", &admin.listen),
        None => text.line(0, "admin", "off"),
    }
    if let Some(telemetry) = &config.telemetry {
        text.line(0, "telemetry", &telemetry.otlp_endpoint);
    }
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn listener(&mut self, config: &Config, listener: &Listener) {
        self.line(0, "listener", &listener.name);
        self.line(2, "listen", list(&listener.listen));
        let backend = config
            .backends
            .iter()
            .find(|backend| backend.name == listener.backend);
        let servers = backend
            .map(|backend| list(&backend.servers))
            .unwrap_or_default();
        self.line(2, "backend", format!("{}: {servers}", listener.backend));
        let versions = match listener.min_tls {
            TlsVersion::Tls12 => "1.2, 1.3",
            TlsVersion::Tls13 => "1.3",
        };
        self.line(2, "TLS", versions);
        if !listener.alpn.is_empty() {
            self.line(2, "ALPN", list(&listener.alpn));
        }
        let clients = match &listener.client_auth {
            ClientAuth::None => "no certificate asked for".to_owned(),
            ClientAuth::Request { ca } => format!("certificate optional, of {}", source(ca)),
            ClientAuth::Required { ca } => format!("certificate required, of {}", source(ca)),
        };
        self.line(2, "clients", clients);
        if listener.unknown_sni == UnknownSni::Reject {
            self.line(2, "unknown SNI", "rejected");
        }
        if listener.on_truncation == OnTruncation::Close {
            self.line(2, "truncation", "reaches the backend as a clean end");
        }
    }

    fn certificate(&mut self, certificate: &CertificateInfo) {
        let subject = match certificate.subject.as_ref() {
            "" => "(no subject)",
            subject => subject,
        };
        self.line(2, "certificate", subject);
        let names: Vec<String> = certificate
            .dns_names
            .iter()
            .map(ToString::to_string)
            .chain(certificate.ips.iter().map(ToString::to_string))
            .chain(certificate.uris.iter().map(ToString::to_string))
            .collect();
        let names = match names.is_empty() {
            true => "none".to_owned(),
            false => list(&names),
        };
        self.line(4, "names", names);
        self.line(4, "issuer", &certificate.issuer);
        self.line(4, "key", &certificate.key_kind);
        let (from, to) = (
            iso8601(certificate.not_before),
            iso8601(certificate.not_after),
        );
        self.line(4, "valid", format!("{from} to {to}"));
        self.line(
            4,
            "SHA-256",
            fingerprint_text(&certificate.fingerprint_sha256),
        );
    }

    fn line(&mut self, indent: usize, label: &str, value: impl Display) {
        let width = LABEL_WIDTH.saturating_sub(indent);
        let line = format!("{:indent$}{label:width$}  {value}\n", "");
        self.0.push_str(&line);
    }
}

fn list(items: &[impl Display]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn source(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Inline(_) => "the configuration".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Host, file, resolve};

    #[test]
    fn what_is_served_fits_on_a_screen() {
        let file = file::parse(
            r#"
            [[listener]]
            name = "edge"
            listen = ["0.0.0.0:8443", "[::]:8443"]
            backend = "app"
            alpn = ["h2", "http/1.1"]
            certificates = [{ certificate_file = "a.crt", key_file = "a.key" }]
            client_auth = { mode = "required", ca_file = "ca.crt" }
            [[backend]]
            name = "app"
            servers = ["127.0.0.1:8080", "app.internal:8080"]
            "#,
            Path::new("lockgate.toml"),
        );
        let host = Host {
            cores: 4,
            descriptors: 1 << 20,
            lowest_port: 0,
        };
        let (config, _) = resolve(file.expect("TOML"), &host).expect("good");
        let certificate = CertificateInfo {
            subject: "O=Example, CN=edge".into(),
            issuer: "O=Example, CN=Example Intermediate CA".into(),
            common_name: Some("edge".into()),
            dns_names: ["edge.example.com".into()].into(),
            uris: ["spiffe://example.com/edge".into()].into(),
            ips: ["192.0.2.1".parse().expect("an address")].into(),
            serial: "01".into(),
            not_before: 0,
            not_after: 86_400,
            fingerprint_sha256: [0xab; 32],
            key_kind: "ECDSA P-256".into(),
            is_ca: false,
        };
        assert_eq!(
            text(&config, |_| vec![&certificate], "kernel TLS with splice"),
            "\
listener       edge
  listen       0.0.0.0:8443, [::]:8443
  backend      app: 127.0.0.1:8080, app.internal:8080
  TLS          1.2, 1.3
  ALPN         h2, http/1.1
  clients      certificate required, of ca.crt
  certificate  O=Example, CN=edge
    names      edge.example.com, 192.0.2.1, spiffe://example.com/edge
    issuer     O=Example, CN=Example Intermediate CA
    key        ECDSA P-256
    valid      1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z
    SHA-256    AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB
offload        kernel TLS with splice
threads        2 for handshakes, 2 for traffic
admin          off
"
        );
    }
}
