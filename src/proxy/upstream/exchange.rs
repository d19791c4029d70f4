//! One request and its answer, on a connection of the pool or on a new one.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::connection::{Connection, Request};
use super::{Answered, Idle, Kind, POOLS, Upstream, UpstreamError};
use crate::domain::time::Mono;
use crate::proxy::timer::{self, Timer};
use crate::proxy::workers;

/// A request under way. Dropped, it takes its connection with it.
pub(in crate::proxy) struct Exchange {
    upstream: Arc<Upstream>,
    kind: Kind,
    stage: Stage,
    /// Comes with a pooled connection, and goes back with it.
    timer: Option<Timer>,
    pool: usize,
    begun: Mono,
    ended: Option<Mono>,
}

enum Stage {
    /// Nothing went out.
    Begun(Request),
    Connecting(Request, BoxFuture<'static, Result<Box<Connection>, UpstreamError>>),
    /// Anything may have gone out: it is not sent again.
    Sent(Request, Box<Connection>),
    Ended,
}

impl Exchange {
    /// `None` for a request that cannot be sent.
    pub(super) fn new(upstream: Arc<Upstream>, request: Option<Request>, kind: Kind) -> Self {
        let (begun, pool) = (upstream.clock.mono(), workers::place() % POOLS);
        let stage = request.map_or(Stage::Ended, Stage::Begun);
        Self { upstream, kind, stage, timer: None, pool, begun, ended: None }
    }

    /// Waits for the answer; `None`: it took longer than `patience`, and may be waited for further.
    pub(in crate::proxy) async fn answer(
        &mut self,
        patience: Duration,
    ) -> Option<Result<Answered, UpstreamError>> {
        let mut set = false;
        poll_fn(|cx| {
            if let Poll::Ready(answered) = self.poll_answer(cx) {
                return Poll::Ready(Some(answered));
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            if !std::mem::replace(&mut set, true) {
                timer::set(timer, patience);
            }
            timer.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// How long it is under way, or was until the answer came.
    pub(in crate::proxy) fn took(&self) -> Duration {
        self.ended.unwrap_or_else(|| self.upstream.clock.mono()).since(self.begun)
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answered, UpstreamError>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Begun(request) => {
                    let idle = self.upstream.take_idle((self.pool, self.kind), self.begun, cx);
                    self.stage = if let Some(Idle { connection, timer, .. }) = idle {
                        self.timer = timer;
                        Stage::Sent(request, connection)
                    } else {
                        let connecting = Box::pin(self.upstream.clone().connect());
                        Stage::Connecting(request, connecting)
                    };
                }
                Stage::Connecting(request, mut connecting) => {
                    self.stage = match connecting.as_mut().poll(cx) {
                        Poll::Ready(connected) => Stage::Sent(request, connected?),
                        Poll::Pending => {
                            self.stage = Stage::Connecting(request, connecting);
                            return Poll::Pending;
                        }
                    };
                }
                Stage::Sent(mut request, mut connection) => {
                    let Poll::Ready(complete) = connection.poll_exchange(&mut request, cx) else {
                        self.stage = Stage::Sent(request, connection);
                        return Poll::Pending;
                    };
                    let complete = complete?;
                    let since = self.upstream.clock.mono();
                    self.ended = Some(since);
                    if complete.keeps_alive {
                        let idle = Idle { connection, timer: self.timer.take(), since };
                        self.upstream.give_back(self.pool, idle);
                    }
                    return Poll::Ready(Ok(complete.answered));
                }
                Stage::Ended => return Poll::Ready(Err(UpstreamError::Broken)),
            }
        }
    }
}
