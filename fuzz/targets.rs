//! What the fuzz targets assert; replayed on stable by `tests/fuzz_corpus.rs`.
//!
//! A request is three lines and a body: method, path with query, content type, then anything. A config is
//! its text. A record is a list of changed bytes and the text of a spill file.

#![allow(dead_code, reason = "each target uses one of these")]

mod answer_read;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use jiff::civil::{Date, date};
use solvegate::config;
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::engine::Engine;
use solvegate::domain::ids::{SolveId, TaskId};
use solvegate::domain::journal::{
    CreditKind, CreditRecord, SettleRecord, SolveRecord, TaskRecord, TaskState, Write,
};
use solvegate::domain::money::Money;
use solvegate::domain::outcome::{Outcome, SliEvent};
use solvegate::domain::time::{Mono, Now, Wall};
use solvegate::record::store::{Durability, OpenError, Reader, Store, StoreOptions, verify};
use solvegate::wire::answer::{self, Polled, Submitted};
use solvegate::wire::request::{Call, Head, form_hint, parse};
use solvegate::wire::route::route;
use solvegate::wire::secret::Secret;

pub(crate) use answer_read::answer_read;

const REAL: &str = "REALkey0000000000000000000000009";

struct Request<'a> {
    method: Method,
    path: &'a str,
    query: Option<&'a str>,
    content_type: Option<HeaderValue>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let mut lines = input.splitn(4, |&b| b == b'\n');
        let method = Method::from_bytes(lines.next()?).ok()?;
        let target = std::str::from_utf8(lines.next()?).ok()?;
        let content_type = lines.next()?;
        let body = lines.next()?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let content_type = match content_type {
            b"" => None,
            text => Some(HeaderValue::from_bytes(text).ok()?),
        };
        Some(Self { method, path, query, content_type, body })
    }

    fn parse(&self) -> Option<Call> {
        let content_type = self.content_type.as_ref();
        let head = Head { method: &self.method, query: self.query, content_type };
        let _ = form_hint(&head, self.body);
        parse(route(self.path)?, &head, Bytes::copy_from_slice(self.body)).ok()
    }
}

/// Reading any request ends, without a panic, and all of its parts can be asked for.
pub(crate) fn request_parse(input: &[u8]) {
    let Some(call) = Request::read(input).and_then(|request| request.parse()) else { return };
    let _ = (call.endpoint(), call.tenant(), call.form(), call.captcha_type(), call.page_url());
    let _ = (call.pingback(), call.header_acao(), call.params().count());
    if let Ok(action) = call.action() {
        let text = format!("{action:?} {call:?}");
        assert!(text.len() < 100_000);
    }
    if let Some(key) = call.key() {
        assert_eq!(call.key_hash(), Some(key.sha256()));
        assert!(call.params().any(|(_, value)| value == key.expose().as_bytes()));
    }
}

/// Upstream, every parameter named `key` holds the real key and every other one what it held; bytes
/// outside key values stay where they are.
pub(crate) fn key_swap(input: &[u8]) {
    let real = Secret::new(REAL);
    let Some(request) = Request::read(input) else { return };
    let Some(call) = request.parse() else { return };

    let untouched = call.upstream(None);
    assert_eq!(untouched.query.as_deref(), request.query.map(str::as_bytes));
    assert!(untouched.body == request.body && untouched.content_type == request.content_type);

    // Nobody is known without a key, and nothing is sent for nobody.
    if call.key().is_none() {
        return;
    }
    let upstream = call.upstream(Some(&real));
    let query = upstream.query.map(|query| String::from_utf8(query).expect("what is sent is text"));
    let reread = Request {
        method: upstream.method.clone(),
        path: request.path,
        query: query.as_deref(),
        content_type: upstream.content_type.clone(),
        body: &upstream.body,
    };
    let again = reread.parse().expect("what is sent can be read");
    assert_eq!(call.params().count(), again.params().count());
    for ((name, value), (name_up, value_up)) in call.params().zip(again.params()) {
        assert_eq!(name, name_up);
        if name == b"key".as_slice() && !value.is_empty() {
            assert_eq!(value_up, REAL.as_bytes(), "the tenant's key went up");
        } else if value != value_up {
            assert!(is_key(&name), "another value than the key's changed");
            assert_eq!(value_up, REAL.as_bytes());
        }
    }
    assert_eq!(again.key(), Some(real));

    let bytes = |query: Option<&str>| query.unwrap_or_default().to_owned().into_bytes();
    same_but_for_keys(&bytes(request.query), &bytes(query.as_deref()));
    if upstream.content_type != request.content_type {
        return; // a JSON body, whose translation was compared pair by pair
    }
    let is_multipart = request.content_type.is_some_and(|value| {
        value.as_bytes().get(..9).is_some_and(|text| text.eq_ignore_ascii_case(b"multipart"))
    });
    if is_multipart {
        multipart_swaps_back(&call, &reread, request.body);
    } else {
        same_but_for_keys(request.body, &upstream.body);
    }
}

/// An independent reading: the segments between `&` are the same, but for the values of keys.
fn same_but_for_keys(before: &[u8], after: &[u8]) {
    let mut after = after.split(|&b| b == b'&');
    for segment in before.split(|&b| b == b'&') {
        let segment_up = after.next().expect("as many segments");
        if segment == segment_up {
            continue;
        }
        let equals = segment.iter().position(|&b| b == b'=').expect("only values change");
        let name: Vec<u8> =
            segment[..equals].iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
        let name: Vec<u8> = percent_encoding::percent_decode(&name).collect();
        assert!(is_key(&name), "a value that is no key's changed");
        assert_eq!(segment_up, [&segment[..=equals], REAL.as_bytes()].concat());
    }
    assert!(after.next().is_none(), "as many segments");
}

/// A second swap, back to the tenant's key, gives the very bytes that came. (Not comparable where an
/// empty key had been filled as well.)
fn multipart_swaps_back(call: &Call, reread: &Request<'_>, body: &[u8]) {
    let Some(key) = call.key() else { return };
    let back = reread.parse().expect("read once already").upstream(Some(&key));
    assert!(back.body == body, "bytes beside the key changed");
}

fn is_key(name: &[u8]) -> bool {
    let name = &name[name.iter().take_while(|&&b| b == b' ').count()..];
    name.strip_prefix(b"key").is_some_and(|rest| matches!(rest.first(), None | Some(0 | b'[')))
}

/// Classifying any answer ends, without a panic, and what it says holds together.
pub(crate) fn answer_classify(input: &[u8]) {
    let Some((status, body)) = input.split_first() else { return };
    let status = [200, 200, 200, 201, 301, 400, 402, 413, 429, 500, 502][usize::from(*status) % 11];
    let classes = BTreeMap::from([("ERROR_A".to_owned(), Outcome::ClientError)]);
    match answer::submitted(status, body, &classes) {
        Submitted::Accepted(id) => {
            assert!(status < 300 && !id.as_str().is_empty());
            assert!(memchr_text(body, id.as_str()) || body.contains(&b'\\'));
        }
        Submitted::Refused { code, .. } => is_a_code(&code),
        Submitted::Broken { .. } => {}
    }
    for polled in
        [answer::polled(status, body, &classes), answer::solved_now(status, body, &classes)]
    {
        match polled {
            Polled::Solved => {
                assert!(status < 300, "only a success is charged");
                let priced = answer::add_price(body, Money::from_micros(3_000));
                assert_eq!(answer::polled(status, &priced, &classes), Polled::Solved);
                assert!(memchr_text(&priced, "0.003"));
            }
            Polled::Pending => assert!(status < 300),
            Polled::Failed { code, .. } | Polled::ProxyTrouble { code } => is_a_code(&code),
            Polled::Trouble { code, .. } => assert!(code.len() <= 64),
        }
    }
    let _ = (answer::reported(body), answer::answer_text(body));
    assert!(answer::balance(body).is_none_or(|balance| balance >= Money::ZERO));
    assert!(answer::threads(body).is_none_or(|(threads, _)| threads <= 1_000_000));
}

fn is_a_code(code: &str) {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_: ".contains(&b);
    assert!((1..=64).contains(&code.len()) && code.bytes().all(plain), "{code}");
}

fn memchr_text(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Checking any text ends, without a panic; every fault has a place in the file, and what is accepted can
/// be printed and read again, but for secrets, to the same effect.
pub(crate) fn config_parse(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let env = |name: &str| (name == "NAME").then(|| "value0value1value2value3value4va".to_owned());
    let read = |text: &str| config::parse("solvegate.yaml", text, Path::new("/nowhere"), &env);
    match read(text) {
        Err(faults) => {
            assert!(!faults.list().is_empty());
            // YAML ends a line at a lone carriage return too.
            let lines = text.split(['\n', '\r']).count() + 1;
            for fault in faults.list() {
                assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)), "{fault}");
                assert!(!fault.text.is_empty());
            }
        }
        Ok(accepted) => {
            let printed = config::effective(&accepted);
            assert!(!printed.contains("value0value1value2value3value4va"), "a secret is printed");
            if let Ok(again) = read(&printed) {
                assert_eq!(printed, config::effective(&again));
            }
        }
    }
}

const TODAY: Date = date(2026, 5, 17);
const NOON: i64 = 1_779_019_200_000;

fn record_options(folder: &Path) -> StoreOptions {
    StoreOptions {
        path: folder.join("solvegate.db"),
        durability: Durability::Process,
        clock: Arc::new(|| Mono(0)),
    }
}

/// A record with a row of each kind in each table that a start reads.
static RECORD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let options = record_options(folder.path());
    let (store, _) = Store::open(&options, TODAY, "UTC").expect("a new record");
    store.send(Write::Credit(CreditRecord {
        cause: "opening:acme".to_owned(),
        kind: CreditKind::Opening,
        tenant: "acme".into(),
        key_id: None,
        amount: Money::from_micros(10_000_000),
        at: Wall(NOON),
        note: String::new(),
    }));
    for solve in 0..40 {
        let task = TaskRecord {
            solve: SolveId(solve),
            account: "main".into(),
            task_id: TaskId::new(&format!("7{solve:09}")).expect("an id"),
            tenant: "acme".into(),
            key_id: "prod".into(),
            captcha_type: CaptchaType::ALL[usize::try_from(solve).expect("small") % 5],
            price: Money::from_micros(3_000),
            submitted_at: Wall(NOON),
            source_ip: Some([192, 0, 2, 7].into()),
            page: Some("example.com".to_owned()),
            pingback: false,
            state: TaskState::Open,
            verdict: None,
        };
        store.send(Write::Bind(task.clone()));
        if solve % 2 == 0 {
            continue;
        }
        store.send(Write::Verdict(SolveRecord {
            solve: task.solve,
            account: task.account.clone(),
            task_id: Some(task.task_id.clone()),
            tenant: task.tenant.clone(),
            key_id: task.key_id.clone(),
            captcha_type: task.captcha_type,
            outcome: Outcome::Solved,
            error_code: None,
            duration: Duration::from_secs(9),
            price: task.price,
            submitted_at: task.submitted_at,
            ended_at: Wall(NOON + 9_000),
            source_ip: task.source_ip,
            page: task.page.clone(),
            success_event: Some(SliEvent::Good),
            latency_event: None,
        }));
        store.send(Write::Settle(SettleRecord {
            solve: task.solve,
            account: task.account,
            task_id: task.task_id,
            tenant: task.tenant,
            key_id: task.key_id,
            captcha_type: task.captcha_type,
            charged: Some(task.price),
            delivered: true,
            at: Wall(NOON + 9_000),
            day: TODAY,
            thread_time: Duration::from_secs(9),
        }));
    }
    store.close(Duration::from_mins(1)).expect("closed");
    drop(store);
    std::fs::read(&options.path).expect("one file")
});

/// Opening a damaged record, or one beside a damaged spill file, ends without a panic: it is opened, or
/// refused with a reason and left as it was.
pub(crate) fn store_open(input: &[u8]) {
    let Some((count, mut rest)) = input.split_first() else { return };
    let mut bytes = RECORD.clone();
    for _ in 0..*count {
        let Some((change, left)) = rest.split_at_checked(4) else { break };
        let place =
            usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2]);
        let length = bytes.len();
        bytes[place % length] = change[3];
        rest = left;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let options = record_options(folder.path());
    std::fs::write(&options.path, &bytes).expect("written");
    if !rest.is_empty() {
        std::fs::write(folder.path().join("solvegate.db.unflushed-1.jsonl"), rest)
            .expect("written");
    }
    match Store::open(&options, TODAY, "UTC") {
        Ok((store, restored)) => {
            let ids = restored.tasks.iter().map(|task| task.solve.0);
            assert!(
                ids.max().is_none_or(|max| max < restored.next_solve),
                "a solve id comes twice"
            );
            // What is opened can be worked with.
            let now = Now { mono: Mono(365 * 86_400 * 1_000_000_000), wall: Wall(NOON + 60_000) };
            let policy = Arc::new(config::default_config().policy);
            let mut engine = Engine::new(&policy, restored, now);
            let later = now + Duration::from_hours(2);
            let _ = (engine.snapshot(now), engine.expire(usize::MAX, later));
            assert!(engine.holds_add_up());
            if let Ok(reader) = Reader::open(&options.path) {
                let _ = (verify(&reader), reader.solves(10), reader.charges("acme", TODAY));
            }
            let _ = store.close(Duration::from_mins(1));
        }
        Err(
            OpenError::NotADatabase { .. } | OpenError::Foreign { .. } | OpenError::Newer { .. },
        ) => assert!(std::fs::read(&options.path).expect("there") == bytes, "not left as it was"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
