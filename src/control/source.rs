//! Where the configuration comes from, and which files it depends on.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::config::{ClientAuth, Config, Pem, Problems, Warning};

/// Where the configuration comes from, to be asked again at each reload.
pub struct Source {
    /// `None`: flags.
    pub file: Option<PathBuf>,
    #[expect(clippy::type_complexity, reason = "used once")]
    pub read: Box<dyn Fn() -> Result<(Config, Vec<Warning>), Problems> + Send>,
}

impl Source {
    /// Every file that a change of is a reason to reload, and every folder that others come in.
    /// Inline PEM is in none.
    pub fn files(&self, config: &Config) -> HashSet<Arc<Path>> {
        let pems = config.listeners.iter().flat_map(|listener| {
            let certificates = listener.certificates.iter();
            let ca = match &listener.client_auth {
                ClientAuth::None => None,
                ClientAuth::Request { ca } | ClientAuth::Required { ca } => Some(ca),
            };
            certificates
                .flat_map(|source| [&source.certificate, &source.key])
                .chain(ca)
        });
        let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
        let pems = pems.chain(
            admin
                .into_iter()
                .flat_map(|tls| [&tls.certificate, &tls.key]),
        );
        let named = pems.filter_map(|pem| match pem {
            Pem::File(path) => Some(path.clone()),
            Pem::Inline(_) => None,
        });
        self.deciding(config).chain(named).collect()
    }

    /// Those that decide which others there are: the configuration is read again when they change.
    pub fn deciding<'c>(&'c self, config: &'c Config) -> impl Iterator<Item = Arc<Path>> + 'c {
        let folders = (config.listeners.iter()).filter_map(|l| l.certificates_dir.as_deref());
        self.file
            .as_deref()
            .into_iter()
            .chain(folders)
            .map(Arc::from)
    }
}
