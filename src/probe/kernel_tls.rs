//! Kernel TLS, suite by suite: keys into both ends of a connection, and bytes through it.

use std::{fmt, io, os::fd::AsFd};

use ::ktls::CryptoInfo;
use nix::poll::PollFlags;

use super::{
    byte_loss,
    cost::{self, Cost},
    deadline::Deadline,
    files::Files,
    loopback::{CLOSE_NOTIFY, Loopback, Pair, pass},
    next_record, remedy,
};
use crate::{
    config::TlsVersion,
    sys::{
        ktls::{self, Direction},
        random,
    },
    tls::{Cipher, TrafficSecret, kernel::crypto_info},
};

const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls13, TlsVersion::Tls12];
const CIPHERS: [Cipher; 3] = [
    Cipher::Aes128Gcm,
    Cipher::Aes256Gcm,
    Cipher::ChaCha20Poly1305,
];

/// A kernel that takes over at least one suite.
#[derive(Debug)]
pub struct KernelTls {
    /// Every version and cipher that lockgate offers.
    pub suites: Vec<Suite>,
    /// The keys of a TLS 1.3 connection can be changed.
    pub rekey: bool,
    /// TLS 1.3 can be decrypted straight into the reader's buffer, and a record for which that was the
    /// wrong guess does no harm.
    pub no_padding: bool,
    /// A record that ended a read, because it holds no data, has an event of its own.
    pub announces_next_record: bool,
    /// splice(2) loses bytes when its pipe is too small; `Err`: it could not be told.
    pub loses_bytes: Result<bool, String>,
    /// Of every cipher that it takes over; empty: not measured.
    pub costs: Vec<Cost>,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug)]
pub struct Suite {
    pub version: TlsVersion,
    pub cipher: Cipher,
    pub works: Result<(), String>,
}

impl KernelTls {
    pub fn offloads(&self, version: TlsVersion, cipher: Cipher) -> bool {
        self.suites
            .iter()
            .any(|suite| suite.version == version && suite.cipher == cipher && suite.works.is_ok())
    }

    /// What bulk costs compared with user space: to clients, and from them.
    fn cost(&self, cipher: Cipher) -> Option<&Cost> {
        self.costs.iter().find(|cost| cost.cipher == cipher)
    }

    /// Whether bulk costs less in the kernel: to clients, and from them.
    pub fn pays(&self, cipher: Cipher) -> (bool, bool) {
        let less = |cost: Option<f64>| cost.is_some_and(|cost| cost < 1.0);
        self.cost(cipher).map_or((false, false), |cost| {
            (less(cost.to_clients), less(cost.from_clients))
        })
    }

    pub(super) fn measure_costs(&mut self) {
        let taken = CIPHERS
            .into_iter()
            .filter(|cipher| self.offloads(TlsVersion::Tls13, *cipher));
        self.costs = cost::costs(taken);
    }

    /// Which suites, in the words of a sentence that begins with "kernel TLS".
    pub(super) fn coverage(&self) -> String {
        let Some(first) = self.refused().next() else {
            return ", for every suite that lockgate offers".to_owned();
        };
        let refused: Vec<String> = self.refused().map(Suite::to_string).collect();
        let why = first.works.as_ref().err().map_or("", String::as_str);
        format!("; user space for {}, because {why}", refused.join(", "))
    }

    /// What `offload = "auto"` makes of the costs.
    pub(super) fn worth(&self) -> String {
        if !self.costs.iter().any(Cost::is_known) {
            return "user space, because what kernel TLS costs could not be measured".to_owned();
        }
        let bulk: Vec<String> = self
            .costs
            .iter()
            .filter_map(|cost| {
                let ways = match self.pays(cost.cipher) {
                    (true, true) => "both ways",
                    (true, false) => "to clients",
                    (false, true) => "from clients",
                    (false, false) => return None,
                };
                Some(format!("{} {ways}", cost.cipher))
            })
            .collect();
        if bulk.is_empty() {
            let costs: Vec<String> = self.costs.iter().map(Cost::to_string).collect();
            let costs = costs.join("; ");
            return format!("user space, because bulk costs more in kernel TLS here ({costs})");
        }
        let bulk = bulk.join(", ");
        format!("user space, and kernel TLS for bulk where it costs less: {bulk}")
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = &Suite> {
        self.suites.iter().filter(|suite| suite.works.is_err())
    }
}

pub fn probe(files: &Files, release: &str, deadline: Deadline) -> Result<KernelTls, String> {
    let untested = |error| {
        format!(
            "kernel TLS cannot be tested on 127.0.0.1 ({}): the interface lo must be up and unfiltered",
            remedy::errno(&error)
        )
    };
    let loopback = Loopback::new().map_err(untested)?;
    let pair = loopback.pair(deadline).map_err(untested)?;
    ktls::attach(pair.client.as_fd()).map_err(|error| remedy::no_tls(&error, files, release))?;
    drop(pair);

    let mut suites = Vec::new();
    for version in VERSIONS {
        for cipher in CIPHERS {
            let works = connection(&loopback, version, cipher, deadline).map(drop);
            suites.push(Suite {
                version,
                cipher,
                works,
            });
        }
    }
    if suites.iter().all(|suite| suite.works.is_err()) {
        let why = suites.into_iter().find_map(|suite| suite.works.err());
        return Err(format!(
            "the kernel knows TLS, but takes over no suite: {}",
            why.unwrap_or_default()
        ));
    }
    Ok(extras(&loopback, suites, deadline))
}

/// What goes beyond keys, tried with the first suite of TLS 1.3 that works.
fn extras(loopback: &Loopback, suites: Vec<Suite>, deadline: Deadline) -> KernelTls {
    let mut tls = KernelTls {
        suites,
        rekey: false,
        no_padding: false,
        announces_next_record: false,
        loses_bytes: Err("no suite of TLS 1.3 works".to_owned()),
        costs: Vec::new(),
        warnings: Vec::new(),
    };
    let Some(cipher) = CIPHERS
        .into_iter()
        .find(|cipher| tls.offloads(TlsVersion::Tls13, *cipher))
    else {
        return tls;
    };
    let connect = || connection(loopback, TlsVersion::Tls13, cipher, deadline);
    match connect().and_then(|pair| rekey(&pair, cipher, deadline)) {
        Ok(rekey) => tls.rekey = rekey,
        Err(why) => tls.warnings.push(format!(
            "the kernel took new keys for a connection and then did not work with them ({why}); \
             lockgate does as if it took none"
        )),
    }
    tls.no_padding = connect().is_ok_and(|pair| {
        ktls::expect_no_padding(pair.server.as_fd()).is_ok()
            && pass(&pair.client, &pair.server, SAMPLE, deadline).is_ok()
            && guesses_again(&pair, deadline).is_ok_and(|right| right)
    });
    tls.announces_next_record =
        connect().is_ok_and(|pair| next_record::is_announced(&pair).unwrap_or(false));
    tls.loses_bytes = connect().and_then(|pair| byte_loss::loses_bytes(&pair, deadline));
    if tls.loses_bytes == Ok(true) {
        tls.warnings.push(byte_loss::WARNING.to_owned());
    }
    tls
}

/// A record that is padded, or holds no data, is decrypted a second time. Some kernels then go on
/// where the first time had stopped writing, so that the next record is written behind a gap
/// (fixed in 6.1.191 and 6.12.114): what is behind the record must not have been touched.
fn guesses_again(pair: &Pair, deadline: Deadline) -> io::Result<bool> {
    const UNTOUCHED: u8 = 0xaa;
    let mut buffer = [UNTOUCHED; 64];
    ktls::send(pair.client.as_fd(), ktls::CONTENT_ALERT, &CLOSE_NOTIFY)?;
    let (count, content_type) =
        deadline.until_done(pair.server.as_fd(), PollFlags::POLLIN, || {
            ktls::receive(pair.server.as_fd(), &mut buffer)
        })?;
    let (record, behind) = buffer.split_at(CLOSE_NOTIFY.len());
    Ok(
        (count, content_type) == (CLOSE_NOTIFY.len(), Some(ktls::CONTENT_ALERT))
            && record == CLOSE_NOTIFY
            && behind.iter().all(|byte| *byte == UNTOUCHED),
    )
}

const SAMPLE: &[u8] = &[0x5a; 1500];

/// A connection with keys in both ends, in both directions, through which bytes have gone.
fn connection(
    loopback: &Loopback,
    version: TlsVersion,
    cipher: Cipher,
    deadline: Deadline,
) -> Result<Pair, String> {
    let text = |error| remedy::no_suite(&error, cipher);
    let pair = loopback
        .pair(deadline)
        .map_err(|error| remedy::errno(&error))?;
    ktls::attach(pair.client.as_fd()).map_err(text)?;
    ktls::attach(pair.server.as_fd()).map_err(text)?;
    for (from, to) in [(&pair.client, &pair.server), (&pair.server, &pair.client)] {
        let (transmit, receive) = random_keys(version, cipher)?;
        ktls::install(from.as_fd(), Direction::Transmit, transmit).map_err(text)?;
        ktls::install(to.as_fd(), Direction::Receive, receive).map_err(text)?;
    }
    pass(&pair.client, &pair.server, SAMPLE, deadline)?;
    pass(&pair.server, &pair.client, SAMPLE, deadline)?;
    Ok(pair)
}

/// Whether the kernel takes keys a second time. Before 6.14 it says EBUSY.
fn rekey(pair: &Pair, cipher: Cipher, deadline: Deadline) -> Result<bool, String> {
    let (transmit, receive) = random_keys(TlsVersion::Tls13, cipher)?;
    let set: io::Result<()> = ktls::install(pair.client.as_fd(), Direction::Transmit, transmit)
        .and_then(|()| ktls::install(pair.server.as_fd(), Direction::Receive, receive));
    match set {
        Ok(()) => pass(&pair.client, &pair.server, SAMPLE, deadline).map(|()| true),
        Err(_) => Ok(false),
    }
}

/// The same new keys for the sender and for the receiver.
fn random_keys(version: TlsVersion, cipher: Cipher) -> Result<(CryptoInfo, CryptoInfo), String> {
    let length = match cipher {
        Cipher::Aes128Gcm | Cipher::ChaCha20Poly1305 => 32,
        Cipher::Aes256Gcm => 48,
    };
    // Not from aws-lc, whose first random number takes 100 ms to gather entropy; these keys guard
    // nothing.
    let mut secret = vec![0; length];
    random::fill(&mut secret).map_err(|error| remedy::errno(&error))?;
    let keys = TrafficSecret::new(cipher, &secret)
        .and_then(|mut secret| secret.update())
        .map_err(|error| error.to_string())?;
    let info = |direction| of_version(crypto_info(&keys, direction), version);
    Ok((info(Direction::Transmit), info(Direction::Receive)))
}

/// The kernel's structures are the same for both versions, and a random key is as good for one as
/// for the other.
fn of_version(mut info: CryptoInfo, version: TlsVersion) -> CryptoInfo {
    let header = match &mut info {
        CryptoInfo::AesGcm128(info) => &mut info.info,
        CryptoInfo::AesGcm256(info) => &mut info.info,
        CryptoInfo::Chacha20Poly1305(info) => &mut info.info,
        CryptoInfo::AesCcm128(info) => &mut info.info,
        CryptoInfo::Sm4Gcm(info) => &mut info.info,
        CryptoInfo::Sm4Ccm(info) => &mut info.info,
    };
    header.version = match version {
        TlsVersion::Tls12 => 0x0303,
        TlsVersion::Tls13 => 0x0304,
    };
    info
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS {} {}", self.version, self.cipher)
    }
}
