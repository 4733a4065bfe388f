//! What in a server's chain clients may stumble over, as warnings.

use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, oid_registry as oid};

use super::{describe::CertificateInfo, identity::name_text};

pub(super) fn warn_of_leaf(
    name: &str,
    leaf: &X509Certificate<'_>,
    info: &CertificateInfo,
    warnings: &mut Vec<String>,
) {
    if !info.has_alternative_names() {
        warnings.push(format!(
            "{name}: the certificate has no subjectAltName; most clients refuse it: issue it again \
             with its DNS names"
        ));
    }
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !(usage.value.server_auth || usage.value.any)
    {
        warnings.push(format!(
            "{name}: the certificate is not for servers (its extended key usage lacks serverAuth); \
             clients refuse it"
        ));
    }
}

/// By names and key identifiers, which is what clients go by when they build a path; signatures
/// are theirs to check.
pub(super) fn warn_of_order(
    name: &str,
    leaf: &X509Certificate<'_>,
    intermediates: &[X509Certificate<'_>],
    warnings: &mut Vec<String>,
) {
    let mut issued = leaf;
    for (index, issuer) in intermediates.iter().enumerate() {
        if !could_have_issued(issuer, issued) {
            warnings.push(format!(
                "{name}: certificate {} ({}) did not issue the one before it ({}); order the chain \
                 leaf first, each followed by its issuer",
                index + 2,
                name_text(issuer.subject()),
                name_text(issued.subject()),
            ));
        }
        issued = issuer;
    }
}

fn could_have_issued(issuer: &X509Certificate<'_>, issued: &X509Certificate<'_>) -> bool {
    let authority = issued
        .get_extension_unique(&oid::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER)
        .ok()
        .flatten()
        .and_then(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                identifier.key_identifier.as_ref().map(|id| id.0)
            }
            _ => None,
        });
    let subject = issuer
        .get_extension_unique(&oid::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER)
        .ok()
        .flatten()
        .and_then(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
            _ => None,
        });
    let identifiers_agree = match (authority, subject) {
        (Some(authority), Some(subject)) => authority == subject,
        _ => true,
    };
    issuer.subject().as_raw() == issued.issuer().as_raw() && identifiers_agree
}
