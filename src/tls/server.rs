//! What a listener needs of TLS, made from its configuration in one go.
//!
//! Offered are TLS 1.3 and 1.2 with AES-GCM and ChaCha20-Poly1305, forward secrecy always. Not
//! offered, on purpose: early data (it can be replayed), renegotiation, session caches (tickets do),
//! CBC and static RSA suites, SHA-1 signatures.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs, aws_lc_rs::kx_group},
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};

use super::{
    capture::SecretCapture,
    certificates::{self, CertificateError, CertifiedChain, Half, Validity, check_time, unix_now},
    client_auth::{ClientTrust, client_trust},
    describe::CertificateInfo,
    loaded::{List, Loaded},
    names::Shadowed,
    pem,
    store::CertificateStore,
    tickets::TicketKeys,
};
use crate::config::{CertificateSource, ClientAuth, Listener, Pem, TlsVersion};

pub struct ListenerTls {
    pub config: Arc<ServerConfig>,
    /// In the order of the configuration.
    pub certificates: Arc<[Arc<CertifiedChain>]>,
    /// CAs whose client certificates are accepted.
    pub authorities: Vec<Arc<CertificateInfo>>,
    /// Equal as long as the same client certificates are accepted.
    pub trust: [u8; 32],
    /// Each begins with the key it is about.
    pub warnings: Vec<String>,
}

/// One problem, and the key below the listener's that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    pub key: String,
    pub message: String,
    /// A file could not be read, as against one that says the wrong thing.
    pub unreadable: bool,
}

/// Reads all files that the listener names; reports all that is wrong with them at once.
pub fn listener_tls(
    listener: &Listener,
    tickets: &TicketKeys,
    validity: Validity,
) -> Result<ListenerTls, Vec<TlsError>> {
    listener_tls_again(listener, tickets, validity, &mut Loaded::default())
}

/// The same, but certificates that are `loaded` are not read again.
pub fn listener_tls_again(
    listener: &Listener,
    tickets: &TicketKeys,
    validity: Validity,
    loaded: &mut Loaded,
) -> Result<ListenerTls, Vec<TlsError>> {
    let provider = Arc::new(provider());
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let list = loaded.list(&listener.name);
    let chains = load_all(listener, validity, list, &mut problems, &mut warnings);
    let trust = trust_of(listener, &provider, &mut problems, &mut warnings);
    let (Some(trust), true) = (trust, problems.is_empty()) else {
        return Err(problems);
    };
    let earlier = list.store.as_deref();
    let Some(store) = CertificateStore::after(earlier, chains, listener.unknown_sni) else {
        return Err(vec![TlsError {
            key: "certificates".to_owned(),
            message: "no certificate is given; add one".to_owned(),
            unreadable: false,
        }]);
    };
    warn_of_shadowed(listener, &store, &mut warnings);
    let store = list.store.insert(Arc::new(store));
    let fingerprint = trust.fingerprint;
    match server_config(listener, provider, &trust, Arc::clone(store), tickets) {
        Ok(config) => Ok(ListenerTls {
            config: Arc::new(config),
            certificates: Arc::clone(store.chains()),
            authorities: trust.authorities,
            trust: fingerprint,
            warnings,
        }),
        Err(error) => Err(vec![TlsError {
            key: "min_tls".to_owned(),
            message: format!("rustls refuses this configuration: {error}"),
            unreadable: false,
        }]),
    }
}

/// What the admin server needs of TLS. Clients are not asked for a certificate there.
pub struct AdminTls {
    pub config: Arc<ServerConfig>,
    pub certificate: Arc<CertificateInfo>,
    /// Each begins with the key it is about.
    pub warnings: Vec<String>,
}

/// Reads the files that `source` names.
pub fn admin_tls(source: &CertificateSource, validity: Validity) -> Result<AdminTls, TlsError> {
    let chain = certificates::load(source, validity)
        .map_err(|error| load_error(str::to_owned, source, &error))?;
    let refused = |error| TlsError {
        key: certificate_key(&source.certificate).to_owned(),
        message: format!("rustls refuses this configuration: {error}"),
        unreadable: false,
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(refused)?;
    let resolver = SingleCertAndKey::from(chain.key);
    let mut config = builder
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let key = certificate_key(&source.certificate);
    let warnings = chain.warnings.into_iter();
    Ok(AdminTls {
        config: Arc::new(config),
        certificate: Arc::new(chain.info),
        warnings: warnings.map(|text| format!("{key}: {text}")).collect(),
    })
}

fn server_config(
    listener: &Listener,
    provider: Arc<CryptoProvider>,
    trust: &ClientTrust,
    store: Arc<CertificateStore>,
    tickets: &TicketKeys,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&SupportedProtocolVersion] = match listener.min_tls {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let builder = match &trust.verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(store);
    config.alpn_protocols = listener
        .alpn
        .iter()
        .map(|protocol| protocol.clone().into_bytes())
        .collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets.ticketer(&listener.name, trust.fingerprint)?;
    // One instead of two: it saves a derivation and a sealing per handshake, and the next connection
    // gets the next one.
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(SecretCapture);
    Ok(config)
}

/// The suites of aws-lc-rs are all AEADs that [`super::record`] knows; groups in our order.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}

fn load_all(
    listener: &Listener,
    validity: Validity,
    list: &mut List,
    problems: &mut Vec<TlsError>,
    warnings: &mut Vec<String>,
) -> Vec<Arc<CertifiedChain>> {
    let sources = &listener.certificates;
    let chains = list.load(sources).unwrap_or_else(|errors| {
        problems.extend(errors.iter().map(|error| problem(listener, error)));
        Vec::new()
    });
    let now = unix_now();
    for (index, (source, chain)) in sources.iter().zip(&chains).enumerate() {
        let warning = match check_time(source, &chain.info, now, validity) {
            Ok(warning) => warning,
            Err(error) => {
                problems.push(problem(listener, &(index, error)));
                None
            }
        };
        let texts = warning.iter().chain(&chain.warnings);
        warnings.extend(texts.map(|text| {
            let key = key_of(listener, index, certificate_key(&source.certificate));
            format!("{key}: {text}")
        }));
    }
    chains
}

fn problem(listener: &Listener, (index, error): &(usize, CertificateError)) -> TlsError {
    let source = &listener.certificates[*index];
    load_error(|half| key_of(listener, *index, half), source, error)
}

fn load_error(
    place: impl Fn(&str) -> String,
    source: &CertificateSource,
    error: &CertificateError,
) -> TlsError {
    let half = match error.half() {
        Half::Certificate => certificate_key(&source.certificate),
        Half::Key => key_key(&source.key),
    };
    TlsError {
        key: place(half),
        message: error.to_string(),
        unreadable: error.is_unreadable(),
    }
}

/// Where the configuration names the certificate `index`; of those in a folder, the folder.
fn key_of(listener: &Listener, index: usize, half: &str) -> String {
    match index < listener.certificates_named {
        true if half.is_empty() => format!("certificates[{index}]"),
        true => format!("certificates[{index}].{half}"),
        false => "certificates_dir".to_owned(),
    }
}

fn trust_of(
    listener: &Listener,
    provider: &Arc<CryptoProvider>,
    problems: &mut Vec<TlsError>,
    warnings: &mut Vec<String>,
) -> Option<ClientTrust> {
    let key = match &listener.client_auth {
        ClientAuth::None => "client_auth".to_owned(),
        ClientAuth::Request { ca } | ClientAuth::Required { ca } => {
            format!("client_auth.{}", ca_key(ca))
        }
    };
    match client_trust(&listener.client_auth, provider) {
        Ok(trust) => {
            warnings.extend(trust.warnings.iter().map(|text| format!("{key}: {text}")));
            Some(trust)
        }
        Err(error) => {
            problems.push(TlsError {
                key,
                message: error.to_string(),
                unreadable: error.is_unreadable(),
            });
            None
        }
    }
}

/// Of two certificates with one name and one kind of key, the second is never used for that name.
fn warn_of_shadowed(listener: &Listener, store: &CertificateStore, warnings: &mut Vec<String>) {
    let called = |index| match index < listener.certificates_named {
        true => key_of(listener, index, ""),
        false => (listener.certificates.get(index))
            .map_or_else(String::new, |source| pem::name(&source.certificate)),
    };
    let shadowed = store.names().shadowed.iter();
    warnings.extend(shadowed.map(|Shadowed { index, by, name }| {
        let of_folder = match *index < listener.certificates_named {
            true => String::new(),
            false => format!("{}: ", called(*index)),
        };
        format!(
            "{}: {of_folder}never used for {name}: {} is for the same name with the same kind of \
             key and comes first",
            key_of(listener, *index, ""),
            called(*by)
        )
    }));
}

// Keys as the configuration file spells them.

fn certificate_key(pem: &Pem) -> &'static str {
    match pem {
        Pem::File(_) => "certificate_file",
        Pem::Inline(_) => "certificate",
    }
}

fn key_key(pem: &Pem) -> &'static str {
    match pem {
        Pem::File(_) => "key_file",
        Pem::Inline(_) => "key",
    }
}

fn ca_key(pem: &Pem) -> &'static str {
    match pem {
        Pem::File(_) => "ca_file",
        Pem::Inline(_) => "ca",
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl std::error::Error for TlsError {}
