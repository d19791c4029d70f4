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
/// After that, how long one request is waited for that tries the key again.
const KEY_PROBE_FOR: Duration = Duration::from_secs(10);

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
    /// A request is out that tries the refused key again; all others wait for its answer.
    key_probe: bool,
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
            key_probe: false,
            refreshed_at: None,
        }
    }

    /// Takes over what the operator wrote anew; a changed key clears what the old one got into.
    pub fn reconfigure(&mut self, policy: AccountPolicy) {
        if policy.key_hash != self.policy.key_hash {
            (self.key_trouble_until, self.threads, self.balance) = (None, None, None);
            self.key_probe = false;
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
                self.key_probe = false;
                self.refreshed_at = Some(wall);
            }
            AccountReport::Balance(balance) => {
                self.balance = Some((balance, now));
                self.refreshed_at = Some(wall);
            }
            AccountReport::KeyRefused => {
                self.key_trouble_until = Some(now + KEY_TROUBLE_FOR);
                self.key_probe = false;
            }
        }
    }

    /// Notes that a request goes out with the key. After trouble with it that is the probe, and the only
    /// one: what waits meanwhile would get the address banned all at once.
    pub fn try_key(&mut self, now: Mono) {
        if self.key_trouble_until.is_some() && self.may_ask(now) {
            self.key_trouble_until = Some(now + KEY_PROBE_FOR);
            self.key_probe = true;
        }
    }

    /// Notes that the provider served a request. Without a probe it says nothing: the request may be
    /// from before the trouble.
    pub fn key_worked(&mut self) {
        if self.key_probe {
            self.key_trouble_until = None;
            self.key_probe = false;
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

    /// Whether the provider refused the key and did not take it since.
    pub fn is_key_refused(&self) -> bool {
        self.key_trouble_until.is_some()
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
        self.threads.filter(|seen| now.since(seen.at) <= STALE_AFTER)
    }

    fn fresh_balance(&self, now: Mono) -> Option<Money> {
        self.balance.filter(|(_, at)| now.since(*at) <= STALE_AFTER).map(|(balance, _)| balance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::KeyHash;

    const START: Mono = Mono(1_000_000_000_000);
    const TODAY: Wall = Wall(1_795_262_400_000);

    fn account(threads: Threads) -> Account {
        let policy = AccountPolicy {
            key_hash: Some(KeyHash([9; 32])),
            threads,
            balance_precheck: true,
            low_balance_below: None,
            plan: None,
        };
        Account::new("main".into(), policy)
    }

    fn threads(total: u32, working: u32, ours: u32) -> AccountReport {
        AccountReport::Threads { total, working, ours }
    }

    /// How many solves of ours fit.
    fn room(account: &mut Account, now: Mono) -> u32 {
        account.in_flight = 0;
        while !account.is_busy(now) && account.in_flight < 100 {
            account.in_flight += 1;
        }
        account.in_flight
    }

    #[test]
    fn unknown_threads_limit_nothing() {
        assert_eq!(room(&mut account(Threads::Auto), START), 100);
        assert_eq!(room(&mut account(Threads::Fixed(3)), START), 3);
    }

    #[test]
    fn threads_busy_with_others_are_not_ours_to_take() {
        for (report, fits) in [
            (threads(15, 0, 0), 15),
            (threads(15, 6, 2), 11),
            (threads(15, 2, 6), 15),
            (threads(15, 15, 0), 0),
            (threads(15, 20, 0), 0),
        ] {
            let mut account = account(Threads::Auto);
            account.observe(report, START, TODAY);
            assert_eq!(room(&mut account, START), fits, "{report:?}");
        }
    }

    #[test]
    fn the_smaller_of_the_operators_and_the_providers_number_counts() {
        let mut account = account(Threads::Fixed(10));
        account.observe(threads(4, 0, 0), START, TODAY);
        assert_eq!(room(&mut account, START), 4);
        account.observe(threads(40, 0, 0), START, TODAY);
        assert_eq!(room(&mut account, START), 10);
    }

    #[test]
    fn what_is_stale_refuses_nothing_and_is_still_shown() {
        let mut account = account(Threads::Auto);
        assert_eq!(account.balance_seen(), None);
        account.observe(threads(0, 0, 0), START, TODAY);
        account.observe(AccountReport::Balance(Money::ZERO), START, TODAY);
        assert_eq!(account.trouble(START + STALE_AFTER), Some(AccountTrouble::Lapsed));

        let stale = START + STALE_AFTER + Duration::from_nanos(1);

        assert_eq!(account.trouble(stale), None);
        assert_eq!(account.threads_seen(), Some((0, 0)));
        assert_eq!(account.balance_seen(), Some(Money::ZERO));
        assert_eq!(account.refreshed_at(), Some(TODAY));
    }

    #[test]
    fn a_lapsed_plan_is_trouble_and_not_busy() {
        let mut account = account(Threads::Auto);
        account.observe(threads(0, 0, 0), START, TODAY);
        assert!(!account.is_busy(START));
        account.observe(threads(5, 0, 0), START, TODAY);
        assert_eq!(account.trouble(START), None);
        account.observe(AccountReport::Balance(Money::from_micros(-1)), START, TODAY);
        assert_eq!(account.trouble(START), Some(AccountTrouble::Lapsed));
    }

    #[test]
    fn without_the_precheck_only_a_refused_key_is_trouble() {
        let mut account = account(Threads::Auto);
        account.policy.balance_precheck = false;
        account.observe(threads(0, 0, 0), START, TODAY);
        account.observe(AccountReport::Balance(Money::ZERO), START, TODAY);
        assert_eq!(account.trouble(START), None);

        account.observe(AccountReport::KeyRefused, START, TODAY);
        assert_eq!(account.trouble(START), Some(AccountTrouble::KeyRefused(KEY_TROUBLE_FOR)));
        assert!(!account.may_ask(START));
    }

    #[test]
    fn a_key_that_is_accepted_again_is_used_at_once() {
        let mut account = account(Threads::Auto);
        account.observe(AccountReport::KeyRefused, START, TODAY);
        account.observe(AccountReport::Balance(Money::from_micros(1)), START, TODAY);
        assert!(account.trouble(START).is_some(), "the balance may be from before");
        account.observe(threads(5, 0, 0), START, TODAY);
        assert_eq!(account.trouble(START), None);
        assert!(account.may_ask(START));
    }

    #[test]
    fn after_a_while_one_request_tries_a_refused_key_and_the_rest_wait_for_it() {
        let mut account = account(Threads::Auto);
        account.observe(AccountReport::KeyRefused, START, TODAY);
        account.key_worked();
        assert!(!account.may_ask(START), "what was on its way proves nothing");
        let later = START + KEY_TROUBLE_FOR;
        assert!(account.may_ask(later));

        account.try_key(later);

        assert!(!account.may_ask(later));
        assert_eq!(account.trouble(later), Some(AccountTrouble::KeyRefused(KEY_PROBE_FOR)));
        assert!(account.may_ask(later + KEY_PROBE_FOR), "a probe that is lost is not the last");
        account.key_worked();
        assert_eq!(account.trouble(later), None);
        account.try_key(later);
        assert!(account.may_ask(later), "a key that works is asked with as often as needed");
    }

    #[test]
    fn a_changed_key_clears_what_was_known_and_an_unchanged_one_nothing() {
        let mut account = account(Threads::Auto);
        account.observe(threads(0, 0, 0), START, TODAY);
        account.observe(AccountReport::KeyRefused, START, TODAY);

        account.reconfigure(account.policy.clone());
        assert!(account.trouble(START).is_some());
        account.reconfigure(AccountPolicy { key_hash: None, ..account.policy.clone() });

        assert_eq!(account.trouble(START), None);
        assert_eq!(account.threads_seen(), None);
    }
}
