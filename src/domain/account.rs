//! What is known of one account at the provider.

use std::time::Duration;

use super::ids::Name;
use super::money::Money;
use super::policy::{AccountPolicy, Threads};
use super::time::{Mono, Wall};

/// Beyond this age what the provider said of an account is stale, and no longer a reason to refuse.
const STALE_AFTER: Duration = Duration::from_mins(1);
/// How long an account is left alone after the provider refused its key: trying on gets the address
/// banned.
const KEY_TROUBLE_FOR: Duration = Duration::from_mins(5);

/// One account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its configured name.
    pub name: Name,
    /// What the operator wrote.
    pub policy: AccountPolicy,
    /// Solves of ours that occupy a thread of it.
    pub in_flight: u32,
    threads: Option<SeenThreads>,
    balance: Option<(Money, Mono)>,
    key_trouble_until: Option<Mono>,
    refreshed_at: Option<Wall>,
}

#[derive(Debug, Clone, Copy)]
struct SeenThreads {
    total: u32,
    working: u32,
    /// Threads busy with solves that are not ours.
    foreign: u32,
    at: Mono,
}

/// What the provider said of an account in one background round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountReport {
    /// Total and working threads, and how many solves of ours were in flight while it was asked.
    Threads {
        /// Threads of the plan.
        total: u32,
        /// Threads busy.
        working: u32,
        /// The larger of our own count before and after the question.
        ours: u32,
    },
    /// The balance in its account.
    Balance(Money),
    /// The provider refused the key.
    KeyRefused,
}

/// Why an account cannot take a solve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountTrouble {
    /// The plan has no threads, or the balance is spent.
    Lapsed,
    /// The provider refused the key not long ago; how long until it is tried again.
    KeyRefused(Duration),
}

impl Account {
    /// An account of which nothing is known.
    pub fn new(name: Name, policy: AccountPolicy) -> Self {
        Self {
            name,
            policy,
            in_flight: 0,
            threads: None,
            balance: None,
            key_trouble_until: None,
            refreshed_at: None,
        }
    }

    /// Takes over what the operator wrote anew; a changed key clears what the old one got into.
    pub fn reconfigure(&mut self, policy: AccountPolicy) {
        if policy.key_hash != self.policy.key_hash {
            (self.key_trouble_until, self.threads, self.balance) = (None, None, None);
        }
        self.policy = policy;
    }

    /// Notes what the provider said.
    pub fn observe(&mut self, report: AccountReport, now: Mono, wall: Wall) {
        match report {
            AccountReport::Threads { total, working, ours } => {
                let foreign = working.saturating_sub(ours);
                self.threads = Some(SeenThreads { total, working, foreign, at: now });
                self.key_trouble_until = None;
                self.refreshed_at = Some(wall);
            }
            AccountReport::Balance(balance) => {
                self.balance = Some((balance, now));
                self.refreshed_at = Some(wall);
            }
            AccountReport::KeyRefused => self.key_trouble_until = Some(now + KEY_TROUBLE_FOR),
        }
    }

    /// Whether every thread is taken, as far as is known: by our own count and, while fresh, by the
    /// provider's.
    pub fn is_busy(&self, now: Mono) -> bool {
        let own = match self.policy.threads {
            Threads::Fixed(max) => Some(max),
            Threads::Auto => None,
        };
        let seen = self.fresh_threads(now).filter(|seen| seen.total > 0);
        let by_provider = seen.map(|seen| seen.total.saturating_sub(seen.foreign));
        [own, by_provider].into_iter().flatten().any(|max| self.in_flight >= max)
    }

    /// Why the account can take no solve at all, if it cannot.
    pub fn trouble(&self, now: Mono) -> Option<AccountTrouble> {
        let wait = self.key_trouble_until.map_or(Duration::ZERO, |until| until.since(now));
        if !wait.is_zero() {
            return Some(AccountTrouble::KeyRefused(wait));
        }
        if !self.policy.balance_precheck {
            return None;
        }
        let no_plan = self.fresh_threads(now).is_some_and(|seen| seen.total == 0);
        let no_money = self.fresh_balance(now).is_some_and(|balance| balance <= Money::ZERO);
        (no_plan || no_money).then_some(AccountTrouble::Lapsed)
    }

    /// Whether the background may ask about this account: not while its key is refused.
    pub fn may_ask(&self, now: Mono) -> bool {
        self.key_trouble_until.is_none_or(|until| until.since(now).is_zero())
    }

    /// Total and working threads as last said; `None` while unknown.
    pub fn threads_seen(&self) -> Option<(u32, u32)> {
        self.threads.map(|seen| (seen.total, seen.working))
    }

    /// Balance as last said; `None` while unknown.
    pub fn balance_seen(&self) -> Option<Money> {
        self.balance.map(|(balance, _)| balance)
    }

    /// When the provider last said anything of it.
    pub fn refreshed_at(&self) -> Option<Wall> {
        self.refreshed_at
    }

    fn fresh_threads(&self, now: Mono) -> Option<SeenThreads> {
        self.threads
            .filter(|seen| self.policy.balance_precheck && now.since(seen.at) <= STALE_AFTER)
    }

    fn fresh_balance(&self, now: Mono) -> Option<Money> {
        self.balance.filter(|(_, at)| now.since(*at) <= STALE_AFTER).map(|(balance, _)| balance)
    }
}
