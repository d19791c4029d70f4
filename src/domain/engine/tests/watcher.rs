//! What happens without a request: due polls, deadlines, forgetting.

use super::*;
use crate::domain::account::AccountReport;

/// The seconds after START, tried one by one, at which the watcher asks.
fn asks_at(engine: &mut Engine, until: u64, result: &PollResult) -> Vec<u64> {
    (0..=until).filter(|n| watch(engine, result, START + secs(*n)) > 0).collect()
}

#[test]
fn it_steps_in_after_thirty_idle_seconds_and_asks_every_ten() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    assert_eq!(asks_at(&mut engine, 65, &PollResult::Pending), [30, 40, 50, 60]);
}

#[test]
fn it_asks_before_a_short_deadline_so_that_a_given_up_solve_is_no_time_out() {
    let mut engine = engine(|policy| policy.slo.default.deadline = secs(12));
    open(&mut engine, "t1", START);
    assert_eq!(asks_at(&mut engine, 11, &PollResult::Pending), [6, 9]);
}

#[test]
fn it_leaves_alone_what_its_owner_asks_about() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    for n in (5..=60).step_by(5) {
        let now = START + secs(n);
        assert_eq!(watch(&mut engine, &PollResult::Pending, now), 0);
        ask(&mut engine, "t1", PollResult::Pending, now);
    }
    assert_eq!(asks_at(&mut engine, 100, &PollResult::Pending), [90, 100]);
}

#[test]
fn it_asks_every_five_seconds_where_the_provider_calls_back_and_each_minute_when_late() {
    let mut engine = engine(|_| ());
    open_with(&mut engine, "t1", START, |submission| submission.pingback = true);
    let asked = asks_at(&mut engine, 310, &PollResult::Pending);
    assert_eq!(asked[..4], [5, 10, 15, 20]);
    assert_eq!(asked[asked.len() - 3..], [180, 240, 300]);
}

#[test]
fn it_asks_on_after_the_deadline_only_where_an_unfetched_answer_is_charged() {
    let mut delivered = engine(|_| ());
    open(&mut delivered, "t1", START);
    assert_eq!(asks_at(&mut delivered, 600, &PollResult::Pending).last(), Some(&170));

    let mut on_solved = engine(|policy| acme(policy).charge = Charge::Solved);
    open(&mut on_solved, "t1", START);
    let asked = asks_at(&mut on_solved, 600, &PollResult::Pending);
    assert_eq!(asked[asked.len() - 3..], [480, 540, 600]);
}

#[test]
fn what_is_due_is_done_in_steps_with_one_number_of_polls_over_all() {
    let mut engine = engine(|_| ());
    for id in ["t1", "t2", "t3"] {
        open(&mut engine, id, START);
    }
    let (mut due, mut steps) = (Vec::new(), 0);
    while engine.expire_some(1, 2, &mut due, START + secs(30)) {
        steps += 1;
    }
    assert_eq!((due.len(), steps), (2, 3));
}

#[test]
fn it_asks_no_more_once_it_knows() {
    for result in [solved(), failed()] {
        let mut engine = engine(|_| ());
        open(&mut engine, "t1", START);
        assert_eq!(asks_at(&mut engine, 200, &result), [30]);
        assert_eq!(engine.snapshot(START).tenants[0].in_flight, 0);
    }
}

#[test]
fn it_asks_neither_with_a_refused_key_nor_while_the_provider_is_down() {
    let mut refused = engine(|_| ());
    open(&mut refused, "t1", START);
    refused.observe_account("main", AccountReport::KeyRefused, START);
    assert_eq!(asks_at(&mut refused, 170, &PollResult::Pending), Vec::<u64>::new());

    let mut down = engine(|_| ());
    for n in 0..10 {
        open(&mut down, &format!("t{n}"), START);
    }
    (0..5).for_each(|_| down.observe_upstream(false, START + secs(28)));
    assert_eq!(watch(&mut down, &PollResult::Trouble, START + secs(30)), 0);
    assert_eq!(down.expire(usize::MAX, START + secs(40)).len(), 1, "one probe");
}

#[test]
fn it_makes_no_more_polls_at_once_than_it_may() {
    let mut engine = engine(|_| ());
    for n in 0..10 {
        open(&mut engine, &format!("t{n}"), START);
    }
    let rounds = (0..4).map(|round| START + secs(30) + Duration::from_millis(500) * round);
    let due: Vec<_> = rounds.map(|now| engine.expire(3, now).len()).collect();
    assert_eq!(due, [3, 3, 3, 1]);
}

#[test]
fn deadlines_and_forgetting_do_not_wait_for_room_for_polls() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);

    assert!(engine.expire(0, START + DEADLINE).is_empty());
    assert_eq!(engine.snapshot(START).tenants[0].in_flight, 0);
    engine.expire(0, START + FORGET);

    assert_eq!(engine.snapshot(START).remembered, 0);
}

#[test]
fn an_answer_that_nobody_has_an_id_for_holds_no_money() {
    let mut engine = engine(|_| ());
    let solve = admit(&mut engine, PROD, START);
    engine.answered_without_provider(solve, START + secs(4));
    bind(&mut engine, solve, "t1", START + secs(8));

    assert_eq!(watch(&mut engine, &solved(), START + secs(20)), 1);
    engine.expire(0, START + secs(21));

    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert!(engine.holds_add_up());
    assert_eq!(poll(&mut engine, PROD, "t1", START + secs(21)), PollDecision::WrongId, "guessed");
}

#[test]
fn a_synchronous_answer_that_was_not_delivered_holds_no_money() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "sync-0", START);
    let told = engine.polled(solve, Asker::Client, solved(), START);
    assert_eq!(told, OFFERED);

    engine.undelivered(solve, START);
    assert_eq!(poll(&mut engine, PROD, "sync-0", START), PollDecision::WrongId, "guessed");
    engine.expire(0, START + secs(1));

    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert!(engine.holds_add_up());
}

#[test]
fn a_timed_out_solve_frees_its_thread_and_keeps_its_hold_until_it_is_forgotten() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    engine.expire(usize::MAX, START + DEADLINE);
    assert_eq!((engine.snapshot(START).tenants[0].in_flight, held(&mut engine, START)), (0, PRICE));

    engine.expire(usize::MAX, START + FORGET.saturating_sub(secs(1)));
    assert_eq!(held(&mut engine, START), PRICE);
    engine.expire(usize::MAX, START + FORGET);

    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert_eq!(charges(&mut engine), [None]);
}

#[test]
fn a_settled_solve_is_remembered_for_ten_minutes() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    ask(&mut engine, "t1", solved(), START);
    engine.delivered(solve, START);

    engine.expire(usize::MAX, START + secs(599));
    assert!(matches!(poll(&mut engine, PROD, "t1", START), PollDecision::Memory { .. }));
    engine.expire(usize::MAX, START + secs(600));
    assert_eq!(poll(&mut engine, PROD, "t1", START), PollDecision::WrongId);
}

#[test]
fn nothing_is_forgotten_while_it_is_asked_about_or_on_its_way() {
    let mut engine = engine(|_| ());
    let asked = open(&mut engine, "t1", START);
    let offered = open(&mut engine, "t2", START);
    ask(&mut engine, "t2", solved(), START);
    let almost = START + FORGET.saturating_sub(secs(1));
    assert!(matches!(poll(&mut engine, PROD, "t1", almost), PollDecision::Forward { .. }));

    engine.expire(usize::MAX, START + FORGET);
    assert_eq!(engine.polled(asked, Asker::Client, solved(), START + FORGET), OFFERED);
    engine.delivered(asked, START + FORGET);
    engine.delivered(offered, START + FORGET);

    assert_eq!(charges(&mut engine), [Some(PRICE), Some(PRICE)]);
}

/// Found by the model: each of the watcher's polls put the end off by another minute.
#[test]
fn a_solve_that_stays_pending_is_forgotten_although_it_is_watched() {
    let mut engine = engine(|_| ());
    open_with(&mut engine, "t1", START, |submission| submission.pingback = true);

    for n in 0..=60 {
        watch(&mut engine, &PollResult::Pending, START + secs(60 * n));
    }

    assert_eq!(engine.snapshot(START).remembered, 0);
    assert_eq!(charges(&mut engine), [None]);
    assert_eq!(engine.drain_unfetched().count(), 0, "there was no answer to fetch");
}

#[test]
fn a_submission_without_an_id_keeps_its_thread_past_the_deadline() {
    let mut engine = engine(|_| ());
    let solve = admit(&mut engine, PROD, START);
    engine.expire(usize::MAX, START + DEADLINE);
    engine.expire(usize::MAX, START + FORGET);
    assert_eq!(engine.snapshot(START).tenants[0].in_flight, 1);

    engine.submit_failed(solve, Outcome::ProviderError, "TIMEOUT", START + FORGET);

    assert_eq!(engine.snapshot(START).tenants[0].in_flight, 0);
    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert_eq!(verdicts(&writes(&mut engine)).len(), 1);
}

#[test]
fn a_submission_still_without_an_id_is_a_time_out_at_the_deadline() {
    let mut engine = engine(|_| ());
    admit(&mut engine, PROD, START);

    engine.expire(usize::MAX, START + DEADLINE.saturating_sub(secs(1)));
    assert_eq!(writes(&mut engine), []);
    engine.expire(usize::MAX, START + DEADLINE);

    assert_eq!(verdicts(&writes(&mut engine))[0].outcome, Outcome::Timeout);
}

#[test]
fn a_wall_clock_that_jumps_moves_no_deadline() {
    for jump in [-600_000, 48 * 3_600_000] {
        let mut engine = engine(|_| ());
        open(&mut engine, "t1", START);
        let jumped = |now: Now| Now { wall: Wall(now.wall.0 + jump), ..now };
        writes(&mut engine);

        engine.expire(usize::MAX, jumped(START + DEADLINE.saturating_sub(secs(1))));
        assert_eq!(writes(&mut engine), []);
        engine.expire(usize::MAX, jumped(START + DEADLINE));

        let written = writes(&mut engine);
        assert_eq!(verdicts(&written)[0].duration, DEADLINE);
    }
}

#[test]
fn a_solve_that_goes_its_usual_way_is_looked_at_twice_and_queued_once() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    ask(&mut engine, "t1", solved(), START + secs(9));
    engine.delivered(SolveId(0), START + secs(10));
    assert_eq!(engine.wakes.len(), 1);

    watch(&mut engine, &PollResult::Pending, START + secs(30));
    assert_eq!((engine.wakes.len(), engine.solves.len()), (1, 1));
    watch(&mut engine, &PollResult::Pending, START + secs(610));
    assert_eq!((engine.wakes.len(), engine.solves.len()), (0, 0));
}
