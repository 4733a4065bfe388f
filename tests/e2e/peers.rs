//! Real clients and a real server: curl, wrk, python, openssl; nginx.

use std::{fs, process::Command};

use crate::harness::{
    Backend, Folder, Lockgate, Program, Setup, StreamEnd, command::curl, nginx::Nginx, pattern,
    pki, pki::HOST, sessions::echo,
};

/// curl that trusts the test's CA and finds its host at lockgate.
fn curl_to(lockgate: &Lockgate, arguments: &[&str]) -> Command {
    let ca = lockgate.folder().write("curl-ca.pem", &pki().ca);
    let resolve = format!("{HOST}:{}:127.0.0.1", lockgate.port());
    let mut command = curl(&["--cacert", &ca, "--resolve", &resolve]);
    command.args(arguments);
    command
}

#[test]
fn curl_downloads_from_and_uploads_to_nginx() {
    for nginx in [Nginx::tcp(), Nginx::unix()] {
        let bytes = pattern(11, 10 << 20);
        nginx.folder.write("files/large", &bytes);
        let lockgate = Setup::to(&nginx.address).start();
        for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
            let url = lockgate.url(HOST, "/large");
            let got = Program::start(curl_to(&lockgate, version).args(["--fail", &url]));
            assert!(
                got.finish().success().stdout == bytes,
                "the download is another file"
            );
        }
        let upload = nginx.folder.write("upload", pattern(12, 7 << 20));
        let url = lockgate.url(HOST, "/put/uploaded");
        let mut put = curl_to(&lockgate, &["--fail", "--upload-file", &upload, &url]);
        Program::start(&mut put).finish().success();
        let uploaded = fs::read(nginx.folder.join("files/put/uploaded")).unwrap();
        assert!(
            uploaded == pattern(12, 7 << 20),
            "the upload is another file"
        );
        lockgate.finish();
    }
}

#[test]
fn curl_keeps_a_connection_over_many_requests() {
    let nginx = Nginx::tcp();
    let lockgate = Setup::to(&nginx.address).start();
    let url = lockgate.url(HOST, "/index.html");
    let mut many = curl_to(&lockgate, &["--fail"]);
    many.args(vec![url; 50]);
    let text = Program::start(&mut many).finish().success().text();
    assert_eq!(text, "hello from nginx\n".repeat(50));
    assert_eq!(lockgate.metrics().sum("lockgate_handshakes_total"), 1);
    lockgate.finish();
}

#[test]
fn curl_reaches_a_listener_on_a_unix_socket_in_user_space() {
    let nginx = Nginx::unix();
    let folder = Folder::new();
    let path = folder.join("listener").display().to_string();
    let setup = Setup::to(&nginx.address);
    let certificate = setup.certificate(&pki().server);
    let lockgate = setup
        .runtime("offload = \"bulk\"")
        .extra(&format!(
            "[[listener]]\nname = \"local\"\nlisten = \"unix:{path}\"\nbackend = \"main\"\n\
             certificates = [{certificate}]"
        ))
        .start();
    let url = format!("https://{HOST}/index.html");
    let mut request = curl_to(&lockgate, &["--fail", "--unix-socket", &path, &url]);
    let text = Program::start(&mut request).finish().success().text();
    assert_eq!(text, "hello from nginx\n");
    let labels = ["path=user", "reason=unix_socket"];
    lockgate.wait_for("lockgate_connections_by_path_total", &labels, 1);
    lockgate.finish_on_any_path();
}

#[test]
fn wrk_meets_no_error() {
    let nginx = Nginx::tcp();
    nginx.folder.write("files/page", pattern(13, 20_000));
    let lockgate = Setup::to(&nginx.address).start();
    for (path, header) in [
        ("/page", "Connection: keep-alive"),
        ("/index.html", "Connection: close"),
    ] {
        let url = lockgate.url("127.0.0.1", path);
        let mut wrk = Command::new("wrk");
        wrk.args([
            "-t1",
            "-c16",
            "-d2s",
            "--timeout",
            "20s",
            "-H",
            header,
            &url,
        ]);
        let text = Program::start(&mut wrk).finish().success().text();
        assert!(text.contains("requests in"), "{text}");
        assert!(
            !text.contains("Socket errors") && !text.contains("Non-2xx"),
            "{text}"
        );
    }
    lockgate.finish();
}

const PYTHON: &str = r#"
import socket, ssl, sys
port, ca, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
plain = socket.create_connection(("127.0.0.1", port), timeout=20)
tls = context.wrap_socket(plain, server_hostname="example.test")
data = bytes(range(256)) * 2000
tls.sendall(data[:1000])
back = b""
while len(back) < 1000:
    back += tls.recv(65536)
assert back == data[:1000]
rest = tls.unwrap()  # sends close_notify and wants one back
rest.close()
print("unwrapped", tls.version())
"#;

#[test]
fn python_unwraps_its_socket() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let ca = lockgate.folder().write("ca.pem", &pki().ca);
    for version in ["TLSv1_2", "TLSv1_3"] {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", PYTHON, &lockgate.port().to_string(), &ca, version]);
        let text = Program::start(&mut python).finish().success().text();
        assert!(text.starts_with("unwrapped"), "{text}");
        assert_eq!(backend.next(), StreamEnd::Clean);
    }
    lockgate.finish();
}
