//! The record's disk: commits take their time, fail for a while, and forget at a crash what was not
//! committed. The rules of `record::store` are kept: writes in order, groups whole or not at all, tried
//! again until they fit.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use solvegate::domain::journal::Write;
use solvegate::record::store::{Committed, Health, Record, Unflushed};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::rng::Rng;
use crate::world::World;

const GROUP_MAX: usize = 512;
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// The disk of one process.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Shared>);

struct Shared {
    world: Arc<World>,
    queue: Mutex<Queue>,
    work: Notify,
    /// The process lives.
    alive: AtomicBool,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Item>,
    in_flight: Vec<Item>,
    failing: bool,
}

struct Item {
    write: Write,
    ack: Option<oneshot::Sender<Committed>>,
    sent_at: Instant,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    pub(crate) fn start(world: &Arc<World>, rng: Rng) -> Self {
        let disk = Self(Arc::new(Shared {
            world: world.clone(),
            queue: Mutex::default(),
            work: Notify::new(),
            alive: AtomicBool::new(true),
        }));
        world.tasks.spawn(disk.clone().run(rng));
        disk
    }

    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.0.queue.lock();
        queue.waiting.is_empty() && queue.in_flight.is_empty()
    }

    /// The process dies; the group under way may have made it.
    pub(crate) fn crash(&self, made_it: bool) {
        self.0.alive.store(false, Ordering::Relaxed);
        let (waiting, group) = {
            let mut queue = self.0.queue.lock();
            (std::mem::take(&mut queue.waiting), std::mem::take(&mut queue.in_flight))
        };
        let lost = waiting.iter().chain(group.iter().filter(|_| !made_it));
        for item in lost {
            self.0.world.trace(|| format!("store: lost {:?}", item.write));
            if matches!(&item.write, Write::Settle(settled) if settled.charged.is_some()) {
                self.0.world.count("charges to be made again after a crash");
            }
        }
        self.0.world.trace(|| format!("store: crash, {} under way, kept: {made_it}", group.len()));
        if made_it {
            for item in group {
                self.0.world.commit(&item.write);
            }
        }
        self.0.work.notify_one();
    }

    fn push(&self, write: Write, ack: Option<oneshot::Sender<Committed>>) {
        if !self.0.alive.load(Ordering::Relaxed) {
            return;
        }
        self.0.world.sent(&write);
        self.0.queue.lock().waiting.push_back(Item { write, ack, sent_at: Instant::now() });
        self.0.work.notify_one();
    }

    async fn run(self, mut rng: Rng) {
        let Shared { world, queue, work, alive } = &*self.0;
        let plan = &world.plan.store;
        loop {
            while queue.lock().waiting.is_empty() {
                if !alive.load(Ordering::Relaxed) {
                    return;
                }
                work.notified().await;
            }
            {
                let mut queue = queue.lock();
                let size = queue.waiting.len().min(GROUP_MAX);
                queue.in_flight = queue.waiting.drain(..size).collect();
            }
            loop {
                let stalls = rng.chance(plan.stall);
                let takes = if stalls { 1_000..=5_000 } else { 0..=plan.commit_max };
                tokio::time::sleep(Duration::from_millis(rng.within(takes))).await;
                if !alive.load(Ordering::Relaxed) {
                    return;
                }
                if !plan.failing.contains(&world.ms()) {
                    break;
                }
                queue.lock().failing = true;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let group = {
                let mut queue = queue.lock();
                queue.failing = false;
                std::mem::take(&mut queue.in_flight)
            };
            world.trace(|| format!("store: {} committed", group.len()));
            for item in group {
                let committed = world.commit(&item.write);
                if let Some(ack) = item.ack {
                    let _ = ack.send(committed);
                }
            }
        }
    }
}

impl Record for Disk {
    fn send(&self, write: Write) {
        self.push(write, None);
    }

    fn durable(&self, write: Write) -> oneshot::Receiver<Committed> {
        let (ack, committed) = oneshot::channel();
        self.push(write, Some(ack));
        committed
    }

    fn health(&self) -> Health {
        let queue = self.0.queue.lock();
        Health {
            failing: queue.failing.then(|| "it fails".to_owned()),
            pending: queue.waiting.len() + queue.in_flight.len(),
            oldest_pending: queue.oldest(),
            ..Health::default()
        }
    }

    fn is_accepting(&self) -> bool {
        let queue = self.0.queue.lock();
        let accepting = !queue.failing && queue.oldest().is_none_or(|age| age <= STALLED_AFTER);
        drop(queue);
        if !accepting {
            self.0.world.store_trouble();
        }
        accepting
    }

    fn close(&self, _: Duration) -> Result<(), Unflushed> {
        Ok(())
    }
}

impl Queue {
    fn oldest(&self) -> Option<Duration> {
        self.in_flight.first().or_else(|| self.waiting.front()).map(|item| item.sent_at.elapsed())
    }
}
