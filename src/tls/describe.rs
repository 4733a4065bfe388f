//! What a certificate says, for operators: the `check` command, status pages, warnings.
//!
//! Nothing here decides whether a certificate is trusted.

use std::{borrow::Cow, fmt, net::IpAddr};

use aws_lc_rs::digest;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, oid_registry as oid, prelude::FromDer,
    public_key::PublicKey, x509::SubjectPublicKeyInfo,
};

use super::identity::{common_name, name_text, printable};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    pub subject: Box<str>,
    pub issuer: Box<str>,
    pub common_name: Option<Box<str>>,
    /// Lower case, as in the certificate otherwise.
    pub dns_names: Box<[Box<str>]>,
    pub uris: Box<[Box<str>]>,
    pub ips: Box<[IpAddr]>,
    /// Hexadecimal, with colons.
    pub serial: Box<str>,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    pub fingerprint_sha256: [u8; 32],
    /// Such as `ECDSA P-256` or `RSA 2048`.
    pub key_kind: Cow<'static, str>,
    pub is_ca: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescribeError {
    NotACertificate,
}

impl CertificateInfo {
    pub fn from_der(der: &[u8]) -> Result<Self, DescribeError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| DescribeError::NotACertificate)?;
        Ok(Self::from_parsed(&certificate, der))
    }

    pub(super) fn from_parsed(certificate: &X509Certificate<'_>, der: &[u8]) -> Self {
        let names = match certificate.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.as_slice(),
            Ok(None) | Err(_) => &[],
        };
        let of_kind = |pick: fn(&GeneralName<'_>) -> Option<Box<str>>| -> Box<[Box<str>]> {
            names.iter().filter_map(pick).collect()
        };
        CertificateInfo {
            subject: name_text(certificate.subject()),
            issuer: name_text(certificate.issuer()),
            common_name: common_name(certificate.subject()).map(Box::from),
            dns_names: of_kind(|name| match name {
                GeneralName::DNSName(name) => Some(printable(&name.to_ascii_lowercase())),
                _ => None,
            }),
            uris: of_kind(|name| match name {
                GeneralName::URI(uri) => Some(printable(uri)),
                _ => None,
            }),
            ips: names.iter().filter_map(ip_address).collect(),
            serial: printable(&certificate.raw_serial_as_string()),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            fingerprint_sha256: fingerprint(der),
            key_kind: key_kind(certificate.public_key()),
            is_ca: certificate.is_ca(),
        }
    }

    pub fn fingerprint_text(&self) -> String {
        fingerprint_text(&self.fingerprint_sha256)
    }

    /// Whether the certificate names anything in a subjectAltName that a client would look at.
    pub fn has_alternative_names(&self) -> bool {
        !(self.dns_names.is_empty() && self.ips.is_empty() && self.uris.is_empty())
    }
}

pub(super) fn fingerprint(der: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, der);
    let mut fingerprint = [0; 32];
    for (to, from) in fingerprint.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    fingerprint
}

/// `AA:BB:..`, as other tools print it.
pub fn fingerprint_text(fingerprint: &[u8; 32]) -> String {
    let pairs: Vec<String> = fingerprint
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    pairs.join(":")
}

/// `aabb..`.
pub fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `2026-11-23T01:03:00Z`.
pub fn iso8601(unix_seconds: i64) -> String {
    let days = unix_seconds.div_euclid(86_400);
    let second_of_day = unix_seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar, in eras of 400 years that
/// begin on 1 March, so that the leap day is the last of its year.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    const DAYS_FROM_0000_03_01: i64 = 719_468;
    let days = days.saturating_add(DAYS_FROM_0000_03_01);
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn ip_address(name: &GeneralName<'_>) -> Option<IpAddr> {
    let GeneralName::IPAddress(bytes) = name else {
        return None;
    };
    <[u8; 4]>::try_from(*bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
        .ok()
}

fn key_kind(key: &SubjectPublicKeyInfo<'_>) -> Cow<'static, str> {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == oid::OID_SIG_ED25519 {
        return "Ed25519".into();
    }
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()).into(),
        Ok(PublicKey::EC(_)) => {
            let curve = key
                .algorithm
                .parameters
                .as_ref()
                .and_then(|parameters| parameters.as_oid().ok());
            match curve {
                Some(curve) if curve == oid::OID_EC_P256 => "ECDSA P-256".into(),
                Some(curve) if curve == oid::OID_NIST_EC_P384 => "ECDSA P-384".into(),
                Some(curve) if curve == oid::OID_NIST_EC_P521 => "ECDSA P-521".into(),
                Some(curve) => format!("ECDSA {curve}").into(),
                None => "ECDSA".into(),
            }
        }
        _ => algorithm.to_string().into(),
    }
}

impl fmt::Display for DescribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DescribeError::NotACertificate => {
                f.write_str("these bytes are not an X.509 certificate; issue it again")
            }
        }
    }
}

impl std::error::Error for DescribeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_395_780, "2026-11-23T01:03:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(iso8601(seconds), text);
        }
        // Far beyond any certificate, and still no panic.
        let _ = (iso8601(i64::MAX), iso8601(i64::MIN));
    }

    #[test]
    fn fingerprints_read_as_other_tools_print_them() {
        let text = fingerprint_text(&fingerprint(b"abc"));
        assert!(text.starts_with("BA:78:16:BF:"), "{text}");
        assert_eq!(text.len(), 95);
    }
}
