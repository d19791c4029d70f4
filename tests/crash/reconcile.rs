//! The books: what clients received, what the provider did and what the record says must agree.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::evidence::{Charge, Evidence, Solve};
use crate::notes::{Note, Submitted, Wish, mark};
use crate::tenants::{CAP_MICROS, KEYS, charges_solved};

/// What the synchronous solves are called, which have no id.
const AT_ONCE: &str = "sync-";

/// How the solves came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    pub(crate) submissions: usize,
    pub(crate) refused_here: usize,
    /// Of those, for want of money.
    pub(crate) refused_poor: usize,
    pub(crate) accepted: usize,
    /// Answers received in full, and charged.
    pub(crate) delivered: usize,
    /// Charged, with an answer that was on its way when the sidecar died.
    pub(crate) charged_cut: usize,
    /// Charged because solved is all it takes.
    pub(crate) charged_solved: usize,
    /// Answers cut in the middle.
    pub(crate) cut_in_the_answer: usize,
    /// Taken by the provider, in nobody's record: the sidecar died in between, and no client was told.
    pub(crate) unknown_here: usize,
    pub(crate) charged_micros: i64,
}

/// Everything that does not agree; nothing if all is well.
pub(crate) fn reconcile(evidence: &Evidence) -> (Vec<String>, Summary) {
    let mut books = Books::new(evidence);
    books.check_submissions();
    books.check_charges();
    books.check_notes();
    books.check_record();
    books.check_balances();
    (books.faults, books.summary)
}

struct Books<'a> {
    evidence: &'a Evidence,
    charges: HashMap<usize, Vec<&'a Charge>>,
    on_record: HashSet<usize>,
    faults: Vec<String>,
    summary: Summary,
}

impl<'a> Books<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let rows = evidence.logged.values().chain(evidence.remembered.values());
        let mut books = Self {
            evidence,
            charges: HashMap::new(),
            on_record: rows.filter_map(|row| row.number).collect(),
            faults: Vec::new(),
            summary: Summary::default(),
        };
        for charge in &evidence.charges {
            match books.solve(charge.solve).and_then(|solve| solve.number) {
                Some(number) => books.charges.entry(number).or_default().push(charge),
                None => books.faults.push(format!("a charge for nothing on record: {charge:?}")),
            }
        }
        books
    }

    fn solve(&self, solve: i64) -> Option<&'a Solve> {
        self.evidence.logged.get(&solve).or_else(|| self.evidence.remembered.get(&solve))
    }

    fn fault(&mut self, number: usize, what: &str) {
        let note = self.evidence.notes.get(number);
        let received = self.evidence.received.get(&number);
        let charges = self.charges.get(&number);
        self.faults.push(format!(
            "{}: {what}: {note:?}; at the provider {received:?}; charges {charges:?}",
            mark(number)
        ));
    }

    /// No submission reaches the provider twice, and none that was refused here reaches it at all.
    fn check_submissions(&mut self) {
        for (number, note) in self.evidence.notes.iter().enumerate() {
            let received = self.evidence.received.get(&number).map_or(0, Vec::len);
            if received > 1 {
                self.fault(number, "sent upstream twice");
            }
            if let Submitted::Refused(Some(reason)) = &note.submitted {
                self.summary.refused_here += 1;
                self.summary.refused_poor += usize::from(reason == "insufficient_balance");
                let is_ours = matches!(reason.as_str(), "insufficient_balance" | "in_flight");
                if is_ours && received > 0 {
                    self.fault(number, "refused, and sent upstream all the same");
                }
            }
            let is_answered = note.submitted != Submitted::Unknown;
            if note.submitted == Submitted::Refused(None) && note.wish == Wish::Solved {
                self.fault(number, "refused by nobody");
            }
            self.summary.submissions += 1;
            self.summary.accepted += usize::from(matches!(note.submitted, Submitted::Accepted(_)));
            let is_known = is_answered || self.on_record.contains(&number);
            let has_task = self.task_of(number).is_some();
            self.summary.unknown_here += usize::from(has_task && !is_known);
        }
    }

    /// A charge is for a solve of that tenant's that the provider solved and whose answer went out, once,
    /// at its price.
    fn check_charges(&mut self) {
        let by_number: Vec<_> =
            self.charges.iter().map(|(number, charges)| (*number, charges.clone())).collect();
        for (number, charges) in by_number {
            let Some(note) = self.evidence.notes.get(number) else {
                self.fault(number, "nobody submitted this");
                continue;
            };
            if charges.len() > 1 {
                self.fault(number, "charged twice");
            }
            for charge in &charges {
                self.check_charge(number, note, charge);
            }
            self.summary.charged_micros += charges.iter().map(|charge| charge.micros).sum::<i64>();
        }
    }

    fn check_charge(&mut self, number: usize, note: &Note, charge: &Charge) {
        if (charge.tenant.as_str(), charge.key_id.as_str()) != (note.key.tenant, note.key.id) {
            self.fault(number, "charged to somebody else");
        }
        if charge.micros != note.price() {
            self.fault(number, "charged at another price");
        }
        let task = self.task_of(number);
        let is_solved = task
            .and_then(|id| self.evidence.tasks.get(id))
            .is_some_and(|task| task.is_solved && task.solved_answers > 0);
        if !is_solved {
            self.fault(number, "charged, and not solved");
        }
        let names_it = task.is_some_and(|id| charge.task_id == *id);
        if !names_it && !charge.task_id.starts_with(AT_ONCE) {
            self.fault(number, "charged under another task's id");
        }
        let is_explained = note.delivered > 0 || note.cut > 0 || charges_solved(note.key.tenant);
        if !is_explained {
            self.fault(number, "charged, and no answer was ever on its way");
        }
        // Cut off, it may be charged a grace time after the next start, or with a later delivery.
        let is_early = note.cut_at.is_some_and(|cut_at| charge.at < cut_at);
        if is_early && !charges_solved(note.key.tenant) {
            self.fault(number, "charged before its answer was flushed");
        }
        if note.delivered == 0 && note.cut > 0 {
            self.summary.charged_cut += 1;
        } else if note.delivered == 0 {
            self.summary.charged_solved += 1;
        }
    }

    /// What a client received in full was charged; an id that a client received is on record, as its own.
    fn check_notes(&mut self) {
        let mut by_task: HashMap<&str, &Solve> = HashMap::new();
        for solve in self.evidence.remembered.values().chain(self.evidence.logged.values()) {
            by_task.extend(solve.task_id.as_deref().map(|id| (id, solve)));
        }
        for (number, note) in self.evidence.notes.iter().enumerate() {
            self.summary.cut_in_the_answer += usize::from(note.cut_in_the_answer > 0);
            if note.delivered > 0 {
                self.summary.delivered += 1;
                if !self.charges.contains_key(&number) {
                    self.fault(number, "delivered, and not charged");
                }
            }
            let Submitted::Accepted(Some(id)) = &note.submitted else { continue };
            match by_task.get(id.as_str()) {
                None => self.fault(number, "accepted, and on no record"),
                Some(solve) => {
                    let owner = (solve.tenant.as_str(), solve.key_id.as_str());
                    if owner != (note.key.tenant, note.key.id) || solve.number != Some(number) {
                        self.fault(number, "on record as somebody else's");
                    }
                }
            }
            if self.task_of(number) != Some(id) {
                self.fault(number, "accepted under an id that the provider did not give it");
            }
        }
    }

    /// Nothing is open, and the log says what the ledger says.
    fn check_record(&mut self) {
        for (solve, row) in &self.evidence.remembered {
            if row.state.as_deref() != Some("settled") {
                self.faults.push(format!("solve {solve} is open at the end: {row:?}"));
            }
        }
        let mut booked: BTreeMap<i64, i64> = BTreeMap::new();
        for charge in &self.evidence.charges {
            *booked.entry(charge.solve).or_default() += charge.micros;
        }
        for (solve, row) in &self.evidence.logged {
            let booked = booked.get(solve).copied().unwrap_or_default();
            if row.charged != booked {
                self.faults.push(format!("solve {solve} is booked at {booked}: {row:?}"));
            }
        }
    }

    /// What memory says of every wallet, and of all spending, is what the ledger adds up to.
    fn check_balances(&mut self) {
        if self.evidence.balances.len() < KEYS.len() {
            self.faults.push("balances were not asked for".to_owned());
        }
        for (tenant, key_id, said, when) in &self.evidence.balances {
            let of_tenant = |charge: &&Charge| charge.tenant == *tenant;
            let of_key = |charge: &&Charge| charge.tenant == *tenant && charge.key_id == *key_id;
            let sum =
                |charges: Vec<&Charge>| charges.iter().map(|charge| charge.micros).sum::<i64>();
            let spent = sum(self.evidence.charges.iter().filter(of_tenant).collect());
            let spent_by_key = sum(self.evidence.charges.iter().filter(of_key).collect());
            let credited = |key: Option<&str>| {
                let place = ((*tenant).to_owned(), key.map(str::to_owned));
                self.evidence.credited.get(&place).copied()
            };
            let wallets = [
                credited(None).map(|credited| credited - spent),
                credited(Some(key_id)).map(|credited| credited - spent_by_key),
            ];
            for overdrawn in wallets.iter().flatten().filter(|left| **left < 0) {
                self.faults.push(format!("{tenant}/{key_id} is overdrawn: {overdrawn}"));
            }
            let left = wallets.into_iter().flatten().fold(CAP_MICROS - spent, i64::min);
            if left != *said {
                self.faults
                    .push(format!("{when}: {tenant}/{key_id} has {said}, the ledger {left}"));
            }
        }
    }

    /// The provider's id of a submission.
    fn task_of(&self, number: usize) -> Option<&'a String> {
        self.evidence.received.get(&number)?.iter().flatten().next()
    }
}
