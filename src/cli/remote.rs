//! The commands that speak to a lockgate that runs.

use std::{path::PathBuf, time::Duration};

use clap::{Args, builder::PossibleValuesParser};

use crate::{config::value, limits};

/// Which lockgate is meant.
#[derive(Args, Debug, Default)]
pub struct RemoteArgs {
    /// Its [admin] listen: unix:PATH, IP:PORT or, with TLS, https://HOST:PORT
    /// [default: what /etc/lockgate/lockgate.toml says, or else unix:/run/lockgate/admin.sock]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    pub admin: Option<String>,
    /// Its configuration file, to take the address, the certificate and the token from
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File with the CA certificates that its admin certificate is verified with
    #[arg(long, value_name = "FILE")]
    pub admin_ca: Option<PathBuf>,
    /// File with the bearer token, for changes by TCP and everything by https
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Whose answer is printed.
#[derive(Args, Debug, Default)]
pub struct ReportArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// List the live connections of a running lockgate, oldest first.
#[derive(Args, Debug)]
pub struct ConnectionsArgs {
    #[command(flatten)]
    pub report: ReportArgs,
    /// Only those of one listener
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// Only those of one client
    #[arg(long, value_name = "IDENTITY")]
    pub identity: Option<String>,
    /// Only those from one address: IP or IP:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub peer: Option<String>,
    /// Only those that asked for this server name
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    /// Only those to one backend
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// Only those that are encrypted there
    #[arg(long, value_parser = PossibleValuesParser::new(["kernel", "user"]))]
    pub path: Option<String>,
    /// Only those with a higher number, to go on where another list ended
    #[arg(long, value_name = "ID")]
    pub after: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = limits::CONNECTIONS_LISTED)]
    pub limit: usize,
    /// End one connection in an orderly way, instead
    #[arg(long, value_name = "ID", conflicts_with_all = [
        "listener", "identity", "peer", "sni", "backend", "path", "after", "limit",
    ])]
    pub end: Option<u64>,
}

/// Watch a running lockgate: rates, latencies, paths, backends and certificates near expiry.
///
/// q or Ctrl-C ends it.
#[derive(Args, Debug)]
pub struct TopArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// How often the figures are renewed, such as 500ms or 2s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = value::duration(text).map_err(|fault| fault.message)?;
    let bounds = limits::TOP_INTERVAL_MIN..=limits::TOP_INTERVAL_MAX;
    match bounds.contains(&interval) {
        true => Ok(interval),
        false => Err("write a time from 100ms to 1m".to_owned()),
    }
}
