//! A provider whose answers are given byte for byte by the test.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Answers what it was told to, one connection per answer.
#[derive(Debug)]
pub(crate) struct Canned {
    pub(crate) address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Answers {
    submit: Vec<u8>,
    poll: Vec<u8>,
    polls: usize,
}

impl Canned {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::<Mutex<Answers>>::default();
        let shared = answers.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, answers, accepting }
    }

    /// What `in.php` and `solve.php` answer from here on: headers and body.
    pub(crate) fn submit(&self, status: u16, content_type: &str, body: &[u8]) {
        self.answers.lock().submit = http(status, content_type, body);
    }

    /// What a poll or a report is answered from here on.
    pub(crate) fn poll(&self, status: u16, content_type: &str, body: &[u8]) {
        self.answers.lock().poll = http(status, content_type, body);
    }

    /// How many polls and reports came in.
    pub(crate) fn polls(&self) -> usize {
        self.answers.lock().polls
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Mutex<Answers>>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !is_whole(&request) {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&chunk[..read]),
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let answer = if text.contains("action=threadsinfo") {
        http(200, "application/json", br#"{"status":1,"threads":50,"working_threads":0}"#)
    } else if text.contains("action=getbalance") {
        http(200, "application/json", br#"{"status":1,"request":"10.00"}"#)
    } else if text.contains("/res.php") {
        let mut answers = answers.lock();
        answers.polls += 1;
        answers.poll.clone()
    } else {
        answers.lock().submit.clone()
    };
    // The other side may be gone; that is its business.
    let _ = stream.write_all(&answer).await;
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(request, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
    request.len() >= end + 4 + length.map_or(0, |text| text.parse().unwrap())
}

fn http(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let content_type = match content_type {
        "" => String::new(),
        named => format!("Content-Type: {named}\r\n"),
    };
    let mut answer = format!(
        "HTTP/1.1 {status} Whatever\r\n{content_type}X-Provider: secret-sauce\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}
