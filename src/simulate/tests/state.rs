//! The state behind the protocol: fates, threads, times, balances; without a socket.

use std::collections::HashSet;
use std::time::Duration;

use super::{KEY, OTHER_KEY, options};
use crate::domain::money::Money;
use crate::simulate::account::AccountChange;
use crate::simulate::answer::{Style, render};
use crate::simulate::options::{Options, PerType, WhenBusy};
use crate::simulate::provider::Provider;
use crate::simulate::request::{Form, Operation};

pub(super) const START: Duration = Duration::from_secs(100);
pub(super) const V2: &str = "method=userrecaptcha&googlekey=6Le-x&pageurl=https://a.test";
pub(super) const TURNSTILE: &str = "method=turnstile&sitekey=s&pageurl=https://a.test";

pub(super) fn provider() -> Provider {
    Provider::new(options())
}

pub(super) fn ask(provider: &mut Provider, now: Duration, target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let form = Form::read(query, "", b"");
    let answer = provider.handle(now, Operation::of(path, &form), path, &form);
    let reply = render(&answer, Style::of(&form, provider.options.dialect));
    String::from_utf8(reply.body.to_vec()).unwrap()
}

pub(super) fn submit(provider: &mut Provider, now: Duration, fields: &str) -> String {
    let answer = ask(provider, now, &format!("/in.php?key={KEY}&{fields}"));
    answer.strip_prefix("OK|").unwrap_or_else(|| panic!("{fields}: {answer}")).to_owned()
}

pub(super) fn poll(provider: &mut Provider, now: Duration, id: &str) -> String {
    ask(provider, now, &format!("/res.php?key={KEY}&action=get&id={id}"))
}

#[test]
fn polls_find_the_same_answer_again_and_only_for_its_owner() {
    let mut provider = provider();
    let id = submit(&mut provider, START, V2);
    let first = poll(&mut provider, START, &id);

    assert_eq!(poll(&mut provider, START + Duration::from_hours(1), &id), first);
    let foreign = format!("/res.php?key={OTHER_KEY}&action=get&id={id}");
    assert_eq!(ask(&mut provider, START, &foreign), "ERROR_WRONG_CAPTCHA_ID");
    let task = &provider.tasks()[0];
    assert_eq!((task.polls, task.solved_answers), (2, 2));
    assert_eq!(format!("OK|{}", task.answer.clone().unwrap()), first);
    assert!(!task.account.contains(KEY));
}

#[test]
fn answers_of_a_thousand_tasks_are_all_different() {
    let mut provider = provider();
    let ids: Vec<String> = (0..1000).map(|_| submit(&mut provider, START, TURNSTILE)).collect();

    let answers: HashSet<String> =
        ids.iter().map(|id| poll(&mut provider, START + Duration::from_secs(1), id)).collect();

    assert_eq!(answers.len(), 1000);
}

#[test]
fn the_same_seed_requests_and_times_give_the_same_answers() {
    let story = |seed: u64| {
        let errors = vec!["unsolvable=0.3".parse().unwrap(), "capacity=0.1".parse().unwrap()];
        let mut provider =
            Provider::new(Options { seed, errors, jitter: 0.5, ..Options::default() });
        let key = crate::simulate::DEFAULT_KEY;
        for second in 0..200 {
            ask(
                &mut provider,
                Duration::from_secs(second),
                &format!("/in.php?key={key}&{TURNSTILE}"),
            );
        }
        provider.tasks()
    };

    assert_eq!(story(7), story(7));
    let outcomes = |seed| {
        story(seed).into_iter().map(|task| (task.outcome, task.ready_ms)).collect::<Vec<_>>()
    };
    assert_ne!(outcomes(7), outcomes(8));
}

#[test]
fn the_error_mix_is_what_was_asked_for() {
    let errors = ["unsolvable=0.2", "timeout=0.1", "submit:ERROR_X=0.1", "turnstile/ERROR_Y=0.1"];
    let errors = errors.iter().map(|text| text.parse().unwrap()).collect();
    let mut provider = Provider::new(Options { errors, ..options() });
    let mut counts = [0; 5];
    for _ in 0..10_000 {
        let answer = ask(&mut provider, START, &format!("/in.php?key={KEY}&{TURNSTILE}"));
        let outcome = match answer.strip_prefix("OK|") {
            // Never ready, so the thread stays busy and the clock has to go past it.
            Some(id) => poll(&mut provider, START + Duration::from_hours(99_999), id),
            None => answer,
        };
        let index = ["OK|", "ERROR_CAPTCHA_UNSOLVABLE", "CAPCHA_NOT_READY", "ERROR_X", "ERROR_Y"];
        counts[index.iter().position(|start| outcome.starts_with(start)).unwrap()] += 1;
    }

    for (count, wanted) in counts.into_iter().zip([5_000, 2_000, 1_000, 1_000, 1_000_i32]) {
        assert!(wanted.abs_diff(count) < 200, "{counts:?}");
    }
    assert_eq!(submit_until_accepted(&mut provider, V2).len(), 10);
}

fn submit_until_accepted(provider: &mut Provider, fields: &str) -> String {
    let target = format!("/in.php?key={KEY}&{fields}");
    let mut answers = std::iter::repeat_with(|| ask(provider, START, &target));
    answers.find_map(|answer| answer.strip_prefix("OK|").map(str::to_owned)).unwrap()
}

fn busy(when_busy: WhenBusy) -> Provider {
    let mut options = options();
    options.accounts[0].threads = 2;
    let second = Duration::from_secs(10);
    Provider::new(Options { when_busy, solve_times: vec![PerType::all(second)], ..options })
}

#[test]
fn a_busy_account_queues_and_each_thread_takes_the_next() {
    let mut provider = busy(WhenBusy::Queue);
    let threads = format!("/res.php?key={KEY}&action=threadsinfo");
    let ids: Vec<_> = (0..3)
        .map(|second| submit(&mut provider, START + Duration::from_secs(second), TURNSTILE))
        .collect();

    let ready: Vec<_> = provider.tasks().iter().map(|task| task.ready_ms.unwrap()).collect();

    assert_eq!(ready, [110_000, 111_000, 120_000]);
    let almost = START + Duration::from_millis(19_999);
    assert_eq!(poll(&mut provider, almost, &ids[2]), "CAPCHA_NOT_READY");
    assert!(ask(&mut provider, almost, &threads).contains(r#""working_threads":1"#));
    assert!(poll(&mut provider, START + Duration::from_secs(20), &ids[2]).starts_with("OK|"));
}

#[test]
fn a_busy_account_may_refuse_instead() {
    for (when_busy, code) in [
        (WhenBusy::ZeroBalance, "ERROR_ZERO_BALANCE"),
        (WhenBusy::NoSlot, "ERROR_NO_SLOT_AVAILABLE"),
    ] {
        let mut provider = busy(when_busy);
        let target = format!("/in.php?key={KEY}&{TURNSTILE}");
        submit(&mut provider, START, TURNSTILE);
        submit(&mut provider, START, TURNSTILE);

        assert_eq!(ask(&mut provider, START, &target), code);
        submit(&mut provider, START + Duration::from_secs(10), TURNSTILE);
    }
}

#[test]
fn solve_times_follow_type_family_scale_and_jitter() {
    let times = ["recaptcha_v2=20s", "all=8s", "image=1s"];
    let solve_times = times.iter().map(|text| text.parse().unwrap()).collect();
    let mut options = options();
    options.accounts[0].threads = 1_000;
    let mut provider =
        Provider::new(Options { solve_times, time_scale: 2.0, jitter: 0.25, ..options });
    for (fields, low, high) in [
        (format!("{V2}&invisible=1"), 7_500, 12_500),
        (TURNSTILE.to_owned(), 3_000, 5_000),
        ("method=base64&body=aGk=".to_owned(), 375, 625),
    ] {
        let mut took = Vec::new();
        for _ in 0..100 {
            submit(&mut provider, START, &fields);
            let task = provider.tasks().pop().unwrap();
            took.push(task.ready_ms.unwrap() - task.submitted_ms);
        }
        assert!(took.iter().all(|time| (low..=high).contains(time)), "{fields}: {took:?}");
        assert!(took.iter().max() > took.iter().min(), "{fields}: {took:?}");
    }
}

#[test]
fn a_success_costs_its_price_and_a_failure_nothing() {
    let prices = vec!["turnstile=4".parse().unwrap()];
    let mut provider = Provider::new(Options { prices, ..options() });
    let failing = "method=turnstile&sitekey=s&pageurl=https://sim.test/?error=ERROR_X";

    submit(&mut provider, START, V2);
    submit(&mut provider, START, failing);
    assert_eq!(provider.balance(KEY), Some(Money::from_micros(10_000_000)));
    submit(&mut provider, START, TURNSTILE);
    submit(&mut provider, START, TURNSTILE);
    assert_eq!(provider.balance(KEY), Some(Money::from_micros(2_000_000)));
    let refused = ask(&mut provider, START, &format!("/in.php?key={KEY}&{TURNSTILE}"));
    assert_eq!(refused, "ERROR_ZERO_BALANCE");
}

#[test]
fn a_page_on_sim_test_forces_the_outcome() {
    let mut provider = provider();
    let page =
        |query: &str| format!("method=turnstile&sitekey=s&pageurl=https://sim.test/?{query}");
    let later = START + Duration::from_secs(3);

    let slow = submit(&mut provider, START, &page("solve=3s%26error=ERROR_CAPTCHA_UNSOLVABLE"));
    let never = submit(&mut provider, START, &page("never"));
    let chosen = submit(&mut provider, START, &page("answer=a%257CERROR"));
    let refused =
        ask(&mut provider, START, &format!("/in.php?key={KEY}&{}", page("submit_error=X")));

    assert_eq!(refused, "X");
    assert_eq!(poll(&mut provider, START, &slow), "CAPCHA_NOT_READY");
    assert_eq!(poll(&mut provider, later, &slow), "ERROR_CAPTCHA_UNSOLVABLE");
    assert_eq!(poll(&mut provider, START * 1000, &never), "CAPCHA_NOT_READY");
    assert_eq!(poll(&mut provider, START, &chosen), "OK|a|ERROR");
}

#[test]
fn accounts_change_while_solves_run() {
    let mut provider = busy(WhenBusy::NoSlot);
    submit(&mut provider, START, TURNSTILE);
    submit(&mut provider, START, TURNSTILE);
    let change = |threads| AccountChange {
        key: KEY.to_owned(),
        threads: Some(threads),
        ..AccountChange::default()
    };

    provider.change_account(&change(1));
    assert_eq!(provider.accounts(START)[0].working_threads, 1);
    provider.change_account(&change(3));
    submit(&mut provider, START, TURNSTILE);
    let lapsed =
        AccountChange { key: KEY.to_owned(), valid: Some(false), ..AccountChange::default() };
    provider.change_account(&lapsed);

    let answer = ask(&mut provider, START, &format!("/res.php?key={KEY}&action=getbalance"));
    assert_eq!(answer, "ERROR_KEY_DOES_NOT_EXIST");
}

#[test]
fn any_key_of_the_right_length_may_be_an_account() {
    let mut provider = Provider::new(Options { any_key: true, ..options() });

    let answer =
        ask(&mut provider, START, &format!("/res.php?key={}&action=getbalance", "z".repeat(32)));

    assert_eq!(answer, "10.00");
}

#[test]
fn no_id_comes_twice_not_even_after_a_reset() {
    let mut provider = provider();
    let before = submit(&mut provider, START, TURNSTILE);

    provider.reset(options());
    let after = submit(&mut provider, START, TURNSTILE);

    assert!(after > before);
    assert_eq!(poll(&mut provider, START, &before), "ERROR_WRONG_CAPTCHA_ID");
}
