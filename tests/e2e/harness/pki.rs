//! Certificates, made once per run: two authorities, servers of every key type, clients good and bad.

use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::Folder;

pub const HOST: &str = "example.test";
pub const SPIFFE: &str = "spiffe://lab.test/ns/edge/client-one";

/// A certificate chain and its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    pub name: &'static str,
    pub certificate: String,
    pub key: String,
}

pub struct Pki {
    pub ca: String,
    pub other_ca: String,
    /// P-256, for `example.test`, `localhost` and 127.0.0.1.
    pub server: Identity,
    /// The same names with other keys.
    pub server_rsa: Identity,
    pub server_ed25519: Identity,
    /// `*.wild.test` and, apart, `exact.wild.test`.
    pub wildcard: Identity,
    pub exact: Identity,
    /// As `server`, but it expires in five days.
    pub short_lived: Identity,
    /// Clients: good, with and without a SPIFFE ID, and each of the bad ones.
    pub client: Identity,
    pub client_plain: Identity,
    pub client_expired: Identity,
    pub client_untrusted: Identity,
    pub client_bad_usage: Identity,
}

impl Identity {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .map(Result::unwrap)
            .collect()
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// Writes both files and returns their paths.
    pub fn write(&self, folder: &Folder) -> (String, String) {
        (
            folder.write(&format!("{}.pem", self.name), &self.certificate),
            folder.write(&format!("{}.key", self.name), &self.key),
        )
    }
}

pub fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(make)
}

fn make() -> Pki {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let ecdsa = &rcgen::PKCS_ECDSA_P256_SHA256;
    let (ca, issuer) = authority("lockgate test CA");
    let (other_ca, other) = authority("another CA");
    let names = [HOST, "localhost", "127.0.0.1"];
    let server = |name, names: &[&str], algorithm| {
        leaf(name, params(name, names, ServerAuth), algorithm, &issuer)
    };
    let client = |name| params(name, &[], ClientAuth);

    let mut with_spiffe = client("client-one");
    with_spiffe
        .subject_alt_names
        .push(SanType::URI(SPIFFE.try_into().unwrap()));
    let mut expired = client("client-expired");
    expired.not_before = date_time_ymd(2019, 1, 1);
    expired.not_after = date_time_ymd(2020, 1, 1);

    let mut short_lived = params("short-lived", &names, ServerAuth);
    let five_days = std::time::Duration::from_secs(5 * 24 * 3600);
    short_lived.not_after = (std::time::SystemTime::now() + five_days).into();

    Pki {
        ca,
        other_ca,
        server: server("server", &names, ecdsa),
        server_rsa: server("server-rsa", &names, &rcgen::PKCS_RSA_SHA256),
        server_ed25519: server("server-ed25519", &names, &rcgen::PKCS_ED25519),
        wildcard: server("wildcard", &["*.wild.test"], ecdsa),
        exact: server("exact", &["exact.wild.test"], ecdsa),
        short_lived: leaf("short-lived", short_lived, ecdsa, &issuer),
        client: leaf("client-one", with_spiffe, ecdsa, &issuer),
        client_plain: leaf("client-two", client("client-two"), ecdsa, &issuer),
        client_expired: leaf("client-expired", expired, ecdsa, &issuer),
        client_untrusted: leaf(
            "client-untrusted",
            client("client-untrusted"),
            ecdsa,
            &other,
        ),
        client_bad_usage: server("client-bad-usage", &["client.test"], ecdsa),
    }
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    (certificate, Issuer::new(params, key))
}

fn params(name: &str, names: &[&str], usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn leaf(
    name: &'static str,
    params: CertificateParams,
    algorithm: &'static SignatureAlgorithm,
    issuer: &Issuer<'static, KeyPair>,
) -> Identity {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap().pem();
    Identity {
        name,
        certificate,
        key: key.serialize_pem(),
    }
}
