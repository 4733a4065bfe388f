//! `lockgate top` in a real terminal: tmux draws what it writes and types what it reads.

use std::process::Command;

use crate::harness::{
    Backend, Client, Connector, Folder, Lockgate, Program, Setup, command, data, pki,
    sessions::echo, wait_until,
};

/// A terminal of 120 by 40, gone with the test.
struct Terminal {
    folder: Folder,
}

impl Terminal {
    /// Runs `line` in a shell that then says how it ended.
    fn run(line: &str) -> Self {
        let terminal = Terminal {
            folder: Folder::new(),
        };
        let line = format!("{line}; echo ended with $?; exec sh");
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "120",
            "-y",
            "40",
            &line,
        ]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.folder.join("tmux").display().to_string();
        let mut command = Command::new("tmux");
        command
            .args(["-S", &socket])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8");
        let mut program = Program::start(&mut command);
        program.close_stdin();
        program.finish().success().text()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    #[track_caller]
    fn wait_for(&self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let found = crate::harness::holds_within(crate::harness::patience(), || {
            screen = self.screen();
            condition(&screen)
        });
        assert!(found, "waited in vain until {what}:\n{screen}");
        screen
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.folder.join("tmux");
        let mut command = Command::new("tmux");
        drop(command.arg("-S").arg(socket).arg("kill-server").output());
    }
}

/// The word behind a title, such as `open   5`.
fn figure(screen: &str, title: &str) -> Option<String> {
    let (_, rest) = screen.split_once(&format!("│{title}"))?;
    rest.split_whitespace().next().map(str::to_owned)
}

fn top(lockgate: &Lockgate) -> Terminal {
    let program = env!("CARGO_BIN_EXE_lockgate");
    let admin = lockgate.admin();
    Terminal::run(&format!("{program} top --interval 200ms --admin {admin}"))
}

fn clients(lockgate: &Lockgate, count: usize) -> Vec<Client> {
    let client = |_| {
        let mut client = Connector::new().connect(lockgate.address);
        client.ping(b"x");
        client
    };
    (0..count).map(client).collect()
}

#[test]
fn top_shows_what_happens_and_leaves_the_terminal_as_it_was() {
    let backend = Backend::tcp(echo);
    let nobody = format!("127.0.0.1:{}", crate::harness::machine::free_port());
    let lockgate = Setup::to("")
        .servers(&[&backend.address, &nobody])
        .certificates(&[&pki().short_lived])
        .start();
    let open = clients(&lockgate, 5);
    let terminal = top(&lockgate);
    let screen = terminal.wait_for("five are open", |screen| {
        figure(screen, "open").as_deref() == Some("5")
    });
    assert!(screen.contains(&lockgate.admin()), "{screen}");
    assert!(
        screen.lines().nth(1).unwrap().starts_with("serving"),
        "{screen}"
    );
    assert!(
        screen.contains(&backend.address) && screen.contains(&nobody),
        "{screen}"
    );
    assert!(screen.contains("down") && screen.contains("up"), "{screen}");
    assert!(screen.contains("CN=short-lived"), "{screen}");
    // Under load: handshakes with their latency, and bytes.
    let address = lockgate.address;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut client = Connector::new().connect(address);
                client.echo(data::UP, 1 << 20);
                drop(client.close());
            }
        });
        let screen = terminal.wait_for("rates and latencies are shown", |screen| {
            let above_zero = |title| {
                figure(screen, title).is_some_and(|text| text.parse::<f64>().is_ok_and(|f| f > 0.0))
            };
            let is_there = |title| figure(screen, title).is_some_and(|text| text != "-");
            above_zero("handshakes/s")
                && above_zero("accepted/s")
                && above_zero("down")
                && is_there("full handshake")
                && is_there("connect")
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let path = lockgate.json("/ready")["data_path"].to_string();
        assert!(screen.contains(&path[1..10]), "{path}: {screen}");
    });
    // A quarter of the screen, and back.
    terminal.tmux(&["resize-window", "-x", "60", "-y", "20"]);
    terminal.wait_for("it was drawn smaller", |screen| {
        screen
            .lines()
            .next()
            .is_some_and(|line| line.contains("lockgate at"))
            && screen.contains("q: quit")
    });
    terminal.press("q");
    terminal.wait_for("the shell is back", |screen| {
        screen.contains("ended with 0") && !screen.contains("Connections")
    });
    open.into_iter().for_each(|client| drop(client.close()));
    lockgate.finish();
}

#[test]
fn top_says_that_lockgate_is_gone_and_goes_on_with_the_next_one() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let terminal = top(&lockgate);
    let config = lockgate.folder().join("lockgate.toml");
    let again = std::fs::read_to_string(&config).unwrap();
    terminal.wait_for("it is served", |screen| screen.contains("serving"));
    let copy = Folder::new();
    for entry in std::fs::read_dir(lockgate.folder().path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.join(entry.file_name().to_str().unwrap())).unwrap();
        }
    }
    let folder = lockgate.folder().path().to_owned();
    lockgate.stop();
    terminal.wait_for("it is gone", |screen| screen.contains("GONE for"));
    // Another one at the same address.
    std::fs::create_dir_all(&folder).unwrap();
    let again = again.replace(
        &format!("key_file = \"{}", folder.display()),
        &format!("key_file = \"{}", copy.path().display()),
    );
    let again = again.replace(
        &format!("certificate_file = \"{}", folder.display()),
        &format!("certificate_file = \"{}", copy.path().display()),
    );
    let config = copy.write("again.toml", again);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
    let next = Program::start(command.args(["run", "--config", &config]));
    terminal.wait_for("the next one is served", |screen| {
        screen.contains("serving") && !screen.contains("GONE")
    });
    terminal.press("C-c");
    terminal.wait_for("the shell is back", |screen| {
        screen.contains("ended with 0")
    });
    drop(next);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn top_restores_the_terminal_when_it_is_told_to_end() {
    let lockgate = Setup::to("127.0.0.1:9").start();
    let terminal = top(&lockgate);
    terminal.wait_for("it is served", |screen| screen.contains("serving"));
    let pattern = format!("top --interval 200ms --admin {}", lockgate.admin());
    let pids = command::run("pgrep", &["-f", &format!("^[^ ]*lockgate {pattern}")])
        .success()
        .text();
    let pid = pids.trim().parse().unwrap();
    crate::harness::machine::signal(pid, libc::SIGTERM);
    terminal.wait_for("the shell is back", |screen| {
        screen.contains("ended with 0") && !screen.contains("Connections")
    });
    // Typing is shown again, and lines end where they should.
    terminal.tmux(&["send-keys", "echo $((40 + 2)) is shown", "Enter"]);
    let screen = terminal.wait_for("the shell answered", |screen| {
        screen.contains("\n42 is shown")
    });
    assert!(screen.contains("echo $((40 + 2))"), "{screen}");
    wait_until("it has ended", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    lockgate.finish_on_any_path();
}
