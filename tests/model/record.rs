//! The record as an independent reader of the journal sees it: what each `Write` means, which order is
//! allowed, and what is given back at start.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use solvegate::domain::ids::{Name, SolveId, TaskId};
use solvegate::domain::journal::{
    CreditRecord, Restored, SettleRecord, TaskRecord, TaskState, Write,
};
use solvegate::domain::money::Money;
use solvegate::domain::outcome::Outcome;

use crate::restored::restored;

#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) tasks: BTreeMap<SolveId, TaskRecord>,
    pub(crate) charges: BTreeMap<(Name, TaskId), SettleRecord>,
    pub(crate) credits: BTreeMap<String, CreditRecord>,
    verdicts: BTreeMap<SolveId, Outcome>,
    /// Forgotten, their void not read yet.
    to_void: BTreeSet<SolveId>,
    next_solve: u64,
}

impl Record {
    pub(crate) fn apply(&mut self, write: &Write) {
        match write {
            Write::Bind(task) => self.bind(task),
            Write::Verdict(solve) => {
                self.next_solve = self.next_solve.max(solve.solve.0 + 1);
                let earlier = self.verdicts.insert(solve.solve, solve.outcome);
                assert_eq!(earlier, None, "a second verdict, so a second SLI event");
                let Some(task) = self.tasks.get_mut(&solve.solve) else { return };
                assert_eq!(task.verdict, None, "a verdict over the one of the bind");
                task.verdict = Some(solve.outcome);
                if solve.outcome == Outcome::Solved {
                    task.state = TaskState::Ready;
                }
            }
            Write::Ready(solve) => {
                let task = self.task(*solve);
                assert!(task.verdict.is_some_and(|verdict| verdict != Outcome::Solved));
                assert_eq!(task.state, TaskState::Open, "ready twice");
                task.state = TaskState::Ready;
            }
            Write::Offer(solve, true) => {
                let task = self.task(*solve);
                assert_ne!(task.state, TaskState::Open, "handed over before it was ready");
                if task.state != TaskState::Settled {
                    task.state = TaskState::Offered;
                }
            }
            Write::Offer(solve, false) => {
                let task = self.task(*solve);
                assert_eq!(task.state, TaskState::Offered, "withdrawn, not offered");
                task.state = TaskState::Ready;
            }
            Write::Settle(settled) => self.settle(settled),
            Write::Forget(solve) => {
                if self.task(*solve).state != TaskState::Settled {
                    self.to_void.insert(*solve);
                }
                self.tasks.remove(solve);
            }
            Write::Credit(credit) => {
                let earlier = self.credits.insert(credit.cause.clone(), credit.clone());
                assert_eq!(earlier, None, "a second credit of one cause");
            }
            Write::Key(_) | Write::Notified(_) | Write::Prune(_) => {
                panic!("the engine writes no {write:?}")
            }
        }
    }

    fn task(&mut self, solve: SolveId) -> &mut TaskRecord {
        let Some(task) = self.tasks.get_mut(&solve) else { panic!("{solve:?} is not bound") };
        task
    }

    fn bind(&mut self, task: &TaskRecord) {
        self.next_solve = self.next_solve.max(task.solve.0 + 1);
        assert_eq!(task.state, TaskState::Open);
        assert_eq!(task.verdict, self.verdicts.get(&task.solve).copied());
        let taken =
            |other: &TaskRecord| other.account == task.account && other.task_id == task.task_id;
        assert!(!self.tasks.values().any(taken), "one id for two solves");
        assert!(self.tasks.insert(task.solve, task.clone()).is_none(), "bound twice");
    }

    fn settle(&mut self, settled: &SettleRecord) {
        if self.to_void.remove(&settled.solve) {
            assert_eq!(settled.charged, None, "a charge for what is forgotten");
            return;
        }
        let task = self.task(settled.solve);
        assert_ne!(task.state, TaskState::Settled, "settled twice");
        if settled.charged.is_some() {
            assert_ne!(task.state, TaskState::Open, "a charge before the answer was ready");
            assert_eq!(settled.charged, Some(task.price));
        }
        task.state = TaskState::Settled;
        if settled.charged.is_some() {
            let cause = (settled.account.clone(), settled.task_id.clone());
            assert!(self.charges.insert(cause, settled.clone()).is_none(), "charged twice");
        }
    }

    /// What a start on that day gets.
    pub(crate) fn restored(&self, today: Date) -> Restored {
        let charges = self.charges.values();
        restored(&self.tasks, &self.credits, charges, (self.next_solve, today))
    }

    /// Every charge and its amount.
    pub(crate) fn charged(&self) -> impl Iterator<Item = (&SettleRecord, Money)> {
        self.charges.values().filter_map(|settled| Some((settled, settled.charged?)))
    }
}
