//! What a record that holds no data means to the relay, whoever decrypted it.
//!
//! Refused: renegotiation, post-handshake authentication, messages split over records (RFC 8446,
//! section 5.1, allows that; nobody splits five bytes) and several messages in one.

use super::core::Input;
use crate::config::TlsVersion;

pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;

/// The body of the alert that ends a stream (RFC 8446, section 6.1).
pub const CLOSE_NOTIFY: [u8; 2] = [1, 0];
/// A KeyUpdate that asks for none in return (RFC 8446, section 4.6.3).
pub const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

const UNEXPECTED_MESSAGE: u8 = 10;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;

const LEVEL_WARNING: u8 = 1;
const USER_CANCELED: u8 = 90;

pub fn fatal_alert(description: u8) -> [u8; 2] {
    [2, description]
}

pub fn interpret(version: TlsVersion, content_type: u8, payload: &[u8]) -> Input {
    match content_type {
        ALERT => alert(version, payload),
        HANDSHAKE if version == TlsVersion::Tls13 => handshake(payload),
        _ => Input::Violation(UNEXPECTED_MESSAGE),
    }
}

fn alert(version: TlsVersion, payload: &[u8]) -> Input {
    match (version, payload) {
        (_, [_, 0]) => Input::CloseNotify,
        // Every other alert of TLS 1.3 is an error, whatever its level says (section 6).
        (TlsVersion::Tls13, [_, USER_CANCELED]) => Input::Warning(USER_CANCELED),
        (TlsVersion::Tls12, [LEVEL_WARNING, description]) => Input::Warning(*description),
        (_, [_, description]) => Input::Fatal(*description),
        _ => Input::Violation(DECODE_ERROR),
    }
}

fn handshake(payload: &[u8]) -> Input {
    match payload {
        [24, 0, 0, 1, 0] => Input::KeyUpdate { answer: false },
        [24, 0, 0, 1, 1] => Input::KeyUpdate { answer: true },
        [24, 0, 0, 1, _] => Input::Violation(ILLEGAL_PARAMETER),
        [24, ..] => Input::Violation(DECODE_ERROR),
        _ => Input::Violation(UNEXPECTED_MESSAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TlsVersion::{Tls12, Tls13};

    #[test]
    fn each_control_record_has_one_meaning() {
        let table: &[(TlsVersion, u8, &[u8], Input)] = &[
            (Tls13, ALERT, &[1, 0], Input::CloseNotify),
            (Tls12, ALERT, &[1, 0], Input::CloseNotify),
            (Tls13, ALERT, &[1, 90], Input::Warning(90)),
            (Tls13, ALERT, &[1, 48], Input::Fatal(48)),
            (Tls12, ALERT, &[1, 100], Input::Warning(100)),
            (Tls12, ALERT, &[2, 42], Input::Fatal(42)),
            (Tls13, ALERT, &[], Input::Violation(DECODE_ERROR)),
            (Tls13, ALERT, &[2], Input::Violation(DECODE_ERROR)),
            (Tls13, ALERT, &[1, 0, 1, 0], Input::Violation(DECODE_ERROR)),
            (
                Tls13,
                HANDSHAKE,
                &[24, 0, 0, 1, 1],
                Input::KeyUpdate { answer: true },
            ),
            (
                Tls13,
                HANDSHAKE,
                &KEY_UPDATE,
                Input::KeyUpdate { answer: false },
            ),
            (
                Tls13,
                HANDSHAKE,
                &[24, 0, 0, 1, 2],
                Input::Violation(ILLEGAL_PARAMETER),
            ),
            (
                Tls13,
                HANDSHAKE,
                &[24, 0, 0, 1],
                Input::Violation(DECODE_ERROR),
            ),
            (
                Tls13,
                HANDSHAKE,
                &[1, 0, 0, 1, 0],
                Input::Violation(UNEXPECTED_MESSAGE),
            ),
            (Tls13, HANDSHAKE, &[], Input::Violation(UNEXPECTED_MESSAGE)),
            (
                Tls12,
                HANDSHAKE,
                &[24, 0, 0, 1, 0],
                Input::Violation(UNEXPECTED_MESSAGE),
            ),
            (Tls13, 20, &[1], Input::Violation(UNEXPECTED_MESSAGE)),
        ];
        for (version, content_type, payload, meaning) in table {
            assert_eq!(
                interpret(*version, *content_type, payload),
                *meaning,
                "{payload:?}"
            );
        }
    }
}
