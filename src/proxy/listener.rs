//! Connections of clients: accepted, bounded, served over HTTP/1.1, drained at shutdown.

use std::error::Error;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::flush::{Flushing, Progress};
use super::timer::{ConnectionTimer, STILL};
use super::workers::Workers;
use super::{Bounds, Proxy, handler};

/// Room for a request's head: the longest real one is a GET with a sitekey, a page and cookies.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What all listeners of a process share.
#[derive(Debug, Clone)]
pub struct Limits {
    connections: Arc<Semaphore>,
}

impl Limits {
    /// At most `connections` at once; beyond that, new ones are closed at once.
    pub fn new(connections: usize) -> Self {
        Self { connections: Arc::new(Semaphore::new(connections)) }
    }
}

/// Serves on `workers` until `stop`; connections then finish the request they are at.
pub fn serve(
    proxy: Arc<Proxy>,
    listener: std::net::TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    (workers, stop): (&Workers, &CancellationToken),
) {
    let Some((first, others)) = workers.runtimes().split_first() else { return };
    let turns = Turns {
        others: others.to_vec(),
        // Each request looks at its token, under a lock that is its worker's own this way.
        stops: workers.runtimes().iter().map(|_| stop.child_token()).collect(),
        stop: stop.clone(),
    };
    let tasks = proxy.tasks.clone();
    tasks.spawn_on(
        async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => accept(proxy, listener, tls, limits, turns).await,
                Err(error) => tracing::error!(%error, "cannot accept connections"),
            }
        },
        first,
    );
}

/// The workers whose turn it is to serve a connection: the one that accepts, and the others.
struct Turns {
    others: Vec<Handle>,
    stops: Vec<CancellationToken>,
    stop: CancellationToken,
}

async fn accept(
    proxy: Arc<Proxy>,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    turns: Turns,
) {
    let tls = tls.map(TlsAcceptor::from);
    let mut places = (0..turns.stops.len()).cycle();
    loop {
        let accepted = tokio::select! {
            biased;
            () = turns.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give connections a moment to end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = limits.connections.clone().try_acquire_owned() else { continue };
        let place = places.next().unwrap_or_default();
        let connection = Connection {
            proxy: proxy.clone(),
            peer: peer.ip(),
            stop: turns.stops[place].clone(),
            permit: Some(permit),
        };
        let tls = tls.clone();
        let Some(other) = place.checked_sub(1).map(|other| &turns.others[other]) else {
            proxy.tasks.spawn(connection.accept(stream, tls));
            continue;
        };
        let Ok(stream) = stream.into_std() else { continue };
        let moved = async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => connection.accept(stream, tls).await,
                Err(error) => tracing::warn!(%error, "cannot serve a connection"),
            }
        };
        proxy.tasks.spawn_on(moved, other);
    }
}

/// Serves one connection of a client at `peer`, however it came about.
pub async fn serve_stream<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    proxy: Arc<Proxy>,
    stream: S,
    peer: IpAddr,
    stop: CancellationToken,
) {
    Connection { proxy, peer, stop, permit: None }.run(stream).await;
}

struct Connection {
    proxy: Arc<Proxy>,
    peer: IpAddr,
    stop: CancellationToken,
    /// Its place among all connections; held until it ends.
    #[expect(dead_code, reason = "held, not read")]
    permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    async fn accept(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.run(stream).await,
            // Boxed, so that a connection in the clear has no room for it.
            Some(tls) => Box::pin(self.secured(stream, tls)).await,
        }
    }

    async fn secured(self, stream: TcpStream, tls: TlsAcceptor) {
        let handshake = tokio::time::timeout(self.proxy.bounds.handshake_wait, tls.accept(stream));
        let secured = tokio::select! {
            biased;
            secured = handshake => secured,
            () = self.stop.cancelled() => return,
        };
        match secured {
            Ok(Ok(stream)) => self.run(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// Serves one request after another. What only a request needs is made when one begins, and given up
    /// when none follows soon: a connection that idles costs its socket and little more.
    async fn run<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let progress = Arc::new(Progress::default());
        let Bounds { head_wait, write_wait, .. } = self.proxy.bounds;
        let timer = ConnectionTimer::new(head_wait);
        let mut stream = Flushing::new(stream, timer.clone(), progress.clone(), write_wait);
        let mut wait = head_wait;
        loop {
            let begun = tokio::select! {
                biased;
                begun = stream.begun() => begun,
                () = self.stop.cancelled() => {
                    self.proxy.let_go.cancel();
                    break;
                }
                () = timer.after(wait) => break,
            };
            let still = match begun {
                Ok(true) => Box::pin(self.serve(stream, &timer, &progress)).await,
                Ok(false) => break,
                Err(error) => Err(error.into()),
            };
            match still {
                Ok(Some(still)) => stream = still,
                Ok(None) => return,
                Err(error) => return tracing::debug!(error, "a connection broke off"),
            }
            wait = head_wait.saturating_sub(STILL);
        }
        // Over TLS, an end that is not announced looks like a cut.
        let _ = stream.shutdown().await;
    }

    /// Serves requests until the connection ends, or is still and given back.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: Flushing<S>,
        timer: &ConnectionTimer,
        progress: &Arc<Progress>,
    ) -> Result<Option<Flushing<S>>, Box<dyn Error + Send + Sync>> {
        let any_head = AtomicBool::new(false);
        let service = service_fn(|request| {
            any_head.store(true, Relaxed);
            handler::handle(self.proxy.clone(), self.peer, progress.clone(), request)
        });
        let mut connection = http1::Builder::new()
            .timer(timer.clone())
            .header_read_timeout(self.proxy.bounds.head_wait)
            .max_buf_size(HEAD_BYTES_MAX)
            // Head and body in one piece: a copy of a small answer is cheaper than a list of pieces.
            .writev(false)
            // That the client is gone is seen by the stream.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let served = poll_fn(|cx| {
            let served = Pin::new(&mut connection).poll(cx);
            if served.is_pending() && timer.is_still() {
                return Poll::Ready(None);
            }
            served.map(Some)
        });
        tokio::select! {
            biased;
            served = served => {
                let Some(served) = served else {
                    let parts = connection.into_parts();
                    return Ok(Some(parts.io.into_inner().with_ahead(&parts.read_buf)));
                };
                served?;
            }
            () = self.stop.cancelled() => {
                self.proxy.let_go.cancel();
                // hyper would wait for the rest of a first head, of a later one it does not.
                if any_head.load(Relaxed) {
                    Pin::new(&mut connection).graceful_shutdown();
                    connection.await?;
                } else {
                    connection.into_parts().io.into_inner().shutdown().await?;
                }
            }
        }
        Ok(None)
    }
}
