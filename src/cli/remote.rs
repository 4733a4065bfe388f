//! The commands that speak to a lockgate that runs.

use std::path::PathBuf;

use clap::Args;

use crate::limits;

/// Which lockgate is meant.
#[derive(Args, Debug)]
pub struct RemoteArgs {
    /// Its [admin] listen: IP:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub admin: String,
    /// File with the bearer token, for changes by TCP
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print the answer as it comes
    #[arg(long)]
    pub json: bool,
}

/// List the live connections of a running lockgate, oldest first.
#[derive(Args, Debug)]
pub struct ConnectionsArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Only those of one listener
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// Only those of one client
    #[arg(long, value_name = "IDENTITY")]
    pub identity: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = limits::CONNECTIONS_LISTED_MAX)]
    pub limit: usize,
}
