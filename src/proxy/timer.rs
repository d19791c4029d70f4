//! Timers that are set anew for every request. To move one to a later instant is a single store; to make
//! one and drop it takes the lock of the runtime's timers twice.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A timer that can be set again.
pub(super) type Timer = Pin<Box<tokio::time::Sleep>>;

/// Sets a timer to go off after `wait`.
pub(super) fn set(timer: &mut Timer, wait: Duration) {
    timer.as_mut().reset(now() + wait);
}

/// The one timer of a client's connection. hyper waits for one thing at a time, a request's head.
#[derive(Debug, Clone)]
pub(super) struct ConnectionTimer(Arc<Mutex<Timer>>);

impl ConnectionTimer {
    /// A timer whose first wait is about as long as `wait`.
    pub(super) fn new(wait: Duration) -> Self {
        Self(Arc::new(Mutex::new(Box::pin(tokio::time::sleep(wait)))))
    }
}

impl hyper::rt::Timer for ConnectionTimer {
    fn sleep(&self, wait: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until((now() + wait).into_std())
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Wait { timer: self.0.clone(), deadline: Instant::from_std(deadline) })
    }

    fn now(&self) -> std::time::Instant {
        now().into_std()
    }
}

/// A wait of hyper's, on the connection's timer.
struct Wait {
    timer: Arc<Mutex<Timer>>,
    deadline: Instant,
}

impl hyper::rt::Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.lock();
        if timer.deadline() != self.deadline {
            timer.as_mut().reset(self.deadline);
        }
        timer.as_mut().poll(cx)
    }
}

#[expect(clippy::disallowed_methods, reason = "for timers, which the runtime counts by it")]
fn now() -> Instant {
    Instant::now()
}
