//! Accepting, as far as there is room.
//!
//! Whoever finds no room waits: a burst above a bound is late, not refused. One client waits here,
//! the others in the listen queue.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};

use super::{
    ListeningSocket,
    counters::{Pause, Refusal},
    runtime::Local,
    serve::{self, Accepted},
    socket::Socket,
};
use crate::{
    connection::Place,
    limits,
    sys::{descriptors, socket},
};

/// Serves every listener until the program drains, then until the last handshake is over.
pub async fn accept_all(local: Rc<Local>) {
    let handshakes = Arc::new(Semaphore::new(limits::HANDSHAKES_PER_THREAD));
    let mut sockets = local.shared.sockets.subscribe();
    let mut tasks = HashMap::new();
    while !local.shared.is_draining() {
        let present = Arc::clone(&sockets.borrow_and_update());
        tasks.retain(|_, task: &mut JoinHandle<()>| !task.is_finished());
        for listening in present.iter() {
            tasks.entry(listening.id).or_insert_with(|| {
                let (local, handshakes) = (Rc::clone(&local), Arc::clone(&handshakes));
                let listening = Arc::clone(listening);
                tokio::task::spawn_local(async move {
                    if let Err(error) = accept_from(&local, &listening, handshakes).await {
                        let address = &listening.endpoint.address;
                        tracing::error!(%address, "accepting has ended: {error}");
                    }
                })
            });
        }
        // What is closed must not be kept open from here.
        drop(present);
        if sockets.changed().await.is_err() {
            break;
        }
    }
    for (_, task) in tasks {
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
    let Some(listener) = open(local, listening).await? else {
        return Ok(());
    };
    let mut turn = 0;
    loop {
        // A unix socket that was shut down says only that nobody waits (unix_accept in
        // net/unix/af_unix.c).
        let accept = |fd: BorrowedFd<'_>| match listening.is_closed() {
            true => Err(io::ErrorKind::NotConnected.into()),
            false if descriptors::are_short(fd) => Err(io::Error::from_raw_os_error(libc::EMFILE)),
            false => socket::accept(fd),
        };
        match listener.read(accept).await {
            Ok((fd, peer)) => {
                local.counters.accepted.add(1);
                let Some(fd) = out_of_reserve(local, fd).await else {
                    local.counters.refusal(Refusal::Draining).add(1);
                    break;
                };
                let snapshot = local.shared.snapshot.load_full();
                let Some(listener) = snapshot.listener_at(&listening.endpoint).cloned() else {
                    local.counters.refusal(Refusal::ListenerRemoved).add(1);
                    continue;
                };
                let permit = permit(local, &handshakes).await?;
                let Some(place) = place(local).await else {
                    local.counters.refusal(Refusal::Draining).add(1);
                    break;
                };
                let accepted = Accepted {
                    fd,
                    peer,
                    at: Instant::now(),
                    endpoint: listening.endpoint.clone(),
                    listener,
                    place,
                };
                tokio::task::spawn_local(serve_one(Rc::clone(local), accepted, permit));
            }
            Err(_) if listening.is_closed() => break,
            Err(error) => pause_after(local, error).await?,
        }
        turn += 1;
        if turn % limits::ACCEPTS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// This thread's descriptor of a socket; `None` when it is closed before there is room for one.
async fn open(local: &Local, listening: &ListeningSocket) -> io::Result<Option<Socket>> {
    while !listening.is_closed() {
        let opened = listening.socket.as_fd().try_clone_to_owned();
        match opened.and_then(|fd| Socket::new(fd, local.driver)) {
            Ok(socket) => return Ok(Some(socket)),
            Err(error) => pause_after(local, error).await?,
        }
    }
    Ok(None)
}

/// A client whose descriptor is of the reserve waits for another one. There is one such client a
/// thread at most: the others see that descriptors are short. `None` when the program drains.
async fn out_of_reserve(local: &Local, fd: OwnedFd) -> Option<OwnedFd> {
    let mut fd = fd;
    while !descriptors::is_ordinary(&fd) {
        if local.shared.is_draining() {
            return None;
        }
        local.counters.pause(Pause::Descriptors).add(1);
        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
        match descriptors::lowest(fd.as_fd()) {
            Ok(lower) if descriptors::is_ordinary(&lower) => fd = lower,
            _ => {}
        }
    }
    Some(fd)
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
