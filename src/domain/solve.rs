//! One admitted solve: what it holds, how far it has come, and what polls may be told from memory.

use std::net::IpAddr;
use std::sync::Arc;

use super::captcha_type::CaptchaType;
use super::ids::{KeyHash, TaskId};
use super::money::Money;
use super::outcome::Outcome;
use super::time::{Mono, Now};

/// Places in the engine's tables of tenants, their keys and accounts. Stable for the life of the
/// process: what a reload removes keeps its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    pub(super) tenant: u32,
    pub(super) key: u32,
    pub(super) account: u32,
    /// In pass-through, where a task belongs to who submitted it; `None` for a solve from before a restart
    /// until somebody polls it.
    pub(super) holder: Option<Holder>,
}

/// Whose real key it is: half of its hash, as that stands in every solve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Holder([u8; 16]);

impl From<KeyHash> for Holder {
    fn from(KeyHash(hash): KeyHash) -> Self {
        Self(std::array::from_fn(|place| hash[place]))
    }
}

/// Which of the provider's two answer forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `OK|…` or a bare code.
    Text,
    /// `{"status":…,"request":…}`.
    Json,
}

/// An answer of the provider, byte for byte, kept for further polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The form it was asked in.
    pub form: Form,
    /// The HTTP status it came with.
    pub status: u16,
    /// Its `Content-Type`, as sent; `None` where there was none.
    pub content_type: Option<Box<[u8]>>,
    /// Its body.
    pub body: bytes::Bytes,
}

/// What a submission asks for, once identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Who asks.
    pub identity: Identity,
    /// What for.
    pub captcha_type: CaptchaType,
    /// The form in which the client asked; the watcher polls in the same one.
    pub form: Form,
    /// Where from.
    pub source_ip: Option<IpAddr>,
    /// The page's URL, as far as it may be kept.
    pub page: Option<Box<str>>,
    /// The provider itself delivers the answer.
    pub pingback: bool,
}

/// An admitted solve until it is forgotten.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts of their own, each set once")]
pub struct Solve {
    pub(super) submission: Submission,
    pub(super) price: Money,
    pub(super) submitted: Now,
    pub(super) deadline: Mono,
    pub(super) task: Option<TaskId>,
    /// Occupies a thread. Freed by the first terminal answer or at the deadline.
    pub(super) slot: bool,
    /// When it freed it; until then, and where it never had one in this process, when it was submitted.
    pub(super) freed_at: Mono,
    pub(super) verdict: Option<Outcome>,
    pub(super) money: MoneyState,
    /// A success that no client has: until one does, each hand-over waits until it is durable.
    pub(super) unseen: bool,
    /// Restored with an answer that may have been delivered, or need not be to be charged.
    pub(super) confirm: Option<Confirm>,
    pub(super) poll: PollMemory,
    /// The client never learned the id.
    pub(super) uncollected: bool,
    /// The sidecar has no key to ask with (pass-through).
    pub(super) unwatched: bool,
    /// When the wake queue looks at this solve next; other entries for it are stale.
    pub(super) wake_at: Mono,
    pub(super) forget_at: Mono,
}

/// A charge that falls due without a further delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Confirm {
    /// When it does, unless the answer was delivered again before.
    pub(super) at: Mono,
    /// It counts as delivered then: the answer was offered, or the provider delivers it.
    pub(super) delivered: bool,
}

/// How far the money of a solve has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MoneyState {
    /// Held; the provider has no answer yet.
    Held,
    /// Held; an answer exists and was not delivered.
    Ready,
    /// Charged or voided.
    Settled,
}

/// What is remembered between polls of one task.
#[derive(Debug, Clone)]
pub(super) struct PollMemory {
    /// A poll is under way since then.
    pub(super) under_way: bool,
    /// Answers on their way to a client.
    pub(super) offers: u32,
    /// When the last one came back.
    pub(super) back_at: Option<Mono>,
    /// When the owner last asked; the watcher steps in when that is long ago.
    pub(super) asked_at: Mono,
    /// When the watcher asks next.
    pub(super) watch_at: Mono,
    /// The terminal answer.
    pub(super) answer: Option<Arc<Answer>>,
    /// The provider's last word was that the client's proxy failed.
    pub(super) proxy_trouble: Option<Box<str>>,
}

impl Solve {
    /// What one success costs.
    pub fn price(&self) -> Money {
        self.price
    }
}
