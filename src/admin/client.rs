//! The other end, for the program's own commands: one request, one answer.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
};

use crate::{config::Address, limits};

/// Status and body.
pub type Answer = (u16, String);

/// Asks a running lockgate. `token`: for changing requests by TCP. Blocks.
pub fn ask(address: &Address, method: &str, path: &str, token: Option<&str>) -> io::Result<Answer> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, limits::ADMIN_REQUEST_TIMEOUT)?;
            stream.set_read_timeout(Some(limits::ADMIN_ANSWER_TIMEOUT))?;
            stream.set_write_timeout(Some(limits::ADMIN_REQUEST_TIMEOUT))?;
            exchange(stream, method, path, token)
        }
        Address::Unix(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(limits::ADMIN_ANSWER_TIMEOUT))?;
            stream.set_write_timeout(Some(limits::ADMIN_REQUEST_TIMEOUT))?;
            exchange(stream, method, path, token)
        }
    }
}

/// The server closes after each answer, so the end of the stream is the end of the body.
fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    token: Option<&str>,
) -> io::Result<Answer> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: lockgate\r\n");
    if let Some(token) = token {
        request.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    request.push_str("Content-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream
        .take(limits::ADMIN_ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_taken_from_an_answer() {
        let answer = "HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: 3\r\n\r\n{}\n";
        assert_eq!(parse(answer), Some((422, "{}\n".into())));
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n"), None);
    }
}
