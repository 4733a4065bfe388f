//! Load for a TLS terminator on this machine: handshakes, requests, bulk and idle connections.
//!
//! ```text
//!   arguments ──> main ──> process (several: each a child with its share) ──> run
//!                                                                              │ slots, one per connection
//!                             report <── tally <── unit: handshake, http <── pace (closed | open loop)
//!                                                     └── client: TLS as asked for, and checked
//! ```
//!
//! What packaged tools do not do together: open loop at a fixed rate with latencies from the moment
//! a unit should have begun, resumption, and a check of every handshake for being what was asked
//! for. It refuses targets that are not loopback addresses, and every run is bounded in time.
//!
//! With `--wait`, it connects (and fetches tickets), prints `READY` and starts on a line from
//! stdin, so that whoever measures a proxy's CPU can read the clock in between.

mod arguments;
mod client;
mod http;
mod pace;
mod process;
mod report;
mod run;
mod tally;

use std::process::ExitCode;

use clap::Parser;

pub type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let done = arguments.check().and_then(|()| match arguments.child {
        Some(index) => process::child(&arguments.share(index)),
        None => process::parent(&arguments),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
