//! Other programs: started with a deadline, spoken to, and killed by their own process id.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use super::{holds_within, machine, patience};

type Captured = Arc<Mutex<Vec<u8>>>;

/// A running program whose output is captured.
pub struct Program {
    pub child: Child,
    name: String,
    stdin: Option<ChildStdin>,
    stdout: Captured,
    stderr: Captured,
    readers: Vec<JoinHandle<()>>,
}

/// What a program left.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    name: String,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        machine::isolate();
        machine::dies_with_test(command);
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (stdout, stderr) = (Captured::default(), Captured::default());
        let readers = vec![
            capture(child.stdout.take().unwrap(), stdout.clone()),
            capture(child.stderr.take().unwrap(), stderr.clone()),
        ];
        Program {
            stdin: child.stdin.take(),
            child,
            name,
            stdout,
            stderr,
            readers,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).and_then(|()| stdin.flush()).unwrap();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Everything it wrote so far, errors last.
    pub fn output(&self) -> String {
        let mut all = self.stdout.lock().unwrap().clone();
        all.extend_from_slice(&self.stderr.lock().unwrap());
        String::from_utf8_lossy(&all).into_owned()
    }

    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait_for_times(text, 1);
    }

    #[track_caller]
    pub fn wait_for_times(&self, text: &str, times: usize) {
        let found = holds_within(patience(), || self.output().matches(text).count() >= times);
        assert!(
            found,
            "{}: waited in vain for {text:?} in:\n{}",
            self.name,
            self.output()
        );
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.finish_within(patience())
    }

    #[track_caller]
    pub fn finish_within(mut self, limit: Duration) -> Finished {
        if !holds_within(limit, || self.has_ended()) {
            let output = self.output();
            panic!("{}: did not end within {limit:?}:\n{output}", self.name);
        }
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Finished {
            status,
            stdout: std::mem::take(&mut self.stdout.lock().unwrap()),
            stderr: String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned(),
            name: std::mem::take(&mut self.name),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Finished {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Both outputs, for what may be in either.
    pub fn all(&self) -> String {
        self.text() + &self.stderr
    }

    #[track_caller]
    pub fn success(self) -> Self {
        assert!(
            self.status.success(),
            "{}: {}\n{}\n{}",
            self.name,
            self.status,
            String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(4000)]),
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn failure(self) -> Self {
        assert!(
            !self.status.success(),
            "{}: should have failed\n{}",
            self.name,
            self.all()
        );
        self
    }
}

fn capture(mut from: impl Read + Send + 'static, to: Captured) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            to.lock().unwrap().extend_from_slice(&buffer[..bytes]);
        }
    })
}

/// Runs a program to its end, with nothing on its input.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> Finished {
    let mut program = Program::start(Command::new(program).args(arguments));
    program.close_stdin();
    program.finish()
}

/// The program under test, for its other commands.
#[track_caller]
pub fn lockgate(arguments: &[&str]) -> Finished {
    run(env!("CARGO_BIN_EXE_lockgate"), arguments)
}

/// curl, quiet about progress but not about errors, bounded in time.
pub fn curl(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--noproxy", "*", "--max-time", "60"])
        .args(arguments);
    command
}
