//! The watcher: times solves out, forgets them, and asks the provider about those that nobody polls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gate::Gate;
use crate::proxy::Proxy;

/// How often it looks. Deadlines are late by this much at most.
const EVERY: Duration = Duration::from_millis(200);
/// Polls of the watcher under way at once: after a restart thousands may be due.
const POLLS_MAX: usize = 32;
/// How often old rows of the log are dropped.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Runs until `stop`.
pub async fn run(
    proxy: Arc<Proxy>,
    gate: Arc<Gate>,
    tasks: TaskTracker,
    keep: Duration,
    stop: CancellationToken,
) {
    let polls = Arc::new(Semaphore::new(POLLS_MAX));
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut prunes = tokio::time::interval(PRUNE_EVERY);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = prunes.tick() => gate.prune(keep),
            _ = ticks.tick() => {}
        }
        proxy.close_idle();
        for due in gate.expire(polls.available_permits()) {
            let (proxy, polls) = (proxy.clone(), polls.clone());
            tasks.spawn(async move {
                let _permit = polls.acquire().await;
                proxy.watch(due).await;
            });
        }
    }
}
