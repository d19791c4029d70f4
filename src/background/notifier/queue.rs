//! What waits for one webhook: bounded, the oldest goes first.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::domain::journal::NotifiedRecord;
use crate::domain::notice::Notice;

/// Notices that may wait for one webhook.
pub(super) const WAITING_MAX: usize = 256;

/// A notice, and what is to be recorded when it was taken.
pub(super) type Waiting = (Notice, NotifiedRecord);

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Waiting>>,
    more: tokio::sync::Notify,
    closed: CancellationToken,
}

impl Queue {
    /// Adds one; the oldest, when there is no more room.
    pub(super) fn push(&self, notice: Waiting) -> Option<Waiting> {
        let mut waiting = self.waiting.lock();
        let oldest = if waiting.len() >= WAITING_MAX { waiting.pop_front() } else { None };
        waiting.push_back(notice);
        self.more.notify_one();
        oldest
    }

    /// The next one, waited for; `None` once the queue is closed and empty.
    pub(super) async fn next(&self) -> Option<Waiting> {
        loop {
            if let Some(next) = self.waiting.lock().pop_front() {
                return Some(next);
            }
            if self.closed.is_cancelled() {
                return None;
            }
            tokio::select! {
                () = self.more.notified() => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Everything that is left.
    pub(super) fn drain(&self) -> VecDeque<Waiting> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notice::{Figures, Level, Topic};
    use crate::domain::time::Wall;

    fn notice(number: usize) -> Waiting {
        let at = Wall(i64::try_from(number).unwrap());
        let topic = Topic::Account("main".into());
        let figures = Figures::Account { why: None };
        let record = NotifiedRecord { about: String::new(), at };
        (Notice { topic, old: Level::Down, new: Level::Fine, figures, at }, record)
    }

    #[tokio::test]
    async fn a_full_queue_gives_up_the_oldest() {
        let queue = Queue::default();
        for number in 0..WAITING_MAX {
            assert_eq!(queue.push(notice(number)), None);
        }

        assert_eq!(queue.push(notice(WAITING_MAX)), Some(notice(0)));

        queue.close();
        for number in 1..=WAITING_MAX {
            assert_eq!(queue.next().await, Some(notice(number)));
        }
        assert_eq!(queue.next().await, None);
    }
}
