//! From the provider's id to the end of the money: bind, verdict, delivery, charge or void.

use std::collections::hash_map::Entry;
use std::time::Duration;

use super::{Engine, place_index};
use crate::domain::ids::{SolveId, TaskId};
use crate::domain::journal::{SettleRecord, SolveRecord, TaskRecord, TaskState, Write};
use crate::domain::money::Money;
use crate::domain::outcome::{Outcome, SliEvent};
use crate::domain::policy::Charge;
#[cfg(feature = "seeded-bugs")]
use crate::domain::seeded::{self, Bug};
use crate::domain::solve::{MoneyState, Solve};
use crate::domain::time::{Mono, Now};

/// How long a settled solve is remembered, so that its owner may fetch the answer again.
const REMEMBER_FOR: Duration = Duration::from_mins(10);

/// What the task id of a synchronous solve starts with, since the provider gives it none.
pub const SYNC_TASK: &str = "sync-";

/// What became of the provider's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindResult {
    /// It names this solve from here on.
    Bound,
    /// It already names another one, or the solve has one: the provider's fault, and never handed out.
    Duplicate,
}

impl Engine {
    /// Ties the provider's id to a solve; asks for [`Write::Bind`]. `now` decides when the watcher
    /// first looks at it.
    pub fn bind(&mut self, solve_id: SolveId, task: &TaskId, now: Now) -> BindResult {
        let Some(solve) = self.solves.get_mut(&solve_id) else { return BindResult::Duplicate };
        let account = solve.submission.identity.account;
        self.accounts[place_index(account)].key_worked();
        if solve.task.is_some() {
            return BindResult::Duplicate;
        }
        match self.tasks.entry((account, task.clone())) {
            Entry::Occupied(_) => return BindResult::Duplicate,
            Entry::Vacant(place) => place.insert(solve_id),
        };
        solve.task = Some(task.clone());
        // A client that was answered before the id came will never ask for it.
        let is_late = solve.verdict.is_some();
        solve.poll.asked_at = if is_late { Mono::default() } else { now.mono };
        solve.poll.watch_at = now.mono + super::poll::first_watch(solve);
        let record = self.task_record(solve_id, task);
        self.outbox.extend(record.map(Write::Bind));
        self.schedule(solve_id);
        BindResult::Bound
    }

    /// The submission ended without an id (or with one that cannot be used): verdict, and the hold is
    /// voided.
    pub fn submit_failed(&mut self, solve_id: SolveId, outcome: Outcome, code: &str, now: Now) {
        self.verdict(solve_id, outcome, Some(code), now);
        self.release_slot(solve_id, now);
        self.settle(solve_id, None, false, now);
        self.note_forgotten(solve_id);
        self.drop_solve(solve_id);
    }

    /// The client was answered before the provider: a bad event, while slot and hold stay until the
    /// provider's word is known.
    pub fn answered_without_provider(&mut self, solve_id: SolveId, now: Now) {
        self.not_collected(solve_id);
        self.verdict(solve_id, Outcome::ProviderError, Some("SUBMIT_TIMEOUT"), now);
    }

    /// The client has no id to ask with; an answer costs it nothing and is waited for by nobody.
    pub fn not_collected(&mut self, solve_id: SolveId) {
        if let Some(solve) = self.solves.get_mut(&solve_id) {
            solve.uncollected = true;
        }
    }

    /// Notes the first outcome of a solve; a later one changes nothing.
    pub(super) fn verdict(
        &mut self,
        solve_id: SolveId,
        outcome: Outcome,
        code: Option<&str>,
        now: Now,
    ) {
        let Some(solve) = self.solves.get_mut(&solve_id).filter(|solve| solve.verdict.is_none())
        else {
            return;
        };
        solve.verdict = Some(outcome);
        let admitted = solve.submitted.mono;
        if let Some(record) = self.solve_record(solve_id, outcome, code, now) {
            let (success, latency) = (record.success_event, record.latency_event);
            self.error_budgets.record(record.captcha_type, success, latency, now);
            if outcome == Outcome::ClientError {
                self.error_budgets.give_back(record.captcha_type, admitted);
            }
            self.outbox.push(Write::Verdict(record));
        }
    }

    /// The provider has the answer. The slot is free; the money waits for the delivery, unless the
    /// provider delivers it itself or solved is all that it takes.
    pub(super) fn solved(&mut self, solve_id: SolveId, by_client: bool, now: Now) {
        let late = self.solves.get(&solve_id).is_some_and(|solve| solve.verdict.is_some());
        self.verdict(solve_id, Outcome::Solved, None, now);
        self.release_slot(solve_id, now);
        let Some(solve) = self.solves.get_mut(&solve_id) else { return };
        if solve.money != MoneyState::Held {
            return;
        }
        solve.money = MoneyState::Ready;
        solve.unseen = true;
        let uncollected = solve.uncollected;
        if late {
            self.outbox.push(Write::Ready(solve_id));
        }
        let (pingback, price, identity) =
            (solve.submission.pingback, solve.price, solve.submission.identity);
        let charge_solved = self.tenant(identity).policy.charge == Charge::Solved;
        if pingback {
            self.settle(solve_id, Some(price), true, now);
        } else if !by_client && charge_solved {
            self.settle(solve_id, Some(price), false, now);
        } else if !by_client && uncollected {
            self.forget_soon(solve_id, now);
        }
    }

    /// The provider failed the solve for good: verdict, slot free, hold voided. Once it had an answer,
    /// that one counts: it may be on its way to a client.
    pub(super) fn failed(&mut self, solve_id: SolveId, outcome: Outcome, code: &str, now: Now) {
        self.verdict(solve_id, outcome, Some(code), now);
        self.release_slot(solve_id, now);
        if self.solves.get(&solve_id).is_some_and(|solve| solve.money == MoneyState::Held) {
            self.settle(solve_id, None, false, now);
        }
    }

    /// An answer is about to be written to the client. Returns whether that must be durable first; then
    /// there is a write to wait for, also while an earlier hand-over is not committed yet.
    pub(super) fn offer(&mut self, solve_id: SolveId) -> bool {
        let Some(solve) = self.solves.get_mut(&solve_id) else { return false };
        let is_ready = solve.money == MoneyState::Ready;
        solve.poll.offers += u32::from(is_ready);
        let waits = is_ready || solve.unseen;
        if waits {
            self.outbox.push(Write::Offer(solve_id, true));
        }
        waits
    }

    /// The answer's last byte was flushed to the client: the solve is charged, once.
    pub fn delivered(&mut self, solve_id: SolveId, now: Now) {
        let Some(solve) = self.solves.get_mut(&solve_id) else { return };
        solve.poll.offers = solve.poll.offers.saturating_sub(1);
        solve.unseen = false;
        let is_due = solve.money == MoneyState::Ready;
        #[cfg(feature = "seeded-bugs")]
        let is_due = is_due || seeded::is_planted(Bug::DoubleSettle);
        if is_due {
            let price = solve.price;
            self.settle(solve_id, Some(price), true, now);
        }
    }

    /// The answer did not reach the client, who may ask again.
    pub fn undelivered(&mut self, solve_id: SolveId, now: Now) {
        let Some(solve) = self.solves.get_mut(&solve_id) else { return };
        solve.poll.offers = solve.poll.offers.saturating_sub(1);
        if solve.money != MoneyState::Ready || solve.poll.offers > 0 {
            return;
        }
        let (price, identity) = (solve.price, solve.submission.identity);
        let unconfirmed = solve.confirm.is_some();
        let is_sync = solve.task.as_ref().is_some_and(|task| task.as_str().starts_with(SYNC_TASK));
        if self.tenant(identity).policy.charge == Charge::Solved {
            self.settle(solve_id, Some(price), false, now);
        } else if is_sync {
            self.forget_soon(solve_id, now);
        } else if !unconfirmed {
            self.outbox.push(Write::Offer(solve_id, false));
        }
    }

    /// Nobody has an id to fetch the answer with: the next look forgets it, and voids its hold.
    fn forget_soon(&mut self, solve_id: SolveId, now: Now) {
        if let Some(solve) = self.solves.get_mut(&solve_id) {
            solve.forget_at = now.mono;
        }
        self.schedule(solve_id);
    }

    /// Ends the money of a solve, once.
    pub(super) fn settle(
        &mut self,
        solve_id: SolveId,
        charged: Option<Money>,
        delivered: bool,
        now: Now,
    ) {
        self.calendar.roll(now.wall);
        let period = self.calendar.period();
        let day = self.calendar.today();
        let Some(solve) = self.solves.get_mut(&solve_id) else { return };
        let is_settled = solve.money == MoneyState::Settled;
        #[cfg(feature = "seeded-bugs")]
        let is_settled = is_settled && !seeded::is_planted(Bug::DoubleSettle);
        if is_settled {
            return;
        }
        solve.money = MoneyState::Settled;
        solve.confirm = None;
        solve.forget_at = now.mono + REMEMBER_FOR;
        let (price, identity) = (solve.price, solve.submission.identity);
        let thread_time = solve.freed_at.since(solve.submitted.mono);
        let task = solve.task.clone();
        let captcha_type = solve.submission.captcha_type;
        for scope in self.scopes_mut(identity) {
            scope.settle(price, charged, period);
        }
        if let Some(task_id) = task {
            self.outbox.push(Write::Settle(SettleRecord {
                solve: solve_id,
                account: self.account_name(identity).clone(),
                task_id,
                tenant: self.tenant(identity).name.clone(),
                key_id: self.key(identity).id.clone(),
                captcha_type,
                charged,
                delivered,
                at: now.wall,
                day,
                thread_time,
            }));
        }
        self.schedule(solve_id);
    }

    /// Frees the thread that a solve occupies, once.
    pub(super) fn release_slot(&mut self, solve_id: SolveId, now: Now) {
        let Some(solve) = self.solves.get_mut(&solve_id).filter(|solve| solve.slot) else { return };
        solve.slot = false;
        solve.freed_at = now.mono;
        let identity = solve.submission.identity;
        self.in_flight_by_type[solve.submission.captcha_type.index()] -= 1;
        for scope in self.scopes_mut(identity) {
            scope.release_slot();
        }
        let account = &mut self.accounts[place_index(identity.account)];
        assert!(account.in_flight > 0, "a thread is released that was never taken");
        account.in_flight -= 1;
    }

    /// Asks for the end of a task's row, if it has one.
    pub(super) fn note_forgotten(&mut self, solve_id: SolveId) {
        if self.solves.get(&solve_id).is_some_and(|solve| solve.task.is_some()) {
            self.outbox.push(Write::Forget(solve_id));
        }
    }

    /// Forgets a solve that nothing more can happen to.
    pub(super) fn drop_solve(&mut self, solve_id: SolveId) {
        let Some(solve) = self.solves.remove(&solve_id) else { return };
        assert!(solve.money == MoneyState::Settled && !solve.slot, "a live solve is forgotten");
        self.answer_bytes -= solve.poll.answer.as_ref().map_or(0, |answer| answer.body.len());
        if let Some(task) = solve.task {
            self.tasks.remove(&(solve.submission.identity.account, task));
        }
        while self.answers.front().is_some_and(|oldest| !self.solves.contains_key(oldest)) {
            self.answers.pop_front();
        }
    }

    fn task_record(&self, solve_id: SolveId, task: &TaskId) -> Option<TaskRecord> {
        let solve = self.solves.get(&solve_id)?;
        let identity = solve.submission.identity;
        Some(TaskRecord {
            solve: solve_id,
            account: self.account_name(identity).clone(),
            task_id: task.clone(),
            tenant: self.tenant(identity).name.clone(),
            key_id: self.key(identity).id.clone(),
            captcha_type: solve.submission.captcha_type,
            price: solve.price,
            submitted_at: solve.submitted.wall,
            source_ip: solve.submission.source_ip,
            page: solve.submission.page.as_deref().map(str::to_owned),
            pingback: solve.submission.pingback,
            state: TaskState::Open,
            verdict: solve.verdict,
        })
    }

    fn solve_record(
        &self,
        solve_id: SolveId,
        outcome: Outcome,
        code: Option<&str>,
        now: Now,
    ) -> Option<SolveRecord> {
        let solve = self.solves.get(&solve_id)?;
        let identity = solve.submission.identity;
        let duration = now.mono.since(solve.submitted.mono);
        Some(SolveRecord {
            solve: solve_id,
            account: self.account_name(identity).clone(),
            task_id: solve.task.clone(),
            tenant: self.tenant(identity).name.clone(),
            key_id: self.key(identity).id.clone(),
            captcha_type: solve.submission.captcha_type,
            outcome,
            error_code: code.map(str::to_owned),
            duration,
            price: solve.price,
            submitted_at: solve.submitted.wall,
            ended_at: now.wall,
            source_ip: solve.submission.source_ip,
            page: solve.submission.page.as_deref().map(str::to_owned),
            success_event: outcome.sli_event(),
            latency_event: self.latency_event(solve, outcome, duration),
        })
    }

    /// Good within the threshold, bad beyond it or without an answer; `None` without such an SLO.
    fn latency_event(
        &self,
        solve: &Solve,
        outcome: Outcome,
        duration: Duration,
    ) -> Option<SliEvent> {
        let threshold = self.policy.slo.slo(solve.submission.captcha_type).latency?.threshold;
        outcome.sli_event().map(|event| match event {
            SliEvent::Good if duration <= threshold => SliEvent::Good,
            SliEvent::Good | SliEvent::Bad => SliEvent::Bad,
        })
    }

    /// Puts a solve into the wake queue for the next time that something is due.
    pub(super) fn schedule(&mut self, solve_id: SolveId) {
        self.schedule_by(solve_id, Mono(u64::MAX));
    }

    /// The same, or earlier: to be looked at without need costs little.
    pub(super) fn schedule_by(&mut self, solve_id: SolveId, latest: Mono) {
        let Some(solve) = self.solves.get_mut(&solve_id) else { return };
        let tenant = place_index(solve.submission.identity.tenant);
        let at =
            super::wake::next_wake(solve, || self.tenants[tenant].policy.charge == Charge::Solved);
        let at = at.min(latest);
        if at < solve.wake_at {
            solve.wake_at = at;
            self.wakes.push(std::cmp::Reverse((at, solve_id)));
        }
    }

    /// Whether a task of that account is known, for tests and the snapshot.
    pub fn solve_of(&self, account: &str, task: &TaskId) -> Option<SolveId> {
        let place = self.account_places.get(account)?;
        self.tasks.get(&(*place, task.clone())).copied()
    }

    /// The time at which a solve counts as timed out.
    pub fn deadline_of(&self, solve_id: SolveId) -> Option<Mono> {
        self.solves.get(&solve_id).map(|solve| solve.deadline)
    }
}
