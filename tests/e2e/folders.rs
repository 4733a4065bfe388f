//! `certificates_dir`: a folder of certificates is served as it is, whatever comes and goes in it.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::harness::{
    Backend, Connector, Load, Lockgate, Setup, command, machine, pki,
    pki::{HOST, Identity},
    reload::{GENERATION, RELOADS, rename_over},
    sessions::echo,
    wait_until,
};

/// A lockgate with a second listener, whose certificates are those of the folder `certs`.
fn with_folder(fill: impl Fn(&Path)) -> (impl Sized, Lockgate, SocketAddr, PathBuf) {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address);
    let folder = setup.folder.join("certs");
    fs::create_dir(&folder).unwrap();
    fill(&folder);
    let port = machine::free_port();
    let lockgate = setup
        .extra(&format!(
            "[[listener]]\nname = \"folder\"\nlisten = \"127.0.0.1:{port}\"\nbackend = \"main\"\n\
             certificates_dir = \"certs\"\n"
        ))
        .start();
    (backend, lockgate, ([127, 0, 0, 1], port).into(), folder)
}

/// As whoever does it well: nobody sees half a file.
fn put(folder: &Path, name: &str, identity: &Identity) {
    rename_over(&folder.join(format!("{name}.key")), &identity.key);
    rename_over(&folder.join(format!("{name}.crt")), &identity.certificate);
}

/// Whose certificate a client gets that asks for `name`.
fn serves(address: SocketAddr, name: &str, identity: &Identity) -> bool {
    let client = Connector::new().name(name).try_connect(address);
    client.is_ok_and(|client| client.tls.peer_certificates().unwrap()[0] == identity.chain()[0])
}

#[track_caller]
fn wait_served(address: SocketAddr, name: &str, identity: &Identity) {
    wait_until(&format!("{name} was served"), || {
        serves(address, name, identity)
    });
}

#[test]
fn certificates_that_come_change_and_go_in_a_folder_are_followed() {
    let (_backend, lockgate, address, folder) = with_folder(|folder| {
        put(folder, "a", &pki().server);
        fs::write(folder.join("readme.txt"), "no certificate").unwrap();
    });
    assert!(serves(address, HOST, &pki().server));
    let load = Load::on(address);
    load.goes_on();

    // One more, its key first.
    put(&folder, "exact", &pki().exact);
    wait_served(address, "exact.wild.test", &pki().exact);
    // Its key some time after it: that is waited for.
    let generation = lockgate.metrics().sum(GENERATION);
    rename_over(&folder.join("wild.crt"), &pki().wildcard.certificate);
    lockgate.wait_for(RELOADS, &["result=io_error"], 1);
    assert_eq!(lockgate.metrics().sum(GENERATION), generation);
    rename_over(&folder.join("wild.key"), &pki().wildcard.key);
    wait_served(address, "some.wild.test", &pki().wildcard);
    // Another one in its place.
    put(&folder, "a", &pki().server_ed25519);
    wait_served(address, HOST, &pki().server_ed25519);
    // With its key in the same file. It is there before the others go: at no moment is its name nobody's.
    let both = format!("{}{}", pki().server_rsa.certificate, pki().server_rsa.key);
    rename_over(&folder.join("a.pem"), &both);
    fs::remove_file(folder.join("a.crt")).unwrap();
    fs::remove_file(folder.join("a.key")).unwrap();
    wait_served(address, HOST, &pki().server_rsa);
    // Gone: its name is served by the first of the others.
    fs::remove_file(folder.join("exact.key")).unwrap();
    fs::remove_file(folder.join("exact.crt")).unwrap();
    wait_served(address, "exact.wild.test", &pki().wildcard);

    load.goes_on();
    load.end();
    lockgate.finish();
}

#[test]
fn a_folder_of_secrets_is_followed_as_kubernetes_mounts_them() {
    let secret = |folder: &Path, name: &str, version: &str, identity: &Identity| {
        let mount = folder.join(name);
        let data = mount.join(format!("..{version}"));
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("tls.crt"), &identity.certificate).unwrap();
        fs::write(data.join("tls.key"), &identity.key).unwrap();
        symlink(format!("..{version}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        for file in ["tls.key", "tls.crt"] {
            drop(symlink(format!("..data/{file}"), mount.join(file)));
        }
    };
    let (_backend, lockgate, address, folder) = with_folder(|folder| {
        secret(folder, "one", "1", &pki().server);
        fs::create_dir(folder.join("later")).unwrap();
    });
    assert!(serves(address, HOST, &pki().server));
    secret(&folder, "one", "2", &pki().server_ed25519);
    wait_served(address, HOST, &pki().server_ed25519);
    // A folder that was empty at the start, and one that was not there.
    secret(&folder, "later", "1", &pki().wildcard);
    wait_served(address, "some.wild.test", &pki().wildcard);
    secret(&folder, "new", "1", &pki().exact);
    wait_served(address, "exact.wild.test", &pki().exact);
    secret(&folder, "later", "2", &pki().wildcard);
    secret(&folder, "one", "3", &pki().server);
    wait_served(address, HOST, &pki().server);
    // A secret that is deleted takes its folder along.
    fs::remove_dir_all(folder.join("new")).unwrap();
    wait_served(address, "exact.wild.test", &pki().wildcard);
    lockgate.finish_on_any_path();
}

#[test]
fn one_of_many_is_exchanged_without_reading_the_others() {
    const MANY: usize = 300;
    let (_backend, lockgate, address, folder) = with_folder(|folder| {
        put(folder, "a", &pki().server);
        for number in 0..MANY {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed([format!("n{number}.test")]).unwrap();
            fs::write(folder.join(format!("n{number}.crt")), cert.pem()).unwrap();
            let key = signing_key.serialize_pem();
            fs::write(folder.join(format!("n{number}.key")), key).unwrap();
        }
    });
    let read = || {
        let io = fs::read_to_string(format!("/proc/{}/io", lockgate.pid())).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let size = (0..MANY)
        .flat_map(|number| ["crt", "key"].map(|kind| format!("n{number}.{kind}")))
        .map(|name| fs::metadata(folder.join(name)).unwrap().len())
        .sum::<u64>();
    let before = read();
    for identity in [&pki().server_ed25519, &pki().server, &pki().server_ed25519] {
        put(&folder, "a", identity);
        wait_served(address, HOST, identity);
    }
    let one = read() - before;
    assert!(one < size / 4, "{one} bytes read; all others have {size}");

    // All of them at once, which counts that the figure above sees what is read.
    for number in 0..MANY {
        for kind in ["crt", "key"] {
            let name = folder.join(format!("n{number}.{kind}"));
            let text = fs::read_to_string(&name).unwrap();
            rename_over(&name, &format!("{text}\n"));
        }
    }
    wait_until("all were read again", || read() - before > size);
    lockgate.finish_on_any_path();
}

#[test]
fn what_is_wrong_in_a_folder_is_said_by_run_and_check() {
    let (_backend, lockgate, address, folder) =
        with_folder(|folder| put(folder, "a", &pki().server));
    rename_over(&folder.join("b.key"), &pki().exact.key);
    rename_over(&folder.join("b.crt"), &pki().wildcard.certificate);
    rename_over(&folder.join("c.pem"), "nothing\n");
    lockgate.wait_for(RELOADS, &["result=parse_error"], 1);
    wait_until("both were said", || {
        let log = lockgate.log();
        log.contains("b.key: the private key does not belong to the certificate")
            && log.contains("c.pem: holds no PEM certificate")
    });
    assert!(serves(address, HOST, &pki().server));
    let config = lockgate
        .folder()
        .join("lockgate.toml")
        .display()
        .to_string();
    let check = command::lockgate(&["check", "--config", &config]).failure();
    let said = check.all();
    assert!(
        said.contains("listener[1].certificates_dir") && said.contains("b.key: the private key"),
        "{said}"
    );
    for name in ["b.key", "b.crt", "c.pem"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    let generation = lockgate.metrics().sum(GENERATION);
    put(&folder, "a", &pki().server_ed25519);
    wait_served(address, HOST, &pki().server_ed25519);
    lockgate.wait_for(GENERATION, &[], generation + 1);
    // Without a single one there is nothing to serve: the last ones stay.
    fs::remove_file(folder.join("a.key")).unwrap();
    fs::remove_file(folder.join("a.crt")).unwrap();
    wait_until("the empty folder was said", || {
        lockgate.log().contains("has no certificate")
    });
    assert!(serves(address, HOST, &pki().server_ed25519));
    lockgate.finish();
}
