//! From the answer to the charge, once.

use super::*;

/// A short word for each write, in order.
fn trail(engine: &mut Engine) -> Vec<String> {
    writes(engine)
        .iter()
        .map(|write| match write {
            Write::Bind(_) => "bind".to_owned(),
            Write::Verdict(record) => record.outcome.label().to_owned(),
            Write::Ready(_) => "ready".to_owned(),
            Write::Offer(_, out) => if *out { "offer" } else { "withdraw" }.to_owned(),
            Write::Settle(record) => match (record.charged, record.delivered) {
                (Some(_), true) => "charge".to_owned(),
                (Some(_), false) => "charge undelivered".to_owned(),
                (None, _) => "void".to_owned(),
            },
            Write::Forget(_) => "forget".to_owned(),
            Write::Credit(_) => "credit".to_owned(),
            Write::Key(_) => "key".to_owned(),
            Write::Notified(_) => "notified".to_owned(),
            Write::Prune(_) => "prune".to_owned(),
        })
        .collect()
}

#[test]
fn a_delivered_answer_is_charged_once_however_often_it_is_polled() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    assert_eq!(ask(&mut engine, "t1", solved(), START + secs(9)), OFFERED);
    assert_eq!(trail(&mut engine), ["bind", "solved", "offer"]);
    assert_eq!(held(&mut engine, START), PRICE);

    engine.delivered(solve, START + secs(9));
    for n in 0..1_000 {
        let decision = poll(&mut engine, PROD, "t1", START + secs(10) + Duration::from_millis(n));
        assert!(matches!(decision, PollDecision::Memory { durable: false, .. }));
        engine.delivered(solve, START + secs(10));
    }

    assert_eq!(trail(&mut engine), ["charge"]);
    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert_eq!(engine.snapshot(START).tenants[0].spent, PRICE);
}

#[test]
fn the_records_of_a_solve_say_who_what_when_and_how_long() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    ask(&mut engine, "t1", solved(), START + secs(9));
    engine.delivered(solve, START + secs(12));

    let written = writes(&mut engine);
    let verdict = verdicts(&written)[0];
    assert_eq!((&*verdict.tenant, &*verdict.key_id, &*verdict.account), ("acme", "prod", "main"));
    assert_eq!((verdict.duration, verdict.submitted_at), (secs(9), START.wall));
    let settled = settlements(&written)[0];
    assert_eq!((settled.charged, settled.delivered), (Some(PRICE), true));
    assert_eq!((settled.thread_time, settled.at), (secs(9), (START + secs(12)).wall));
    assert_eq!(settled.day, jiff::civil::date(2026, 11, 21));
}

#[test]
fn an_answer_that_did_not_arrive_is_charged_when_the_next_one_does() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    ask(&mut engine, "t1", solved(), START);
    engine.undelivered(solve, START);
    assert_eq!(trail(&mut engine), ["bind", "solved", "offer", "withdraw"]);
    assert_eq!(held(&mut engine, START), PRICE);

    let again = poll(&mut engine, PROD, "t1", START + secs(1));
    assert!(matches!(again, PollDecision::Memory { durable: true, .. }));
    engine.delivered(solve, START + secs(1));

    assert_eq!(trail(&mut engine), ["offer", "charge"]);
}

/// Found by the simulation: the second of two polls was answered while the first one's write was still
/// waiting for the disk, and a crash then forgot an answer that a client had.
#[test]
fn every_hand_over_has_a_write_of_its_own_to_wait_for() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    ask(&mut engine, "t1", solved(), START);
    assert_eq!(trail(&mut engine), ["bind", "solved", "offer"]);

    let again = poll(&mut engine, PROD, "t1", START);
    assert!(matches!(again, PollDecision::Memory { durable: true, .. }));
    assert_eq!(trail(&mut engine), ["offer"]);

    // In the other form the provider is asked again, and the same success comes back.
    let identity = who(&engine, PROD);
    let forwarded = engine.poll(identity, &task("t1"), Form::Json, START);
    assert!(matches!(forwarded, PollDecision::Forward { .. }));
    assert_eq!(engine.polled(solve, Asker::Client, solved(), START), OFFERED);
    assert_eq!(trail(&mut engine), ["offer"]);
}

#[test]
fn an_answer_that_was_settled_unseen_waits_for_the_record_when_it_is_fetched() {
    let mut engine = engine(|policy| acme(policy).charge = Charge::Solved);
    let solve = open(&mut engine, "t1", START);
    engine.polled(solve, Asker::Watcher, solved(), START);
    assert_eq!(trail(&mut engine), ["bind", "solved", "charge undelivered"]);

    for _ in 0..2 {
        let fetched = poll(&mut engine, PROD, "t1", START);
        assert!(matches!(fetched, PollDecision::Memory { durable: true, .. }));
        assert_eq!(trail(&mut engine), ["offer"]);
    }
    engine.delivered(solve, START);
    let again = poll(&mut engine, PROD, "t1", START);
    assert!(matches!(again, PollDecision::Memory { durable: false, .. }));
    assert_eq!(trail(&mut engine), [""; 0]);
}

#[test]
fn two_answers_on_their_way_at_once_are_charged_once() {
    for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut engine = engine(|_| ());
        let solve = open(&mut engine, "t1", START);
        ask(&mut engine, "t1", solved(), START);
        assert!(matches!(
            poll(&mut engine, PROD, "t1", START),
            PollDecision::Memory { durable: true, .. }
        ));
        assert_eq!(trail(&mut engine), ["bind", "solved", "offer", "offer"]);

        for arrived in [first, second] {
            if arrived {
                engine.delivered(solve, START);
            } else {
                engine.undelivered(solve, START);
            }
        }

        let expected = if first || second { "charge" } else { "withdraw" };
        assert_eq!(trail(&mut engine), [expected], "{first} {second}");
    }
}

#[test]
fn an_answer_that_nobody_fetched_costs_nothing() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    assert_eq!(watch(&mut engine, &solved(), START + secs(30)), 1);
    assert_eq!(trail(&mut engine), ["bind", "solved"]);
    engine.expire(usize::MAX, START + secs(60));
    assert_eq!(held(&mut engine, START), PRICE, "its owner may still come");
    assert_eq!(engine.drain_unfetched().count(), 0);

    engine.expire(usize::MAX, START + FORGET);

    assert_eq!(engine.drain_unfetched().collect::<Vec<_>>(), [CaptchaType::RecaptchaV2]);

    assert_eq!(trail(&mut engine), ["forget", "void"]);
    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert_eq!(poll(&mut engine, PROD, "t1", START + FORGET), PollDecision::WrongId);
}

#[test]
fn where_solved_is_enough_it_is_charged_without_a_delivery() {
    let on_solved = |policy: &mut Policy| acme(policy).charge = Charge::Solved;
    let mut unfetched = engine(on_solved);
    open(&mut unfetched, "t1", START);
    watch(&mut unfetched, &solved(), START + secs(30));
    assert_eq!(trail(&mut unfetched), ["bind", "solved", "charge undelivered"]);

    for (arrives, expected) in [(true, "charge"), (false, "charge undelivered")] {
        let mut polled = engine(on_solved);
        let solve = open(&mut polled, "t1", START);
        ask(&mut polled, "t1", solved(), START);
        if arrives {
            polled.delivered(solve, START);
        } else {
            polled.undelivered(solve, START);
        }
        assert_eq!(trail(&mut polled), ["bind", "solved", "offer", expected]);
    }
}

#[test]
fn what_is_ready_when_solved_becomes_enough_is_charged_at_the_end() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    watch(&mut engine, &solved(), START + secs(30));
    engine.reconfigure(&changed(|policy| acme(policy).charge = Charge::Solved), START);
    writes(&mut engine);

    engine.expire(usize::MAX, START + FORGET);

    assert_eq!(trail(&mut engine), ["charge undelivered", "forget"]);
}

#[test]
fn with_a_pingback_solved_is_delivered() {
    let mut watched = engine(|_| ());
    let fetched = open_with(&mut watched, "t1", START, |submission| submission.pingback = true);
    assert_eq!(watch(&mut watched, &solved(), START + secs(5)), 1);
    assert_eq!(trail(&mut watched), ["bind", "solved", "charge"]);
    for durable in [true, false] {
        let PollDecision::Memory { durable: waits, .. } = poll(&mut watched, PROD, "t1", START)
        else {
            panic!("forgotten")
        };
        assert_eq!(waits, durable, "once a client has it, nobody waits for the record");
        watched.delivered(fetched, START);
    }

    let mut polled = engine(|_| ());
    let solve = open_with(&mut polled, "t1", START, |submission| submission.pingback = true);
    assert_eq!(ask(&mut polled, "t1", solved(), START), OFFERED, "durable before it is seen");
    polled.delivered(solve, START);
    assert_eq!(trail(&mut polled), ["bind", "solved", "charge", "offer"]);
}

#[test]
fn a_failure_costs_nothing_and_frees_everything() {
    let mut engine = engine(|policy| acme(policy).limits.prepaid = Some(prepaid("1")));
    open(&mut engine, "t1", START);
    writes(&mut engine);

    assert_eq!(ask(&mut engine, "t1", failed(), START + secs(3)), PASSED);

    assert_eq!(trail(&mut engine), ["unsolvable", "void"]);
    assert_eq!((held(&mut engine, START), balance(&mut engine, START)), (Money::ZERO, usd("1")));
    assert_eq!(engine.snapshot(START).tenants[0].in_flight, 0);
}

#[test]
fn an_answer_after_the_deadline_is_charged_once_and_makes_no_second_event() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    engine.expire(usize::MAX, START + DEADLINE);
    assert_eq!(trail(&mut engine), ["bind", "timeout"]);
    assert_eq!(engine.snapshot(START).tenants[0].in_flight, 0);

    let late = START + DEADLINE + secs(60);
    assert_eq!(ask(&mut engine, "t1", solved(), late), OFFERED);
    engine.delivered(solve, late);

    assert_eq!(trail(&mut engine), ["ready", "offer", "charge"]);
}

#[test]
fn the_deadline_holds_to_the_instant_also_when_nobody_looked_at_it() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    assert_eq!(engine.deadline_of(solve), Some((START + DEADLINE).mono));

    assert_eq!(ask(&mut engine, "t1", solved(), START + DEADLINE), OFFERED);

    assert_eq!(trail(&mut engine), ["bind", "timeout", "ready", "offer"]);
}

#[test]
fn a_provider_that_forgot_its_answer_takes_no_charge_away() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    ask(&mut engine, "t1", solved(), START);
    let identity = who(&engine, PROD);
    let json = engine.poll(identity, &task("t1"), Form::Json, START + secs(2));
    assert!(matches!(json, PollDecision::Forward { .. }));

    engine.polled(solve, Asker::Client, failed(), START + secs(2));
    engine.delivered(solve, START + secs(3));

    assert_eq!(trail(&mut engine), ["bind", "solved", "offer", "charge"]);
    let PollDecision::Memory { answer, .. } = poll(&mut engine, PROD, "t1", START + secs(4)) else {
        panic!("forgotten")
    };
    assert_eq!(&answer.body[..], b"OK|token");
}

#[test]
fn a_submission_that_failed_is_gone_without_a_trace_of_money() {
    let mut engine = engine(|policy| acme(policy).limits.daily_limit = Some(1));
    let solve = admit(&mut engine, PROD, START);

    engine.submit_failed(solve, Outcome::ClientError, "ERROR_BAD_PARAMETERS", START + secs(1));

    let written = writes(&mut engine);
    let [Write::Verdict(record)] = &written[..] else { panic!("{written:?}") };
    assert_eq!((record.task_id.clone(), record.success_event), (None, None));
    assert_eq!(held(&mut engine, START), Money::ZERO);
    assert_eq!(engine.snapshot(START).remembered, 0);
    admit(&mut engine, PROD, START + secs(1));
}

#[test]
fn a_bound_solve_that_could_not_be_written_down_is_voided() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);

    engine.submit_failed(solve, Outcome::ProviderError, "STORE", START);

    assert_eq!(trail(&mut engine), ["bind", "provider_error", "void", "forget"]);
    assert_eq!(poll(&mut engine, PROD, "t1", START), PollDecision::WrongId);
}

#[test]
fn a_client_told_of_a_failure_may_still_come_for_the_late_id() {
    let mut engine = engine(|_| ());
    let solve = admit(&mut engine, PROD, START);
    engine.answered_without_provider(solve, START + secs(5));
    bind(&mut engine, solve, "t1", START + secs(8));
    let written = writes(&mut engine);
    assert_eq!(verdicts(&written).len(), 1);
    let Some(Write::Bind(record)) = written.last() else { panic!("{written:?}") };
    assert_eq!(record.verdict, Some(Outcome::ProviderError));

    assert_eq!(ask(&mut engine, "t1", solved(), START + secs(20)), OFFERED);
    engine.delivered(solve, START + secs(20));

    assert_eq!(trail(&mut engine), ["ready", "offer", "charge"]);
}

#[test]
fn a_late_id_that_nobody_uses_is_watched_and_frees_its_thread_by_the_deadline() {
    let mut engine = engine(|_| ());
    let solve = admit(&mut engine, PROD, START);
    engine.answered_without_provider(solve, START + secs(5));
    bind(&mut engine, solve, "t1", START + secs(8));
    writes(&mut engine);
    assert_eq!(watch(&mut engine, &PollResult::Pending, START + secs(60)), 1);

    watch(&mut engine, &PollResult::Pending, START + DEADLINE);

    assert_eq!(engine.snapshot(START).tenants[0].in_flight, 0);
    assert!(engine.holds_add_up());
    engine.expire(usize::MAX, START + FORGET);
    assert_eq!(trail(&mut engine), ["forget", "void"]);
}
