//! The names in certificates: what goes in must be what a verifier will compare with.

use std::net::IpAddr;

use rcgen::{SanType, string::Ia5String};

use super::{BUNDLE, Error, INTERMEDIATE_CERTIFICATE, Purpose, ROOT_CERTIFICATE, Request};
use crate::config::value;

/// Upper bound of X.520 for common names, in characters.
const COMMON_NAME_MAX: usize = 64;
/// Leaves room for " Intermediate CA" in a common name.
const ORGANIZATION_MAX: usize = 48;
/// SPIFFE ID, section 2.3: trust domain and whole ID.
const TRUST_DOMAIN_MAX: usize = 255;
const SPIFFE_ID_MAX: usize = 2048;

/// All names of a request, checked.
pub fn subject_alternative_names(request: &Request) -> Result<Vec<SanType>, Error> {
    common_name(&request.name)?;
    let mut names = Vec::new();
    for name in &request.dns {
        dns(name)?;
        names.push(SanType::DnsName(ia5(name)?));
    }
    for address in &request.ips {
        names.push(SanType::IpAddress(*address));
    }
    for name in &request.uris {
        uri(name)?;
        names.push(SanType::URI(ia5(name)?));
    }
    if names.is_empty() && request.purpose != Purpose::Client {
        return Err(Error::NoNames);
    }
    // X.509-SVID, section 2: exactly one URI, or verifiers refuse the certificate.
    if request.uris.len() > 1 && request.uris.iter().any(|uri| is_spiffe(uri)) {
        return Err(refused(
            "a certificate with a SPIFFE ID has no other URI".to_owned(),
            "issue one certificate for each --uri",
        ));
    }
    Ok(names)
}

/// A common name is the name of files as well, and shows in logs.
pub fn common_name(name: &str) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let good = (1..=COMMON_NAME_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['.', '-']);
    if !good {
        return Err(refused(
            format!("{name:?} cannot be the name of a certificate"),
            "choose 1 to 64 letters, digits, '-', '_' or '.'; other names go into --dns and --uri",
        ));
    }
    let certificate = format!("{name}.crt");
    match [ROOT_CERTIFICATE, INTERMEDIATE_CERTIFICATE, BUNDLE].contains(&certificate.as_str()) {
        true => Err(refused(
            format!("{name:?} is the name of a file of the CA"),
            "choose another name",
        )),
        false => Ok(()),
    }
}

pub fn organization(name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    match (1..=ORGANIZATION_MAX).contains(&length) && !name.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(refused(
            format!("{name:?} cannot be the name of an organization"),
            "choose 1 to 48 characters",
        )),
    }
}

fn dns(name: &str) -> Result<(), Error> {
    if name.parse::<IpAddr>().is_ok() {
        let remedy = format!("write --ip {name}");
        return Err(refused(
            format!("{name:?} is an IP address, not a DNS name"),
            &remedy,
        ));
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    match value::is_host_name(host) && !host.ends_with('.') {
        true => Ok(()),
        false => Err(refused(
            format!("{name:?} is not a DNS name"),
            "write labels of letters, digits and '-' with dots between, such as \"edge.example.com\" or \"*.example.com\"",
        )),
    }
}

fn uri(text: &str) -> Result<(), Error> {
    if is_spiffe(text) {
        return spiffe_id(text);
    }
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && text.bytes().all(|b| b.is_ascii_graphic())
        && text.len() <= SPIFFE_ID_MAX;
    match good {
        true => Ok(()),
        false => Err(refused(
            format!("{text:?} is not an absolute URI"),
            "write such as \"spiffe://example.com/orders\"",
        )),
    }
}

fn is_spiffe(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("spiffe")
}

/// The standard "SPIFFE ID", section 2: `spiffe://trust-domain/path`, and no more.
fn spiffe_id(text: &str) -> Result<(), Error> {
    let fault = |what: &str, remedy: &str| Err(refused(format!("{text:?}: {what}"), remedy));
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return fault(
            "a SPIFFE ID begins with \"spiffe://\"",
            "write it in lower case, with two slashes",
        );
    };
    if text.len() > SPIFFE_ID_MAX {
        return fault("is longer than 2048 bytes", "choose a shorter path");
    }
    if text.contains(['?', '#']) {
        return fault(
            "a SPIFFE ID has no query and no fragment",
            "leave out what follows '?' or '#'",
        );
    }
    let (domain, path) = match rest.split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (rest, None),
    };
    let domain_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if !(1..=TRUST_DOMAIN_MAX).contains(&domain.len()) || !domain.bytes().all(domain_byte) {
        return fault(
            "the trust domain is not valid",
            "write 1 to 255 lower-case letters, digits, '-', '_' or '.', without user and port",
        );
    }
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return fault(
            "names a trust domain, not a workload",
            "add a path, such as \"/orders\"",
        );
    };
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match path.split('/').all(segment) {
        true => Ok(()),
        false => fault(
            "the path is not valid",
            "write segments of letters, digits, '-', '_' or '.', with single slashes between and none at the end",
        ),
    }
}

fn ia5(text: &str) -> Result<Ia5String, Error> {
    Ok(Ia5String::try_from(text)?)
}

fn refused(message: String, remedy: &str) -> Error {
    Error::Name {
        message,
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids_follow_their_standard() {
        assert!(uri("spiffe://example.com/production/orders-1_a.b").is_ok());
        for (text, expected) in [
            ("spiffe:/example.com/a", "two slashes"),
            ("SPIFFE://example.com/a", "lower case"),
            ("spiffe:///a", "trust domain"),
            ("spiffe://Example.com/a", "trust domain"),
            ("spiffe://user@example.com/a", "trust domain"),
            ("spiffe://example.com:443/a", "trust domain"),
            ("spiffe://example.com", "add a path"),
            ("spiffe://example.com/", "add a path"),
            ("spiffe://example.com/a/", "none at the end"),
            ("spiffe://example.com//a", "single slashes"),
            ("spiffe://example.com/../a", "path is not valid"),
            ("spiffe://example.com/a%20b", "path is not valid"),
            ("spiffe://example.com/a?b=c", "no query"),
            ("spiffe://example.com/a#b", "no fragment"),
        ] {
            let error = uri(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(spiffe_id(&format!("spiffe://a/{}", "b".repeat(2048))).is_err());
    }

    #[test]
    fn dns_names_are_names_and_not_addresses() {
        for name in [
            "localhost",
            "edge.example.com",
            "*.example.com",
            "a_b.internal",
        ] {
            assert!(dns(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "*",
            "*.",
            "a..b",
            "edge.example.com.",
            "*.*.com",
            "a b",
            "é.com",
            "http://a",
        ] {
            assert!(dns(name).is_err(), "{name}");
        }
        assert!(
            dns("192.0.2.1")
                .expect_err("an address")
                .to_string()
                .contains("--ip 192.0.2.1")
        );
    }

    #[test]
    fn names_that_would_leave_the_folder_or_replace_the_ca_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "../a",
            "a/b",
            ".hidden",
            "-a",
            "a b",
            "root-ca",
            "intermediate-ca",
            "ca-bundle",
        ] {
            assert!(common_name(name).is_err(), "{name}");
        }
        assert!(common_name("orders-1.internal").is_ok());
    }
}
