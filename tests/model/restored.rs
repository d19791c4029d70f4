//! What a start is given back, added up from every entry of the ledger.

use std::collections::BTreeMap;

use jiff::civil::Date;
use solvegate::domain::ids::SolveId;
use solvegate::domain::journal::{
    ChargedLater, ChargedTotal, CreditRecord, Restored, SettleRecord, TaskRecord, WalletTotal,
};
use solvegate::domain::money::Money;

/// What a start on `today` gets.
pub(crate) fn restored<'a>(
    tasks: &BTreeMap<SolveId, TaskRecord>,
    credits: &BTreeMap<String, CreditRecord>,
    charges: impl Iterator<Item = &'a SettleRecord>,
    (next_solve, today): (u64, Date),
) -> Restored {
    let mut wallets: BTreeMap<_, Money> = BTreeMap::new();
    for credit in credits.values() {
        *wallets.entry((credit.tenant.clone(), credit.key_id.clone())).or_default() +=
            credit.amount;
    }
    let mut totals: BTreeMap<_, ChargedTotal> = BTreeMap::new();
    let mut later = Vec::new();
    for settled in charges {
        let amount = settled.charged.unwrap_or_default();
        if settled.day > today {
            later.push(ChargedLater {
                tenant: settled.tenant.clone(),
                key_id: settled.key_id.clone(),
                day: settled.day,
                solves: 1,
                spent: amount,
            });
        }
        let total = totals
            .entry((settled.tenant.clone(), settled.key_id.clone()))
            .or_insert_with(|| nothing_charged(settled));
        total.total_spent += amount;
        if settled.day.first_of_month() == today.first_of_month() {
            total.month_spent += amount;
        }
        if settled.day == today {
            total.day_spent += amount;
            total.day_solves += 1;
        }
    }
    let wallet = |((tenant, key_id), amount)| WalletTotal { tenant, key_id, amount };
    Restored {
        tasks: tasks.values().cloned().collect(),
        wallets: wallets.into_iter().map(wallet).collect(),
        charged: totals.into_values().collect(),
        charged_later: later,
        sli: Vec::new(),
        credit_causes: credits.keys().cloned().collect(),
        keys: Vec::new(),
        notified: Vec::new(),
        next_solve,
    }
}

fn nothing_charged(settled: &SettleRecord) -> ChargedTotal {
    ChargedTotal {
        tenant: settled.tenant.clone(),
        key_id: settled.key_id.clone(),
        day_solves: 0,
        day_spent: Money::ZERO,
        month_spent: Money::ZERO,
        total_spent: Money::ZERO,
    }
}
