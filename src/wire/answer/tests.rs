use super::*;

fn classes() -> BTreeMap<String, Outcome> {
    BTreeMap::from([
        ("ERROR_HOUSE_RULE".to_owned(), Outcome::ClientError),
        ("ERROR_HOUSE_BUSY".to_owned(), Outcome::Capacity),
    ])
}

fn refused(code: &str, outcome: Outcome) -> Submitted {
    Submitted::Refused { code: code.to_owned(), outcome }
}

fn failed(code: &str, outcome: Outcome) -> Polled {
    Polled::Failed { code: code.to_owned(), outcome }
}

fn troubled(code: &str, outcome: Outcome) -> Polled {
    Polled::Trouble { code: code.to_owned(), outcome }
}

fn both_forms(code: &str) -> [String; 3] {
    [
        code.to_owned(),
        format!(r#"{{"status":0,"request":"{code}"}}"#),
        format!("{{\"request\": \"{code}\", \"error_text\": \"x\", \"status\": 0}}\r\n"),
    ]
}

#[test]
fn an_accepted_submission_carries_its_id() {
    for (body, id) in [
        ("OK|2122988149", "2122988149"),
        ("OK|2122988149\n", "2122988149"),
        (r#"{"status":1,"request":"2122988149"}"#, "2122988149"),
        (r#"{"status": 1, "request": 2122988149}"#, "2122988149"),
        (r#"{"request":"a-b_c","status":"1","x":[{}]}"#, "a-b_c"),
        ("\u{feff}{\"status\":1,\"request\":7}", "7"),
    ] {
        let expected = Submitted::Accepted(TaskId::new(id).unwrap());
        assert_eq!(submitted(200, body.as_bytes(), &classes()), expected, "{body}");
    }
}

#[test]
fn a_refused_submission_carries_its_code() {
    for (code, outcome) in [
        ("ERROR_ZERO_BALANCE", Outcome::Capacity),
        ("ERROR_KEY_DOES_NOT_EXIST", Outcome::AccountError),
        ("ERROR_PAGEURL", Outcome::ClientError),
        ("ERROR_PROXY_CONNECTION_FAILED", Outcome::ClientError),
        ("ERROR_SERVER_ERROR", Outcome::ProviderError),
        ("ERROR: 1001", Outcome::Capacity),
        ("IP_BANNED", Outcome::AccountError),
        ("ERROR_NEVER_HEARD_OF", Outcome::ProviderError),
        ("ERROR_HOUSE_RULE", Outcome::ClientError),
    ] {
        for body in both_forms(code) {
            for status in [200, 400, 402, 429] {
                let got = submitted(status, body.as_bytes(), &classes());
                assert_eq!(got, refused(code, outcome), "{status} {body}");
            }
        }
    }
    assert_eq!(submitted(429, b"slow down", &classes()), refused("HTTP_429", Outcome::Capacity));
    assert_eq!(submitted(413, b"<html>", &classes()), refused("HTTP_413", Outcome::ClientError));
    let odd = br#"{"status":1,"request":"ERROR_PAGEURL"}"#;
    assert_eq!(submitted(200, odd, &classes()), refused("ERROR_PAGEURL", Outcome::ClientError));
}

#[test]
fn a_submission_answered_by_nonsense_is_broken() {
    for (status, body) in [
        (200, ""),
        (200, "OK|"),
        (200, "OK| "),
        (200, "OK|a b"),
        (200, "OK"),
        (200, "OK|<script>"),
        (200, "2122988149"),
        (200, "CAPCHA_NOT_READY"),
        (200, "<html>ERROR_PAGEURL</html>"),
        (200, "the answer holds ERROR_PAGEURL"),
        (200, r#"{"status":1}"#),
        (200, r#"{"status":1,"request":""}"#),
        (200, r#"{"status":1,"request":null}"#),
        (200, r#"{"status":1,"request":true}"#),
        (200, r#"{"status":1,"request":{"id":1}}"#),
        (200, r#"{"status":1,"result":"x"}"#),
        (200, r#"{"status":0,"request":"hello"}"#),
        (200, r#"{"status":1,"request":"7"} trailing"#),
        (200, r#"{"status":1,"request":"7""#),
        (302, "OK|7"),
        (404, "OK|7"),
        (404, "not here"),
        (500, "OK|7"),
        (502, "ERROR_ZERO_BALANCE"),
    ] {
        let got = submitted(status, body.as_bytes(), &classes());
        assert!(matches!(got, Submitted::Broken { .. }), "{status} {body}: {got:?}");
    }
    assert!(matches!(submitted(200, b"\xff\xfe", &classes()), Submitted::Broken { .. }));
    assert!(matches!(submitted(200, b"OK|\xff", &classes()), Submitted::Broken { .. }));
}

#[test]
fn every_form_of_an_answer_is_solved() {
    for body in [
        "OK|token",
        "OK|challenge:a,validate:b,seccode:b|jordan",
        "OK|ERROR_CAPTCHA_UNSOLVABLE",
        r#"{"status":1,"request":"03AGdBq2"}"#,
        r#"{"status":1,"request":"[1,4,7]"}"#,
        r#"{"status":1,"request":"token with ERROR_ inside","user_agent":"x"}"#,
        r#"{"status":1,"request":{"geetest_challenge":"a","geetest_validate":"b"}}"#,
        r#"{"status":1,"request":12345}"#,
        r#"{"status":1,"result":"t","user_agent":"Mozilla"}"#,
        r#"{"result":"t"}"#,
        r#"{"challenge":"a","validate":"b","seccode":"b|jordan"}"#,
        r#"{"status":1,"solution":{"token":"t"}}"#,
    ] {
        assert_eq!(polled(200, body.as_bytes(), &classes()), Polled::Solved, "{body}");
        assert_eq!(solved_now(200, body.as_bytes(), &classes()), Polled::Solved, "{body}");
    }
    assert_eq!(polled(200, b"OK|\xff\xfe", &classes()), Polled::Solved);
}

#[test]
fn both_spellings_of_not_ready_are_pending() {
    for code in ["CAPCHA_NOT_READY", "CAPTCHA_NOT_READY"] {
        for body in both_forms(code) {
            assert_eq!(polled(200, body.as_bytes(), &classes()), Polled::Pending, "{body}");
        }
    }
    let odd = br#"{"status":1,"request":"CAPCHA_NOT_READY"}"#;
    assert_eq!(polled(200, odd, &classes()), Polled::Pending);
}

#[test]
fn a_terminal_code_fails_the_task_in_either_form() {
    for (code, outcome) in [
        ("ERROR_CAPTCHA_UNSOLVABLE", Outcome::Unsolvable),
        ("ERROR_BAD_DUPLICATES", Outcome::Unsolvable),
        ("ERROR_WRONG_CAPTCHA_ID", Outcome::ProviderError),
        ("ERROR_WRONG_ID_FORMAT", Outcome::ProviderError),
        ("ERROR_NEVER_HEARD_OF", Outcome::ProviderError),
        ("ERROR_TOKEN_EXPIRED", Outcome::ClientError),
        ("ERROR_BAD_TOKEN_OR_PAGEURL", Outcome::ClientError),
        ("ERROR_HOUSE_RULE", Outcome::ClientError),
    ] {
        for body in both_forms(code) {
            for status in [200, 400] {
                let got = polled(status, body.as_bytes(), &classes());
                assert_eq!(got, failed(code, outcome), "{status} {body}");
            }
        }
    }
}

#[test]
fn trouble_with_the_proxy_is_told_apart() {
    for body in both_forms("ERROR_PROXY_CONNECTION_FAILED") {
        let expected = Polled::ProxyTrouble { code: "ERROR_PROXY_CONNECTION_FAILED".to_owned() };
        assert_eq!(polled(200, body.as_bytes(), &classes()), expected, "{body}");
    }
}

#[test]
fn what_says_nothing_about_the_task_is_trouble() {
    for (code, outcome) in [
        ("ERROR_SERVER_ERROR", Outcome::ProviderError),
        ("ERROR_INTERNAL_SERVER_ERROR", Outcome::ProviderError),
        ("ERROR_WRONG_USER_KEY", Outcome::AccountError),
        ("ERROR_KEY_DOES_NOT_EXIST", Outcome::AccountError),
        ("ERROR_IP_NOT_ALLOWED", Outcome::AccountError),
        ("IP_BANNED", Outcome::AccountError),
        ("ERROR_ZERO_BALANCE", Outcome::Capacity),
        ("MAX_USER_TURN", Outcome::Capacity),
        ("ERROR: 1005", Outcome::Capacity),
        ("ERROR_HOUSE_BUSY", Outcome::Capacity),
    ] {
        for body in both_forms(code) {
            let got = polled(200, body.as_bytes(), &classes());
            assert_eq!(got, troubled(code, outcome), "{body}");
        }
    }
    for (status, body, code, outcome) in [
        (502, "<html>", "HTTP_502", Outcome::ProviderError),
        (500, "OK|t", "HTTP_500", Outcome::ProviderError),
        (503, "ERROR_CAPTCHA_UNSOLVABLE", "HTTP_503", Outcome::ProviderError),
        (301, "OK|t", "HTTP_301", Outcome::ProviderError),
        (429, "slow down", "HTTP_429", Outcome::Capacity),
        (404, "OK|t", "HTTP_404", Outcome::ProviderError),
        (403, "", "HTTP_403", Outcome::ProviderError),
        (200, "", "malformed", Outcome::ProviderError),
        (200, "<html>ERROR_CAPTCHA_UNSOLVABLE</html>", "malformed", Outcome::ProviderError),
        (200, "10.00", "malformed", Outcome::ProviderError),
        (200, "{\"status\":1,\"request\":\"t", "malformed", Outcome::ProviderError),
        (200, "[]", "malformed", Outcome::ProviderError),
        (200, "{}", "malformed", Outcome::ProviderError),
        (200, r#"{"status":0,"request":"hello"}"#, "malformed", Outcome::ProviderError),
        (200, r#"{"status":0,"result":""}"#, "malformed", Outcome::ProviderError),
        (200, "OK|", "empty_answer", Outcome::ProviderError),
        (200, "OK|  \n", "empty_answer", Outcome::ProviderError),
        (200, r#"{"status":1}"#, "empty_answer", Outcome::ProviderError),
        (
            200,
            r#"{"status":1,"request":"","user_agent":"x"}"#,
            "empty_answer",
            Outcome::ProviderError,
        ),
        (200, r#"{"status":1,"error_text":"x"}"#, "empty_answer", Outcome::ProviderError),
    ] {
        let got = polled(status, body.as_bytes(), &classes());
        assert_eq!(got, troubled(code, outcome), "{status} {body}");
    }
}

#[test]
fn a_wrong_id_is_the_clients_fault_only_on_submission() {
    let got = solved_now(200, b"ERROR_WRONG_ID_FORMAT", &classes());
    assert_eq!(got, failed("ERROR_WRONG_ID_FORMAT", Outcome::ClientError));
}

#[test]
fn reports_are_recorded_or_refused() {
    for body in ["OK_REPORT_RECORDED\n", r#"{"status":1,"request":"OK_REPORT_RECORDED"}"#, "OK|1"] {
        assert_eq!(reported(body.as_bytes()), Reported::Recorded, "{body}");
    }
    for code in ["REPORT_NOT_RECORDED", "ERROR_DUPLICATE_REPORT"] {
        for body in both_forms(code) {
            let expected = Reported::Refused { code: code.to_owned() };
            assert_eq!(reported(body.as_bytes()), expected, "{body}");
        }
    }
    assert_eq!(reported(b"<html>"), Reported::Broken);
}
