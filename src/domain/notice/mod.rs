//! What is worth a notice: the state as topics with a level each, and what to say when one changes.
//! [`facts`] says how things are, [`Watch`] decides when something is said of them.

mod facts;
mod watch;

#[cfg(test)]
mod tests;

use std::fmt;

use super::captcha_type::CaptchaType;
use super::ids::Name;
use super::money::Money;
use super::policy::Status;
use super::slo::SloKind;
use super::time::Wall;

pub use facts::{Fact, Figures, Why, facts};
pub use watch::{Seen, Watch};

/// What a webhook may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A change of an SLO's status.
    SloStatus,
    /// A balance at zero, or at or below its threshold.
    LowBalance,
    /// A tenant crossing 80 % or 100 % of an allocation.
    Allocation,
    /// Trouble with an account at the provider, and its end.
    Account,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::SloStatus, Self::LowBalance, Self::Allocation, Self::Account];

    /// The word in config, metrics and bodies.
    pub const fn label(self) -> &'static str {
        match self {
            Self::SloStatus => "slo_status",
            Self::LowBalance => "low_balance",
            Self::Allocation => "allocation",
            Self::Account => "account",
        }
    }
}

/// A limit that is used up over a day or a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allocation {
    /// `daily_limit`
    DailyLimit,
    /// `daily_spend_cap`
    DailySpendCap,
    /// `monthly_spend_cap`
    MonthlySpendCap,
}

impl Allocation {
    /// The word in the config.
    pub const fn label(self) -> &'static str {
        match self {
            Self::DailyLimit => "daily_limit",
            Self::DailySpendCap => "daily_spend_cap",
            Self::MonthlySpendCap => "monthly_spend_cap",
        }
    }
}

/// What a notice is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The status of an error budget.
    SloStatus(CaptchaType, SloKind),
    /// The wallet of a tenant, or of one of its keys.
    Wallet {
        /// Whose.
        tenant: Name,
        /// The key's own wallet; `None`: the tenant's.
        key: Option<Name>,
    },
    /// What an account has at the provider.
    AccountBalance(Name),
    /// A tenant's limit.
    Allocation(Name, Allocation),
    /// Whether an account can be submitted with.
    Account(Name),
}

impl Topic {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::SloStatus(..) => Kind::SloStatus,
            Self::Wallet { .. } | Self::AccountBalance(_) => Kind::LowBalance,
            Self::Allocation(..) => Kind::Allocation,
            Self::Account(_) => Kind::Account,
        }
    }

    /// What shares a cooldown: a tenant's topics of one kind do.
    pub fn shares(&self) -> String {
        let kind = self.kind().label();
        match self {
            Self::SloStatus(captcha_type, slo) => {
                format!("{kind} {} {}", captcha_type.label(), slo.label())
            }
            Self::Wallet { tenant, .. } | Self::Allocation(tenant, _) => {
                format!("{kind} tenant {tenant}")
            }
            Self::AccountBalance(account) | Self::Account(account) => {
                format!("{kind} account {account}")
            }
        }
    }

    /// Its name in the record. Names of the config hold neither a space nor a bar.
    pub fn name(&self) -> String {
        let part = match self {
            Self::Wallet { key: Some(key), .. } => key,
            Self::Allocation(_, allocation) => allocation.label(),
            Self::SloStatus(..)
            | Self::Wallet { key: None, .. }
            | Self::AccountBalance(_)
            | Self::Account(_) => "",
        };
        format!("{}|{part}", self.shares())
    }

    /// Whether a change is said. A balance that rises and a new day only make the next fall worth it.
    fn is_said(&self, old: Level, new: Level) -> bool {
        match self.kind() {
            Kind::SloStatus | Kind::Account => old != new,
            Kind::LowBalance | Kind::Allocation => new > old,
        }
    }
}

/// How bad it is, the worst last; which of them occur depends on the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing to say: healthy, up, enough left.
    Fine,
    /// A balance at or below its threshold.
    Low,
    /// A balance of nothing.
    Zero,
    /// 80 % of an allocation.
    Most,
    /// All of an allocation.
    Full,
    /// An account that cannot be used.
    Down,
    /// An error budget's status.
    Warning,
    /// The same.
    Critical,
    /// The same.
    Exhausted,
}

impl Level {
    const ALL: [Self; 9] = [
        Self::Fine,
        Self::Low,
        Self::Zero,
        Self::Most,
        Self::Full,
        Self::Down,
        Self::Warning,
        Self::Critical,
        Self::Exhausted,
    ];

    /// Its word in the record.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Low => "low",
            Self::Zero => "zero",
            Self::Most => "most",
            Self::Full => "full",
            Self::Down => "down",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Exhausted => "exhausted",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.label() == word)
    }

    /// The word for an error budget's status.
    pub const fn status(self) -> &'static str {
        if matches!(self, Self::Fine) { "healthy" } else { self.label() }
    }

    const fn of_status(status: Status) -> Self {
        match status {
            Status::Healthy => Self::Fine,
            Status::Warning => Self::Warning,
            Status::Critical => Self::Critical,
            Status::Exhausted => Self::Exhausted,
        }
    }

    fn of_balance(balance: Money, threshold: Option<Money>) -> Self {
        if balance <= Money::ZERO {
            Self::Zero
        } else if threshold.is_some_and(|threshold| balance <= threshold) {
            Self::Low
        } else {
            Self::Fine
        }
    }

    fn of_share(used: i128, limit: i128) -> Self {
        if used >= limit {
            Self::Full
        } else if used * 5 >= limit * 4 {
            Self::Most
        } else {
            Self::Fine
        }
    }
}

/// Something to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What about.
    pub topic: Topic,
    /// How it was when last something was said of it.
    pub old: Level,
    /// How it is.
    pub new: Level,
    /// In figures.
    pub figures: Figures,
    /// Since when it is known.
    pub at: Wall,
}

/// One short sentence.
impl fmt::Display for Notice {
    #[expect(clippy::float_arithmetic, reason = "a share as percent, for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topic {
            Topic::SloStatus(captcha_type, slo) => {
                let (captcha_type, slo) = (captcha_type.label(), slo.label());
                let (old, new) = (self.old.status(), self.new.status());
                write!(f, "{captcha_type} {slo}: error budget {new} (was {old})")?;
            }
            Topic::Wallet { tenant, key: None } => write!(f, "tenant {tenant}: balance")?,
            Topic::Wallet { tenant, key: Some(key) } => {
                write!(f, "tenant {tenant}, key {key}: balance")?;
            }
            Topic::AccountBalance(account) => {
                write!(f, "account {account}: balance at the provider")?;
            }
            Topic::Allocation(tenant, allocation) => {
                let percent = if self.new == Level::Full { 100 } else { 80 };
                write!(f, "tenant {tenant}: {percent} % of {} reached", allocation.label())?;
            }
            Topic::Account(account) if self.new == Level::Fine => {
                write!(f, "account {account} is up again")?;
            }
            Topic::Account(account) => write!(f, "account {account} is down")?,
        }
        match self.figures {
            Figures::Budget { remaining_ratio } => {
                write!(f, ", {:.1} % of it left", remaining_ratio * 100.0)
            }
            Figures::Balance { balance, threshold: Some(threshold) } if self.new == Level::Low => {
                write!(f, " {balance} USD, at or below {threshold} USD")
            }
            Figures::Balance { balance, .. } => write!(f, " {balance} USD: nothing is left"),
            Figures::Solves { .. } | Figures::Spent { .. } => write!(f, ", {}", self.figures),
            Figures::Account { why: Some(why) } => write!(f, ": {}", why.sentence()),
            Figures::Account { why: None } => Ok(()),
        }
    }
}
