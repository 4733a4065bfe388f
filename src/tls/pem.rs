//! PEM text from a file or from the configuration: certificates and one private key.
//!
//! Reads are bounded, and what is read is zeroized: it may hold a key. Nothing here is judged beyond
//! "is it what its place in the configuration asks for".

use std::{fmt, fs::File, io, io::Read, path::Path};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use zeroize::Zeroizing;

use crate::{config::Pem, limits::PEM_FILE_BYTES_MAX};

pub(super) struct PemText {
    name: String,
    text: Zeroizing<Vec<u8>>,
}

/// What is wrong with PEM text; `name` is its path, or `<inline>`.
#[derive(Debug)]
pub struct PemError {
    pub name: String,
    pub problem: PemProblem,
}

#[derive(Debug)]
pub enum PemProblem {
    Unreadable(io::Error),
    TooLong,
    Syntax(String),
    NoCertificate { holds_key: bool },
    NoKey { holds_certificate: bool },
    EncryptedKey,
}

/// How messages call it.
pub(super) fn name(source: &Pem) -> String {
    match source {
        Pem::File(path) => path.display().to_string(),
        Pem::Inline(_) => "<inline>".to_owned(),
    }
}

impl PemText {
    pub fn read(source: &Pem) -> Result<Self, PemError> {
        let name = name(source);
        match source {
            Pem::File(path) => match read_bounded(path) {
                Ok(text) => Ok(PemText { name, text }),
                Err(problem) => Err(PemError { name, problem }),
            },
            Pem::Inline(text) => Ok(PemText {
                name,
                text: Zeroizing::new(text.as_bytes().to_vec()),
            }),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// At least one, in the order of the text; keys in between are passed over.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.text)
            .collect::<Result<_, _>>()
            .map_err(|error| self.syntax(&error))?;
        if certificates.is_empty() {
            let holds_key = self.contains(b"PRIVATE KEY-----");
            return Err(self.error(PemProblem::NoCertificate { holds_key }));
        }
        Ok(certificates)
    }

    /// The first one: PKCS#8, PKCS#1 or SEC 1.
    pub fn private_key(&self) -> Result<Zeroizing<PrivateKeyDer<'static>>, PemError> {
        match PrivateKeyDer::from_pem_slice(&self.text).map(Zeroizing::new) {
            Ok(key) => Ok(key),
            Err(_) if self.is_encrypted() => Err(self.error(PemProblem::EncryptedKey)),
            Err(pem::Error::NoItemsFound) => {
                let holds_certificate = self.contains(b"-----BEGIN CERTIFICATE-----");
                Err(self.error(PemProblem::NoKey { holds_certificate }))
            }
            Err(error) => Err(self.syntax(&error)),
        }
    }

    /// PKCS#8 says so in its label, the older forms in a header line (RFC 1421, section 4.6.1.1),
    /// which reads as broken base64.
    fn is_encrypted(&self) -> bool {
        self.contains(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || self.contains(b"Proc-Type: 4,ENCRYPTED")
    }

    fn contains(&self, needle: &[u8]) -> bool {
        self.text
            .windows(needle.len())
            .any(|window| window == needle)
    }

    fn syntax(&self, error: &pem::Error) -> PemError {
        // `Error` quotes the text, which may be a piece of a key: say what kind it is, no more.
        let what = match error {
            pem::Error::MissingSectionEnd { .. } => "a section has no END line",
            pem::Error::IllegalSectionStart { .. } => "a BEGIN line is damaged",
            pem::Error::Base64Decode(_) => "a section is not base64",
            _ => "it cannot be read",
        };
        self.error(PemProblem::Syntax(what.to_owned()))
    }

    fn error(&self, problem: PemProblem) -> PemError {
        PemError {
            name: self.name.clone(),
            problem,
        }
    }
}

fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemProblem> {
    let file = File::open(path).map_err(PemProblem::Unreadable)?;
    let expected = file
        .metadata()
        .map_err(PemProblem::Unreadable)?
        .len()
        .min(PEM_FILE_BYTES_MAX);
    // Room for all of it at once: a growing Vec would leave copies of a key behind.
    let capacity = usize::try_from(expected).unwrap_or(0).max(16 << 10) + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(PEM_FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(PemProblem::Unreadable)?;
    if text.len() as u64 > PEM_FILE_BYTES_MAX {
        return Err(PemProblem::TooLong);
    }
    Ok(text)
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.problem {
            PemProblem::Unreadable(error) => write!(
                f,
                "{name}: cannot be read: {error}; check that the path is right and that lockgate's \
                 user may read it"
            ),
            PemProblem::TooLong => write!(
                f,
                "{name}: longer than {} MiB: this is not a file of certificates or keys",
                PEM_FILE_BYTES_MAX >> 20
            ),
            PemProblem::Syntax(what) => {
                write!(f, "{name}: damaged PEM: {what}; write the file again")
            }
            PemProblem::NoCertificate { holds_key: true } => write!(
                f,
                "{name}: holds a private key but no certificate; certificate and key may have \
                 been exchanged"
            ),
            PemProblem::NoCertificate { holds_key: false } => write!(
                f,
                "{name}: holds no PEM certificate (-----BEGIN CERTIFICATE-----); convert DER with \
                 `openssl x509 -inform der`"
            ),
            PemProblem::NoKey {
                holds_certificate: true,
            } => write!(
                f,
                "{name}: holds a certificate but no private key; certificate and key may have \
                 been exchanged"
            ),
            PemProblem::NoKey {
                holds_certificate: false,
            } => write!(
                f,
                "{name}: holds no PEM private key (-----BEGIN PRIVATE KEY-----); convert DER with \
                 `openssl pkey -inform der`"
            ),
            PemProblem::EncryptedKey => write!(
                f,
                "{name}: the private key is encrypted; decrypt it with `openssl pkey -in {name}` \
                 into a file that only lockgate's user may read"
            ),
        }
    }
}

impl std::error::Error for PemError {}
