//! Recorded requests of every client, read and rewritten; and the same over random ones.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderValue, Method};
use proptest::prelude::*;

use super::request::{Action, Call, Form, Head, Ids, Malformed, Upstream, form_hint, parse};
use super::route::{Endpoint, route};
use super::secret::Secret;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::TaskId;

const TENANT: &str = "tnt0acme000000000000000000000001";
const REAL: &str = "REALkey0000000000000000000000009";

/// A file of the corpus: request line, headers, blank line, body.
struct Recorded {
    method: Method,
    path: String,
    query: Option<String>,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

fn recorded(name: &str) -> Recorded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/requests");
    let bytes = fs::read(folder.join(name).with_extension("http")).unwrap();
    let end = memchr::memmem::find(&bytes, b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut line = head.lines().next().unwrap().split(' ');
    let method = line.next().unwrap().parse().unwrap();
    let target = line.next().unwrap();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let content_type = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| HeaderValue::from_str(value).unwrap());
    let body = Bytes::copy_from_slice(&bytes[end + 4..]);
    Recorded { method, path: path.to_owned(), query, content_type, body }
}

impl Recorded {
    fn parse(&self) -> Result<Call, Malformed> {
        let head = Head {
            method: &self.method,
            query: self.query.as_deref(),
            content_type: self.content_type.as_ref(),
        };
        parse(route(&self.path).unwrap(), &head, self.body.clone())
    }
}

fn replaced(bytes: &[u8]) -> Vec<u8> {
    let mut target = Vec::new();
    let mut copied = 0;
    for at in memchr::memmem::find_iter(bytes, TENANT) {
        target.extend_from_slice(&bytes[copied..at]);
        target.extend_from_slice(REAL.as_bytes());
        copied = at + TENANT.len();
    }
    target.extend_from_slice(&bytes[copied..]);
    target
}

const SUBMISSIONS: [(&str, CaptchaType, Form); 20] = [
    ("captchaai-recaptcha-v2", CaptchaType::RecaptchaV2, Form::Json),
    ("captchaai-recaptcha-v3", CaptchaType::RecaptchaV3, Form::Json),
    ("captchaai-cloudflare-challenge", CaptchaType::CloudflareChallenge, Form::Json),
    ("captchaai-normal", CaptchaType::Image, Form::Json),
    ("captchaai-grid", CaptchaType::Grid, Form::Json),
    ("captchaai-bls", CaptchaType::Bls, Form::Json),
    ("2captcha-python-recaptcha", CaptchaType::RecaptchaV2, Form::Text),
    ("2captcha-python-file", CaptchaType::Image, Form::Text),
    ("rucaptcha-turnstile", CaptchaType::Turnstile, Form::Json),
    ("captchatools-captchaai", CaptchaType::RecaptchaV2, Form::Json),
    ("captchatools-2captcha", CaptchaType::RecaptchaV2, Form::Json),
    ("unicaps-recaptcha", CaptchaType::RecaptchaV2, Form::Json),
    ("2captcha-ts-recaptcha", CaptchaType::RecaptchaV2, Form::Json),
    ("2captcha-ts-image", CaptchaType::Image, Form::Json),
    ("2captcha-npm-image", CaptchaType::Image, Form::Json),
    ("infosimples-recaptcha", CaptchaType::RecaptchaV2, Form::Text),
    ("twocaptcha-rs-recaptcha", CaptchaType::RecaptchaV2, Form::Text),
    ("curl-solve", CaptchaType::Image, Form::Text),
    ("odd-bytes", CaptchaType::Image, Form::Text),
    ("odd-json-text", CaptchaType::GeetestV4, Form::Json),
];

#[test]
fn every_clients_submission_is_understood() {
    for (name, captcha_type, form) in SUBMISSIONS {
        let call = recorded(name).parse().unwrap();

        assert_ne!(call.endpoint(), Endpoint::Res, "{name}");
        assert_eq!(call.key(), Some(Secret::new(TENANT)), "{name}");
        assert_eq!(call.captcha_type(), captcha_type, "{name}");
        assert_eq!(call.form(), form, "{name}");
    }
    let call = recorded("captchaai-cloudflare-challenge").parse().unwrap();
    assert_eq!(call.tenant(), Some("acme"));
    assert!(recorded("2captcha-ts-image").parse().unwrap().header_acao());
}

#[test]
fn every_clients_poll_is_understood() {
    let one = || Ids::One(TaskId::new("2122988149").unwrap());
    let three = ["1", "2", "3"].map(|id| TaskId::new(id).unwrap()).to_vec();
    for (name, action, form) in [
        ("captchaai-threadsinfo", Ok(Action::ThreadsInfo), Form::Json),
        ("captchaai-poll", Ok(Action::Get(one())), Form::Json),
        ("2captcha-python-poll", Ok(Action::Get(one())), Form::Text),
        ("rucaptcha-poll", Ok(Action::Get(one())), Form::Json),
        ("unicaps-poll", Ok(Action::Get2(one())), Form::Json),
        ("infosimples-poll", Ok(Action::Get(one())), Form::Text),
        ("infosimples-poll-after-error", Err(Malformed::WrongId), Form::Text),
        ("curl-ids", Ok(Action::Get(Ids::Many(three))), Form::Json),
    ] {
        let call = recorded(name).parse().unwrap();

        assert_eq!(call.endpoint(), Endpoint::Res, "{name}");
        assert_eq!(call.key(), Some(Secret::new(TENANT)), "{name}");
        assert_eq!(call.action(), action, "{name}");
        assert_eq!(call.form(), form, "{name}");
    }
}

#[test]
fn only_the_bytes_of_the_key_change_on_the_way_up() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/requests");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let request = recorded(name);
        let call = request.parse().unwrap();

        let untouched = call.upstream(None);
        assert_eq!(
            untouched.query.as_deref(),
            request.query.as_deref().map(str::as_bytes),
            "{name}"
        );
        assert_eq!(untouched.content_type, request.content_type, "{name}");
        assert!(untouched.body == request.body, "{name}");

        let upstream = call.upstream(Some(&Secret::new(REAL)));
        assert_eq!(upstream.method, request.method, "{name}");
        let query = request.query.map(|query| replaced(query.as_bytes()));
        assert_eq!(upstream.query, query, "{name}");
        if !request.body.trim_ascii_start().starts_with(b"{") {
            assert_eq!(upstream.content_type, request.content_type, "{name}");
            assert!(upstream.body == replaced(&request.body), "{name}");
        }
        seen += 1;
    }
    assert_eq!(seen, 29);
}

#[test]
fn json_bodies_go_up_as_forms() {
    for (name, body) in [
        (
            "captchatools-2captcha",
            "key=REAL&json=1&method=userrecaptcha&googlekey=6Le-SITEKEY\
             &pageurl=https%3A%2F%2Fexample.com%2Flogin&soft_id=4782723",
        ),
        (
            "2captcha-ts-image",
            "body=iVBORw0KGgo&numeric=1&key=REAL&json=1&header_acao=1&soft_id=3898&method=base64",
        ),
        ("2captcha-npm-image", "body=iVBORw0KGgo"),
        (
            "odd-json-text",
            "method=geetest&version=4&gt=a+b%26c%3Dd&n=\
             &nested=%7B%22a%22%3A%5B1%2C%22%5Cu00e9%22%5D%7D&key=REAL&json=true&key=REAL\
             &umlaut=%C3%BC",
        ),
    ] {
        let upstream = recorded(name).parse().unwrap().upstream(Some(&Secret::new(REAL)));

        assert_eq!(upstream.body, body.replace("REAL", REAL), "{name}");
        assert_eq!(upstream.content_type.unwrap(), "application/x-www-form-urlencoded", "{name}");
    }
}

fn parsed(
    path: &str,
    query: Option<&str>,
    content_type: Option<&HeaderValue>,
    body: &[u8],
) -> Result<Call, Malformed> {
    let head = Head { method: &Method::POST, query, content_type };
    let _ = form_hint(&head, body);
    parse(route(path).unwrap(), &head, Bytes::copy_from_slice(body))
}

fn swapped(call: &Call) -> Upstream {
    call.upstream(Some(&Secret::new(REAL)))
}

const BOUNDARY: &str = "multipart/form-data; boundary=B";

proptest! {
    #[test]
    fn reading_never_panics(
        query in proptest::option::of("[a-z=&%+\\[\u{0}é]{0,40}"),
        content_type in proptest::sample::select(vec![
            "", "text/plain", "application/json", "application/x-www-form-urlencoded", BOUNDARY,
            "multipart/form-data; boundary=\"",
        ]),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let content_type = HeaderValue::from_static(content_type);
        if let Ok(call) = parsed("/res.php", query.as_deref(), Some(&content_type), &body) {
            let _ = (call.action(), call.captcha_type(), call.form(), swapped(&call));
        }
    }

    #[test]
    fn broken_framing_never_panics(
        body in proptest::collection::vec(proptest::sample::select(vec![
            "--B", "\r\n", "\n", "--", "Content-Disposition: form-data; name=\"key\"", "\r\n\r\n",
            "\"", "\\", ";", "; filename=", "'", "T", ":", " ",
        ]), 0..30),
    ) {
        let content_type = HeaderValue::from_static(BOUNDARY);
        if let Ok(call) = parsed("/in.php", None, Some(&content_type), body.concat().as_bytes()) {
            let _ = swapped(&call);
        }
    }

    #[test]
    fn a_swap_of_a_form_changes_nothing_but_the_key(
        pairs in proptest::collection::vec(
            ("([a-z%é+.]{0,6}|key|k%65y)", "([A-Za-z0-9%+=é]{0,12}|TENANT)"), 0..12),
    ) {
        let is_key = |name: &str| name == "key" || name == "k%65y";
        let spelt = |key: &str| {
            let pair = |(name, value): &(String, String)| {
                let value = if is_key(name) { key } else { value };
                format!("{name}={value}")
            };
            pairs.iter().map(pair).collect::<Vec<_>>().join("&")
        };
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");

        if let Ok(call) = parsed("/in.php", Some(&spelt(TENANT)), Some(&form), spelt(TENANT).as_bytes()) {
            let upstream = swapped(&call);
            prop_assert_eq!(upstream.query, Some(spelt(REAL).into_bytes()));
            prop_assert_eq!(upstream.body, spelt(REAL));
        }
    }

    #[test]
    fn a_swap_of_a_multipart_changes_nothing_but_the_key(
        parts in proptest::collection::vec(
            ("([a-z]{1,6}|key)", proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        preamble in "[a-z\r]{0,10}",
    ) {
        let spelt = |key: &str| {
            let mut body = if preamble.is_empty() { Vec::new() } else { format!("{preamble}\r\n").into_bytes() };
            for (name, value) in &parts {
                body.extend_from_slice(
                    format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes());
                body.extend_from_slice(if name == "key" { key.as_bytes() } else { value });
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"--B--epilogue");
            body
        };
        let content_type = HeaderValue::from_static(BOUNDARY);

        if let Ok(call) = parsed("/in.php", None, Some(&content_type), &spelt(TENANT)) {
            prop_assert_eq!(&swapped(&call).body, &spelt(REAL));
        }
    }
}
