//! Polls: owner, spacing, memory, trouble.

use super::*;
use crate::domain::account::AccountReport;
use crate::domain::ids::Name;

#[test]
fn for_anybody_but_its_tenant_a_task_does_not_exist() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);

    assert_eq!(poll(&mut engine, BETA, "t1", START), PollDecision::WrongId);
    assert_eq!(poll(&mut engine, PROD, "t2", START), PollDecision::WrongId);
    assert_eq!(engine.owns(who(&engine, BETA), &task("t1")), None);

    let account: Name = "main".into();
    assert_eq!(engine.owns(who(&engine, BATCH), &task("t1")), Some(solve));
    assert_eq!(poll(&mut engine, BATCH, "t1", START), PollDecision::Forward { solve, account });
}

#[test]
fn an_id_that_the_provider_gave_twice_is_never_handed_out() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    let second = admit(&mut engine, BETA, START);

    assert_eq!(engine.bind(second, &task("t1"), START), BindResult::Duplicate);
    engine.submit_failed(second, Outcome::ProviderError, "DUPLICATE_ID", START);

    assert_eq!(poll(&mut engine, BETA, "t1", START), PollDecision::WrongId);
    assert!(matches!(poll(&mut engine, PROD, "t1", START), PollDecision::Forward { .. }));
    assert!(engine.holds_add_up());
}

#[test]
fn a_solve_takes_one_id_only() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    assert_eq!(engine.bind(solve, &task("t2"), START), BindResult::Duplicate);
    assert_eq!(engine.bind(SolveId(99), &task("t3"), START), BindResult::Duplicate);
}

#[test]
fn the_same_id_at_two_accounts_names_two_tasks() {
    let mut engine = engine(|policy| beta(policy).account = "spare".into());
    let first = open(&mut engine, "t1", START);
    let second = admit(&mut engine, BETA, START);
    bind(&mut engine, second, "t1", START);

    let solve_of = |decision| {
        let PollDecision::Forward { solve, account } = decision else { panic!("{decision:?}") };
        (solve, account.to_string())
    };
    assert_eq!(solve_of(poll(&mut engine, PROD, "t1", START)), (first, "main".to_owned()));
    assert_eq!(solve_of(poll(&mut engine, BETA, "t1", START)), (second, "spare".to_owned()));
}

#[test]
fn a_poll_under_way_or_just_back_is_answered_from_memory() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    assert!(matches!(poll(&mut engine, PROD, "t1", START), PollDecision::Forward { .. }));
    assert_eq!(poll(&mut engine, PROD, "t1", START + secs(5)), PollDecision::NotReady);

    let back = START + secs(6);
    assert_eq!(engine.polled(solve, Asker::Client, PollResult::Pending, back), PASSED);
    assert_eq!(poll(&mut engine, PROD, "t1", back), PollDecision::NotReady);
    assert!(matches!(poll(&mut engine, PROD, "t1", back + secs(1)), PollDecision::Forward { .. }));
}

#[test]
fn a_poll_whose_client_left_makes_room_for_the_next() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    poll(&mut engine, PROD, "t1", START);

    engine.poll_dropped(solve);

    assert!(matches!(poll(&mut engine, PROD, "t1", START), PollDecision::Forward { .. }));
}

#[test]
fn a_pending_poll_writes_nothing() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    writes(&mut engine);
    (1..100).for_each(|n| {
        assert_eq!(ask(&mut engine, "t1", PollResult::Pending, START + secs(n)), PASSED);
    });
    assert_eq!(writes(&mut engine), []);
}

#[test]
fn a_terminal_answer_is_remembered_in_the_form_it_came_in() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    assert_eq!(ask(&mut engine, "t1", failed(), START), PASSED);

    let PollDecision::Memory { answer, durable, .. } = poll(&mut engine, PROD, "t1", START) else {
        panic!("not from memory")
    };
    assert_eq!((&answer.body[..], durable), (&b"ERROR_CAPTCHA_UNSOLVABLE"[..], false));
    let identity = who(&engine, PROD);
    let json = engine.poll(identity, &task("t1"), Form::Json, START + secs(1));
    assert!(matches!(json, PollDecision::Forward { .. }));
    engine.poll_dropped(solve);
}

#[test]
fn the_oldest_answers_make_room_for_new_ones() {
    let mut engine = engine(|_| ());
    let large = "x".repeat(20 << 20);
    for id in ["t1", "t2", "t3", "t4"] {
        open(&mut engine, id, START);
        ask(&mut engine, id, PollResult::Solved(answer(&large)), START);
    }

    let later = START + secs(1);
    assert!(matches!(poll(&mut engine, PROD, "t1", later), PollDecision::Forward { .. }));
    assert!(matches!(poll(&mut engine, PROD, "t4", later), PollDecision::Memory { .. }));
    assert_eq!(engine.answer_bytes, 3 * large.len());
    let solve = engine.solve_of("main", &task("t4")).unwrap();
    engine.polled(solve, Asker::Watcher, solved(), later);
    assert_eq!(engine.answer_bytes, 2 * large.len() + "OK|token".len());

    for id in ["t1", "t2", "t3", "t4"] {
        let solve = engine.solve_of("main", &task(id)).unwrap();
        engine.poll_dropped(solve);
        engine.delivered(solve, later);
    }
    engine.expire(usize::MAX, later + FORGET);
    assert_eq!((engine.answer_bytes, engine.answers.len()), (0, 0));
}

#[test]
fn answers_of_forgotten_solves_leave_nothing_behind() {
    let mut engine = engine(|_| ());
    for n in 0..1_000 {
        let (id, now) = (format!("t{n}"), START + secs(n));
        let solve = open(&mut engine, &id, now);
        ask(&mut engine, &id, solved(), now);
        engine.delivered(solve, now);
        engine.expire(usize::MAX, now);
    }

    engine.expire(usize::MAX, START + secs(1_000) + FORGET);

    assert_eq!((engine.answers.len(), engine.wakes.len(), engine.solves.len()), (0, 0, 0));
}

#[test]
fn provider_trouble_is_not_ready_until_the_deadline_and_then_the_end() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    let trouble = || PollResult::Trouble;

    assert_eq!(ask(&mut engine, "t1", trouble(), START), AnswerTo::NotReady);
    let late = START + DEADLINE;
    assert_eq!(ask(&mut engine, "t1", trouble(), late), AnswerTo::GiveUp);
    assert_eq!(held(&mut engine, late), PRICE, "the provider may still have an answer");
}

#[test]
fn a_refused_key_works_again_once_the_provider_answers_a_poll_and_not_before() {
    for (result, works) in [(PollResult::Trouble, false), (PollResult::Pending, true)] {
        let mut engine = engine(|_| ());
        open(&mut engine, "t1", START);
        engine.observe_account("main", AccountReport::KeyRefused, START);
        let later = START + Duration::from_mins(5);

        ask(&mut engine, "t1", result, later);

        assert_eq!(engine.may_ask("main", later), works);
    }
}

#[test]
fn an_unreachable_provider_is_asked_by_one_poll_at_a_time() {
    let mut engine = engine(|_| ());
    open(&mut engine, "t1", START);
    open(&mut engine, "t2", START);
    (0..5).for_each(|_| engine.observe_upstream(false, START));
    assert_eq!(poll(&mut engine, PROD, "t1", START), PollDecision::NotReady);

    let later = START + secs(5);
    assert!(matches!(poll(&mut engine, PROD, "t1", later), PollDecision::Forward { .. }));
    assert_eq!(poll(&mut engine, PROD, "t2", later), PollDecision::NotReady);
    (0..5).for_each(|_| engine.observe_upstream(false, START + DEADLINE));
    assert_eq!(poll(&mut engine, PROD, "t2", START + DEADLINE), PollDecision::GiveUp);
}

#[test]
fn proxy_trouble_to_the_end_is_the_clients_fault() {
    let mut engine = engine(|_| ());
    let proxy = || PollResult::ProxyTrouble("ERROR_PROXY_CONNECTION_FAILED".to_owned());
    for id in ["t1", "t2"] {
        open(&mut engine, id, START);
        assert_eq!(ask(&mut engine, id, proxy(), START), PASSED);
    }
    ask(&mut engine, "t2", PollResult::Pending, START + secs(2));
    writes(&mut engine);

    engine.expire(usize::MAX, START + DEADLINE);

    let written = writes(&mut engine);
    let by_task = |id: &str| {
        let ended = verdicts(&written).into_iter().find(|r| r.task_id == Some(task(id))).unwrap();
        (ended.outcome, ended.error_code.clone(), ended.success_event.is_some())
    };
    let code = Some("ERROR_PROXY_CONNECTION_FAILED".to_owned());
    assert_eq!(by_task("t1"), (Outcome::ClientError, code, false));
    assert_eq!(by_task("t2"), (Outcome::Timeout, None, true));
}

#[test]
fn an_answer_for_a_forgotten_solve_reaches_nobody() {
    let mut engine = engine(|_| ());
    assert_eq!(engine.polled(SolveId(7), Asker::Client, solved(), START), AnswerTo::NotReady);
    assert_eq!(engine.polled(SolveId(7), Asker::Client, PollResult::Pending, START), PASSED);
    assert_eq!(writes(&mut engine), []);
}

#[test]
fn an_answer_may_fill_the_whole_memory() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    let submission = engine.submission_of(solve).unwrap();
    assert_eq!(submission.captcha_type, CaptchaType::RecaptchaV2);
    let largest = "x".repeat(crate::domain::engine::poll::ANSWER_BYTES_MAX);
    ask(&mut engine, "t1", PollResult::Solved(answer(&largest)), START);
    assert!(matches!(poll(&mut engine, PROD, "t1", START + secs(1)), PollDecision::Memory { .. }));
}
