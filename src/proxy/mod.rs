//! The request path: listener, handler, submissions, polls, the way to the provider.

mod flush;
mod handler;
mod hold;
mod listener;
mod poll;
mod refusal;
mod reply;
mod source;
mod submit;
mod timer;
pub mod tls;
mod upstream;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::upstream::Upstream;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::engine::{Asker, Due, PollResult};
use crate::domain::ids::Name;
#[cfg(feature = "seeded-bugs")]
use crate::domain::seeded::{self, Bug};
use crate::gate::Gate;
use crate::wire::secret::Secret;

pub use self::listener::{Limits, serve, serve_stream};
pub use self::upstream::{Answered, Network, Stream, Target, reader};
pub use self::workers::Workers;

/// What clients are given of connections, room and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once, over all data listeners. Further ones are closed at once.
    pub connections: usize,
    /// Large bodies in memory at once, all together, in KiB. Further ones wait for room.
    pub body_room_kib: usize,
    /// For a request's head to come in; also how long a connection may idle.
    pub head_wait: Duration,
    /// For a request's body to come in.
    pub body_wait: Duration,
    /// For an answer to be taken, from the moment at which the client stops reading.
    pub write_wait: Duration,
    /// For a TLS handshake.
    pub handshake_wait: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 10_000,
            body_room_kib: 512 << 10,
            head_wait: Duration::from_mins(1),
            body_wait: Duration::from_secs(30),
            write_wait: Duration::from_mins(1),
            handshake_wait: Duration::from_secs(10),
        }
    }
}

/// Everything that serves a request.
#[derive(Debug)]
pub struct Proxy {
    gate: Arc<Gate>,
    clock: Clock,
    config: Arc<ArcSwap<Config>>,
    upstream: ArcSwap<Upstream>,
    tasks: TaskTracker,
    bounds: Bounds,
    /// Room for large bodies, in KiB.
    body_room: Semaphore,
    /// Cancelled when connections are to end: polls are not held any more.
    let_go: CancellationToken,
}

impl Proxy {
    /// A proxy to `target`, reading `config` as it is at each request. Work that must outlive its client
    /// runs on `tasks`.
    pub fn new(
        gate: Arc<Gate>,
        clock: Clock,
        config: Arc<ArcSwap<Config>>,
        (target, bounds): (Target, Bounds),
        tasks: TaskTracker,
    ) -> Self {
        let upstream = ArcSwap::from_pointee(Upstream::new(target, clock));
        let body_room = Semaphore::new(bounds.body_room_kib);
        let let_go = CancellationToken::new();
        Self { gate, clock, config, upstream, tasks, bounds, body_room, let_go }
    }

    /// Connects to another `target` from here on.
    pub fn redirect(&self, target: Target) {
        self.upstream.store(Arc::new(Upstream::new(target, self.clock)));
    }

    /// Asks the provider about a task that nobody polls.
    pub async fn watch(&self, due: Due) {
        let Some(key) = self.account_key(&due.account) else {
            return self.gate.poll_dropped(due.solve);
        };
        let under_way = UnderWay { gate: self.gate.clone(), solve: due.solve, finished: false };
        let outgoing = crate::wire::request::poll(&due.task, &key, due.form);
        let asking = poll::Asking::begin(self, (&due.account, due.form), outgoing, &[]);
        let asked = asking.answer_in_the_end(self).await;
        // Nobody waits for the answer, so nothing has to be durable before it.
        let (_, pending) = under_way.finish(Asker::Watcher, asked.result, asked.reachable);
        drop(pending);
    }

    /// Closes connections to the provider that idled too long to be used again.
    pub fn close_idle(&self) {
        self.upstream.load().close_idle();
    }

    /// The key to ask the provider with; `None` in pass-through, where the client's own goes on.
    fn key_to_send(&self, account: &Name) -> Result<Option<Secret>, NoKey> {
        if self.gate.policy().pass_through {
            return Ok(None);
        }
        self.account_key(account).map(Some).ok_or(NoKey)
    }

    fn account_key(&self, account: &Name) -> Option<Secret> {
        self.config.load().account_keys.get(account).cloned()
    }
}

/// The account has no key (any more, or while a reload is half-way): a tenant's key must not go out in
/// its place.
#[derive(Debug)]
struct NoKey;

/// A poll under way: unless it is finished, the engine is told that it came to no end.
struct UnderWay {
    gate: Arc<Gate>,
    solve: crate::domain::ids::SolveId,
    finished: bool,
}

impl UnderWay {
    fn finish(
        mut self,
        asker: Asker,
        result: PollResult,
        reachable: bool,
    ) -> (crate::domain::engine::AnswerTo, crate::gate::Pending) {
        self.finished = true;
        self.gate.polled(self.solve, asker, result, reachable)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        #[cfg(feature = "seeded-bugs")]
        if seeded::is_planted(Bug::HoldLostOnCancel) {
            return;
        }
        if !self.finished {
            self.gate.poll_dropped(self.solve);
        }
    }
}
