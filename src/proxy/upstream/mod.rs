//! Requests to the provider: small pools of connections, and never a request sent twice.
//!
//! HTTP/1.1 is spoken here and not by a client library: what is asked is one GET or POST at a time with
//! a small answer, and a library's task and channels per connection cost more than all the metering.

mod connection;
mod exchange;
pub mod reader;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use self::connection::{Connection, Request, Wire};
pub(super) use self::exchange::Exchange;
use super::timer::Timer;
use super::tls::{self, TlsError};
use crate::clock::Clock;
use crate::config::{Config, Scheme};
use crate::domain::time::Mono;
use crate::wire::request::Upstream as Outgoing;

/// Connections that a worker keeps open while idle.
const IDLE_MAX: usize = 128;
/// Workers with a pool of their own; more share.
const POOLS: usize = 64;
/// A poll may use a connection that idled this long; the provider's side may be about to close it.
const IDLE_FOR: Duration = Duration::from_secs(15);
/// A submission must not be sent twice, so it is only risked on a connection that was just used.
const IDLE_FOR_SUBMIT: Duration = Duration::from_secs(1);

/// Where the provider is.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host name or address, for TLS.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What goes into `Host`.
    pub authority: HeaderValue,
    /// Path before `/in.php`; empty or starting with a slash.
    pub base_path: String,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// `None`: TCP to `host` and `port`.
    pub network: Option<Arc<dyn Network>>,
}

impl Target {
    /// The provider that the config names.
    pub fn of(config: &Config) -> Result<Self, TlsError> {
        let url = &config.upstream.url;
        let tls = match url.scheme() {
            Scheme::Http => None,
            Scheme::Https => Some(tls::client()?),
        };
        let authority = HeaderValue::from_str(url.authority());
        Ok(Self {
            host: url.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port(),
            authority: authority.unwrap_or(HeaderValue::from_static("")),
            base_path: url.base_path().to_owned(),
            tls,
            connect_timeout: config.upstream.connect_timeout,
            network: None,
        })
    }
}

/// Another way to the provider than the machine's own network; a simulation has one.
pub trait Network: fmt::Debug + Send + Sync {
    /// A connection, to be.
    fn connect(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl fmt::Debug for dyn Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// The provider's answer, read whole.
#[derive(Debug)]
pub struct Answered {
    /// Of the final answer; interim ones are dropped.
    pub status: u16,
    /// As it came.
    pub content_type: Option<HeaderValue>,
    /// Without what framed it.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpstreamError {
    /// Nothing was sent.
    #[error("cannot connect to the provider")]
    Connect,
    /// The request went out, in part or whole.
    #[error("the provider broke off")]
    Broken,
    /// It took too long.
    #[error("the provider did not answer in time")]
    Timeout,
}

/// How a request may use pooled connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// May not be sent twice.
    Submit,
    /// May be asked again.
    Poll,
}

/// The provider, as the proxy reaches it.
#[derive(Debug)]
pub(super) struct Upstream {
    target: Target,
    clock: Clock,
    /// By worker: a connection belongs to the runtime that opened it.
    pools: Box<[Pool]>,
}

/// Idle connections of one worker, the one that was used last at the end. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Pool(Mutex<VecDeque<Idle>>);

#[derive(Debug)]
struct Idle {
    /// Boxed, as it is moved several times for each request.
    connection: Box<Connection>,
    timer: Option<Timer>,
    since: Mono,
}

impl Upstream {
    pub(super) fn new(target: Target, clock: Clock) -> Self {
        Self { target, clock, pools: std::iter::repeat_with(Pool::default).take(POOLS).collect() }
    }

    /// A request that goes out at once, when its answer is waited for. `headers` are whole lines.
    pub(super) fn request(
        self: Arc<Self>,
        script: &str,
        outgoing: Outgoing,
        headers: &[u8],
        kind: Kind,
    ) -> Exchange {
        let head = self.written(script, &outgoing, headers);
        Exchange::new(self, head.map(|head| Request::new(head, outgoing.body)), kind)
    }

    /// A request, its answer, all within `timeout`, and how long that took.
    pub(super) async fn send(
        self: Arc<Self>,
        script: &str,
        outgoing: Outgoing,
        headers: &[u8],
        (kind, timeout): (Kind, Duration),
    ) -> (Result<Answered, UpstreamError>, Duration) {
        let mut exchange = self.request(script, outgoing, headers, kind);
        let answered = exchange.answer(timeout).await.unwrap_or(Err(UpstreamError::Timeout));
        (answered, exchange.took())
    }

    /// Closes what has idled too long to be used again.
    pub(super) fn close_idle(&self) {
        let now = self.clock.mono();
        for pool in &self.pools {
            let mut idle = pool.0.lock();
            let old = idle.iter().take_while(|idle| now.since(idle.since) > IDLE_FOR).count();
            let closing: Vec<Idle> = idle.drain(..old).collect();
            drop(idle);
            drop(closing);
        }
    }

    /// The head of a request; `None` where a byte would end the request line early.
    fn written(&self, script: &str, outgoing: &Outgoing, headers: &[u8]) -> Option<Vec<u8>> {
        let (base_path, query) = (&self.target.base_path, outgoing.query.as_deref());
        let size = base_path.len() + query.unwrap_or_default().len() + headers.len() + 224;
        let mut head = Vec::with_capacity(size);
        let mut write = |part: &[u8]| head.extend_from_slice(part);
        write(outgoing.method.as_str().as_bytes());
        write(b" ");
        write(base_path.as_bytes());
        write(b"/");
        write(script.as_bytes());
        if let Some(query) = query {
            write(b"?");
            write(query);
        }
        // Counted to the end, many bytes at a time, and not looked for one by one.
        // One stands behind the method.
        let ends_line = |byte: &&u8| **byte <= b' ' || **byte == 0x7f;
        if head.iter().filter(ends_line).count() > 1 {
            return None;
        }
        let mut write = |part: &[u8]| head.extend_from_slice(part);
        write(b" HTTP/1.1\r\n");
        write(headers);
        write(b"host: ");
        write(self.target.authority.as_bytes());
        if let Some(content_type) = &outgoing.content_type {
            write(b"\r\ncontent-type: ");
            write(content_type.as_bytes());
        }
        if outgoing.method == Method::POST || !outgoing.body.is_empty() {
            write(b"\r\ncontent-length: ");
            write(outgoing.body.len().to_string().as_bytes());
        }
        write(b"\r\n\r\n");
        Some(head)
    }

    /// The connection of that pool that was used last, if the provider left it open.
    fn take_idle(
        &self,
        (pool, kind): (usize, Kind),
        now: Mono,
        cx: &mut Context<'_>,
    ) -> Option<Idle> {
        let idle_for = match kind {
            Kind::Submit => IDLE_FOR_SUBMIT,
            Kind::Poll => IDLE_FOR,
        };
        loop {
            let mut idle = self.pools[pool].0.lock();
            if now.since(idle.back()?.since) > idle_for {
                return None;
            }
            let mut newest = idle.pop_back()?;
            drop(idle);
            if newest.connection.is_open(cx) {
                return Some(newest);
            }
        }
    }

    fn give_back(&self, pool: usize, idle: Idle) {
        let mut pool = self.pools[pool].0.lock();
        let oldest = if pool.len() >= IDLE_MAX { pool.pop_front() } else { None };
        pool.push_back(idle);
        drop(pool);
        drop(oldest);
    }

    async fn connect(self: Arc<Self>) -> Result<Box<Connection>, UpstreamError> {
        match tokio::time::timeout(self.target.connect_timeout, self.handshake()).await {
            Ok(wire) => wire.map(|wire| Box::new(Connection::new(wire))),
            Err(_) => Err(UpstreamError::Connect),
        }
    }

    async fn handshake(&self) -> Result<Wire, UpstreamError> {
        if let Some(network) = &self.target.network {
            let stream = network.connect().await.map_err(|_| UpstreamError::Connect)?;
            return Ok(Wire::Other(stream));
        }
        let address = (self.target.host.as_str(), self.target.port);
        let stream = TcpStream::connect(address).await.map_err(|_| UpstreamError::Connect)?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.target.tls else { return Ok(Wire::Tcp(stream)) };
        let name =
            ServerName::try_from(self.target.host.clone()).map_err(|_| UpstreamError::Connect)?;
        let stream =
            TlsConnector::from(tls.clone()).connect(name, stream).await.map_err(|error| {
                tracing::warn!(%error, "no TLS connection to the provider");
                UpstreamError::Connect
            })?;
        Ok(Wire::Other(Box::new(stream)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(outgoing: &Outgoing) -> Option<String> {
        let target = Target {
            host: "127.0.0.1".to_owned(),
            port: 80,
            authority: HeaderValue::from_static("provider:81"),
            base_path: "/base".to_owned(),
            tls: None,
            connect_timeout: Duration::from_secs(1),
            network: None,
        };
        let upstream = Upstream::new(target, Clock::start());
        let head = upstream.written("res.php", outgoing, b"user-agent: a b\r\n")?;
        Some(String::from_utf8(head).unwrap())
    }

    fn get(query: Option<&str>) -> Outgoing {
        let query = query.map(|query| query.as_bytes().to_vec());
        Outgoing { method: Method::GET, query, content_type: None, body: Bytes::new() }
    }

    #[test]
    fn a_request_is_a_line_headers_and_an_empty_line() {
        let rest = "HTTP/1.1\r\nuser-agent: a b\r\nhost: provider:81\r\n";
        assert_eq!(head(&get(None)).unwrap(), format!("GET /base/res.php {rest}\r\n"));
        let form = Outgoing {
            method: Method::POST,
            content_type: Some(HeaderValue::from_static("text/plain")),
            body: Bytes::from_static(b"id=1"),
            ..get(Some("key=1&é"))
        };
        let expected = format!(
            "POST /base/res.php?key=1&é {rest}content-type: text/plain\r\ncontent-length: 4\r\n\r\n"
        );
        assert_eq!(head(&form).unwrap(), expected);
    }

    #[test]
    fn nothing_ends_the_request_line_early() {
        for query in ["a b", "a\tb", "a\r\nb: c", "a\nb", "a\0", "a\u{7f}"] {
            assert_eq!(head(&get(Some(query))), None, "{query:?}");
        }
    }
}
