//! The reconciliation itself: doctored evidence must not pass.

use crate::evidence::{Charge, Evidence};
use crate::notes::{Submitted, Wish};
use crate::reconcile::reconcile;
use crate::tenants::charges_solved;

/// Doctors sound evidence in each way that a crash could, and sees it found out.
pub(crate) fn bite(sound: &Evidence) {
    let delivered = first(sound, |note| note.delivered > 0 && has_id(&note.submitted));
    let unsolvable = first(sound, |note| note.wish == Wish::Unsolvable && has_id(&note.submitted));
    let charge = charge_of(sound, delivered);
    let at = move |doctored: &Evidence| {
        doctored.charges.iter().position(|other| *other == charge).expect("a charge is missing")
    };

    check(sound, "delivered, and not charged", |e| drop(e.charges.remove(at(e))));
    check(sound, "charged twice", |e| {
        let again = Charge { task_id: "1".to_owned(), ..e.charges[at(e)].clone() };
        e.charges.push(again);
    });
    check(sound, "charged at another price", |e| {
        let place = at(e);
        e.charges[place].micros += 1;
    });
    check(sound, "charged to somebody else", |e| {
        let place = at(e);
        "other".clone_into(&mut e.charges[place].tenant);
    });
    check(sound, "charged, and not solved", |e| {
        let solve = solve_of(e, unsolvable);
        let charge = Charge { solve, ..e.charges[at(e)].clone() };
        e.charges.push(charge);
    });
    check(sound, "no answer was ever on its way", |e| {
        let place = at(e);
        let number = number_of(e, e.charges[place].solve);
        (e.notes[number].delivered, e.notes[number].cut) = (0, 0);
    });
    check(sound, "charged before its answer was flushed", |e| {
        let place = at(e);
        e.notes[delivered].cut_at = Some(e.charges[place].at + 1);
    });
    check(sound, "sent upstream twice", |e| {
        e.received.get_mut(&delivered).unwrap().push(None);
    });
    check(sound, "accepted, and on no record", |e| {
        let solve = solve_of(e, delivered);
        e.logged.remove(&solve);
        e.remembered.remove(&solve);
    });
    check(sound, "on record as somebody else's", |e| {
        let solve = solve_of(e, delivered);
        for rows in [&mut e.logged, &mut e.remembered] {
            if let Some(row) = rows.get_mut(&solve) {
                "other".clone_into(&mut row.key_id);
            }
        }
    });
    check(sound, "is open at the end", |e| {
        let row = e.logged.values().next().unwrap().clone();
        e.remembered
            .insert(-1, crate::evidence::Solve { state: Some("offered".to_owned()), ..row });
    });
    check(sound, "the ledger", |e| e.balances[0].2 += 1);
    check(sound, "is overdrawn", |e| {
        e.credited.values_mut().for_each(|credited| *credited = 0);
    });
}

fn check(sound: &Evidence, expected: &str, doctor: impl FnOnce(&mut Evidence)) {
    let mut doctored = sound.clone();
    doctor(&mut doctored);
    let (faults, _) = reconcile(&doctored);
    let found = faults.iter().any(|fault| fault.contains(expected));
    assert!(found, "`{expected}` was not found out: {faults:?}");
}

/// One of a tenant that pays for what is delivered. (Of one tenant alone, a short run may have no
/// unsolvable solve.)
fn first(evidence: &Evidence, fits: impl Fn(&crate::notes::Note) -> bool) -> usize {
    let numbers = evidence.notes.iter().enumerate();
    let mut fitting = numbers.filter(|(_, note)| !charges_solved(note.key.tenant) && fits(note));
    fitting.next().expect("no such solve").0
}

const fn has_id(submitted: &Submitted) -> bool {
    matches!(submitted, Submitted::Accepted(Some(_)))
}

fn charge_of(evidence: &Evidence, number: usize) -> Charge {
    let solve = solve_of(evidence, number);
    evidence.charges.iter().find(|charge| charge.solve == solve).expect("not charged").clone()
}

fn solve_of(evidence: &Evidence, number: usize) -> i64 {
    let rows = evidence.logged.iter().chain(&evidence.remembered);
    *rows.into_iter().find(|(_, row)| row.number == Some(number)).expect("not on record").0
}

fn number_of(evidence: &Evidence, solve: i64) -> usize {
    evidence.logged[&solve].number.unwrap()
}
