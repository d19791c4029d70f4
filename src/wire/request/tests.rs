use super::*;
use crate::wire::route::route;

const URLENCODED: &str = "application/x-www-form-urlencoded";

pub(super) fn get(path: &str, query: &str) -> Result<Call, Malformed> {
    let head = Head { method: &Method::GET, query: Some(query), content_type: None };
    parse(route(path).unwrap(), &head, Bytes::new())
}

pub(super) fn post(query: &str, content_type: &str, body: &[u8]) -> Result<Call, Malformed> {
    let content_type = HeaderValue::from_str(content_type).unwrap();
    let content_type = Some(&content_type).filter(|value| !value.is_empty());
    let head = Head { method: &Method::POST, query: Some(query), content_type };
    parse(route("/in.php").unwrap(), &head, Bytes::copy_from_slice(body))
}

fn multipart(parts: &[(&str, &str)]) -> Vec<u8> {
    let part = |(name, value): &(&str, &str)| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    (parts.iter().map(part).collect::<String>() + "--B--\r\n").into_bytes()
}

#[test]
fn all_encodings_read_the_same() {
    let form = b"key=T&method=post&json=1&pageurl=http%3A%2F%2Fa%2F";
    let json = br#"{"key":"T","method":"post","json":1,"pageurl":"http://a/"}"#;
    let parts =
        multipart(&[("key", "T"), ("method", "post"), ("json", "1"), ("pageurl", "http://a/")]);
    let form_text = std::str::from_utf8(form).unwrap();
    for (what, call) in [
        ("query", get("/in.php", form_text)),
        ("urlencoded", post("", URLENCODED, form)),
        ("urlencoded, charset", post("", "Application/X-WWW-form-urlencoded; charset=UTF-8", form)),
        ("multipart", post("", "multipart/form-data; boundary=B", &parts)),
        ("json", post("", "application/json; charset=utf-8", json)),
        ("sniffed form", post("", "", form)),
        ("sniffed json", post("", "", json)),
        (
            "text/plain",
            post(
                "key=T&json=1",
                "text/plain;charset=UTF-8",
                br#" {"method":"post","pageurl":"http://a/"}"#,
            ),
        ),
        (
            "query and form",
            post("key=T&method=post", URLENCODED, b"key=T&json=true&pageurl=http://a/"),
        ),
    ] {
        let call = call.unwrap();
        assert_eq!(call.key(), Some(Secret::new("T")), "{what}");
        assert_eq!(call.captcha_type(), CaptchaType::Image, "{what}");
        assert_eq!(call.form(), Form::Json, "{what}");
        assert_eq!(call.page_url().as_deref(), Some("http://a/"), "{what}");
    }
}

#[test]
fn the_form_is_json_only_when_asked_for() {
    for (query, form) in [
        ("json=1", Form::Json),
        ("json=true", Form::Json),
        ("json=0", Form::Text),
        ("json=", Form::Text),
        ("json=yes", Form::Text),
        ("", Form::Text),
    ] {
        assert_eq!(get("/in.php", query).unwrap().form(), form, "{query}");
    }
    assert_eq!(post("", "application/json", br#"{"json":0}"#).unwrap().form(), Form::Text);
    assert_eq!(post("", "application/json", br#"{"json":true}"#).unwrap().form(), Form::Json);
}

#[test]
fn side_wishes_are_seen() {
    let call = get("/in.php", "pingback=http%3A%2F%2Fx&header_acao=1&pageurl=").unwrap();
    assert!(call.pingback() && call.header_acao());
    assert_eq!(call.page_url(), None);

    let call = get("/in.php", "pingback=&header_acao=0").unwrap();
    assert!(!call.pingback() && !call.header_acao());
}

#[test]
fn two_values_where_servers_would_choose_differently_are_refused() {
    for (query, expected) in [
        ("key=a&key=b", Malformed::TwoKeys),
        ("key=a&k%65y=b", Malformed::TwoKeys),
        ("key=&key=b", Malformed::TwoKeys),
        ("key=a&+key=b", Malformed::TwoKeys),
        ("key=a&action=get&id=1&id=2", Malformed::TwoValues { name: "id" }),
        ("id=1&id%00=2", Malformed::TwoValues { name: "id" }),
        ("action=get&action=reportbad", Malformed::TwoValues { name: "action" }),
        ("method=post&method=userrecaptcha", Malformed::TwoValues { name: "method" }),
    ] {
        assert_eq!(get("/res.php", query).unwrap_err(), expected, "{query}");
    }
    for query in ["key=a&key=a", "key=a&k%65y=%61", "x=1&x=2", "json=1&json=0"] {
        assert!(get("/res.php", query).is_ok(), "{query}");
    }
    assert_eq!(post("key=a", URLENCODED, b"key=b").unwrap_err(), Malformed::TwoKeys);
}

#[test]
fn bytes_that_are_no_text_pass_unless_they_are_needed() {
    let call = get("/in.php", "key=T&lang=%ff&%fe=1").unwrap();
    assert_eq!(call.param("lang").unwrap(), "\u{fffd}");

    for (query, name, code) in [
        ("key=%ff", "key", "ERROR_WRONG_USER_KEY"),
        ("method=%ff", "method", "ERROR_BAD_PARAMETERS"),
        ("action=%ff", "action", "ERROR_BAD_PARAMETERS"),
        ("id=%ff", "id", "ERROR_WRONG_ID_FORMAT"),
    ] {
        let error = get("/res.php", query).unwrap_err();
        assert_eq!(error, Malformed::NotUtf8 { name }, "{query}");
        assert_eq!(error.code(), code, "{query}");
    }
}

#[test]
fn of_several_faults_the_one_of_the_first_name_is_told() {
    for (query, expected) in [
        ("id=1&id=2&key=a&key=b", Malformed::TwoKeys),
        ("key=a&key=b&id=1&id=2", Malformed::TwoKeys),
        ("ids=%ff&method=%ff", Malformed::NotUtf8 { name: "method" }),
        ("id=%ff&method=a&method=b", Malformed::TwoValues { name: "method" }),
        ("key=%ff&key=a", Malformed::TwoKeys),
        ("canvas=1&canvas=2&id=%ff", Malformed::NotUtf8 { name: "id" }),
        ("key=a&key=b&key=a", Malformed::TwoKeys),
    ] {
        assert_eq!(get("/res.php", query).unwrap_err(), expected, "{query}");
    }
}

#[test]
fn only_get_and_post_are_served() {
    let head = Head { method: &Method::PUT, query: None, content_type: None };
    let route = route("/in.php").unwrap();

    assert_eq!(parse(route, &head, Bytes::new()).unwrap_err(), Malformed::Method);
}

#[test]
fn a_body_of_unknown_type_is_refused_and_an_empty_one_is_not() {
    assert_eq!(post("key=T", "application/xml", b"<a/>").unwrap_err(), Malformed::ContentType);
    assert!(post("key=T", "application/xml", b"").is_ok());
    assert!(post("key=T", "multipart/form-data", b"").is_ok());
    assert_eq!(post("", "multipart/form-data", b"x").unwrap_err(), Malformed::Boundary);
    assert!(matches!(post("", "application/json", b"{").unwrap_err(), Malformed::Json { .. }));
    assert_eq!(post("", "application/json", b"[]").unwrap_err(), Malformed::NotAnObject);
}

#[test]
fn a_missing_or_empty_key_is_no_key() {
    for query in ["", "key=", "key", "KEY=x"] {
        assert_eq!(get("/in.php", query).unwrap().key(), None, "{query}");
    }
}

#[test]
fn the_form_of_a_refusal_is_guessed_from_what_can_be_read() {
    let hint = |query, content_type: &str, body: &[u8]| {
        let content_type = HeaderValue::from_str(content_type).unwrap();
        let content_type = Some(&content_type).filter(|value| !value.is_empty());
        form_hint(&Head { method: &Method::POST, query, content_type }, body)
    };

    assert_eq!(hint(Some("key=a&key=b&json=1"), "", b""), Form::Json);
    assert_eq!(hint(None, "application/json", b"{"), Form::Json);
    assert_eq!(hint(None, URLENCODED, b"key=a&key=b&json=1"), Form::Json);
    assert_eq!(
        hint(None, "multipart/form-data; boundary=B", &multipart(&[("json", "1")])),
        Form::Json
    );
    assert_eq!(hint(None, URLENCODED, b"key=a&key=b"), Form::Text);
    assert_eq!(hint(None, "", b""), Form::Text);
}

#[test]
fn a_large_multipart_is_swapped_in_place() {
    let mut body = multipart(&[("method", "post"), ("key", "T0")]);
    let close = body.len() - b"--B--\r\n".len();
    body.truncate(close);
    body.extend_from_slice(
        b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n",
    );
    body.extend((0..10 << 20).map(|i: u32| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]));
    body.extend_from_slice(b"\r\n--B--\r\n");
    let call = post("", "multipart/form-data; boundary=B", &body).unwrap();

    let upstream = call.upstream(Some(&Secret::new("REAL")));

    let at = memchr::memmem::find(&body, b"T0").unwrap();
    assert_eq!(upstream.body[..at], body[..at]);
    assert_eq!(&upstream.body[at..at + 4], b"REAL");
    assert!(upstream.body[at + 4..] == body[at + 2..]);
}
