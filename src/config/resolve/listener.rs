//! `[[listener]]`: addresses, certificates, client authentication.

use std::{collections::HashSet, path::PathBuf};

use super::{Resolver, fields::assignment};
use crate::{
    config::{
        CertificateSource, ClientAuth, Listener, OnTruncation, Pem, TlsVersion, UnknownSni,
        file::{CertificateSection, ClientAuthSection, Given, ListenerSection, Text, Texts},
        folder::Folder,
        problem::Place,
        value,
    },
    limits,
};

impl Resolver<'_> {
    pub fn listeners(&mut self) -> Vec<Listener> {
        let entries = &self.file.listeners;
        self.entries(
            &entries.place,
            entries.list.len(),
            limits::LISTENERS_MAX,
            entries.refused,
        );
        entries
            .list
            .iter()
            .filter_map(|section| self.listener(section))
            .collect()
    }

    fn listener(&mut self, section: &ListenerSection) -> Option<Listener> {
        const MIN_TLS: [(&str, TlsVersion); 2] =
            [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        const UNKNOWN_SNI: [(&str, UnknownSni); 2] = [
            ("default", UnknownSni::Default),
            ("reject", UnknownSni::Reject),
        ];
        const ON_TRUNCATION: [(&str, OnTruncation); 2] = [
            ("reset", OnTruncation::Reset),
            ("close", OnTruncation::Close),
        ];
        let name = self.name(&section.name, "edge");
        let listen = self.items(
            &section.listen,
            limits::ADDRESSES_PER_LISTENER_MAX,
            "0.0.0.0:8443",
            |resolver, text| value::listen_address(text, &resolver.file.base),
        );
        let backend = self.required(&section.backend, "app").cloned();
        let min_tls = self.choice(&section.min_tls, &MIN_TLS, TlsVersion::Tls12);
        let alpn = self.alpn(&section.alpn);
        let unknown_sni = self.choice(&section.unknown_sni, &UNKNOWN_SNI, UnknownSni::Default);
        let on_truncation =
            self.choice(&section.on_truncation, &ON_TRUNCATION, OnTruncation::Reset);
        let mut certificates = self.certificates(section);
        let certificates_named = certificates.len();
        let certificates_dir = self.folder(&section.certificates_dir, &mut certificates);
        let client_auth = self.client_auth(&section.client_auth);
        Some(Listener {
            name: name?,
            listen: listen?.into_iter().map(|(_, address)| address).collect(),
            backend: backend?,
            min_tls,
            alpn,
            unknown_sni,
            certificates: certificates.into(),
            certificates_named,
            certificates_dir,
            client_auth: client_auth?,
            on_truncation,
        })
    }

    fn alpn(&mut self, field: &Texts) -> Vec<String> {
        let Given::Value(items) = &field.given else {
            return Vec::new();
        };
        if items.len() > limits::ALPN_PROTOCOLS_MAX {
            let remedy = format!("keep at most {}", limits::ALPN_PROTOCOLS_MAX);
            self.report(
                &field.place,
                format!("has {} protocols", items.len()),
                remedy,
            );
        }
        let mut protocols: Vec<String> = Vec::new();
        for item in items {
            let Given::Value(text) = &item.given else {
                continue;
            };
            self.checked(&item.place, value::alpn_protocol(text));
            if protocols.contains(text) {
                self.report(
                    &item.place,
                    format!("{text:?} is listed twice"),
                    "leave one out",
                );
            }
            protocols.push(text.clone());
        }
        protocols
    }

    fn certificates(&mut self, section: &ListenerSection) -> Vec<CertificateSource> {
        let entries = &section.certificates;
        let count = entries.list.len();
        let is_in_folder = !matches!(section.certificates_dir.given, Given::Absent);
        if count == 0 && !entries.refused && !is_in_folder {
            self.report(
                &entries.place,
                "no certificate to serve",
                "add certificates = [{ certificate_file = \"server.crt\", key_file = \"server.key\" }]",
            );
        } else if count > 0 || !is_in_folder {
            let most = limits::CERTIFICATES_PER_LISTENER_MAX;
            self.entries(&entries.place, count, most, entries.refused);
        }
        let mut sources: Vec<CertificateSource> = Vec::with_capacity(count);
        let mut known = HashSet::new();
        for section in &entries.list {
            let Some(source) = self.certificate(section) else {
                continue;
            };
            if !known.insert(source.clone()) {
                self.warn(
                    &section.place,
                    "the same certificate is listed before".to_owned(),
                    "leave one of them out".to_owned(),
                );
            }
            sources.push(source);
        }
        sources
    }

    /// Adds those of `certificates_dir`.
    fn folder(&mut self, field: &Text, sources: &mut Vec<CertificateSource>) -> Option<PathBuf> {
        let Given::Value(text) = &field.given else {
            return None;
        };
        let path = self.file.base.join(text);
        let found = Folder::read(&path).map_err(|error| {
            self.report(
                &field.place,
                format!("{} cannot be read: {error}", path.display()),
                "name a folder that lockgate's user may read and enter",
            );
        });
        let found = found.ok()?.sources;
        if found.is_empty() && sources.is_empty() {
            self.report(
                &field.place,
                format!("{} has no certificate", path.display()),
                "put NAME.crt and NAME.key into it, or NAME.pem with both, or a folder NAME with tls.crt and tls.key",
            );
        }
        let most = limits::CERTIFICATES_PER_LISTENER_MAX;
        if sources.len() + found.len() > most {
            self.report(
                &field.place,
                format!("{} has {} certificates", path.display(), found.len()),
                format!("keep at most {most} for one listener"),
            );
        }
        sources.extend(found);
        Some(path)
    }

    pub(super) fn certificate(
        &mut self,
        section: &CertificateSection,
    ) -> Option<CertificateSource> {
        let certificate = self.required_pem(
            &section.certificate_file,
            &section.certificate,
            "server.crt",
        );
        let key = self.required_pem(&section.key_file, &section.key, "server.key");
        if self.file.readable_by_others && matches!(key, Some(Pem::Inline(_))) {
            self.warn(
                &section.key.place,
                "every user of this machine can read the private key".to_owned(),
                "chmod o-r the configuration file, or use key_file".to_owned(),
            );
        }
        Some(CertificateSource {
            certificate: certificate?,
            key: key?,
        })
    }

    fn client_auth(&mut self, section: &ClientAuthSection) -> Option<ClientAuth> {
        #[derive(Clone, Copy)]
        enum Mode {
            None,
            Request,
            Required,
        }
        const MODE: [(&str, Mode); 3] = [
            ("none", Mode::None),
            ("request", Mode::Request),
            ("required", Mode::Required),
        ];
        let ca_place = match (&section.ca_file.given, &section.ca.given) {
            (Given::Absent, Given::Absent) => None,
            (Given::Absent, _) => Some(&section.ca.place),
            _ => Some(&section.ca_file.place),
        };
        let mode = match &section.mode.given {
            Given::Value(_) => self.choice(&section.mode, &MODE, Mode::None),
            Given::Absent if section.is_there || ca_place.is_some() => {
                // Better a refusal than a listener that was meant to ask for certificates.
                let remedy = format!("add {}", assignment(&section.mode.place, "required"));
                self.report(&section.mode.place, "is missing", remedy);
                return None;
            }
            Given::Absent => Mode::None,
            Given::Refused => return None,
        };
        if let Mode::None = mode {
            if let (Some(place), Given::Value(word)) = (ca_place, &section.mode.given)
                && word == "none"
            {
                let remedy = format!(
                    "leave it out, or write {}",
                    assignment(&section.mode.place, "required")
                );
                self.report(
                    place,
                    "a CA is of no use without client authentication",
                    remedy,
                );
            }
            return Some(ClientAuth::None);
        }
        let ca = self.required_pem(&section.ca_file, &section.ca, "ca.crt")?;
        Some(match mode {
            Mode::Required => ClientAuth::Required { ca },
            Mode::Request | Mode::None => ClientAuth::Request { ca },
        })
    }

    /// PEM from one of two keys: a path, or the text itself.
    fn required_pem(&mut self, file: &Text, inline: &Text, example: &str) -> Option<Pem> {
        const BEGIN: &str = "-----BEGIN ";
        match (&file.given, &inline.given) {
            (Given::Absent, Given::Absent) => {
                let remedy = format!("add {}", assignment(&file.place, example));
                self.report(&file.place, "is missing", remedy);
                None
            }
            (Given::Value(path), Given::Absent) if path.contains(BEGIN) => {
                let remedy = format!("give the text as {}", key(&inline.place));
                self.report(&file.place, "is PEM text, not a path", remedy);
                None
            }
            (Given::Value(path), Given::Absent) if path.is_empty() => {
                let remedy = format!("write a path, such as {}", assignment(&file.place, example));
                self.report(&file.place, "is empty", remedy);
                None
            }
            (Given::Value(path), Given::Absent) => Some(Pem::file(self.file.base.join(path))),
            (Given::Absent, Given::Value(text)) if !text.contains(BEGIN) => {
                let remedy = format!("for a path use {}", assignment(&file.place, example));
                self.report(&inline.place, "is not PEM text", remedy);
                None
            }
            (Given::Absent, Given::Value(text)) => Some(Pem::Inline(text.clone())),
            (Given::Refused, Given::Absent) | (Given::Absent, Given::Refused) => None,
            _ => {
                let remedy = format!(
                    "keep one of {} and {}",
                    key(&file.place),
                    key(&inline.place)
                );
                self.report(&inline.place, "is given both as a path and as text", remedy);
                None
            }
        }
    }
}

fn key(place: &Place) -> &str {
    place.path.rsplit('.').next().unwrap_or_default()
}
