//! `lockgate run` with flags: the same configuration as from a file, with flags as places.

use std::path::PathBuf;

use super::RunArgs;
use crate::config::{
    self, Config, FileConfig, Host, Place, Problem, Problems, Warning,
    file::{
        AdminSection, BackendSection, CertificateSection, ClientAuthSection, Entries, Field,
        ListenerSection, Text, Texts,
    },
    value::Fault,
};

/// Names of the one listener and the one backend that flags describe.
const LISTENER: &str = "default";
const BACKEND: &str = "default";
/// Without --host, nobody but this machine is served.
const HOST: &str = "127.0.0.1";
const PORT: u16 = 8443;
/// Of an http:// URL without one.
const HTTP_PORT: u16 = 80;

impl RunArgs {
    /// The configuration that was asked for, or all that is wrong with it.
    pub fn configuration(&self) -> Result<(Config, Vec<Warning>), Problems> {
        config::resolve(self.file_config()?, &Host::current())
    }

    /// The same before its values are checked.
    pub fn file_config(&self) -> Result<FileConfig, Problems> {
        let mut file = match &self.config {
            Some(path) => config::read(path)?,
            None => self.flags()?,
        };
        override_with(&mut file.runtime.offload, "--offload", &self.offload);
        override_with(&mut file.log.level, "--log-level", &self.log_level);
        override_with(&mut file.log.format, "--log-format", &self.log_format);
        Ok(file)
    }

    fn flags(&self) -> Result<FileConfig, Problems> {
        if !self.has_listener() && self.backend.is_empty() && self.worker_urls.is_empty() {
            return Err(Problems {
                file: None,
                list: vec![Problem {
                    place: Place::named("lockgate run"),
                    message: "nothing says what to listen on, or for whom".to_owned(),
                    remedy: "add --config lockgate.toml, or --listen, --tls-cert-path, --tls-key-path and --backend; `lockgate demo` needs nothing"
                        .to_owned(),
                }],
            });
        }
        let mut problems = Vec::new();
        let servers = self.servers(&mut problems);
        Ok(FileConfig {
            base: PathBuf::new(),
            admin: self.admin.as_ref().map(|address| AdminSection {
                listen: Field::given(Place::named("--admin"), address.clone()),
                ..AdminSection::default()
            }),
            listeners: one(self.listener()),
            backends: one(BackendSection {
                name: Field::given(Place::named("--backend"), BACKEND.to_owned()),
                servers,
            }),
            problems,
            ..FileConfig::default()
        })
    }

    fn has_listener(&self) -> bool {
        !self.listen.is_empty()
            || self.host.is_some()
            || self.port.is_some()
            || self.tls_cert_path.is_some()
            || self.tls_cert.is_some()
    }

    fn listener(&self) -> ListenerSection {
        let client_auth = ClientAuthSection {
            is_there: self.client_auth.is_some(),
            mode: flag("--client-auth", &self.client_auth),
            ca_file: flag("--client-ca-path", &self.client_ca_path),
            ca: flag("--client-ca", &self.client_ca),
        };
        ListenerSection {
            name: Field::given(Place::named("--listen"), LISTENER.to_owned()),
            listen: self.addresses(),
            backend: Field::given(Place::named("--backend"), BACKEND.to_owned()),
            certificates: one(CertificateSection {
                place: Place::named("--tls-cert-path"),
                certificate_file: flag("--tls-cert-path", &self.tls_cert_path),
                certificate: flag("--tls-cert", &self.tls_cert),
                key_file: flag("--tls-key-path", &self.tls_key_path),
                key: flag("--tls-key", &self.tls_key),
            }),
            client_auth,
            ..ListenerSection::default()
        }
    }

    fn addresses(&self) -> Texts {
        let mut items: Vec<Text> = self
            .listen
            .iter()
            .map(|address| Field::given(Place::named("--listen"), address.clone()))
            .collect();
        if self.host.is_some() || self.port.is_some() {
            let place = match self.host {
                Some(_) => "--host",
                None => "--port",
            };
            let port = self.port.unwrap_or(PORT);
            let address = match self.host {
                Some(host) => std::net::SocketAddr::new(host, port).to_string(),
                None => format!("{HOST}:{port}"),
            };
            items.push(Field::given(Place::named(place), address));
        }
        list("--listen", items)
    }

    fn servers(&self, problems: &mut Vec<Problem>) -> Texts {
        let mut items: Vec<Text> = self
            .backend
            .iter()
            .map(|server| Field::given(Place::named("--backend"), server.clone()))
            .collect();
        for url in &self.worker_urls {
            let place = Place::named("--worker-urls");
            match server_of_url(url) {
                Ok(server) => items.push(Field::given(place, server)),
                Err(Fault { message, remedy }) => {
                    items.push(Field {
                        place: place.clone(),
                        given: config::file::Given::Refused,
                    });
                    problems.push(Problem {
                        place,
                        message,
                        remedy,
                    });
                }
            }
        }
        list("--backend", items)
    }
}

/// The server of `http://host[:port][/]`, as `--backend` takes it.
fn server_of_url(url: &str) -> Result<String, Fault> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(Fault::new(
            format!("{url:?} is not a URL"),
            format!("write \"http://{url}\", or use --backend"),
        ));
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Err(Fault::new(
            format!("{url:?}: TLS to workers is not supported by this flag"),
            "let the worker listen without TLS on a trusted network, and write http://",
        ));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(Fault::new(
            format!("{url:?} has the scheme {scheme:?}"),
            "write http://host:port",
        ));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !matches!(path, "" | "/") {
        return Err(Fault::new(
            format!("{url:?} has the path {path:?}, and lockgate does not change requests"),
            format!("write \"http://{authority}\""),
        ));
    }
    // What follows a user name would be taken for the host.
    if authority.is_empty() || authority.contains('@') {
        return Err(Fault::new(
            format!("{url:?} has no plain host"),
            "write http://host:port, without a user name",
        ));
    }
    let after_address = authority.rsplit(']').next().unwrap_or_default();
    Ok(match after_address.contains(':') {
        true => authority.to_owned(),
        false => format!("{authority}:{HTTP_PORT}"),
    })
}

fn override_with(field: &mut Text, name: &str, value: &Option<String>) {
    if value.is_some() {
        *field = flag(name, value);
    }
}

fn flag(name: &str, value: &Option<String>) -> Text {
    match value {
        Some(value) => Field::given(Place::named(name), value.clone()),
        None => Field::absent(Place::named(name)),
    }
}

fn list(name: &str, items: Vec<Text>) -> Texts {
    match items.is_empty() {
        true => Field::absent(Place::named(name)),
        false => Field::given(Place::named(name), items),
    }
}

fn one<T>(section: T) -> Entries<T> {
    Entries {
        list: vec![section],
        ..Entries::default()
    }
}
