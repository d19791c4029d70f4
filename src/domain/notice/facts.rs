//! How things are: every topic with its level and figures.

use std::fmt;
use std::time::Duration;

use super::{Allocation, Level, Topic};
use crate::domain::engine::{AccountView, Snapshot, TenantView};
use crate::domain::money::Money;
use crate::domain::time::Wall;

/// For this long what the provider said of an account says that it is up.
pub(super) const FRESH_FOR: Duration = Duration::from_mins(1);

/// Why an account is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The provider does not answer.
    Unreachable,
    /// The provider refuses the real key.
    KeyRefused,
    /// The plan has no threads, or the balance is spent.
    Lapsed,
}

impl Why {
    /// For programs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::KeyRefused => "key_refused",
            Self::Lapsed => "lapsed",
        }
    }

    /// For people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Unreachable => "the provider cannot be reached",
            Self::KeyRefused => "the provider refuses its key",
            Self::Lapsed => "its plan has lapsed or its balance is spent",
        }
    }
}

/// The figures of a notice.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Figures {
    Budget { remaining_ratio: f64 },
    Balance { balance: Money, threshold: Option<Money> },
    Solves { used: u64, limit: u64 },
    Spent { used: Money, limit: Money },
    Account { why: Option<Why> },
}

/// One topic as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Which.
    pub topic: Topic,
    /// How it is; `None` while that is not known.
    pub level: Option<Level>,
    /// In figures.
    pub figures: Figures,
}

impl Figures {
    /// How much of an allocation is used, and what it is, in the same unit.
    pub fn of_allocation(&self) -> Option<(i128, i128)> {
        match *self {
            Self::Solves { used, limit } => Some((used.into(), limit.into())),
            Self::Spent { used, limit } => Some((used.micros().into(), limit.micros().into())),
            Self::Budget { .. } | Self::Balance { .. } | Self::Account { .. } => None,
        }
    }
}

/// As people read it beside its topic.
impl fmt::Display for Figures {
    #[expect(clippy::float_arithmetic, reason = "a share as percent, for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget { remaining_ratio } => {
                write!(f, "{:.1} % of the error budget is left", remaining_ratio * 100.0)
            }
            Self::Balance { balance, threshold: Some(threshold) } => {
                write!(f, "{balance} USD left, low at {threshold} USD or less")
            }
            Self::Balance { balance, threshold: None } => write!(f, "{balance} USD left"),
            Self::Solves { used, limit } => write!(f, "{used} of {limit} solves charged or open"),
            Self::Spent { used, limit } => write!(f, "{used} of {limit} USD charged or held"),
            Self::Account { why } => f.write_str(why.map_or("up", Why::sentence)),
        }
    }
}

impl Fact {
    /// Whether an allocation is by less than a twentieth below the `told` level. What is set aside for open
    /// solves comes and goes: that is neither a fall nor, when it is there again, news.
    pub(super) fn is_just_below(&self, told: Level) -> bool {
        self.figures.of_allocation().is_some_and(|(used, limit)| {
            self.level < Some(told) && Level::of_share(used * 20 + limit, limit * 20) >= told
        })
    }
}

/// Everything that a notice may be about, as it is.
pub fn facts(snapshot: &Snapshot, now: Wall) -> Vec<Fact> {
    let budgets = snapshot.slos.iter().map(|report| Fact {
        topic: Topic::SloStatus(report.captcha_type, report.slo),
        level: Some(Level::of_status(report.status)),
        figures: Figures::Budget { remaining_ratio: report.remaining_ratio },
    });
    let mut facts: Vec<_> = budgets.collect();
    snapshot.tenants.iter().for_each(|tenant| of_tenant(tenant, &mut facts));
    for account in &snapshot.accounts {
        of_account(account, snapshot.upstream_open, now, &mut facts);
    }
    facts
}

fn of_tenant(tenant: &TenantView, facts: &mut Vec<Fact>) {
    let limits = &tenant.limits;
    let own = limits.prepaid.zip(tenant.balance);
    let own = own.map(|(prepaid, balance)| (None, balance, prepaid.low_balance_below));
    let keys = tenant.key_wallets.iter();
    let keys = keys.map(|key| (Some(key.key.clone()), key.balance, key.low_balance_below));
    for (key, balance, threshold) in own.into_iter().chain(keys) {
        facts.push(Fact {
            topic: Topic::Wallet { tenant: tenant.name.clone(), key },
            level: Some(Level::of_balance(balance, threshold)),
            figures: Figures::Balance { balance, threshold },
        });
    }
    // A limit of zero is no allocation but a lock.
    if let Some(limit) = limits.daily_limit.filter(|limit| *limit > 0) {
        let used = tenant.used.day_solves;
        facts.push(Fact {
            topic: Topic::Allocation(tenant.name.clone(), Allocation::DailyLimit),
            level: Some(Level::of_share(used.into(), limit.into())),
            figures: Figures::Solves { used, limit },
        });
    }
    for (allocation, used, cap) in [
        (Allocation::DailySpendCap, tenant.used.day_spend, limits.daily_spend_cap),
        (Allocation::MonthlySpendCap, tenant.used.month_spend, limits.monthly_spend_cap),
    ] {
        if let Some(limit) = cap.filter(|cap| *cap > Money::ZERO) {
            let share = Level::of_share(used.micros().into(), limit.micros().into());
            facts.push(Fact {
                topic: Topic::Allocation(tenant.name.clone(), allocation),
                level: Some(share),
                figures: Figures::Spent { used, limit },
            });
        }
    }
}

fn of_account(account: &AccountView, unreachable: bool, now: Wall, facts: &mut Vec<Fact>) {
    let threshold = account.balance_minimum;
    facts.push(Fact {
        topic: Topic::AccountBalance(account.name.clone()),
        level: account.balance.map(|balance| Level::of_balance(balance, threshold)),
        figures: Figures::Balance { balance: account.balance.unwrap_or_default(), threshold },
    });
    // A refused key is tried again after a while; that it counts as up until then ends no trouble.
    let why = match (account.up, unreachable, account.key_refused) {
        (_, true, _) => Some(Why::Unreachable),
        (_, false, true) => Some(Why::KeyRefused),
        (false, false, false) => Some(Why::Lapsed),
        (true, false, false) => None,
    };
    // Nor does that nothing is known of it, as after a start.
    let is_fresh = account.refreshed_at.is_some_and(|at| now.since(at) <= FRESH_FOR);
    let is_known = why.is_some() || is_fresh || !account.is_asked;
    let level = if why.is_some() { Level::Down } else { Level::Fine };
    facts.push(Fact {
        topic: Topic::Account(account.name.clone()),
        level: is_known.then_some(level),
        figures: Figures::Account { why },
    });
}
