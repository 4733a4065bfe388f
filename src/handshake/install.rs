//! Moving a connection's keys to where its records will be made.

use std::os::fd::BorrowedFd;

use crate::{
    config::{Offload, TlsVersion},
    connection::{Fallback, Path},
    handshake::counters::Refusal,
    probe::Kernel,
    relay::{ClientTls, KernelKeys, UserKeys},
    sys::ktls::{self, Direction},
    tls::{Established, kernel::crypto_info},
};

/// Whether the kernel can be asked at all; decided when the connection is accepted, because the
/// socket must be prepared while it is established.
pub fn prepare(
    socket: BorrowedFd<'_>,
    is_tcp: bool,
    offload: Offload,
    kernel: &Kernel,
) -> Option<Fallback> {
    if offload == Offload::Off {
        Some(Fallback::Off)
    } else if !is_tcp {
        Some(Fallback::UnixSocket)
    } else if !kernel.has_kernel_tls() {
        Some(Fallback::NoKernelTls)
    } else if ktls::attach(socket).is_err() {
        // The peer may be gone already (ENOTCONN), and then the handshake tells.
        Some(Fallback::NoKernelTls)
    } else {
        None
    }
}

/// Installs the keys of `established`. `ahead`: what was read of the client's records already, which
/// only user space can open. An error: the socket is good for nothing but close.
pub fn install(
    socket: BorrowedFd<'_>,
    established: Established,
    ahead: Vec<u8>,
    fallback: Option<Fallback>,
    offload: Offload,
    kernel: &Kernel,
) -> Result<(ClientTls, Path), Failed> {
    let keys = &established.tx.keys;
    let fallback = fallback.or_else(|| {
        (!kernel.offloads(keys.version(), keys.cipher())).then_some(Fallback::SuiteUnsupported)
    });
    let fallback = match fallback {
        None => match into_kernel(socket, established, kernel)? {
            Ok(tls) => return Ok((tls, Path::Kernel)),
            Err(established) => {
                return in_user_space(*established, ahead, Fallback::SuiteUnsupported, offload);
            }
        },
        Some(fallback) => fallback,
    };
    in_user_space(established, ahead, fallback, offload)
}

/// Why a connection cannot go on.
pub enum Failed {
    Refused(Refusal, Box<ClientTls>, Fallback),
    HalfInstalled(std::io::Error),
}

fn in_user_space(
    established: Established,
    ahead: Vec<u8>,
    fallback: Fallback,
    offload: Offload,
) -> Result<(ClientTls, Path), Failed> {
    let tls = ClientTls::User(Box::new(UserKeys {
        transmit: established.tx,
        receive: established.rx,
        unopened: ahead,
    }));
    if offload == Offload::Required {
        return Err(Failed::Refused(
            Refusal::OffloadRequired,
            Box::new(tls),
            fallback,
        ));
    }
    Ok((tls, Path::User(fallback)))
}

/// The inner error gives the keys back: the kernel took none.
fn into_kernel(
    socket: BorrowedFd<'_>,
    established: Established,
    kernel: &Kernel,
) -> Result<Result<ClientTls, Box<Established>>, Failed> {
    let transmit = crypto_info(&established.tx.keys, Direction::Transmit);
    if ktls::install(socket, Direction::Transmit, transmit).is_err() {
        return Ok(Err(Box::new(established)));
    }
    let receive = crypto_info(&established.rx.keys, Direction::Receive);
    ktls::install(socket, Direction::Receive, receive).map_err(Failed::HalfInstalled)?;
    if established.rx.keys.version() == TlsVersion::Tls13 && kernel.expects_no_padding() {
        // Without it the kernel copies what it has decrypted, which is all.
        let _ = ktls::expect_no_padding(socket);
    }
    Ok(Ok(ClientTls::Kernel(KernelKeys {
        version: established.tx.keys.version(),
        transmit_next: established.tx.next,
        receive_next: established.rx.next,
    })))
}
