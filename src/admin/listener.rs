//! Where admin clients come in.

use std::{io, path::PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Door;
use crate::{
    config::Address,
    sys::socket::{listen_tcp, listen_unix},
};

const BACKLOG: i32 = 128;

/// A bound admin listener. A unix socket is removed when it is dropped.
pub enum AdminListener {
    Tcp(TcpListener, Address),
    Unix(UnixListener, PathBuf),
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AdminListener {
    /// Must be called within a tokio runtime. A unix socket is for its owner and group only.
    pub fn bind(address: &Address) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        match address {
            Address::Tcp(tcp) => {
                let fd = listen_tcp(*tcp, BACKLOG)?;
                let listener = TcpListener::from_std(fd.into())?;
                Ok(AdminListener::Tcp(listener, address.clone()))
            }
            Address::Unix(path) => {
                let fd = listen_unix(path, BACKLOG)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
                let listener = UnixListener::from_std(fd.into())?;
                Ok(AdminListener::Unix(listener, path.clone()))
            }
        }
    }

    pub(super) fn door(&self) -> Door {
        match self {
            AdminListener::Tcp(_, Address::Tcp(address)) if address.ip().is_loopback() => {
                Door::Loopback
            }
            AdminListener::Tcp(..) => Door::Remote,
            AdminListener::Unix(..) => Door::Unix,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            AdminListener::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Stream::Tcp(stream))
            }
            AdminListener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Stream::Unix(stream))
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
