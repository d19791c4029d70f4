//! The record as an independent reader of the journal sees it: what each write means, which order is
//! possible, and what a start is given back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use solvegate::domain::ids::{Name, SolveId};
use solvegate::domain::journal::{
    CreditRecord, Restored, SettleRecord, TaskRecord, TaskState, Write,
};
use solvegate::domain::outcome::Outcome;
use solvegate::record::store::Committed;

use crate::Invariant;
use crate::restored::restored;

/// A task's identity: account and provider's id.
pub(crate) type Task = (Name, String);

#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) tasks: BTreeMap<SolveId, TaskRecord>,
    pub(crate) charges: BTreeMap<Task, SettleRecord>,
    /// Every id that was ever bound, and whose it is.
    pub(crate) bound: BTreeMap<Task, Name>,
    pub(crate) verdicts: BTreeMap<SolveId, Outcome>,
    credits: BTreeMap<String, CreditRecord>,
    /// Their bind was refused.
    refused: BTreeSet<SolveId>,
    /// Forgotten, their void not read yet.
    to_void: BTreeSet<SolveId>,
    next_solve: u64,
    wrong: Vec<(Invariant, String)>,
}

impl Book {
    /// What does not fit, since the last call.
    pub(crate) fn take_wrong(&mut self) -> Vec<(Invariant, String)> {
        std::mem::take(&mut self.wrong)
    }

    pub(crate) fn apply(&mut self, write: &Write) -> Committed {
        match write {
            Write::Bind(task) => return self.bind(task),
            Write::Verdict(row) => {
                self.next_solve = self.next_solve.max(row.solve.0 + 1);
                if self.verdicts.insert(row.solve, row.outcome).is_some() {
                    self.note(Invariant::JournalInOrder, format!("a second verdict: {write:?}"));
                }
                if let Some(task) = self.tasks.get_mut(&row.solve) {
                    task.verdict = Some(row.outcome);
                    if row.outcome == Outcome::Solved {
                        task.state = TaskState::Ready;
                    }
                }
            }
            Write::Ready(solve) => self.step(*solve, &[TaskState::Open], TaskState::Ready),
            Write::Offer(solve, true) => {
                let settled = |task: &TaskRecord| task.state == TaskState::Settled;
                if !self.tasks.get(solve).is_some_and(settled) {
                    self.step(*solve, &[TaskState::Ready, TaskState::Offered], TaskState::Offered);
                }
            }
            Write::Offer(solve, false) => {
                self.step(*solve, &[TaskState::Offered], TaskState::Ready);
            }
            Write::Settle(settled) => self.settle(settled),
            Write::Forget(solve) => {
                let Some(task) = self.tasks.remove(solve) else {
                    if !self.refused.contains(solve) {
                        self.note(Invariant::JournalInOrder, format!("no such task: {write:?}"));
                    }
                    return Committed::Done;
                };
                if task.state != TaskState::Settled {
                    self.to_void.insert(*solve);
                }
            }
            Write::Credit(credit) => {
                if self.credits.insert(credit.cause.clone(), credit.clone()).is_some() {
                    self.note(Invariant::JournalInOrder, format!("credited twice: {write:?}"));
                }
            }
            Write::Key(_) | Write::Notified(_) | Write::Prune(_) => {}
        }
        Committed::Done
    }

    fn note(&mut self, invariant: Invariant, what: String) {
        self.wrong.push((invariant, what));
    }

    fn bind(&mut self, task: &TaskRecord) -> Committed {
        self.next_solve = self.next_solve.max(task.solve.0 + 1);
        let name = (task.account.clone(), task.task_id.as_str().to_owned());
        let is_open =
            |other: &TaskRecord| other.account == name.0 && other.task_id.as_str() == name.1;
        if self.tasks.values().any(is_open) || self.charges.contains_key(&name) {
            self.refused.insert(task.solve);
            return Committed::DuplicateTask;
        }
        self.bound.insert(name, task.tenant.clone());
        if self.tasks.insert(task.solve, task.clone()).is_some() {
            self.note(Invariant::JournalInOrder, format!("bound twice: {task:?}"));
        }
        Committed::Done
    }

    fn step(&mut self, solve: SolveId, from: &[TaskState], to: TaskState) {
        match self.tasks.get_mut(&solve) {
            Some(task) if from.contains(&task.state) => task.state = to,
            other => {
                let what = format!("{solve:?} to {to:?} from {:?}", other.map(|task| task.state));
                self.note(Invariant::JournalInOrder, what);
            }
        }
    }

    fn settle(&mut self, settled: &SettleRecord) {
        if self.refused.contains(&settled.solve) || self.to_void.remove(&settled.solve) {
            if settled.charged.is_some() {
                self.note(Invariant::ChargedOnce, format!("charged, forgotten: {settled:?}"));
            }
            return;
        }
        let Some(task) = self.tasks.get_mut(&settled.solve) else {
            self.note(Invariant::JournalInOrder, format!("settled, not bound: {settled:?}"));
            return;
        };
        let (was, price) = (task.state, task.price);
        task.state = TaskState::Settled;
        if was == TaskState::Settled {
            self.note(Invariant::ChargedOnce, format!("settled twice: {settled:?}"));
        }
        let Some(charged) = settled.charged else { return };
        if was == TaskState::Open || charged != price {
            self.note(Invariant::ChargeHasGround, format!("{was:?}, {price:?}: {settled:?}"));
        }
        let name = (settled.account.clone(), settled.task_id.as_str().to_owned());
        if self.charges.insert(name, settled.clone()).is_some() {
            self.note(Invariant::ChargedOnce, format!("charged twice: {settled:?}"));
        }
    }

    pub(crate) fn task(&self, id: &str) -> Option<&TaskRecord> {
        self.tasks.values().find(|task| task.task_id.as_str() == id)
    }

    pub(crate) fn is_bound(&self, id: &str) -> bool {
        self.bound.keys().any(|(_, bound)| bound == id)
    }

    pub(crate) fn charge(&self, id: &str) -> Option<&SettleRecord> {
        self.charges.iter().find(|((_, charged), _)| charged == id).map(|(_, charge)| charge)
    }

    /// What a start on that day gets.
    pub(crate) fn restored(&self, today: Date) -> Restored {
        let charges = self.charges.values();
        restored(&self.tasks, &self.credits, charges, (self.next_solve, today))
    }
}
