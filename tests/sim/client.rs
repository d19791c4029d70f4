//! Clients: submit, poll, report, ask for balances, look at what is not theirs, hang up.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::Invariant;
use crate::net::{End, Link};
use crate::plan::METHODS;
use crate::provider::{TOKEN, find, nonce};
use crate::rng::Rng;
use crate::world::{Asked, World};

/// `in.php` is answered within 5 s of its last byte; the rest is for the way.
const SUBMIT_MAX: u64 = 6_000;
/// A poll is answered within 4.5 s, whatever the record does; the rest is for the way.
const POLL_MAX: u64 = 5_500;
/// What a report may take, or a synchronous solve beyond its deadline.
const OTHERS_MAX: u64 = 14_000;

/// One client: a tenant, one of its keys, and a connection that it keeps.
pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) tenant: usize,
    pub(crate) key: usize,
    pub(crate) rng: Rng,
    pub(crate) connection: Option<Connection>,
}

pub(crate) struct Connection {
    link: Link,
    end: End,
    used_ms: u64,
}

/// Why there is no answer.
enum Gone {
    /// Nobody listens, or the connection broke as planned.
    Cut,
    HungUp,
}

struct Answer {
    status: u16,
    body: String,
}

/// How an exchange is to go.
#[derive(Clone, Copy)]
struct How {
    limit_ms: u64,
    may_hang_up: bool,
}

const POLL: How = How { limit_ms: POLL_MAX, may_hang_up: true };

impl Client {
    pub(crate) async fn run(mut self) {
        while self.world.ms() < self.world.plan.traffic_ms {
            match self.rng.within(0..=99) {
                0..=59 => self.submit_and_follow().await,
                60..=69 => self.burst(),
                70..=76 => self.solve_at_once().await,
                77..=84 => self.look_at_anothers().await,
                85..=92 => self.ask_for_figures().await,
                _ => self.pause(0, 8_000).await,
            }
            self.pause(0, 1_500).await;
        }
    }

    async fn pause(&mut self, from: u64, to: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.within(from..=to))).await;
    }

    /// The same client on a connection of its own.
    fn twin(&mut self) -> Self {
        let (world, rng) = (self.world.clone(), self.rng.fork());
        Self { world, tenant: self.tenant, key: self.key, rng, connection: None }
    }

    /// Several submissions at the same instant.
    fn burst(&mut self) {
        let size = self.rng.within(2..=5);
        let twins: Vec<_> = (0..size).map(|_| self.twin()).collect();
        for mut twin in twins {
            let tasks = self.world.tasks.clone();
            tasks.spawn(async move { twin.submit_and_follow().await });
        }
    }

    fn ask_for(&mut self, sync: bool) -> (usize, String) {
        let method = self.rng.place(METHODS.len());
        let pingback = !sync && self.rng.chance(60);
        let asked = Asked {
            tenant: self.tenant,
            key: self.key,
            method,
            pingback,
            sync,
            sent_ms: self.world.ms(),
        };
        let mut seen = self.world.seen.lock();
        seen.asked.push(asked);
        let number = seen.asked.len() - 1;
        drop(seen);
        let (name, site, _) = METHODS[method];
        let mut fields =
            format!("key={}&method={name}&{site}={}&pageurl=page", self.secret(), nonce(number));
        if pingback {
            fields.push_str("&pingback=callback");
        }
        if self.rng.chance(300) {
            fields.push_str("&json=1");
        }
        (number, fields)
    }

    fn secret(&self) -> String {
        self.world.plan.tenants[self.tenant].keys[self.key].secret.clone()
    }

    fn call(&mut self, script: &str, fields: &str) -> Vec<u8> {
        if self.rng.chance(500) {
            let get = format!("GET /{script}?{fields} HTTP/1.1\r\nHost: sidecar\r\n\r\n");
            return get.into_bytes();
        }
        let size = fields.len();
        format!(
            "POST /{script} HTTP/1.1\r\nHost: sidecar\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {size}\r\n\r\n{fields}"
        )
        .into_bytes()
    }

    async fn submit_and_follow(&mut self) {
        let (number, fields) = self.ask_for(false);
        let request = self.call("in.php", &fields);
        let how = How { limit_ms: SUBMIT_MAX, may_hang_up: true };
        let Ok(answer) = self.exchange(request, how).await else { return };
        self.world.trace(|| format!("client: submission {number}: {}", answer.body));
        let Some(id) = accepted(&answer.body) else {
            self.world.count("refused");
            return self.pause(0, 5_000).await;
        };
        self.world.count("accepted");
        let owner = self.world.provider.lock().fate(&id).map(|(asked, _)| asked);
        if owner != Some(number) {
            let what = format!("submission {number} was told the id of {owner:?}");
            self.world.wrong(Invariant::Isolation, what);
        }
        let sent_ms = self.world.seen.lock().asked[number].sent_ms;
        self.follow(&id, sent_ms).await;
    }

    async fn follow(&mut self, id: &str, born: u64) {
        let patience = self.rng.within(0..=self.world.plan.deadline_ms * 5 / 4);
        let until = self.world.ms() + patience;
        let incarnation = self.world.incarnation();
        let pace = *self.rng.pick(&[50, 500, 2_000]);
        let twice = self.rng.chance(150);
        while self.world.ms() < until {
            self.pause(pace / 2, pace * 2).await;
            if twice {
                let (mut twin, id) = (self.twin(), id.to_owned());
                let tasks = self.world.tasks.clone();
                tasks.spawn(async move { drop(twin.poll(&id).await) });
            }
            let Ok(answer) = self.poll(id).await else { continue };
            let lived = self.world.ms() - born;
            let known = incarnation == self.world.incarnation() || lived < 55_000;
            if answer.body.contains("WRONG_CAPTCHA_ID") && known && self.forgets_after() > lived {
                self.world.wrong(Invariant::NothingLost, format!("{id} is not known any more"));
            }
            if answer.body.contains(TOKEN) || answer.body.contains("ERROR_CAPTCHA_UNSOLVABLE") {
                break;
            }
        }
        if self.rng.chance(250) {
            let action = *self.rng.pick(&["reportgood", "reportbad", "get"]);
            let fields = format!("key={}&action={action}&id={id}", self.secret());
            let request = self.call("res.php", &fields);
            let limit_ms = OTHERS_MAX;
            let answer = self.exchange(request, How { limit_ms, may_hang_up: false }).await;
            self.receive(answer.ok().as_ref());
        }
    }

    fn forgets_after(&self) -> u64 {
        self.world.plan.forget_ms.saturating_sub(1_000)
    }

    async fn poll(&mut self, id: &str) -> Result<Answer, Gone> {
        let fields = match self.rng.within(0..=9) {
            0 => format!("key={}&action=get2&id={id}", self.secret()),
            1 => format!("key={}&action=get&ids={id},{id}", self.secret()),
            2 | 3 => format!("key={}&action=get&json=1&id={id}", self.secret()),
            _ => format!("key={}&action=get&id={id}", self.secret()),
        };
        let request = self.call("res.php", &fields);
        let answer = self.exchange(request, POLL).await;
        if let Ok(answer) = &answer {
            self.world.trace(|| format!("client: {id}: {}", answer.body));
        }
        self.receive(answer.as_ref().ok());
        answer
    }

    /// Notes the answers that came whole.
    fn receive(&self, answer: Option<&Answer>) {
        let Some(answer) = answer else { return };
        for part in answer.body.split(TOKEN).skip(1).filter(|part| part.contains('.')) {
            self.world.seen.lock().received.extend(part.get(..9).map(str::to_owned));
        }
    }

    async fn solve_at_once(&mut self) {
        let (number, fields) = self.ask_for(true);
        let request = self.call("solve.php", &fields);
        let limit_ms = self.world.plan.deadline_ms + OTHERS_MAX;
        let answer = self.exchange(request, How { limit_ms, may_hang_up: true }).await;
        if let Ok(answer) = &answer {
            self.world.trace(|| format!("client: solve {number}: {}", answer.body));
        }
        self.receive(answer.ok().as_ref());
    }

    /// The tasks of other tenants do not exist.
    async fn look_at_anothers(&mut self) {
        let ids: Vec<_> = {
            let name = &self.world.plan.tenants[self.tenant].name;
            let book = self.world.book.lock();
            let others = book.bound.iter().filter(|(_, owner)| ***owner != **name);
            others.map(|((_, id), _)| id.clone()).collect()
        };
        if ids.is_empty() {
            return;
        }
        let id = self.rng.pick(&ids).clone();
        let action = *self.rng.pick(&["get", "get2", "reportbad"]);
        let fields = format!("key={}&action={action}&id={id}", self.secret());
        let request = self.call("res.php", &fields);
        if let Ok(answer) = self.exchange(request, POLL).await
            && answer.body != "ERROR_WRONG_CAPTCHA_ID"
        {
            let what = format!("t{} asked about {id}: {}", self.tenant, answer.body);
            self.world.wrong(Invariant::Isolation, what);
        }
    }

    async fn ask_for_figures(&mut self) {
        let action = *self.rng.pick(&["getbalance", "threadsinfo"]);
        let fields = format!("key={}&action={action}", self.secret());
        let request = self.call("res.php", &fields);
        if let Ok(answer) = self.exchange(request, POLL).await
            && (answer.status != 200 || answer.body.contains('-'))
        {
            self.world.wrong(Invariant::Spending, format!("{action}: {}", answer.body));
        }
    }

    async fn exchange(&mut self, request: Vec<u8>, how: How) -> Result<Answer, Gone> {
        let mut connection = self.connected()?;
        let faults = self.world.plan.faults;
        let hangs_up = how.may_hang_up && self.rng.chance(faults.hang_up);
        let soon = *self.rng.pick(&[20, 100, 1_000, 5_000]);
        let wait = if hangs_up { self.rng.within(0..=soon) } else { how.limit_ms };
        let pieces = if self.rng.chance(100) { 2 } else { 1 };
        let middle = request.len() / pieces;
        let sent = async {
            connection.end.write_all(&request[..middle]).await?;
            if pieces > 1 {
                tokio::time::sleep(Duration::from_millis(700)).await;
                connection.end.write_all(&request[middle..]).await?;
            }
            std::io::Result::Ok(())
        };
        let sent_at = Instant::now();
        let mut answered = sent.await.map(|()| None);
        if answered.is_ok() {
            let reading = read_answer(&mut connection.end);
            answered = match tokio::time::timeout(Duration::from_millis(wait), reading).await {
                Ok(answer) => answer.map(Some),
                Err(_) => Ok(None),
            };
        }
        match answered {
            Ok(Some(answer)) => {
                connection.used_ms = self.world.ms();
                if self.rng.chance(700) {
                    self.connection = Some(connection);
                }
                Ok(answer)
            }
            Ok(None) if hangs_up => {
                self.world.count("hung up");
                Err(Gone::HungUp)
            }
            Ok(None) if connection.link.is_broken() => Err(Gone::Cut),
            Ok(None) => {
                let text = String::from_utf8_lossy(&request).into_owned();
                self.world.wrong(Invariant::Answered, format!("no answer in {wait} ms to {text}"));
                Err(Gone::Cut)
            }
            Err(error) => {
                if !connection.link.is_broken() && !connection.link.was_drained(sent_at) {
                    let text = String::from_utf8_lossy(&request).into_owned();
                    self.world.wrong(
                        Invariant::Answered,
                        format!("{error} instead of an answer to {text}"),
                    );
                }
                Err(Gone::Cut)
            }
        }
    }

    fn connected(&mut self) -> Result<Connection, Gone> {
        let kept = self
            .connection
            .take()
            .filter(|kept| !kept.link.is_broken() && self.world.ms() < kept.used_ms + 30_000);
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let (link, end) = self.world.connect(self.tenant).ok_or(Gone::Cut)?;
        Ok(Connection { link, end, used_ms: self.world.ms() })
    }
}

async fn read_answer(end: &mut End) -> std::io::Result<Answer> {
    let mut buffer = Vec::new();
    loop {
        if let Some(head) = find(&buffer, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
                .unwrap_or(0);
            if buffer.len() >= head + 4 + length {
                let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
                let body = String::from_utf8_lossy(&buffer[head + 4..]).into_owned();
                return Ok(Answer { status, body });
            }
        }
        if end.read_buf(&mut buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The id of an accepted submission, in either form.
fn accepted(body: &str) -> Option<String> {
    let id = body.strip_prefix("OK|").or_else(|| {
        let rest = body.strip_prefix("{\"status\":1,\"request\":\"")?;
        rest.strip_suffix("\"}")
    })?;
    Some(id.to_owned())
}
