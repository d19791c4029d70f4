//! The audit at the end: what was charged, against what was delivered and what the tenants got.

use std::fmt;
use std::path::Path;

use super::world::SAMPLES;
use crate::domain::calendar::Calendar;
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;
use crate::domain::time::Wall;
use crate::record::store::{Reader, verify};

/// Rows of the log that are looked at: more than a demo makes.
const ROWS_MAX: u32 = 50_000_000;

/// What the books say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Books {
    charges: usize,
    amount: Money,
    delivered: usize,
    /// Of these, with the key that is not the demo's own traffic.
    yours: usize,
    /// Each a sentence; empty when everything agrees.
    faults: Vec<String>,
}

impl Books {
    /// Reads the record that was closed. `answers`: what each tenant's client received; `spent`: what
    /// the sidecar had in memory; `span`: from the demo's start to its end.
    pub(super) fn read(
        store: &Path,
        answers: &[(&'static str, u64)],
        spent: Money,
        span: [Wall; 2],
    ) -> rusqlite::Result<Self> {
        let reader = Reader::open(store)?;
        let mut faults = verify(&reader)?;
        let mut months = span.map(|at| Calendar::new(jiff::tz::TimeZone::UTC, at).today()).to_vec();
        months.dedup_by_key(|day| day.first_of_month());
        let (mut charges, mut amount, mut yours) = (0, Money::ZERO, 0);
        for sample in &SAMPLES {
            let mut of_traffic = 0;
            for month in &months {
                for charge in reader.charges(sample.tenant, *month)? {
                    charges += 1;
                    amount += charge.amount;
                    if charge.key_id == "app" {
                        of_traffic += 1;
                    } else {
                        yours += 1;
                    }
                }
            }
            let received = answers.iter().find(|(tenant, _)| *tenant == sample.tenant);
            let received = received.map_or(0, |(_, count)| *count);
            if received != of_traffic {
                let tenant = sample.tenant;
                faults.push(format!("{tenant} got {received} answers and paid for {of_traffic}"));
            }
        }
        let log = reader.solves(ROWS_MAX)?;
        let delivered =
            log.iter().filter(|row| row.delivered && row.outcome == Some(Outcome::Solved)).count();
        if delivered != charges {
            faults.push(format!("the log has {delivered} delivered, the ledger {charges} charged"));
        }
        if spent != amount {
            faults.push(format!("{spent} USD in memory, {amount} USD in the ledger"));
        }
        Ok(Self { charges, amount, delivered, yours, faults })
    }

    pub(super) fn agree(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.charges == self.delivered { "=" } else { "but" };
        write!(f, "charged {} solves {sign} {} answers delivered", self.charges, self.delivered)?;
        if self.yours > 0 {
            write!(f, " ({} of them yours)", self.yours)?;
        }
        write!(f, ", {:.4} USD, ", self.amount.as_usd())?;
        if self.agree() {
            return f.write_str("ledger agrees");
        }
        write!(f, "the ledger does not agree: {}", self.faults.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::domain::time::Mono;
    use crate::record::store::{Durability, Store, StoreOptions};

    fn empty_record(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("demo.db");
        let clock: crate::record::store::MonoClock = Arc::new(Mono::default);
        let options = StoreOptions { path: path.clone(), durability: Durability::Process, clock };
        let (store, _) = Store::open(&options, jiff::civil::date(2026, 1, 1), "UTC").unwrap();
        store.close(Duration::from_secs(5)).unwrap();
        path
    }

    #[test]
    fn answers_that_nobody_paid_for_are_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = empty_record(folder.path());

        let spent = Money::from_micros(2_000);
        let books = Books::read(&path, &[("acme", 1)], spent, [Wall(0); 2]).unwrap();

        assert!(!books.agree());
        assert_eq!(
            books.to_string(),
            "charged 0 solves = 0 answers delivered, 0.0000 USD, the ledger does not agree: \
             acme got 1 answers and paid for 0; 0.002 USD in memory, 0.00 USD in the ledger"
        );
    }

    #[test]
    fn nothing_charged_for_nothing_agrees() {
        let folder = tempfile::tempdir().unwrap();
        let path = empty_record(folder.path());

        let books = Books::read(&path, &[("acme", 0)], Money::ZERO, [Wall(0); 2]).unwrap();

        assert!(books.agree(), "{books}");
    }
}
