//! Wallets: opening, credits, holds and overdraft.

use super::*;
use crate::domain::engine::CreditResult;
use crate::domain::journal::{ChargedTotal, CreditKind, CreditRecord, WalletTotal};
use crate::domain::rejection::Reason;

fn credit(cause: &str, amount: &str) -> CreditRecord {
    CreditRecord {
        cause: cause.to_owned(),
        kind: CreditKind::Credit,
        tenant: "acme".into(),
        key_id: None,
        amount: usd(amount),
        at: START.wall,
        note: String::new(),
    }
}

fn deliver(engine: &mut Engine, id: &str) {
    assert_eq!(ask(engine, id, solved(), START), OFFERED);
    let solve = engine.solve_of("main", &task(id)).unwrap();
    engine.delivered(solve, START);
}

#[test]
fn with_holds_the_balance_never_goes_below_zero() {
    let mut engine = engine(|policy| acme(policy).limits.prepaid = Some(prepaid("0.010")));

    assert_eq!(admissions(&mut engine, PROD, 10, START), 3);
    let solves: Vec<_> = engine.solves.keys().copied().collect();
    for (n, solve) in solves.into_iter().enumerate() {
        let id = format!("t{n}");
        bind(&mut engine, solve, &id, START);
        deliver(&mut engine, &id);
    }

    assert_eq!(balance(&mut engine, START), usd("0.001"));
    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert_eq!(refused(&mut engine, PROD, START).reason, Reason::InsufficientBalance);
}

#[test]
fn the_looser_rule_overdraws_by_what_is_in_flight_at_most() {
    let mut engine = engine(|policy| {
        acme(policy).limits.prepaid = Some(prepaid("0.003"));
        acme(policy).limits.in_flight_max = Some(4);
        acme(policy).overdraft = Overdraft::InFlight;
    });

    let ids = ["t1", "t2", "t3", "t4"];
    for id in ids {
        open(&mut engine, id, START);
    }
    for id in ids {
        deliver(&mut engine, id);
    }

    assert_eq!(balance(&mut engine, START), usd("-0.009"));
    assert_eq!(refused(&mut engine, PROD, START).reason, Reason::InsufficientBalance);
}

#[test]
fn a_key_pays_from_its_own_wallet_and_the_tenants() {
    let mut engine = engine(|policy| {
        acme(policy).limits.prepaid = Some(prepaid("1"));
        prod(policy).limits.prepaid = Some(prepaid("0.003"));
    });

    open(&mut engine, "t1", START);
    deliver(&mut engine, "t1");

    assert_eq!(balance(&mut engine, START), usd("0.997"));
    assert!(refused(&mut engine, PROD, START).text.starts_with("key prod"));
    admit(&mut engine, BATCH, START);
}

#[test]
fn an_opening_balance_is_credited_once_in_the_life_of_a_wallet() {
    let policy = changed(|policy| acme(policy).limits.prepaid = Some(prepaid("5")));
    let mut engine = Engine::new(&policy, Restored::default(), START);
    let written = writes(&mut engine);
    let [Write::Credit(opening)] = &written[..] else { panic!("{written:?}") };
    assert_eq!((opening.kind, opening.amount), (CreditKind::Opening, usd("5")));
    assert_eq!(opening.cause, "opening:acme");

    engine.reconfigure(&changed(|policy| acme(policy).limits.prepaid = Some(prepaid("7"))), START);
    engine.reconfigure(&changed(|_| ()), START);
    engine.reconfigure(&policy, START);
    assert_eq!(writes(&mut engine), []);
    assert_eq!(balance(&mut engine, START), usd("5"));

    let wallet = WalletTotal { tenant: "acme".into(), key_id: None, amount: usd("5") };
    let restored = Restored { wallets: vec![wallet], ..Restored::default() };
    let mut restarted = Engine::new(&policy, restored, START);
    assert_eq!(writes(&mut restarted), []);
    assert_eq!(balance(&mut restarted, START), usd("5"));
}

#[test]
fn what_was_charged_before_the_wallet_existed_is_offset() {
    let charged = ChargedTotal {
        tenant: "acme".into(),
        key_id: "prod".into(),
        day_solves: 2,
        day_spent: usd("0.4"),
        month_spent: usd("1"),
        total_spent: usd("40"),
    };
    let restored = Restored { charged: vec![charged], ..Restored::default() };
    let policy = changed(|policy| acme(policy).limits.prepaid = Some(prepaid("5")));

    let mut engine = Engine::new(&policy, restored, START);

    assert_eq!(balance(&mut engine, START), usd("5"));
    let written = writes(&mut engine);
    let [Write::Credit(_), Write::Credit(offset)] = &written[..] else { panic!("{written:?}") };
    assert_eq!((offset.kind, offset.amount), (CreditKind::Adjustment, usd("40")));
    let view = &engine.snapshot(START).tenants[0];
    assert_eq!((view.day_solves, view.month_spent), (2, usd("1")));
}

#[test]
fn a_credit_counts_once_per_cause_also_after_a_restart() {
    let policy = changed(|policy| acme(policy).limits.prepaid = Some(prepaid("0")));
    let mut engine = started(&policy, Restored::default(), START);
    refused(&mut engine, PROD, START);

    assert_eq!(engine.credit(credit("invoice-7", "2")), CreditResult::Credited);
    assert_eq!(engine.credit(credit("invoice-7", "2")), CreditResult::Repeated);

    assert_eq!(balance(&mut engine, START), usd("2"));
    assert_eq!(writes(&mut engine).len(), 1);
    admit(&mut engine, PROD, START);
    let wallet = WalletTotal { tenant: "acme".into(), key_id: None, amount: usd("2") };
    let restored = Restored {
        wallets: vec![wallet],
        credit_causes: vec!["opening:acme".to_owned(), "invoice-7".to_owned()],
        ..Restored::default()
    };
    let mut restarted = started(&policy, restored, START);
    assert_eq!(restarted.credit(credit("invoice-7", "2")), CreditResult::Repeated);
}

#[test]
fn a_credit_needs_a_wallet_to_go_to() {
    let mut engine = engine(|policy| prod(policy).limits.prepaid = Some(prepaid("0")));
    let to_key = |key: &str| CreditRecord { key_id: Some(key.into()), ..credit("a", "1") };
    let to_nobody = CreditRecord { tenant: "nobody".into(), ..credit("a", "1") };

    assert_eq!(engine.credit(credit("a", "1")), CreditResult::NoWallet);
    assert_eq!(engine.credit(to_key("batch")), CreditResult::NoWallet);
    assert_eq!(engine.credit(to_key("gone")), CreditResult::NoWallet);
    assert_eq!(engine.credit(to_nobody), CreditResult::NoWallet);
    assert_eq!(writes(&mut engine), []);
    assert_eq!(engine.credit(to_key("prod")), CreditResult::Credited);
}
