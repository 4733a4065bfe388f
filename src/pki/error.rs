//! Why a CA or a certificate cannot be made, for the operator who asked for it.

use std::{fmt, io, path::PathBuf};

use crate::limits;

#[derive(Debug)]
pub enum Error {
    /// A name in the request is not acceptable.
    Name {
        message: String,
        remedy: String,
    },
    /// A server certificate without a name that clients could check.
    NoNames,
    Days(u32),
    OutlivesIssuer {
        days: u32,
        days_left: u64,
    },
    Read {
        path: PathBuf,
        error: io::Error,
    },
    /// A file of the CA is there and cannot serve.
    Unusable {
        path: PathBuf,
        why: String,
    },
    Exists(PathBuf),
    Write {
        path: PathBuf,
        error: io::Error,
    },
    Certificate(rcgen::Error),
    Random,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Name { message, remedy } => write!(f, "{message}; {remedy}"),
            Error::NoNames => f.write_str(
                "a server certificate needs a name that clients check: add --dns NAME, --ip ADDRESS or \
                 --uri spiffe://TRUST-DOMAIN/PATH, or ask for --client only",
            ),
            Error::Days(days) => write!(
                f,
                "{days} days are out of range; choose 1 to {}",
                limits::CERTIFICATE_DAYS_MAX
            ),
            Error::OutlivesIssuer { days, days_left } => write!(
                f,
                "the certificate would be valid for {days} days and its CA for {days_left} only; \
                 choose fewer --days, or make a new CA with `lockgate pki init`"
            ),
            Error::Read { path, error } if error.kind() == io::ErrorKind::NotFound => write!(
                f,
                "{} is not there; make a CA with `lockgate pki init --dir FOLDER`, or name its folder with --dir",
                path.display()
            ),
            Error::Read { path, error } => write!(f, "{}: cannot be read: {error}", path.display()),
            Error::Unusable { path, why } => write!(
                f,
                "{}: {why}; restore the file, or make a new CA with `lockgate pki init --force`",
                path.display()
            ),
            Error::Exists(path) => write!(
                f,
                "{} is there already; choose another folder or name, or replace it with --force",
                path.display()
            ),
            Error::Write { path, error } => {
                write!(f, "{}: cannot be written: {error}", path.display())
            }
            Error::Certificate(error) => write!(f, "the certificate cannot be made: {error}"),
            Error::Random => f.write_str("the system gives no random numbers"),
        }
    }
}

impl std::error::Error for Error {}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Error {
        Error::Certificate(error)
    }
}
