//! A webhook that keeps what it is sent, and answers as it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::secrets;

/// One address.
#[derive(Debug)]
pub(crate) struct Webhook {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    bodies: Vec<Value>,
    /// When each came.
    times: Vec<Instant>,
    /// What it answers; `None`: nothing, ever.
    status: Option<u16>,
    /// In seconds.
    retry_after: Option<u16>,
}

impl Webhook {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { status: Some(200), ..State::default() }));
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, state, accepting }
    }

    /// A URL where every connection is refused, as long as the socket is kept.
    pub(crate) fn unreachable() -> (TcpSocket, String) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/hook/{}", socket.local_addr().unwrap(), Self::PATH);
        (socket, url)
    }

    /// With a path that is looked for wherever no key may be.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook/{}", self.address, Self::PATH)
    }

    pub(crate) const PATH: &str = "path0canary";

    /// What it was sent, refused or not.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.state.lock().bodies.clone()
    }

    /// How long after the one before each came.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        let times = &self.state.lock().times;
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Asks for so many seconds before another try.
    pub(crate) fn ask_for(&self, seconds: u16) {
        self.state.lock().retry_after = Some(seconds);
    }

    /// Answers this from here on; `None`: nothing.
    pub(crate) fn answer(&self, status: Option<u16>) {
        self.state.lock().status = status;
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    let (body, text) = loop {
        if let Some(body) = body(&request) {
            break body;
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&chunk[..read]),
        }
    };
    assert!(!secrets::holds_key(&text), "a notice holds a key");
    let (status, retry_after) = {
        let mut state = state.lock();
        state.bodies.push(body);
        state.times.push(Instant::now());
        (state.status, state.retry_after)
    };
    let Some(status) = status else { return std::future::pending().await };
    let retry_after = retry_after.map_or_else(String::new, |it| format!("Retry-After: {it}\r\n"));
    let answer = format!(
        "HTTP/1.1 {status} Whatever\r\n{retry_after}Location: /elsewhere\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    // The other side may be gone; that is its business.
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// The body, parsed and as it came, once it is whole.
fn body(request: &[u8]) -> Option<(Value, Vec<u8>)> {
    let end = memchr::memmem::find(request, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "))?;
    let body = request.get(end + 4..end + 4 + length.parse::<usize>().unwrap())?;
    Some((serde_json::from_slice(body).unwrap(), body.to_vec()))
}
