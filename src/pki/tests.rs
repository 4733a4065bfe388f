//! Against the `openssl` binary: another implementation must agree that these are certificates.

use std::{
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use super::*;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("lockgate-pki-{name}-{}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn openssl(dir: &Path, arguments: &str) -> Output {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output();
    output.expect("the openssl binary is needed for this test")
}

fn text(dir: &Path, certificate: &str) -> String {
    let output = openssl(dir, &format!("x509 -noout -text -in {certificate}"));
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // One space between words, so that line breaks of openssl do not matter.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn verifies(dir: &Path, purpose: &str, certificate: &str) -> bool {
    let arguments = format!(
        "verify -x509_strict -purpose {purpose} -CAfile {ROOT_CERTIFICATE} \
         -untrusted {INTERMEDIATE_CERTIFICATE} {certificate}"
    );
    openssl(dir, &arguments).status.success()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it was written")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn openssl_accepts_the_ca_and_its_extensions() {
    let folder = Folder::new("ca");
    let authority = Authority::create("Example").expect("made");
    authority.save(&folder.0, false).expect("saved");
    assert!(verifies(&folder.0, "any", INTERMEDIATE_CERTIFICATE));
    let root = text(&folder.0, ROOT_CERTIFICATE);
    assert!(
        root.contains("Subject: O = Example, CN = Example Root CA"),
        "{root}"
    );
    assert!(
        root.contains("X509v3 Basic Constraints: critical CA:TRUE"),
        "{root}"
    );
    let intermediate = text(&folder.0, INTERMEDIATE_CERTIFICATE);
    for expected in [
        "Issuer: O = Example, CN = Example Root CA",
        "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
        "X509v3 Key Usage: critical Digital Signature, Certificate Sign, CRL Sign",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(
            intermediate.contains(expected),
            "{expected}: {intermediate}"
        );
    }
    let bundle = fs::read_to_string(folder.0.join(BUNDLE)).expect("written");
    assert_eq!(
        bundle,
        format!("{}{}", authority.intermediate_pem(), authority.root_pem())
    );
}

#[test]
fn keys_are_for_their_owner_only() {
    let folder = Folder::new("modes");
    let authority = Authority::create("Example").expect("made");
    authority.save(&folder.0, false).expect("saved");
    let issued = authority
        .issue(&Request::server("edge", &["localhost"]))
        .expect("issued");
    issued.save(&folder.0, "edge", false).expect("saved");
    assert_eq!(mode(&folder.0), 0o700);
    for (name, expected) in [
        (ROOT_KEY, 0o600),
        (INTERMEDIATE_KEY, 0o600),
        ("edge.key", 0o600),
        (ROOT_CERTIFICATE, 0o644),
        (INTERMEDIATE_CERTIFICATE, 0o644),
        (BUNDLE, 0o644),
        ("edge.crt", 0o644),
    ] {
        assert_eq!(mode(&folder.0.join(name)), expected, "{name}");
    }
    assert_eq!(
        fs::read_dir(&folder.0).expect("there").count(),
        7,
        "no staged file is left"
    );
}

#[test]
fn openssl_accepts_leaves_of_every_kind_of_key() {
    let folder = Folder::new("keys");
    Authority::create("Example")
        .expect("made")
        .save(&folder.0, false)
        .expect("saved");
    let authority = Authority::open(&folder.0).expect("opened");
    for (key_type, algorithm) in [
        (KeyType::P256, "prime256v1"),
        (KeyType::P384, "secp384r1"),
        (KeyType::Ed25519, "ED25519"),
        (KeyType::Rsa2048, "(2048 bit)"),
        (KeyType::Rsa3072, "(3072 bit)"),
    ] {
        let request = Request {
            key_type,
            purpose: Purpose::Both,
            ..Request::server("leaf", &["localhost"])
        };
        authority
            .issue(&request)
            .expect("issued")
            .save(&folder.0, "leaf", true)
            .expect("saved");
        assert!(
            text(&folder.0, "leaf.crt").contains(algorithm),
            "{algorithm}"
        );
        assert!(verifies(&folder.0, "sslserver", "leaf.crt"), "{algorithm}");
        assert!(verifies(&folder.0, "sslclient", "leaf.crt"), "{algorithm}");
        let of_key = openssl(&folder.0, "pkey -pubout -in leaf.key").stdout;
        assert_eq!(
            of_key,
            openssl(&folder.0, "x509 -noout -pubkey -in leaf.crt").stdout
        );
    }
}

#[test]
fn a_leaf_says_what_was_asked_for_and_no_more() {
    let folder = Folder::new("leaf");
    Authority::create("Example")
        .expect("made")
        .save(&folder.0, false)
        .expect("saved");
    // The root's key may be offline.
    fs::remove_file(folder.0.join(ROOT_KEY)).expect("removed");
    let authority = Authority::open(&folder.0).expect("opened");
    let request = Request {
        uris: vec!["spiffe://example.com/edge".to_owned()],
        ..Request::server(
            "edge",
            &["edge.example.com", "*.example.com", "192.0.2.1", "::1"],
        )
    };
    authority
        .issue(&request)
        .expect("issued")
        .save(&folder.0, "edge", false)
        .expect("saved");
    let leaf = text(&folder.0, "edge.crt");
    for expected in [
        "Subject: O = Example, CN = edge",
        "X509v3 Subject Alternative Name: DNS:edge.example.com, DNS:*.example.com, IP Address:192.0.2.1, \
         IP Address:0:0:0:0:0:0:0:1, URI:spiffe://example.com/edge",
        "X509v3 Key Usage: critical Digital Signature X509v3",
        "X509v3 Extended Key Usage: TLS Web Server Authentication X509v3",
        "X509v3 Basic Constraints: critical CA:FALSE",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(leaf.contains(expected), "{expected}: {leaf}");
    }
    let serial = String::from_utf8(openssl(&folder.0, "x509 -noout -serial -in edge.crt").stdout);
    assert_eq!(serial.expect("ASCII").trim().len(), "serial=".len() + 40);
    assert!(verifies(&folder.0, "sslserver", "edge.crt"));
    assert!(!verifies(&folder.0, "sslclient", "edge.crt"));
    let chain = fs::read_to_string(folder.0.join("edge.crt")).expect("written");
    assert!(chain.ends_with(authority.intermediate_pem()));

    let client = Request::client("alice", "spiffe://example.com/alice");
    authority
        .issue(&client)
        .expect("issued")
        .save(&folder.0, "alice", false)
        .expect("saved");
    assert!(verifies(&folder.0, "sslclient", "alice.crt"));
    assert!(!verifies(&folder.0, "sslserver", "alice.crt"));
}

#[test]
fn a_certificate_is_valid_at_once_and_for_as_long_as_asked() {
    let authority = Authority::create("Example").expect("made");
    let request = Request {
        days: 2,
        ..Request::server("edge", &["localhost"])
    };
    let issued = authority.issue(&request).expect("issued");
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(issued.certificate_pem.as_bytes()).expect("PEM");
    let validity = pem.parse_x509().expect("X.509").validity().clone();
    let lasts = validity.not_after.timestamp() - validity.not_before.timestamp();
    assert_eq!(lasts, 2 * 24 * 3600 + 300);
    assert_eq!(
        u64::try_from(validity.not_after.timestamp()),
        Ok(issued.not_after)
    );
    assert!(validity.is_valid());
}

#[test]
fn requests_that_no_verifier_would_accept_are_refused() {
    let authority = Authority::create("Example").expect("made");
    let good = Request::server("edge", &["localhost"]);
    let without_names = Request::server("edge", &[]);
    let spiffe = Request::client("a", "spiffe://example.com/a");
    for (request, expected) in [
        (without_names.clone(), "add --dns NAME"),
        (
            Request {
                purpose: Purpose::Both,
                ..without_names
            },
            "add --dns NAME",
        ),
        (
            Request {
                days: 0,
                ..good.clone()
            },
            "choose 1 to 3650",
        ),
        (
            Request {
                days: 3651,
                ..good.clone()
            },
            "choose 1 to 3650",
        ),
        (
            Request {
                days: 1826,
                ..good.clone()
            },
            "its CA for 1825 only",
        ),
        (
            Request {
                name: "../edge".into(),
                ..good
            },
            "cannot be the name",
        ),
        (
            Request {
                uris: vec![
                    "spiffe://example.com/a".into(),
                    "https://example.com/".into(),
                ],
                ..spiffe
            },
            "one certificate for each --uri",
        ),
    ] {
        let error = authority.issue(&request).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(Authority::create("").is_err());
}

#[test]
fn nothing_is_replaced_unless_asked_for() {
    let folder = Folder::new("force");
    let first = Authority::create("Example").expect("made");
    first.save(&folder.0, false).expect("saved");
    let second = Authority::create("Example").expect("made");
    // One of the files is enough.
    fs::remove_file(folder.0.join(ROOT_KEY)).expect("removed");
    let error = second
        .save(&folder.0, false)
        .expect_err("there is one")
        .to_string();
    assert!(
        error.contains("root-ca.crt is there already") && error.contains("--force"),
        "{error}"
    );
    assert!(!folder.0.join(ROOT_KEY).exists(), "nothing was written");
    assert_eq!(
        read(&folder.0, ROOT_CERTIFICATE).expect("there"),
        first.root_pem()
    );
    second.save(&folder.0, true).expect("saved");
    assert_eq!(
        read(&folder.0, ROOT_CERTIFICATE).expect("there"),
        second.root_pem()
    );
    assert_eq!(mode(&folder.0.join(ROOT_KEY)), 0o600);
}

#[test]
fn a_folder_without_a_usable_ca_is_refused_with_the_remedy() {
    let folder = Folder::new("unusable");
    let missing = Authority::open(&folder.0)
        .expect_err("not there")
        .to_string();
    assert!(missing.contains("lockgate pki init"), "{missing}");
    Authority::create("Example")
        .expect("made")
        .save(&folder.0, false)
        .expect("saved");
    let other = KeyPair::generate().expect("made").serialize_pem();
    for (name, contents, expected) in [
        (INTERMEDIATE_KEY, other.as_str(), "does not belong to"),
        (INTERMEDIATE_KEY, "nonsense", "intermediate-ca.key"),
        (INTERMEDIATE_CERTIFICATE, "nonsense", "intermediate-ca.crt"),
    ] {
        let good = read(&folder.0, name).expect("there");
        fs::write(folder.0.join(name), contents).expect("written");
        let error = Authority::open(&folder.0).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        fs::write(folder.0.join(name), good).expect("written");
    }
    Authority::open(&folder.0).expect("as before");
}

#[test]
fn no_key_is_ever_printed() {
    let authority = Authority::create("Example").expect("made");
    let issued = authority
        .issue(&Request::server("edge", &["localhost"]))
        .expect("issued");
    assert!(!format!("{authority:?}{issued:?}").contains("PRIVATE"));
}
