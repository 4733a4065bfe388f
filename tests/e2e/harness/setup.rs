//! A configuration for one test, written down as TOML and started.

use std::fmt::Write as _;

use super::{Folder, Lockgate, machine, pki, pki::Identity};

/// One listener on a free port in front of one backend, unless told otherwise.
pub struct Setup {
    pub folder: Folder,
    servers: Vec<String>,
    sections: [(&'static str, String); 3],
    listener: String,
    certificates: Vec<Identity>,
    extra: String,
    pub launcher: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Setup {
    pub fn to(address: &str) -> Self {
        let mut runtime = "handshake_threads = 1\nrelay_threads = 2\n".to_owned();
        writeln!(runtime, "offload = {:?}", machine::offload()).unwrap();
        if let Some(waiter) = machine::waiter() {
            writeln!(runtime, "waiter = {waiter:?}").unwrap();
        }
        Setup {
            folder: Folder::new(),
            servers: vec![address.to_owned()],
            sections: [
                ("runtime", runtime),
                ("limits", String::new()),
                ("log", String::new()),
            ],
            listener: String::new(),
            certificates: vec![pki().server.clone()],
            extra: String::new(),
            launcher: Vec::new(),
            environment: Vec::new(),
        }
    }

    fn section(mut self, wanted: &str, lines: &str) -> Self {
        let (_, text) = self
            .sections
            .iter_mut()
            .find(|(name, _)| *name == wanted)
            .unwrap();
        // A key that is set again is set anew.
        let key = lines.split('=').next().unwrap().trim();
        *text = text
            .lines()
            .filter(|line| line.split('=').next().unwrap().trim() != key)
            .map(|line| format!("{line}\n"))
            .collect();
        writeln!(text, "{lines}").unwrap();
        self
    }

    /// Lines of `[runtime]`.
    pub fn runtime(self, lines: &str) -> Self {
        self.section("runtime", lines)
    }

    /// Lines of `[limits]`.
    pub fn limits(self, lines: &str) -> Self {
        self.section("limits", lines)
    }

    /// Lines of `[log]`.
    pub fn log(self, lines: &str) -> Self {
        self.section("log", lines)
    }

    /// Lines of the `[[listener]]`.
    pub fn listener(mut self, lines: &str) -> Self {
        writeln!(self.listener, "{lines}").unwrap();
        self
    }

    /// Lines at the end: more listeners and backends.
    pub fn extra(mut self, lines: &str) -> Self {
        writeln!(self.extra, "{lines}").unwrap();
        self
    }

    pub fn servers(mut self, addresses: &[&str]) -> Self {
        self.servers = addresses
            .iter()
            .map(|&address| address.to_owned())
            .collect();
        self
    }

    pub fn certificates(mut self, certificates: &[&Identity]) -> Self {
        self.certificates = certificates
            .iter()
            .map(|&identity| identity.clone())
            .collect();
        self
    }

    /// Asks clients for certificates of the test CA.
    pub fn client_auth(self, mode: &str) -> Self {
        let ca = self.folder.write("client-ca.pem", &pki().ca);
        self.listener(&format!(
            "client_auth = {{ mode = {mode:?}, ca_file = {ca:?} }}"
        ))
    }

    /// A program and arguments that run lockgate instead of the test.
    pub fn launcher(mut self, words: &[&str]) -> Self {
        self.launcher = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The inline table of one certificate.
    pub fn certificate(&self, identity: &Identity) -> String {
        let (certificate, key) = identity.write(&self.folder);
        format!("{{ certificate_file = {certificate:?}, key_file = {key:?} }}")
    }

    /// The configuration, with a port that is free now.
    pub fn toml(&self, port: u16) -> String {
        let mut text = String::new();
        for (name, lines) in &self.sections {
            writeln!(text, "[{name}]\n{lines}").unwrap();
        }
        let admin = format!("unix:{}", self.folder.join("admin").display());
        let certificates: Vec<_> = self
            .certificates
            .iter()
            .map(|c| self.certificate(c))
            .collect();
        writeln!(text, "[admin]\nlisten = {admin:?}\n").unwrap();
        writeln!(
            text,
            "[[listener]]\nname = \"main\"\nlisten = \"127.0.0.1:{port}\""
        )
        .unwrap();
        writeln!(
            text,
            "backend = \"main\"\ncertificates = [{}]",
            certificates.join(", ")
        )
        .unwrap();
        writeln!(text, "{}\n[[backend]]\nname = \"main\"", self.listener).unwrap();
        writeln!(text, "servers = {:?}\n\n{}", self.servers, self.extra).unwrap();
        text
    }

    #[track_caller]
    pub fn start(self) -> Lockgate {
        Lockgate::start(self)
    }
}
