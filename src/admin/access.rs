//! Who may change something.

use std::{fs::OpenOptions, io::Read, os::unix::fs::OpenOptionsExt, path::Path};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hyper::{HeaderMap, header::AUTHORIZATION};
use zeroize::Zeroizing;

use super::Door;
use crate::limits;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether the program is there.
    Alive,
    Look,
    Change,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    NoTokenFile,
    UnreadableTokenFile,
    WrongToken,
}

impl Denied {
    pub fn message(self) -> &'static str {
        match self {
            Denied::NoTokenFile => {
                "by TCP this needs a bearer token: set admin.token_file, or use a unix socket"
            }
            Denied::UnreadableTokenFile => "admin.token_file holds no token that lockgate can read",
            Denied::WrongToken => {
                "by TCP this needs \"Authorization: Bearer TOKEN\" with the token in admin.token_file"
            }
        }
    }
}

/// The file is read each time, so another token counts at once.
pub fn check(
    door: Door,
    request: Kind,
    headers: &HeaderMap,
    token_file: Option<&Path>,
) -> Result<(), Denied> {
    match (door, request) {
        (Door::Unix, _) | (_, Kind::Alive) | (Door::Loopback, Kind::Look) => return Ok(()),
        (Door::Loopback, Kind::Change) | (Door::Remote, Kind::Look | Kind::Change) => {}
    }
    let path = token_file.ok_or(Denied::NoTokenFile)?;
    let text = read(path).ok_or(Denied::UnreadableTokenFile)?;
    let token = text.trim_ascii();
    if token.is_empty() {
        return Err(Denied::UnreadableTokenFile);
    }
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match given.map(|given| verify_slices_are_equal(given, token)) {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) | None => Err(Denied::WrongToken),
    }
}

fn read(path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    // Without waiting for somebody to write, should it be a named pipe.
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    file.take(limits::TOKEN_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .ok()?;
    (text.len() as u64 <= limits::TOKEN_BYTES_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_needs_no_token_and_tcp_the_right_one() {
        let path = std::env::temp_dir().join(format!("lockgate-token-{}", std::process::id()));
        std::fs::write(&path, "secret\n").unwrap();
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            check(Door::Loopback, Kind::Change, &headers, Some(&path))
        };
        let none = HeaderMap::new();
        let without = |door, kind, file| check(door, kind, &none, file);
        let (file, wrong) = (Some(&*path), Err(Denied::WrongToken));
        assert_eq!(without(Door::Unix, Kind::Change, None), Ok(()));
        assert_eq!(
            without(Door::Loopback, Kind::Change, None),
            Err(Denied::NoTokenFile)
        );
        assert_eq!(without(Door::Loopback, Kind::Change, file), wrong);
        assert_eq!(without(Door::Loopback, Kind::Look, file), Ok(()));
        assert_eq!(without(Door::Remote, Kind::Look, file), wrong);
        assert_eq!(without(Door::Remote, Kind::Change, file), wrong);
        assert_eq!(without(Door::Remote, Kind::Alive, file), Ok(()));
        assert_eq!(with("Bearer secret"), Ok(()));
        assert_eq!(with("Bearer secre"), Err(Denied::WrongToken));
        assert_eq!(with("Basic secret"), Err(Denied::WrongToken));
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(with("Bearer "), Err(Denied::UnreadableTokenFile));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(with("Bearer secret"), Err(Denied::UnreadableTokenFile));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(with("Bearer "), Err(Denied::UnreadableTokenFile));
        std::fs::remove_file(&path).unwrap();
    }
}
