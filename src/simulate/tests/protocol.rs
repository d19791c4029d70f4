//! The protocol: every action in every form, every refusal, every shape of success.

use super::state::{START, TURNSTILE, V2, ask, poll, provider, submit};
use super::{KEY, options};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::money::Money;
use crate::simulate::options::{Dialect, IdForm, Options, PerType};
use crate::simulate::provider::Provider;

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
