//! What a certificate is asked to say.

use std::net::IpAddr;

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use rcgen::KeyPair;

use super::Error;

/// What a certificate is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Common name; also the name of its files.
    pub name: String,
    pub dns: Vec<String>,
    pub uris: Vec<String>,
    pub ips: Vec<IpAddr>,
    pub purpose: Purpose,
    pub days: u32,
    pub key_type: KeyType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Server,
    Client,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyType {
    P256,
    P384,
    Ed25519,
    Rsa2048,
    Rsa3072,
}

impl Request {
    /// For a server of these host names, and of the IP addresses among them.
    pub fn server(name: &str, hosts: &[&str]) -> Request {
        let (ips, dns): (Vec<&str>, Vec<&str>) = hosts
            .iter()
            .partition(|host| host.parse::<IpAddr>().is_ok());
        Request {
            name: name.to_owned(),
            dns: dns.into_iter().map(str::to_owned).collect(),
            uris: Vec::new(),
            ips: ips
                .into_iter()
                .filter_map(|host| host.parse().ok())
                .collect(),
            purpose: Purpose::Server,
            days: 90,
            key_type: KeyType::P256,
        }
    }

    /// For a client with this identity, such as `spiffe://example.com/orders`.
    pub fn client(name: &str, uri: &str) -> Request {
        Request {
            uris: vec![uri.to_owned()],
            purpose: Purpose::Client,
            ..Request::server(name, &[])
        }
    }
}

impl KeyType {
    pub(super) fn generate(self) -> Result<KeyPair, Error> {
        let key = match self {
            KeyType::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyType::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyType::Ed25519 => {
                // rcgen's own would be PKCS #8 version 2, which OpenSSL up to 3.0 cannot read.
                let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new());
                KeyPair::try_from(document.map_err(|_| Error::Random)?.as_ref())
            }
            KeyType::Rsa2048 => {
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
            }
            KeyType::Rsa3072 => {
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072)
            }
        };
        Ok(key?)
    }
}
