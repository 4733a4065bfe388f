//! The command line: what can be asked for, and its help.
//!
//! `run` takes a file or flags; both end in the same [`FileConfig`](crate::config::FileConfig) and
//! the same checks, so a problem of a flag is named by the flag.

mod flags;
mod remote;

use std::{
    ffi::OsString,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};

use crate::{config::Offload, pki::KeyType};
pub use remote::{ConnectionsArgs, RemoteArgs, ReportArgs, TopArgs};

/// sysexits(3).
pub const EX_USAGE: u8 = 64;

/// Terminates TLS and mutual TLS: handshakes in user space, traffic in kernel TLS.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<RunArgs>),
    Demo(DemoArgs),
    Check(CheckArgs),
    Probe(ProbeArgs),
    /// Let a running lockgate read its configuration and certificates again
    Reload(ReportArgs),
    /// Tell whether a running lockgate serves, and how its backends, certificates and last reload do
    Status(ReportArgs),
    /// Let a running lockgate accept nobody any more and end with its last connection
    Drain(ReportArgs),
    Connections(ConnectionsArgs),
    Top(TopArgs),
    #[command(subcommand)]
    Pki(PkiCommand),
}

/// Accept TLS connections and pass them on to a backend.
///
/// Give either a configuration file, or flags for one listener and its backend.
#[derive(Args, Default)]
#[command(after_help = "\
Examples:
  lockgate run --config /etc/lockgate/lockgate.toml
  lockgate run --listen 0.0.0.0:8443 --tls-cert-path server.crt --tls-key-path server.key \\
      --backend 127.0.0.1:8080
  lockgate run --port 8443 --tls-cert-path server.crt --tls-key-path server.key \\
      --client-auth required --client-ca-path ca.crt --worker-urls http://a:8000 http://b:8000

Exit codes: 64 for a wrong command line, 78 for a configuration that cannot be used.")]
pub struct RunArgs {
    /// Configuration file; of the other flags only --offload and --log-* go with it
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "listen", "host", "port", "tls_cert_path", "tls_key_path", "tls_cert", "tls_key",
        "client_auth", "client_ca_path", "client_ca", "backend", "worker_urls", "admin",
    ])]
    pub config: Option<PathBuf>,

    /// Address to accept on: IP:PORT, [IPv6]:PORT or unix:PATH; may be repeated
    #[arg(long, value_name = "ADDRESS", help_heading = "Listener")]
    pub listen: Vec<String>,
    /// With --port another way to write --listen [default: 127.0.0.1]
    #[arg(long, value_name = "IP", help_heading = "Listener")]
    pub host: Option<IpAddr>,
    /// With --host another way to write --listen [default: 8443]
    #[arg(long, help_heading = "Listener")]
    pub port: Option<u16>,

    /// File with the certificate chain in PEM, leaf first
    #[arg(long, value_name = "FILE", help_heading = "Listener")]
    pub tls_cert_path: Option<String>,
    /// File with the private key in PEM
    #[arg(long, value_name = "FILE", help_heading = "Listener")]
    pub tls_key_path: Option<String>,
    /// The certificate chain itself
    #[arg(
        long,
        value_name = "PEM",
        allow_hyphen_values = true,
        help_heading = "Listener"
    )]
    pub tls_cert: Option<String>,
    /// The private key itself; every user of the machine sees it in the list of processes
    #[arg(
        long,
        value_name = "PEM",
        allow_hyphen_values = true,
        help_heading = "Listener"
    )]
    pub tls_key: Option<String>,

    /// Whether clients are asked for a certificate [default: none]
    #[arg(long, value_name = "MODE", value_parser = ["none", "request", "required"],
          help_heading = "Listener")]
    pub client_auth: Option<String>,
    /// File with the CA certificates that sign clients, in PEM
    #[arg(long, value_name = "FILE", help_heading = "Listener")]
    pub client_ca_path: Option<String>,
    /// The CA certificates themselves
    #[arg(
        long,
        value_name = "PEM",
        allow_hyphen_values = true,
        help_heading = "Listener"
    )]
    pub client_ca: Option<String>,

    /// Server that gets the plain traffic: HOST:PORT or unix:PATH; may be repeated
    #[arg(long, value_name = "SERVER", help_heading = "Backend")]
    pub backend: Vec<String>,
    /// Servers as http:// URLs without a path, another way to write --backend
    #[arg(long, value_name = "URL", num_args = 1.., help_heading = "Backend")]
    pub worker_urls: Vec<String>,

    /// Whether connections move into kernel TLS [default: auto]
    #[arg(long, value_name = "WHEN", value_parser = Offload::ALL.map(Offload::name))]
    pub offload: Option<String>,
    /// Address for `lockgate status`, /metrics and the like: loopback or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// off, error, warn, info, debug, trace, or such as "warn,lockgate::relay=debug"
    /// [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How log lines are written [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub log_format: Option<String>,
}

/// Serve a page over TLS with certificates made on the spot, to see it work.
///
/// Nothing is written to disk and no backend is needed.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Address to accept on
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Whether connections move into kernel TLS
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = offload())]
    pub offload: Offload,
}

/// Check a configuration file and what it names; report every problem at once.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes: 0 when `lockgate run` would accept it, 78 when not. Warnings do not count.")]
pub struct CheckArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Tell what the kernel of this machine can do for TLS, and what stands in the way.
#[derive(Args, Debug)]
pub struct ProbeArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Make a private CA, and certificates of it.
#[derive(Debug, Subcommand)]
pub enum PkiCommand {
    Init(PkiInitArgs),
    Issue(PkiIssueArgs),
}

/// Make a root CA (10 years) and an intermediate CA (5 years) that signs certificates.
///
/// Writes root-ca.crt and .key, intermediate-ca.crt and .key, and ca-bundle.crt with both
/// certificates. Take root-ca.key offline afterwards: `pki issue` does not need it.
#[derive(Args, Debug)]
pub struct PkiInitArgs {
    /// Folder to write to; made if it is not there, for its owner only
    #[arg(long, value_name = "FOLDER", default_value = "pki")]
    pub dir: PathBuf,
    /// Organization in the names of the CAs
    #[arg(long, value_name = "NAME", default_value = "lockgate")]
    pub organization: String,
    /// Replace a CA that is there; certificates of the old one are worthless afterwards
    #[arg(long)]
    pub force: bool,
}

/// Issue a certificate with its key: NAME.crt (with the intermediate, to be served as it is) and
/// NAME.key.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  lockgate pki issue edge --server --dns edge.example.com --ip 192.0.2.1
  lockgate pki issue orders --dns orders.internal --uri spiffe://example.com/production/orders
  lockgate pki issue alice --client --uri spiffe://example.com/people/alice")]
pub struct PkiIssueArgs {
    /// Common name, and name of the files
    pub name: String,
    /// DNS name; may be repeated, and may begin with "*."
    #[arg(long, value_name = "NAME")]
    pub dns: Vec<String>,
    /// URI, such as a SPIFFE ID: spiffe://example.com/orders; may be repeated
    #[arg(long, value_name = "URI")]
    pub uri: Vec<String>,
    /// IP address; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Vec<IpAddr>,
    /// For clients; without --client and --server it is for both
    #[arg(long)]
    pub client: bool,
    /// For servers
    #[arg(long)]
    pub server: bool,
    /// Days that it is valid
    #[arg(long, default_value_t = 90)]
    pub days: u32,
    /// Kind of its key
    #[arg(long, value_name = "KIND", value_enum, default_value = "p256")]
    pub key_type: KeyType,
    /// Folder of the CA, as `pki init` made it
    #[arg(long, value_name = "FOLDER", default_value = "pki")]
    pub dir: PathBuf,
    /// Folder to write to
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}

/// What `arguments` ask for, the program's name first. `Err` is an exit code: help and version
/// were printed (0), or what is wrong with the command line ([`EX_USAGE`]).
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, u8> {
    Cli::try_parse_from(arguments).map_err(|error| {
        // Nothing can be done about a closed stdout or stderr; the exit code tells as well.
        error.print().ok();
        match error.use_stderr() {
            true => EX_USAGE,
            false => 0,
        }
    })
}

/// Without what flags hold: one may be a private key.
impl fmt::Debug for RunArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunArgs")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn offload() -> impl TypedValueParser<Value = Offload> {
    PossibleValuesParser::new(Offload::ALL.map(Offload::name)).map(|word| {
        let named = |offload: &Offload| offload.name() == word;
        Offload::ALL
            .into_iter()
            .find(named)
            .unwrap_or(Offload::Auto)
    })
}

#[cfg(test)]
mod tests;
