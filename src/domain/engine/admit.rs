//! Admission: every check on `&self` first, then one commit. A rejected submission consumes nothing.

use std::time::Duration;

use super::{Engine, place_index};
use crate::domain::account::AccountTrouble;
use crate::domain::ids::{Name, SolveId};
use crate::domain::money::Money;
use crate::domain::rejection::{self, Reason, Rejection};
use crate::domain::scope::{Breach, Step};
use crate::domain::slo::policy::Verdict;
use crate::domain::solve::{Identity, MoneyState, PollMemory, Solve, Submission};
use crate::domain::time::{Mono, Now};

/// How long `threadsinfo` agrees with the last rejection: the official SDK asks a few milliseconds
/// after it.
const VERDICT_FOR: Duration = Duration::from_secs(5);
/// A client that asked `threadsinfo` this recently is taken for the official SDK, which does so when it
/// is constructed and after each `ERROR_ZERO_BALANCE`.
const ASKED_THREADS_FOR: Duration = Duration::from_hours(24);

/// The decision on a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The solve may go upstream; its price is held.
    Admit(Admitted),
    /// It may not; nothing was taken.
    Reject {
        /// Why.
        rejection: Rejection,
        /// The client asks `threadsinfo` after `ERROR_ZERO_BALANCE`, as the official SDK does.
        asks_threads: bool,
    },
}

/// An admitted solve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The solve.
    pub solve: SolveId,
    /// The account to submit it with.
    pub account: Name,
    /// What one success costs.
    pub price: Money,
    /// From submission to deadline.
    pub deadline: Duration,
    /// What would have refused it, had `enforce` been on.
    pub shadow: Option<Rejection>,
}

impl Engine {
    /// Decides on a submission and, if it is admitted, takes its slot and holds its price.
    pub fn admit(&mut self, submission: Submission, now: Now) -> Decision {
        self.calendar.roll(now.wall);
        let identity = submission.identity;
        let (rejection, shadow) = self.check(&submission, now);
        self.take_error_budget(&submission, rejection.as_ref(), now);
        let Some(rejection) = rejection else {
            return Decision::Admit(self.commit(submission, shadow, now));
        };
        let asked = self.key(identity).asked_threads_at;
        let asks_threads = asked.is_some_and(|at| now.mono.since(at) < ASKED_THREADS_FOR);
        if let Some(verdict) = rejection.verdict {
            self.key_mut(identity).verdict = Some((verdict, now.mono + VERDICT_FOR));
        }
        Decision::Reject { rejection, asks_threads }
    }

    /// What [`admit`](Self::admit) decides, and nothing taken.
    #[cfg(feature = "seeded-bugs")]
    pub fn check_only(&self, submission: &Submission, now: Now) -> Option<Rejection> {
        self.check(submission, now).0
    }

    /// Takes what an earlier [`check_only`](Self::check_only) allowed.
    #[cfg(feature = "seeded-bugs")]
    pub fn admit_unchecked(&mut self, submission: Submission, now: Now) -> Decision {
        Decision::Admit(self.commit(submission, None, now))
    }

    /// Whether a refusal stands although the tenant is in shadow mode: who may use a key, and whether
    /// the provider can be reached, is no limit to be tried out.
    fn is_enforced(&self, identity: Identity, rejection: &Rejection) -> bool {
        match rejection.reason {
            Reason::TypeDenied
            | Reason::InFlight
            | Reason::Rate
            | Reason::DailyLimit
            | Reason::SpendCap
            | Reason::InsufficientBalance
            | Reason::ErrorBudget => self.tenant(identity).policy.enforce,
            Reason::UnknownKey
            | Reason::RevokedKey
            | Reason::ExpiredKey
            | Reason::IpDenied
            | Reason::AccountUnavailable
            | Reason::UpstreamUnavailable
            | Reason::StoreUnavailable
            | Reason::Malformed
            | Reason::TooLarge => true,
        }
    }

    /// The first refusal that stands, and before it the first that shadow mode lets pass.
    fn check(&self, submission: &Submission, now: Now) -> (Option<Rejection>, Option<Rejection>) {
        if self.policy.pass_through {
            return (None, None);
        }
        let identity = submission.identity;
        let mut shadow = None;
        let mut stands = |rejection: Option<Rejection>| {
            let rejection = rejection?;
            if self.is_enforced(identity, &rejection) {
                return Some(rejection);
            }
            shadow.get_or_insert(rejection);
            None
        };
        let overdraft = self.tenant(identity).policy.overdraft;
        let step = |step| self.check_step(step, submission, now);
        let rejection = stands(self.revoked(identity, now))
            .or_else(|| stands(self.expired(identity, now)))
            .or_else(|| stands(step(Step::Type(submission.captcha_type))))
            .or_else(|| stands(step(Step::InFlight)))
            .or_else(|| stands(self.check_account_busy(identity, now)))
            .or_else(|| stands(step(Step::Rate)))
            .or_else(|| stands(step(Step::DailyLimit)))
            .or_else(|| stands(step(Step::SpendCap)))
            .or_else(|| stands(step(Step::Balance(overdraft))))
            .or_else(|| stands(self.check_error_budget(submission, now)))
            .or_else(|| stands(self.check_account(identity, now)))
            .or_else(|| stands(self.check_upstream(now)));
        (rejection, shadow)
    }

    #[expect(clippy::inline_always, reason = "each call is for one step, of which little is left")]
    #[inline(always)]
    fn check_step(&self, step: Step, submission: &Submission, now: Now) -> Option<Rejection> {
        let (tenant, key) = (self.tenant(submission.identity), self.key(submission.identity));
        let price = tenant.policy.prices.price(submission.captcha_type);
        let at = (&self.calendar, now);
        if let Some(breach) = tenant.scope.breach(step, &tenant.policy.limits, price, at) {
            return Some(put(&breach, "tenant", &tenant.name));
        }
        key.scope
            .breach(step, &key.policy.limits, price, at)
            .map(|breach| put(&breach, "key", &key.id))
    }

    fn check_account_busy(&self, identity: Identity, now: Now) -> Option<Rejection> {
        let account = &self.accounts[place_index(identity.account)];
        account.is_busy(now.mono).then(|| Rejection {
            reason: Reason::InFlight,
            text: "the provider account has no free thread".to_owned(),
            retry_after: Some(Duration::from_secs(5)),
            verdict: Some(rejection::Verdict::Busy),
        })
    }

    fn check_error_budget(&self, submission: &Submission, now: Now) -> Option<Rejection> {
        let Verdict::Refuse(refusal) = self.error_budget_verdict(submission, now) else {
            return None;
        };
        Some(Rejection {
            reason: Reason::ErrorBudget,
            text: refusal.to_string(),
            retry_after: Some(refusal.retry_after),
            verdict: None,
        })
    }

    fn error_budget_verdict(&self, submission: &Submission, now: Now) -> Verdict {
        let priority = self.key(submission.identity).policy.priority;
        self.error_budgets.verdict(submission.captcha_type, priority, now)
    }

    /// Uses up the policy's probe or place, unless something else refused the submission.
    fn take_error_budget(
        &mut self,
        submission: &Submission,
        rejection: Option<&Rejection>,
        now: Now,
    ) {
        let by_policy = rejection.is_none_or(|rejection| rejection.reason == Reason::ErrorBudget);
        if by_policy && !self.policy.pass_through {
            let verdict = self.error_budget_verdict(submission, now);
            self.error_budgets.take(submission.captcha_type, &verdict, now);
        }
    }

    fn check_account(&self, identity: Identity, now: Now) -> Option<Rejection> {
        let trouble = self.accounts[place_index(identity.account)].trouble(now.mono)?;
        let (retry_after, verdict) = match trouble {
            AccountTrouble::Lapsed => (None, rejection::Verdict::Spent),
            AccountTrouble::KeyRefused(wait) => (Some(wait), rejection::Verdict::Spent),
        };
        Some(Rejection {
            reason: Reason::AccountUnavailable,
            text: "the provider account cannot solve at present; its operator has to look at it"
                .to_owned(),
            retry_after,
            verdict: Some(verdict),
        })
    }

    fn check_upstream(&self, now: Now) -> Option<Rejection> {
        let wait = self.upstream.wait(now.mono);
        (!wait.is_zero()).then(|| Rejection {
            reason: Reason::UpstreamUnavailable,
            text: "the provider cannot be reached; it is tried again every few seconds".to_owned(),
            retry_after: Some(wait),
            verdict: None,
        })
    }

    fn commit(&mut self, submission: Submission, shadow: Option<Rejection>, now: Now) -> Admitted {
        let identity = submission.identity;
        let tenant = &mut self.tenants[place_index(identity.tenant)];
        let key = &mut tenant.keys[place_index(identity.key)];
        let price = tenant.policy.prices.price(submission.captcha_type);
        tenant.scope.take(&tenant.policy.limits, price, now);
        key.scope.take(&key.policy.limits, price, now);
        let account = &mut self.accounts[place_index(identity.account)];
        account.in_flight += 1;
        account.try_key(now.mono);
        self.upstream.try_at(now.mono);
        self.in_flight_by_type[submission.captcha_type.index()] += 1;

        let solve = SolveId(self.next_solve);
        self.next_solve += 1;
        let deadline = self.policy.slo.slo(submission.captcha_type).deadline;
        let admitted = Admitted { solve, account: account.name.clone(), price, deadline, shadow };
        let forget_at = now.mono + self.policy.forget_after.max(deadline);
        self.solves.insert(
            solve,
            Box::new(Solve {
                submission,
                price,
                submitted: now,
                deadline: now.mono + deadline,
                task: None,
                slot: true,
                freed_at: now.mono,
                verdict: None,
                money: MoneyState::Held,
                unseen: false,
                confirm: None,
                poll: PollMemory {
                    under_way: false,
                    offers: 0,
                    back_at: None,
                    asked_at: now.mono,
                    watch_at: now.mono,
                    answer: None,
                    proxy_trouble: None,
                },
                uncollected: false,
                unwatched: self.policy.pass_through,
                wake_at: Mono(u64::MAX),
                forget_at,
            }),
        );
        // About when it will be watched first, once it is bound: so it has one entry in the queue, not two.
        self.schedule_by(solve, now.mono + super::poll::WATCH_IDLE.min(deadline / 2));
        admitted
    }

    /// What `threadsinfo` says to a tenant: its own limit and use, in step with the last rejection.
    pub fn threads_info(&mut self, identity: Identity, now: Now) -> (u32, u32) {
        let (tenant, key) = (self.tenant(identity), self.key(identity));
        let limits = [(&tenant.policy.limits, &tenant.scope), (&key.policy.limits, &key.scope)];
        let (threads, working) = limits
            .iter()
            .filter_map(|(limits, scope)| limits.in_flight_max.map(|max| (max, scope.in_flight)))
            .min_by_key(|(max, in_flight)| max.saturating_sub(*in_flight))
            .unwrap_or_else(|| {
                (THREADS_UNLIMITED.max(tenant.scope.in_flight + 1), tenant.scope.in_flight)
            });
        let threads = threads.max(1);
        let verdict =
            key.verdict.filter(|(_, until)| *until > now.mono).map(|(verdict, _)| verdict);
        self.key_mut(identity).asked_threads_at = Some(now.mono);
        match verdict {
            Some(rejection::Verdict::Busy) => (threads, threads),
            Some(rejection::Verdict::Spent) => (threads, working.min(threads - 1)),
            None => (threads, working.min(threads)),
        }
    }

    /// The provider itself refused a submission for want of threads or money: `threadsinfo` must agree.
    pub fn refused_upstream(&mut self, identity: Identity, now: Now) {
        let lapsed = self.accounts[place_index(identity.account)].trouble(now.mono).is_some();
        let verdict = if lapsed { rejection::Verdict::Spent } else { rejection::Verdict::Busy };
        self.key_mut(identity).verdict = Some((verdict, now.mono + VERDICT_FOR));
    }

    /// What `getbalance` says to a tenant: the least that any wallet or cap still allows to be spent;
    /// 999999.00 where none applies.
    pub fn balance_info(&mut self, identity: Identity, now: Now) -> Money {
        self.calendar.roll(now.wall);
        let period = self.calendar.period();
        let (tenant, key) = (self.tenant(identity), self.key(identity));
        let mut least = BALANCE_UNLIMITED;
        for (limits, scope) in
            [(&tenant.policy.limits, &tenant.scope), (&key.policy.limits, &key.scope)]
        {
            let wallet = limits.prepaid.map(|_| scope.balance().unwrap_or_default());
            let day = limits.daily_spend_cap.map(|cap| cap - scope.day_spent(period));
            let month = limits.monthly_spend_cap.map(|cap| cap - scope.month_spent(period));
            for left in [wallet, day, month].into_iter().flatten() {
                least = least.min(left - scope.held);
            }
        }
        least.max(Money::ZERO)
    }
}

/// What `threadsinfo` shows as threads to a tenant without a limit on solves in flight.
const THREADS_UNLIMITED: u32 = 1_000;

/// What `getbalance` shows to a tenant whose spending nothing limits.
const BALANCE_UNLIMITED: Money = Money::from_micros(999_999_000_000);

#[cold]
fn put(breach: &Breach, kind: &str, name: &str) -> Rejection {
    Rejection {
        reason: breach.reason,
        text: format!("{kind} {name} {}", breach.text),
        retry_after: breach.retry_after,
        verdict: breach.verdict,
    }
}
