//! The admin HTTP server: `GET /health`, `GET /metrics`. On loopback TCP or a unix socket.

use std::{convert::Infallible, io, path::PathBuf, sync::Arc};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};

use crate::{config::Address, limits, metrics::Sources};

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
    pub async fn serve(self, sources: Arc<Sources>) {
        let places = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let sources = Arc::clone(&sources);
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
                Ok(stream) => drop(tokio::task::spawn_local(async move {
                    match stream {
                        Stream::Tcp(stream) => connection(stream, sources).await,
                        Stream::Unix(stream) => connection(stream, sources).await,
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

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, sources: Arc<Sources>) {
    let service = service_fn(move |request| {
        let sources = Arc::clone(&sources);
        async move { Ok::<_, Infallible>(answer(&request, &sources)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::ADMIN_REQUEST_TIMEOUT)
        .max_buf_size(16 << 10)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(limits::ADMIN_REQUEST_TIMEOUT, served).await {
        tracing::debug!("admin: {error}");
    }
}

fn answer(request: &Request<Incoming>, sources: &Sources) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into());
    }
    match request.uri().path() {
        "/health" => text(StatusCode::OK, "ok\n".into()),
        "/metrics" => text(StatusCode::OK, sources.render()),
        _ => text(StatusCode::NOT_FOUND, "try /health or /metrics\n".into()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
