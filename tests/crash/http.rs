//! A client of one connection that knows what it received in full, in part and not at all.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than the sidecar takes for anything, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A body that came in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    /// Why the sidecar itself refused, if it did.
    pub(crate) reason: Option<String>,
}

/// The connection ended before the answer did; what of it had come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) received: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// `None`: nobody listens there.
    pub(crate) async fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        // On loopback a port without a listener may be given out as the source, and answer itself.
        (stream.local_addr().ok()? != address).then_some(Self { stream })
    }

    pub(crate) async fn get(&mut self, target: &str) -> Result<Answer, Cut> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.ask(&request).await
    }

    pub(crate) async fn post(&mut self, target: &str, form: &str) -> Result<Answer, Cut> {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
            form.len()
        );
        self.ask(&request).await
    }

    async fn ask(&mut self, request: &str) -> Result<Answer, Cut> {
        self.stream
            .write_all(request.as_bytes())
            .await
            .map_err(|_| Cut { received: Vec::new() })?;
        let mut received = Vec::new();
        let reading = async {
            loop {
                if let Some(answer) = whole(&received) {
                    return Ok(answer);
                }
                match self.stream.read_buf(&mut received).await {
                    Ok(0) | Err(_) => return Err(Cut { received }),
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| panic!("no answer within {PATIENCE:?} to {request}"))
    }
}

/// The answer, once all of it is there.
fn whole(received: &[u8]) -> Option<Answer> {
    let end = memchr::memmem::find(received, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..end]).unwrap();
    let header = |wanted: &str| {
        head.split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    };
    let length: usize = header("content-length").map_or(0, |text| text.parse().unwrap());
    let body = received[end + 4..].get(..length)?;
    Some(Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        text: String::from_utf8(body.to_vec()).unwrap(),
        reason: header("x-solvegate-reason").map(str::to_owned),
    })
}

/// One request on a connection of its own, to somebody who is up.
pub(crate) async fn get(address: SocketAddr, target: &str) -> Answer {
    try_get(address, target).await.unwrap_or_else(|| panic!("no answer from {address}{target}"))
}

/// The same, to somebody who may not be.
pub(crate) async fn try_get(address: SocketAddr, target: &str) -> Option<Answer> {
    Connection::open(address).await?.get(target).await.ok()
}
