//! Clients as applications are: each submits, polls until there is an answer, asks again now and then,
//! walks away now and then, and connects anew when the sidecar is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use crate::http::{Answer, Connection, Cut};
use crate::notes::{Note, Notes, Submitted, Wish, mark};
use crate::tenants::{FORGET_AFTER_SECONDS, KEYS, Key, Kind};

/// Solves that one client has open at once.
const OPEN_MAX: usize = 4;

/// What all clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orders {
    /// Go on; the sidecar is here, or away.
    Work(Option<SocketAddr>),
    /// Submit nothing more, and come to an end with what is open.
    Finish(SocketAddr),
}

/// Starts the clients of every key; they end after [`Orders::Finish`].
pub(crate) fn start(
    notes: &Arc<Notes>,
    orders: &watch::Receiver<Orders>,
    seed: u64,
) -> tokio::task::JoinSet<()> {
    let mut clients = tokio::task::JoinSet::new();
    for (number, key) in
        KEYS.iter().flat_map(|key| std::iter::repeat_n(key, key.clients)).enumerate()
    {
        let client = Client {
            notes: notes.clone(),
            orders: orders.clone(),
            key,
            rng: StdRng::seed_from_u64(seed.wrapping_add(1 + number as u64)),
            connection: None,
            open: Vec::new(),
            is_refused: false,
        };
        clients.spawn(client.run());
    }
    clients
}

struct Client {
    notes: Arc<Notes>,
    orders: watch::Receiver<Orders>,
    key: &'static Key,
    rng: StdRng,
    connection: Option<Connection>,
    open: Vec<Open>,
    is_refused: bool,
}

/// A solve whose answer is waited for.
#[derive(Debug, Clone)]
struct Open {
    number: usize,
    id: String,
    /// Just before it was submitted.
    since: Instant,
}

/// How a request is made.
enum Call {
    Get(String),
    Post(&'static str, String),
}

impl Client {
    async fn run(mut self) {
        loop {
            let finishing = matches!(*self.orders.borrow(), Orders::Finish(_));
            if finishing && self.open.is_empty() {
                return;
            }
            let may_submit = !finishing && self.open.len() < OPEN_MAX;
            if may_submit && (self.open.is_empty() || self.rng.random_bool(0.3)) {
                self.submit().await;
            } else {
                self.look_after_one(finishing).await;
            }
            // People and programs pause, after a refusal for longer.
            let longest = if std::mem::take(&mut self.is_refused) { 60_000 } else { 5_000 };
            let pause = self.rng.random_range(0..longest);
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
    }

    async fn submit(&mut self) {
        let kind = *Kind::ALL.choose(&mut self.rng).unwrap();
        let wish = match self.rng.random_range(0..100) {
            0..4 => Wish::RefusedAtSubmit,
            4..12 => Wish::Unsolvable,
            12..14 => Wish::Never,
            _ => Wish::Solved,
        };
        let number = self.notes.submits(self.key, kind, wish);
        let mark = mark(number);
        let millis = self.rng.random_range(0..250);
        let page = match wish {
            Wish::Solved => format!("https://sim.test/?m={mark}&solve={millis}ms&answer={mark}"),
            Wish::Unsolvable => format!(
                "https://sim.test/?m={mark}&solve={millis}ms&error=ERROR_CAPTCHA_UNSOLVABLE"
            ),
            Wish::Never => format!("https://sim.test/?m={mark}&never"),
            Wish::RefusedAtSubmit => {
                format!("https://sim.test/?m={mark}&submit_error=ERROR_BAD_PARAMETERS")
            }
        };
        let page: String = form_urlencoded::byte_serialize(page.as_bytes()).collect();
        let mut form = format!("key={}&{}&pageurl={page}", self.key.secret, kind.fields());
        let at_once = wish != Wish::Never && self.rng.random_bool(0.05);
        if !at_once && self.rng.random_bool(0.5) {
            form.push_str("&json=1");
        }
        let script = if at_once { "/solve.php" } else { "/in.php" };
        let call = if self.rng.random_bool(0.5) {
            Call::Post(script, form)
        } else {
            Call::Get(format!("{script}?{form}"))
        };
        let since = Instant::now();
        match self.ask(call).await {
            Ok(answer) if at_once => self.note_at_once(number, &answer),
            Ok(answer) => self.note_submitted(number, &answer, since),
            Err(cut) if at_once => self.note_cut(number, &cut),
            Err(_) => {}
        }
    }

    fn note_submitted(&mut self, number: usize, answer: &Answer, since: Instant) {
        let id = said(&answer.text);
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        if !is_id {
            self.is_refused = true;
            self.notes
                .change(number, |note| note.submitted = Submitted::Refused(answer.reason.clone()));
            return;
        }
        self.notes.change(number, |note| note.submitted = Submitted::Accepted(Some(id.clone())));
        self.open.push(Open { number, id, since });
    }

    fn note_at_once(&mut self, number: usize, answer: &Answer) {
        let text = said(&answer.text);
        let wish = self.notes.note(number).wish;
        self.notes.change(number, |note| {
            if text == mark(number) {
                note.submitted = Submitted::Accepted(None);
                note.delivered += 1;
            } else {
                note.submitted = Submitted::Refused(answer.reason.clone());
            }
        });
        let is_right = match wish {
            Wish::Solved => text == mark(number) || answer.reason.is_some(),
            Wish::Unsolvable | Wish::RefusedAtSubmit | Wish::Never => text.starts_with("ERROR"),
        };
        if !is_right {
            self.notes.fault(format!("{wish:?} was answered at once with {answer:?}"));
        }
    }

    /// Polls one of the open solves, or several at once; spies on somebody else's now and then.
    async fn look_after_one(&mut self, finishing: bool) {
        if self.rng.random_bool(0.02) {
            self.spy().await;
        }
        let Some(open) = self.open.choose(&mut self.rng).cloned() else { return };
        let wish = self.notes.note(open.number).wish;
        let is_hopeless = wish == Wish::Never && open.since.elapsed() > Duration::from_secs(1);
        if is_hopeless || (!finishing && self.rng.random_bool(0.005)) {
            return self.close(open.number);
        }
        if self.open.len() > 1 && self.rng.random_bool(0.1) {
            return self.poll_all().await;
        }
        let form = if self.rng.random_bool(0.5) { "&json=1" } else { "" };
        let target = format!("/res.php?key={}&action=get&id={}{form}", self.key.secret, open.id);
        match self.ask(Call::Get(target)).await {
            Ok(answer) => self.note_polled(&open, &said(&answer.text)),
            Err(cut) => {
                self.note_cut(open.number, &cut);
                // Who gets no answer may not come again; one that was on its way is charged all the same.
                if self.rng.random_bool(0.3) {
                    self.close(open.number);
                }
            }
        }
        let note = self.notes.note(open.number);
        if note.delivered == 1 && self.rng.random_bool(0.2) {
            let report = if self.rng.random_bool(0.5) { "reportgood" } else { "reportbad" };
            let target = format!("/res.php?key={}&action={report}&id={}", self.key.secret, open.id);
            let _ = self.ask(Call::Get(target)).await;
        }
    }

    async fn poll_all(&mut self) {
        let all = self.open.clone();
        let ids: Vec<&str> = all.iter().map(|open| open.id.as_str()).collect();
        let target = format!("/res.php?key={}&action=get&ids={}", self.key.secret, ids.join(","));
        match self.ask(Call::Get(target)).await {
            Ok(answer) => {
                let text = answer.text.strip_prefix("OK|").unwrap_or(&answer.text);
                let parts: Vec<&str> = text.split('|').collect();
                if parts.len() != all.len() {
                    return self.notes.fault(format!("{} ids were answered {text}", all.len()));
                }
                for (open, part) in all.iter().zip(parts) {
                    self.note_polled(open, part);
                }
            }
            Err(cut) => all.iter().for_each(|open| self.note_cut(open.number, &cut)),
        }
    }

    fn note_polled(&mut self, open: &Open, text: &str) {
        let note = self.notes.note(open.number);
        let age = open.since.elapsed();
        match text {
            "CAPCHA_NOT_READY" => {}
            _ if text == mark(open.number) && note.wish == Wish::Solved => {
                self.notes.change(open.number, |note| note.delivered += 1);
                // Some ask again, and get the same answer for nothing.
                if note.delivered > 0 || self.rng.random_bool(0.85) {
                    self.close(open.number);
                }
            }
            "ERROR_CAPTCHA_UNSOLVABLE" if note.wish == Wish::Unsolvable => self.close(open.number),
            "ERROR_WRONG_CAPTCHA_ID" if is_forgettable(&note, age) => self.close(open.number),
            _ => {
                self.close(open.number);
                self.notes.fault(format!(
                    "{} of {}, {age:?} old: {note:?} was answered `{text}`",
                    open.id, self.key.tenant
                ));
            }
        }
    }

    fn note_cut(&self, number: usize, cut: &Cut) {
        let came_whole = memchr::memmem::find(&cut.received, mark(number).as_bytes()).is_some();
        self.notes.change(number, |note| {
            if note.cut == 0 && note.delivered == 0 && !came_whole {
                note.cut_at = Some(jiff::Timestamp::now().as_millisecond());
            }
            note.cut += 1;
            note.cut_in_the_answer += u32::from(!cut.received.is_empty());
        });
    }

    /// A task of another tenant does not exist.
    async fn spy(&mut self) {
        let number = self.rng.random_range(0..self.notes.count().max(1));
        if number >= self.notes.count() {
            return;
        }
        let note = self.notes.note(number);
        let Submitted::Accepted(Some(id)) = note.submitted else { return };
        if note.key.tenant == self.key.tenant {
            return;
        }
        let target = format!("/res.php?key={}&action=get&id={id}", self.key.secret);
        if let Ok(answer) = self.ask(Call::Get(target)).await
            && answer.text != "ERROR_WRONG_CAPTCHA_ID"
        {
            let (spy, owner) = (self.key.tenant, note.key.tenant);
            self.notes.fault(format!("{spy} asked for a task of {owner}'s and got {answer:?}"));
        }
    }

    fn close(&mut self, number: usize) {
        self.open.retain(|open| open.number != number);
    }

    async fn ask(&mut self, call: Call) -> Result<Answer, Cut> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await,
        };
        self.notes.asked();
        self.notes.event();
        let answer = match call {
            Call::Get(target) => connection.get(&target).await?,
            Call::Post(target, form) => connection.post(target, &form).await?,
        };
        self.notes.event();
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&mut self) -> Connection {
        loop {
            let here = |orders: &Orders| !matches!(orders, Orders::Work(None));
            let orders = *self.orders.wait_for(here).await.unwrap();
            let (Orders::Work(Some(address)) | Orders::Finish(address)) = orders else { continue };
            if let Some(connection) = Connection::open(address).await {
                return connection;
            }
            // It died a moment ago; its successor is announced.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Whether the sidecar may have forgotten that solve: what was delivered is kept for longer than any
/// client here asks.
fn is_forgettable(note: &Note, age: Duration) -> bool {
    note.delivered == 0 && age >= Duration::from_secs(FORGET_AFTER_SECONDS)
}

/// What an answer says, in either form.
fn said(text: &str) -> String {
    if text.starts_with('{') {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let request = &json["request"];
        return request.as_str().map_or_else(|| request.to_string(), str::to_owned);
    }
    text.strip_prefix("OK|").unwrap_or(text).to_owned()
}
