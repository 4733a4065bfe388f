//! What is asked for, with a bound on everything.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use crate::Error;

#[derive(Parser, Clone, Debug)]
#[command(name = "load", about = "Load for a TLS terminator on this machine")]
pub struct Arguments {
    #[arg(value_enum)]
    pub what: What,
    /// A loopback address; others are refused.
    pub target: SocketAddr,
    /// Certificates to trust, PEM.
    #[arg(long, required_unless_present = "plain")]
    pub ca: Option<PathBuf>,
    /// Server name to ask for and to verify.
    #[arg(long, default_value = "localhost")]
    pub name: String,
    /// Client certificate, PEM.
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "1.3")]
    pub tls: Tls,
    /// The only suite to offer, as in IANA's registry.
    #[arg(long)]
    pub suite: Option<String>,
    /// The group to agree on: X25519, X25519MLKEM768, secp256r1, secp384r1.
    #[arg(long)]
    pub group: Option<String>,
    /// Resume: every handshake but the first of each connection slot, which is not counted.
    #[arg(long)]
    pub resume: bool,
    /// No TLS, to see what the machine does without a proxy.
    #[arg(long, conflicts_with_all = ["ca", "cert", "resume"])]
    pub plain: bool,
    /// Handshakes: the backend speaks first and closes. Otherwise the client closes.
    #[arg(long)]
    pub greeting: bool,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// Open loop: units begun per second over all connections. Without it: closed loop.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Units after which a closed loop ends before its time.
    #[arg(long, default_value_t = 1_000_000_000)]
    pub count: u64,
    #[arg(long, default_value = "/")]
    pub path: String,
    /// GET: a new connection for each request, closed after its answer.
    #[arg(long)]
    pub fresh: bool,
    /// Body of one upload.
    #[arg(long, default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub bytes: u64,
    /// Share the connections among processes, each with its own limit of descriptors.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub processes: u32,
    /// Print READY once connected and wait for a line on stdin.
    #[arg(long)]
    pub wait: bool,
    #[arg(long)]
    pub json: bool,
    #[arg(long, hide = true)]
    pub child: Option<u32>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Connect, shake hands, close.
    Handshake,
    /// Keep-alive GET requests.
    Get,
    /// GET of something large; the same, with larger reads.
    Download,
    /// POST of --bytes.
    Upload,
    /// Open connections and hold them until stdin ends.
    Idle,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

impl Arguments {
    pub fn check(&self) -> Result<(), Error> {
        if !self.target.ip().is_loopback() {
            let address = self.target.ip();
            return Err(format!(
                "{address} is not a loopback address: this tool loads nothing but the machine it runs on; use 127.0.0.1 or [::1]"
            )
            .into());
        }
        if self.processes > self.connections {
            return Err("--processes: more than --connections".into());
        }
        Ok(())
    }

    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// What falls to the child `index`.
    pub fn share(&self, index: u32) -> Arguments {
        let part = |whole: u32| whole / self.processes + u32::from(index < whole % self.processes);
        let processes = u64::from(self.processes);
        Arguments {
            connections: part(self.connections),
            rate: self.rate.map(part).map(|rate| rate.max(1)),
            count: self.count / processes + u64::from(u64::from(index) < self.count % processes),
            ..self.clone()
        }
    }
}
