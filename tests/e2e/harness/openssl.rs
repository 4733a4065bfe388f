//! `openssl s_client`, the other implementation of TLS.

use std::process::Command;

use super::{Lockgate, Program, pki, pki::HOST};

/// s_client to the test's lockgate, which it trusts; with more arguments.
pub fn s_client(lockgate: &Lockgate, arguments: &[&str]) -> Program {
    let ca = lockgate.folder().write("s_client-ca.pem", &pki().ca);
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-connect",
        &lockgate.address.to_string(),
        "-CAfile",
        &ca,
    ]);
    command.arg("-verify_return_error");
    if !arguments.contains(&"-servername") && !arguments.contains(&"-noservername") {
        command.args(["-servername", HOST]);
    }
    Program::start(command.args(arguments))
}
