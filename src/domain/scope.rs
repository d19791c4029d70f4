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
    period: Period,
    day_solves: u64,
    day_spent: Money,
    month_spent: Money,
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

impl Scope {
    /// What was restored: charges of the current day and month, and ever.
    pub fn restore(&mut self, period: Period, day_solves: u64, spent: [Money; 3]) {
        let [day_spent, month_spent, total] = spent;
        self.period = period;
        self.day_solves += day_solves;
        self.day_spent += day_spent;
        self.month_spent += month_spent;
        self.spent += total;
    }

    /// Solves charged on the current day.
    pub fn day_solves(&self, period: Period) -> u64 {
        if self.period.same_day(period) { self.day_solves } else { 0 }
    }

    /// Money charged on the current day.
    pub fn day_spent(&self, period: Period) -> Money {
        if self.period.same_day(period) { self.day_spent } else { Money::ZERO }
    }

    /// Money charged in the current month.
    pub fn month_spent(&self, period: Period) -> Money {
        if self.period.same_month(period) { self.month_spent } else { Money::ZERO }
    }

    /// The wallet's balance, holds not taken off; `None` while there is no wallet.
    pub fn balance(&self) -> Option<Money> {
        self.credited.map(|credited| credited - self.spent)
    }

    /// The limit that forbids one more solve of `price` at this step, if one does.
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
        Some(Breach {
            reason: Reason::InFlight,
            text: format!("has {} of {max} solves in flight", self.in_flight),
            retry_after: Some(Duration::from_secs(5)),
            verdict: Some(Verdict::Busy),
        })
    }

    fn rate_breach(&self, limits: &Limits, now: Now) -> Option<Breach> {
        let rate = limits.rate?;
        let wait = self.rate.wait(rate, now.mono);
        (!wait.is_zero()).then(|| Breach {
            reason: Reason::Rate,
            text: format!(
                "is over its rate of {} a minute (burst {})",
                rate.per_minute, rate.burst
            ),
            retry_after: Some(wait),
            verdict: Some(Verdict::Busy),
        })
    }

    fn daily_breach(&self, limits: &Limits, (calendar, now): (&Calendar, Now)) -> Option<Breach> {
        let charged = self.day_solves(calendar.period());
        let max = limits.daily_limit.filter(|max| charged.saturating_add(self.open) >= *max)?;
        Some(Breach {
            reason: Reason::DailyLimit,
            text: format!(
                "has used its {max} solves of the day ({charged} charged, {} open)",
                self.open
            ),
            retry_after: Some(calendar.until_tomorrow(now.wall)),
            verdict: Some(Verdict::Spent),
        })
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
        let exceeds = |spent: Money, cap: &Money| spent + self.held + price > *cap;
        let (day, month) = (self.day_spent(period), self.month_spent(period));
        if let Some(cap) = limits.monthly_spend_cap.filter(|cap| exceeds(month, cap)) {
            return Some(breach("monthly", month, cap, calendar.until_next_month(now.wall)));
        }
        let cap = limits.daily_spend_cap.filter(|cap| exceeds(day, cap))?;
        Some(breach("daily", day, cap, calendar.until_tomorrow(now.wall)))
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
        (available < price).then(|| Breach {
            reason: Reason::InsufficientBalance,
            text: format!("has {available} USD available, the solve costs {price} USD; top it up"),
            retry_after: None,
            verdict: Some(Verdict::Spent),
        })
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
        self.move_to(period);
        self.day_solves += 1;
        self.day_spent += charged;
        self.month_spent += charged;
        self.spent += charged;
    }

    fn move_to(&mut self, period: Period) {
        if !self.period.same_day(period) {
            (self.day_solves, self.day_spent) = (0, Money::ZERO);
        }
        if !self.period.same_month(period) {
            self.month_spent = Money::ZERO;
        }
        self.period = period;
    }
}

fn type_breach(limits: &Limits, captcha_type: CaptchaType) -> Option<Breach> {
    let allowed = limits.allow_types.as_ref()?;
    let fits = allowed.contains(&captcha_type) || allowed.contains(&captcha_type.family());
    (!fits).then(|| Breach {
        reason: Reason::TypeDenied,
        text: format!("may not submit captchas of type {}", captcha_type.label()),
        retry_after: None,
        verdict: None,
    })
}
