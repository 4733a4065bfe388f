//! The thread of a handshake runtime.

use std::{io, rc::Rc, sync::Arc, thread::JoinHandle};

use super::{Shared, accept, counters::HandshakeCounters, socket::Driver};
use crate::{
    limits, logging,
    sys::{process, ring::Ring},
};

/// What the tasks of one thread share.
pub struct Local {
    pub shared: Arc<Shared>,
    pub counters: Arc<HandshakeCounters>,
    pub driver: Driver,
}

pub fn start(
    index: usize,
    ring: bool,
    shared: Arc<Shared>,
    counters: Arc<HandshakeCounters>,
) -> io::Result<JoinHandle<()>> {
    let driver = if ring && Ring::new(1).is_ok() {
        Driver::Ring
    } else {
        Driver::Epoll
    };
    let _ = counters.waiter.set(match driver {
        Driver::Ring => "io_uring",
        Driver::Epoll => "epoll",
    });
    std::thread::Builder::new()
        .name(format!("handshake-{index}"))
        .spawn(move || {
            process::block_signals();
            // Where both planes share a CPU, established connections go first.
            let stepped_back = process::step_back(limits::HANDSHAKE_NICE)
                .and_then(|()| process::wake_promptly(limits::HANDSHAKE_SLICE));
            if let Err(error) = stepped_back {
                tracing::debug!("handshakes may delay established connections: {error}");
            }
            let local = Rc::new(Local {
                shared,
                counters,
                driver,
            });
            if let Err(error) = run(&local) {
                tracing::error!("handshake thread: {error}");
                logging::flush();
                // Nobody would be accepted any more.
                std::process::abort();
            }
        })
}

fn run(local: &Rc<Local>) -> io::Result<()> {
    match local.driver {
        Driver::Ring => {
            // COOP_TASKRUN saves interrupts; DEFER_TASKRUN would hang in tokio-uring 0.5, which
            // never asks for completions.
            let mut ring = tokio_uring::uring_builder();
            ring.setup_coop_taskrun()
                .setup_cqsize(limits::RING_ENTRIES * 4);
            let mut builder = tokio_uring::builder();
            builder.entries(limits::RING_ENTRIES).uring_builder(&ring);
            tokio_uring::Runtime::new(&builder)?.block_on(accept::accept_all(Rc::clone(local)));
        }
        Driver::Epoll => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, accept::accept_all(Rc::clone(local)));
        }
    }
    Ok(())
}
