//! What the tests stand on: the program under test, its certificates, backends, clients and the
//! machine. Everything here is bounded in time and ends with the test that started it.

pub mod backend;
mod baseline;
pub mod client;
pub mod command;
pub mod connector;
pub mod data;
pub mod documented;
mod duplex;
pub mod load;
pub mod lockgate;
pub mod machine;
pub mod metrics;
pub mod monitoring;
pub mod nginx;
mod observe;
pub mod openssl;
pub mod pki;
pub mod records;
pub mod reload;
pub mod sessions;
pub mod setup;
mod sys;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

pub use backend::{Backend, Socket, StreamEnd};
pub use client::{Client, End};
pub use command::Program;
pub use connector::Connector;
pub use data::{Check, Pattern, pattern};
pub use load::Load;
pub use lockgate::Lockgate;
pub use observe::field;
pub use pki::pki;
pub use setup::Setup;

/// What anything that should happen soon may take: much longer than it does, so that a busy
/// machine is no failure.
pub fn patience() -> Duration {
    Duration::from_secs(20).mul_f64(machine::scale())
}

/// Waits for a condition; fails the test when it does not come true in time.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(
        holds_within(patience(), condition),
        "waited in vain until {what}"
    );
}

pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// A folder of its own for one test, gone with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("lockgate-e2e-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path as text, for a command line or a configuration.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.join(name);
        std::fs::write(&path, content).unwrap();
        text(&path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
