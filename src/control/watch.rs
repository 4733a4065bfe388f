//! Notices that files have changed, in whichever way: written in place, renamed over, a symlink of
//! their path exchanged, removed and put back; and that a folder has other certificates.
//!
//! Events only say which files it is time to look at: what counts is their [`super::stamps`], so a
//! file system without events is dealt with by looking at all of them now and then. Folders are
//! watched, not files: a file that is replaced takes its watch along.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use notify::{
    Event, EventKind, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::mpsc;

use super::places::{Way, Ways};
use crate::{config::folder::may_matter, limits, sys::process};

/// Watches the folders of files.
pub struct Watcher {
    /// `None`: the system grants no events.
    events: Option<notify::RecommendedWatcher>,
    /// Never locked while `events` is called: its thread takes this lock as well.
    map: Arc<Mutex<Map>>,
    /// The operator has been told that some folders have no events.
    is_short: bool,
}

/// What events are about.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Files(HashSet<Arc<Path>>),
    /// Nobody knows what was missed, or a whole folder went.
    All,
}

#[derive(Default)]
struct Map {
    /// What is followed, and its way where that is more than its own name.
    files: HashMap<Arc<Path>, Option<Box<Way>>>,
    /// The files that a place of these ways is for.
    behind: HashMap<PathBuf, HashSet<Arc<Path>>>,
    /// The folder that is followed, by each in which any name counts for it.
    listed: HashMap<PathBuf, Arc<Path>>,
    /// What is watched, and for how many files.
    folders: HashMap<PathBuf, usize>,
    seen: Seen,
}

impl Watcher {
    /// Each message says that something was seen; more than one at a time would say no more. Until
    /// something is followed, anything may have changed.
    pub fn new() -> (Self, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel(1);
        let map = Arc::new(Mutex::new(Map {
            seen: Seen::All,
            ..Map::default()
        }));
        let shared = Arc::clone(&map);
        let note = move |event: notify::Result<Event>| {
            if lock(&shared).note(event) {
                let _ = sender.try_send(());
            }
        };
        let events = standing_back(|| notify::recommended_watcher(note))
            .inspect_err(|error| {
                tracing::warn!(
                    "no events of files: {error}; files are looked at every {:?}",
                    limits::RELOAD_POLL
                );
            })
            .ok();
        let watcher = Watcher {
            events,
            map,
            is_short: false,
        };
        (watcher, receiver)
    }

    /// What events were about since the last call.
    pub fn seen(&self) -> Seen {
        std::mem::take(&mut lock(&self.map).seen)
    }

    /// From now on these files as well; those that are followed already by the way that leads to
    /// them now. Blocks.
    pub fn follow<'f>(&mut self, files: impl IntoIterator<Item = &'f Arc<Path>>) {
        if self.events.is_none() {
            return;
        }
        let mut ways = Ways::default();
        let (mut needed, mut gone) = (HashSet::new(), HashSet::new());
        for file in files {
            let way = ways.to(file);
            let mut map = lock(&self.map);
            if way.is_none() && matches!(map.files.get(file), Some(None)) {
                needed.extend(
                    file.parent()
                        .filter(|at| !needed.contains(*at))
                        .map(Path::to_owned),
                );
                continue;
            }
            // First the new one, so that a folder of both stays watched.
            let earlier = map.files.get(file).cloned();
            map.add(file, way.as_ref(), &mut needed);
            if let Some(earlier) = earlier {
                map.remove(file, earlier.as_deref(), &mut gone);
                map.add_places(file, way.as_ref());
            }
            map.files.insert(file.clone(), way.map(Box::new));
        }
        self.watch(&needed, &gone);
    }

    /// No other files any more.
    pub fn keep_only(&mut self, files: &HashSet<Arc<Path>>) {
        let mut gone = HashSet::new();
        let mut map = lock(&self.map);
        let others: Vec<Arc<Path>> = (map.files.keys())
            .filter(|file| !files.contains(*file))
            .cloned()
            .collect();
        for file in others {
            if let Some(way) = map.files.remove(&file) {
                map.remove(&file, way.as_deref(), &mut gone);
            }
        }
        drop(map);
        self.watch(&HashSet::new(), &gone);
    }

    /// Those that are needed again as well: under the same name may be another folder now.
    fn watch(&mut self, needed: &HashSet<PathBuf>, gone: &HashSet<PathBuf>) {
        let Some(events) = &mut self.events else {
            return;
        };
        for folder in gone.difference(needed) {
            // A folder that was removed has taken its watch along.
            let _ = events.unwatch(folder);
        }
        let mut refused = Vec::new();
        for folder in needed {
            if let Err(error) = events.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(folder = %folder.display(), "no events: {error}");
                refused
                    .extend(matches!(error.kind, notify::ErrorKind::MaxFilesWatch).then_some(()));
            }
        }
        if !refused.is_empty() && !self.is_short {
            self.is_short = true;
            tracing::warn!(
                "{} folders cannot be watched; they are looked at every {:?}: raise \
                 fs.inotify.max_user_watches (sysctl)",
                refused.len(),
                limits::RELOAD_POLL
            );
        }
    }
}

/// Threads that are started meanwhile are as little urgent as reloads: a folder of thousands of files
/// has as many events when they are read or exchanged.
fn standing_back<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    let started = thread::scope(|scope| {
        let stand_back = || {
            if let Err(error) = process::step_back(limits::RELOAD_NICE) {
                tracing::debug!("events of files may delay handshakes: {error}");
            }
            start()
        };
        scope.spawn(stand_back).join()
    });
    started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Map {
    /// Whether it is about anything that is followed.
    fn note(&mut self, event: notify::Result<Event>) -> bool {
        let Ok(event) = event else {
            self.seen = Seen::All;
            return true;
        };
        if !is_change(event.kind) {
            return false;
        }
        if event.need_rescan() || event.paths.is_empty() {
            self.seen = Seen::All;
            return true;
        }
        let mut is_noted = false;
        for path in event.paths {
            is_noted |= self.note_path(&path);
        }
        is_noted
    }

    fn note_path(&mut self, path: &Path) -> bool {
        if self.folders.contains_key(path) {
            self.seen = Seen::All;
            return true;
        }
        let behind = self.behind.get(path);
        let file = self.files.get_key_value(path).map(|(file, _)| file);
        let owner = match file.is_some() || behind.is_some() {
            true => None,
            false => {
                let listed = path.parent().and_then(|folder| self.listed.get(folder));
                listed.filter(|_| may_matter(path))
            }
        };
        let files = behind.into_iter().flatten().chain(owner).chain(file);
        let mut files = files.cloned().peekable();
        let is_noted = files.peek().is_some();
        if let Seen::Files(seen) = &mut self.seen {
            seen.extend(files);
        }
        is_noted
    }

    fn add(&mut self, file: &Arc<Path>, way: Option<&Way>, needed: &mut HashSet<PathBuf>) {
        for folder in folders(file, way) {
            *self.folders.entry(folder.clone()).or_default() += 1;
            needed.insert(folder);
        }
        self.add_places(file, way);
    }

    fn add_places(&mut self, file: &Arc<Path>, way: Option<&Way>) {
        for place in way.iter().flat_map(|way| &way.places) {
            let files = self.behind.entry(place.clone()).or_default();
            files.insert(Arc::clone(file));
        }
        for folder in way.iter().flat_map(|way| &way.listed) {
            self.listed.insert(folder.clone(), Arc::clone(file));
        }
    }

    fn remove(&mut self, file: &Path, way: Option<&Way>, gone: &mut HashSet<PathBuf>) {
        for folder in folders(file, way) {
            if let Some(count) = self.folders.get_mut(&folder) {
                *count -= 1;
                if *count == 0 {
                    self.folders.remove(&folder);
                    gone.insert(folder);
                }
            }
        }
        for place in way.iter().flat_map(|way| &way.places) {
            if let Some(files) = self.behind.get_mut(place) {
                files.remove(file);
                if files.is_empty() {
                    self.behind.remove(place);
                }
            }
        }
        for folder in way.iter().flat_map(|way| &way.listed) {
            self.listed.remove(folder);
        }
    }
}

impl Default for Seen {
    fn default() -> Self {
        Seen::Files(HashSet::new())
    }
}

fn folders(file: &Path, way: Option<&Way>) -> Vec<PathBuf> {
    match way {
        Some(way) => way.folders().into_iter().collect(),
        None => file.parent().map(Path::to_owned).into_iter().collect(),
    }
}

/// Reading is no change; reloading reads.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(mode)) => mode == AccessMode::Write,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// Whoever panicked left it as it was, or saw to one file less.
fn lock(map: &Mutex<Map>) -> MutexGuard<'_, Map> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}
