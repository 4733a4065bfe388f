//! The admin HTTP server, by TCP or on a unix socket: what the program does, and telling it what to
//! do.
//!
//! Whoever can open the unix socket may do everything. By TCP every user of the machine can ask, so
//! what changes something needs the bearer token of `admin.token_file` there; from other machines
//! everything needs it, and comes by TLS. Clients never need a certificate.
//!
//! Connections are few, short and bounded in time, and whoever is slow makes room for the next one
//! ([`places`]).

mod access;
pub mod client;
mod listener;
mod places;
mod routes;
mod views;

use std::{convert::Infallible, rc::Rc, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{control::Reloads, limits, metrics::Sources};
pub use listener::AdminListener;
use listener::Stream;
use places::{Places, Progress};

/// What the server answers from, and whom it tells.
pub struct Desk {
    pub sources: Arc<Sources>,
    pub reloads: Reloads,
    /// Told when the program is to drain and end.
    pub drain: Arc<Notify>,
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Unix,
    /// By TCP, from this machine.
    Loopback,
    /// By TCP, from wherever the address is reached.
    Remote,
}

/// Serves until it is dropped. Must run in a `LocalSet`.
pub async fn serve(listener: AdminListener, desk: Rc<Desk>) {
    let door = listener.door();
    let mut places = Places::default();
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let desk = Rc::clone(&desk);
                let connection = |progress| connection(stream, door, desk, progress);
                places.take(connection).await;
            }
            Err(error) => {
                tracing::warn!("admin: a connection cannot be accepted: {error}");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: Stream, door: Door, desk: Rc<Desk>, progress: Rc<Progress>) {
    let stream = match stream {
        Stream::Unix(stream) => return exchange(stream, door, desk, progress).await,
        Stream::Tcp(stream) => stream,
    };
    let snapshot = desk.sources.shared.snapshot.load_full();
    let Some(tls) = &snapshot.admin else {
        return exchange(stream, door, desk, progress).await;
    };
    let handshake = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
    match timeout(limits::ADMIN_REQUEST_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => exchange(stream, door, desk, progress).await,
        Ok(Err(error)) => tracing::debug!("admin: handshake failed: {error}"),
        Err(_elapsed) => tracing::debug!("admin: handshake failed: timeout"),
    }
}

/// One request, one answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    door: Door,
    desk: Rc<Desk>,
    progress: Rc<Progress>,
) {
    let service = service_fn(move |request| {
        let (desk, progress) = (Rc::clone(&desk), Rc::clone(&progress));
        async move {
            let working = progress.work();
            let answer = routes::answer(&request, door, &desk).await;
            drop(working);
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::ADMIN_REQUEST_TIMEOUT)
        .max_buf_size(limits::ADMIN_HEADERS_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(limits::ADMIN_ANSWER_TIMEOUT, served).await {
        tracing::debug!("admin: {error}");
    }
}
