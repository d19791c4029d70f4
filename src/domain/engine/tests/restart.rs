//! A crash at every point of a solve: what the record gives back, and what becomes of it.

use super::*;
use crate::domain::engine::wake::CONFIRM_AFTER;
use crate::domain::journal::{ChargedTotal, TaskRecord, TaskState};

fn record(state: TaskState, verdict: Option<Outcome>) -> TaskRecord {
    TaskRecord {
        solve: SolveId(4),
        account: "main".into(),
        task_id: task("t1"),
        tenant: "acme".into(),
        key_id: "prod".into(),
        captcha_type: CaptchaType::RecaptchaV2,
        price: PRICE,
        submitted_at: START.wall,
        source_ip: None,
        page: None,
        pingback: false,
        state,
        verdict,
    }
}

fn restarted(change: impl FnOnce(&mut Policy), record: TaskRecord, now: Now) -> Engine {
    let restored = Restored { tasks: vec![record], next_solve: 5, ..Restored::default() };
    started(&changed(change), restored, now)
}

const SOLVED: Option<Outcome> = Some(Outcome::Solved);
const LATER: Duration = Duration::from_mins(1);

/// What each settlement charged, and whether it counts as delivered.
fn settled(engine: &mut Engine) -> Vec<(Option<Money>, bool)> {
    let written = writes(engine);
    settlements(&written).iter().map(|record| (record.charged, record.delivered)).collect()
}

#[test]
fn an_open_task_holds_its_price_and_thread_and_is_asked_about_at_once() {
    let mut engine = restarted(|_| (), record(TaskState::Open, None), START + LATER);
    assert_eq!(held(&mut engine, START), PRICE);
    assert_eq!(engine.account_in_flight("main"), 1);

    assert_eq!(watch(&mut engine, &solved(), START + LATER + secs(2)), 1);

    let written = writes(&mut engine);
    assert_eq!(verdicts(&written)[0].duration, LATER + secs(2));
    assert_eq!(engine.account_in_flight("main"), 0);
    assert_eq!(admit(&mut engine, PROD, START + LATER), SolveId(5));
}

#[test]
fn what_finished_while_nobody_could_ask_is_solved_and_no_time_out() {
    let now = START + DEADLINE * 2;
    let mut engine = restarted(|_| (), record(TaskState::Open, None), now);

    assert_eq!(watch(&mut engine, &solved(), now + secs(2)), 1);

    let written = writes(&mut engine);
    assert_eq!(verdicts(&written)[0].outcome, Outcome::Solved);
}

#[test]
fn an_open_task_with_a_verdict_makes_no_second_one_and_takes_no_thread() {
    let mut engine =
        restarted(|_| (), record(TaskState::Open, Some(Outcome::Timeout)), START + LATER);
    assert_eq!((held(&mut engine, START), engine.account_in_flight("main")), (PRICE, 0));

    assert_eq!(ask(&mut engine, "t1", solved(), START + LATER), OFFERED);
    engine.delivered(SolveId(4), START + LATER);

    let written = writes(&mut engine);
    assert_eq!(written[..2], [Write::Ready(SolveId(4)), Write::Offer(SolveId(4), true)]);
    assert_eq!(settlements(&written)[0].charged, Some(PRICE));
    assert_eq!(written.len(), 3);
}

#[test]
fn a_ready_answer_waits_for_its_owner_and_costs_nothing_otherwise() {
    let mut fetched = restarted(|_| (), record(TaskState::Ready, SOLVED), START + LATER);
    assert_eq!(ask(&mut fetched, "t1", solved(), START + LATER), OFFERED);
    fetched.delivered(SolveId(4), START + LATER);
    assert_eq!(settled(&mut fetched), [(Some(PRICE), true)]);

    let mut unfetched = restarted(|_| (), record(TaskState::Ready, SOLVED), START + LATER);
    unfetched.expire(usize::MAX, START + FORGET);
    assert_eq!(settled(&mut unfetched), [(None, false)]);
}

#[test]
fn a_ready_answer_is_charged_after_a_grace_time_where_solved_is_enough() {
    let on_solved = |policy: &mut Policy| acme(policy).charge = Charge::Solved;
    let mut engine = restarted(on_solved, record(TaskState::Ready, SOLVED), START + LATER);
    engine.expire(usize::MAX, START + LATER + secs(30));
    assert_eq!(settled(&mut engine), [(Some(PRICE), false)]);

    let pingback = TaskRecord { pingback: true, ..record(TaskState::Ready, SOLVED) };
    let mut engine = restarted(|_| (), pingback, START + LATER);
    engine.expire(usize::MAX, START + LATER + secs(30));
    assert_eq!(settled(&mut engine), [(Some(PRICE), true)]);
}

#[test]
fn an_unconfirmed_answer_is_charged_after_a_grace_time() {
    let mut engine = restarted(|_| (), record(TaskState::Offered, SOLVED), START + LATER);
    assert_eq!(held(&mut engine, START), PRICE);

    engine.expire(usize::MAX, START + LATER + CONFIRM_AFTER.saturating_sub(secs(1)));
    assert_eq!(settled(&mut engine), []);
    engine.expire(usize::MAX, START + LATER + CONFIRM_AFTER);

    assert_eq!(settled(&mut engine), [(Some(PRICE), true)]);
    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert_eq!(CONFIRM_AFTER, secs(if cfg!(feature = "failpoints") { 3 } else { 30 }));
}

#[test]
fn an_unconfirmed_answer_polled_again_is_charged_once_whether_it_arrives_or_not() {
    for arrives in [true, false] {
        let mut engine = restarted(|_| (), record(TaskState::Offered, SOLVED), START + LATER);
        assert_eq!(ask(&mut engine, "t1", solved(), START + LATER), OFFERED);
        if arrives {
            engine.delivered(SolveId(4), START + LATER);
        } else {
            engine.undelivered(SolveId(4), START + LATER);
        }

        engine.expire(usize::MAX, START + FORGET);

        assert_eq!(settled(&mut engine), [(Some(PRICE), true)]);
    }
}

#[test]
fn an_unconfirmed_answer_that_the_provider_forgot_is_still_charged() {
    let mut engine = restarted(|_| (), record(TaskState::Offered, SOLVED), START + LATER);
    ask(&mut engine, "t1", failed(), START + LATER);
    engine.expire(usize::MAX, START + FORGET);
    assert_eq!(settled(&mut engine), [(Some(PRICE), true)]);
}

#[test]
fn an_unconfirmed_answer_on_its_way_again_waits_for_that() {
    let mut engine = restarted(|_| (), record(TaskState::Offered, SOLVED), START + LATER);
    ask(&mut engine, "t1", solved(), START + LATER);

    engine.expire(usize::MAX, START + LATER + secs(30));
    assert_eq!(settled(&mut engine), []);
    engine.delivered(SolveId(4), START + LATER + secs(31));

    engine.expire(usize::MAX, START + FORGET);
    assert_eq!(settled(&mut engine), [(Some(PRICE), true)]);
}

#[test]
fn an_unconfirmed_answer_that_is_lost_on_its_way_again_is_charged_after_another_grace_time() {
    let mut engine = restarted(|_| (), record(TaskState::Offered, SOLVED), START + LATER);
    ask(&mut engine, "t1", solved(), START + LATER);
    let once = START + LATER + CONFIRM_AFTER;
    engine.expire(usize::MAX, once);
    engine.undelivered(SolveId(4), once);

    engine.expire(usize::MAX, once + CONFIRM_AFTER.saturating_sub(secs(1)));
    assert_eq!(settled(&mut engine), []);
    engine.expire(usize::MAX, once + CONFIRM_AFTER);

    assert_eq!(settled(&mut engine), [(Some(PRICE), true)]);
}

#[test]
fn a_settled_task_is_fetched_again_for_ten_minutes_and_never_charged_again() {
    let mut engine = restarted(|_| (), record(TaskState::Settled, SOLVED), START + LATER);
    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert_eq!(ask(&mut engine, "t1", solved(), START + LATER), PASSED);
    engine.delivered(SolveId(4), START + LATER);

    engine.expire(usize::MAX, START + LATER + secs(600));

    assert_eq!(writes(&mut engine), [Write::Forget(SolveId(4))]);
}

#[test]
fn what_a_removed_tenant_left_open_is_still_settled() {
    let remove = |policy: &mut Policy| drop(policy.tenants.remove("acme"));
    let mut engine = restarted(remove, record(TaskState::Offered, SOLVED), START + LATER);

    engine.expire(usize::MAX, START + LATER + secs(30));

    assert_eq!(settled(&mut engine), [(Some(PRICE), true)]);
    assert!(engine.holds_add_up());
    assert!(engine.snapshot(START).tenants.iter().all(|tenant| &*tenant.name != "acme"));
}

#[test]
fn a_clock_that_jumped_while_the_process_was_down_forgets_nothing_at_once() {
    for jump in [-600_000, 48 * 3_600_000] {
        let now = Now { wall: Wall(START.wall.0 + jump), ..START };
        let mut engine = restarted(|_| (), record(TaskState::Open, None), now);

        engine.expire(usize::MAX, now);
        assert_eq!(ask(&mut engine, "t1", solved(), now + secs(20)), OFFERED);
        engine.delivered(SolveId(4), now + secs(20));

        assert_eq!(charges(&mut engine), [Some(PRICE)]);
    }
}

#[test]
fn what_was_charged_before_is_restored_to_who_paid() {
    let charged = ChargedTotal {
        tenant: "beta".into(),
        key_id: "only".into(),
        day_solves: 2,
        day_spent: usd("0.4"),
        month_spent: usd("1"),
        total_spent: usd("40"),
    };
    let restored = Restored { charged: vec![charged], ..Restored::default() };
    let mut engine = started(&changed(|_| ()), restored, START);
    let solves: Vec<_> =
        engine.snapshot(START).tenants.iter().map(|view| view.day_solves).collect();
    assert_eq!(solves, [0, 2]);
}

#[test]
fn an_answer_found_after_a_restart_waits_for_its_owner() {
    let mut engine = restarted(|_| (), record(TaskState::Open, None), START + LATER);
    assert_eq!(watch(&mut engine, &solved(), START + LATER + secs(20)), 1);
    engine.expire(usize::MAX, START + LATER + secs(20) + CONFIRM_AFTER * 2);
    assert_eq!(held(&mut engine, START), PRICE);
}

#[test]
fn what_is_overdue_at_a_start_is_kept_for_two_grace_times() {
    let now = START + FORGET * 2;
    let mut engine = restarted(|_| (), record(TaskState::Ready, SOLVED), now);
    engine.expire(usize::MAX, now + CONFIRM_AFTER);
    assert_eq!(settled(&mut engine), []);
    engine.expire(usize::MAX, now + CONFIRM_AFTER * 2);
    assert_eq!(settled(&mut engine), [(None, false)]);
}

#[test]
fn a_failure_is_remembered_for_a_settled_task_and_not_for_one_with_an_answer() {
    for (state, remembered) in [(TaskState::Settled, true), (TaskState::Ready, false)] {
        let mut engine = restarted(|_| (), record(state, SOLVED), START + LATER);
        ask(&mut engine, "t1", failed(), START + LATER);
        let again = poll(&mut engine, PROD, "t1", START + LATER + secs(2));
        assert_eq!(matches!(again, PollDecision::Memory { .. }), remembered, "{again:?}");
    }
}
