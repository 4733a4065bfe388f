//! Reload: read everything again, then put all of it into use in one step, or none of it.
//!
//! ```text
//!   SIGHUP, POST /reload ──────────────────────────────┐
//!   event of a file ─> quiet? ─> stamp differs? ──┐    v
//!   every ten seconds ─────────> stamp differs? ──┴─> read ─> build ─> bind ─> swap
//!                                                       └───────┴───────┴─> rejected: what is in
//!                                                                           use stays in use
//! ```
//!
//! One task does this, one reload after the other; what blocks is done on a thread for blocking
//! calls, so that signals and the admin server do not wait. A certificate without its key is an
//! ordinary rejection: the event of the key's file is the next attempt.

use std::{fmt::Display, sync::Arc, time::Instant};

use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout_at},
};

use super::{
    BuildError, Server, Source, build_snapshot, changes,
    watch::{Stamp, Watcher},
};
use crate::{
    config::{Config, Problems},
    limits, logging,
    status::{Applied, Outcome, Rejected, Scope},
    tls::{TicketKeys, Validity},
};

/// Why a reload is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    Signal,
    Admin,
    /// Nothing is done when the files are as they were.
    Files,
}

type Verdict = Result<Applied, Rejected>;
type Request = (Trigger, oneshot::Sender<Verdict>);

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
    stamp: Stamp,
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
        let (mut watcher, events) = Watcher::new();
        let files = source.files(config);
        watcher.follow(&files);
        let work = Work {
            source,
            tickets: TicketKeys::new(),
            watcher,
            stamp: Stamp::of(&files),
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

    /// One for the life of the process, so that tickets outlive a reload.
    pub fn tickets(&self) -> &TicketKeys {
        &self.work.tickets
    }

    /// Reloads whenever there is a reason to, until it is dropped.
    pub async fn run(self, server: Arc<Server>) {
        let Reloader {
            mut requests,
            mut events,
            mut work,
        } = self;
        work.server = Some(server);
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
                _ = poll.tick() => (Trigger::Files, None),
            };
            let done = tokio::task::spawn_blocking(move || {
                let verdict = work.reload(trigger);
                (work, verdict)
            });
            let verdict;
            (work, verdict) = match done.await {
                Ok(done) => done,
                Err(error) => return tracing::error!("nothing is reloaded any more: {error}"),
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
    /// `None`: there was nothing to do.
    fn reload(&mut self, trigger: Trigger) -> Option<Verdict> {
        let server = Arc::clone(self.server.as_ref()?);
        if trigger == Trigger::Files
            && (server.shared().is_draining() || Stamp::of(&self.stamp.files()) == self.stamp)
        {
            return None;
        }
        let began = Instant::now();
        let verdict = self.attempt(&server);
        server.status().record(&verdict, began.elapsed());
        self.say(trigger, &verdict);
        Some(verdict)
    }

    fn attempt(&mut self, server: &Server) -> Verdict {
        if server.shared().is_draining() {
            let problem = "lockgate is draining: it does not change any more";
            return Err(Rejected::one(problem, Outcome::IoError));
        }
        let running = server.shared().snapshot.load_full();
        // Before the file is read: a change in between is found the next time.
        let mut stamp = Stamp::of(&self.source.file.iter().cloned().collect());
        self.stamp.replace(stamp.clone());
        let (mut config, warnings) =
            (self.source.read)().map_err(|problems| self.refused(problems))?;
        let wanted = self.source.files(&config);
        let mut all = self.source.files(&running.config);
        all.extend(wanted.iter().cloned());
        self.watcher.follow(&all);
        let configuration = std::mem::replace(&mut stamp, Stamp::of(&all));
        stamp.replace(configuration);
        self.stamp = stamp;

        let not_live = changes::keep_fixed(&running.config, &mut config);
        let built = build_snapshot(config, &self.tickets, Validity::Enforce, Some(&*running));
        let (snapshot, more) = built.map_err(Rejected::build)?;
        let log = snapshot.config.log.clone();
        let changes = changes::between(&running, &snapshot);
        server
            .apply(snapshot)
            .map_err(|error| Rejected::one(error, Outcome::IoError))?;
        if log.level != running.config.log.level {
            logging::set_level(&log);
        }
        self.stamp.keep_only(&wanted);
        self.watcher.follow(&wanted);
        let warnings = warnings.iter().map(ToString::to_string);
        Ok(Applied {
            generation: server.status().state().generation + 1,
            changes,
            not_live,
            warnings: warnings.chain(more).collect(),
        })
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
                    [] => tracing::info!(generation, ?trigger, "reloaded: nothing is different"),
                    changes => {
                        let changes = changes.join("; ");
                        tracing::info!(generation, ?trigger, "reloaded: {changes}");
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
                    tracing::error!(?trigger, "not reloaded, what was in use stays: {problem}");
                }
                self.said.clone_from(&rejected.problems);
            }
            Err(_) => {}
        }
    }
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
