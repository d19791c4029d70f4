//! Timers that are set anew for every request. To move one to a later instant is cheap, and not to move it
//! cheaper; to make one and drop it takes the lock of the runtime's timers twice.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::coop;
use tokio::time::Instant;

/// A timer that can be set again.
pub(super) type Timer = Pin<Box<tokio::time::Sleep>>;

/// Sets a timer to go off after `wait`.
pub(super) fn set(timer: &mut Timer, wait: Duration) {
    timer.as_mut().reset(now() + wait);
}

/// A client's connection that has been still for so long gives up what only a request needs.
pub(super) const STILL: Duration = Duration::from_secs(1);

/// The one timer of a client's connection. hyper waits for one thing at a time, a request's head; while
/// it does, the timer tells also whether the connection [has been still](Self::is_still).
#[derive(Debug, Clone)]
pub(super) struct ConnectionTimer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    timer: Mutex<Lazy>,
    /// How long hyper waits for a head.
    head_wait: Duration,
    /// Bytes came in since it began to wait.
    stirred: AtomicBool,
    /// Not all that was written went out.
    unsent: AtomicBool,
    still: AtomicBool,
}

/// A timer that is not moved to a later instant before it went off, but then: most waits are over long
/// before, and to move it for each is dear.
#[derive(Debug)]
struct Lazy {
    timer: Timer,
    /// It wakes the connection's task when it goes off.
    wakes: bool,
}

impl Lazy {
    /// Always in the same task.
    fn poll_at(&mut self, instant: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.wakes && self.timer.deadline() <= instant && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        if self.timer.deadline() != instant {
            self.timer.as_mut().reset(instant);
        }
        let over = self.timer.as_mut().poll(cx);
        // A task that did much at once is told to wait before the timer hears of it.
        self.wakes = over.is_pending() && coop::has_budget_remaining();
        over
    }
}

impl ConnectionTimer {
    pub(super) fn new(head_wait: Duration) -> Self {
        Self(Arc::new(Shared {
            timer: Mutex::new(Lazy {
                timer: Box::pin(tokio::time::sleep(head_wait)),
                wakes: false,
            }),
            head_wait,
            stirred: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
            still: AtomicBool::new(false),
        }))
    }

    /// Whether the latest wait for a head has lasted for [`STILL`] with nothing read, and nothing left
    /// to write, at that moment.
    pub(super) fn is_still(&self) -> bool {
        self.0.still.load(Relaxed)
    }

    /// Bytes were read.
    pub(super) fn stir(&self) {
        self.0.stirred.store(true, Relaxed);
        self.0.still.store(false, Relaxed);
    }

    /// Something is written, or all of it went out.
    pub(super) fn set_unsent(&self, unsent: bool) {
        self.0.unsent.store(unsent, Relaxed);
    }

    /// Goes off after `wait`; not while hyper waits.
    pub(super) async fn after(&self, wait: Duration) {
        let end = now() + wait;
        poll_fn(|cx| self.poll_at(end, cx)).await;
    }

    fn poll_at(&self, instant: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.0.timer.lock().poll_at(instant, cx)
    }
}

impl hyper::rt::Timer for ConnectionTimer {
    fn sleep(&self, wait: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until((now() + wait).into_std())
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.0.stirred.store(false, Relaxed);
        self.0.still.store(false, Relaxed);
        let deadline = Instant::from_std(deadline);
        let still_at = Some(deadline - self.0.head_wait.saturating_sub(STILL));
        Box::pin(Wait { timer: self.clone(), still_at, deadline })
    }

    fn now(&self) -> std::time::Instant {
        now().into_std()
    }
}

/// A wait of hyper's, on the connection's timer.
struct Wait {
    timer: ConnectionTimer,
    /// When to look whether the connection is still; `None` once that is done.
    still_at: Option<Instant>,
    deadline: Instant,
}

impl hyper::rt::Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(still_at) = self.still_at {
            ready!(self.timer.poll_at(still_at, cx));
            self.still_at = None;
            let Shared { stirred, unsent, still, .. } = &*self.timer.0;
            still.store(!stirred.load(Relaxed) && !unsent.load(Relaxed), Relaxed);
        }
        self.timer.poll_at(self.deadline, cx)
    }
}

#[expect(clippy::disallowed_methods, reason = "for timers, which the runtime counts by it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use hyper::rt::Timer as _;

    use super::*;

    const HEAD_WAIT: Duration = Duration::from_mins(1);

    /// Waits for a head; how long until the connection is still, or the wait is over.
    async fn still_after(timer: &ConnectionTimer) -> Option<Duration> {
        let begin = now();
        let mut wait = timer.sleep(HEAD_WAIT);
        poll_fn(|cx| {
            let over = wait.as_mut().poll(cx);
            if timer.is_still() { Poll::Ready(Some(begin.elapsed())) } else { over.map(|()| None) }
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_still_when_nothing_came_and_nothing_is_left_to_send() {
        let timer = ConnectionTimer::new(HEAD_WAIT);
        assert_eq!(still_after(&timer).await, Some(STILL));
        timer.stir();
        assert!(!timer.is_still(), "bytes came");

        timer.set_unsent(true);
        assert_eq!(still_after(&timer).await, None);
        timer.set_unsent(false);
        assert_eq!(still_after(&timer).await, Some(STILL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_set_while_its_task_had_done_much_goes_off() {
        let timer = ConnectionTimer::new(HEAD_WAIT);
        let (begin, mut busy) = (now(), true);
        let over = poll_fn(|cx| {
            while std::mem::take(&mut busy) && coop::has_budget_remaining() {
                busy = std::pin::pin!(coop::consume_budget()).poll(cx).is_ready();
            }
            timer.poll_at(begin + STILL, cx)
        });
        assert_eq!(tokio::time::timeout(HEAD_WAIT, over).await, Ok(()));
        assert_eq!(begin.elapsed(), STILL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_set_for_later_goes_off_then_and_one_for_earlier_too() {
        let timer = ConnectionTimer::new(HEAD_WAIT);
        let begin = now();
        for (first, then) in [(1, 3), (9, 5)] {
            let (first, then) = (Duration::from_secs(first), Duration::from_secs(then));
            poll_fn(|cx| Poll::Ready(timer.poll_at(begin + first, cx).is_pending())).await;
            poll_fn(|cx| timer.poll_at(begin + then, cx)).await;
            assert_eq!(begin.elapsed(), then);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_keeps_the_connection_as_it_is() {
        let timer = ConnectionTimer::new(HEAD_WAIT);
        let begin = now();
        let wait = still_after(&timer);
        let byte = async {
            tokio::time::sleep(STILL / 2).await;
            timer.stir();
        };
        let (still, ()) = tokio::join!(wait, byte);
        assert_eq!((still, begin.elapsed()), (None, HEAD_WAIT));
    }
}
