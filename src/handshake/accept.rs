//! Accepting, as far as there is room.
//!
//! Whoever finds no room waits: a burst above a bound is late, not refused. One client waits here,
//! the others in the listen queue.

use std::{io, os::fd::BorrowedFd, rc::Rc, sync::Arc, time::Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    ListeningSocket,
    counters::Pause,
    runtime::Local,
    serve::{self, Accepted},
    socket::Socket,
};
use crate::{connection::Place, limits, sys::socket};

/// Serves every listener until the program drains, then until the last handshake is over.
pub async fn accept_all(local: Rc<Local>) {
    let handshakes = Arc::new(Semaphore::new(limits::HANDSHAKES_PER_THREAD));
    let mut tasks = Vec::new();
    for index in 0..local.shared.sockets.len() {
        let (local, handshakes) = (Rc::clone(&local), Arc::clone(&handshakes));
        tasks.push(tokio::task::spawn_local(async move {
            if let Some(listening) = local.shared.sockets.get(index)
                && let Err(error) = accept_from(&local, listening, handshakes).await
            {
                tracing::error!(listener = %listening.listener, "accepting has ended: {error}");
            }
        }));
    }
    for task in tasks {
        // A panic has been printed by the task itself.
        let _ = task.await;
    }
    // All permits are back when the last handshake is over.
    let all = u32::try_from(limits::HANDSHAKES_PER_THREAD).unwrap_or(u32::MAX);
    let _ = handshakes.acquire_many(all).await;
}

async fn accept_from(
    local: &Rc<Local>,
    listening: &ListeningSocket,
    handshakes: Arc<Semaphore>,
) -> io::Result<()> {
    let listener = Socket::new(listening.socket.try_clone()?, local.driver)?;
    let mut turn = 0;
    loop {
        // A unix socket that was shut down is readable for ever, and accept finds nobody (EAGAIN).
        let accept = |fd: BorrowedFd<'_>| match local.shared.is_draining() {
            true => Err(io::ErrorKind::NotConnected.into()),
            false => socket::accept(fd),
        };
        match listener.read(accept).await {
            Ok((fd, peer)) => {
                local.counters.accepted.add(1);
                let permit = permit(local, &handshakes).await?;
                let Some(place) = place(local).await else {
                    break;
                };
                let accepted = Accepted {
                    fd,
                    peer,
                    at: Instant::now(),
                    listener: Arc::clone(&listening.listener),
                    is_tcp: listening.is_tcp,
                    place,
                };
                tokio::task::spawn_local(serve_one(Rc::clone(local), accepted, permit));
            }
            Err(_) if local.shared.is_draining() => break,
            Err(error) => pause_after(local, error).await?,
        }
        turn += 1;
        if turn % limits::ACCEPTS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

async fn serve_one(local: Rc<Local>, accepted: Accepted, permit: OwnedSemaphorePermit) {
    serve::serve(&local, accepted).await;
    drop(permit);
}

/// A place below the bound on connections; `None` when the program drains.
async fn place(local: &Local) -> Option<Place> {
    let mut paused = false;
    loop {
        if local.shared.is_draining() {
            return None;
        }
        let limit = local.shared.snapshot.load().config.limits.connections;
        if let Some(place) = local.shared.admission.admit(limit) {
            return Some(place);
        }
        if !paused {
            local.counters.pause(Pause::Connections).add(1);
            paused = true;
        }
        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
    }
}

async fn permit(local: &Local, handshakes: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(handshakes).try_acquire_owned() {
        return Ok(permit);
    }
    local.counters.pause(Pause::Handshakes).add(1);
    Arc::clone(handshakes)
        .acquire_owned()
        .await
        .map_err(io::Error::other)
}

/// Waits out what passes; returns what does not.
async fn pause_after(local: &Local, error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            local.counters.pause(Pause::Descriptors).add(1);
            tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            Ok(())
        }
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) => Err(error),
        // Errors of the connection that was to be accepted (accept(2)).
        _ => Ok(()),
    }
}
