use std::time::Duration;

use super::facts::FRESH_FOR;
use super::*;
use crate::domain::engine::{AccountView, KeyWallet, Snapshot, TenantView};
use crate::domain::journal::NotifiedRecord;
use crate::domain::policy::{Limits, Prepaid};
use crate::domain::time::{Mono, Now};

const START: Now = Now { mono: Mono(1_000_000_000_000), wall: Wall(1_796_079_600_000) };
const COOLDOWN: Duration = Duration::from_mins(5);
const ID: &str = "hook-json";

fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

fn balance(level: Level) -> Fact {
    of("acme", level)
}

fn of(tenant: &str, level: Level) -> Fact {
    Fact {
        topic: Topic::Wallet { tenant: tenant.into(), key: None },
        level: Some(level),
        figures: Figures::Balance { balance: usd("1.5"), threshold: Some(usd("5")) },
    }
}

fn status(level: Level) -> Fact {
    Fact {
        topic: Topic::SloStatus(CaptchaType::Turnstile, SloKind::Success),
        level: Some(level),
        figures: Figures::Budget { remaining_ratio: 0.25 },
    }
}

fn account(level: Option<Level>) -> Fact {
    let figures = Figures::Account { why: None };
    Fact { topic: Topic::Account("main".into()), level, figures }
}

/// A webhook, what it is told and what is on record.
struct Hook {
    watch: Watch,
    records: Vec<NotifiedRecord>,
    now: Now,
}

impl Hook {
    /// Has seen that all is fine.
    fn fine() -> Self {
        let watch = Watch::restore(ID, &[], START);
        let mut hook = Self { watch, records: Vec::new(), now: START };
        assert_eq!(hook.look(&[]), []);
        hook
    }

    /// What is said, each as old and new level.
    fn look(&mut self, facts: &[Fact]) -> Vec<(Level, Level)> {
        let seen = self.watch.look(facts, &Kind::ALL, COOLDOWN, self.now);
        self.records.extend(seen.records);
        let notices = seen.notices.into_iter().map(|(notice, record)| {
            self.records.push(record);
            (notice.old, notice.new)
        });
        notices.collect()
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now = self.now + time;
        self
    }

    fn restarted(&mut self) -> &mut Self {
        // The record keeps the latest of each, in no order of time.
        self.records.sort_by(|a, b| (&a.about, a.at).cmp(&(&b.about, b.at)));
        self.watch = Watch::restore(ID, &self.records, self.now);
        self
    }
}

fn snapshot(limits: Limits, change: impl FnOnce(&mut TenantView)) -> Snapshot {
    let mut tenant = TenantView::idle("acme", limits);
    change(&mut tenant);
    Snapshot { tenants: vec![tenant], ..Snapshot::default() }
}

fn levels(snapshot: &Snapshot) -> Vec<Option<Level>> {
    facts(snapshot, START.wall).into_iter().map(|fact| fact.level).collect()
}

#[test]
fn a_balance_is_low_at_its_threshold_and_zero_at_nothing() {
    let wallet = |threshold: Option<&str>, balance: &str| {
        let low_balance_below = threshold.map(usd);
        let prepaid = Prepaid { opening_balance: Money::ZERO, low_balance_below };
        let limits = Limits { prepaid: Some(prepaid), ..Limits::default() };
        let own = snapshot(limits.clone(), |tenant| tenant.balance = Some(usd(balance)));
        let key = snapshot(Limits::default(), |tenant| {
            let balance = usd(balance);
            tenant.key_wallets = vec![KeyWallet { key: "a".into(), balance, low_balance_below }];
        });
        assert_eq!(levels(&own), levels(&key));
        levels(&own)
    };

    assert_eq!(wallet(Some("5"), "5.000001"), [Some(Level::Fine)]);
    assert_eq!(wallet(Some("5"), "5"), [Some(Level::Low)]);
    assert_eq!(wallet(Some("5"), "0.000001"), [Some(Level::Low)]);
    assert_eq!(wallet(Some("5"), "0"), [Some(Level::Zero)]);
    assert_eq!(wallet(None, "0.000001"), [Some(Level::Fine)]);
    assert_eq!(wallet(None, "0"), [Some(Level::Zero)]);
}

#[test]
fn an_allocation_is_crossed_at_exactly_80_and_100_percent() {
    let daily = |used: u64, limit: u64| {
        let limits = Limits { daily_limit: Some(limit), ..Limits::default() };
        levels(&snapshot(limits, |tenant| tenant.used.day_solves = used))
    };
    assert_eq!(daily(79, 100), [Some(Level::Fine)]);
    assert_eq!(daily(80, 100), [Some(Level::Most)]);
    assert_eq!(daily(99, 100), [Some(Level::Most)]);
    assert_eq!(daily(100, 100), [Some(Level::Full)]);
    assert_eq!(daily(2, 3), [Some(Level::Fine)]);
    assert_eq!(daily(u64::MAX, u64::MAX), [Some(Level::Full)]);
    assert_eq!(daily(0, 0), [], "nothing is allowed, so nothing is used up");

    let spent = |used: &str, month: &str| {
        let limits = Limits {
            daily_spend_cap: Some(usd("5")),
            monthly_spend_cap: Some(usd("50")),
            ..Limits::default()
        };
        levels(&snapshot(limits, |tenant| {
            (tenant.used.day_spend, tenant.used.month_spend) = (usd(used), usd(month));
        }))
    };
    assert_eq!(spent("3.999999", "39.999999"), [Some(Level::Fine); 2]);
    assert_eq!(spent("4", "50"), [Some(Level::Most), Some(Level::Full)]);
}

#[test]
fn an_account_is_up_only_once_the_provider_says_so() {
    let account = AccountView {
        name: "main".into(),
        in_flight: 0,
        up: true,
        key_refused: false,
        threads: None,
        balance: None,
        balance_minimum: None,
        is_asked: true,
        refreshed_at: Some(START.wall),
    };
    let level = |account: AccountView, upstream_open: bool| {
        let snapshot = Snapshot {
            tenants: Vec::new(),
            accounts: vec![account],
            upstream_open,
            ..snapshot(Limits::default(), |_| ())
        };
        let facts = facts(&snapshot, START.wall + FRESH_FOR);
        assert_eq!(facts[0].level, None, "its balance is not known");
        (facts[1].level, facts[1].figures)
    };
    let why = |why| Figures::Account { why };

    assert_eq!(level(account.clone(), false), (Some(Level::Fine), why(None)));
    let long_ago = Some(Wall(START.wall.0 - 1));
    let stale = AccountView { refreshed_at: long_ago, ..account.clone() };
    assert_eq!(level(stale, false).0, None);
    let unasked = AccountView { refreshed_at: None, ..account.clone() };
    assert_eq!(level(unasked.clone(), false).0, None);
    let pass_through = AccountView { is_asked: false, ..unasked };
    assert_eq!(level(pass_through, false).0, Some(Level::Fine));
    let down = AccountView { up: false, ..account.clone() };
    assert_eq!(level(down.clone(), false), (Some(Level::Down), why(Some(Why::Lapsed))));
    assert_eq!(level(down, true), (Some(Level::Down), why(Some(Why::Unreachable))));
    let refused = AccountView { key_refused: true, ..account };
    assert_eq!(level(refused, false), (Some(Level::Down), why(Some(Why::KeyRefused))));
}

#[test]
fn what_is_still_so_is_said_once() {
    let mut hook = Hook::fine();
    assert_eq!(hook.look(&[balance(Level::Low)]), [(Level::Fine, Level::Low)]);
    assert_eq!(hook.look(&[balance(Level::Low)]), []);
    assert_eq!(hook.after(COOLDOWN * 10).look(&[balance(Level::Low)]), []);
}

#[test]
fn a_balance_that_rose_is_said_again_when_it_falls_but_not_within_the_cooldown() {
    let mut hook = Hook::fine();
    hook.look(&[balance(Level::Low)]);
    assert_eq!(hook.look(&[balance(Level::Fine)]), [], "a rise is no news");
    let just_before = COOLDOWN.saturating_sub(Duration::from_nanos(1));
    assert_eq!(hook.after(just_before).look(&[balance(Level::Low)]), []);
    let waited = hook.after(Duration::from_nanos(1)).look(&[balance(Level::Low)]);
    assert_eq!(waited, [(Level::Fine, Level::Low)]);
}

#[test]
fn what_gets_worse_within_the_cooldown_is_said_after_it() {
    let mut hook = Hook::fine();
    hook.look(&[balance(Level::Low)]);
    assert_eq!(hook.look(&[balance(Level::Zero)]), []);
    let said = hook.after(COOLDOWN).look(&[balance(Level::Zero)]);
    assert_eq!(said, [(Level::Low, Level::Zero)]);
    assert_eq!(hook.look(&[balance(Level::Low)]), [], "a little credit is no news");
    let said = hook.after(COOLDOWN).look(&[balance(Level::Zero)]);
    assert_eq!(said, [(Level::Low, Level::Zero)]);
}

#[test]
fn a_status_is_said_both_ways_and_the_latest_after_a_cooldown() {
    let mut hook = Hook::fine();
    assert_eq!(hook.look(&[status(Level::Warning)]), [(Level::Fine, Level::Warning)]);
    assert_eq!(hook.look(&[status(Level::Exhausted)]), []);
    assert_eq!(hook.look(&[status(Level::Critical)]), []);
    let said = hook.after(COOLDOWN).look(&[status(Level::Critical)]);
    assert_eq!(said, [(Level::Warning, Level::Critical)]);
    let said = hook.after(COOLDOWN).look(&[status(Level::Fine)]);
    assert_eq!(said, [(Level::Critical, Level::Fine)]);
}

#[test]
fn a_status_that_is_what_was_said_before_the_cooldown_ends_is_no_news() {
    let mut hook = Hook::fine();
    hook.look(&[status(Level::Warning)]);
    assert_eq!(hook.look(&[status(Level::Fine)]), []);
    assert_eq!(hook.look(&[status(Level::Warning)]), []);
    assert_eq!(hook.after(COOLDOWN).look(&[status(Level::Warning)]), []);
}

#[test]
fn a_cooldown_is_a_tenants_own_and_the_worst_comes_first() {
    let mut hook = Hook::fine();
    let key = Topic::Wallet { tenant: "acme".into(), key: Some("a".into()) };
    let facts = [
        balance(Level::Low),
        Fact { topic: key, ..balance(Level::Zero) },
        of("zen", Level::Low),
        status(Level::Warning),
    ];

    let mut said = hook.look(&facts);
    said.sort();
    let first = [Level::Low, Level::Zero, Level::Warning].map(|level| (Level::Fine, level));
    assert_eq!(said, first, "of acme the worst, and all of the others");
    assert_eq!(hook.look(&facts), []);
    assert_eq!(hook.after(COOLDOWN).look(&facts), [(Level::Fine, Level::Low)]);
}

#[test]
fn an_allocation_that_hovers_at_its_mark_is_said_once_a_day() {
    let used = |used: u64| {
        let topic = Topic::Allocation("acme".into(), Allocation::DailyLimit);
        let level = Some(Level::of_share(used.into(), 100));
        [Fact { topic, level, figures: Figures::Solves { used, limit: 100 } }]
    };
    let mut hook = Hook::fine();
    let mut look = |solves| hook.after(COOLDOWN).look(&used(solves));
    assert_eq!(look(80), [(Level::Fine, Level::Most)]);
    for solves in [79, 80, 75, 81, 99] {
        assert_eq!(look(solves), [], "{solves}");
    }
    assert_eq!(look(100), [(Level::Most, Level::Full)]);
    for solves in [95, 100, 97, 101] {
        assert_eq!(look(solves), [], "{solves}");
    }
    assert_eq!(look(94), [], "a fall is no news");
    assert_eq!(look(100), [(Level::Most, Level::Full)]);
    assert_eq!(look(0), [], "nor is a new day");
    assert_eq!(look(80), [(Level::Fine, Level::Most)]);
}

#[test]
fn only_what_a_webhook_asks_for_is_said() {
    let mut watch = Hook::fine().watch;
    let facts = [balance(Level::Low), status(Level::Warning)];
    let seen = watch.look(&facts, &[Kind::SloStatus], COOLDOWN, START);
    let kinds: Vec<_> = seen.notices.iter().map(|(notice, _)| notice.topic.kind()).collect();
    assert_eq!(kinds, [Kind::SloStatus]);

    let seen = watch.look(&facts, &Kind::ALL, COOLDOWN, START + COOLDOWN);
    assert_eq!(seen.notices, [], "what was so before it asked is no change");
}

#[test]
fn a_webhook_without_a_past_is_not_flooded() {
    let mut watch = Watch::restore(ID, &[], START);
    let facts = [balance(Level::Zero), of("zen", Level::Low), status(Level::Exhausted)];
    let seen = watch.look(&facts, &Kind::ALL, COOLDOWN, START);
    assert_eq!(seen.notices, []);
    let seen = watch.look(&[of("zen", Level::Zero)], &Kind::ALL, COOLDOWN, START);
    assert_eq!(seen.notices.len(), 1);
}

#[test]
fn a_restart_repeats_nothing_and_misses_nothing() {
    let mut hook = Hook::fine();
    hook.look(&[balance(Level::Low)]);
    assert_eq!(hook.after(COOLDOWN).restarted().look(&[balance(Level::Low)]), []);
    assert_eq!(hook.restarted().look(&[balance(Level::Zero)]), [(Level::Low, Level::Zero)]);

    hook.look(&[balance(Level::Fine)]);
    let said = hook.after(COOLDOWN).restarted().look(&[balance(Level::Low)]);
    assert_eq!(said, [(Level::Fine, Level::Low)], "the rise is on record too");
}

#[test]
fn a_cooldown_goes_on_over_a_restart() {
    let mut hook = Hook::fine();
    hook.look(&[balance(Level::Low)]);
    let half = COOLDOWN / 2;
    assert_eq!(hook.after(half).restarted().look(&[balance(Level::Zero)]), []);
    assert_eq!(hook.after(half).look(&[balance(Level::Zero)]), [(Level::Low, Level::Zero)]);
}

#[test]
fn a_notice_that_never_arrived_is_said_after_a_restart() {
    let mut hook = Hook::fine();
    let before = hook.records.clone();
    hook.look(&[balance(Level::Low)]);
    hook.records = before;
    assert_eq!(hook.restarted().look(&[balance(Level::Low)]), [(Level::Fine, Level::Low)]);
}

#[test]
fn a_clock_that_goes_back_neither_repeats_nor_silences() {
    let mut hook = Hook::fine();
    hook.look(&[balance(Level::Low)]);
    hook.now.wall = Wall(START.wall.0 - 86_400_000);
    assert_eq!(hook.look(&[balance(Level::Zero)]), []);
    assert_eq!(hook.after(COOLDOWN).look(&[balance(Level::Zero)]), [(Level::Low, Level::Zero)]);

    assert_eq!(hook.look(&[balance(Level::Fine)]), []);
    hook.restarted();
    assert_eq!(hook.look(&[balance(Level::Low)]), [], "what was said is in the future");
    assert_eq!(hook.after(COOLDOWN).look(&[balance(Level::Low)]), [(Level::Fine, Level::Low)]);
}

#[test]
fn what_is_not_known_changes_nothing() {
    let mut hook = Hook::fine();
    assert_eq!(hook.look(&[account(Some(Level::Down))]), [(Level::Fine, Level::Down)]);
    assert_eq!(hook.after(COOLDOWN).restarted().look(&[account(None)]), []);
    assert_eq!(hook.look(&[account(Some(Level::Down))]), []);
    assert_eq!(hook.look(&[account(Some(Level::Fine))]), [(Level::Down, Level::Fine)]);
}

#[test]
fn a_notice_is_a_sentence_with_units() {
    let said = |topic: Topic, (old, new): (Level, Level), figures: Figures| {
        Notice { topic, old, new, figures, at: START.wall }.to_string()
    };
    let status = Topic::SloStatus(CaptchaType::Turnstile, SloKind::Success);
    let figures = Figures::Budget { remaining_ratio: 0.25 };
    let text = said(status, (Level::Fine, Level::Warning), figures);
    assert_eq!(text, "turnstile success: error budget warning (was healthy), 25.0 % of it left");
    let key = Topic::Wallet { tenant: "acme".into(), key: Some("a".into()) };
    let figures = Figures::Balance { balance: usd("4.9"), threshold: Some(usd("5")) };
    let text = said(key, (Level::Fine, Level::Low), figures);
    assert_eq!(text, "tenant acme, key a: balance 4.90 USD, at or below 5.00 USD");
    let figures = Figures::Balance { balance: Money::ZERO, threshold: Some(usd("5")) };
    let balance = Topic::AccountBalance("main".into());
    let text = said(balance, (Level::Low, Level::Zero), figures);
    assert_eq!(text, "account main: balance at the provider 0.00 USD: nothing is left");
    let allocation = Topic::Allocation("acme".into(), Allocation::DailyLimit);
    let figures = Figures::Solves { used: 8, limit: 10 };
    let text = said(allocation, (Level::Fine, Level::Most), figures);
    assert_eq!(text, "tenant acme: 80 % of daily_limit reached, 8 of 10 solves charged or open");
    let figures = Figures::Account { why: Some(Why::KeyRefused) };
    let text = said(Topic::Account("main".into()), (Level::Fine, Level::Down), figures);
    assert_eq!(text, "account main is down: the provider refuses its key");
    let figures = Figures::Account { why: None };
    let text = said(Topic::Account("main".into()), (Level::Down, Level::Fine), figures);
    assert_eq!(text, "account main is up again");
}
