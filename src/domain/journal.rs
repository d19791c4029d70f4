//! What the core asks to be written down, and what it is given back at start.
//!
//! One solve leaves this trail: [`Write::Bind`] (before its task id is answered), [`Write::Verdict`]
//! (its outcome, once; for a success before the answer), [`Write::Offer`] (the answer is on its way),
//! [`Write::Settle`] (charged or voided, once), [`Write::Forget`]. A hold that is voided because its
//! time is over is forgotten first and settled then.

use std::net::IpAddr;
use std::time::Duration;

use jiff::civil::Date;

use super::captcha_type::CaptchaType;
use super::ids::{KeyHash, Name, SolveId, TaskId};
use super::money::Money;
use super::outcome::{Outcome, SliEvent};
use super::slo::SliRow;
use super::time::Wall;

/// One change to the record. Writes are applied in the order in which they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A submission was accepted by the provider: from here on the solve survives a crash.
    Bind(TaskRecord),
    /// The first outcome of a solve (its row in the log), and the SLI events that come with it.
    Verdict(SolveRecord),
    /// A success is ready at the provider although the verdict was another (a late answer).
    Ready(SolveId),
    /// A success is being handed to the client (`true`; of a settled task it changes nothing), or that
    /// attempt is known to have failed (`false`).
    Offer(SolveId, bool),
    /// The money of a solve: charged or voided.
    Settle(SettleRecord),
    /// Nothing more can happen to the task; its row among the open tasks goes.
    Forget(SolveId),
    /// Money that is no charge: an opening balance, a credit, an adjustment.
    Credit(CreditRecord),
    /// A key that was made or taken back at run time; a second write for the same hash changes only
    /// when it ends.
    Key(KeyRecord),
    /// When a webhook was last posted about something, so that its cooldown outlives a restart.
    Notified(NotifiedRecord),
    /// Drops log rows of solves submitted before that instant. The ledger stays.
    Prune(Wall),
}

/// An accepted solve, as it is kept among the open tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// The solve.
    pub solve: SolveId,
    /// The account it was submitted with.
    pub account: Name,
    /// The provider's id; for `solve.php`, which has none, `sync-<solve>`.
    pub task_id: TaskId,
    /// Who pays.
    pub tenant: Name,
    /// The key it came with.
    pub key_id: Name,
    /// What it is for.
    pub captcha_type: CaptchaType,
    /// What one success costs; fixed at admission.
    pub price: Money,
    /// When it was submitted.
    pub submitted_at: Wall,
    /// Where it came from.
    pub source_ip: Option<IpAddr>,
    /// The page's URL, as far as `log.urls` lets it be kept.
    pub page: Option<String>,
    /// The provider itself calls the client back with the answer.
    pub pingback: bool,
    /// How far it has come. At [`Write::Bind`] always [`TaskState::Open`].
    pub state: TaskState,
    /// The outcome, once there is one. At [`Write::Bind`] it is set only where the client was told of
    /// a failure before the provider's id came in.
    pub verdict: Option<Outcome>,
}

/// How far an accepted solve has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Nothing delivered, nothing settled.
    Open,
    /// The provider has the answer; no client was handed it.
    Ready,
    /// The answer went to a client; whether it arrived is not confirmed. Charged once, at the latest a
    /// grace time after a restart.
    Offered,
    /// Charged or voided; kept so that its owner may still fetch the answer.
    Settled,
}

/// One row of the log of solves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolveRecord {
    /// The solve; the row's key.
    pub solve: SolveId,
    /// The account it was submitted with.
    pub account: Name,
    /// `None` where the provider gave no id.
    pub task_id: Option<TaskId>,
    /// Who pays.
    pub tenant: Name,
    /// The key it came with.
    pub key_id: Name,
    /// What it is for.
    pub captcha_type: CaptchaType,
    /// How it ended.
    pub outcome: Outcome,
    /// The provider's error code, or our word for what went wrong; `None` on success.
    pub error_code: Option<String>,
    /// From submission to verdict.
    pub duration: Duration,
    /// What one success costs.
    pub price: Money,
    /// When it was submitted.
    pub submitted_at: Wall,
    /// When the verdict fell.
    pub ended_at: Wall,
    /// Where it came from.
    pub source_ip: Option<IpAddr>,
    /// The page's URL, as far as `log.urls` lets it be kept.
    pub page: Option<String>,
    /// What it counts as for the success SLO; `None`: no event.
    pub success_event: Option<SliEvent>,
    /// What it counts as for the latency SLO; `None`: no event, or no such SLO.
    pub latency_event: Option<SliEvent>,
}

/// The money of a solve, settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleRecord {
    /// The solve.
    pub solve: SolveId,
    /// The account it was submitted with.
    pub account: Name,
    /// The charge's identity, with `account`: the ledger holds one charge for the pair.
    pub task_id: TaskId,
    /// Who pays.
    pub tenant: Name,
    /// The key it came with.
    pub key_id: Name,
    /// What it is for.
    pub captcha_type: CaptchaType,
    /// What was charged; `None`: the hold was voided.
    pub charged: Option<Money>,
    /// The answer reached the client (or the provider delivered it by pingback).
    pub delivered: bool,
    /// When it was settled.
    pub at: Wall,
    /// The calendar day, in the configured zone, that the charge counts towards.
    pub day: Date,
    /// How long the solve held a thread of its account.
    pub thread_time: Duration,
}

/// A change to a prepaid balance that is no charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditRecord {
    /// Unique: a second write with the same cause changes nothing.
    pub cause: String,
    /// Opening, credit or adjustment.
    pub kind: CreditKind,
    /// Whose wallet.
    pub tenant: Name,
    /// The key's own wallet; `None`: the tenant's.
    pub key_id: Option<Name>,
    /// How much; negative only for an adjustment.
    pub amount: Money,
    /// When.
    pub at: Wall,
    /// Who did it and why, for people.
    pub note: String,
}

/// A key that was made, or taken back, at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// All that is known of the secret.
    pub hash: KeyHash,
    /// Whose it is.
    pub tenant: Name,
    /// Which key of the tenant's; one key has several hashes after a reroll.
    pub key_id: Name,
    /// When it was made; for a key of the config, when it was first touched.
    pub created_at: Wall,
    /// Refused from then on, which may be in the future (a reroll's overlap); `None`: not.
    pub revoked_at: Option<Wall>,
    /// The key's settings as JSON, in the words of the config's key section; `None`: the config has them.
    pub settings: Option<String>,
    /// Who did it and why, for people.
    pub note: String,
}

impl KeyRecord {
    /// Whether the secret is refused as of `now`.
    pub fn is_revoked(&self, now: Wall) -> bool {
        self.revoked_at.is_some_and(|at| at <= now)
    }
}

/// When a webhook was last posted about something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifiedRecord {
    /// What about: a webhook, a kind and a name, as one text.
    pub about: String,
    /// When.
    pub at: Wall,
}

/// The kinds of ledger entry that are no charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the ledger")]
pub enum CreditKind {
    Opening,
    Credit,
    Adjustment,
}

/// What the record gives back at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Tasks that were not forgotten yet, by solve.
    pub tasks: Vec<TaskRecord>,
    /// Money put into each wallet (openings, credits, adjustments), charges not yet taken off.
    pub wallets: Vec<WalletTotal>,
    /// Money and solves charged, per tenant and key.
    pub charged: Vec<ChargedTotal>,
    /// Money and solves charged on days that are yet to come, per tenant, key and day.
    pub charged_later: Vec<ChargedLater>,
    /// The causes of all ledger entries that are no charge.
    pub credit_causes: Vec<String>,
    /// SLI events per minute, of the last 31 days.
    pub sli: Vec<SliRow>,
    /// Keys that were made or taken back at run time, by tenant, key and time of making.
    pub keys: Vec<KeyRecord>,
    /// When webhooks were last posted, by what about.
    pub notified: Vec<NotifiedRecord>,
    /// The first solve id that was never used.
    pub next_solve: u64,
}

/// Money put into one wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletTotal {
    /// Whose.
    pub tenant: Name,
    /// The key's own wallet; `None`: the tenant's.
    pub key_id: Option<Name>,
    /// Openings, credits and adjustments together.
    pub amount: Money,
}

/// What was charged to one tenant over one of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargedTotal {
    /// Who paid.
    pub tenant: Name,
    /// Over which key.
    pub key_id: Name,
    /// Solves charged on the current calendar day.
    pub day_solves: u64,
    /// Money charged on the current calendar day.
    pub day_spent: Money,
    /// Money charged in the current calendar month.
    pub month_spent: Money,
    /// Money charged ever.
    pub total_spent: Money,
}

/// What was charged to one tenant over one of its keys on a day after the current one: the clock, or the
/// zone's day, went back since. [`ChargedTotal`] has it too, except as money of the day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargedLater {
    /// Who paid.
    pub tenant: Name,
    /// Over which key.
    pub key_id: Name,
    /// The day.
    pub day: Date,
    /// Solves charged.
    pub solves: u64,
    /// Money charged.
    pub spent: Money,
}
