//! Connections that delay, fill up, break in the middle of an answer and end with their process.
//!
//! What is written counts as flushed once it is accepted, as with a kernel's socket buffer: it may
//! still be lost on its way.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::rng::Rng;

/// When the end of a connection came in so long ago, whoever looks has seen it.
const NOTICED_AFTER: Duration = Duration::from_millis(2);

/// What befalls one connection.
#[derive(Debug, Clone)]
pub(crate) struct LinkPlan {
    /// One way, in milliseconds, at most.
    pub(crate) latency_max: u64,
    /// Bytes on their way before a writer has to wait.
    pub(crate) capacity: usize,
    pub(crate) cut: Option<Cut>,
}

/// The connection ends after so many bytes of one side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) side: usize,
    pub(crate) after: usize,
    /// The other side sees a regular end, and not a reset.
    pub(crate) in_order: bool,
}

/// Sees what one side writes.
pub(crate) type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// One connection, for whoever decides on its fate.
#[derive(Clone)]
pub(crate) struct Link(Arc<Mutex<State>>);

struct State {
    plan: LinkPlan,
    rng: Rng,
    /// What each side wrote.
    halves: [Half; 2],
    /// When it breaks, and whether by a reset.
    broken: Option<(Instant, bool)>,
    /// That side's process is gone.
    severed: Option<usize>,
    /// The sidecar began to shut down.
    drained_at: Option<Instant>,
    tap: Option<(usize, Tap)>,
}

#[derive(Default)]
struct Half {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    buffered: usize,
    written: usize,
    last_due: Option<Instant>,
    closed_at: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a connection.
pub(crate) struct End {
    link: Link,
    side: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A connection: its ends, side 0 first.
pub(crate) fn connect(plan: LinkPlan, rng: Rng, tap: Option<(usize, Tap)>) -> (Link, End, End) {
    let state = State {
        plan,
        rng,
        halves: Default::default(),
        broken: None,
        severed: None,
        drained_at: None,
        tap,
    };
    let link = Link(Arc::new(Mutex::new(state)));
    let end = |side| End { link: link.clone(), side, sleep: None };
    (link.clone(), end(0), end(1))
}

impl Link {
    /// Whether it broke by the plan, or because a process died.
    pub(crate) fn is_broken(&self) -> bool {
        let state = self.0.lock();
        state.broken.is_some() || state.severed.is_some()
    }

    /// The sidecar finishes what it is at, and closes.
    pub(crate) fn drain(&self) {
        self.0.lock().drained_at.get_or_insert_with(Instant::now);
    }

    /// Whether a request that was sent at `sent` may have met a connection that was being closed.
    pub(crate) fn was_drained(&self, sent: Instant) -> bool {
        let on_its_way = Duration::from_secs(1);
        self.0.lock().drained_at.is_some_and(|at| sent + on_its_way >= at)
    }

    /// The process of that side dies. The kernel may still deliver what it took.
    pub(crate) fn sever(&self, side: usize, delivers: bool) {
        let mut state = self.0.lock();
        if state.severed.is_some() {
            return;
        }
        state.severed = Some(side);
        if delivers {
            state.close(side);
        } else {
            state.broken = Some((Instant::now(), true));
        }
        state.wake();
    }
}

impl State {
    fn due(&mut self, side: usize) -> Instant {
        let latency = self.rng.within(0..=self.plan.latency_max);
        let due = Instant::now() + Duration::from_millis(latency);
        let due = self.halves[side].last_due.map_or(due, |last| last.max(due));
        self.halves[side].last_due = Some(due);
        due
    }

    fn close(&mut self, side: usize) {
        let due = self.due(side);
        self.halves[side].closed_at.get_or_insert(due);
    }

    fn wake(&mut self) {
        for half in &mut self.halves {
            half.reader.take().into_iter().chain(half.writer.take()).for_each(Waker::wake);
        }
    }

    /// What a reader finds at `now`, or when to look again.
    fn read(&mut self, side: usize, buf: &mut ReadBuf<'_>, now: Instant) -> Found {
        let broken = self.broken;
        if self.severed == Some(side) || broken.is_some_and(|(at, reset)| reset && at <= now) {
            return Found::Reset;
        }
        let half = &mut self.halves[1 - side];
        if let Some((due, chunk)) = half.chunks.front_mut() {
            if *due > now {
                return Found::Later(Some(broken.map_or(*due, |(at, _)| at.min(*due))));
            }
            let taken = chunk.len().min(buf.remaining());
            buf.put_slice(&chunk[..taken]);
            chunk.drain(..taken);
            if chunk.is_empty() {
                half.chunks.pop_front();
            }
            half.buffered -= taken;
            half.writer.take().into_iter().for_each(Waker::wake);
            return Found::Bytes;
        }
        let ends = [half.closed_at, broken.map(|(at, _)| at)].into_iter().flatten().min();
        match ends {
            Some(at) if at <= now => Found::Bytes,
            later => Found::Later(later),
        }
    }

    fn write(&mut self, side: usize, bytes: &[u8], now: Instant) -> io::Result<Option<usize>> {
        if self.severed == Some(side) || self.broken.is_some_and(|(at, _)| at <= now) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.halves[1 - side].closed_at.is_some_and(|at| at + NOTICED_AFTER <= now) {
            // The kernel takes it, and learns by the answer that nobody is there. Whoever reads the end
            // of the connection knows before, so this hands nothing over.
            let due = self.due(side);
            self.broken = Some((due, true));
            self.wake();
            return Ok(Some(bytes.len()));
        }
        let room = self.plan.capacity.saturating_sub(self.halves[side].buffered);
        if room == 0 {
            let hopeless = self.broken.is_some() || self.halves[1 - side].closed_at.is_some();
            return if hopeless { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(None) };
        }
        let accepted = &bytes[..room.min(bytes.len())];
        if let Some((_, tap)) = self.tap.as_mut().filter(|(tapped, _)| *tapped == side) {
            tap(accepted);
        }
        let due = self.due(side);
        let cut = self.plan.cut.filter(|cut| cut.side == side);
        let half = &mut self.halves[side];
        let arrives = cut.map_or(accepted.len(), |cut| cut.after.saturating_sub(half.written));
        let arriving = &accepted[..arrives.min(accepted.len())];
        half.written += accepted.len();
        if self.severed.is_none() && self.broken.is_none() && !arriving.is_empty() {
            half.buffered += arriving.len();
            half.chunks.push_back((due, arriving.to_vec()));
        }
        if let Some(cut) = cut.filter(|_| arriving.len() < accepted.len())
            && self.broken.is_none()
        {
            self.broken = Some((due, !cut.in_order));
            self.wake();
        }
        self.halves[side].reader.take().into_iter().for_each(Waker::wake);
        Ok(Some(accepted.len()))
    }
}

enum Found {
    /// Some bytes, or the end.
    Bytes,
    Reset,
    Later(Option<Instant>),
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let side = self.side;
            let later = {
                let mut state = self.link.0.lock();
                match state.read(side, buf, Instant::now()) {
                    Found::Bytes => return Poll::Ready(Ok(())),
                    Found::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                    Found::Later(later) => {
                        state.halves[1 - side].reader = Some(cx.waker().clone());
                        later
                    }
                }
            };
            let Some(later) = later else { return Poll::Pending };
            let mut sleep = Box::pin(tokio::time::sleep_until(later));
            let slept = sleep.as_mut().poll(cx);
            self.sleep = Some(sleep);
            ready!(slept);
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.link.0.lock();
        match state.write(self.side, bytes, Instant::now()) {
            Ok(Some(size)) => Poll::Ready(Ok(size)),
            Ok(None) => {
                state.halves[self.side].writer = Some(cx.waker().clone());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.link.0.lock();
        state.close(self.side);
        state.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.link.0.lock();
        if state.severed.is_some() {
            return;
        }
        state.close(self.side);
        // Nobody reads what comes now.
        let other = &mut state.halves[1 - self.side];
        other.chunks.clear();
        other.buffered = 0;
        state.wake();
    }
}
