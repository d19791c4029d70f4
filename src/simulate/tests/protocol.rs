//! The protocol: every action in every form, every refusal, and the state behind them.

use std::collections::HashSet;
use std::time::Duration;

use super::{KEY, OTHER_KEY, options};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::money::Money;
use crate::simulate::account::AccountChange;
use crate::simulate::answer::{Style, render};
use crate::simulate::options::{Dialect, IdForm, Options, PerType, WhenBusy};
use crate::simulate::provider::Provider;
use crate::simulate::request::{Form, Operation};

const START: Duration = Duration::from_secs(100);
const V2: &str = "method=userrecaptcha&googlekey=6Le-x&pageurl=https://a.test";
const TURNSTILE: &str = "method=turnstile&sitekey=s&pageurl=https://a.test";

fn provider() -> Provider {
    Provider::new(options())
}

fn ask(provider: &mut Provider, now: Duration, target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let form = Form::read(query, "", b"");
    let answer = provider.handle(now, Operation::of(path, &form), path, &form);
    let reply = render(&answer, Style::of(&form, provider.options.dialect));
    String::from_utf8(reply.body.to_vec()).unwrap()
}

fn submit(provider: &mut Provider, now: Duration, fields: &str) -> String {
    let answer = ask(provider, now, &format!("/in.php?key={KEY}&{fields}"));
    answer.strip_prefix("OK|").unwrap_or_else(|| panic!("{fields}: {answer}")).to_owned()
}

fn poll(provider: &mut Provider, now: Duration, id: &str) -> String {
    ask(provider, now, &format!("/res.php?key={KEY}&action=get&id={id}"))
}

#[test]
fn each_action_answers_in_the_form_asked_for() {
    let mut provider = provider();
    let id = submit(&mut provider, START, TURNSTILE);
    let report = |action: &str| format!("action={action}&id={id}");
    for (fields, text, json) in [
        ("action=getbalance", "10.00", r#"{"status":1,"request":"10.00"}"#),
        ("", "ERROR_EMPTY_ACTION", r#"{"status":0,"request":"ERROR_EMPTY_ACTION"}"#),
        (
            "action=nonsense",
            "ERROR_NO_SUCH_METHOD",
            r#"{"status":0,"request":"ERROR_NO_SUCH_METHOD"}"#,
        ),
        ("action=get2", "ERROR_NO_SUCH_METHOD", r#"{"status":0,"request":"ERROR_NO_SUCH_METHOD"}"#),
        (
            "action=get&id=77",
            "ERROR_WRONG_CAPTCHA_ID",
            r#"{"status":0,"request":"ERROR_WRONG_CAPTCHA_ID"}"#,
        ),
        (
            "action=threadsinfo",
            r#"{"status":1,"threads":50,"working_threads":0}"#,
            r#"{"status":1,"threads":50,"working_threads":0}"#,
        ),
    ] {
        let target = format!("/res.php?key={KEY}&{fields}");
        assert_eq!(ask(&mut provider, START, &target), text, "{fields}");
        assert_eq!(ask(&mut provider, START, &format!("{target}&json=1")), json, "{fields}");
    }
    let target = format!("/res.php?key={KEY}&{}", report("reportgood"));
    assert_eq!(ask(&mut provider, START, &target), "OK_REPORT_RECORDED");
    let again = format!("/res.php?key={KEY}&{}", report("reportbad"));
    assert_eq!(ask(&mut provider, START, &again), "ERROR_DUPLICATE_REPORT");
}

#[test]
fn each_type_has_its_own_shape_of_success() {
    let mut provider = provider();
    let proxy = "proxy=1.2.3.4:80&proxytype=HTTP&pageurl=https://a.test";
    for (fields, text, json) in [
        (V2, "OK|answer-ID-recaptcha_v2-", r#"{"status":1,"request":"answer-ID-recaptcha_v2-"#),
        (
            &format!("{V2}&enterprise=1"),
            "OK|answer-ID-recaptcha_v2_enterprise-",
            r#"{"status":1,"result":"answer-ID-recaptcha_v2_enterprise-"#,
        ),
        (
            &format!("{V2}&version=v3&enterprise=true"),
            "OK|answer-ID-recaptcha_v3_enterprise-",
            r#"{"status":1,"result":"answer-ID-recaptcha_v3_enterprise-"#,
        ),
        (TURNSTILE, "OK|answer-ID-turnstile-", r#"{"status":1,"request":"answer-ID-turnstile-"#),
        (
            &format!("method=cloudflare_challenge&{proxy}"),
            "OK|answer-ID-cloudflare_challenge-",
            r#"{"status":1,"result":"answer-ID-cloudflare_challenge-"#,
        ),
        (
            &format!("method=captchafox&sitekey=s&{proxy}"),
            "OK|answer-ID-captchafox-",
            r#"{"status":1,"request":"answer-ID-captchafox-"#,
        ),
        ("method=base64&body=aGk=", "OK|answer-ID", r#"{"status":1,"request":"answer-ID"}"#),
        ("method=base64&body=aGk=&grid_size=3x3", "OK|[", r#"{"status":1,"request":"["#),
        ("method=bls&instructions=664&image_base64_1=aGk=", "OK|[", r#"{"status":1,"request":"["#),
        (
            "method=geetest&gt=g&challenge=c&pageurl=https://a.test",
            "OK|challenge:answer-ID-geetest_v3-",
            r#"{"status":1,"request":"{\"challenge\":\"answer-ID-geetest_v3-"#,
        ),
        (
            "method=lemin&captcha_id=c&div_id=d&pageurl=https://a.test",
            r#"OK|{"answer":"answer-ID-lemin-"#,
            r#"{"status":1,"request":"{\"answer\":\"answer-ID-lemin-"#,
        ),
        ("method=brand_new", "OK|answer-ID-other-", r#"{"status":1,"request":"answer-ID-other-"#),
    ] {
        let id = submit(&mut provider, START, fields);
        let in_text = poll(&mut provider, START, &id);
        let in_json = poll(&mut provider, START, &format!("{id}&json=1"));

        assert!(in_text.starts_with(&text.replace("ID", &id)), "{fields}: {in_text}");
        assert!(in_json.starts_with(&json.replace("ID", &id)), "{fields}: {in_json}");
        assert!(serde_json::from_str::<serde_json::Value>(&in_json).is_ok(), "{in_json}");
        let has_user_agent = json.contains("result") || fields.contains("captchafox");
        assert_eq!(in_json.contains(r#","user_agent":"Mozilla/"#), has_user_agent, "{in_json}");
    }
}

#[test]
fn each_flaw_has_its_code() {
    let mut provider = provider();
    let large = "A".repeat(1_500_000);
    for (fields, code) in [
        ("", "ERROR_WRONG_USER_KEY"),
        ("key=short", "ERROR_WRONG_USER_KEY"),
        ("key=00000000000000000000000000000000", "ERROR_KEY_DOES_NOT_EXIST"),
        ("key=KEY", "ERROR_METHOD_CALL"),
        ("key=KEY&method=no%20name", "ERROR_METHOD_CALL"),
        ("key=KEY&method=userrecaptcha&pageurl=https://a.test", "ERROR_GOOGLEKEY"),
        ("key=KEY&method=userrecaptcha&googlekey=a+b&pageurl=x.test", "ERROR_WRONG_GOOGLEKEY"),
        ("key=KEY&method=userrecaptcha&googlekey=k", "ERROR_PAGEURL"),
        ("key=KEY&method=userrecaptcha&googlekey=k&pageurl=a+b", "ERROR_PAGEURL"),
        ("key=KEY&method=turnstile&pageurl=https://a.test", "ERROR_BAD_PARAMETERS"),
        ("key=KEY&method=turnstile&sitekey=s", "ERROR_PAGEURL"),
        ("key=KEY&method=captchafox&sitekey=s&pageurl=x.test", "ERROR_BAD_PARAMETERS"),
        (
            "key=KEY&method=cloudflare_challenge&pageurl=x.test&proxytype=HTTP",
            "ERROR_BAD_PARAMETERS",
        ),
        ("key=KEY&method=turnstile&sitekey=s&pageurl=x&proxy=1.2.3.4:80", "ERROR_BAD_PARAMETERS"),
        (
            "key=KEY&method=turnstile&sitekey=s&pageurl=x&proxy=u:p@h&proxytype=HTTP",
            "ERROR_BAD_PROXY",
        ),
        ("key=KEY&method=geetest&gt=g&pageurl=x.test", "ERROR_BAD_PARAMETERS"),
        ("key=KEY&method=lemin&captcha_id=c&pageurl=x.test", "ERROR_BAD_PARAMETERS"),
        ("key=KEY&method=bls&instructions=1", "ERROR_BAD_PARAMETERS"),
        ("key=KEY&method=base64&body=aGk=&grid_size=9x9", "ERROR_BAD_PARAMETERS"),
        ("key=KEY&method=base64", "ERROR_ZERO_CAPTCHA_FILESIZE"),
        ("key=KEY&method=base64&body=", "ERROR_ZERO_CAPTCHA_FILESIZE"),
        (&format!("key=KEY&method=base64&body={large}"), "ERROR_TOO_BIG_CAPTCHA_FILESIZE"),
        ("key=KEY&method=base64&body=%00", "ERROR_UPLOAD"),
        ("key=KEY&method=post", "ERROR_UPLOAD"),
    ] {
        let target = format!("/in.php?{}", fields.replace("KEY", KEY));
        assert_eq!(ask(&mut provider, START, &target), code, "{fields:.80}");
        let in_json = ask(&mut provider, START, &format!("{target}&json=1"));
        let wanted = format!(r#"{{"status":0,"request":"{code}"}}"#);
        assert_eq!(in_json, if code == "ERROR_UPLOAD" { code.to_owned() } else { wanted });
    }
    assert!(provider.tasks().is_empty());
    for (id, code) in [("", "ERROR_WRONG_ID_FORMAT"), ("12a", "ERROR_WRONG_ID_FORMAT")] {
        assert_eq!(poll(&mut provider, START, id), code);
    }
    assert!(ask(&mut provider, START, "/t/acme/in.php").contains("404 Not Found"));
}

#[test]
fn ids_are_numbers_or_strings() {
    for (form, fields, is_number) in [
        (IdForm::Auto, V2, true),
        (IdForm::Auto, TURNSTILE, false),
        (IdForm::Int, TURNSTILE, true),
        (IdForm::String, V2, false),
    ] {
        let mut provider = Provider::new(Options { ids: form, ..options() });

        let answer = ask(&mut provider, START, &format!("/in.php?key={KEY}&json=1&{fields}"));

        let json: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(json["request"].is_u64(), is_number, "{answer}");
    }
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
fn the_other_dialect_knows_get2_and_ids_and_no_threads() {
    let prices = vec![PerType::one(CaptchaType::Turnstile, Money::from_micros(2_990))];
    let dialect = Dialect::TwoCaptcha;
    let mut provider = Provider::new(Options { dialect, prices, ..options() });
    let id = submit(&mut provider, START, TURNSTILE);
    let answer = poll(&mut provider, START, &id);
    let res = |fields: &str| format!("/res.php?key={KEY}&{fields}");

    let get2 = ask(&mut provider, START, &res(&format!("action=get2&id={id}")));
    assert_eq!(get2, format!("{answer}|0.00299"));
    let in_json = ask(&mut provider, START, &res(&format!("action=get2&json=1&id={id}")));
    assert!(in_json.ends_with(r#","price":"0.00299"}"#), "{in_json}");
    let batch = ask(&mut provider, START, &res(&format!("action=get&ids={id},7")));
    assert_eq!(batch, format!("{}|ERROR_WRONG_CAPTCHA_ID", &answer[3..]));
    assert_eq!(ask(&mut provider, START, &res("action=threadsinfo")), "ERROR_NO_SUCH_METHOD");
    let no_key = format!("/in.php?key={KEY}&method=turnstile&pageurl=x");
    assert_eq!(ask(&mut provider, START, &no_key), "ERROR_SITEKEY");
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
