//! Notices to webhooks, off the request path: looks at the state once a second, says what changed.

mod body;
mod post;
mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::queue::Queue;
use crate::config::{Config, Notify, Secret};
use crate::domain::journal::NotifiedRecord;
use crate::domain::notice::{self, Watch};

pub use self::post::Webhooks;

/// How often the state is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// What is queued at the end is tried for this long: less than chores are waited for.
const LAST_TRIES: Duration = Duration::from_millis(1_800);

/// Says what changed.
#[derive(Debug)]
pub struct Notifier {
    webhooks: Webhooks,
    config: Arc<ArcSwap<Config>>,
    /// What was said before this start.
    records: Vec<NotifiedRecord>,
    hooks: BTreeMap<String, Hook>,
    /// What was said to webhooks that a reload took away.
    resting: BTreeMap<String, Watch>,
    /// One task for each webhook.
    workers: TaskTracker,
    /// The time for queues is over.
    end: CancellationToken,
}

/// One webhook of the config in force.
#[derive(Debug)]
struct Hook {
    config: Notify,
    watch: Watch,
    queue: Arc<Queue>,
}

impl Notifier {
    /// Follows the webhooks of `config` as they are at each look; `records` is what was said before.
    pub fn new(
        webhooks: Webhooks,
        config: Arc<ArcSwap<Config>>,
        records: Vec<NotifiedRecord>,
    ) -> Self {
        Self {
            webhooks,
            config,
            records,
            hooks: BTreeMap::new(),
            resting: BTreeMap::new(),
            workers: TaskTracker::new(),
            end: CancellationToken::new(),
        }
    }

    /// Runs until `stop`, and then until the queues are empty, for a moment at most.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = looks.tick() => self.look(),
            }
        }
        self.hooks.values().for_each(|hook| hook.queue.close());
        self.workers.close();
        if tokio::time::timeout(LAST_TRIES, self.workers.wait()).await.is_err() {
            self.end.cancel();
            self.workers.wait().await;
        }
    }

    fn look(&mut self) {
        self.follow();
        if self.hooks.is_empty() {
            return;
        }
        let gate = &self.webhooks.gate;
        let snapshot = gate.snapshot_in_steps();
        let now = gate.now();
        let facts = notice::facts(&snapshot, now.wall);
        for Hook { config, watch, queue } in self.hooks.values_mut() {
            let seen = watch.look(&facts, &config.events, config.cooldown, now);
            gate.notified(seen.records);
            for (notice, record) in seen.notices {
                tracing::info!(webhook = config.url.masked(), "to be notified: {notice}");
                if let Some(dropped) = queue.push((notice, record)) {
                    self.webhooks.dropped(&dropped.0);
                }
            }
        }
    }

    /// Takes over the webhooks in force.
    fn follow(&mut self) {
        let config = self.config.load_full();
        let mut wanted = BTreeMap::new();
        for webhook in &config.notify {
            let mut id = id_of(webhook);
            while wanted.contains_key(&id) {
                id.push('+');
            }
            wanted.insert(id, webhook);
        }
        for (id, hook) in self.hooks.extract_if(.., |id, _| !wanted.contains_key(id)) {
            hook.queue.drain().iter().for_each(|(notice, _)| self.webhooks.dropped(notice));
            hook.queue.close();
            self.resting.insert(id, hook.watch);
        }
        for (id, webhook) in wanted {
            if let Some(hook) = self.hooks.get_mut(&id) {
                hook.config.clone_from(webhook);
                continue;
            }
            let now = self.webhooks.gate.now();
            let rested = self.resting.remove(&id);
            let watch = rested.unwrap_or_else(|| Watch::restore(&id, &self.records, now));
            let queue = Arc::new(Queue::default());
            let hook = Hook { config: webhook.clone(), watch, queue: queue.clone() };
            self.hooks.insert(id, hook);
            let posting = self.webhooks.clone().work(webhook.clone(), queue, self.end.clone());
            self.workers.spawn(posting);
        }
    }
}

/// The webhook's name in the record: its URL is a secret.
fn id_of(webhook: &Notify) -> String {
    let hash = Secret::new(webhook.url.expose()).sha256();
    format!("{}-{}", hex::encode(&hash.0[..8]), body::format_word(webhook.format))
}
