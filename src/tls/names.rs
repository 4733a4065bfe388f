//! Which certificates of a listener are for which server name, by their index.
//!
//! Made of what certificates say, not of the certificates: when one is renewed under the same names
//! the table stays as it is.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{certificates::CertifiedChain, describe::CertificateInfo};

/// One map lookup for an exact name, one more for a wildcard.
pub(super) struct Names {
    /// By name in lower case.
    exact: HashMap<Box<str>, Candidates>,
    /// By the name behind `*.`, in lower case.
    wildcard: HashMap<Box<str>, Candidates>,
    pub default: Candidates,
    pub shadowed: Vec<Shadowed>,
}

/// Indices of certificates for one name, most preferred first.
pub(super) type Candidates = Box<[u32]>;

/// A certificate that is never used for one of its names: an earlier one has the same name and kind
/// of key.
pub(super) struct Shadowed {
    pub index: usize,
    pub by: usize,
    pub name: Box<str>,
}

impl Names {
    /// The first chain is the default. `None` where there is none.
    pub fn of(chains: &[Arc<CertifiedChain>]) -> Option<Self> {
        let mut exact: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        let mut wildcard: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        for (index, chain) in (0..).zip(chains) {
            for name in names(&chain.info) {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.into()).or_default().push(index),
                    None => exact
                        .entry(name.into_owned().into())
                        .or_default()
                        .push(index),
                }
            }
        }
        let default = default_candidates(chains, &exact, &wildcard)?;
        Some(Names {
            exact: in_order(exact, chains),
            wildcard: in_order(wildcard, chains),
            default,
            shadowed: shadowed(chains),
        })
    }

    /// Whether `new` may take the places of `old` with the table as it is.
    pub fn fit(old: &[Arc<CertifiedChain>], new: &[Arc<CertifiedChain>]) -> bool {
        let says_the_same = |(old, new): (&Arc<CertifiedChain>, &Arc<CertifiedChain>)| {
            Arc::ptr_eq(old, new) || {
                let (old, new) = (&old.info, &new.info);
                old.key_kind == new.key_kind
                    && old.dns_names == new.dns_names
                    && old.common_name == new.common_name
                    && old.has_alternative_names() == new.has_alternative_names()
            }
        };
        old.len() == new.len() && old.iter().zip(new).all(says_the_same)
    }

    /// Exact names win over wildcards, whatever their order in the configuration, as a wildcard
    /// stands for one label (RFC 9525, section 6.3).
    pub fn candidates(&self, server_name: &str) -> Option<&Candidates> {
        // rustls hands names over in lower case, and keeps a final dot.
        let name = lower_case(server_name.strip_suffix('.').unwrap_or(server_name));
        self.exact
            .get(name.as_ref())
            .or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }

    /// Exact names, and wildcards.
    pub fn counts(&self) -> (usize, usize) {
        (self.exact.len(), self.wildcard.len())
    }
}

/// DNS names of the certificate, in lower case; its common name only where it has no
/// subjectAltName at all (RFC 6125, section 6.4.4).
fn names(info: &CertificateInfo) -> impl Iterator<Item = Cow<'_, str>> {
    let common_name = match info.has_alternative_names() {
        true => None,
        false => info.common_name.as_deref(),
    };
    info.dns_names
        .iter()
        .map(AsRef::as_ref)
        .chain(common_name)
        .filter(|name| is_server_name(name))
        .map(lower_case)
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
    chains: &[Arc<CertifiedChain>],
    exact: &HashMap<Box<str>, Vec<u32>>,
    wildcard: &HashMap<Box<str>, Vec<u32>>,
) -> Option<Candidates> {
    let first = chains.first()?;
    let name = names(&first.info).next();
    let same_name = name.and_then(|name| match name.strip_prefix("*.") {
        Some(parent) => wildcard.get(parent),
        None => exact.get(name.as_ref()),
    });
    let mut chosen = same_name.cloned().unwrap_or_else(|| vec![0]);
    let kind = |index: u32| &chains[index as usize].info.key_kind;
    chosen.sort_by_key(|&index| preference(kind(index)));
    for (index, chain) in (0..).zip(chains) {
        if !chosen
            .iter()
            .any(|&other| *kind(other) == chain.info.key_kind)
        {
            chosen.push(index);
        }
    }
    Some(chosen.into())
}

fn in_order(
    map: HashMap<Box<str>, Vec<u32>>,
    chains: &[Arc<CertifiedChain>],
) -> HashMap<Box<str>, Candidates> {
    map.into_iter()
        .map(|(name, mut indices)| {
            indices.sort_by_key(|&index| preference(&chains[index as usize].info.key_kind));
            (name, indices.into())
        })
        .collect()
}

/// By what one signature costs us, cheapest first; sorting is stable, so that the order of the
/// configuration decides between equals.
fn preference(key_kind: &str) -> u8 {
    match key_kind {
        "ECDSA P-256" => 0,
        "Ed25519" => 1,
        _ => 2,
    }
}

fn shadowed(chains: &[Arc<CertifiedChain>]) -> Vec<Shadowed> {
    let mut first_for: HashMap<(&str, &str), usize> = HashMap::new();
    let mut shadowed = Vec::new();
    for (index, chain) in chains.iter().enumerate() {
        for name in &chain.info.dns_names {
            let by = *first_for
                .entry((name, &chain.info.key_kind))
                .or_insert(index);
            if by != index {
                let name = name.clone();
                shadowed.push(Shadowed { index, by, name });
            }
        }
    }
    shadowed
}

fn lower_case(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}
