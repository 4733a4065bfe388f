//! What files were when they were last looked at.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
};

use crate::config::folder::Folder;

/// Equal stamps, equal content.
#[derive(Default)]
pub struct Stamps(HashMap<Arc<Path>, Stamp>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    /// A hash, because there may be tens of thousands. Of a file: device, inode, size, and the times
    /// of the last change of content and of status; the second shows writes that restore the first.
    /// Of a folder it counts which certificates are in it, not that a file came and went.
    There(u64),
    Missing(Option<i32>),
}

impl Stamps {
    /// Looks at these files: those that are not as they were, or that are new here. Blocks.
    pub fn renew<'f>(
        &mut self,
        files: impl IntoIterator<Item = &'f Arc<Path>>,
    ) -> HashSet<Arc<Path>> {
        let mut changed = HashSet::new();
        for path in files {
            let now = Stamp::of(path);
            match self.0.get_mut(path) {
                Some(stamp) if *stamp == now => {}
                Some(stamp) => {
                    *stamp = now;
                    changed.insert(path.clone());
                }
                None => {
                    self.0.insert(path.clone(), now);
                    changed.insert(path.clone());
                }
            }
        }
        changed
    }

    /// The same for all of them.
    pub fn renew_all(&mut self) -> HashSet<Arc<Path>> {
        let mut changed = HashSet::new();
        for (path, stamp) in &mut self.0 {
            let now = Stamp::of(path);
            if *stamp != now {
                *stamp = now;
                changed.insert(path.clone());
            }
        }
        changed
    }

    pub fn files(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.0.keys()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    pub fn is_missing(&self, path: &Path) -> bool {
        matches!(self.0.get(path), Some(Stamp::Missing(_)))
    }

    pub fn keep_only(&mut self, files: &HashSet<Arc<Path>>) {
        self.0.retain(|path, _| files.contains(path));
        self.0.shrink_to_fit();
    }
}

impl Stamp {
    fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(file) if file.is_dir() => match Folder::read(path) {
                Ok(folder) => Stamp::there(folder.sources),
                Err(error) => Stamp::Missing(error.raw_os_error()),
            },
            Ok(file) => Stamp::there((
                [file.dev(), file.ino(), file.size()],
                [file.mtime(), file.mtime_nsec()],
                [file.ctime(), file.ctime_nsec()],
            )),
            Err(error) => Stamp::Missing(error.raw_os_error()),
        }
    }

    fn there(content: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Stamp::There(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_stamp_tells_every_way_to_change_a_file() {
        let base = std::env::temp_dir().join(format!("lockgate-stamp-{}", std::process::id()));
        fs::remove_dir_all(&base).ok();
        fs::create_dir_all(&base).unwrap();
        let (file, link): (_, Arc<Path>) = (base.join("file"), base.join("link").into());
        fs::write(&file, "one").unwrap();
        symlink("file", &link).unwrap();
        let mut stamps = Stamps::default();
        assert_eq!(stamps.renew([&link]), HashSet::from([link.clone()]));
        assert_eq!(stamps.renew_all(), HashSet::new());
        let mut differs = |what: &str| {
            assert_eq!(stamps.renew_all(), HashSet::from([link.clone()]), "{what}");
            assert_eq!(stamps.renew([&link]), HashSet::new(), "{what}");
        };
        fs::write(&file, "three").unwrap();
        differs("written in place");
        fs::write(base.join("new"), "three").unwrap();
        fs::rename(base.join("new"), &file).unwrap();
        differs("renamed over");
        fs::write(base.join("other"), "three").unwrap();
        fs::remove_file(&link).unwrap();
        symlink("other", &link).unwrap();
        differs("symlink exchanged");
        fs::remove_file(&link).unwrap();
        differs("removed");
        symlink("other", &link).unwrap();
        differs("put back");
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn of_a_folder_the_certificates_count() {
        let base = std::env::temp_dir().join(format!("lockgate-names-{}", std::process::id()));
        let base: Arc<Path> = base.into();
        fs::remove_dir_all(&base).ok();
        fs::create_dir_all(&base).unwrap();
        let mut stamps = Stamps::default();
        stamps.renew([&base]);
        fs::write(base.join("a.crt.tmp"), "").unwrap();
        assert_eq!(stamps.renew_all(), HashSet::new());
        fs::rename(base.join("a.crt.tmp"), base.join("a.crt")).unwrap();
        assert_eq!(stamps.renew_all(), HashSet::from([base.clone()]));
        fs::remove_dir_all(&base).unwrap();
        assert_eq!(stamps.renew_all(), HashSet::from([base.clone()]));
        assert!(stamps.is_missing(&base));
    }
}
