//! The admin HTTP server, on loopback TCP or a unix socket: what the program does, and telling it
//! what to do.
//!
//! Whoever can open the unix socket may do everything. By TCP every user of the machine can ask, so
//! what changes something needs the bearer token of `admin.token_file` there.

mod access;
pub mod client;
mod routes;
mod views;

use std::{convert::Infallible, io, path::PathBuf, rc::Rc, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Notify, Semaphore},
    task::JoinSet,
};

use crate::{config::Address, control::Reloads, limits, metrics::Sources};

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
    Tcp,
    Unix,
}

/// A bound admin listener.
pub enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl AdminListener {
    /// Must be called within a tokio runtime. A unix socket is for its owner and group only.
    pub fn bind(address: &Address) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        match address {
            Address::Tcp(address) => {
                let fd = crate::sys::socket::listen_tcp(*address, 128)?;
                Ok(AdminListener::Tcp(TcpListener::from_std(fd.into())?))
            }
            Address::Unix(path) => {
                let fd = crate::sys::socket::listen_unix(path, 128)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
                let listener = UnixListener::from_std(fd.into())?;
                Ok(AdminListener::Unix(listener, path.clone()))
            }
        }
    }

    /// Serves until it is dropped. Must run in a `LocalSet`.
    pub async fn serve(self, desk: Rc<Desk>) {
        let places = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS));
        // Ends with this future.
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            while connections.try_join_next().is_some() {}
            let desk = Rc::clone(&desk);
            let accepted = match &self {
                AdminListener::Tcp(listener) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| Stream::Tcp(stream)),
                AdminListener::Unix(listener, _) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| Stream::Unix(stream)),
            };
            match accepted {
                Ok(stream) => drop(connections.spawn_local(async move {
                    match stream {
                        Stream::Tcp(stream) => connection(stream, Door::Tcp, desk).await,
                        Stream::Unix(stream) => connection(stream, Door::Unix, desk).await,
                    }
                    drop(place);
                })),
                Err(error) => {
                    tracing::warn!("admin: a connection cannot be accepted: {error}");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        if let AdminListener::Unix(_, path) = self {
            // Somebody may have removed it already.
            let _ = std::fs::remove_file(path);
        }
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    door: Door,
    desk: Rc<Desk>,
) {
    let service = service_fn(move |request| {
        let desk = Rc::clone(&desk);
        async move { Ok::<_, Infallible>(routes::answer(&request, door, &desk).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::ADMIN_REQUEST_TIMEOUT)
        .max_buf_size(16 << 10)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(limits::ADMIN_ANSWER_TIMEOUT, served).await {
        tracing::debug!("admin: {error}");
    }
}
