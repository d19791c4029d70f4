//! One connection to the provider, and one request at a time on it, in the task of whoever asks: no
//! channel, no second task to wake.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::reader::{Complete, Reader};
use super::{Stream, UpstreamError};

/// How the bytes go.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Other(Box<dyn Stream>),
}

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Request {
    head: Vec<u8>,
    body: Bytes,
    sent: usize,
    flushed: bool,
}

impl Request {
    pub(super) fn new(head: Vec<u8>, body: Bytes) -> Self {
        Self { head, body, sent: 0, flushed: false }
    }

    fn left(&self) -> (&[u8], &[u8]) {
        let head = self.head.get(self.sent..).unwrap_or_default();
        let body = self.body.get(self.sent.saturating_sub(self.head.len())..).unwrap_or_default();
        (head, body)
    }
}

/// A connection without a request under way, or with one.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    reader: Reader,
    /// There was nothing to read a moment ago, and the task will be woken when there is.
    silent: bool,
}

impl Connection {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, reader: Reader::default(), silent: false }
    }

    /// Whether the provider left it open, and said nothing that nobody asked for.
    pub(super) fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        self.silent = self.wire.poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending();
        self.silent
    }

    /// Sends what is left of the request and reads the answer. What was sent in part is not taken back:
    /// after any error the connection is of no use.
    pub(super) fn poll_exchange(
        &mut self,
        request: &mut Request,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Complete, UpstreamError>> {
        let mut sent = self.poll_send(request, cx);
        if std::mem::take(&mut self.silent) && matches!(sent, Poll::Ready(Ok(()))) {
            return Poll::Pending;
        }
        loop {
            let mut room = ReadBuf::new(self.reader.room());
            let read = match ready!(self.wire.poll_read(cx, &mut room)) {
                Ok(()) => room.filled().len(),
                Err(_) => return Poll::Ready(Err(UpstreamError::Broken)),
            };
            let came = match read {
                0 => self.reader.ended().map(Some),
                count => self.reader.came(count),
            };
            match came {
                Ok(None) => {}
                Ok(Some(complete)) => {
                    // An answer may come before the provider has read the whole request.
                    let keeps_alive = complete.keeps_alive && matches!(sent, Poll::Ready(Ok(())));
                    return Poll::Ready(Ok(Complete { keeps_alive, ..complete }));
                }
                Err(_) => return Poll::Ready(Err(UpstreamError::Broken)),
            }
            if sent.is_pending() {
                sent = self.poll_send(request, cx);
            }
        }
    }

    /// A provider that does not read on may still have answered: an error ends the sending alone.
    fn poll_send(&mut self, request: &mut Request, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let (head, body) = request.left();
            let count = match (head, body) {
                ([], []) if request.flushed => return Poll::Ready(Ok(())),
                ([], []) => {
                    ready!(self.wire.poll_flush(cx))?;
                    request.flushed = true;
                    // Whoever sends next takes the same memory, warm as it is.
                    (request.head, request.body) = (Vec::new(), Bytes::new());
                    continue;
                }
                ([], body) => ready!(self.wire.poll_write(cx, body))?,
                (head, []) => ready!(self.wire.poll_write(cx, head))?,
                (head, body) => {
                    let pieces = [io::IoSlice::new(head), io::IoSlice::new(body)];
                    ready!(self.wire.poll_write_vectored(cx, &pieces))?
                }
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            request.sent += count;
        }
    }
}

impl Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Other(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Other(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Other(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
}
