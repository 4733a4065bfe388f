//! The program under test: one process per test, watched from outside.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use super::{Folder, Setup, baseline::Baseline, machine, metrics, wait_until};

pub struct Lockgate {
    child: Child,
    folder: Folder,
    pub address: SocketAddr,
    pub baseline: Baseline,
    ended: bool,
}

impl Lockgate {
    #[track_caller]
    pub fn start(setup: Setup) -> Self {
        // Another process may take the port first where networks are shared.
        for attempt in 0.. {
            let port = machine::free_port();
            let config = setup.folder.write("lockgate.toml", setup.toml(port));
            let mut child = spawn(&setup, &config);
            let admin = setup.folder.join("admin");
            let mut exit = None;
            wait_until("lockgate was ready or gone", || {
                exit = child.try_wait().unwrap();
                exit.is_some() || matches!(metrics::get(&admin, "/health"), Ok((200, _)))
            });
            let Some(status) = exit else {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                let folder = setup.folder;
                let mut lockgate = Lockgate {
                    child,
                    folder,
                    address,
                    baseline: Baseline::default(),
                    ended: false,
                };
                lockgate.baseline = lockgate.settled();
                return lockgate;
            };
            let log = fs::read_to_string(setup.folder.join("log")).unwrap_or_default();
            let taken = log.contains("in use") && attempt < 3;
            assert!(
                taken,
                "lockgate ended at its start, {status}:\n{log}\n{}",
                setup.toml(port)
            );
        }
        unreachable!()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A folder for the test's other files.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.port())
    }

    /// The end of an ordinary test: right path, nothing left over, exit status 0.
    #[track_caller]
    pub fn finish(self) {
        self.assert_path();
        self.assert_decrypted();
        self.finish_on_any_path();
    }

    /// The same where the path is not the point, or keys were broken on purpose.
    #[track_caller]
    pub fn finish_on_any_path(self) {
        self.assert_baseline();
        self.stop();
    }

    pub fn signal(&self, signal: libc::c_int) {
        machine::signal(self.pid(), signal);
    }

    /// SIGTERM; it must end in time with status 0.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(libc::SIGTERM);
        let status = self.wait_end();
        assert_eq!(status.code(), Some(0), "{status} after SIGTERM");
    }

    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        wait_until("lockgate ended", || self.is_over());
        self.child.wait().unwrap()
    }

    pub fn is_over(&mut self) -> bool {
        self.ended = self.ended || self.child.try_wait().unwrap().is_some();
        self.ended
    }
}

impl Drop for Lockgate {
    fn drop(&mut self) {
        if !self.is_over() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        let log = self.log();
        let panicked = log.contains("panicked at");
        if std::thread::panicking() || panicked {
            let start = log.len().saturating_sub(8000);
            let start = (start..log.len())
                .find(|&at| log.is_char_boundary(at))
                .unwrap_or(0);
            eprintln!("--- end of the log of lockgate ---\n{}---", &log[start..]);
        }
        assert!(std::thread::panicking() || !panicked, "lockgate panicked");
    }
}

fn spawn(setup: &Setup, config: &str) -> Child {
    let log: PathBuf = setup.folder.join("log");
    let log = fs::File::create(log).unwrap();
    let program = env!("CARGO_BIN_EXE_lockgate").to_owned();
    let mut words = setup.launcher.clone();
    words.extend([program, "run".into(), "--config".into(), config.to_owned()]);
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .envs(setup.environment.iter().cloned());
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    machine::dies_with_test(&mut command);
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"))
}
