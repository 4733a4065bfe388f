//! What files of the system say. A container may have none of them.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// More than a list of modules or a kernel's configuration has.
const FILE_BYTES_MAX: u64 = 4 << 20;

pub struct Files {
    root: PathBuf,
}

impl Files {
    pub fn new(root: &Path) -> Self {
        Files {
            root: root.to_path_buf(),
        }
    }

    /// The number in a file such as `proc/sys/fs/nr_open`; the first, where there are several.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.find(path, |line| line.split_whitespace().next()?.parse().ok())
    }

    /// What `choose` makes of the first line of which it makes something.
    pub fn find<T>(&self, path: &str, choose: impl Fn(&str) -> Option<T>) -> Option<T> {
        let file = File::open(self.root.join(path)).ok()?;
        BufReader::new(file.take(FILE_BYTES_MAX))
            .lines()
            .map_while(Result::ok)
            .find_map(|line| choose(&line))
    }

    pub fn has_folder(&self, path: &str) -> bool {
        self.root.join(path).is_dir()
    }
}
