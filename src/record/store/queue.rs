//! What waits to be written, and the figures of [`Health`]: plain data under one short lock.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::writer::report_conflict;
use super::{Committed, MonoClock};
use crate::domain::journal::Write;
use crate::domain::time::Mono;

/// How many writes may wait before [`Store::is_accepting`](super::Store::is_accepting) says no.
const PENDING_MAX: usize = 100_000;

/// A write that waits longer than this says that the disk hangs, although nothing failed.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// How many writes go into one transaction: a few milliseconds of work.
const GROUP_MAX: usize = 512;

/// How the store is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Why nothing can be committed at the moment; `None`: all is well.
    pub failing: Option<String>,
    /// Writes that were sent and are not committed.
    pub pending: usize,
    /// How long the oldest of them has waited.
    pub oldest_pending: Option<Duration>,
    /// Groups committed since the start.
    pub commits: u64,
    /// Attempts to commit that failed since the start.
    pub failures: u64,
    /// Writes that contradicted the record and were left out, since the start.
    pub conflicts: u64,
    /// The size of the database and its write-ahead log.
    pub size_bytes: u64,
}

/// Answers a durable write.
pub(super) type Ack = oneshot::Sender<Committed>;

/// Runs on the writer's connection.
#[cfg(test)]
pub(super) type Hook = Box<dyn FnOnce(&rusqlite::Connection) + Send>;

struct Item {
    write: Write,
    ack: Option<Ack>,
    sent_at: Mono,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Open,
    /// No more writes are taken; those that wait are flushed.
    Closed,
    /// The writer must not begin another attempt.
    Abandoned,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Item>,
    /// What the writer is committing; kept here too, so that nothing is lost should it die.
    in_flight: Arc<Vec<Write>>,
    in_flight_since: Mono,
    phase: Phase,
    /// The writer is gone.
    stopped: bool,
    /// Ends the present wait between two attempts.
    hurry: bool,
    failing: Option<String>,
    /// What a check of the file found.
    damaged: Option<String>,
    commits: u64,
    failures: u64,
    conflicts: u64,
    size_bytes: u64,
    #[cfg(test)]
    hooks: VecDeque<Hook>,
}

/// Between the callers and the writer.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Something for an idle writer to do.
    work: Condvar,
    /// A reason to try again before the wait is over.
    retry: Condvar,
    stopped: Condvar,
    clock: MonoClock,
    /// Held as long as anybody may write.
    lock: File,
}

/// Writes to be committed together.
pub(super) struct Group {
    pub(super) writes: Arc<Vec<Write>>,
    pub(super) acks: Vec<Option<Ack>>,
}

/// What the writer does next.
pub(super) enum Next {
    Commit(Group),
    /// Nothing waits.
    Idle,
    /// Nothing waits and nothing will come.
    Stop,
}

impl Shared {
    pub(super) fn new(clock: MonoClock, lock: File) -> Self {
        Self {
            queue: Mutex::default(),
            work: Condvar::new(),
            retry: Condvar::new(),
            stopped: Condvar::new(),
            clock,
            lock,
        }
    }

    pub(super) fn push(&self, write: Write, ack: Option<Ack>) {
        let sent_at = (self.clock)();
        let mut queue = self.queue.lock();
        if queue.phase != Phase::Open {
            queue.conflicts += 1;
            drop(queue);
            report_conflict(&write, "it came after the store was closed");
            return;
        }
        queue.waiting.push_back(Item { write, ack, sent_at });
        drop(queue);
        self.work.notify_one();
    }

    pub(super) fn health(&self) -> Health {
        let now = (self.clock)();
        let queue = self.queue.lock();
        Health {
            failing: queue.failing.clone().or_else(|| queue.damaged.clone()),
            pending: queue.pending(),
            oldest_pending: queue.oldest_pending(now),
            commits: queue.commits,
            failures: queue.failures,
            conflicts: queue.conflicts,
            size_bytes: queue.size_bytes,
        }
    }

    pub(super) fn is_accepting(&self) -> bool {
        let now = (self.clock)();
        let queue = self.queue.lock();
        queue.failing.is_none()
            && queue.damaged.is_none()
            && queue.phase == Phase::Open
            && queue.pending() <= PENDING_MAX
            && queue.oldest_pending(now).is_none_or(|age| age <= STALLED_AFTER)
    }

    /// The file is damaged: nothing makes that good while this runs.
    pub(super) fn damaged(&self, what: &str) {
        let mut queue = self.queue.lock();
        queue.failures += 1;
        queue.damaged = Some(format!("the file is damaged: {what}"));
    }

    /// What opening the file found: conflicts while spill files were applied, and its size.
    pub(super) fn opened(&self, conflicts: u64, size_bytes: u64) {
        let mut queue = self.queue.lock();
        queue.conflicts += conflicts;
        queue.size_bytes = size_bytes;
    }

    /// The next group, waiting for one if `wait`.
    pub(super) fn next(&self, wait: bool) -> Next {
        let mut queue = self.queue.lock();
        while wait && queue.has_nothing_to_do() {
            self.work.wait(&mut queue);
        }
        if queue.phase == Phase::Abandoned
            || (queue.phase == Phase::Closed && queue.waiting.is_empty())
        {
            return Next::Stop;
        }
        let Some(front) = queue.waiting.front() else { return Next::Idle };
        queue.in_flight_since = front.sent_at;
        let size = queue.waiting.len().min(GROUP_MAX);
        let (writes, acks): (Vec<_>, Vec<_>) =
            queue.waiting.drain(..size).map(|item| (item.write, item.ack)).unzip();
        let writes = Arc::new(writes);
        queue.in_flight = Arc::clone(&writes);
        Next::Commit(Group { writes, acks })
    }

    /// The group is in the record.
    pub(super) fn committed(&self, conflicts: u64, size_bytes: u64) {
        let mut queue = self.queue.lock();
        queue.in_flight = Arc::default();
        queue.conflicts += conflicts;
        queue.succeeded();
        queue.size_bytes = size_bytes;
    }

    /// A step of pruning is in the record.
    pub(super) fn pruned(&self) {
        self.queue.lock().succeeded();
    }

    /// An attempt failed: notes why and waits. `false`: give up.
    pub(super) fn failed(&self, why: String, backoff: Duration) -> bool {
        let mut queue = self.queue.lock();
        queue.failures += 1;
        if queue.failing.is_none() {
            tracing::error!(why, "the store cannot be written; trying again until it can");
        }
        queue.failing = Some(why);
        self.retry.wait_while_for(&mut queue, |queue| !queue.hurry, backoff);
        queue.hurry = false;
        queue.phase != Phase::Abandoned
    }

    /// The writer is gone, whatever the reason.
    pub(super) fn writer_stopped(&self) {
        let mut queue = self.queue.lock();
        queue.stopped = true;
        if queue.phase == Phase::Open {
            queue.failing = Some("the writer died; restart the process".to_owned());
        }
        self.stopped.notify_all();
    }

    /// Takes no more writes and waits until the writer is through with them. Gives back what is left at
    /// the deadline, and whether the writer is gone.
    pub(super) fn close(&self, deadline: Duration) -> (Vec<Write>, bool) {
        let mut queue = self.queue.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Closed;
        }
        self.wake(&mut queue);
        self.stopped.wait_while_for(&mut queue, |queue| !queue.stopped, deadline);
        if !queue.stopped {
            queue.phase = Phase::Abandoned;
            self.wake(&mut queue);
        }
        let in_flight = std::mem::take(&mut queue.in_flight);
        let waiting = std::mem::take(&mut queue.waiting);
        let stopped = queue.stopped;
        drop(queue);
        let left = in_flight.iter().cloned().chain(waiting.into_iter().map(|item| item.write));
        (left.filter(|write| !matches!(write, Write::Prune(_))).collect(), stopped)
    }

    fn wake(&self, queue: &mut MutexGuard<'_, Queue>) {
        queue.hurry = true;
        self.work.notify_all();
        self.retry.notify_all();
    }
}

#[cfg(test)]
impl Shared {
    pub(super) fn hook(&self, hook: Hook) {
        let mut queue = self.queue.lock();
        queue.hooks.push_back(hook);
        self.wake(&mut queue);
    }

    pub(super) fn is_committing(&self) -> bool {
        !self.queue.lock().in_flight.is_empty()
    }

    pub(super) fn take_hook(&self) -> Option<Hook> {
        self.queue.lock().hooks.pop_front()
    }
}

impl Shared {
    /// Leaves the record to others: nobody here writes any more, though requests that were cut off may
    /// hold this for a moment.
    pub(super) fn unlock(&self) {
        let _ = self.lock.unlock();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Closing alone would leave it to a child that another thread is just starting.
        self.unlock();
    }
}

impl Queue {
    fn pending(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    fn oldest_pending(&self, now: Mono) -> Option<Duration> {
        let sent_at = if self.in_flight.is_empty() {
            self.waiting.front().map(|item| item.sent_at)
        } else {
            Some(self.in_flight_since)
        };
        sent_at.map(|sent_at| now.since(sent_at))
    }

    fn has_nothing_to_do(&self) -> bool {
        #[cfg(test)]
        if self.hooks.front().is_some() {
            return false;
        }
        self.waiting.is_empty() && self.phase == Phase::Open
    }

    fn succeeded(&mut self) {
        self.commits += 1;
        if self.failing.take().is_some() {
            tracing::info!(failures = self.failures, "the store can be written again");
        }
    }
}
