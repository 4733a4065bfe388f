//! A server's certificate chain with its key, from PEM text.
//!
//! Reading answers the question "would clients accept this?" as far as a server can tell without
//! trust anchors: what cannot work is an error, what may surprise is a warning. It does not build
//! chains, fetch intermediates or look at revocation.

use std::{fmt, sync::Arc, time::SystemTime};

use rustls::{
    Error, InconsistentKeys,
    crypto::aws_lc_rs::sign::{any_ecdsa_type, any_supported_type},
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::{CertifiedKey, SigningKey},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    chain,
    describe::{CertificateInfo, iso8601},
    pem::{self, PemError, PemProblem, PemText},
};
use crate::config::CertificateSource;

/// Leaf first.
#[derive(Clone)]
pub struct CertifiedChain {
    pub key: Arc<CertifiedKey>,
    pub info: CertificateInfo,
    /// All but those about its time, which change without it.
    pub warnings: Vec<String>,
}

/// What a certificate outside its time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// An error.
    Enforce,
    /// A warning: one expired certificate does not keep the others from being served.
    Warn,
}

#[derive(Debug)]
pub enum CertificateError {
    Certificate(PemError),
    Key(PemError),
    /// One of the chain, counted from 1, is not X.509.
    Unreadable {
        name: String,
        index: usize,
    },
    Expired {
        name: String,
        not_after: i64,
    },
    NotYetValid {
        name: String,
        not_before: i64,
    },
    /// The key's algorithm or encoding is none that can sign in TLS.
    UnusableKey {
        name: String,
        reason: String,
    },
    Mismatch {
        certificate: String,
        key: String,
    },
    /// The key fits the certificate at `index`, counted from 1.
    LeafNotFirst {
        name: String,
        index: usize,
    },
    /// rustls cannot make sense of the leaf.
    UnusableLeaf {
        name: String,
        reason: String,
    },
}

/// Which half of a [`CertificateSource`] an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Certificate,
    Key,
}

/// Reads the certificate and its key, and judges them, the time included.
pub fn load(
    source: &CertificateSource,
    validity: Validity,
) -> Result<CertifiedChain, CertificateError> {
    let mut chain = read(source)?;
    let warning = check_time(source, &chain.info, unix_now(), validity)?;
    chain.warnings.splice(0..0, warning);
    Ok(chain)
}

/// All but whether it is the time for it.
pub(super) fn read(source: &CertificateSource) -> Result<CertifiedChain, CertificateError> {
    let text = PemText::read(&source.certificate).map_err(CertificateError::Certificate)?;
    let name = text.name();
    let ders = text.certificates().map_err(CertificateError::Certificate)?;
    let parsed = parse(name, &ders)?;
    let Some(((leaf, intermediates), leaf_der)) = parsed.split_first().zip(ders.first()) else {
        return Err(unreadable(name, 1));
    };

    let mut warnings = Vec::new();
    let info = CertificateInfo::from_parsed(leaf, leaf_der);
    chain::warn_of_leaf(name, leaf, &info, &mut warnings);
    chain::warn_of_order(name, leaf, intermediates, &mut warnings);

    let key_text = match source.key == source.certificate {
        true => None,
        false => Some(PemText::read(&source.key).map_err(CertificateError::Key)?),
    };
    let key_text = key_text.as_ref().unwrap_or(&text);
    let key_der = key_text.private_key().map_err(CertificateError::Key)?;
    let key = signing_key(&key_der, &info).map_err(|error| CertificateError::UnusableKey {
        name: key_text.name().to_owned(),
        reason: error.to_string(),
    })?;
    drop(parsed);
    Ok(CertifiedChain {
        key: Arc::new(fit(name, ders, key_text.name(), key)?),
        info,
        warnings,
    })
}

/// What the certificate is for is tried first: to find out that a key is of another kind costs as
/// much as to take it.
fn signing_key(
    key: &PrivateKeyDer<'_>,
    info: &CertificateInfo,
) -> Result<Arc<dyn SigningKey>, Error> {
    match info.key_kind.starts_with("ECDSA") {
        true => any_ecdsa_type(key).or_else(|_| any_supported_type(key)),
        false => any_supported_type(key),
    }
}

fn parse<'a>(
    name: &str,
    chain: &'a [CertificateDer<'static>],
) -> Result<Vec<X509Certificate<'a>>, CertificateError> {
    chain
        .iter()
        .enumerate()
        .map(|(index, der)| match X509Certificate::from_der(der) {
            Ok((_, certificate)) => Ok(certificate),
            Err(_) => Err(unreadable(name, index + 1)),
        })
        .collect()
}

fn unreadable(name: &str, index: usize) -> CertificateError {
    CertificateError::Unreadable {
        name: name.to_owned(),
        index,
    }
}

/// Whether `now` is within its time; the warning if it is not, and may be used all the same.
pub(super) fn check_time(
    source: &CertificateSource,
    info: &CertificateInfo,
    now: i64,
    validity: Validity,
) -> Result<Option<String>, CertificateError> {
    let name = || pem::name(&source.certificate);
    let error = if info.not_after < now {
        CertificateError::Expired {
            name: name(),
            not_after: info.not_after,
        }
    } else if info.not_before > now {
        CertificateError::NotYetValid {
            name: name(),
            not_before: info.not_before,
        }
    } else {
        return Ok(None);
    };
    match validity {
        Validity::Enforce => Err(error),
        Validity::Warn => Ok(Some(error.to_string())),
    }
}

/// Checks that the key belongs to the leaf, and says which certificate it belongs to otherwise.
fn fit(
    name: &str,
    chain: Vec<CertificateDer<'static>>,
    key_name: &str,
    key: Arc<dyn SigningKey>,
) -> Result<CertifiedKey, CertificateError> {
    let certified = CertifiedKey::new(chain, key);
    let mismatch = match certified.keys_match() {
        // Unknown: a key that does not tell its public half; nothing to compare.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => return Ok(certified),
        Err(Error::InconsistentKeys(_)) => CertificateError::Mismatch {
            certificate: name.to_owned(),
            key: key_name.to_owned(),
        },
        Err(error) => CertificateError::UnusableLeaf {
            name: name.to_owned(),
            reason: error.to_string(),
        },
    };
    let fits = |der: &CertificateDer<'static>| {
        CertifiedKey::new(vec![der.clone()], Arc::clone(&certified.key))
            .keys_match()
            .is_ok()
    };
    Err(match certified.cert.iter().position(fits) {
        Some(index) => CertificateError::LeafNotFirst {
            name: name.to_owned(),
            index: index + 1,
        },
        None => mismatch,
    })
}

pub(super) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok())
        .unwrap_or_default()
}

impl CertificateError {
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self, CertificateError::Certificate(error) | CertificateError::Key(error)
            if matches!(error.problem, PemProblem::Unreadable(_)))
    }

    pub(super) fn half(&self) -> Half {
        match self {
            CertificateError::Key(_) | CertificateError::UnusableKey { .. } => Half::Key,
            // Either may be the wrong one; the key is what people exchange by mistake.
            CertificateError::Mismatch { .. } => Half::Key,
            CertificateError::Certificate(_)
            | CertificateError::Unreadable { .. }
            | CertificateError::Expired { .. }
            | CertificateError::NotYetValid { .. }
            | CertificateError::LeafNotFirst { .. }
            | CertificateError::UnusableLeaf { .. } => Half::Certificate,
        }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Certificate(error) | CertificateError::Key(error) => error.fmt(f),
            CertificateError::Unreadable { name, index } => write!(
                f,
                "{name}: certificate {index} is not an X.509 certificate; issue it again"
            ),
            CertificateError::Expired { name, not_after } => write!(
                f,
                "{name}: the certificate expired on {}; renew it",
                iso8601(*not_after)
            ),
            CertificateError::NotYetValid { name, not_before } => write!(
                f,
                "{name}: the certificate is valid only from {}; check this machine's clock, or \
                 use the certificate that is valid now",
                iso8601(*not_before)
            ),
            CertificateError::UnusableKey { name, reason } => write!(
                f,
                "{name}: the private key cannot be used ({reason}); use ECDSA P-256, P-384 or \
                 P-521, Ed25519, or RSA of 2048 to 8192 bits"
            ),
            CertificateError::Mismatch { certificate, key } => write!(
                f,
                "{key}: the private key does not belong to the certificate in {certificate}; name \
                 the key that it was issued for"
            ),
            CertificateError::LeafNotFirst { name, index } => write!(
                f,
                "{name}: the private key belongs to certificate {index}, not to the first; order \
                 the chain leaf first"
            ),
            CertificateError::UnusableLeaf { name, reason } => write!(
                f,
                "{name}: the certificate cannot be used ({reason}); issue it again as X.509 v3"
            ),
        }
    }
}

impl std::error::Error for CertificateError {}
