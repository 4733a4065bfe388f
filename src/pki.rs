//! A private CA for a fleet, or for a demonstration: a root, an intermediate that signs, leaves.
//!
//! The root signs nothing but the intermediate, so its key can go offline. There is no revocation
//! and no database: leaves are short-lived, and their serials are random.

mod error;
mod files;
mod names;
mod request;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use zeroize::Zeroizing;

use crate::limits;
pub use error::Error;
use files::NewFile;
pub use request::{KeyType, Purpose, Request};

pub const ROOT_CERTIFICATE: &str = "root-ca.crt";
pub const ROOT_KEY: &str = "root-ca.key";
pub const INTERMEDIATE_CERTIFICATE: &str = "intermediate-ca.crt";
pub const INTERMEDIATE_KEY: &str = "intermediate-ca.key";
pub const BUNDLE: &str = "ca-bundle.crt";

const DAY: Duration = Duration::from_secs(24 * 3600);
const ROOT_DAYS: u32 = 3650;
const INTERMEDIATE_DAYS: u32 = 1825;
/// Clocks of the fleet may be this far behind ours.
const BACKDATED: Duration = Duration::from_secs(300);

/// A CA that can issue certificates.
pub struct Authority {
    organization: String,
    root_pem: String,
    /// Only of one that was just made: issuing does not need it.
    root_key_pem: Option<Zeroizing<String>>,
    intermediate_pem: String,
    intermediate_key_pem: Zeroizing<String>,
    /// Unix time, in seconds.
    intermediate_not_after: u64,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Issued {
    /// Leaf and intermediate, to be served as it is.
    pub certificate_pem: String,
    pub key_pem: Zeroizing<String>,
    /// Unix time, in seconds.
    pub not_after: u64,
}

impl Authority {
    /// A new root and a new intermediate, in memory.
    pub fn create(organization: &str) -> Result<Authority, Error> {
        names::organization(organization)?;
        let now = now();
        let root_key = KeyPair::generate()?;
        let root_params = authority(
            organization,
            "Root CA",
            BasicConstraints::Unconstrained,
            now,
            ROOT_DAYS,
        )?;
        let root = root_params.self_signed(&root_key)?;
        let root_key_pem = Zeroizing::new(root_key.serialize_pem());
        let root_issuer = Issuer::new(root_params, root_key);

        let key = KeyPair::generate()?;
        let params = authority(
            organization,
            "Intermediate CA",
            BasicConstraints::Constrained(0),
            now,
            INTERMEDIATE_DAYS,
        )?;
        let intermediate = params.signed_by(&key, &root_issuer)?;
        Ok(Authority {
            organization: organization.to_owned(),
            root_pem: root.pem(),
            root_key_pem: Some(root_key_pem),
            intermediate_pem: intermediate.pem(),
            intermediate_key_pem: Zeroizing::new(key.serialize_pem()),
            intermediate_not_after: (now + DAY * INTERMEDIATE_DAYS).as_secs(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The CA that [`Authority::save`] wrote to `dir`. The root's key may be gone.
    pub fn open(dir: &Path) -> Result<Authority, Error> {
        let root_pem = read(dir, ROOT_CERTIFICATE)?;
        let intermediate_pem = read(dir, INTERMEDIATE_CERTIFICATE)?;
        let intermediate_key_pem = Zeroizing::new(read(dir, INTERMEDIATE_KEY)?);
        let certificate = dir.join(INTERMEDIATE_CERTIFICATE);
        let unusable = |path: PathBuf, why: String| Error::Unusable { path, why };
        let key = KeyPair::from_pem(&intermediate_key_pem)
            .map_err(|error| unusable(dir.join(INTERMEDIATE_KEY), error.to_string()))?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(intermediate_pem.as_bytes())
            .map_err(|error| unusable(certificate.clone(), error.to_string()))?;
        let x509 = pem
            .parse_x509()
            .map_err(|error| unusable(certificate.clone(), error.to_string()))?;
        if !x509.is_ca() {
            return Err(unusable(certificate, "is not a CA certificate".to_owned()));
        }
        if x509.public_key().raw != key.subject_public_key_info() {
            let why = format!(
                "does not belong to {}",
                dir.join(INTERMEDIATE_KEY).display()
            );
            return Err(unusable(certificate, why));
        }
        let organization = x509.subject().iter_organization().next();
        let organization = organization
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default();
        Ok(Authority {
            organization: organization.to_owned(),
            root_key_pem: None,
            intermediate_not_after: u64::try_from(x509.validity().not_after.timestamp())
                .unwrap_or_default(),
            issuer: Issuer::from_ca_cert_pem(&intermediate_pem, key)?,
            root_pem,
            intermediate_key_pem,
            intermediate_pem,
        })
    }

    /// Writes the CA to `dir`, which is made if it is not there, and tells the files.
    pub fn save(&self, dir: &Path, overwrite: bool) -> Result<Vec<PathBuf>, Error> {
        let bundle = self.bundle_pem();
        let mut list = Vec::new();
        if let Some(key) = &self.root_key_pem {
            list.push(NewFile::private(dir.join(ROOT_KEY), key));
        }
        list.extend([
            NewFile::public(dir.join(ROOT_CERTIFICATE), &self.root_pem),
            NewFile::private(dir.join(INTERMEDIATE_KEY), &self.intermediate_key_pem),
            NewFile::public(dir.join(INTERMEDIATE_CERTIFICATE), &self.intermediate_pem),
            NewFile::public(dir.join(BUNDLE), &bundle),
        ]);
        files::write(dir, &list, overwrite)
    }

    /// What clients and servers trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    pub fn intermediate_pem(&self) -> &str {
        &self.intermediate_pem
    }

    /// Intermediate and root, in this order.
    pub fn bundle_pem(&self) -> String {
        format!("{}{}", self.intermediate_pem, self.root_pem)
    }

    /// A new key and a certificate for it.
    pub fn issue(&self, request: &Request) -> Result<Issued, Error> {
        let names = names::subject_alternative_names(request)?;
        let now = now();
        let not_after = now + DAY * request.days;
        if !(1..=limits::CERTIFICATE_DAYS_MAX).contains(&request.days) {
            return Err(Error::Days(request.days));
        }
        if not_after.as_secs() > self.intermediate_not_after {
            let left = self.intermediate_not_after.saturating_sub(now.as_secs());
            return Err(Error::OutlivesIssuer {
                days: request.days,
                days_left: left / DAY.as_secs(),
            });
        }
        let key = request.key_type.generate()?;
        let mut params = params(&self.organization, &request.name, now, not_after)?;
        params.subject_alt_names = names;
        // Without this, the extensions that name the key and say "no CA" are left out.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match request.purpose {
            Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: format!("{}{}", leaf.pem(), self.intermediate_pem),
            key_pem: Zeroizing::new(key.serialize_pem()),
            not_after: not_after.as_secs(),
        })
    }
}

impl Issued {
    /// Writes `name.key` and `name.crt` to `dir`, which is made if it is not there.
    pub fn save(&self, dir: &Path, name: &str, overwrite: bool) -> Result<Vec<PathBuf>, Error> {
        names::common_name(name)?;
        let list = [
            NewFile::private(dir.join(format!("{name}.key")), &self.key_pem),
            NewFile::public(dir.join(format!("{name}.crt")), &self.certificate_pem),
        ];
        files::write(dir, &list, overwrite)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("organization", &self.organization)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn authority(
    organization: &str,
    kind: &str,
    constraints: BasicConstraints,
    now: Duration,
    days: u32,
) -> Result<CertificateParams, Error> {
    let mut params = params(
        organization,
        &format!("{organization} {kind}"),
        now,
        now + DAY * days,
    )?;
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    Ok(params)
}

/// What all three kinds of certificates have in common; times are Unix time.
fn params(
    organization: &str,
    name: &str,
    now: Duration,
    not_after: Duration,
) -> Result<CertificateParams, Error> {
    let mut subject = DistinguishedName::new();
    if !organization.is_empty() {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(serial_number()?);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + not_after;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// 20 bytes, the most that RFC 5280, section 4.1.2.2 allows: random, positive, never shorter.
fn serial_number() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Random)?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn now() -> Duration {
    // A clock before 1970 makes certificates that have expired; nothing else goes wrong.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn read(dir: &Path, name: &str) -> Result<String, Error> {
    let path = dir.join(name);
    fs::read_to_string(&path).map_err(|error| Error::Read { path, error })
}

#[cfg(test)]
mod tests;
