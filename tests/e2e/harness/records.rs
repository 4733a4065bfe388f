//! A client that makes its own records after a proper handshake: of any type and length, with
//! padding, with wrong tags, several in one segment.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

use super::{Connector, End, client::end_of};

pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const DATA: u8 = 23;
pub const CLOSE_NOTIFY: [u8; 2] = [1, 0];

pub struct Records {
    pub socket: TcpStream,
    sealing: Keys,
    opening: Keys,
}

struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    tls12: bool,
}

impl Connector {
    /// Reads nothing beyond the handshake, so that every later record is for [`Records::next`].
    #[track_caller]
    pub fn records(&self, address: SocketAddr) -> Records {
        let mut client = self.open(address).unwrap();
        while client.tls.is_handshaking() {
            client.flush().unwrap();
            if client.tls.is_handshaking() {
                let record = read_record(&mut client.socket).expect("handshake");
                let mut rest = &record[..];
                while !rest.is_empty() {
                    client.tls.read_tls(&mut rest).unwrap();
                    client.tls.process_new_packets().expect("handshake");
                }
            }
        }
        client.flush().unwrap();
        let tls12 = client.tls.protocol_version() == Some(ProtocolVersion::TLSv1_2);
        let secrets = client.tls.dangerous_extract_secrets().unwrap();
        Records {
            socket: client.socket,
            sealing: Keys::new(secrets.tx, tls12),
            opening: Keys::new(secrets.rx, tls12),
        }
    }
}

impl Records {
    pub fn seal(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        self.sealing.seal(kind, payload, 0)
    }

    /// TLS 1.3 only.
    pub fn seal_padded(&mut self, kind: u8, payload: &[u8], padding: usize) -> Vec<u8> {
        self.sealing.seal(kind, payload, padding)
    }

    pub fn send(&mut self, kind: u8, payload: &[u8]) {
        let record = self.seal(kind, payload);
        self.send_raw(&record);
    }

    /// Bytes as they are. That the server does not want them any more is no error here.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        drop(self.socket.write_all(bytes));
    }

    pub fn fin(&self) {
        drop(self.socket.shutdown(Shutdown::Write));
    }

    /// The next record's type and payload.
    pub fn next(&mut self) -> Result<(u8, Vec<u8>), End> {
        let record = read_record(&mut self.socket)?;
        // An alert before or without keys.
        Ok(self.opening.open(&record))
    }

    /// All data to the end of the stream, tickets left aside.
    pub fn read_all(&mut self) -> (Vec<u8>, End) {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Ok((DATA, payload)) => all.extend_from_slice(&payload),
                Ok((ALERT, alert)) if alert == CLOSE_NOTIFY => return (all, End::Clean),
                Ok((ALERT, alert)) => return (all, End::Alert(alert[1].into())),
                Ok(_) => {}
                Err(end) => return (all, end),
            }
        }
    }
}

/// One record, header included.
pub fn read_record(socket: &mut impl Read) -> Result<Vec<u8>, End> {
    let mut record = vec![0; 5];
    let mut read = |buffer: &mut [u8]| match socket.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(End::Truncated),
        Err(error) => Err(end_of(&error)),
        Ok(()) => Ok(()),
    };
    read(&mut record)?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    read(&mut record[5..])?;
    Ok(record)
}

impl Keys {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets), tls12: bool) -> Self {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => panic!("unknown suite"),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap());
        let iv = iv.as_ref().try_into().unwrap();
        Keys {
            key,
            iv,
            sequence,
            tls12,
        }
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// RFC 8446, section 5.2; RFC 5288, section 3.
    fn seal(&mut self, kind: u8, payload: &[u8], padding: usize) -> Vec<u8> {
        let nonce = self.nonce();
        let mut body = payload.to_vec();
        let (outer, explicit) = if self.tls12 {
            (kind, &nonce[4..])
        } else {
            (DATA, &nonce[..0])
        };
        if !self.tls12 {
            body.push(kind);
            body.resize(body.len() + padding, 0);
        }
        let length = u16::try_from(explicit.len() + body.len() + 16)
            .unwrap()
            .to_be_bytes();
        let mut record = vec![outer, 3, 3, length[0], length[1]];
        let aad = self.aad(&record, body.len());
        record.extend_from_slice(explicit);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut body)
            .unwrap();
        record.append(&mut body);
        self.sequence += 1;
        record
    }

    fn open(&mut self, record: &[u8]) -> (u8, Vec<u8>) {
        let mut nonce = self.nonce();
        let (header, body) = record.split_at(5);
        let body = if self.tls12 {
            nonce[4..].copy_from_slice(&body[..8]);
            &body[8..]
        } else {
            body
        };
        let aad = self.aad(header, body.len() - 16);
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(aad), &mut body);
        let length = opened
            .expect("a record of the server does not decrypt")
            .len();
        body.truncate(length);
        self.sequence += 1;
        if self.tls12 {
            return (header[0], body);
        }
        let end = body
            .iter()
            .rposition(|&byte| byte != 0)
            .expect("a record without a type");
        let kind = body[end];
        body.truncate(end);
        (kind, body)
    }

    fn aad(&self, header: &[u8], length: usize) -> Vec<u8> {
        if !self.tls12 {
            return header.to_vec();
        }
        let mut aad = self.sequence.to_be_bytes().to_vec();
        aad.extend_from_slice(&header[..3]);
        aad.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        aad
    }
}
