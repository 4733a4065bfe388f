//! Which certificate a client gets, by the name it asks for and the signatures it can check.
//!
//! One map lookup for an exact name, one more for a wildcard; no list is ever walked but the two or
//! three certificates of one name. Loading and judging certificates is [`super::certificates`]' job.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    capture::{self, NoCertificate},
    certificates::CertifiedChain,
};
use crate::config::UnknownSni;

pub struct CertificateStore {
    /// By name in lower case.
    exact: HashMap<Box<str>, Candidates>,
    /// By the name behind `*.`, in lower case.
    wildcard: HashMap<Box<str>, Candidates>,
    default: Candidates,
    unknown_sni: UnknownSni,
}

/// Certificates for one name, most preferred first.
type Candidates = Box<[Arc<CertifiedKey>]>;

impl CertificateStore {
    /// The first chain is the default. `None` where there is none.
    pub fn new(chains: &[CertifiedChain], unknown_sni: UnknownSni) -> Option<Self> {
        let mut exact: HashMap<Box<str>, Vec<&CertifiedChain>> = HashMap::new();
        let mut wildcard: HashMap<Box<str>, Vec<&CertifiedChain>> = HashMap::new();
        for chain in chains {
            for name in names(chain) {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.into()).or_default().push(chain),
                    None => exact.entry(name.into_boxed_str()).or_default().push(chain),
                }
            }
        }
        let default = default_candidates(chains, &exact, &wildcard)?;
        Some(CertificateStore {
            exact: in_order(exact),
            wildcard: in_order(wildcard),
            default,
            unknown_sni,
        })
    }

    /// Exact names win over wildcards, whatever their order in the configuration, as a wildcard
    /// stands for one label (RFC 9525, section 6.3).
    fn candidates(&self, server_name: Option<&str>) -> Option<&Candidates> {
        let Some(server_name) = server_name else {
            return Some(&self.default);
        };
        let name = lower_case(server_name);
        self.exact
            .get(name.as_ref())
            .or_else(|| self.wildcard.get(name.split_once('.')?.1))
            .or(match self.unknown_sni {
                UnknownSni::Default => Some(&self.default),
                UnknownSni::Reject => None,
            })
    }

    fn choose(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Result<Arc<CertifiedKey>, NoCertificate> {
        self.candidates(server_name)
            .ok_or(NoCertificate::UnknownName)?
            .iter()
            .find(|certified| certified.key.choose_scheme(schemes).is_some())
            .cloned()
            .ok_or(NoCertificate::NoSignatureScheme)
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let server_name = client_hello.server_name();
        let chosen = self.choose(server_name, client_hello.signature_schemes());
        capture::note(|notes| {
            notes.server_name = server_name.map(Box::from);
            notes.no_certificate = chosen.as_ref().err().copied();
        });
        chosen.ok()
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateStore")
            .field("exact", &self.exact.len())
            .field("wildcard", &self.wildcard.len())
            .finish_non_exhaustive()
    }
}

/// DNS names of the certificate, in lower case; its common name only where it has no
/// subjectAltName at all (RFC 6125, section 6.4.4).
fn names(chain: &CertifiedChain) -> impl Iterator<Item = String> {
    let info = &chain.info;
    let common_name = match info.has_alternative_names() {
        true => None,
        false => info.common_name.as_deref(),
    };
    info.dns_names
        .iter()
        .map(AsRef::as_ref)
        .chain(common_name)
        .filter(|name| is_server_name(name))
        .map(str::to_ascii_lowercase)
}

/// A `*` stands for the whole first label or for nothing.
fn is_server_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !rest.is_empty() && rest.bytes().all(allowed)
}

/// The default's name first, with all that is there for it; then, for a client that can check none
/// of these signatures, the first certificate of each other kind of key.
fn default_candidates(
    chains: &[CertifiedChain],
    exact: &HashMap<Box<str>, Vec<&CertifiedChain>>,
    wildcard: &HashMap<Box<str>, Vec<&CertifiedChain>>,
) -> Option<Candidates> {
    let first = chains.first()?;
    let name = names(first).next();
    let same_name = name.and_then(|name| match name.strip_prefix("*.") {
        Some(parent) => wildcard.get(parent),
        None => exact.get(name.as_str()),
    });
    let mut chosen = same_name.cloned().unwrap_or_else(|| vec![first]);
    chosen.sort_by_key(|chain| preference(chain));
    for chain in chains {
        if !chosen
            .iter()
            .any(|other| other.info.key_kind == chain.info.key_kind)
        {
            chosen.push(chain);
        }
    }
    Some(keys(chosen))
}

fn in_order(map: HashMap<Box<str>, Vec<&CertifiedChain>>) -> HashMap<Box<str>, Candidates> {
    map.into_iter()
        .map(|(name, mut chains)| {
            chains.sort_by_key(|chain| preference(chain));
            (name, keys(chains))
        })
        .collect()
}

fn keys(chains: Vec<&CertifiedChain>) -> Candidates {
    chains
        .into_iter()
        .map(|chain| Arc::clone(&chain.key))
        .collect()
}

/// By what one signature costs us, cheapest first; sorting is stable, so that the order of the
/// configuration decides between equals.
fn preference(chain: &CertifiedChain) -> u8 {
    match &*chain.info.key_kind {
        "ECDSA P-256" => 0,
        "Ed25519" => 1,
        _ => 2,
    }
}

/// rustls hands names over in lower case, and keeps a final dot.
fn lower_case(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}
