//! The other end, for the program's own commands: one request, one answer.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use crate::limits;

/// Status and body.
pub type Answer = (u16, String);

/// A running lockgate, and how it is reached.
#[derive(Debug)]
pub struct Client {
    pub target: Target,
    /// For changing requests by TCP, and for all by TLS from elsewhere.
    pub token: Option<String>,
    /// From the connection to the end of the answer.
    pub patience: Duration,
}

#[derive(Clone, Debug)]
pub enum Target {
    Unix(PathBuf),
    Tcp(SocketAddr),
    Tls {
        /// A name or an IP address.
        host: String,
        port: u16,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    },
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Tcp(address) => address.fmt(f),
            Target::Tls { host, port, .. } if host.contains(':') => {
                write!(f, "https://[{host}]:{port}")
            }
            Target::Tls { host, port, .. } => write!(f, "https://{host}:{port}"),
        }
    }
}

impl Client {
    /// Blocks.
    pub fn ask(&self, method: &str, path: &str) -> io::Result<Answer> {
        match &self.target {
            Target::Unix(path_) => {
                let stream = UnixStream::connect(path_)?;
                stream.set_read_timeout(Some(self.patience))?;
                stream.set_write_timeout(Some(self.patience))?;
                self.exchange(stream, method, path)
            }
            Target::Tcp(address) => self.exchange(self.connect(*address)?, method, path),
            Target::Tls {
                host,
                port,
                name,
                config,
            } => {
                let tcp = self.connect_any(host, *port)?;
                let tls = ClientConnection::new(Arc::clone(config), name.clone());
                let tls = tls.map_err(io::Error::other)?;
                self.exchange(StreamOwned::new(tls, tcp), method, path)
            }
        }
    }

    fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&address, self.patience)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(stream)
    }

    fn connect_any(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let nowhere = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let mut failed = nowhere();
        for address in (host, port).to_socket_addrs()? {
            match self.connect(address) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The server closes after each answer, so the end of the stream is the end of the body.
    fn exchange(
        &self,
        mut stream: impl Read + Write,
        method: &str,
        path: &str,
    ) -> io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: lockgate\r\n");
        if let Some(token) = &self.token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        request.push_str("Content-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream
            .take(limits::ADMIN_ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)?;
        parse(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP"))
    }
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_taken_from_an_answer() {
        let answer = "HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: 3\r\n\r\n{}\n";
        assert_eq!(parse(answer), Some((422, "{}\n".into())));
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n"), None);
    }
}
