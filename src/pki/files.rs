//! Files with keys in them: never readable by others for a moment, never half written.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::Error;

pub struct NewFile<'c> {
    path: PathBuf,
    contents: &'c str,
    mode: u32,
}

impl<'c> NewFile<'c> {
    /// For the owner only.
    pub fn private(path: PathBuf, contents: &'c str) -> NewFile<'c> {
        NewFile {
            path,
            contents,
            mode: 0o600,
        }
    }

    pub fn public(path: PathBuf, contents: &'c str) -> NewFile<'c> {
        NewFile {
            path,
            contents,
            mode: 0o644,
        }
    }
}

/// Writes all files of a folder, which is made for its owner only if it is not there. Without
/// `overwrite`, none is written if one of them exists.
pub fn write(dir: &Path, list: &[NewFile<'_>], overwrite: bool) -> Result<Vec<PathBuf>, Error> {
    if !dir.as_os_str().is_empty() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| cannot_write(dir, error))?;
    }
    if !overwrite
        && let Some(file) = list
            .iter()
            .find(|file| file.path.symlink_metadata().is_ok())
    {
        return Err(Error::Exists(file.path.clone()));
    }
    // Everything is written under another name before anything gets its own.
    let staged = list
        .iter()
        .map(Staged::new)
        .collect::<Result<Vec<_>, _>>()?;
    for file in staged {
        file.publish(overwrite)?;
    }
    sync_folder(dir).map_err(|error| cannot_write(dir, error))?;
    Ok(list.iter().map(|file| file.path.clone()).collect())
}

/// A complete file under a name of its own, which goes away unless it is published.
struct Staged<'f> {
    staged: PathBuf,
    path: &'f Path,
}

impl<'f> Staged<'f> {
    fn new(file: &'f NewFile<'_>) -> Result<Staged<'f>, Error> {
        let mut name = std::ffi::OsString::from(".");
        name.push(file.path.file_name().unwrap_or_default());
        name.push(format!(".{:016x}", random()?));
        let staged = file.path.with_file_name(name);
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut target = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&staged)?;
            target.write_all(file.contents.as_bytes())?;
            // The umask may have taken more away than intended.
            target.set_permissions(Permissions::from_mode(file.mode))?;
            target.sync_all()
        };
        match write() {
            Ok(()) => Ok(Staged {
                staged,
                path: &file.path,
            }),
            Err(error) => {
                fs::remove_file(&staged).ok();
                Err(cannot_write(&file.path, error))
            }
        }
    }

    /// A link fails where a name is taken; a rename replaces it. Both are atomic.
    fn publish(self, overwrite: bool) -> Result<(), Error> {
        let published = match overwrite {
            true => fs::rename(&self.staged, self.path),
            false => fs::hard_link(&self.staged, self.path),
        };
        published.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(self.path.to_owned()),
            _ => cannot_write(self.path, error),
        })
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        fs::remove_file(&self.staged).ok();
    }
}

fn sync_folder(dir: &Path) -> io::Result<()> {
    let dir = match dir.as_os_str().is_empty() {
        true => Path::new("."),
        false => dir,
    };
    File::open(dir)?.sync_all()
}

fn random() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    Error::Write {
        path: path.to_owned(),
        error,
    }
}
