//! HTTP/1.1 over one connection: a request, its answer, nothing in between.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Error, client::Stream};

const HEAD_MAX: usize = 16 << 10;
const BULK: usize = 256 << 10;

pub struct Http {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// Where the head of an answer ends, and what it says of the body.
struct Head {
    length: usize,
    body: u64,
}

impl Http {
    pub fn new(stream: Box<dyn Stream>, bulk: bool) -> Self {
        let size = if bulk { BULK } else { HEAD_MAX };
        Http {
            stream,
            buffer: vec![0; size],
        }
    }

    /// A GET; the result is the length of the body.
    pub async fn get(&mut self, path: &str) -> Result<u64, Error> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        self.answer().await
    }

    /// A POST of `bytes`. A server may answer before it has read them all, so a small GET follows on
    /// the same connection: its answer comes after everything before it has arrived.
    pub async fn post(&mut self, path: &str, bytes: u64) -> Result<u64, Error> {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await?;
        self.buffer.fill(b'x');
        let mut left = bytes;
        while left > 0 {
            let size = usize::try_from(left).unwrap_or(BULK).min(self.buffer.len());
            let part = self.buffer.get(..size).unwrap_or_default();
            self.stream.write_all(part).await?;
            left -= size as u64;
        }
        self.stream.flush().await?;
        self.answer().await?;
        self.get("/").await?;
        Ok(bytes)
    }

    /// Ends this direction and waits for the other's end; how it ends is of no interest here.
    pub async fn close(mut self) {
        if self.stream.shutdown().await.is_ok() {
            while matches!(self.stream.read(&mut self.buffer).await, Ok(count) if count > 0) {}
        }
    }

    async fn answer(&mut self) -> Result<u64, Error> {
        let mut filled = 0;
        let head = loop {
            let room = self.buffer.get_mut(filled..).unwrap_or_default();
            if room.is_empty() {
                return Err("the head of an answer is too long".into());
            }
            match self.stream.read(room).await? {
                0 => return Err("the connection ended before an answer".into()),
                count => filled += count,
            }
            if let Some(head) = parse(self.buffer.get(..filled).unwrap_or_default())? {
                break head;
            }
        };
        let mut left = head
            .body
            .checked_sub((filled - head.length) as u64)
            .ok_or("more came than the answer announced")?;
        while left > 0 {
            match self.stream.read(&mut self.buffer).await? {
                0 => return Err("the connection ended within an answer".into()),
                count => {
                    left = left
                        .checked_sub(count as u64)
                        .ok_or("more came than the answer announced")?;
                }
            }
        }
        Ok(head.body)
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Head>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes)? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(format!("the answer's status is {:?}", response.code).into());
    }
    let body = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer without Content-Length")?;
    Ok(Some(Head {
        length,
        body: std::str::from_utf8(body.value)?.trim().parse()?,
    }))
}
