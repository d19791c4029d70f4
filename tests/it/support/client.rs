//! A client of one TCP connection that hides nothing: raw bytes out, answers byte for byte.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::secrets;

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        self.head
            .split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    }

    /// The rejection's reason.
    pub(crate) fn reason(&self) -> &str {
        self.header("x-solvegate-reason").unwrap_or("none")
    }

    /// The task id of an accepted submission, from either form.
    pub(crate) fn id(&self) -> String {
        let text = self.text();
        let id = text.trim_start_matches("OK|").trim_start_matches(r#"{"status":1,"request":"#);
        let id = id.trim_end_matches('}').trim_matches('"');
        let fits = self.status == 200 && !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        assert!(fits, "not accepted: {self:?}");
        id.to_owned()
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Ends the connection with a RST, as the kernel of a killed client does.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn get(&mut self, target: &str) -> Answer {
        self.send(get(target).as_bytes()).await;
        self.answer().await
    }

    pub(crate) async fn post(&mut self, target: &str, content_type: &str, body: &[u8]) -> Answer {
        self.send(&post(target, content_type, body)).await;
        self.answer().await
    }

    /// Reads the next answer; panics where there is none.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.maybe_answer().await.expect("the connection ended without an answer")
    }

    /// Reads the next answer; `None` when the connection ends before it.
    pub(crate) async fn maybe_answer(&mut self) -> Option<Answer> {
        let reading = self.read_answer();
        let answer = tokio::time::timeout(Duration::from_secs(20), reading).await;
        let answer = answer.expect("no answer within 20 s")?;
        let leaks = secrets::holds_key(answer.head.as_bytes()) || secrets::holds_key(&answer.body);
        assert!(!leaks, "an answer holds a key: {answer:?}");
        let names = ["x-solvegate-reason", "x-solvegate-request-id"].map(|it| answer.header(it));
        assert_eq!(names[0].is_some(), names[1].is_some(), "a refusal and its id: {answer:?}");
        Some(answer)
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        if status == 100 {
            self.buffer.drain(..end + 4);
            return Box::pin(self.read_answer()).await;
        }
        let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        while self.buffer.len() < end + 4 + length {
            self.read_more().await?;
        }
        answer.body = self.buffer[end + 4..end + 4 + length].to_vec();
        self.buffer.drain(..end + 4 + length);
        Some(answer)
    }

    async fn read_more(&mut self) -> Option<usize> {
        let mut chunk = vec![0; 16 * 1024];
        match self.stream.read(&mut chunk).await {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                Some(read)
            }
        }
    }

    /// Waits until the server closes the connection, in order or not, with nothing more to read.
    pub(crate) async fn end(&mut self) -> std::io::Result<()> {
        let mut byte = [0];
        let reading = tokio::time::timeout(Duration::from_secs(20), self.stream.read(&mut byte));
        let read = reading.await.expect("the connection stays open")?;
        assert_eq!(read, 0, "more is sent");
        Ok(())
    }

    /// Whether the server closed the connection, with nothing more to read.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let reading = tokio::time::timeout(Duration::from_secs(20), self.read_more()).await;
        reading.expect("the connection stays open").is_none()
    }
}

pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

pub(crate) fn post(target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The target of a turnstile submission with that key and a wish for the simulated provider.
pub(crate) fn submission(key: &str, wish: &str) -> String {
    let page: String =
        form_urlencoded::byte_serialize(format!("https://sim.test/?{wish}").as_bytes()).collect();
    format!("/in.php?key={key}&method=turnstile&sitekey=s&pageurl={page}")
}

pub(crate) fn poll(key: &str, id: &str) -> String {
    format!("/res.php?key={key}&action=get&id={id}")
}
