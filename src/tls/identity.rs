//! Who a client is, from its certificate.
//!
//! Only read from certificates that a verifier has accepted; nothing here verifies anything. Whoever
//! signed a certificate still does not get to write into our log: every text that leaves this module
//! is printable and bounded.

use std::fmt;

use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, x509::X509Name,
};

use super::describe::{self, DescribeError};

/// What is kept of a client's certificate while its connection lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The first SPIFFE ID among the URI names, else the first DNS name, else the common name.
    pub identity: Option<Box<str>>,
    pub subject: Box<str>,
    pub serial: Serial,
    pub fingerprint_sha256: [u8; 32],
    /// Unix seconds.
    pub not_after: i64,
}

/// Bytes of one identity or subject; a SPIFFE ID has at most this many (SPIFFE-ID, section 2.3).
pub const TEXT_BYTES_MAX: usize = 2048;

impl ClientCertificate {
    pub fn from_der(der: &[u8]) -> Result<Self, DescribeError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| DescribeError::NotACertificate)?;
        Ok(ClientCertificate {
            identity: identity(&certificate),
            subject: name_text(certificate.subject()),
            serial: Serial(certificate.raw_serial().into()),
            fingerprint_sha256: describe::fingerprint(der),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// As its bytes are: kept with each idle connection, and seldom written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial(Box<[u8]>);

/// Hexadecimal, with colons; RFC 5280, section 4.1.2.2, allows 20 bytes, and more than
/// [`TEXT_BYTES_MAX`] would show are cut.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().take(TEXT_BYTES_MAX / 3).enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A name that is not exactly what its kind allows is passed over, never repaired: a repaired name
/// could equal somebody else's.
fn identity(certificate: &X509Certificate<'_>) -> Option<Box<str>> {
    let names = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.as_slice(),
        Ok(None) | Err(_) => &[],
    };
    let spiffe = names.iter().find_map(|name| match name {
        GeneralName::URI(uri) if is_spiffe_id(uri) => Some(*uri),
        _ => None,
    });
    let dns = || {
        names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) if is_dns_name(name) => Some(*name),
            _ => None,
        })
    };
    // A common name may be any text: one that reads as a SPIFFE ID is not to be taken for one.
    let common_name = || {
        common_name(certificate.subject())
            .filter(|name| !name.to_ascii_lowercase().starts_with("spiffe:"))
    };
    spiffe
        .or_else(dns)
        .or_else(common_name)
        .map(Box::<str>::from)
}

/// The first common name, if it is printable and not too long.
pub(super) fn common_name<'a>(name: &'a X509Name<'a>) -> Option<&'a str> {
    let text = name.iter_common_name().next()?.as_str().ok()?;
    let usable = !text.is_empty() && text.len() <= TEXT_BYTES_MAX && text.chars().all(is_printable);
    usable.then_some(text)
}

/// SPIFFE-ID, section 2: no query, no fragment, no port, no percent-encoding.
fn is_spiffe_id(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("spiffe://") else {
        return false;
    };
    let (trust_domain, path) = match rest.split_once('/') {
        Some((trust_domain, path)) => (trust_domain, Some(path)),
        None => (rest, None),
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed);
    uri.len() <= TEXT_BYTES_MAX
        && !trust_domain.is_empty()
        && trust_domain.bytes().all(allowed)
        && path.is_none_or(|path| path.split('/').all(is_segment))
}

fn is_dns_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(allowed)
}

pub(super) fn name_text(name: &X509Name<'_>) -> Box<str> {
    match name.to_string_with_registry(x509_parser::objects::oid_registry()) {
        Ok(text) => printable(&text),
        Err(_) => Box::from("(not readable)"),
    }
}

/// Escapes what is not printable, bidirectional controls included, and cuts what is too long.
pub(super) fn printable(text: &str) -> Box<str> {
    let mut out = String::with_capacity(text.len().min(TEXT_BYTES_MAX));
    for character in text.chars() {
        if out.len() + 12 > TEXT_BYTES_MAX {
            out.push_str("...");
            break;
        }
        if is_printable(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    out.into_boxed_str()
}

/// What `Debug` of a string would print as it is, and the quotes and backslash that it escapes.
fn is_printable(character: char) -> bool {
    matches!(character, '\'' | '"' | '\\') || character.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spiffe_ids_are_taken_only_when_well_formed() {
        for good in [
            "spiffe://example.org",
            "spiffe://example.org/ns/default/sa/web",
            "spiffe://td_1/a-b.c",
        ] {
            assert!(is_spiffe_id(good), "{good}");
        }
        for bad in [
            "spiffe://",
            "spiffe:///path",
            "spiffe://example.org/",
            "spiffe://example.org//a",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/a?b",
            "spiffe://example.org:80/a",
            "spiffe://example.org/a\nb",
            "SPIFFE://example.org/a",
            "https://example.org/a",
        ] {
            assert!(!is_spiffe_id(bad), "{bad:?}");
        }
        let long = format!("spiffe://example.org/{}", "a".repeat(TEXT_BYTES_MAX));
        assert!(!is_spiffe_id(&long));
    }

    proptest! {
        #[test]
        fn printable_text_is_bounded_and_has_no_controls(text in any::<String>()) {
            let text = printable(&text.repeat(20));
            prop_assert!(text.len() <= TEXT_BYTES_MAX + 3);
            prop_assert!(text.chars().all(is_printable));
        }

        #[test]
        fn arbitrary_bytes_are_no_certificate_and_no_panic(der in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ClientCertificate::from_der(&der).is_err());
        }
    }
}
