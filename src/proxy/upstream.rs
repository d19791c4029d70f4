//! Requests to the provider: a small pool of connections, and never a request sent twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::tls::{self, TlsError};
use crate::clock::Clock;
use crate::config::{Config, Scheme};
use crate::domain::time::Mono;
use crate::wire::request::Upstream as Outgoing;

/// A larger answer than any provider's: token, user agent and cookies stay far below.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Time for a connection to become free again after its answer.
const FREE_WAIT: Duration = Duration::from_millis(5);
/// Connections kept open while idle.
const IDLE_MAX: usize = 128;
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

/// The provider's answer, read whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
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
    /// Not waited for at shutdown: an idle connection has nothing to lose.
    drivers: TaskTracker,
    idle: Mutex<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Mono,
}

impl Upstream {
    pub(super) fn new(target: Target, clock: Clock) -> Self {
        Self { target, clock, drivers: TaskTracker::new(), idle: Mutex::default() }
    }

    /// Sends a request and reads its answer, all within `timeout`.
    pub(super) async fn send(
        &self,
        script: &str,
        outgoing: Outgoing,
        headers: HeaderMap,
        (kind, timeout): (Kind, Duration),
    ) -> Result<Answered, UpstreamError> {
        let Ok(request) = self.request(script, outgoing, headers) else {
            return Err(UpstreamError::Broken);
        };
        match tokio::time::timeout(timeout, self.exchange(request, kind)).await {
            Ok(answered) => answered,
            Err(_) => Err(UpstreamError::Timeout),
        }
    }

    fn request(
        &self,
        script: &str,
        outgoing: Outgoing,
        mut headers: HeaderMap,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut path = Vec::with_capacity(self.target.base_path.len() + script.len() + 64);
        path.extend_from_slice(self.target.base_path.as_bytes());
        path.push(b'/');
        path.extend_from_slice(script.as_bytes());
        if let Some(query) = &outgoing.query {
            path.push(b'?');
            path.extend_from_slice(query.as_bytes());
        }
        let uri = Uri::from_maybe_shared(Bytes::from(path))?;
        headers.insert(HOST, self.target.authority.clone());
        if let Some(content_type) = outgoing.content_type {
            headers.insert(http::header::CONTENT_TYPE, content_type);
        }
        if !outgoing.body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(outgoing.body.len()));
        }
        let mut request = Request::new(Full::new(outgoing.body));
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        kind: Kind,
    ) -> Result<Answered, UpstreamError> {
        let (mut sender, response) = self.send_somewhere(request, kind).await?;
        let (head, body) = response.into_parts();
        let Ok(body) = Limited::new(body, ANSWER_BYTES_MAX).collect().await else {
            return Err(UpstreamError::Broken);
        };
        // The driver frees the connection just after the body's end; waiting a moment keeps it. A
        // provider that answered before it read the whole request never frees it.
        let is_free = sender.is_ready()
            || matches!(tokio::time::timeout(FREE_WAIT, sender.ready()).await, Ok(Ok(())));
        if is_free {
            self.give_back(sender);
        }
        Ok(Answered { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    }

    /// Sends on a pooled connection if one takes the request, else on a new one. A request of which a
    /// byte may have gone out is not sent again.
    async fn send_somewhere(
        &self,
        mut request: Request<Full<Bytes>>,
        kind: Kind,
    ) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), UpstreamError> {
        let idle_for = match kind {
            Kind::Submit => IDLE_FOR_SUBMIT,
            Kind::Poll => IDLE_FOR,
        };
        while let Some(mut sender) = self.take_idle(idle_for) {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((sender, response)),
                Err(mut unsent) => match unsent.take_message() {
                    Some(returned) => request = returned,
                    None => return Err(UpstreamError::Broken),
                },
            }
        }
        let mut sender = self.connect().await?;
        match sender.send_request(request).await {
            Ok(response) => Ok((sender, response)),
            Err(_) => Err(UpstreamError::Broken),
        }
    }

    fn take_idle(&self, idle_for: Duration) -> Option<SendRequest<Full<Bytes>>> {
        let now = self.clock.mono();
        let mut idle = self.idle.lock();
        while let Some(newest) = idle.pop_back() {
            if now.since(newest.since) > IDLE_FOR {
                idle.clear();
                return None;
            }
            if now.since(newest.since) > idle_for {
                idle.push_back(newest);
                return None;
            }
            if newest.sender.is_ready() {
                return Some(newest.sender);
            }
        }
        None
    }

    fn give_back(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock();
        if idle.len() >= IDLE_MAX {
            idle.pop_front();
        }
        idle.push_back(Idle { sender, since: self.clock.mono() });
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, UpstreamError> {
        let connected = tokio::time::timeout(self.target.connect_timeout, self.handshake()).await;
        connected.unwrap_or(Err(UpstreamError::Connect))
    }

    async fn handshake(&self) -> Result<SendRequest<Full<Bytes>>, UpstreamError> {
        if let Some(network) = &self.target.network {
            let stream = network.connect().await.map_err(|_| UpstreamError::Connect)?;
            return self.drive(stream).await;
        }
        let address = (self.target.host.as_str(), self.target.port);
        let stream = TcpStream::connect(address).await.map_err(|_| UpstreamError::Connect)?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.target.tls else { return self.drive(stream).await };
        let name =
            ServerName::try_from(self.target.host.clone()).map_err(|_| UpstreamError::Connect)?;
        let stream =
            TlsConnector::from(tls.clone()).connect(name, stream).await.map_err(|error| {
                tracing::warn!(%error, "no TLS connection to the provider");
                UpstreamError::Connect
            })?;
        self.drive(stream).await
    }

    async fn drive<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| UpstreamError::Connect)?;
        self.drivers.spawn(async move {
            // Its error reaches whoever waits for the answer.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
