//! No key, secret or ticket in anything that is logged, at any level and in any format.
//!
//! What must not be there is known from the other side: openssl writes down the secrets of its
//! connections and its tickets, and the private keys are the test's own. Each is looked for in every
//! spelling that a program may give to bytes.

use std::{fs, io::Write, net::TcpStream};

use crate::harness::{
    Backend, Connector, End, Folder, Lockgate, Setup, command, machine, metrics, openssl::s_client,
    pki, pki::Identity, sessions::echo, wait_until,
};

/// Bytes that nobody must see, and what they are.
#[derive(Clone)]
struct Secret(String, Vec<u8>);

/// How bytes may be spelled in a text; so much of them that it is no coincidence.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let joined = |format: fn(&u8) -> String, between: &str| {
        let parts: Vec<_> = bytes[..8].iter().map(format).collect();
        parts.join(between).into_bytes()
    };
    let lower = |byte: &u8| format!("{byte:02x}");
    let upper = |byte: &u8| format!("{byte:02X}");
    let mut all = vec![bytes[..12].to_vec()];
    for between in ["", ":", " ", ", "] {
        all.push(joined(lower, between));
        all.push(joined(upper, between));
        all.push(joined(|byte| format!("0x{byte:02x}"), between));
    }
    all.push(joined(u8::to_string, ", "));
    all.push(joined(u8::to_string, ","));
    for start in 0..3 {
        all.push(base64(&bytes[start..start + 12]));
    }
    all
}

/// Of a multiple of three bytes.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|group| {
        let number = group.iter().fold(0, |n, &byte| n << 8 | usize::from(byte));
        [18, 12, 6, 0].map(|shift| DIGITS[number >> shift & 63])
    });
    digits.collect()
}

fn is_in(text: &[u8], bytes: &[u8]) -> bool {
    spellings(bytes)
        .iter()
        .any(|wanted| text.windows(wanted.len()).any(|window| window == wanted))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(char::is_ascii_hexdigit).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The scalar of a P-256 key: an OCTET STRING of 32 bytes (RFC 5915), the first in its PKCS #8.
fn private_key(identity: &Identity) -> Secret {
    let der = identity.private_key().secret_der().to_vec();
    let at = der.windows(2).position(|pair| pair == [4, 32]).unwrap() + 2;
    Secret(
        format!("key of {}", identity.name),
        der[at..at + 32].to_vec(),
    )
}

/// `LABEL client_random secret`, as browsers write it as well.
fn of_key_log(path: &str) -> Vec<Secret> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let secrets: Vec<_> = lines
        .map(|line| {
            let mut words = line.split(' ');
            let label = words.next().unwrap().to_owned();
            Secret(label, unhex(words.nth(1).unwrap()))
        })
        .collect();
    assert!(!secrets.is_empty(), "no secret in {path}");
    secrets
}

/// The ticket and the secret of a session that openssl keeps.
fn of_session(path: &str) -> Vec<Secret> {
    let text = command::run("openssl", &["sess_id", "-in", path, "-noout", "-text"])
        .success()
        .text();
    let mut secrets = Vec::new();
    for name in ["Master-Key:", "Resumption PSK:"] {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        let value = line.unwrap_or_default().trim();
        if value.len() >= 64 {
            secrets.push(Secret(name.to_owned(), unhex(value)));
        }
    }
    // `    0010 - 1a 2b ..-.. 9f   ascii`
    let dump = text.split("TLS session ticket:").nth(1).unwrap();
    let lines = dump.lines().skip(1).take_while(|line| line.contains(" - "));
    let ticket = lines.flat_map(|line| {
        let start = line.find(" - ").unwrap() + 3;
        unhex(&line[start..start + 47])
    });
    let ticket: Vec<u8> = ticket.collect();
    assert!(ticket.len() > 100, "{text}");
    // Its first bytes are the name of its key.
    for at in [0, 16, ticket.len() / 2, ticket.len() - 32] {
        secrets.push(Secret(
            format!("ticket from {at}"),
            ticket[at..at + 32].to_vec(),
        ));
    }
    assert!(secrets.len() > 4, "{text}");
    secrets
}

/// openssl comes, talks, updates keys where they can be, and comes again with its ticket.
fn openssl_visits(lockgate: &Lockgate, version: &str) -> Vec<Secret> {
    let (certificate, key) = pki().client.write(lockgate.folder());
    let path = |name: &str| lockgate.folder().join(name).display().to_string();
    let (log, session) = (path("key-log"), path("session"));
    let options = [
        version,
        "-cert",
        &certificate,
        "-key",
        &key,
        "-keylogfile",
        &log,
    ];
    for ticket in ["-sess_out", "-sess_in"] {
        let mut client = s_client(lockgate, &[&options[..], &[ticket, &session]].concat());
        client.send(b"some bytes\n");
        client.wait_for("some bytes");
        if version == "-tls1_3" && machine::can_update_keys() {
            client.send(b"K\n");
            client.wait_for_times("KEYUPDATE", 1);
            client.send(b"more bytes\n");
            client.wait_for("more bytes");
        }
        client.send(b"Q\n");
        client.finish();
    }
    let secrets = [of_key_log(&log), of_session(&session)].concat();
    fs::remove_file(log).unwrap();
    secrets
}

/// Reloads of all kinds, those included that stumble over a key.
fn reloads(lockgate: &Lockgate) {
    let path = lockgate.folder().join("lockgate.toml");
    let good = fs::read_to_string(&path).unwrap();
    let key = &pki().server.key;
    let lines: Vec<_> = key.lines().collect();
    let broken = [
        // A key that is cut off, one without its frame, one in the place of a path, or of a key.
        good.replace(&key.replace('\n', "\\n"), &lines[..2].join("\\n")),
        good.replace(&key.replace('\n', "\\n"), lines[1]),
        good.replace(&format!("key = {key:?}"), &format!("key_file = {key:?}")),
        good.replace("[log]", &format!("[log]\nkey = {key:?}")),
        good.replace("[log]", &format!("[log]\n{}", lines[1])),
        // Where a message would quote what it refuses.
        good.replace(
            "name = \"inline\"",
            &format!("name = \"{}{}\"", lines[1], lines[2]),
        ),
        good.replace(
            "name = \"inline\"",
            &format!("name = \"inline\"\nunknown_sni = {:?}", lines[1]),
        ),
    ];
    for (index, text) in broken.iter().enumerate() {
        assert_ne!(*text, good, "{index}");
        let before = lockgate
            .metrics()
            .of("lockgate_tls_reload_total", &["result=parse_error"]);
        fs::write(&path, text).unwrap();
        let labels = ["result=parse_error"];
        lockgate.wait_for("lockgate_tls_reload_total", &labels, before + 1);
    }
    fs::write(&path, &good).unwrap();
    lockgate.signal(libc::SIGHUP);
    lockgate.wait_for("lockgate_config_generation", &[], 2);
}

fn everything(format: &str) {
    let backend = Backend::tcp(echo);
    let (certificate, key) = (&pki().server.certificate, &pki().server.key);
    let port = machine::free_port();
    let lockgate = Setup::to(&backend.address)
        .log("level = \"trace\"")
        .log(&format!("format = {format:?}"))
        .client_auth("request")
        .extra(&format!(
            "[audit]\nfile = \"audit.log\"\n[[listener]]\nname = \"inline\"\n\
             listen = \"127.0.0.1:{port}\"\nbackend = \"main\"\n\
             certificates = [{{ certificate = {certificate:?}, key = {key:?} }}]"
        ))
        .start();

    let mut secrets = vec![private_key(&pki().server), private_key(&pki().client)];
    for version in ["-tls1_2", "-tls1_3"] {
        secrets.extend(openssl_visits(&lockgate, version));
    }
    for identity in [&pki().client_expired, &pki().client_untrusted] {
        let refused = Connector::new()
            .identity(identity)
            .verdict(lockgate.address);
        assert!(matches!(refused, End::Alert(_)), "{refused:?}");
    }
    let mut plain = TcpStream::connect(lockgate.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    drop(plain);
    reloads(&lockgate);

    wait_until("the connections were told", || {
        lockgate.log().matches("connection closed").count() >= 4
    });
    let mut told = lockgate.log().into_bytes();
    told.extend(fs::read(lockgate.folder().join("audit.log")).unwrap());
    for path in [
        "/config",
        "/certificates",
        "/connections",
        "/ready",
        "/metrics",
    ] {
        let admin = lockgate.folder().join("admin");
        let (status, body) = metrics::get(&admin, path).unwrap();
        assert_eq!(status, 200, "{path}");
        told.extend(body.into_bytes());
    }
    for Secret(what, bytes) in &secrets {
        assert!(!is_in(&told, bytes), "{what} is told, format {format}");
    }
    for line in key.lines().filter(|line| line.len() > 40) {
        let found = told
            .windows(24)
            .any(|window| window == &line.as_bytes()[..24]);
        assert!(!found, "a line of the key is told, format {format}");
    }
    // The search finds what is there.
    let folder = Folder::new();
    let path = folder.write("client.pem", &pki().client.certificate);
    let arguments = ["x509", "-in", &path, "-noout", "-sha256", "-fingerprint"];
    let text = command::run("openssl", &arguments).success().text();
    assert!(is_in(&told, &unhex(text.split('=').nth(1).unwrap())));
    lockgate.finish();
}

#[test]
fn nothing_secret_is_logged_as_text() {
    everything("text");
}

#[test]
fn nothing_secret_is_logged_as_json() {
    everything("json");
}
