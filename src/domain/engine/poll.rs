//! Polls: whose task it is, whether to ask the provider, and what its answer means.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use super::{Engine, SYNC_TASK, place_index};
use crate::domain::ids::{Name, SolveId, TaskId};
use crate::domain::outcome::Outcome;
use crate::domain::solve::{Answer, Form, Identity, MoneyState, Solve, Submission};
use crate::domain::time::Now;

/// Terminal answers kept in memory, all together. The oldest go first; their owners are answered by
/// the provider again.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The watcher steps in when the owner has not asked for this long; real clients ask at least every
/// 20 s.
pub(super) const WATCH_IDLE: Duration = Duration::from_secs(30);
/// Time between two questions of the watcher.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// The same where the provider calls the client back, so that nobody else will ask.
const WATCH_PINGBACK: Duration = Duration::from_secs(5);
/// The same past the deadline.
const WATCH_LATE: Duration = Duration::from_mins(1);

/// What to do with a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollDecision {
    /// Not the asker's task: for them it does not exist.
    WrongId,
    /// In pass-through: a task from before this process; forwarded and not looked at.
    Untracked,
    /// Asked a moment ago, or being asked.
    NotReady,
    /// The provider cannot be asked, and the deadline is past.
    GiveUp,
    /// The terminal answer.
    Memory {
        /// The solve that it ends.
        solve: SolveId,
        /// Byte for byte.
        answer: Arc<Answer>,
        /// Whether its hand-over must be durable first.
        durable: bool,
    },
    /// Ask the provider; to be followed by [`Engine::polled`] or [`Engine::poll_dropped`].
    Forward {
        /// The solve asked about.
        solve: SolveId,
        /// The account to ask with.
        account: Name,
    },
}

/// What the provider said to a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollResult {
    /// Not yet.
    Pending,
    /// Here it is.
    Solved(Arc<Answer>),
    /// Never; the answer is terminal.
    Failed(Arc<Answer>, Outcome, String),
    /// The client's proxy failed; clients go on polling after this.
    ProxyTrouble(String),
    /// Nothing that a client should see.
    Trouble,
}

/// Who polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The owner, who is waiting for an answer.
    Client,
    /// The sidecar itself.
    Watcher,
}

/// What the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerTo {
    /// What the provider said. `offered`: it is an answer that must be durable first and whose delivery
    /// must be reported by [`Engine::delivered`] or [`Engine::undelivered`].
    PassOn {
        /// See above.
        offered: bool,
    },
    /// That it is not ready.
    NotReady,
    /// That it will never be.
    GiveUp,
}

impl Engine {
    /// Decides on the owner's poll.
    pub fn poll(
        &mut self,
        identity: Identity,
        task: &TaskId,
        form: Form,
        now: Now,
    ) -> PollDecision {
        let pass_through = self.policy.pass_through;
        let unknown = if pass_through { PollDecision::Untracked } else { PollDecision::WrongId };
        let Some(solve_id) = self.owns(identity, task) else { return unknown };
        let Some(solve) = self.solves.get_mut(&solve_id) else { return unknown };
        if is_nobodys(solve) {
            return unknown;
        }
        // Whoever asks has the id after all.
        solve.uncollected = false;
        if pass_through {
            let asker = identity.holder.unwrap_or_default();
            if *solve.submission.identity.holder.get_or_insert(asker) != asker {
                return PollDecision::Untracked;
            }
        }
        solve.poll.asked_at = now.mono;
        if let Some(answer) = solve.poll.answer.as_ref().filter(|answer| answer.form == form) {
            let answer = answer.clone();
            let durable = self.offer(solve_id);
            return PollDecision::Memory { solve: solve_id, answer, durable };
        }
        let spacing = self.policy.poll_spacing;
        let asked_lately = solve.poll.back_at.is_some_and(|at| now.mono.since(at) < spacing);
        // A terminal answer in the other form is no reason to say that there is none.
        if solve.poll.under_way || (asked_lately && solve.poll.answer.is_none()) {
            return PollDecision::NotReady;
        }
        let account = &mut self.accounts[place_index(solve.submission.identity.account)];
        let held_back = !self.upstream.wait(now.mono).is_zero() || !account.may_ask(now.mono);
        if held_back && !pass_through {
            return if now.mono >= solve.deadline {
                PollDecision::GiveUp
            } else {
                PollDecision::NotReady
            };
        }
        self.upstream.try_at(now.mono);
        account.try_key(now.mono);
        solve.poll.under_way = true;
        PollDecision::Forward { solve: solve_id, account: account.name.clone() }
    }

    /// Takes in what the provider said, and says what the client is told.
    pub fn polled(
        &mut self,
        solve_id: SolveId,
        asker: Asker,
        result: PollResult,
        now: Now,
    ) -> AnswerTo {
        if !self.solves.contains_key(&solve_id) {
            return match result {
                // Nothing would charge for it any more.
                PollResult::Solved(_) | PollResult::Trouble => AnswerTo::NotReady,
                PollResult::Pending | PollResult::Failed(..) | PollResult::ProxyTrouble(_) => {
                    AnswerTo::PassOn { offered: false }
                }
            };
        }
        self.time_out(solve_id, now);
        let answer = self.polled_known(solve_id, asker, result, now);
        self.schedule(solve_id);
        answer
    }

    fn polled_known(
        &mut self,
        solve_id: SolveId,
        asker: Asker,
        result: PollResult,
        now: Now,
    ) -> AnswerTo {
        let Some(solve) = self.solves.get_mut(&solve_id) else { return AnswerTo::NotReady };
        if result != PollResult::Trouble {
            self.accounts[place_index(solve.submission.identity.account)].key_worked();
        }
        solve.poll.under_way = false;
        solve.poll.back_at = Some(now.mono);
        solve.poll.watch_at = now.mono + watch_interval(solve, now);
        let past_deadline = now.mono >= solve.deadline;
        let (open, settled) = (solve.money == MoneyState::Held, solve.money == MoneyState::Settled);
        let answered = solve.poll.answer.is_some();
        match result {
            PollResult::Pending => {
                solve.poll.proxy_trouble = None;
                AnswerTo::PassOn { offered: false }
            }
            PollResult::ProxyTrouble(code) => {
                solve.poll.proxy_trouble = Some(code.into());
                AnswerTo::PassOn { offered: false }
            }
            PollResult::Trouble if past_deadline => AnswerTo::GiveUp,
            PollResult::Trouble => AnswerTo::NotReady,
            PollResult::Solved(answer) => {
                self.keep_answer(solve_id, answer);
                self.solved(solve_id, asker == Asker::Client, now);
                AnswerTo::PassOn { offered: asker == Asker::Client && self.offer(solve_id) }
            }
            PollResult::Failed(answer, outcome, code) => {
                // A provider that forgot what it solved takes no answer away.
                if open || (settled && !answered) {
                    self.keep_answer(solve_id, answer);
                }
                self.failed(solve_id, outcome, &code, now);
                AnswerTo::PassOn { offered: false }
            }
        }
    }

    /// A poll that was forwarded came to no end (its client hung up).
    pub fn poll_dropped(&mut self, solve_id: SolveId) {
        if let Some(solve) = self.solves.get_mut(&solve_id) {
            solve.poll.under_way = false;
        }
    }

    /// The asker's solve of that task. Looked for at the tenant's account first, then at the others:
    /// a reload may have moved the tenant since.
    pub fn owns(&self, identity: Identity, task: &TaskId) -> Option<SolveId> {
        let mut name = (identity.account, task.clone());
        let others = (0..self.accounts.len()).filter_map(|place| u32::try_from(place).ok());
        iter::once(identity.account).chain(others).find_map(|account| {
            name.0 = account;
            let solve_id = *self.tasks.get(&name)?;
            let solve = self.solves.get(&solve_id)?;
            (solve.submission.identity.tenant == identity.tenant).then_some(solve_id)
        })
    }

    /// What that solve was asked for with.
    pub fn submission_of(&self, solve_id: SolveId) -> Option<&Submission> {
        self.solves.get(&solve_id).map(|solve| &solve.submission)
    }

    /// What one success of that solve costs.
    pub fn price_of(&self, solve_id: SolveId) -> Option<crate::domain::money::Money> {
        self.solves.get(&solve_id).map(|solve| solve.price())
    }

    fn keep_answer(&mut self, solve_id: SolveId, answer: Arc<Answer>) {
        let Some(solve) = self.solves.get_mut(&solve_id) else { return };
        self.answer_bytes += answer.body.len();
        match solve.poll.answer.replace(answer) {
            Some(old) => self.answer_bytes -= old.body.len(),
            None => self.answers.push_back(solve_id),
        }
        while self.answer_bytes > ANSWER_BYTES_MAX {
            let Some(oldest) = self.answers.pop_front() else { break };
            let dropped = self.solves.get_mut(&oldest).and_then(|solve| solve.poll.answer.take());
            self.answer_bytes -= dropped.map_or(0, |answer| answer.body.len());
        }
    }

    /// Takes a poll for the watcher; `None` when it is not due after all.
    pub(super) fn watch(&mut self, solve_id: SolveId, now: Now) -> Option<super::Due> {
        let held_back = !self.upstream.wait(now.mono).is_zero();
        let solve = self.solves.get_mut(&solve_id)?;
        let task = solve.task.clone()?;
        let account = &mut self.accounts[place_index(solve.submission.identity.account)];
        if solve.poll.under_way || held_back || !account.may_ask(now.mono) {
            solve.poll.watch_at = now.mono + WATCH_EVERY;
            return None;
        }
        let idle = idle_before_watch(solve);
        if !solve.submission.pingback && now.mono.since(solve.poll.asked_at) < idle {
            solve.poll.watch_at = solve.poll.asked_at + idle;
            return None;
        }
        solve.poll.under_way = true;
        solve.poll.watch_at = now.mono + WATCH_EVERY;
        self.upstream.try_at(now.mono);
        account.try_key(now.mono);
        let account = account.name.clone();
        Some(super::Due { solve: solve_id, account, task, form: solve.submission.form })
    }
}

/// An id of the sidecar's own, which no client was given; nothing is to be had by guessing it.
fn is_nobodys(solve: &Solve) -> bool {
    solve.task.as_ref().is_some_and(|task| task.as_str().starts_with(SYNC_TASK))
}

/// How long after its binding the watcher first looks at a solve.
pub(super) fn first_watch(solve: &Solve) -> Duration {
    if solve.submission.pingback {
        WATCH_PINGBACK
    } else if solve.verdict.is_some() {
        WATCH_EVERY
    } else {
        idle_before_watch(solve)
    }
}

/// How long nobody asks before the watcher does. It must ask before the deadline, or every solve that its
/// client gave up would be a time-out of the provider's.
pub(super) fn idle_before_watch(solve: &Solve) -> Duration {
    WATCH_IDLE.min(allowed_time(solve) / 2)
}

fn allowed_time(solve: &Solve) -> Duration {
    solve.deadline.since(solve.submitted.mono)
}

fn watch_interval(solve: &Solve, now: Now) -> Duration {
    if now.mono >= solve.deadline {
        WATCH_LATE
    } else if solve.submission.pingback {
        WATCH_PINGBACK
    } else {
        WATCH_EVERY.min(allowed_time(solve) / 4)
    }
}

/// Whether anything is left to learn about a solve that nobody may be polling.
pub(super) fn is_watched(solve: &Solve, charges_solved: impl FnOnce() -> bool) -> bool {
    let open = solve.verdict.is_none() || solve.slot;
    solve.task.is_some()
        && !solve.unwatched
        && solve.money == MoneyState::Held
        && (open || solve.submission.pingback || charges_solved())
}
