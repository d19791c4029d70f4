//! What the operator allows, checked and resolved: nothing here needs validating again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::captcha_type::{CaptchaType, CaptchaTypes};
use super::ids::{KeyHash, Name};
use super::money::Money;
use super::outcome::Outcome;
use super::time::Wall;

/// Everything that decisions depend on.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Accounts at the provider, by name. Empty only in [`pass_through`](Self::pass_through).
    pub accounts: BTreeMap<Name, AccountPolicy>,
    /// Tenants by name. Shared, as there may be many: a change of one copies one.
    pub tenants: BTreeMap<Name, Arc<TenantPolicy>>,
    /// No tenant is configured: every key is forwarded as it is, as tenant `default`, and nothing is
    /// enforced. `tenants` then holds just `default`; `accounts` has a `default` without a key beside
    /// those configured.
    pub pass_through: bool,
    /// Error-budget objectives per captcha type.
    pub slo: SloPolicy,
    /// The zone of calendar days and months.
    pub time_zone: TimeZone,
    /// Least time between two polls of one task at the provider.
    pub poll_spacing: Duration,
    /// How long after its submission an unsettled solve is still chargeable, and remembered.
    pub forget_after: Duration,
    /// The operator's own outcome for a provider code (`error_classes:`), by exact code.
    pub error_classes: BTreeMap<String, Outcome>,
    /// Keys that were taken back, or will be, each from that instant on: refused wherever else they stand.
    pub revoked: BTreeMap<KeyHash, Wall>,
}

/// One real key at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPolicy {
    /// The SHA-256 of the real key, to recognise traffic that keeps it; `None` in pass-through.
    pub key_hash: Option<KeyHash>,
    /// Solves that may be in flight at once.
    pub threads: Threads,
    /// Refuse submissions while the provider says that the account cannot solve.
    pub balance_precheck: bool,
    /// Notify at or below this balance; `None`: only at zero.
    pub low_balance_below: Option<Money>,
    /// The plan's price and size, for allocating its true cost.
    pub plan: Option<Plan>,
}

/// How many solves an account may have in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// What the provider's `threadsinfo` says; unlimited while that is unknown.
    Auto,
    /// A fixed number, at least 1.
    Fixed(u32),
}

/// A thread plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Dollars a month.
    pub monthly_cost: Money,
    /// Threads bought, at least 1.
    pub threads: u32,
}

/// A customer, team or project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPolicy {
    /// The account that pays; always a key of [`Policy::accounts`].
    pub account: Name,
    /// Limits of the tenant as a whole.
    pub limits: Limits,
    /// Solves of low priority are the first to be paused.
    pub priority: Priority,
    /// `false`: decide and count, let everything pass.
    pub enforce: bool,
    /// How a refusal is put.
    pub rejections: RejectionForm,
    /// What makes a solve chargeable.
    pub charge: Charge,
    /// Whether the prepaid balance must cover holds too.
    pub overdraft: Overdraft,
    /// Traffic under `/t/<tenant>/` may carry the account's real key.
    pub accept_account_key: bool,
    /// What one success costs, resolved for every type.
    pub prices: PriceList,
    /// Virtual keys by id.
    pub keys: BTreeMap<Name, KeyPolicy>,
}

impl TenantPolicy {
    /// A tenant without keys and without limits; the rest as a config has it that says nothing of it.
    pub fn new(account: Name, prices: PriceList) -> Self {
        Self {
            account,
            limits: Limits::default(),
            priority: Priority::Normal,
            enforce: true,
            rejections: RejectionForm::Provider,
            charge: Charge::Delivered,
            overdraft: Overdraft::None,
            accept_account_key: false,
            prices,
            keys: BTreeMap::new(),
        }
    }
}

/// A tenant's virtual API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy {
    /// All that is known of the key itself.
    pub hash: KeyHash,
    /// Hashes of further secrets that are this key too, made by rerolls.
    pub rerolls: Vec<KeyHash>,
    /// Limits of this key alone; the tenant's hold besides.
    pub limits: Limits,
    /// The tenant's priority when the key names none.
    pub priority: Priority,
    /// Source networks; empty means any.
    pub allow_from: Vec<IpNet>,
    /// From this instant on the key is refused; `None` means never.
    pub expires: Option<Wall>,
}

impl KeyPolicy {
    /// A key without limits, good for ever and from anywhere.
    pub fn new(hash: KeyHash) -> Self {
        Self {
            hash,
            rerolls: Vec::new(),
            limits: Limits::default(),
            priority: Priority::Normal,
            allow_from: Vec::new(),
            expires: None,
        }
    }

    /// Every hash that is this key.
    pub fn hashes(&self) -> impl Iterator<Item = KeyHash> {
        std::iter::once(self.hash).chain(self.rerolls.iter().copied())
    }
}

/// Limits of a tenant or of one key. `None` is no limit; zero is "nothing at all".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Admissions over time.
    pub rate: Option<Rate>,
    /// Solves charged plus solves in flight, per calendar day.
    pub daily_limit: Option<u64>,
    /// Solves in flight at once.
    pub in_flight_max: Option<u32>,
    /// Money charged plus money held, per calendar day.
    pub daily_spend_cap: Option<Money>,
    /// The same per calendar month.
    pub monthly_spend_cap: Option<Money>,
    /// A balance that every solve is paid from.
    pub prepaid: Option<Prepaid>,
    /// Types that may be submitted (a subtype also through its family); `None` means all.
    pub allow_types: Option<CaptchaTypes>,
}

/// A rate limit, decided by GCRA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained admissions per minute, at least 1.
    pub per_minute: u32,
    /// Admissions at once after a pause, at least 1.
    pub burst: u32,
}

/// A prepaid balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepaid {
    /// Credited once, when the wallet is first seen; zero or more. A later change of it changes nothing.
    pub opening_balance: Money,
    /// Notify at or below this balance; `None`: only at zero.
    pub low_balance_below: Option<Money>,
}

/// Who is paused first when an error budget runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the contract")]
pub enum Priority {
    Critical,
    Normal,
    Background,
}

/// How a refusal is put to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionForm {
    /// As the provider would: HTTP 200 and an error code in the body.
    Provider,
    /// The same body under a status of its own (400, 401, 402, 403, 413, 429, 503).
    Http,
}

/// What makes a solve chargeable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// An answer whose bytes reached the client.
    Delivered,
    /// An answer at the provider, fetched or not.
    Solved,
}

/// What a prepaid balance must cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdraft {
    /// The price after everything held: the balance never goes below zero.
    None,
    /// One price: overdraft is at most solves in flight × price.
    InFlight,
}

/// What one success costs, per type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceList {
    by_type: [Money; CaptchaType::ALL.len()],
}

impl PriceList {
    /// Resolves prices: a type's own, else its family's, else `default`.
    pub fn resolve(default: Money, own: &BTreeMap<CaptchaType, Money>) -> Self {
        let by_type = CaptchaType::ALL.map(|captcha_type| {
            own.get(&captcha_type)
                .or_else(|| own.get(&captcha_type.family()))
                .copied()
                .unwrap_or(default)
        });
        Self { by_type }
    }

    /// What one success of that type costs.
    pub fn price(&self, captcha_type: CaptchaType) -> Money {
        self.by_type[captcha_type.index()]
    }
}

/// Objectives per captcha type, and what to do when an error budget burns.
#[derive(Debug, Clone, PartialEq)]
pub struct SloPolicy {
    /// For every type without an objective of its own.
    pub default: Slo,
    /// Types with their own, already merged with `default`.
    pub types: BTreeMap<CaptchaType, Slo>,
    /// The first rule that matches acts.
    pub rules: Vec<PolicyRule>,
    /// While paused, one solve per type is admitted this often.
    pub probe_every: Duration,
}

impl SloPolicy {
    /// The SLO of that type, its own or the default.
    pub fn slo(&self, captcha_type: CaptchaType) -> &Slo {
        self.types.get(&captcha_type).unwrap_or(&self.default)
    }
}

/// One service level objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slo {
    /// Share of good events to reach, above 0 and below 1.
    pub objective: f64,
    /// Length of the rolling window, 1 m to 30 d.
    pub window: Duration,
    /// A solve that is not terminal this long after its submission is a `timeout`.
    pub deadline: Duration,
    /// Below this many events no policy acts and no status but healthy is claimed.
    pub min_events: u64,
    /// Status `warning` below this share of error budget left.
    pub warning_below: f64,
    /// Status `critical` below this share of error budget left.
    pub critical_below: f64,
    /// A second objective on time to answer.
    pub latency: Option<LatencySlo>,
}

/// Share of solves that must be answered within a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencySlo {
    /// Longest good duration.
    pub threshold: Duration,
    /// Share of good events to reach, above 0 and below 1.
    pub objective: f64,
}

/// One rule of the error budget policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyRule {
    /// When it acts.
    pub when: PolicyCondition,
    /// What it does.
    pub action: PolicyAction,
}

/// When a policy rule acts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PolicyCondition {
    /// At this status or worse.
    Status(Status),
    /// Burn rate over a window strictly above a factor.
    BurnRateAbove {
        /// The factor.
        factor: f64,
        /// The window: 5m, 30m, 1h, 2h, 6h, 1d or 3d.
        over: Duration,
    },
}

/// What a policy rule does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PolicyAction {
    /// Admits this share of submissions, 0 to 1.
    Throttle(f64),
    /// Refuses what is not `critical`.
    PauseNonCritical,
    /// Refuses everything but probes.
    Pause,
}

/// How much error budget is left, in four steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the contract")]
pub enum Status {
    Healthy,
    Warning,
    Critical,
    Exhausted,
}
