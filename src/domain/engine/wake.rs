//! What happens without a request: deadlines, the watcher's polls, forgetting.

use std::cmp::Reverse;
use std::time::Duration;

use super::Engine;
use crate::domain::ids::{Name, SolveId, TaskId};
use crate::domain::outcome::Outcome;
use crate::domain::policy::Charge;
use crate::domain::solve::{Confirm, Form, MoneyState, Solve};
use crate::domain::time::{Mono, Now};

/// How soon a poll of the watcher is tried again for which there was no room.
const NO_ROOM: Duration = Duration::from_millis(500);
/// How often a change of an error budget's status is looked for.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How long after a restart an answer that was on its way is taken for delivered. The tests that
/// restart a thousand times wait less.
pub(super) const CONFIRM_AFTER: Duration =
    Duration::from_secs(if cfg!(feature = "failpoints") { 3 } else { 30 });
/// The code of a solve that its client stopped asking about, where the sidecar cannot ask itself.
const ABANDONED: &str = "ABANDONED";

/// A poll that the watcher makes; to be followed by [`Engine::polled`] or [`Engine::poll_dropped`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The solve asked about.
    pub solve: SolveId,
    /// The account to ask with.
    pub account: Name,
    /// The provider's id.
    pub task: TaskId,
    /// The form that the owner asks in.
    pub form: Form,
}

impl Engine {
    /// Does what is due at `now`: times out, confirms, forgets; returns at most `polls_max` polls to
    /// make.
    pub fn expire(&mut self, polls_max: usize, now: Now) -> Vec<Due> {
        let mut due = Vec::new();
        // Each entry once, so that nothing due again at once can keep the caller here.
        self.expire_some(self.wakes(), polls_max, &mut due, now);
        due
    }

    /// Entries that [`expire`](Self::expire) may have to look at.
    pub fn wakes(&self) -> usize {
        self.wakes.len()
    }

    /// The same for at most so many entries; whether there were so many, and so may be more.
    pub fn expire_some(
        &mut self,
        entries_max: usize,
        polls_max: usize,
        due: &mut Vec<Due>,
        now: Now,
    ) -> bool {
        if now.mono.since(self.statuses_at) >= STATUS_EVERY {
            self.statuses_at = now.mono;
            let changes = self.error_budgets.status_changes(now);
            self.status_changes.extend(changes);
        }
        for _ in 0..entries_max {
            let Some(Reverse((at, solve_id))) = self.wakes.peek().copied() else { return false };
            if at > now.mono {
                return false;
            }
            self.wakes.pop();
            if self.solves.get(&solve_id).is_some_and(|solve| solve.wake_at == at) {
                due.extend(self.wake(solve_id, due.len() < polls_max, now));
            }
        }
        true
    }

    /// `may_poll`: there is room for another poll; without, the solve is looked at again soon.
    fn wake(&mut self, solve_id: SolveId, may_poll: bool, now: Now) -> Option<Due> {
        let solve = self.solves.get_mut(&solve_id)?;
        solve.wake_at = Mono(u64::MAX);
        self.time_out(solve_id, now);
        self.confirm(solve_id, now);
        // Before the next poll, which would put it off.
        if self.forget(solve_id, now) {
            return None;
        }
        let solve = self.solves.get(&solve_id)?;
        let watched = super::poll::is_watched(solve, || self.charges_solved(solve_id));
        let mut due = None;
        if watched && now.mono >= solve.poll.watch_at {
            if may_poll {
                due = self.watch(solve_id, now);
            } else if let Some(solve) = self.solves.get_mut(&solve_id) {
                solve.poll.watch_at = now.mono + NO_ROOM;
            }
        }
        self.schedule(solve_id);
        due
    }

    /// Once the deadline passed without a terminal answer, the thread counts as free again; the money
    /// stays held, since a late answer may still be delivered. A submission still without an id keeps
    /// its thread: the shell ends it.
    pub(super) fn time_out(&mut self, solve_id: SolveId, now: Now) {
        let Some(solve) = self.solves.get(&solve_id) else { return };
        if now.mono < solve.deadline {
            return;
        }
        let bound = solve.task.is_some();
        let idle = super::poll::idle_before_watch(solve);
        let abandoned = solve.unwatched && now.mono.since(solve.poll.asked_at) >= idle;
        match solve.poll.proxy_trouble.clone() {
            Some(code) => self.verdict(solve_id, Outcome::ClientError, Some(&code), now),
            None if abandoned => self.verdict(solve_id, Outcome::ClientError, Some(ABANDONED), now),
            None => self.verdict(solve_id, Outcome::Timeout, None, now),
        }
        if bound {
            self.release_slot(solve_id, now);
        }
    }

    /// Charges what is due without a further delivery, unless one is under way.
    fn confirm(&mut self, solve_id: SolveId, now: Now) {
        let Some(solve) = self.solves.get_mut(&solve_id) else { return };
        let Some(confirm) = solve.confirm.filter(|confirm| now.mono >= confirm.at) else { return };
        if solve.poll.offers > 0 {
            solve.confirm = Some(Confirm { at: now.mono + CONFIRM_AFTER, ..confirm });
            return;
        }
        let price = solve.price;
        self.settle(solve_id, Some(price), confirm.delivered, now);
    }

    /// Forgets the solve if its time has come; voids what is still held.
    fn forget(&mut self, solve_id: SolveId, now: Now) -> bool {
        let Some(solve) = self.solves.get_mut(&solve_id) else { return true };
        if now.mono < solve.forget_at {
            return false;
        }
        let on_its_way = solve.poll.offers > 0 && solve.money != MoneyState::Settled;
        if on_its_way || solve.poll.under_way || solve.task.is_none() {
            solve.forget_at = now.mono + Duration::from_mins(1);
            return false;
        }
        let (price, money, confirm) = (solve.price, solve.money, solve.confirm);
        let captcha_type = solve.submission.captcha_type;
        let due =
            confirm.is_some() || (money == MoneyState::Ready && self.charges_solved(solve_id));
        if money == MoneyState::Ready && !due {
            self.unfetched.push(captcha_type);
        }
        self.release_slot(solve_id, now);
        // A crash between the two must leave neither an answer for nothing nor a charge behind.
        let void = !due && money != MoneyState::Settled;
        if void {
            self.note_forgotten(solve_id);
        }
        let delivered = confirm.is_some_and(|confirm| confirm.delivered);
        self.settle(solve_id, due.then_some(price), delivered, now);
        if !void {
            self.note_forgotten(solve_id);
        }
        self.drop_solve(solve_id);
        true
    }

    fn charges_solved(&self, solve_id: SolveId) -> bool {
        self.solves.get(&solve_id).is_some_and(|solve| {
            self.tenant(solve.submission.identity).policy.charge == Charge::Solved
        })
    }
}

/// The next time at which something is due for a solve.
pub(super) fn next_wake(solve: &Solve, charges_solved: impl FnOnce() -> bool) -> Mono {
    let frees_slot = solve.slot && solve.task.is_some();
    let deadline = (solve.verdict.is_none() || frees_slot).then_some(solve.deadline);
    let watched = super::poll::is_watched(solve, charges_solved);
    let watch = watched.then_some(solve.poll.watch_at);
    let confirm = solve.confirm.map(|confirm| confirm.at);
    [deadline, watch, confirm].into_iter().flatten().fold(solve.forget_at, Mono::min)
}
