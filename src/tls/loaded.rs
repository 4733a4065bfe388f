//! Certificates that were loaded, for as long as their files stay as they are.
//!
//! This does not look at files to find out: whoever watches them says which have changed, and the
//! rest is not read again. What only time changes (whether a certificate has expired) is not kept.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    hash::BuildHasher,
    path::Path,
    sync::Arc,
    thread,
};

use super::{
    certificates::{self, CertificateError, CertifiedChain},
    store::CertificateStore,
};
use crate::{
    config::{CertificateSource, Listener, Pem},
    limits,
};

/// So many paths are compared with each file, more are looked up.
const FEW: usize = 8;

/// Of all listeners.
#[derive(Default)]
pub struct Loaded(HashMap<String, List>);

/// Of one listener.
#[derive(Default)]
pub(super) struct List {
    sources: Arc<[CertificateSource]>,
    /// In the order of `sources`.
    chains: Vec<Option<Arc<CertifiedChain>>>,
    /// The last one that was made.
    pub store: Option<Arc<CertificateStore>>,
}

impl Loaded {
    /// These files are read again when they are next asked for.
    pub fn forget<S: BuildHasher>(&mut self, changed: &HashSet<Arc<Path>, S>) {
        if changed.is_empty() {
            return;
        }
        // By its bytes: a path is compared and hashed piece by piece. A few are found sooner by
        // comparing than by hashing thousands of others.
        let all: HashSet<&OsStr> = changed.iter().map(|path| path.as_os_str()).collect();
        let few: Option<Vec<&OsStr>> = (all.len() <= FEW).then(|| all.iter().copied().collect());
        let is_changed = |pem: &Pem| match (pem, &few) {
            (Pem::File(path), Some(few)) => few.contains(&path.as_os_str()),
            (Pem::File(path), None) => all.contains(path.as_os_str()),
            (Pem::Inline(_), _) => false,
        };
        for list in self.0.values_mut() {
            for (source, chain) in list.sources.iter().zip(&mut list.chains) {
                if is_changed(&source.certificate) || is_changed(&source.key) {
                    *chain = None;
                }
            }
        }
    }

    /// What other listeners had is not asked for again.
    pub fn keep_only(&mut self, listeners: &[Listener]) {
        self.0
            .retain(|name, _| listeners.iter().any(|listener| listener.name == *name));
        for listener in listeners {
            self.list(&listener.name).align(&listener.certificates);
        }
    }

    pub(super) fn list(&mut self, listener: &str) -> &mut List {
        self.0.entry(listener.to_owned()).or_default()
    }
}

impl List {
    /// Every chain, or all that is wrong, by index.
    pub fn load(
        &mut self,
        sources: &Arc<[CertificateSource]>,
    ) -> Result<Vec<Arc<CertifiedChain>>, Vec<(usize, CertificateError)>> {
        self.align(sources);
        let missing = self.chains.iter().filter(|chain| chain.is_none()).count();
        let chains = &mut self.chains[..];
        let errors = match missing < limits::CERTIFICATES_PER_LOADER {
            true => read_missing(sources, chains, 0),
            false => read_side_by_side(sources, chains, missing),
        };
        match errors.is_empty() {
            true => Ok(self.chains.iter().flatten().cloned().collect()),
            false => Err(errors),
        }
    }

    /// Brings what is there into the order of `sources`.
    fn align(&mut self, sources: &Arc<[CertificateSource]>) {
        if Arc::ptr_eq(&self.sources, sources) {
            return;
        }
        let chains = self.chains.drain(..);
        let mut known: HashMap<&CertificateSource, Arc<CertifiedChain>> = (self.sources.iter())
            .zip(chains)
            .filter_map(|(source, chain)| Some((source, chain?)))
            .collect();
        self.chains = sources.iter().map(|source| known.remove(source)).collect();
        self.sources = Arc::clone(sources);
    }
}

fn read_missing(
    sources: &[CertificateSource],
    chains: &mut [Option<Arc<CertifiedChain>>],
    first: usize,
) -> Vec<(usize, CertificateError)> {
    let mut errors = Vec::new();
    for (index, (source, chain)) in (first..).zip(sources.iter().zip(chains)) {
        if chain.is_none() {
            match certificates::read(source) {
                Ok(read) => *chain = Some(Arc::new(read)),
                Err(error) => errors.push((index, error)),
            }
        }
    }
    errors
}

/// On as many threads as there are cores, each with a part of the list. They are as important as the
/// one that waits for them.
fn read_side_by_side(
    sources: &[CertificateSource],
    chains: &mut [Option<Arc<CertifiedChain>>],
    missing: usize,
) -> Vec<(usize, CertificateError)> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let loaders = cores.min(missing / limits::CERTIFICATES_PER_LOADER).max(1);
    let size = sources.len().div_ceil(loaders);
    let parts = sources.chunks(size).zip(chains.chunks_mut(size));
    thread::scope(|scope| {
        let loaders: Vec<_> = (0..)
            .step_by(size)
            .zip(parts)
            .map(|(first, (sources, chains))| {
                scope.spawn(move || read_missing(sources, chains, first))
            })
            .collect();
        let results = loaders.into_iter().map(thread::ScopedJoinHandle::join);
        // Whoever panicked has left chains missing, which `load` would pass over: let it go on.
        let results =
            results.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results.flatten().collect()
    })
}
