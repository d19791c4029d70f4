//! The limits of one scope (a tenant, or one of its keys) and what they have been used for.

use std::time::Duration;

use super::calendar::{Calendar, Period};
use super::captcha_type::CaptchaType;
use super::gcra::Gcra;
use super::money::Money;
use super::policy::{Limits, Overdraft};
use super::rejection::{Reason, Verdict};
use super::time::Now;

/// What one tenant or one key has in flight, has used and may still spend.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Solves that occupy a thread of the account.
    pub in_flight: u32,
    /// Solves whose money is not settled.
    pub open: u64,
    /// The price of those, together.
    pub held: Money,
    /// Money put into the wallet; `None` while there is no wallet.
    pub credited: Option<Money>,
    /// Money charged ever.
    pub spent: Money,
    rate: Gcra,
    days: Tallies,
    months: Tallies,
}

/// By day or month, the earliest first: of the current one, of those that a change of time zone leads
/// back to, and of those that the clock or another zone had reached before the last start.
type Tallies = Vec<Tally>;

/// Zones are at most three days and two months apart.
const EARLIER_DAYS: usize = 2;
const EARLIER_MONTHS: usize = 1;

/// What was charged in one day or month.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// The day's or month's number.
    of: i32,
    solves: u64,
    spent: Money,
}

impl Tally {
    fn charge(&mut self, solves: u64, spent: Money) {
        self.solves += solves;
        self.spent += spent;
    }
}

/// The order in which limits are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Is the captcha type allowed?
    Type(CaptchaType),
    /// Is a slot free?
    InFlight,
    /// Is it time for another one?
    Rate,
    /// Is the day's number used up?
    DailyLimit,
    /// Would the day's or the month's spending exceed its cap?
    SpendCap,
    /// Does the wallet cover the price?
    Balance(Overdraft),
}

/// A limit in the way, not yet put into a sentence about whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which kind of limit.
    pub reason: Reason,
    /// What it is and how far it is used, as the end of a sentence.
    pub text: String,
    /// When it may pass.
    pub retry_after: Option<Duration>,
    /// What `threadsinfo` must say.
    pub verdict: Option<Verdict>,
}

/// How much of its allocations is used: what is charged and, since it may be yet, what is open or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Solves of the day.
    pub day_solves: u64,
    /// Money of the day.
    pub day_spend: Money,
    /// Money of the month.
    pub month_spend: Money,
}

impl Scope {
    /// What was restored: charges of the current day and month, and ever.
    pub fn restore(&mut self, period: Period, day_solves: u64, spent: [Money; 3]) {
        let [day_spent, month_spent, total] = spent;
        tally_mut(&mut self.days, period.day).charge(day_solves, day_spent);
        tally_mut(&mut self.months, period.month).charge(0, month_spent);
        self.spent += total;
    }

    /// What was restored of a day that is yet to come: it was the current one, before the clock or the
    /// zone went back. The total has it already, and so has its month if that is the current one.
    pub fn restore_later(&mut self, today: Period, later: Period, solves: u64, spent: Money) {
        tally_mut(&mut self.days, later.day).charge(solves, spent);
        if later.month != today.month {
            tally_mut(&mut self.months, later.month).charge(solves, spent);
        }
    }

    /// Solves charged on the current day.
    pub fn day_solves(&self, period: Period) -> u64 {
        tally(&self.days, period.day).solves
    }

    /// Money charged on the current day.
    pub fn day_spent(&self, period: Period) -> Money {
        tally(&self.days, period.day).spent
    }

    /// Money charged in the current month.
    pub fn month_spent(&self, period: Period) -> Money {
        tally(&self.months, period.month).spent
    }

    /// What the daily and monthly limits are compared with, by [`breach`](Self::breach) and by people.
    pub fn used(&self, period: Period) -> Used {
        Used {
            day_solves: self.day_solves(period).saturating_add(self.open),
            day_spend: self.day_spent(period) + self.held,
            month_spend: self.month_spent(period) + self.held,
        }
    }

    /// The wallet's balance, holds not taken off; `None` while there is no wallet.
    pub fn balance(&self) -> Option<Money> {
        self.credited.map(|credited| credited - self.spent)
    }

    /// The limit that forbids one more solve of `price` at this step, if one does.
    #[expect(clippy::inline_always, reason = "each call is for one step, of which little is left")]
    #[inline(always)]
    pub fn breach(
        &self,
        step: Step,
        limits: &Limits,
        price: Money,
        at: (&Calendar, Now),
    ) -> Option<Breach> {
        match step {
            Step::Type(captcha_type) => type_breach(limits, captcha_type),
            Step::InFlight => self.in_flight_breach(limits),
            Step::Rate => self.rate_breach(limits, at.1),
            Step::DailyLimit => self.daily_breach(limits, at),
            Step::SpendCap => self.spend_breach(limits, price, at),
            Step::Balance(overdraft) => self.balance_breach(limits, price, overdraft),
        }
    }

    fn in_flight_breach(&self, limits: &Limits) -> Option<Breach> {
        let max = limits.in_flight_max.filter(|max| self.in_flight >= *max)?;
        Some(seldom(|| Breach {
            reason: Reason::InFlight,
            text: format!("has {} of {max} solves in flight", self.in_flight),
            retry_after: Some(Duration::from_secs(5)),
            verdict: Some(Verdict::Busy),
        }))
    }

    fn rate_breach(&self, limits: &Limits, now: Now) -> Option<Breach> {
        let rate = limits.rate?;
        let wait = self.rate.wait(rate, now.mono);
        if wait.is_zero() {
            return None;
        }
        Some(seldom(|| Breach {
            reason: Reason::Rate,
            text: format!(
                "is over its rate of {} a minute (burst {})",
                rate.per_minute, rate.burst
            ),
            retry_after: Some(wait),
            verdict: Some(Verdict::Busy),
        }))
    }

    fn daily_breach(&self, limits: &Limits, (calendar, now): (&Calendar, Now)) -> Option<Breach> {
        let used = self.used(calendar.period()).day_solves;
        let max = limits.daily_limit.filter(|max| used >= *max)?;
        Some(seldom(|| Breach {
            reason: Reason::DailyLimit,
            text: format!(
                "has used its {max} solves of the day ({} charged, {} open)",
                self.day_solves(calendar.period()),
                self.open
            ),
            retry_after: Some(calendar.until_tomorrow(now.wall)),
            verdict: Some(Verdict::Spent),
        }))
    }

    fn spend_breach(
        &self,
        limits: &Limits,
        price: Money,
        (calendar, now): (&Calendar, Now),
    ) -> Option<Breach> {
        let period = calendar.period();
        let breach = |word: &str, spent: Money, cap: Money, wait: Duration| Breach {
            reason: Reason::SpendCap,
            text: format!(
                "would exceed its {word} spend cap of {cap} USD ({spent} spent, {} held)",
                self.held
            ),
            retry_after: Some(wait),
            verdict: Some(Verdict::Spent),
        };
        let used = self.used(period);
        if let Some(cap) = limits.monthly_spend_cap.filter(|cap| used.month_spend + price > *cap) {
            return Some(seldom(|| {
                let wait = calendar.until_next_month(now.wall);
                breach("monthly", self.month_spent(period), cap, wait)
            }));
        }
        let cap = limits.daily_spend_cap.filter(|cap| used.day_spend + price > *cap)?;
        Some(seldom(|| {
            breach("daily", self.day_spent(period), cap, calendar.until_tomorrow(now.wall))
        }))
    }

    fn balance_breach(
        &self,
        limits: &Limits,
        price: Money,
        overdraft: Overdraft,
    ) -> Option<Breach> {
        limits.prepaid?;
        let balance = self.balance().unwrap_or_default();
        let available = match overdraft {
            Overdraft::None => balance - self.held,
            Overdraft::InFlight => balance,
        };
        if available >= price {
            return None;
        }
        Some(seldom(|| Breach {
            reason: Reason::InsufficientBalance,
            text: format!("has {available} USD available, the solve costs {price} USD; top it up"),
            retry_after: None,
            verdict: Some(Verdict::Spent),
        }))
    }

    /// Takes one admission: a slot, a hold and a place in the rate. The counterpart of
    /// [`release_slot`](Self::release_slot) and [`settle`](Self::settle).
    pub fn take(&mut self, limits: &Limits, price: Money, now: Now) {
        if let Some(rate) = limits.rate {
            self.rate.take(rate, now.mono);
        }
        self.occupy();
        self.hold(price);
    }

    /// Occupies a slot.
    pub fn occupy(&mut self) {
        self.in_flight += 1;
    }

    /// Sets money aside.
    pub fn hold(&mut self, price: Money) {
        self.open += 1;
        self.held += price;
    }

    /// Frees a slot.
    pub fn release_slot(&mut self) {
        assert!(self.in_flight > 0, "a slot is released that was never taken");
        self.in_flight -= 1;
    }

    /// Ends a hold of `price`; `charged` is posted to the wallet and to the day's and month's spending.
    pub fn settle(&mut self, price: Money, charged: Option<Money>, period: Period) {
        assert!(self.open > 0 && self.held >= price, "a hold is settled that was never taken");
        self.open -= 1;
        self.held -= price;
        let Some(charged) = charged else { return };
        tally_mut(&mut self.days, period.day).charge(1, charged);
        tally_mut(&mut self.months, period.month).charge(1, charged);
        forget_before(&mut self.days, period.day, EARLIER_DAYS);
        forget_before(&mut self.months, period.month, EARLIER_MONTHS);
        self.spent += charged;
    }
}

/// A refusal, put into words out of the way of what is admitted.
#[cold]
#[inline(never)]
fn seldom(breach: impl FnOnce() -> Breach) -> Breach {
    breach()
}

fn tally(tallies: &[Tally], of: i32) -> Tally {
    tallies.iter().find(|tally| tally.of == of).copied().unwrap_or_default()
}

fn tally_mut(tallies: &mut Tallies, of: i32) -> &mut Tally {
    let place = tallies.partition_point(|tally| tally.of < of);
    if tallies.get(place).is_none_or(|tally| tally.of != of) {
        tallies.insert(place, Tally { of, ..Tally::default() });
    }
    &mut tallies[place]
}

/// Keeps only the last few before that day or month.
fn forget_before(tallies: &mut Tallies, of: i32, kept: usize) {
    let earlier = tallies.partition_point(|tally| tally.of < of);
    tallies.drain(..earlier.saturating_sub(kept));
}

fn type_breach(limits: &Limits, captcha_type: CaptchaType) -> Option<Breach> {
    let allowed = limits.allow_types?;
    let fits = allowed.contains(captcha_type) || allowed.contains(captcha_type.family());
    if fits {
        return None;
    }
    Some(seldom(|| Breach {
        reason: Reason::TypeDenied,
        text: format!("may not submit captchas of type {}", captcha_type.label()),
        retry_after: None,
        verdict: None,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::domain::policy::{Prepaid, PriceList, Rate};
    use crate::domain::time::{Mono, Wall};

    /// 2026-11-30, an hour before midnight and month end, UTC.
    const START: Now = Now { mono: Mono(1_000_000_000_000), wall: Wall(1_796_079_600_000) };
    const PRICE: Money = Money::from_micros(1_000);

    fn calendar(now: Now) -> Calendar {
        Calendar::new(TimeZone::UTC, now.wall)
    }

    fn breach(scope: &Scope, step: Step, limits: &Limits, now: Now) -> Option<Breach> {
        scope.breach(step, limits, PRICE, (&calendar(now), now))
    }

    fn settle(scope: &mut Scope, charged: Option<Money>, now: Now) {
        scope.settle(PRICE, charged, calendar(now).period());
    }

    fn used(scope: &Scope, now: Now) -> (u64, Money, Money) {
        let period = calendar(now).period();
        (scope.day_solves(period), scope.day_spent(period), scope.month_spent(period))
    }

    #[test]
    fn what_is_taken_is_given_back() {
        let limits = Limits { rate: Some(Rate { per_minute: 60, burst: 1 }), ..Limits::default() };
        let mut scope = Scope::default();

        scope.take(&limits, PRICE, START);
        assert_eq!((scope.in_flight, scope.open, scope.held), (1, 1, PRICE));
        let wait = breach(&scope, Step::Rate, &limits, START).unwrap().retry_after;
        assert_eq!(wait, Some(Duration::from_secs(1)));

        scope.release_slot();
        settle(&mut scope, None, START);
        assert_eq!((scope.in_flight, scope.open, scope.held), (0, 0, Money::ZERO));
        assert_eq!(used(&scope, START), (0, Money::ZERO, Money::ZERO));
        assert_eq!(scope.spent, Money::ZERO);
    }

    #[test]
    fn a_charge_counts_towards_the_day_and_month_it_falls_in() {
        let mut scope = Scope::default();
        (0..3).for_each(|_| scope.hold(PRICE));
        settle(&mut scope, Some(PRICE), START);
        settle(&mut scope, Some(PRICE), START);
        assert_eq!(used(&scope, START), (2, PRICE + PRICE, PRICE + PRICE));

        let december = START + Duration::from_hours(1);
        assert_eq!(used(&scope, december), (0, Money::ZERO, Money::ZERO));
        settle(&mut scope, Some(PRICE), december);

        assert_eq!(used(&scope, december), (1, PRICE, PRICE));
        assert_eq!(scope.spent, Money::from_micros(3_000));
    }

    #[test]
    fn a_new_day_keeps_the_month() {
        let mut scope = Scope::default();
        let yesterday = Now { wall: Wall(START.wall.0 - 86_400_000), ..START };
        (0..2).for_each(|_| scope.hold(PRICE));
        settle(&mut scope, Some(PRICE), yesterday);
        settle(&mut scope, Some(PRICE), START);
        assert_eq!(used(&scope, START), (1, PRICE, PRICE + PRICE));
    }

    #[test]
    fn what_was_charged_on_days_to_come_counts_once_they_come() {
        let mut scope = Scope::default();
        let prices = |count: i64| Money::from_micros(count * 1_000);
        let at = |days: u32| START + Duration::from_hours(24) * days;
        let period = |days| calendar(at(days)).period();
        let yesterday = Now { wall: Wall(START.wall.0 - 86_400_000), ..START };
        let today = calendar(yesterday).period();
        scope.restore(today, 1, [PRICE, prices(2), prices(7)]);
        scope.restore_later(today, period(0), 1, PRICE);
        for days in 1..=5 {
            scope.restore_later(today, period(days), 1, PRICE);
        }

        assert_eq!(used(&scope, yesterday), (1, PRICE, prices(2)));
        (0..7).for_each(|_| scope.hold(PRICE));
        settle(&mut scope, Some(PRICE), yesterday);
        settle(&mut scope, Some(PRICE), START);
        assert_eq!(used(&scope, yesterday), (2, prices(2), prices(4)));
        assert_eq!(used(&scope, START), (2, prices(2), prices(4)));
        for days in 1..=5_u32 {
            settle(&mut scope, Some(PRICE), at(days));
            let month = prices(5 + i64::from(days));
            assert_eq!(used(&scope, at(days)), (2, prices(2), month), "{days}");
        }
        assert_eq!((scope.days.len(), scope.months.len()), (3, 2), "what is over is forgotten");
        assert_eq!(scope.spent, prices(14));
    }

    #[test]
    fn a_cap_may_be_reached_and_not_crossed() {
        let cap = |micros| Some(Money::from_micros(micros));
        let scope = Scope { held: PRICE, open: 1, ..Scope::default() };
        for (micros, crossed) in [(2_000, false), (1_999, true)] {
            let daily = Limits { daily_spend_cap: cap(micros), ..Limits::default() };
            let monthly = Limits { monthly_spend_cap: cap(micros), ..Limits::default() };
            for limits in [daily, monthly] {
                let breach = breach(&scope, Step::SpendCap, &limits, START);
                assert_eq!(breach.is_some(), crossed, "{limits:?}");
            }
        }
    }

    #[test]
    fn where_both_caps_are_reached_the_later_reopening_is_said() {
        let now = Now { wall: Wall(START.wall.0 - 86_400_000), ..START };
        let zero = Some(Money::ZERO);
        let limits = Limits { daily_spend_cap: zero, monthly_spend_cap: zero, ..Limits::default() };
        let breach = breach(&Scope::default(), Step::SpendCap, &limits, now).unwrap();
        assert_eq!(breach.retry_after, Some(Duration::from_hours(25)));
    }

    #[test]
    fn a_wallet_that_was_never_credited_is_empty_and_without_one_nothing_is_asked() {
        let prepaid = Prepaid { opening_balance: Money::ZERO, low_balance_below: None };
        let limits = Limits { prepaid: Some(prepaid), ..Limits::default() };
        let step = Step::Balance(Overdraft::None);
        assert!(breach(&Scope::default(), step, &limits, START).is_some());
        assert_eq!(breach(&Scope::default(), step, &Limits::default(), START), None);
        assert_eq!(Scope::default().balance(), None);
    }

    #[test]
    fn the_last_of_the_balance_may_be_spent() {
        let prepaid = Prepaid { opening_balance: Money::ZERO, low_balance_below: None };
        let limits = Limits { prepaid: Some(prepaid), ..Limits::default() };
        let mut scope = Scope { credited: Some(PRICE), ..Scope::default() };
        assert_eq!(breach(&scope, Step::Balance(Overdraft::None), &limits, START), None);

        scope.hold(PRICE);

        assert!(breach(&scope, Step::Balance(Overdraft::None), &limits, START).is_some());
        assert_eq!(breach(&scope, Step::Balance(Overdraft::InFlight), &limits, START), None);
        settle(&mut scope, Some(PRICE), START);
        assert!(breach(&scope, Step::Balance(Overdraft::InFlight), &limits, START).is_some());
    }

    #[test]
    fn a_subtype_is_allowed_through_its_family_and_priced_by_it() {
        let v2 = Some([CaptchaType::RecaptchaV2].into());
        let limits = Limits { allow_types: v2, ..Limits::default() };
        let scope = Scope::default();
        let may = |captcha_type| breach(&scope, Step::Type(captcha_type), &limits, START).is_none();
        assert!(may(CaptchaType::RecaptchaV2Invisible));
        assert!(!may(CaptchaType::RecaptchaV3));

        let own = BTreeMap::from([(CaptchaType::RecaptchaV2, PRICE)]);
        let prices = PriceList::resolve(Money::ZERO, &own);
        assert_eq!(prices.price(CaptchaType::RecaptchaV2Enterprise), PRICE);
        assert_eq!(prices.price(CaptchaType::Image), Money::ZERO);
    }

    #[test]
    fn what_is_restored_over_several_keys_adds_up_in_the_tenant() {
        let mut scope = Scope::default();
        let period = calendar(START).period();
        for _ in 0..2 {
            scope.restore(period, 3, [PRICE, PRICE + PRICE, PRICE + PRICE + PRICE]);
        }
        assert_eq!(used(&scope, START), (6, PRICE + PRICE, Money::from_micros(4_000)));
        assert_eq!(scope.spent, Money::from_micros(6_000));
    }
}
