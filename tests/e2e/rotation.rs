//! Certificates change while they are served: in every way that files change, under load, with
//! nothing lost; and what is wrong changes nothing.

use std::{fs, net::TcpStream, os::unix::fs::symlink, path::PathBuf, process::Command};

use crate::harness::{
    Backend, Connector, Folder, Load, Program, Setup, command, machine, pki,
    pki::Identity,
    reload::{GENERATION, RELOADS, admin, edit, get, is_served, rename_over, wait_served},
    sessions::echo,
    wait_until,
};

#[test]
fn a_certificate_is_rotated_under_load_in_every_way_that_files_change() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let (first, second) = (&pki().server, &pki().server_ed25519);
    let (certificate, key) = (
        lockgate.folder().join("server.pem"),
        lockgate.folder().join("server.key"),
    );
    let load = Load::on(lockgate.address);
    load.goes_on();

    // Written in place, the key some time after its certificate.
    fs::write(&certificate, &second.certificate).unwrap();
    lockgate.wait_for(RELOADS, &["result=parse_error"], 1);
    assert!(is_served(lockgate.address, first), "the last good one");
    fs::write(&key, &second.key).unwrap();
    wait_served(&lockgate, second);

    // Renamed over.
    rename_over(&key, &first.key);
    rename_over(&certificate, &first.certificate);
    wait_served(&lockgate, first);

    // Removed, and put back later.
    fs::remove_file(&certificate).unwrap();
    fs::remove_file(&key).unwrap();
    lockgate.wait_for(RELOADS, &["result=io_error"], 1);
    assert!(is_served(lockgate.address, first), "the last good one");
    fs::write(&key, &second.key).unwrap();
    fs::write(&certificate, &second.certificate).unwrap();
    wait_served(&lockgate, second);

    // A symlink takes its place, and then points elsewhere.
    for (identity, name) in [(first, "one"), (second, "two"), (first, "three")] {
        let folder = lockgate.folder().join(name);
        fs::create_dir(&folder).unwrap();
        for (path, text) in [(&certificate, &identity.certificate), (&key, &identity.key)] {
            let target = folder.join(path.file_name().unwrap());
            fs::write(&target, text).unwrap();
            let link = path.with_extension("link");
            symlink(&target, &link).unwrap();
            fs::rename(&link, path).unwrap();
        }
        wait_served(&lockgate, identity);
    }
    // Written in place behind the symlink.
    fs::write(
        lockgate.folder().join("three/server.pem"),
        &second.certificate,
    )
    .unwrap();
    fs::write(lockgate.folder().join("three/server.key"), &second.key).unwrap();
    wait_served(&lockgate, second);

    load.goes_on();
    load.end();
    lockgate.finish();
}

#[test]
fn a_secret_that_kubernetes_mounts_is_rotated_under_load() {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address);
    let mount = setup.folder.join("mount");
    fs::create_dir(&mount).unwrap();
    let swap = |version: &str, identity: &Identity| {
        let folder = mount.join(format!("..{version}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tls.crt"), &identity.certificate).unwrap();
        fs::write(folder.join("tls.key"), &identity.key).unwrap();
        let old = fs::read_link(mount.join("..data")).ok();
        symlink(format!("..{version}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(mount.join(old)).unwrap();
        }
    };
    swap("1", &pki().server);
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), mount.join(name)).unwrap();
    }
    let port = machine::free_port();
    let lockgate = setup
        .extra(&format!(
            "[[listener]]\nname = \"mounted\"\nlisten = \"127.0.0.1:{port}\"\nbackend = \"main\"\n\
             certificates = [{{ certificate_file = \"mount/tls.crt\", key_file = \"mount/tls.key\" }}]"
        ))
        .start();
    let address = ([127, 0, 0, 1], port).into();
    let load = Load::on(address);
    load.goes_on();
    for (version, identity) in [
        ("2", &pki().server_ed25519),
        ("3", &pki().server),
        ("4", &pki().server_ed25519),
    ] {
        swap(version, identity);
        wait_until("the mounted certificate was served", || {
            is_served(address, identity)
        });
    }
    load.goes_on();
    load.end();
    let metrics = lockgate.metrics();
    let bad = metrics.of(RELOADS, &["result=io_error"]);
    assert_eq!(bad + metrics.of(RELOADS, &["result=parse_error"]), 0);
    assert_eq!(metrics.sum(GENERATION), 4);
    lockgate.finish();
}

#[test]
fn bad_files_keep_the_last_good_and_are_said_once() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let certificate = lockgate.folder().join("server.pem");
    fs::write(&certificate, "no certificate\n").unwrap();
    lockgate.wait_for(RELOADS, &["scope=listener", "result=parse_error"], 1);
    assert!(is_served(lockgate.address, &pki().server));
    let refused = command::lockgate(&["reload", "--admin", &admin(&lockgate)]).failure();
    assert!(
        refused.all().contains("holds no PEM certificate"),
        "{}",
        refused.all()
    );
    lockgate.signal(libc::SIGHUP);
    lockgate.wait_for(RELOADS, &["result=parse_error"], 3);
    assert_eq!(lockgate.log().matches("holds no PEM").count(), 1);
    assert_eq!(lockgate.metrics().sum(GENERATION), 1);
    let (status, ready) = get(&lockgate, "/ready");
    assert_eq!(status, 200, "it serves: {ready}");
    assert!(ready.contains("\"rejected\"") && ready.contains("server.pem"));

    // So is a configuration that is none.
    fs::write(&certificate, &pki().server.certificate).unwrap();
    lockgate.wait_for(GENERATION, &[], 2);
    edit(&lockgate, |text| format!("{text}\nnonsense = ?\n"));
    lockgate.wait_for(RELOADS, &["result=parse_error"], 4);
    assert!(is_served(lockgate.address, &pki().server));
    edit(&lockgate, |text| text.replace("\nnonsense = ?\n", ""));
    lockgate.wait_for(GENERATION, &[], 3);
    lockgate.finish();
}

#[test]
fn flags_without_a_file_reload_the_certificates_they_name() {
    let backend = Backend::tcp(echo);
    let folder = Folder::new();
    let (certificate, key) = pki().server.write(&folder);
    let port = machine::free_port();
    let listen = format!("127.0.0.1:{port}");
    let admin = format!("127.0.0.1:{}", machine::free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
    command.args(["run", "--listen", &listen, "--backend", &backend.address]);
    command.args(["--tls-cert-path", &certificate, "--tls-key-path", &key]);
    command.args(["--admin", &admin]);
    let program = Program::start(&mut command);
    let address = ([127, 0, 0, 1], port).into();
    wait_until("it accepted", || TcpStream::connect(address).is_ok());
    assert!(is_served(address, &pki().server));
    rename_over(&PathBuf::from(key), &pki().server_rsa.key);
    rename_over(&PathBuf::from(certificate), &pki().server_rsa.certificate);
    wait_until("the new certificate was served", || {
        is_served(address, &pki().server_rsa)
    });
    // Whoever can connect may look; without a token nobody changes anything by TCP.
    let status = command::lockgate(&["status", "--admin", &admin]).success();
    assert!(status.text().contains("generation"), "{}", status.text());
    for change in ["reload", "drain"] {
        let refused = command::lockgate(&[change, "--admin", &admin]).failure();
        assert!(refused.all().contains("bearer token"), "{}", refused.all());
    }
    machine::signal(program.child.id(), libc::SIGTERM);
    program.finish().success();
}

#[test]
fn a_certificate_and_its_ca_bundle_change_together() {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address);
    let mount = setup.folder.join("mount");
    fs::create_dir(&mount).unwrap();
    let versions = [
        (&pki().server, &pki().ca),
        (&pki().server_ed25519, &pki().other_ca),
    ];
    let swap = |version: usize| {
        let (identity, ca) = versions[version % 2];
        let folder = mount.join(format!("..{version}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tls.crt"), &identity.certificate).unwrap();
        fs::write(folder.join("tls.key"), &identity.key).unwrap();
        fs::write(folder.join("ca.crt"), ca).unwrap();
        symlink(format!("..{version}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    swap(0);
    let port = machine::free_port();
    let lockgate = setup
        .extra(&format!(
            "[[listener]]\nname = \"mounted\"\nlisten = \"127.0.0.1:{port}\"\nbackend = \"main\"\n\
             certificates = [{{ certificate_file = \"mount/..data/tls.crt\", key_file = \
             \"mount/..data/tls.key\" }}]\n\
             client_auth = {{ mode = \"required\", ca_file = \"mount/..data/ca.crt\" }}"
        ))
        .start();
    let address = ([127, 0, 0, 1], port).into();
    // The client is of the first authority: it is let in by the first version, and by no other.
    let connector = Connector::new().identity(&pki().client);
    let visit = || {
        let mut client = connector.connect(address);
        let served = client.tls.peer_certificates().unwrap()[0].clone();
        let is_first = served == pki().server.chain()[0];
        // A client of TLS 1.3 learns of the verdict when it reads.
        let is_let_in = client.try_write(b"x").is_ok() && client.read(&mut [0]).is_ok();
        assert_eq!(is_let_in, is_first, "certificate and CA of two versions");
        is_first
    };
    assert!(visit());
    for version in 1..20 {
        swap(version);
        wait_until("the next version was served", || {
            visit() == (version % 2 == 0)
        });
    }
    let metrics = lockgate.metrics();
    assert_eq!(metrics.of(RELOADS, &["result=io_error"]), 0);
    assert_eq!(metrics.of(RELOADS, &["result=parse_error"]), 0);
    lockgate.finish_on_any_path();
}

#[test]
fn inline_pem_changes_with_the_configuration_alone() {
    let backend = Backend::tcp(echo);
    let inline = |identity: &Identity| {
        format!(
            "{{ certificate = \"\"\"\n{}\"\"\", key = \"\"\"\n{}\"\"\" }}",
            identity.certificate, identity.key
        )
    };
    let setup = Setup::to(&backend.address);
    let files = setup.certificate(&pki().server);
    let lockgate = setup.start();
    edit(&lockgate, |text| {
        assert!(text.contains(&files), "{text}");
        text.replace(&files, &inline(&pki().server))
    });
    lockgate.wait_for(GENERATION, &[], 2);
    // The files that held the same text before are no files of this configuration any more.
    let (certificate, key) = (
        lockgate.folder().join("server.pem"),
        lockgate.folder().join("server.key"),
    );
    rename_over(&key, &pki().server_ed25519.key);
    rename_over(&certificate, "no certificate");
    fs::remove_file(&certificate).unwrap();
    edit(&lockgate, |text| {
        text.replace(&inline(&pki().server), &inline(&pki().server_rsa))
    });
    wait_served(&lockgate, &pki().server_rsa);
    let metrics = lockgate.metrics();
    assert_eq!(metrics.sum(GENERATION), 3, "one for each edit");
    assert_eq!(metrics.of(RELOADS, &["result=io_error"]), 0);
    assert_eq!(metrics.of(RELOADS, &["result=parse_error"]), 0);
    let (_, config) = get(&lockgate, "/config");
    assert!(!config.contains("BEGIN"), "{config}");
    lockgate.finish();
}

#[test]
fn a_change_without_an_event_is_found_by_looking() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    // Written by another name in another folder, the inode is the same, and the folder that is
    // watched has no event of it (inotify(7)).
    let elsewhere = lockgate.folder().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for name in ["server.pem", "server.key"] {
        fs::hard_link(lockgate.folder().join(name), elsewhere.join(name)).unwrap();
    }
    // Other names for the files are a change of their status, with events; nothing is different.
    let (pem, key) = (elsewhere.join("server.pem"), elsewhere.join("server.key"));
    wait_until("the links were noticed", || {
        lockgate.metrics().sum(GENERATION) > 1
    });
    fs::write(key, &pki().server_ed25519.key).unwrap();
    fs::write(pem, &pki().server_ed25519.certificate).unwrap();
    wait_served(&lockgate, &pki().server_ed25519);
    assert!(
        lockgate.log().contains("trigger=\"poll\""),
        "an event came after all:\n{}",
        lockgate.log()
    );
    lockgate.finish();
}
