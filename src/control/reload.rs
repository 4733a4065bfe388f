//! Reload: read what has changed, then put all of it into use in one step, or none of it.
//!
//! ```text
//!   SIGHUP, POST /reload ─> look at all files ──────────────────┐
//!   event of a file ─> quiet? ─> look at these: changed? ──┐    v
//!   every ten seconds ─> look at all files: changed? ──────┴─> read ─> build ─> bind ─> swap
//!                                                                └───────┴───────┴─> rejected: what
//!                                                                is in use stays in use
//! ```
//!
//! A thread of its own does this, one reload after the other, so that signals and the admin server do
//! not wait; it leaves the cores to handshakes and traffic. A certificate without its key is an
//! ordinary rejection: the event of the key's file is the next attempt.
//!
//! A file is read again when it is not what it was when it was last looked at, which is always
//! before it is read. At the start files are followed only once they are served: what has changed
//! meanwhile is seen by a second look, and reading ten thousand files does not bring an event for each.

use std::{
    collections::HashSet,
    fmt::Display,
    io,
    path::Path,
    sync::{Arc, mpsc as threads},
    thread,
    time::Instant,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout_at},
};

use super::{
    BuildError, Server, Source, build_snapshot, changes, rotation,
    stamps::Stamps,
    watch::{Seen, Watcher},
};
use crate::{
    audit::Event,
    config::{Config, Problems},
    limits, logging,
    snapshot::Snapshot,
    status::{Applied, Outcome, Rejected, Scope},
    sys::process,
    tls::{Loaded, TicketKeys, Validity},
};

/// Why a reload is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    Signal,
    Admin,
    /// Events; nothing is done when the files are as they were.
    Files,
    /// The same, after a look at all of them.
    Poll,
}

impl Trigger {
    fn name(self) -> &'static str {
        match self {
            Trigger::Signal => "signal",
            Trigger::Admin => "admin",
            Trigger::Files => "files",
            Trigger::Poll => "poll",
        }
    }
}

type Verdict = Result<Applied, Rejected>;
type Request = (Trigger, oneshot::Sender<Verdict>);
/// `None`: there was nothing to do.
type Order = (Trigger, oneshot::Sender<Option<Verdict>>);

/// Asks for reloads.
#[derive(Clone)]
pub struct Reloads(mpsc::Sender<Request>);

impl Reloads {
    /// `None`: the program is ending.
    pub async fn reload(&self, trigger: Trigger) -> Option<Verdict> {
        let (sender, verdict) = oneshot::channel();
        self.0.send((trigger, sender)).await.ok()?;
        verdict.await.ok()
    }

    /// Without waiting; where as many wait already as may, this one is served by theirs.
    pub fn request(&self, trigger: Trigger) {
        let (sender, _) = oneshot::channel();
        let _ = self.0.try_send((trigger, sender));
    }
}

/// The one who reloads.
pub struct Reloader {
    requests: mpsc::Receiver<Request>,
    events: mpsc::Receiver<()>,
    work: Work,
}

/// What a reload needs; on the thread that does it, and only there.
struct Work {
    source: Source,
    tickets: TicketKeys,
    watcher: Watcher,
    /// Of all files that count, taken before they were read.
    stamps: Stamps,
    /// What was read from files that are as they were then.
    loaded: Loaded,
    /// The configuration as it was read last, whether it could be used or not, and its warnings;
    /// `None`: it is to be read again.
    read: Option<(Config, Vec<String>)>,
    server: Option<Arc<Server>>,
    /// The problems that the operator has been told of.
    said: Vec<String>,
    /// The warnings of the last good reload.
    warned: Vec<String>,
}

impl Reloader {
    /// Call it before the files of `config` are read for the first time.
    pub fn new(source: Source, config: &Config) -> (Self, Reloads) {
        let (sender, requests) = mpsc::channel(limits::RELOADS_WAITING);
        let (watcher, events) = Watcher::new();
        let mut stamps = Stamps::default();
        stamps.renew(&source.files(config));
        let work = Work {
            source,
            tickets: TicketKeys::new(),
            watcher,
            stamps,
            loaded: Loaded::default(),
            read: Some((config.clone(), Vec::new())),
            server: None,
            said: Vec::new(),
            warned: Vec::new(),
        };
        let reloader = Reloader {
            requests,
            events,
            work,
        };
        (reloader, Reloads(sender))
    }

    /// What to start with, and its warnings. Tickets made under it outlive a reload.
    pub fn first_snapshot(
        &mut self,
        config: Config,
    ) -> Result<(Snapshot, Vec<String>), Vec<BuildError>> {
        let Work {
            tickets, loaded, ..
        } = &mut self.work;
        let built = build_snapshot(config, tickets, Validity::Warn, loaded, None);
        process::trim_memory();
        built
    }

    /// Reloads whenever there is a reason to, until it is dropped.
    pub async fn run(self, server: Arc<Server>) {
        let Reloader {
            mut requests,
            mut events,
            mut work,
        } = self;
        work.server = Some(server);
        let orders = match work.start() {
            Ok(orders) => orders,
            Err(error) => {
                return tracing::error!(
                    "nothing is reloaded, because a thread cannot be started: {error}"
                );
            }
        };
        // The first is at once: nothing is followed yet.
        let mut poll = interval(limits::RELOAD_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (trigger, reply) = tokio::select! {
                request = requests.recv() => match request {
                    Some((trigger, reply)) => (trigger, Some(reply)),
                    None => return,
                },
                Some(()) = events.recv() => {
                    quiet(&mut events).await;
                    (Trigger::Files, None)
                }
                _ = poll.tick() => (Trigger::Poll, None),
            };
            let (done, verdict) = oneshot::channel();
            let sent = orders.send((trigger, done));
            let (Ok(()), Ok(verdict)) = (sent, verdict.await) else {
                return tracing::error!("nothing is reloaded any more: the thread has ended");
            };
            if let (Some(reply), Some(verdict)) = (reply, verdict) {
                // Whoever asked may have gone.
                let _ = reply.send(verdict);
            }
        }
    }
}

/// Waits for the end of a series of events.
async fn quiet(events: &mut mpsc::Receiver<()>) {
    let latest = tokio::time::Instant::now() + limits::RELOAD_DELAY_MAX;
    loop {
        let quiet = tokio::time::Instant::now() + limits::RELOAD_QUIET;
        match timeout_at(quiet.min(latest), events.recv()).await {
            Ok(Some(())) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

impl Work {
    /// Its thread ends when nobody can order any more.
    fn start(mut self) -> io::Result<threads::Sender<Order>> {
        let (orders, received) = threads::channel::<Order>();
        thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                if let Err(error) = process::step_back(limits::RELOAD_NICE) {
                    tracing::debug!("a reload may delay handshakes: {error}");
                }
                for (trigger, done) in received {
                    let _ = done.send(self.reload(trigger));
                }
            })?;
        Ok(orders)
    }

    /// `None`: there was nothing to do.
    fn reload(&mut self, trigger: Trigger) -> Option<Verdict> {
        let server = Arc::clone(self.server.as_ref()?);
        let is_asked = matches!(trigger, Trigger::Signal | Trigger::Admin);
        let began = Instant::now();
        let changed = self.look(trigger);
        if !is_asked && (changed.is_empty() || server.shared().is_draining()) {
            return None;
        }
        let verdict = self.attempt(&server, &changed, is_asked);
        server.status().record(&verdict, began.elapsed());
        self.say(trigger, &verdict);
        audit_verdict(&server, trigger, &verdict);
        if changed.len() > limits::CERTIFICATES_PER_LOADER {
            process::trim_memory();
        }
        Some(verdict)
    }

    /// Which files are not as they were. They are followed first: a change after this has its event.
    fn look(&mut self, trigger: Trigger) -> HashSet<Arc<Path>> {
        let seen = self.watcher.seen();
        let mut changed = match (trigger, seen) {
            (Trigger::Files, Seen::Files(files)) => {
                self.watcher.follow(&files);
                self.stamps.renew(&files)
            }
            (Trigger::Poll, Seen::Files(_)) => {
                // Without an event the ways are as they were, unless there are none.
                let changed = self.stamps.renew_all();
                self.watcher.follow(&changed);
                changed
            }
            (Trigger::Signal | Trigger::Admin, _) | (_, Seen::All) => {
                self.watcher.follow(self.stamps.files());
                let changed = self.stamps.renew_all();
                // Tens of thousands of them leave a lot behind.
                process::trim_memory();
                changed
            }
        };
        // What a folder has lost is no certificate to wait for.
        if changed.iter().any(|file| self.stamps.is_missing(file)) {
            let folders = self.deciding();
            self.watcher.follow(&folders);
            changed.extend(self.stamps.renew(&folders));
        }
        changed
    }

    fn deciding(&self) -> Vec<Arc<Path>> {
        let read = self.read.iter();
        read.flat_map(|(config, _)| self.source.deciding(config))
            .collect()
    }

    fn attempt(
        &mut self,
        server: &Server,
        changed: &HashSet<Arc<Path>>,
        is_asked: bool,
    ) -> Verdict {
        if server.shared().is_draining() {
            let problem = "lockgate is draining: it does not change any more";
            return Err(Rejected::one(problem, Outcome::IoError));
        }
        self.loaded.forget(changed);
        let running = server.shared().snapshot.load_full();
        let is_other = || self.deciding().iter().any(|file| changed.contains(file));
        let wanted = match is_asked || self.read.is_none() || is_other() {
            true => Some(self.read_again(&running.config)?),
            false => None,
        };
        let Some((mut config, mut warnings)) = self.read.clone() else {
            return Err(Rejected::one("no configuration was read", Outcome::IoError));
        };

        let not_live = changes::keep_fixed(&running.config, &mut config);
        let (snapshot, more) = build_snapshot(
            config,
            &self.tickets,
            Validity::Enforce,
            &mut self.loaded,
            Some(&*running),
        )
        .map_err(Rejected::build)?;
        let log = snapshot.config.log.clone();
        let audit = &server.shared().audit;
        let opened = audit
            .open(snapshot.config.audit.as_ref())
            .map_err(|error| Rejected::one(error, Outcome::IoError))?;
        let changes = changes::between(&running, &snapshot);
        let generation = (server.status())
            .next_generation(|| server.apply(snapshot))
            .map_err(|error| Rejected::one(error, Outcome::IoError))?;
        if let Some(opened) = opened {
            audit.switch(opened);
        }
        rotation::record(audit, &running, &server.shared().snapshot.load());
        if log != running.config.log {
            logging::change(&log);
        }
        if let Some(wanted) = wanted {
            self.keep_only(&wanted);
        }
        warnings.extend(more);
        Ok(Applied {
            generation,
            changes,
            not_live,
            warnings,
        })
    }

    /// Reads the configuration; the files that it names, which are looked at from now on, and so are
    /// those of the `running` one.
    fn read_again(&mut self, running: &Config) -> Result<HashSet<Arc<Path>>, Rejected> {
        // Until it could be read, every attempt reads it: what is wrong with it stays a reason.
        self.read = None;
        let (config, warnings) = (self.source.read)().map_err(|problems| self.refused(problems))?;
        let wanted = self.source.files(&config);
        let others: Vec<&Arc<Path>> = (wanted.iter())
            .filter(|file| !self.stamps.has(file))
            .collect();
        self.watcher.follow(others.iter().copied());
        self.stamps.renew(others);
        self.loaded.keep_only(&config.listeners);
        let warnings = warnings.iter().map(ToString::to_string).collect();
        self.read = Some((config, warnings));
        if self.stamps.len() > wanted.len() {
            let mut all = self.source.files(running);
            all.extend(wanted.iter().cloned());
            self.keep_only(&all);
        }
        Ok(wanted)
    }

    /// All of `files` are followed.
    fn keep_only(&mut self, files: &HashSet<Arc<Path>>) {
        if self.stamps.len() > files.len() {
            self.stamps.keep_only(files);
            self.watcher.keep_only(files);
        }
    }

    fn refused(&self, problems: Problems) -> Rejected {
        let file = self.source.file.as_ref();
        let is_unreadable = file.is_some_and(|file| std::fs::File::open(file).is_err());
        let outcome = match is_unreadable {
            true => Outcome::IoError,
            false => Outcome::ParseError,
        };
        Rejected {
            problems: problems.list.iter().map(ToString::to_string).collect(),
            outcomes: vec![(Scope::Listener, outcome)],
        }
    }

    /// A problem is said once, and again when it comes back after a good reload.
    fn say(&mut self, trigger: Trigger, verdict: &Verdict) {
        match verdict {
            Ok(applied) => {
                self.said.clear();
                let generation = applied.generation;
                match applied.changes.as_slice() {
                    [] => tracing::info!(
                        generation,
                        trigger = trigger.name(),
                        "reloaded: nothing is different"
                    ),
                    changes => {
                        let changes = changes.join("; ");
                        tracing::info!(generation, trigger = trigger.name(), "reloaded: {changes}");
                    }
                }
                let warnings = [&applied.not_live[..], &applied.warnings].concat();
                if warnings != self.warned {
                    for text in &warnings {
                        tracing::warn!("{text}");
                    }
                    self.warned = warnings;
                }
            }
            Err(rejected) if rejected.problems != self.said => {
                for problem in &rejected.problems {
                    tracing::error!(
                        trigger = trigger.name(),
                        "not reloaded, what was in use stays: {problem}"
                    );
                }
                self.said.clone_from(&rejected.problems);
            }
            Err(_) => {}
        }
    }
}

/// Each verdict: who reads an audit trail wants to know how often it was tried.
fn audit_verdict(server: &Server, trigger: Trigger, verdict: &Verdict) {
    let (trigger, audit) = (trigger.name(), &server.shared().audit);
    audit.record(&match verdict {
        Ok(applied) => Event::ConfigReloaded {
            trigger,
            generation: applied.generation,
            changes: &applied.changes,
            not_live: &applied.not_live,
            warnings: &applied.warnings,
        },
        Err(rejected) => Event::ConfigRejected {
            trigger,
            generation: server.status().state().generation,
            problems: &rejected.problems,
        },
    });
    audit.leave();
}

impl Rejected {
    fn one(problem: impl Display, outcome: Outcome) -> Self {
        Rejected {
            problems: vec![problem.to_string()],
            outcomes: vec![(Scope::Listener, outcome)],
        }
    }

    fn build(errors: Vec<BuildError>) -> Self {
        let mut outcomes = Vec::new();
        for error in &errors {
            let outcome = match error {
                BuildError::Backend(_) => (Scope::Upstream, Outcome::IoError),
                BuildError::Admin(error) if error.unreadable => (Scope::Admin, Outcome::IoError),
                BuildError::Admin(_) => (Scope::Admin, Outcome::ParseError),
                error if error.is_unreadable() => (Scope::Listener, Outcome::IoError),
                BuildError::Tls { .. } => (Scope::Listener, Outcome::ParseError),
            };
            // One reload counts once in a scope, with what came first.
            if !outcomes.iter().any(|(scope, _)| *scope == outcome.0) {
                outcomes.push(outcome);
            }
        }
        Rejected {
            problems: errors.iter().map(ToString::to_string).collect(),
            outcomes,
        }
    }
}
