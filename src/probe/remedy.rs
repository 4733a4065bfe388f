//! Why something is missing, and what helps.

use std::io;

use nix::errno::Errno;

use super::files::Files;
use crate::tls::Cipher;

/// `ENOENT: No such file or directory`.
pub fn errno(error: &io::Error) -> String {
    match (error.raw_os_error(), error.kind()) {
        (Some(code), _) => {
            let errno = Errno::from_raw(code);
            format!("{errno:?}: {}", errno.desc())
        }
        (None, io::ErrorKind::TimedOut) => "no answer in time".to_owned(),
        (None, _) => error.to_string(),
    }
}

/// The kernel refused TCP_ULP.
pub fn no_tls(error: &io::Error, files: &Files, release: &str) -> String {
    if error.raw_os_error() != Some(libc::ENOENT) {
        return format!("the kernel refuses TLS ({})", errno(error));
    }
    let modules = format!("lib/modules/{release}");
    let has_module = |list| {
        let path = format!("{modules}/{list}");
        let is_tls = |line: &str| line.contains("/net/tls/tls.ko").then_some(());
        files.find(&path, is_tls).is_some()
    };
    // `CONFIG_TLS=m`, or `# CONFIG_TLS is not set`.
    let configured = files.find(&format!("boot/config-{release}"), |line| {
        match line.strip_prefix("CONFIG_TLS=") {
            Some(_) => Some(true),
            None => (line == "# CONFIG_TLS is not set").then_some(false),
        }
    });
    if has_module("modules.dep") {
        "the kernel's TLS module is not loaded: modprobe tls, and name it in /etc/modules-load.d to \
         have it after a restart"
    } else if configured == Some(false) {
        "this kernel was built without TLS (CONFIG_TLS): run another one"
    } else if configured == Some(true) || files.has_folder(&modules) {
        "this kernel's TLS module (tls.ko) is not installed: add the package with the rest of its \
         modules, or run a kernel with CONFIG_TLS"
    } else {
        "the kernel's TLS module is not loaded (modprobe tls, on the host where this is a \
         container), or the kernel was built without it (CONFIG_TLS)"
    }
    .to_owned()
}

/// The kernel knows TLS and refused keys.
pub fn no_suite(error: &io::Error, cipher: Cipher) -> String {
    let text = errno(error);
    match (error.raw_os_error(), cipher) {
        (Some(libc::ENOENT), Cipher::Aes128Gcm | Cipher::Aes256Gcm) => {
            format!("{text} (the kernel's gcm(aes) is missing: modprobe gcm, CONFIG_CRYPTO_GCM)")
        }
        (Some(libc::ENOENT), Cipher::ChaCha20Poly1305) => format!(
            "{text} (the kernel's rfc7539(chacha20,poly1305) is missing: modprobe \
             chacha20poly1305, CONFIG_CRYPTO_CHACHA20POLY1305)"
        ),
        _ => text,
    }
}

/// No ring was made.
pub fn no_io_uring(error: &io::Error, files: &Files) -> String {
    let disabled = files.number("proc/sys/kernel/io_uring_disabled");
    let text = errno(error);
    match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), Some(1)) => format!(
            "kernel.io_uring_disabled is 1, and this user is not in kernel.io_uring_group ({text}): \
             sysctl -w kernel.io_uring_disabled=0, or make it a member"
        ),
        (Some(libc::EPERM), Some(2..)) => {
            format!("kernel.io_uring_disabled is 2 ({text}): sysctl -w kernel.io_uring_disabled=0")
        }
        (Some(libc::EPERM | libc::EACCES | libc::ENOSYS), _) if is_filtered(files) => format!(
            "this process' seccomp filter refuses io_uring ({text}): a container needs a profile \
             that allows io_uring_setup, io_uring_enter and io_uring_register"
        ),
        (Some(libc::EPERM | libc::EACCES), _) => format!(
            "io_uring is refused ({text}), by a seccomp filter or a security module: allow \
             io_uring_setup, io_uring_enter and io_uring_register"
        ),
        (Some(libc::ENOSYS), _) => format!(
            "the kernel has no io_uring, or one older than lockgate needs ({text}): run 6.1 or newer"
        ),
        (Some(libc::ENOMEM), _) => format!(
            "there is no memory for a ring ({text}): raise LimitMEMLOCK (systemd) or ulimit -l"
        ),
        _ => format!("no ring can be made ({text})"),
    }
}

/// proc(5), Seccomp: 2 is a filter.
fn is_filtered(files: &Files) -> bool {
    let mode = |line: &str| line.strip_prefix("Seccomp:").map(|mode| mode.trim() == "2");
    files.find("proc/self/status", mode) == Some(true)
}
