//! Certificates of a folder, by the names of its files.
//!
//! ```text
//!   NAME.crt, NAME.key             NAME.pem, NAME.key           NAME.pem alone: with its key in it
//!   NAME/tls.crt, NAME/tls.key     as Kubernetes mounts secrets
//!   NAME/fullchain.pem, NAME/privkey.pem                        as ACME clients write them
//! ```
//!
//! In the order of their names. Hidden names and others are passed over, and so is a key without its
//! certificate: it may have been written first.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use super::{CertificateSource, Pem};

/// In a folder of its own: certificate and key.
const PAIRS: [(&str, &str); 2] = [("tls.crt", "tls.key"), ("fullchain.pem", "privkey.pem")];

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folder {
    pub sources: Vec<CertificateSource>,
    /// Folders in it that have no certificate yet.
    pub awaited: Vec<PathBuf>,
}

impl Folder {
    /// Reads names, no file. Blocks.
    pub fn read(path: &Path) -> io::Result<Folder> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if !is_hidden(&entry.file_name()) {
                names.push((entry.file_name(), entry.file_type()?));
            }
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let has = |name: &OsStr| {
            let found = names.binary_search_by(|(known, _)| known.as_os_str().cmp(name));
            found.is_ok()
        };
        let mut folder = Folder::default();
        for (name, kind) in &names {
            let extension = Path::new(name).extension();
            if kind.is_dir() || kind.is_symlink() && path.join(name).is_dir() {
                folder.add_folder(&path.join(name));
            } else if extension.is_some_and(|extension| extension == "crt" || extension == "pem") {
                let key = Path::new(name).with_extension("key");
                // A .crt waits for its key; a .pem may have it inside.
                let is_apart = has(key.as_os_str()) || extension == Some(OsStr::new("crt"));
                let key = if is_apart { key.as_os_str() } else { name };
                folder.add(path.join(name), path.join(key));
            }
        }
        Ok(folder)
    }

    fn add_folder(&mut self, path: &Path) {
        let mut pairs = PAIRS
            .iter()
            .map(|(certificate, key)| (path.join(certificate), path.join(key)));
        match pairs.find(|(certificate, _)| certificate.exists()) {
            Some((certificate, key)) => self.add(certificate, key),
            None => self.awaited.push(path.to_owned()),
        }
    }

    fn add(&mut self, certificate: PathBuf, key: PathBuf) {
        self.sources.push(CertificateSource {
            certificate: Pem::file(certificate),
            key: Pem::file(key),
        });
    }
}

/// Whether what comes, goes or changes at `path` may change what its folder has.
pub fn may_matter(path: &Path) -> bool {
    let certificates = ["crt", "pem", "key"];
    let is_named = |name: &OsStr| certificates.iter().any(|known| name == *known);
    let is_hidden = path.file_name().is_none_or(is_hidden);
    !is_hidden && (path.extension().is_some_and(is_named) || path.is_dir())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn pairs_are_found_by_their_names_in_their_order() {
        let base = std::env::temp_dir().join(format!("lockgate-folder-{}", std::process::id()));
        fs::remove_dir_all(&base).ok();
        for folder in ["secret", "acme", "empty", "..data", ".git"] {
            fs::create_dir_all(base.join(folder)).unwrap();
        }
        for file in [
            "b.crt",
            "b.key",
            "a.pem",
            "c.pem",
            "c.key",
            "d.crt",
            "lone.key",
            "notes.txt",
            ".x.crt",
            "b.crt.new",
            "secret/tls.crt",
            "secret/tls.key",
            "acme/fullchain.pem",
            "acme/cert.pem",
        ] {
            fs::write(base.join(file), "").unwrap();
        }
        symlink("b.crt", base.join("e.crt")).unwrap();
        symlink("secret", base.join("f.link")).unwrap();
        let found = Folder::read(&base).unwrap();
        let short = |pem: &Pem| match pem {
            Pem::File(path) => path.strip_prefix(&base).unwrap().display().to_string(),
            Pem::Inline(_) => panic!("inline"),
        };
        let pairs: Vec<String> = found
            .sources
            .iter()
            .map(|source| format!("{} {}", short(&source.certificate), short(&source.key)))
            .collect();
        assert_eq!(
            pairs,
            [
                "a.pem a.pem",
                "acme/fullchain.pem acme/privkey.pem",
                "b.crt b.key",
                "c.pem c.key",
                "d.crt d.key",
                "e.crt e.key",
                "f.link/tls.crt f.link/tls.key",
                "secret/tls.crt secret/tls.key",
            ]
        );
        assert_eq!(found.awaited, [base.join("empty")]);
        assert!(Folder::read(&base.join("gone")).is_err());

        for (name, matters) in [
            ("new.crt", true),
            ("new.key", true),
            ("empty", true),
            ("new.crt.tmp", false),
            (".new.crt", false),
            ("..data", false),
        ] {
            assert_eq!(may_matter(&base.join(name)), matters, "{name}");
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
