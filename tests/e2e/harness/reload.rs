//! Changes of files and configuration while lockgate runs, and what comes of them.

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::Path,
};

use super::{Connector, Lockgate, command, metrics, patience, pki::Identity, wait_until};

pub const GENERATION: &str = "lockgate_config_generation";
pub const RELOADS: &str = "lockgate_tls_reload_total";

/// Whose certificate a new connection gets.
pub fn is_served(address: SocketAddr, identity: &Identity) -> bool {
    let client = Connector::new().connect(address);
    let served = client.tls.peer_certificates().unwrap()[0].clone();
    drop(client.close());
    served == identity.chain()[0]
}

#[track_caller]
pub fn wait_served(lockgate: &Lockgate, identity: &Identity) {
    wait_until("the new certificate was served", || {
        is_served(lockgate.address, identity)
    });
}

pub fn admin(lockgate: &Lockgate) -> String {
    format!("unix:{}", lockgate.folder().join("admin").display())
}

/// What `lockgate reload` answers.
#[track_caller]
pub fn reload(lockgate: &Lockgate) -> String {
    let answer = command::lockgate(&["reload", "--admin", &admin(lockgate)]);
    answer.success().text()
}

/// The same without a process for each.
pub fn post(lockgate: &Lockgate, path: &str) -> String {
    let mut socket = UnixStream::connect(lockgate.folder().join("admin")).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    write!(socket, "POST {path} HTTP/1.1\r\nHost: lockgate\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

pub fn get(lockgate: &Lockgate, path: &str) -> (u16, String) {
    metrics::get(&lockgate.folder().join("admin"), path).unwrap()
}

/// Changes the configuration as an editor does: another file takes its place.
#[track_caller]
pub fn edit(lockgate: &Lockgate, change: impl Fn(String) -> String) {
    let path = lockgate.folder().join("lockgate.toml");
    let text = change(fs::read_to_string(&path).unwrap());
    rename_over(&path, &text);
}

pub fn rename_over(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

pub fn threads(lockgate: &Lockgate) -> usize {
    fs::read_dir(format!("/proc/{}/task", lockgate.pid()))
        .unwrap()
        .count()
}
