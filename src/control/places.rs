//! Which names of the file system decide what a file is.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::{Component, Path, PathBuf},
};

use crate::{config::folder::Folder, limits};

/// What to look out for on the way to one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Its own name, and that of every symlink on the way, each in a folder without symlinks. Where
    /// the way ends before the file, the first name that is missing.
    pub places: Vec<PathBuf>,
    /// Folders in which any name may make a difference.
    pub listed: Vec<PathBuf>,
}

/// Finds ways; folders that were seen to be free of symlinks are not looked at again by it.
#[derive(Default)]
pub struct Ways(HashMap<PathBuf, bool>);

impl Ways {
    /// `None`: there is nothing but the file's own name. Blocks.
    pub fn to(&mut self, file: &Path) -> Option<Way> {
        if let Some(parent) = file.parent()
            && self.is_plain(parent)
            && std::fs::symlink_metadata(file).is_ok_and(|file| file.is_file())
        {
            return None;
        }
        let mut places = BTreeSet::new();
        let end = add_places(file, &mut places);
        let mut listed = Vec::new();
        if end.is_dir() {
            // One that cannot be read is as good as empty.
            listed = Folder::read(&end).unwrap_or_default().awaited;
            listed.push(end);
        }
        let is_plain = listed.is_empty() && places.len() == 1 && places.contains(file);
        (!is_plain).then(|| Way {
            places: places.into_iter().collect(),
            listed,
        })
    }

    fn is_plain(&mut self, folder: &Path) -> bool {
        if let Some(is_plain) = self.0.get(folder) {
            return *is_plain;
        }
        let mut places = BTreeSet::new();
        let end = add_places(folder, &mut places);
        let is_plain = end == folder && places.len() == 1 && folder.is_dir();
        self.0.insert(folder.to_owned(), is_plain);
        is_plain
    }
}

impl Way {
    /// The folders that events of these places come from.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let parents = self.places.iter().filter_map(|place| place.parent());
        parents
            .chain(self.listed.iter().map(PathBuf::as_path))
            .map(Path::to_owned)
            .collect()
    }
}

/// Where the way ends.
fn add_places(file: &Path, places: &mut BTreeSet<PathBuf>) -> PathBuf {
    // As events have it.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut rest: Vec<PathBuf> = pieces(&file);
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(piece) = rest.pop() {
        let next = at.join(&piece);
        let is_last = rest.is_empty();
        match std::fs::read_link(&next) {
            Ok(target) if links < limits::SYMLINKS_MAX => {
                links += 1;
                places.insert(next);
                if target.is_absolute() {
                    at = PathBuf::new();
                }
                rest.extend(pieces(&target));
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && !is_last => {}
            _ => {
                places.insert(next.clone());
                return next;
            }
        }
        at = next;
    }
    at
}

/// The pieces of a path, the first one last.
fn pieces(path: &Path) -> Vec<PathBuf> {
    let named = path
        .components()
        .filter(|component| !matches!(component, Component::CurDir));
    let mut pieces: Vec<PathBuf> = named
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect();
    pieces.reverse();
    pieces
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir()
                .canonicalize()
                .unwrap()
                .join(format!("lockgate-watch-{name}-{}", std::process::id()));
            fs::remove_dir_all(&path).ok();
            fs::create_dir_all(&path).unwrap();
            Temporary(path)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn way(file: &Path) -> Way {
        Ways::default().to(file).expect("more than its own name")
    }

    #[test]
    fn every_symlink_on_the_way_is_watched() {
        let Temporary(base) = &Temporary::new("links");
        fs::create_dir_all(base.join("mount/..one")).unwrap();
        fs::write(base.join("mount/..one/tls.crt"), "1").unwrap();
        symlink("..one", base.join("mount/..data")).unwrap();
        symlink("..data/tls.crt", base.join("mount/tls.crt")).unwrap();
        symlink(base.join("mount"), base.join("live")).unwrap();
        let way = way(&base.join("live/tls.crt"));
        let expected = [
            "live",
            "mount/..data",
            "mount/..one/tls.crt",
            "mount/tls.crt",
        ];
        assert_eq!(way.places, expected.map(|place| base.join(place)));
        let expected = [base.clone(), base.join("mount"), base.join("mount/..one")];
        assert_eq!(way.folders(), expected.into());
    }

    #[test]
    fn of_a_folder_that_is_missing_the_one_above_is_watched() {
        let Temporary(base) = &Temporary::new("missing");
        let file = base.join("gone/too/tls.crt");
        assert_eq!(way(&file).places, [base.join("gone")]);
    }

    #[test]
    fn a_relative_path_starts_at_the_working_directory() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        let places = way(Path::new("missing.crt")).places;
        assert!(places.contains(&here.join("missing.crt")));
    }

    #[test]
    fn links_in_a_circle_end() {
        let Temporary(base) = &Temporary::new("circle");
        symlink("b", base.join("a")).unwrap();
        symlink("a", base.join("b")).unwrap();
        assert_eq!(
            way(&base.join("a")).places,
            [base.join("a"), base.join("b")]
        );
    }

    #[test]
    fn of_a_plain_file_its_own_name_is_enough() {
        let Temporary(base) = &Temporary::new("plain");
        let mut ways = Ways::default();
        fs::write(base.join("a.crt"), "").unwrap();
        symlink("a.crt", base.join("b.crt")).unwrap();
        assert_eq!(ways.to(&base.join("a.crt")), None);
        assert!(ways.to(&base.join("b.crt")).is_some());
        assert_eq!(ways.to(&base.join("missing.crt")), None);
    }

    #[test]
    fn names_in_a_folder_are_looked_out_for() {
        let Temporary(base) = &Temporary::new("folder");
        fs::create_dir_all(base.join("certs/empty")).unwrap();
        symlink("certs", base.join("link")).unwrap();
        let way = way(&base.join("link"));
        assert_eq!(way.places, [base.join("certs"), base.join("link")]);
        assert_eq!(way.listed, [base.join("certs/empty"), base.join("certs")]);
    }
}
