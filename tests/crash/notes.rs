//! What the clients know: every submission, and every answer that came in full or was cut.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::tenants::{Key, Kind};

/// What a submission wishes from the simulated provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Solved,
    Unsolvable,
    Never,
    RefusedAtSubmit,
}

/// What came of a submission, as its client knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Submitted {
    /// Not answered yet, or the connection ended before the answer did.
    Unknown,
    /// By the sidecar for that reason, or (`None`) by the provider.
    Refused(Option<String>),
    /// With this id; for a synchronous solve there is none.
    Accepted(Option<String>),
}

/// One submission. Its number marks it everywhere: in the page's URL, in the provider's log, in the
/// record and in the answer.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub(crate) key: &'static Key,
    pub(crate) kind: Kind,
    pub(crate) wish: Wish,
    pub(crate) submitted: Submitted,
    /// Answers with the solution that came in full.
    pub(crate) delivered: u32,
    /// Polls (or synchronous submissions) whose connection ended before the answer did.
    pub(crate) cut: u32,
    /// The same with a part of the answer received.
    pub(crate) cut_in_the_answer: u32,
    /// When the first of them was noticed, if the solution had not come whole before or in it (one of
    /// several in a reply, each is charged as it goes out): milliseconds since the epoch.
    pub(crate) cut_at: Option<i64>,
}

impl Note {
    pub(crate) fn price(&self) -> i64 {
        self.kind.price(self.key.tenant)
    }
}

/// Shared by all clients.
#[derive(Debug)]
pub(crate) struct Notes {
    all: Mutex<Vec<Note>>,
    faults: Mutex<Vec<String>>,
    /// Requests sent and answers received.
    events: watch::Sender<u64>,
    requests: AtomicU64,
}

impl Notes {
    pub(crate) fn new() -> Self {
        Self {
            all: Mutex::default(),
            faults: Mutex::default(),
            events: watch::Sender::new(0),
            requests: AtomicU64::new(0),
        }
    }

    /// A new submission; its number.
    pub(crate) fn submits(&self, key: &'static Key, kind: Kind, wish: Wish) -> usize {
        let mut notes = self.all.lock();
        notes.push(Note {
            key,
            kind,
            wish,
            submitted: Submitted::Unknown,
            delivered: 0,
            cut: 0,
            cut_in_the_answer: 0,
            cut_at: None,
        });
        notes.len() - 1
    }

    pub(crate) fn change(&self, number: usize, change: impl FnOnce(&mut Note)) {
        change(&mut self.all.lock()[number]);
    }

    pub(crate) fn note(&self, number: usize) -> Note {
        self.all.lock()[number].clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.all.lock().len()
    }

    /// Something that must not have been answered.
    pub(crate) fn fault(&self, text: String) {
        self.faults.lock().push(text);
    }

    /// A request was sent, or an answer came.
    pub(crate) fn event(&self) {
        self.events.send_modify(|events| *events += 1);
    }

    pub(crate) fn events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    pub(crate) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Everything, at the end.
    pub(crate) fn read(&self) -> (Vec<Note>, Vec<String>) {
        (self.all.lock().clone(), self.faults.lock().clone())
    }
}

/// The mark of a submission, as it stands in its page's URL and its answer.
pub(crate) fn mark(number: usize) -> String {
    format!("mark{number:08}")
}

/// The number of the submission whose mark stands somewhere in `text`.
pub(crate) fn number_in(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("mark")?;
    rest.get(..8)?.parse().ok()
}
