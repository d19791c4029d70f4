//! HTTP/1.1 as far as a test partner needs it: one connection, requests read one after the other.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::request::Form;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why no request could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the client closed the connection")]
    Closed,
    #[error("cannot read from the connection")]
    Io(#[from] io::Error),
    #[error("not HTTP/1.1: {0}")]
    Malformed(&'static str),
    #[error("the head or the body is too large")]
    TooLarge,
}

/// A request as received.
#[derive(Debug)]
pub(super) struct Request {
    /// From the method to the last header, with its line ends.
    pub(super) head: String,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn method(&self) -> &str {
        self.start_line(0)
    }

    pub(super) fn path(&self) -> &str {
        let target = self.start_line(1);
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    pub(super) fn query(&self) -> &str {
        self.start_line(1).split_once('?').map_or("", |(_, query)| query)
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        headers(&self.head)
    }

    pub(super) fn content_type(&self) -> &str {
        header(&self.head, "content-type").unwrap_or_default()
    }

    pub(super) fn form(&self) -> Form<'_> {
        Form::read(self.query(), self.content_type(), &self.body)
    }

    pub(super) fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub(super) fn keeps_alive(&self) -> bool {
        match header(&self.head, "connection") {
            Some(value) if value.eq_ignore_ascii_case("close") => false,
            Some(value) if value.eq_ignore_ascii_case("keep-alive") => true,
            _ => self.start_line(2) != "HTTP/1.0",
        }
    }

    fn start_line(&self, word: usize) -> &str {
        let line = self.head.split("\r\n").next().unwrap_or_default();
        line.split(' ').nth(word).unwrap_or_default()
    }
}

fn headers(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.split("\r\n").skip(1).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name, value.trim()))
    })
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    headers(head).find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(8 * 1024) }
    }

    /// Reads the next request, whole.
    pub(super) async fn read(&mut self) -> Result<Request, ReadError> {
        let head = self.read_head().await?;
        let start = head.split("\r\n").next().unwrap_or_default();
        if start.split(' ').count() != 3 || !start.contains(" HTTP/1.") {
            return Err(ReadError::Malformed("no request line"));
        }
        let chunked = header(&head, "transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let length = match header(&head, "content-length") {
            None => 0,
            Some(text) => text.parse().map_err(|_| ReadError::Malformed("bad content-length"))?,
        };
        if length > BODY_BYTES_MAX {
            return Err(ReadError::TooLarge);
        }
        let expects = header(&head, "expect")
            .is_some_and(|expectation| expectation.eq_ignore_ascii_case("100-continue"));
        if expects && self.buffer.is_empty() && (chunked || length > 0) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = if chunked { self.read_chunks().await? } else { self.take(length).await? };
        Ok(Request { head, body })
    }

    /// Waits until the client is gone, reading and forgetting what it still sends.
    pub(super) async fn wait_for_close(&mut self) {
        self.buffer.clear();
        while matches!(self.stream.read_buf(&mut self.buffer).await, Ok(read) if read > 0) {
            self.buffer.clear();
        }
    }

    /// Makes the connection end with a RST instead of a FIN when it is dropped.
    pub(super) fn end_with_reset(&self) {
        // Fails only on a socket that is gone already.
        let _ = self.stream.set_zero_linger();
    }

    async fn read_head(&mut self) -> Result<String, ReadError> {
        loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                return std::str::from_utf8(&head[..end])
                    .map(str::to_owned)
                    .map_err(|_| ReadError::Malformed("the head is not UTF-8"));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(ReadError::TooLarge);
            }
            self.fill().await?;
        }
    }

    async fn read_chunks(&mut self) -> Result<Bytes, ReadError> {
        let mut body = BytesMut::new();
        loop {
            let line = self.take_line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| ReadError::Malformed("bad chunk size"))?;
            if size > BODY_BYTES_MAX - body.len() {
                return Err(ReadError::TooLarge);
            }
            if size == 0 {
                while !self.take_line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            body.extend_from_slice(&self.take(size).await?);
            if !self.take_line().await?.is_empty() {
                return Err(ReadError::Malformed("a chunk is longer than its size"));
            }
        }
    }

    async fn take_line(&mut self) -> Result<String, ReadError> {
        loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(ReadError::TooLarge);
            }
            self.fill().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Result<Bytes, ReadError> {
        while self.buffer.len() < length {
            self.buffer.reserve(length - self.buffer.len());
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        if self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(8 * 1024);
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ReadError::Closed),
            _ => Ok(()),
        }
    }
}
