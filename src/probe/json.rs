//! The probe for programs. Keys are an interface: they are added, never renamed.

use serde_json::{Value, json};

use super::{Cost, IoUring, Kernel, KernelTls, Suite};
use crate::{
    config::{Offload, TlsVersion},
    tls::Cipher,
};

pub fn json(kernel: &Kernel) -> Value {
    let pipes = &kernel.pipes;
    let descriptors = &kernel.descriptors;
    let warnings: Vec<String> = kernel
        .warnings
        .iter()
        .cloned()
        .chain(descriptors.warning())
        .collect();
    json!({
        "release": kernel.release,
        "kernel_tls": with_reason(&kernel.tls, tls),
        "io_uring": with_reason(&kernel.io_uring, ring),
        "pipes": {
            "slots": pipes.slots.as_ref().ok(),
            "reason": pipes.slots.as_ref().err(),
            "user_pages_soft": pipes.pages_soft,
            "user_pages_hard": pipes.pages_hard,
            "size_bytes_max": pipes.bytes_max,
            "unbounded": pipes.unbounded,
            "full_size_pipes_max": pipes.full_size(),
        },
        "descriptors": {
            "soft": descriptors.soft,
            "hard": descriptors.hard,
            "nr_open": descriptors.ceiling,
            "connections_max": descriptors.connections(),
        },
        "listen_queue": { "somaxconn": descriptors.listen_queue },
        "warnings": warnings,
        "data_path": {
            "tls": if kernel.moves_any() { "kernel" } else { "user" },
            "waiter": if kernel.io_uring.is_ok() { "io_uring" } else { "epoll" },
            "text": kernel.data_path(Offload::Auto),
        },
    })
}

/// The found properties beside `available` and `reason`.
fn with_reason<T>(found: &Result<T, String>, properties: impl Fn(&T) -> Value) -> Value {
    let mut value = found.as_ref().map_or_else(|_| json!({}), properties);
    if let Some(object) = value.as_object_mut() {
        object.insert("available".to_owned(), found.is_ok().into());
        object.insert("reason".to_owned(), json!(found.as_ref().err()));
    }
    value
}

fn tls(tls: &KernelTls) -> Value {
    json!({
        "suites": tls.suites.iter().map(suite).collect::<Vec<_>>(),
        "rekey": tls.rekey,
        "no_padding": tls.no_padding,
        "announces_next_record": tls.announces_next_record,
        "loses_bytes": tls.loses_bytes.as_ref().ok(),
        "loses_bytes_reason": tls.loses_bytes.as_ref().err(),
        "bulk_costs": tls.costs.iter().map(cost).collect::<Vec<_>>(),
    })
}

/// Divided by what it costs in user space; null: not measured.
fn cost(cost: &Cost) -> Value {
    json!({
        "cipher": cipher(cost.cipher),
        "to_clients": cost.to_clients,
        "from_clients": cost.from_clients,
    })
}

fn cipher(cipher: Cipher) -> &'static str {
    match cipher {
        Cipher::Aes128Gcm => "aes_128_gcm",
        Cipher::Aes256Gcm => "aes_256_gcm",
        Cipher::ChaCha20Poly1305 => "chacha20_poly1305",
    }
}

fn suite(suite: &Suite) -> Value {
    json!({
        "version": match suite.version {
            TlsVersion::Tls12 => "tls1.2",
            TlsVersion::Tls13 => "tls1.3",
        },
        "cipher": cipher(suite.cipher),
        "available": suite.works.is_ok(),
        "reason": suite.works.as_ref().err(),
    })
}

fn ring(ring: &IoUring) -> Value {
    json!({
        "deferred_completions": ring.deferred_completions,
        "multishot_poll": true,
        "operations": ring.operations,
    })
}
