//! The provider: solves, fails, forgets to answer, breaks off, repeats itself; and counts what it is
//! asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use solvegate::domain::journal::TaskState;
use solvegate::proxy::{Network, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Invariant;
use crate::book::Book;
use crate::net::{End, Link, connect};
use crate::plan::{ACCOUNTS, Event, VIRTUAL, real_key};
use crate::rng::Rng;
use crate::world::{Asked, World};

/// Begins every task id.
pub(crate) const ID: &str = "7700";
/// Begins every answer; the id follows.
pub(crate) const TOKEN: &str = "token-";

#[derive(Default)]
pub(crate) struct Provider {
    tasks: BTreeMap<String, Task>,
    pub(crate) arrivals: Vec<Arrival>,
}

struct Task {
    asked: usize,
    account: usize,
    ready_ms: u64,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Solved,
    Failed,
    Never,
}

/// A submission that reached the provider.
pub(crate) struct Arrival {
    pub(crate) asked: usize,
    pub(crate) at_ms: u64,
    pub(crate) incarnation: u32,
    /// Occupies a thread for certain: the sidecar cannot have taken it for ended.
    occupies: bool,
    id: Option<String>,
}

/// What goes wrong with one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Read, not done, the connection is closed.
    Refuse,
    /// Done, and the connection is closed before the answer.
    BreakOff,
    /// Half the answer.
    Half,
    /// No answer for a long time, then none.
    Hang,
    /// Done, and a web server's error page.
    Page,
    /// A code of the provider's.
    Code(&'static str),
    /// An id that was given out before.
    Again,
    /// An id is missing.
    NoId,
}

const SUBMIT_FAULTS: [Fault; 11] = [
    Fault::Refuse,
    Fault::BreakOff,
    Fault::Half,
    Fault::Hang,
    Fault::Page,
    Fault::Code("ERROR_NO_SLOT_AVAILABLE"),
    Fault::Code("ERROR_WRONG_GOOGLEKEY"),
    Fault::Code("ERROR_ZERO_BALANCE"),
    Fault::Again,
    Fault::Again,
    Fault::NoId,
];
const POLL_FAULTS: [Fault; 7] = [
    Fault::Refuse,
    Fault::BreakOff,
    Fault::Half,
    Fault::Hang,
    Fault::Page,
    Fault::Code("ERROR_PROXY_CONNECTION_FAILED"),
    Fault::Code("ERROR_INTERNAL_SERVER_ERROR"),
];

impl Provider {
    /// Which submission that id is for, and whether it was solved.
    pub(crate) fn fate(&self, id: &str) -> Option<(usize, bool)> {
        self.tasks.get(id).map(|task| (task.asked, task.fate == Fate::Solved))
    }

    /// Only what the record knows as open still occupies a thread for certain.
    pub(crate) fn process_died(&mut self, book: &Book) {
        for arrival in &mut self.arrivals {
            let task = arrival.id.as_ref().and_then(|id| book.task(id));
            arrival.occupies &=
                task.is_some_and(|task| task.state == TaskState::Open && task.verdict.is_none());
        }
    }

    fn task_ended(&mut self, id: &str) {
        for arrival in self.arrivals.iter_mut().filter(|one| one.id.as_deref() == Some(id)) {
            arrival.occupies = false;
        }
    }
}

/// The way to the provider, for one process of the sidecar.
#[derive(Clone)]
pub(crate) struct Dialer {
    world: Arc<World>,
    alive: Arc<AtomicBool>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self { world: world.clone(), alive: Arc::new(AtomicBool::new(true)) }
    }

    pub(crate) fn die(&self) {
        self.alive.store(false, Ordering::Relaxed);
    }
}

impl Network for Dialer {
    fn connect(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (world, alive) = (self.world.clone(), self.alive.clone());
        Box::pin(async move {
            let mut rng = world.fork();
            let latency = rng.within(0..=world.plan.faults.latency_max);
            tokio::time::sleep(Duration::from_millis(latency)).await;
            if world.plan.outage.contains(&world.ms()) {
                let wait = if rng.chance(500) { 0 } else { 60_000 };
                tokio::time::sleep(Duration::from_millis(wait)).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            if !alive.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let plan = world.plan.link(&mut rng);
            let whole = plan.cut.is_none();
            let incarnation = world.incarnation();
            let serving = rng.fork();
            let (link, sidecar, provider) = connect(plan, rng, None);
            world.hold_link(link.clone());
            let from = From { link, whole, incarnation };
            world.tasks.spawn(serve(world.clone(), provider, from, serving));
            Ok(Box::new(sidecar) as Box<dyn Stream>)
        })
    }
}

/// Where a request comes from.
struct From {
    link: Link,
    /// Nothing is going to cut that connection.
    whole: bool,
    incarnation: u32,
}

async fn serve(world: Arc<World>, mut end: End, from: From, mut rng: Rng) {
    let mut buffer = Vec::new();
    let idle = Duration::from_millis(*rng.pick(&[300, 900, 5_000, 60_000]));
    loop {
        let reading = read_request(&mut end, &mut buffer);
        let Ok(Ok(request)) = tokio::time::timeout(idle, reading).await else {
            // What came in part was sent all the same.
            note_arrivals_in(&world, &from, &buffer);
            return;
        };
        let keeps_open = rng.chance(900);
        match exchange(&world, &mut end, &request, (&from, keeps_open), &mut rng).await {
            Ok(()) if keeps_open => {}
            _ => return,
        }
    }
}

struct Request {
    script: String,
    fields: BTreeMap<String, String>,
}

async fn read_request(end: &mut End, buffer: &mut Vec<u8>) -> io::Result<Request> {
    loop {
        if let Some(head) = find(buffer, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
                .unwrap_or(0);
            let size = head + 4 + length;
            if buffer.len() >= size {
                let request = parse(&String::from_utf8_lossy(&buffer[..size]));
                buffer.drain(..size);
                return Ok(request);
            }
        }
        if end.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(text: &str) -> Request {
    let target = text.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let pairs = query.split('&').chain(body.split('&')).filter_map(|pair| pair.split_once('='));
    let fields = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Request { script: path.trim_start_matches('/').to_owned(), fields }
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A submission's number, as clients write it.
pub(crate) fn nonce(asked: usize) -> String {
    format!("nonce{asked:05}x")
}

fn read_nonce(text: &str) -> Option<usize> {
    text.split_once("nonce")?.1.get(..5)?.parse().ok()
}

fn note_arrivals_in(world: &World, from: &From, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let submits = text.contains("in.php") || text.contains("solve.php");
    if let Some(asked) = read_nonce(&text).filter(|_| submits) {
        arrive(world, asked, from, (false, None));
    }
}

async fn exchange(
    world: &World,
    end: &mut End,
    request: &Request,
    (from, keeps_open): (&From, bool),
    rng: &mut Rng,
) -> io::Result<()> {
    let submits = request.script != "res.php";
    let faulty = rng.chance(world.plan.faults.provider);
    let possible: &[Fault] = if submits { &SUBMIT_FAULTS } else { &POLL_FAULTS };
    let fault = faulty.then(|| *rng.pick(possible));
    let slow = rng.chance(world.plan.faults.provider / 2);
    let delay = if slow { rng.within(1_000..=20_000) } else { rng.within(0..=60) };
    let (body, delay) = if submits {
        submit(world, request, (fault, from), (rng, delay)).await
    } else {
        tokio::time::sleep(Duration::from_millis(delay)).await;
        (poll(world, request, fault), 0)
    };
    tokio::time::sleep(Duration::from_millis(delay)).await;
    world.trace(|| format!("provider: {} {fault:?} {body}", request.script));
    let json = request.fields.get("json").is_some_and(|json| json == "1");
    let body = match body.split_once('|') {
        Some((_, text)) if json => format!("{{\"status\":1,\"request\":\"{text}\"}}"),
        None if json => format!("{{\"status\":0,\"request\":\"{body}\"}}"),
        _ => body,
    };
    let (status, body) = match fault {
        Some(Fault::Refuse | Fault::BreakOff) => return Err(io::ErrorKind::Other.into()),
        Some(Fault::Hang) => {
            tokio::time::sleep(Duration::from_millis(rng.within(3_000..=90_000))).await;
            return Err(io::ErrorKind::Other.into());
        }
        Some(Fault::Page) => ("502 Bad Gateway", "<html>Bad Gateway</html>".to_owned()),
        _ => ("200 OK", body),
    };
    let connection = if keeps_open { "" } else { "Connection: close\r\n" };
    let size = body.len();
    let mut answer =
        format!("HTTP/1.1 {status}\r\n{connection}Content-Length: {size}\r\n\r\n{body}");
    if fault == Some(Fault::Half) {
        answer.truncate(answer.len() - size / 2 - 1);
        end.write_all(answer.as_bytes()).await?;
        return Err(io::ErrorKind::Other.into());
    }
    end.write_all(answer.as_bytes()).await
}

/// The body, and how long its delivery takes.
async fn submit(
    world: &World,
    request: &Request,
    (fault, from): (Option<Fault>, &From),
    (rng, delay): (&mut Rng, u64),
) -> (String, u64) {
    let Some(asked) = request.fields.values().find_map(|value| read_nonce(value)) else {
        return ("ERROR_BAD_PARAMETERS".to_owned(), 0);
    };
    let owner = world.seen.lock().asked[asked].clone();
    check_key(world, request, world.plan.tenants[owner.tenant].account);
    if let Some(Fault::Code(code)) = fault {
        arrive(world, asked, from, (false, None));
        return (code.to_owned(), delay);
    }
    if fault == Some(Fault::Refuse) {
        arrive(world, asked, from, (false, None));
        return (String::new(), delay);
    }
    if fault == Some(Fault::Again) && request.script == "in.php" {
        let again = given_before(world, &owner);
        if let Some(id) = again {
            arrive(world, asked, from, (false, None));
            world.count("duplicate ids");
            return (format!("OK|{id}"), delay);
        }
    }
    let id = format!("{ID}{:05}", world.provider.lock().tasks.len() + 1);
    let solve_ms = match rng.within(0..=9) {
        0..=5 => rng.within(100..=4_000),
        6 | 7 => rng.within(4_000..=20_000),
        _ => rng.within(20_000..=70_000),
    };
    let fate = match rng.within(0..=9) {
        0 | 1 => Fate::Failed,
        2 if faulty_seed(world) => Fate::Never,
        _ => Fate::Solved,
    };
    let account = world.plan.tenants[owner.tenant].account;
    let task = Task { asked, account, ready_ms: world.ms() + delay + solve_ms, fate };
    world.provider.lock().tasks.insert(id.clone(), task);
    let sync = request.script == "solve.php";
    let healthy = fault.is_none() || fault == Some(Fault::Again);
    arrive(world, asked, from, (healthy, Some(id.clone())));
    if sync {
        tokio::time::sleep(Duration::from_millis(solve_ms)).await;
        let body = match fate {
            Fate::Solved => format!("OK|{}", token(&id)),
            Fate::Failed | Fate::Never => "ERROR_CAPTCHA_UNSOLVABLE".to_owned(),
        };
        world.provider.lock().task_ended(&id);
        return (body, delay);
    }
    if fault == Some(Fault::NoId) { ("OK|".to_owned(), delay) } else { (format!("OK|{id}"), delay) }
}

fn faulty_seed(world: &World) -> bool {
    world.plan.faults.provider > 0
}

/// An id that this account was given before, and that the sidecar cannot have forgotten.
fn given_before(world: &World, owner: &Asked) -> Option<String> {
    let account = ACCOUNTS[world.plan.tenants[owner.tenant].account];
    let book = world.book.lock();
    let open = book.tasks.values().filter(|task| &*task.account == account);
    let id = open.map(|task| task.task_id.as_str()).rfind(|id| id.starts_with(ID))?;
    let provider = world.provider.lock();
    let task = provider.tasks.get(id)?;
    let lately = world.ms() < world.seen.lock().asked[task.asked].sent_ms + 20_000;
    lately.then(|| id.to_owned())
}

fn token(id: &str) -> String {
    format!("{TOKEN}{id}{:x<40}.", "")
}

fn poll(world: &World, request: &Request, fault: Option<Fault>) -> String {
    let id = request.fields.get("id").cloned().unwrap_or_default();
    let Some((account, ready, fate)) = world
        .provider
        .lock()
        .tasks
        .get(&id)
        .map(|task| (task.account, task.ready_ms <= world.ms(), task.fate))
    else {
        return "ERROR_WRONG_CAPTCHA_ID".to_owned();
    };
    check_key(world, request, account);
    match request.fields.get("action").map(String::as_str) {
        Some("reportgood" | "reportbad") => return "OK_REPORT_RECORDED".to_owned(),
        Some("get") => {}
        other => world.wrong(Invariant::Isolation, format!("forwarded {other:?}")),
    }
    if let Some(Fault::Code(code)) = fault {
        return code.to_owned();
    }
    match fate {
        Fate::Solved if ready => {
            world.provider.lock().task_ended(&id);
            format!("OK|{}", token(&id))
        }
        Fate::Failed if ready => {
            world.provider.lock().task_ended(&id);
            "ERROR_CAPTCHA_UNSOLVABLE".to_owned()
        }
        Fate::Solved | Fate::Failed | Fate::Never => "CAPCHA_NOT_READY".to_owned(),
    }
}

fn check_key(world: &World, request: &Request, account: usize) {
    let key = request.fields.get("key").cloned().unwrap_or_default();
    if key != real_key(account) {
        world.wrong(Invariant::Isolation, format!("the provider was shown the key {key}"));
    }
    if request.fields.values().any(|value| value.contains(VIRTUAL)) {
        world.wrong(Invariant::Isolation, "the provider was shown a tenant's key");
    }
}

/// A submission is here: the only one for its client's, and within every limit.
fn arrive(world: &World, asked: usize, from: &From, (healthy, id): (bool, Option<String>)) {
    let (at_ms, incarnation) = (world.ms(), from.incarnation);
    let occupies = healthy && from.whole && !from.link.is_broken();
    world.trace(|| format!("provider: submission {asked} arrives, {id:?}"));
    let twice = {
        let mut provider = world.provider.lock();
        let twice = provider.arrivals.iter().any(|arrival| arrival.asked == asked);
        provider.arrivals.push(Arrival { asked, at_ms, incarnation, occupies, id });
        twice
    };
    world.happened(Event::Arrived);
    if twice {
        world.wrong(Invariant::SentOnce, format!("submission {asked} was sent twice"));
    }
    if occupies {
        check_in_flight(world, asked);
    }
}

fn check_in_flight(world: &World, newest: usize) {
    let seen = world.seen.lock();
    let provider = world.provider.lock();
    let deadline = world.plan.deadline_ms;
    let newest = &seen.asked[newest];
    let occupying: Vec<_> = provider
        .arrivals
        .iter()
        .filter(|arrival| arrival.occupies)
        .map(|arrival| &seen.asked[arrival.asked])
        .filter(|asked| world.ms() < asked.sent_ms + deadline)
        .collect();
    let tenant = &world.plan.tenants[newest.tenant];
    let of_tenant = |asked: &&&Asked| asked.tenant == newest.tenant;
    let of_key = |asked: &&&Asked| asked.tenant == newest.tenant && asked.key == newest.key;
    let account = tenant.account;
    let of_account = |asked: &&&Asked| world.plan.tenants[asked.tenant].account == account;
    let counted = |of: &dyn Fn(&&&Asked) -> bool| {
        u64::try_from(occupying.iter().filter(of).count()).unwrap_or(0)
    };
    let checks = [
        ("tenant", counted(&of_tenant), tenant.limits.in_flight),
        ("account", counted(&of_account), Some(world.plan.threads[account])),
        ("key", counted(&of_key), tenant.keys[newest.key].limits.in_flight),
    ];
    let name = tenant.name.clone();
    drop((provider, seen));
    for (whose, count, max) in checks {
        if let Some(max) = max.filter(|max| count > *max) {
            let what = format!("{count} in flight of {max} of the {whose} ({name})");
            world.wrong(Invariant::WithinLimits, what);
        }
    }
}
