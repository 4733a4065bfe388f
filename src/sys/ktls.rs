//! Kernel TLS: include/uapi/linux/tls.h, Documentation/networking/tls.rst.

use std::{
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{AsRawFd, BorrowedFd},
};

use ktls::CryptoInfo;
use zeroize::Zeroize;

const SOL_TLS: i32 = 282;
const TLS_TX: i32 = 1;
const TLS_RX: i32 = 2;
const TLS_RX_EXPECT_NO_PAD: i32 = 4;
const TLS_SET_RECORD_TYPE: i32 = 1;
const TLS_GET_RECORD_TYPE: i32 = 2;

pub const CONTENT_ALERT: u8 = 21;
pub const CONTENT_HANDSHAKE: u8 = 22;
pub const CONTENT_DATA: u8 = 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Transmit,
    Receive,
}

/// Makes a TCP socket able to take keys. Until then it goes on as plain TCP.
///
/// # Errors
/// ENOENT: the kernel has no TLS, or the module is not loaded. ENOTCONN: not established any more
/// (tls_init), which is why this is called right after accept. EEXIST: done before.
pub fn attach(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls")
}

/// Gives the kernel the keys of one direction, which it uses from the next byte on; again with
/// those of the next generation after a KeyUpdate. The copy in `info` is wiped.
///
/// # Errors
/// EBUSY: keys were set before and this kernel cannot change them. ENOENT, EINVAL, EOPNOTSUPP: it
/// does not know the cipher.
pub fn install(
    socket: BorrowedFd<'_>,
    direction: Direction,
    mut info: CryptoInfo,
) -> io::Result<()> {
    let name = match direction {
        Direction::Transmit => TLS_TX,
        Direction::Receive => TLS_RX,
    };
    // SAFETY: `as_ptr` points at a structure of `size` bytes without padding (its fields are byte
    // arrays and two u16), which lives until the end of this function.
    let result = unsafe {
        let bytes = std::slice::from_raw_parts(info.as_ptr().cast::<u8>(), info.size());
        set(socket, SOL_TLS, name, bytes)
    };
    wipe(&mut info);
    result
}

/// Lets the kernel decrypt TLS 1.3 straight into the reader's buffer; a padded record costs a
/// second decryption.
pub fn expect_no_padding(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &1u32.to_ne_bytes())
}

/// One cmsg with one byte, as sendmsg and recvmsg want it.
#[repr(C, align(8))]
struct TypeMessage {
    header: libc::cmsghdr,
    content_type: u8,
    padding: [u8; 7],
}

/// Reads bytes of records of one type, and the type. Never blocks.
///
/// No bytes without a type are the end (FIN), even within a record. No bytes with a type are a record
/// without content: a recv that meets one before a control record returns 0 as well.
///
/// Without room for the type, as recv(2) is, a read of data would take 2 % of a small request less. Linux
/// 6.1 then gives wrong bytes of what follows a padded record, or EBADMSG.
///
/// # Errors
/// EBADMSG: a record does not decrypt. EINVAL, EMSGSIZE: not a record. EKEYEXPIRED: a KeyUpdate was
/// read and the new keys are not set yet.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<u8>)> {
    let mut message = MaybeUninit::<TypeMessage>::zeroed();
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = message.as_mut_ptr().cast();
    header.msg_controllen = size_of::<TypeMessage>() as _;
    // SAFETY: header, part, buffer and message outlive the call; the lengths are theirs.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let count = super::check(count as libc::c_long)?;
    // SAFETY: all-zero is a valid TypeMessage, and the kernel wrote at most its size.
    let message = unsafe { message.assume_init() };
    let typed = header.msg_controllen >= size_of::<libc::cmsghdr>()
        && message.header.cmsg_level == SOL_TLS
        && message.header.cmsg_type == TLS_GET_RECORD_TYPE;
    Ok((count, typed.then_some(message.content_type)))
}

/// Sends one record that is not data. Never blocks.
///
/// # Errors
/// EAGAIN: no room; data that was accepted before is still on its way.
pub fn send(socket: BorrowedFd<'_>, content_type: u8, payload: &[u8]) -> io::Result<usize> {
    // SAFETY: all-zero is a valid TypeMessage.
    let mut message: TypeMessage = unsafe { MaybeUninit::zeroed().assume_init() };
    message.header.cmsg_level = SOL_TLS;
    message.header.cmsg_type = TLS_SET_RECORD_TYPE;
    message.header.cmsg_len = (size_of::<libc::cmsghdr>() + 1) as _;
    message.content_type = content_type;
    let mut part = libc::iovec {
        iov_base: payload.as_ptr().cast_mut().cast(),
        iov_len: payload.len(),
    };
    // SAFETY: all-zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut message).cast();
    header.msg_controllen = size_of::<TypeMessage>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: header, part, payload and message outlive the call; sendmsg writes to none of them.
    let count = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
    super::check(count as libc::c_long)
}

fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            super::socket_length(value.len()),
        )
    };
    super::check(result.into()).map(drop)
}

fn wipe(info: &mut CryptoInfo) {
    match info {
        CryptoInfo::AesGcm128(info) => {
            info.key.zeroize();
            info.salt.zeroize();
            info.iv.zeroize();
        }
        CryptoInfo::AesGcm256(info) => {
            info.key.zeroize();
            info.salt.zeroize();
            info.iv.zeroize();
        }
        CryptoInfo::Chacha20Poly1305(info) => {
            info.key.zeroize();
            info.iv.zeroize();
        }
        CryptoInfo::AesCcm128(info) => info.key.zeroize(),
        CryptoInfo::Sm4Gcm(info) => info.key.zeroize(),
        CryptoInfo::Sm4Ccm(info) => info.key.zeroize(),
    }
}
