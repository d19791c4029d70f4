//! Knowing that an answer's last byte was flushed to the client: a solve is charged then, not before.
//!
//! hyper writes a body's frame into its buffer, empties the buffer into the connection and flushes the
//! connection, in that order. So a receipt that is handed over with the frame is due at the next flush
//! of the connection that succeeds; one that is dropped before was not delivered.
//!
//! No frame goes out behind one whose receipt is due: a client could read the answer, leave the rest (of
//! an `ids` reply, or of the next reply) unread so that no flush succeeds, and break off unbilled.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::timer::ConnectionTimer;
use crate::domain::ids::SolveId;
use crate::failpoint::{self, Point};
use crate::gate::Gate;

/// Proof of delivery for one answer: reports `delivered` once flushed, `undelivered` when dropped.
#[derive(Debug)]
pub(super) struct Receipt {
    gate: Arc<Gate>,
    solve: SolveId,
    flushed: bool,
}

impl Receipt {
    pub(super) fn new(gate: &Arc<Gate>, solve: SolveId) -> Self {
        Self { gate: gate.clone(), solve, flushed: false }
    }

    fn sign(mut self) {
        self.flushed = true;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.flushed {
            self.gate.delivered(self.solve);
        } else {
            self.gate.undelivered(self.solve);
        }
    }
}

/// How far the request at hand is, as its connection, its handler and its answer's body know it together.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The request was read whole: until it is answered, the connection is not read for its sake.
    whole: AtomicBool,
    at_flush: Mutex<AtFlush>,
}

impl Progress {
    /// The request was read whole. From here on a client that closes its side is seen to be gone.
    pub(super) fn request_is_whole(&self) {
        self.whole.store(true, Relaxed);
    }
}

/// What waits for a connection's next flush.
#[derive(Debug, Default)]
struct AtFlush {
    receipts: Vec<Receipt>,
    /// The body that goes on after it.
    next: Option<Waker>,
}

/// A response body, cut where an answer with a receipt ends.
#[derive(Debug)]
pub(super) struct Body {
    left: Bytes,
    sent: usize,
    /// Each with the place in the body where its answer ends, in their order.
    receipts: VecDeque<(usize, Receipt)>,
    progress: Arc<Progress>,
}

impl Body {
    pub(super) fn new(
        data: Bytes,
        receipts: Vec<(usize, Receipt)>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { left: data, sent: 0, receipts: receipts.into(), progress }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let mut due = this.progress.at_flush.lock();
        if !due.receipts.is_empty() {
            due.next = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let whole = this.sent + this.left.len();
        let end =
            this.receipts.front().map_or(whole, |(end, _)| (*end).clamp(this.sent + 1, whole));
        while let Some((_, receipt)) =
            this.receipts.pop_front_if(|(at, _)| *at <= end || end == whole)
        {
            due.receipts.push(receipt);
        }
        let data = this.left.split_to(end - this.sent);
        this.sent = end;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// What is read of a request before there is a reader for it: most heads fit.
const AHEAD_BYTES_MAX: usize = 1 << 10;

/// A connection that reports its flushes, and breaks off when the client takes too long to read.
#[derive(Debug)]
pub(super) struct Flushing<S> {
    stream: S,
    /// Read already, by [`Self::poll_ahead`].
    ahead: Bytes,
    /// Something was written since the last flush.
    written: bool,
    timer: ConnectionTimer,
    progress: Arc<Progress>,
    write_wait: Duration,
    /// Runs from the first write that the client's side does not take until all are taken: a client
    /// that reads a byte now and then gains nothing.
    blocked: Option<Pin<Box<Sleep>>>,
}

impl<S> Flushing<S> {
    pub(super) fn new(
        stream: S,
        timer: ConnectionTimer,
        progress: Arc<Progress>,
        write_wait: Duration,
    ) -> Self {
        Self {
            stream,
            ahead: Bytes::new(),
            written: false,
            timer,
            progress,
            write_wait,
            blocked: None,
        }
    }

    /// With bytes that were read from it and not used. They are copied: they may be a few, or none, of a
    /// large buffer, which would be kept whole.
    pub(super) fn with_ahead(mut self, ahead: &[u8]) -> Self {
        self.ahead = Bytes::copy_from_slice(ahead);
        self
    }

    /// The outcome of a write, or that it has been waited for long enough.
    fn in_time<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            return outcome;
        }
        self.timer.set_unsent(true);
        let wait = self.write_wait;
        let timer = self.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether a test wants the process to die with half of an answer written.
    fn dies_here(&self) -> bool {
        cfg!(feature = "failpoints")
            && !self.progress.at_flush.lock().receipts.is_empty()
            && failpoint::is_due(Point::MidFlush)
    }
}

impl<S: AsyncWrite + Unpin> Flushing<S> {
    /// Writes the first half of an answer, and dies.
    fn die_half_way(&mut self, cx: &mut Context<'_>, answer: &[u8]) -> ! {
        // A fresh answer meets an empty socket buffer; should it be full, less than half is out.
        let _ = Pin::new(&mut self.stream).poll_write(cx, &answer[..answer.len() / 2]);
        std::process::abort()
    }
}

impl<S: AsyncRead + Unpin> Flushing<S> {
    /// Waits for the first bytes of a request, and keeps them; `false` when the client closed.
    pub(super) async fn begun(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.poll_ahead(cx)).await
    }

    /// Reads some of what comes next, unless there is some; `false` when the client closed.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ahead.is_empty() {
            let mut room = [MaybeUninit::uninit(); AHEAD_BYTES_MAX];
            let mut buf = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            self.ahead = Bytes::copy_from_slice(buf.filled());
        }
        Poll::Ready(Ok(!self.ahead.is_empty()))
    }

    /// A client that closes its side before it was answered is gone: an answer written after that reaches
    /// nobody, and must not be charged. (No client library closes its side and still reads.) hyper looks
    /// for that too, but takes a new buffer for what it may read instead, for each request. The end is not
    /// seen behind bytes that were sent ahead, as it is not by hyper.
    fn check_client(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.progress.whole.load(Relaxed) {
            return Ok(());
        }
        match self.poll_ahead(cx) {
            Poll::Pending | Poll::Ready(Ok(true)) => Ok(()),
            Poll::Ready(Ok(false)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Err(error)) => Err(error),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Flushing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.progress.whole.store(false, Relaxed);
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let taken = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(taken));
        }
        self.timer.stir();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Flushing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_client(cx)?;
        if self.dies_here() {
            self.die_half_way(cx, buf);
        }
        self.written = true;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper comes by here also when there is nothing to flush yet.
        if !self.written {
            return Poll::Ready(self.check_client(cx));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.written = false;
            self.blocked = None;
            self.timer.set_unsent(false);
            let due = std::mem::take(&mut *self.progress.at_flush.lock());
            due.receipts.into_iter().for_each(Receipt::sign);
            due.next.into_iter().for_each(Waker::wake);
        }
        self.in_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(shut_down, cx)
    }
}

/// What was due and never flushed is dropped with the connection, and so reported as undelivered.
impl<S> Drop for Flushing<S> {
    fn drop(&mut self) {
        let due = std::mem::take(&mut *self.progress.at_flush.lock());
        drop(due);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_waits_for_a_flush_with_something_written() {
        let (stream, _client) = tokio::io::duplex(64);
        let wait = Duration::from_secs(1);
        let progress = Arc::new(Progress::default());
        let mut stream = Flushing::new(stream, ConnectionTimer::new(wait), progress.clone(), wait);
        let woken = Arc::new(Woken::default());
        progress.at_flush.lock().next = Some(woken.clone().into());

        stream.flush().await.unwrap();
        assert!(!woken.0.load(Relaxed), "what is due was not written yet");

        stream.write_all(b"OK|a").await.unwrap();
        stream.flush().await.unwrap();
        assert!(woken.0.load(Relaxed));
    }
}
