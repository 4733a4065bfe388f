//! `lockgate demo`: everything at once, with nothing prepared.
//!
//! Certificates are made in a temporary folder that is removed at the end. The backend is a small
//! HTTP server in this process, which looks up in the table of live connections who its client is.

use std::{
    convert::Infallible,
    io::{self, IsTerminal, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use http_body_util::Full;
use hyper::{Response, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

use super::{EXIT_UNAVAILABLE, run};
use crate::{
    cli::{DemoArgs, RunArgs},
    config::{Address, Config, Problems},
    connection::Info,
    control::{Server, Source},
    handshake::Shared,
    logging,
    metrics::Totals,
    pki::{Authority, Request},
};

const IDENTITY: &str = "spiffe://demo.lockgate/client";

/// The result is the exit code.
pub fn demo(arguments: &DemoArgs) -> u8 {
    match prepare(arguments) {
        Ok((folder, backend, config)) => {
            if let Err(error) = logging::start(&config.log) {
                eprintln!("lockgate demo: {error}");
                return EXIT_UNAVAILABLE;
            }
            let path = folder.0.clone();
            let mut figures = Figures::default();
            let same = config.clone();
            let source = Source {
                file: None,
                read: Box::new(move || Ok((same.clone(), Vec::new()))),
            };
            run::run(
                config,
                source,
                move |server| started(server, &path, backend),
                move |server| figures.show(server),
            )
        }
        Err(error) => {
            eprintln!("lockgate demo: {error}");
            EXIT_UNAVAILABLE
        }
    }
}

type Prepared = (Folder, TcpListener, Config);

fn prepare(arguments: &DemoArgs) -> Result<Prepared, Box<dyn std::error::Error>> {
    let folder = Folder::create()?;
    let authority = Authority::create("lockgate demo")?;
    std::fs::write(folder.0.join("ca.crt"), authority.root_pem())?;
    let server = authority.issue(&Request::server(
        "localhost",
        &["localhost", "127.0.0.1", "::1"],
    ))?;
    server.save(&folder.0, "server", false)?;
    authority
        .issue(&Request::client("client", IDENTITY))?
        .save(&folder.0, "client", false)?;
    let backend = TcpListener::bind("127.0.0.1:0")?;
    backend.set_nonblocking(true)?;
    let config = config(arguments, &folder.0, backend.local_addr()?)?;
    Ok((folder, backend, config))
}

fn started(server: &Server, folder: &Path, backend: TcpListener) {
    let listen = match server.bound().as_slice() {
        [(_, Address::Tcp(address)), ..] => *address,
        _ => return,
    };
    println!("{}", run::announcement(server));
    let folder = folder.display();
    println!("Without a client certificate:\n  curl --cacert {folder}/ca.crt https://{listen}/\n");
    println!(
        "With one:\n  curl --cacert {folder}/ca.crt --cert {folder}/client.crt --key {folder}/client.key https://{listen}/\n"
    );
    println!("Ctrl-C ends it.\n");
    tokio::task::spawn_local(serve_backend(backend, Arc::clone(server.shared())));
}

async fn serve_backend(listener: TcpListener, shared: Arc<Shared>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the demo's backend cannot serve: {error}"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let shared = Arc::clone(&shared);
                tokio::task::spawn_local(async move {
                    let service = service_fn(move |_| {
                        let page = page(find(&shared, peer).as_deref());
                        async move { Ok::<_, Infallible>(page) }
                    });
                    let served =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    if let Err(error) = served.await {
                        tracing::debug!("the demo's backend: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("the demo's backend cannot accept: {error}");
                tokio::time::sleep(crate::limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connection whose backend leg comes from `address`.
fn find(shared: &Shared, address: SocketAddr) -> Option<Arc<Info>> {
    shared
        .relays
        .iter()
        .flat_map(|relay| relay.live_after(0, usize::MAX))
        .find(|info| info.backend_local == Some(address))
}

fn page(info: Option<&Info>) -> Response<Full<Bytes>> {
    let text = match info {
        None => "lockgate does not know this connection\n".to_owned(),
        Some(info) => format!(
            "Hello from the backend, which got this request in plain text.\n\
             lockgate saw:\n\
             \x20 client    {}\n\
             \x20 identity  {}\n\
             \x20 TLS       {} {} {}\n\
             \x20 path      {}\n",
            info.peer
                .map_or_else(|| "unix".to_owned(), |peer| peer.to_string()),
            info.identity()
                .unwrap_or("none: no client certificate was presented"),
            info.session.version,
            info.session.suite,
            info.session.group.unwrap_or("-"),
            match info.path() {
                crate::connection::Path::Kernel => "kernel TLS".to_owned(),
                crate::connection::Path::User(why) => format!("user space, because {why}"),
            },
        ),
    };
    Response::new(Full::new(Bytes::from(text)))
}

fn config(arguments: &DemoArgs, folder: &Path, backend: SocketAddr) -> Result<Config, Problems> {
    let file = |name: &str| Some(folder.join(name).display().to_string());
    let run = RunArgs {
        listen: vec![arguments.listen.to_string()],
        tls_cert_path: file("server.crt"),
        tls_key_path: file("server.key"),
        client_auth: Some("request".into()),
        client_ca_path: file("ca.crt"),
        backend: vec![backend.to_string()],
        offload: Some(arguments.offload.name().to_owned()),
        log_level: Some("warn".into()),
        ..RunArgs::default()
    };
    run.configuration().map(|(config, _warnings)| config)
}

/// A folder for the certificates, for its owner only, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn create() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let base = std::env::temp_dir();
        let mut attempt = u64::from(std::process::id());
        loop {
            let path = base.join(format!("lockgate-demo-{attempt}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Folder(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!(
                "lockgate demo: {} is left behind: {error}",
                self.0.display()
            );
        }
    }
}

/// The line of live figures: rewritten on a terminal, else printed when it changes.
#[derive(Default)]
struct Figures {
    last: Option<Totals>,
}

impl Figures {
    fn show(&mut self, server: &Server) {
        let now = server.sources().totals();
        let before = self.last.replace(now).unwrap_or(now);
        let terminal = io::stdout().is_terminal();
        if !terminal && now == before {
            return;
        }
        let line = format!(
            "open {}  handshakes {} (+{}/s)  up {} B (+{}/s)  down {} B (+{}/s)",
            now.open,
            now.handshakes,
            now.handshakes - before.handshakes,
            now.up,
            now.up - before.up,
            now.down,
            now.down - before.down,
        );
        let mut out = io::stdout().lock();
        // A closed standard output is no reason to end.
        let _ = if terminal {
            write!(out, "\r\x1b[K{line}")
        } else {
            writeln!(out, "{line}")
        };
        let _ = out.flush();
    }
}
