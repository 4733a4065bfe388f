//! Which certificate a client gets, by the name it asks for and the signatures it can check.
//!
//! No list is ever walked but the two or three certificates of one name. Which those are is
//! [`super::names`]' job; loading and judging certificates is [`super::certificates`]'.

use std::{fmt, sync::Arc};

use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    capture::{self, NoCertificate},
    certificates::CertifiedChain,
    names::{Candidates, Names},
};
use crate::config::UnknownSni;

pub struct CertificateStore {
    names: Arc<Names>,
    /// At least one; the first is the default.
    chains: Arc<[Arc<CertifiedChain>]>,
    unknown_sni: UnknownSni,
}

impl CertificateStore {
    /// The first chain is the default. `None` where there is none.
    pub fn new(chains: Vec<Arc<CertifiedChain>>, unknown_sni: UnknownSni) -> Option<Self> {
        Self::after(None, chains, unknown_sni)
    }

    /// The same; what is still right of an earlier one is taken over.
    pub(super) fn after(
        earlier: Option<&CertificateStore>,
        chains: Vec<Arc<CertifiedChain>>,
        unknown_sni: UnknownSni,
    ) -> Option<Self> {
        let names = match earlier.filter(|earlier| Names::fit(&earlier.chains, &chains)) {
            Some(earlier) => Arc::clone(&earlier.names),
            None => Arc::new(Names::of(&chains)?),
        };
        Some(CertificateStore {
            names,
            chains: chains.into(),
            unknown_sni,
        })
    }

    /// In the order of the configuration.
    pub(super) fn chains(&self) -> &Arc<[Arc<CertifiedChain>]> {
        &self.chains
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    fn candidates(&self, server_name: Option<&str>) -> Option<&Candidates> {
        let Some(server_name) = server_name else {
            return Some(&self.names.default);
        };
        self.names
            .candidates(server_name)
            .or(match self.unknown_sni {
                UnknownSni::Default => Some(&self.names.default),
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
            .filter_map(|&index| self.chains.get(index as usize))
            .find(|chain| chain.key.key.choose_scheme(schemes).is_some())
            .map(|chain| Arc::clone(&chain.key))
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
        let (exact, wildcard) = self.names.counts();
        f.debug_struct("CertificateStore")
            .field("exact", &exact)
            .field("wildcard", &wildcard)
            .finish_non_exhaustive()
    }
}
