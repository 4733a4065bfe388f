//! Moving a connection's keys to where its records will be made.

use std::os::fd::BorrowedFd;

use crate::{
    config::Offload,
    connection::{Fallback, Path},
    handshake::counters::Refusal,
    probe::Kernel,
    relay::{self, ClientTls, InitialPath, Moves},
    sys::ktls::{self, Direction},
    tls::Established,
};

/// Whether keys go into the kernel when the handshake is done, or why not; decided when the connection
/// is accepted, because the socket is prepared while it is certainly established.
pub fn prepare(
    socket: BorrowedFd<'_>,
    is_tcp: bool,
    offload: Offload,
    kernel: &Kernel,
) -> Option<Fallback> {
    if offload == Offload::Off {
        return Some(Fallback::Off);
    } else if !is_tcp {
        return Some(Fallback::UnixSocket);
    } else if !kernel.has_kernel_tls() {
        return Some(Fallback::NoKernelTls);
    }
    match offload {
        Offload::Auto | Offload::Bulk => Some(Fallback::UntilBulk),
        // The peer may be gone already (ENOTCONN), and then the handshake tells.
        _ => ktls::attach(socket).err().map(|_| Fallback::NoKernelTls),
    }
}

/// Installs the keys of `established`, or says where they go. `ahead`: what was read of the client's
/// records already, which only user space can open. An error: the socket is good for nothing but close.
pub fn install(
    socket: BorrowedFd<'_>,
    established: Established,
    ahead: Vec<u8>,
    fallback: Option<Fallback>,
    offload: Offload,
    kernel: &Kernel,
) -> Result<(Box<ClientTls>, Path), Failed> {
    let (version, cipher) = (established.info.version, established.info.cipher);
    let moves = kernel.moves(offload, version, cipher);
    let fallback = match fallback {
        None | Some(Fallback::UntilBulk) if !kernel.offloads(version, cipher) => {
            Some(Fallback::SuiteUnsupported)
        }
        Some(Fallback::UntilBulk) if !(moves.transmit || moves.receive) => {
            Some(Fallback::KernelDearer)
        }
        fallback => fallback,
    };
    let mut tls = Box::new(ClientTls {
        transmit: established.tx,
        receive: established.rx,
        path: InitialPath::Kernel,
        moves,
    });
    let fallback = match fallback {
        None if into_kernel(socket, &tls)? => return Ok((tls, Path::Kernel)),
        None => Fallback::SuiteUnsupported,
        Some(fallback) => fallback,
    };
    tls.path = InitialPath::User { unopened: ahead };
    if fallback != Fallback::UntilBulk {
        tls.moves = Moves::default();
    }
    match offload {
        Offload::Required => Err(Failed::Refused(Refusal::OffloadRequired, tls, fallback)),
        _ => Ok((tls, Path::User(fallback))),
    }
}

/// Why a connection cannot go on.
pub enum Failed {
    Refused(Refusal, Box<ClientTls>, Fallback),
    HalfInstalled(std::io::Error),
}

/// `Ok(false)`: the kernel took none of the keys.
fn into_kernel(socket: BorrowedFd<'_>, tls: &ClientTls) -> Result<bool, Failed> {
    let no_padding = tls.moves.no_padding;
    if relay::install(socket, &tls.transmit.keys, Direction::Transmit, no_padding).is_err() {
        return Ok(false);
    }
    relay::install(socket, &tls.receive.keys, Direction::Receive, no_padding)
        .map_err(Failed::HalfInstalled)?;
    Ok(true)
}
