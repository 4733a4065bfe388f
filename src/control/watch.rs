//! Notices that files have changed, in whichever way: written in place, renamed over, a symlink of
//! their path exchanged, removed and put back.
//!
//! Events only say that it is time to look: what counts is the [`Stamp`] of the files, so a file
//! system without events is dealt with by looking now and then. Folders are watched, not files: a
//! file that is replaced takes its watch along.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use notify::{
    Event, EventKind, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::mpsc;

use crate::limits;

/// Equal stamps, equal content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(BTreeMap<PathBuf, FileStamp>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum FileStamp {
    /// Device, inode, size, and the times of the last change of content and of status, in seconds
    /// and nanoseconds. The second shows writes that restore the first.
    Present([u64; 3], [i64; 4]),
    Missing(Option<i32>),
}

impl Stamp {
    /// Blocks.
    pub fn of(files: &BTreeSet<PathBuf>) -> Self {
        let stamps = files.iter().map(|path| (path.clone(), FileStamp::of(path)));
        Stamp(stamps.collect())
    }

    pub fn files(&self) -> BTreeSet<PathBuf> {
        self.0.keys().cloned().collect()
    }

    /// What was found out about a file earlier counts.
    pub fn replace(&mut self, earlier: Stamp) {
        self.0.extend(earlier.0);
    }

    pub fn keep_only(&mut self, files: &BTreeSet<PathBuf>) {
        self.0.retain(|path, _| files.contains(path));
    }
}

impl FileStamp {
    fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(file) => FileStamp::Present(
                [file.dev(), file.ino(), file.size()],
                [
                    file.mtime(),
                    file.mtime_nsec(),
                    file.ctime(),
                    file.ctime_nsec(),
                ],
            ),
            Err(error) => FileStamp::Missing(error.raw_os_error()),
        }
    }
}

/// Watches the folders of files.
pub struct Watcher {
    /// `None`: the system grants no events.
    events: Option<notify::RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    /// Events of other files in the same folders, such as a log, are passed over.
    places: Arc<ArcSwap<BTreeSet<PathBuf>>>,
}

impl Watcher {
    /// Each message says that something has changed; more than one at a time would say no more.
    pub fn new() -> (Self, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel(1);
        let places = Arc::new(ArcSwap::default());
        let of_interest = Arc::clone(&places);
        let events = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // After an error nobody knows what was missed.
            if event.map_or(true, |event| is_change(&event, &of_interest.load())) {
                let _ = sender.try_send(());
            }
        });
        let events = events
            .inspect_err(|error| {
                tracing::warn!(
                    "no events of files: {error}; files are looked at every {:?}",
                    limits::RELOAD_POLL
                );
            })
            .ok();
        let watcher = Watcher {
            events,
            folders: BTreeSet::new(),
            places,
        };
        (watcher, receiver)
    }

    /// From now on these files. Blocks.
    pub fn follow(&mut self, files: &BTreeSet<PathBuf>) {
        let Some(events) = &mut self.events else {
            return;
        };
        let mut places = BTreeSet::new();
        for file in files {
            add_places(file, &mut places);
        }
        let mut folders = folders(&places);
        places.extend(folders.iter().cloned());
        self.places.store(Arc::new(places));
        for gone in self.folders.difference(&folders) {
            // A folder that was removed has taken its watch along.
            let _ = events.unwatch(gone);
        }
        // All of them: under the same name may be another folder now.
        folders.retain(|folder| {
            let watched = events.watch(folder, RecursiveMode::NonRecursive);
            if let Err(error) = &watched {
                tracing::debug!(folder = %folder.display(), "no events: {error}");
            }
            watched.is_ok()
        });
        self.folders = folders;
    }
}

/// Reading is no change; reloading reads.
fn is_change(event: &Event, places: &BTreeSet<PathBuf>) -> bool {
    let changes = match event.kind {
        EventKind::Access(AccessKind::Close(mode)) => mode == AccessMode::Write,
        EventKind::Access(_) => false,
        _ => true,
    };
    changes && (event.paths.is_empty() || event.paths.iter().any(|path| places.contains(path)))
}

fn folders(places: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let parents = places.iter().filter_map(|place| place.parent());
    parents.map(Path::to_owned).collect()
}

/// The names that decide what `file` is: its own, and that of every symlink on the way, each in a
/// folder without symlinks. Where the way ends before the file, the first name that is missing.
fn add_places(file: &Path, places: &mut BTreeSet<PathBuf>) {
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
                places.insert(next);
                return;
            }
        }
        at = next;
    }
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

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir()
                .canonicalize()
                .unwrap()
                .join(format!("lockgate-watch-{name}-{}", std::process::id()));
            fs::remove_dir_all(&path).ok();
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn places(file: &Path) -> BTreeSet<PathBuf> {
        let mut places = BTreeSet::new();
        add_places(file, &mut places);
        places
    }

    #[test]
    fn every_symlink_on_the_way_is_watched() {
        let Folder(base) = &Folder::new("links");
        fs::create_dir_all(base.join("mount/..one")).unwrap();
        fs::write(base.join("mount/..one/tls.crt"), "1").unwrap();
        symlink("..one", base.join("mount/..data")).unwrap();
        symlink("..data/tls.crt", base.join("mount/tls.crt")).unwrap();
        symlink(base.join("mount"), base.join("live")).unwrap();
        let expected = [
            "live",
            "mount/tls.crt",
            "mount/..data",
            "mount/..one/tls.crt",
        ];
        let places = places(&base.join("live/tls.crt"));
        assert_eq!(places, expected.map(|place| base.join(place)).into());
        let expected = [base.clone(), base.join("mount"), base.join("mount/..one")];
        assert_eq!(folders(&places), expected.into());
    }

    #[test]
    fn of_a_folder_that_is_missing_the_one_above_is_watched() {
        let Folder(base) = &Folder::new("missing");
        let file = base.join("gone/too/tls.crt");
        assert_eq!(places(&file), BTreeSet::from([base.join("gone")]));
    }

    #[test]
    fn a_relative_path_starts_at_the_working_directory() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert!(places(Path::new("missing.crt")).contains(&here.join("missing.crt")));
    }

    #[test]
    fn links_in_a_circle_end() {
        let Folder(base) = &Folder::new("circle");
        symlink("b", base.join("a")).unwrap();
        symlink("a", base.join("b")).unwrap();
        let both = BTreeSet::from([base.join("a"), base.join("b")]);
        assert_eq!(places(&base.join("a")), both);
    }

    #[test]
    fn a_stamp_tells_every_way_to_change_a_file() {
        let Folder(base) = &Folder::new("stamp");
        let (file, link) = (base.join("file"), base.join("link"));
        fs::write(&file, "one").unwrap();
        symlink("file", &link).unwrap();
        let files = BTreeSet::from([link.clone()]);
        let mut last = Stamp::of(&files);
        assert_eq!(last, Stamp::of(&files));
        let mut differs = |what: &str| {
            let now = Stamp::of(&files);
            assert_ne!(now, last, "{what}");
            last = now;
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
    }
}
