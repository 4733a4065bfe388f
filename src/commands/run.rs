//! `lockgate run`: serves until it is told to stop.

use std::{io::Write, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until},
};

use super::{EXIT_CONFIG, EXIT_UNAVAILABLE};
use crate::{
    admin::{self, AdminListener, Desk},
    announce, audit,
    cli::RunArgs,
    config::{Audit, Config, Offload},
    control::{Reloader, Reloads, Server, Source, Trigger},
    limits, logging,
    probe::Kernel,
    sys::{descriptors, process},
    telemetry,
};

/// How often a drain looks whether the last connection is over.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Runs what the command line asks for. The result is the exit code.
pub fn main(arguments: RunArgs) -> u8 {
    let (config, warnings) = match arguments.configuration() {
        Ok(resolved) => resolved,
        Err(problems) => {
            eprintln!("{problems}");
            return EXIT_CONFIG;
        }
    };
    if let Err(error) = logging::start(&config.log) {
        eprintln!("lockgate: {error}");
        return EXIT_UNAVAILABLE;
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let announce = |server: &Server| {
        let text = announcement(server);
        let audit = server.shared().snapshot.load().config.audit.clone();
        // Nobody who closed the output wants to know.
        let _ = match audit {
            Some(Audit::Stdout) => std::io::stderr().write_all(text.as_bytes()),
            _ => std::io::stdout().write_all(text.as_bytes()),
        };
    };
    let source = Source {
        file: arguments.config.clone(),
        read: Box::new(move || arguments.configuration()),
    };
    run(config, source, announce, |_| ())
}

/// What is served, and by which path.
pub fn announcement(server: &Server) -> String {
    let snapshot = server.shared().snapshot.load();
    let certificates = |name: &str| {
        let chains = snapshot.listeners.get(name).map(|l| l.certificates.iter());
        let chains = chains.into_iter().flatten();
        chains.map(|chain| &chain.info).collect()
    };
    let mut config = snapshot.config.clone();
    for listener in &mut config.listeners {
        // Port 0 has become a real one.
        listener.listen = server
            .bound()
            .iter()
            .filter(|(name, _)| **name == *listener.name)
            .map(|(_, address)| address.clone())
            .collect();
    }
    let path = server.shared().kernel.data_path(config.runtime.offload);
    announce::text(&config, certificates, &path)
}

/// `started` is called once the listeners accept, within the runtime; `tick` every second from then
/// on. The result is the exit code.
pub fn run(
    config: Config,
    source: Source,
    started: impl FnOnce(&Server),
    tick: impl FnMut(&Server),
) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // For the name of the collector.
        .max_blocking_threads(1)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let code = unavailable(&error);
            logging::flush();
            return code;
        }
    };
    let code = LocalSet::new().block_on(&runtime, async {
        match serve(config, source, started, tick).await {
            Ok(()) => 0,
            Err(code) => code,
        }
    });
    // A reload may wait for a name or a file; the end does not.
    runtime.shutdown_background();
    logging::flush();
    code
}

async fn serve(
    config: Config,
    source: Source,
    started: impl FnOnce(&Server),
    tick: impl FnMut(&Server),
) -> Result<(), u8> {
    let mut signals = Signals::new().map_err(|error| unavailable(&error))?;
    let admin = config.admin.clone().map(|admin| {
        AdminListener::bind(&admin.listen).map_err(|error| {
            unavailable(&format!(
                "admin.listen: cannot listen on {}: {error}",
                admin.listen
            ))
        })
    });
    let admin = admin.transpose()?;
    let (mut reloader, reloads) = Reloader::new(source, &config);
    let server = Arc::new(start(config, &mut reloader)?);
    let mut tasks = JoinSet::new();
    tasks.spawn_local(reloader.run(Arc::clone(&server)));
    let drain_asked = Arc::new(Notify::new());
    if let Some(admin) = admin {
        let desk = Desk {
            sources: Arc::clone(server.sources()),
            reloads: reloads.clone(),
            drain: Arc::clone(&drain_asked),
        };
        tasks.spawn_local(admin::serve(admin, Rc::new(desk)));
    }
    tasks.spawn_local(telemetry::export(Arc::clone(server.sources())));
    tasks.spawn_local(signals.reopen(Arc::clone(&server.shared().audit)));
    started(&server);
    tokio::select! {
        () = signals.wait(&server, &reloads, tick) => {}
        () = drain_asked.notified() => {}
    }
    let drain_timeout = server.shared().snapshot.load().config.limits.drain_timeout;
    drain(&server, &mut signals, drain_timeout).await;
    tasks.shutdown().await;
    telemetry::export_last(server.sources()).await;
    server.join();
    server.shared().audit.flush();
    tracing::info!("stopped");
    Ok(())
}

/// Starts the planes. What goes wrong has been said when this returns.
fn start(config: Config, reloader: &mut Reloader) -> Result<Server, u8> {
    if let Err(error) = process::forbid_core_dumps() {
        tracing::warn!("core dumps cannot be forbidden, and one would hold keys: {error}");
    }
    match process::raise_descriptor_limit() {
        Ok(limit) => share_descriptors(limit, &config),
        Err(error) => tracing::warn!("the limit of open files cannot be raised: {error}"),
    }
    let audit = Arc::new(audit::Audit::default());
    match audit.open(config.audit.as_ref()) {
        Ok(Some(opened)) => audit.switch(opened),
        Ok(None) => {}
        Err(error) => return Err(unavailable(&error)),
    }
    let kernel = match config.runtime.offload {
        Offload::Auto => Kernel::probe_with_costs(),
        Offload::Bulk | Offload::Required | Offload::Off => Kernel::probe(),
    };
    for warning in &kernel.warnings {
        tracing::warn!("{warning}");
    }
    let (snapshot, warnings) = reloader.first_snapshot(config).map_err(|errors| {
        for error in errors {
            tracing::error!("{error}");
        }
        EXIT_CONFIG
    })?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Server::start(snapshot, kernel, audit).map_err(|error| unavailable(&error))
}

/// Some descriptors are kept from connections, so that the admin server answers and files can be
/// read when connections have used up the rest.
fn share_descriptors(limit: u64, config: &Config) {
    let runtime = &config.runtime;
    // What a thread holds before it sees that it is of the reserve: a socket, or a pipe.
    let in_passing = runtime.handshake_threads + 2 * runtime.relay_threads;
    let wanted = limits::DESCRIPTORS_KEPT + in_passing as u64;
    let kept = wanted.min(limit / limits::DESCRIPTORS_KEPT_SHARE);
    descriptors::reserve(limit, kept);
    // Two sockets a connection.
    let connections = (limit - kept) / 2;
    if connections < config.limits.connections as u64 {
        tracing::warn!(
            "limits.connections is {}, but {limit} open files are allowed: accepting will pause near {connections} connections; raise LimitNOFILE (systemd) or ulimit -n",
            config.limits.connections,
        );
    }
}

/// Lets connections end by themselves until the deadline, then ends them. Another signal ends them
/// at once.
async fn drain(server: &Server, signals: &mut Signals, timeout: Duration) {
    server.drain();
    let open = server.open();
    tracing::info!(
        open,
        timeout_s = timeout.as_secs_f64(),
        "draining: no new connections"
    );
    let deadline = Instant::now() + timeout;
    let latest = deadline + Server::end_timeout();
    let mut ended = false;
    while server.open() > 0 {
        let now = Instant::now();
        if now >= latest {
            break;
        }
        if now >= deadline && !ended {
            tracing::warn!(
                open = server.open(),
                "the drain's deadline has come: ending connections"
            );
            server.end_all();
            ended = true;
        }
        tokio::select! {
            () = sleep_until(now + DRAIN_POLL) => {}
            () = signals.stop() => break,
        }
    }
    let open = server.open();
    if open > 0 {
        tracing::warn!(open, "cutting connections");
        server.abandon_all();
        let latest = Instant::now() + Duration::from_secs(1);
        while server.open() > 0 && Instant::now() < latest {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        if server.open() > 0 {
            // Handshakes that nobody waits for.
            server.shared().audit.flush();
            logging::flush();
            std::process::exit(0);
        }
    }
}

/// Memory that many handshakes at once have left behind, and that the C library keeps for the next ones:
/// given back when they are over.
#[derive(Default)]
struct Leftovers {
    accepted: u64,
    given_back: u64,
}

impl Leftovers {
    /// Whether it is time to; asked every second. `accepted`: connections so far.
    fn are_due(&mut self, accepted: u64) -> bool {
        let is_quiet = accepted - self.accepted < limits::QUIET_HANDSHAKES;
        self.accepted = accepted;
        let are_due = is_quiet && accepted - self.given_back >= limits::MANY_HANDSHAKES;
        if are_due {
            self.given_back = accepted;
        }
        are_due
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Taken by who reopens files.
    user1: Option<Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: Some(signal(SignalKind::user_defined1())?),
        })
    }

    async fn wait(&mut self, server: &Server, reloads: &Reloads, mut tick: impl FnMut(&Server)) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let mut leftovers = Leftovers::default();
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reloads.request(Trigger::Signal),
                _ = seconds.tick() => {
                    logging::tell_left_out();
                    if leftovers.are_due(server.accepted()) {
                        process::trim_memory();
                    }
                    tick(server);
                }
            }
        }
    }

    /// Opens the files of log and audit again at each SIGUSR1, also while it drains.
    fn reopen(&mut self, audit: Arc<audit::Audit>) -> impl Future<Output = ()> + use<> {
        let user1 = self.user1.take();
        async move {
            let Some(mut user1) = user1 else { return };
            while user1.recv().await.is_some() {
                logging::reopen();
                audit.reopen();
            }
        }
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> u8 {
    tracing::error!("{error}");
    EXIT_UNAVAILABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_when_many_handshakes_are_over() {
        let mut leftovers = Leftovers::default();
        let many = limits::MANY_HANDSHAKES;
        assert!(!leftovers.are_due(many - 1), "not so many, and not quiet");
        assert!(!leftovers.are_due(many - 1), "not so many");
        assert!(!leftovers.are_due(2 * many), "not quiet");
        assert!(leftovers.are_due(2 * many + 1));
        assert!(!leftovers.are_due(2 * many + 1), "nothing since");
    }
}
