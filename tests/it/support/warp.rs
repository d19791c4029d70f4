//! A way to the simulated provider that breaks: one request of an operation is struck, all others pass.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Submit,
    Poll,
    Report,
    Balance,
    Threads,
}

/// What becomes of a struck request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Nobody listens.
    Refuse,
    /// The connection ends (FIN) without an answer.
    Close,
    /// The connection is reset without an answer.
    Reset,
    /// No answer, and no end.
    Hang,
    /// These bytes, then the end.
    Say(Vec<u8>),
    /// The true answer, changed; then the connection goes on.
    Change(fn(&[u8]) -> Vec<u8>),
    /// The true answer, changed; then the end.
    ChangeAndClose(fn(&[u8]) -> Vec<u8>),
    /// The true answer, changed; then a reset.
    ChangeAndReset(fn(&[u8]) -> Vec<u8>),
    /// The true answer, later.
    Delay(Duration),
    /// The true answer, a byte at a time.
    Drip,
}

/// A fault: its name, whether the request takes effect at the provider, and what is answered.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) takes_effect: bool,
    pub(crate) act: Act,
}

/// The way, from its start to its end.
#[derive(Debug)]
pub(crate) struct Warp {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    provider: Mutex<Option<SocketAddr>>,
    armed: Mutex<Option<(Operation, Fault)>>,
    struck: Mutex<u32>,
}

impl Warp {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut warp = Self { address, shared: Arc::default(), accepting: None };
        warp.listen(listener);
        warp
    }

    /// Ends every connection, and refuses new ones.
    pub(crate) async fn refuse(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
    }

    /// Listens again, on the same port.
    pub(crate) async fn accept(&mut self) {
        if self.accepting.is_none() {
            let listener = loop {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            self.listen(listener);
        }
    }

    fn listen(&mut self, listener: TcpListener) {
        let shared = self.shared.clone();
        self.accepting = Some(tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                serving.spawn(async move {
                    // The other side may be gone; that is its business.
                    let _ = serve(stream, &shared).await;
                });
            }
        }));
    }

    /// Where requests that are not struck go.
    pub(crate) fn lead_to(&self, provider: SocketAddr) {
        *self.shared.provider.lock() = Some(provider);
    }

    /// Strikes the next request of that operation.
    pub(crate) fn arm(&self, operation: Operation, fault: &Fault) {
        *self.shared.armed.lock() = Some((operation, fault.clone()));
    }

    /// Requests struck so far.
    pub(crate) fn struck(&self) -> u32 {
        *self.shared.struck.lock()
    }
}

impl Drop for Warp {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read_message(&mut stream, &mut buffer).await? else { return Ok(()) };
        let Some(fault) = shared.strike(&request) else {
            let answer = shared.ask(&request).await?;
            stream.write_all(&answer).await?;
            continue;
        };
        let answer =
            if fault.takes_effect { shared.ask(&request).await? } else { HEAD_OF_NOTHING.to_vec() };
        if !act(&mut stream, fault.act, answer).await? {
            return Ok(());
        }
    }
}

/// What a fault that needs an answer changes where there is none.
const HEAD_OF_NOTHING: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Whether the connection goes on.
async fn act(stream: &mut TcpStream, act: Act, answer: Vec<u8>) -> std::io::Result<bool> {
    match act {
        Act::Refuse | Act::Reset => stream.set_zero_linger()?,
        Act::Close => stream.shutdown().await?,
        Act::Hang => {
            let mut rest = [0; 64];
            while stream.read(&mut rest).await? > 0 {}
        }
        Act::Say(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
        }
        Act::Change(change) => {
            stream.write_all(&change(&answer)).await?;
            return Ok(true);
        }
        Act::ChangeAndClose(change) => {
            stream.write_all(&change(&answer)).await?;
            stream.shutdown().await?;
        }
        Act::ChangeAndReset(change) => {
            stream.write_all(&change(&answer)).await?;
            // Lets the bytes before the reset arrive as bytes.
            tokio::time::sleep(Duration::from_millis(5)).await;
            stream.set_zero_linger()?;
        }
        Act::Delay(delay) => {
            tokio::time::sleep(delay).await;
            stream.write_all(&answer).await?;
            return Ok(true);
        }
        Act::Drip => {
            for byte in answer {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            return Ok(true);
        }
    }
    Ok(false)
}

impl Shared {
    fn strike(&self, request: &[u8]) -> Option<Fault> {
        let mut armed = self.armed.lock();
        let fits = armed.as_ref().is_some_and(|(wanted, _)| Some(*wanted) == operation(request));
        let (_, fault) = armed.take_if(|_| fits)?;
        *self.struck.lock() += 1;
        Some(fault)
    }

    /// The provider's true answer.
    async fn ask(&self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let provider = *self.provider.lock();
        let mut stream = TcpStream::connect(provider.expect("the way leads somewhere")).await?;
        stream.write_all(request).await?;
        let answer = read_message(&mut stream, &mut Vec::new()).await?;
        answer.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}

fn operation(request: &[u8]) -> Option<Operation> {
    let has = |word: &str| memchr::memmem::find(request, word.as_bytes()).is_some();
    if has("/in.php") {
        return Some(Operation::Submit);
    }
    let of_actions = [
        ("action=threadsinfo", Operation::Threads),
        ("action=getbalance", Operation::Balance),
        ("action=report", Operation::Report),
        ("action=get", Operation::Poll),
    ];
    of_actions.into_iter().find(|(action, _)| has(action)).map(|(_, operation)| operation)
}

/// One request or answer with its body; `None` when the connection ends before it.
async fn read_message(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(length) = length_of_message(buffer) {
            return Ok(Some(buffer.drain(..length).collect()));
        }
        let mut chunk = [0; 8192];
        match stream.read(&mut chunk).await? {
            0 => return Ok(None),
            read => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

fn length_of_message(bytes: &[u8]) -> Option<usize> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
    let whole = end + length.map_or(0, |text| text.trim().parse().unwrap());
    (bytes.len() >= whole).then_some(whole)
}
