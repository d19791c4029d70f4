//! One seed's world: the sidecar's process, what surrounds it, and everything that was seen.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use solvegate::background::watcher;
use solvegate::clock::Clock;
use solvegate::config::Config;
use solvegate::domain::account::AccountReport;
use solvegate::domain::calendar::Calendar;
use solvegate::domain::engine::Engine;
use solvegate::domain::journal::{TaskState, Write};
use solvegate::domain::money::Money;
use solvegate::domain::time::{Mono, Now, Wall};
use solvegate::gate::Gate;
use solvegate::proxy::{self, Bounds, Proxy, Target};
use solvegate::record::metrics::Metrics;
use solvegate::record::store::Committed;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Invariant;
use crate::book::Book;
use crate::net::{End, Link, connect};
use crate::plan::{ACCOUNTS, Event, METHODS, Plan};
use crate::provider::{Dialer, Provider};
use crate::rng::Rng;
use crate::scan::Scanner;
use crate::store::Disk;

/// The last of November 2026 begins, UTC.
const MIDNIGHT: i64 = 1_795_996_800_000;
/// What the monotonic clock reads at the start of the simulation.
const A_YEAR: Duration = Duration::from_hours(365 * 24);

thread_local! {
    /// When the simulation of this thread began, and what its wall clock showed then.
    static TIME: Cell<Option<(Instant, i64)>> = const { Cell::new(None) };
}

fn now() -> Now {
    let (started, wall) = TIME.get().unwrap_or_else(|| (Instant::now(), MIDNIGHT));
    let passed = started.elapsed();
    Now { mono: Mono::default() + A_YEAR + passed, wall: Wall(wall) + passed }
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) tasks: TaskTracker,
    started: Instant,
    rng: Mutex<Rng>,
    trace: Mutex<Vec<String>>,
    wrong: Mutex<Vec<(Invariant, String)>>,
    pub(crate) book: Mutex<Book>,
    pub(crate) provider: Mutex<Provider>,
    pub(crate) seen: Mutex<Seen>,
    process: Mutex<Option<Process>>,
    /// Connections of the living process, and its side of each.
    links: Mutex<Vec<(Link, usize)>>,
    incarnation: Mutex<u32>,
    /// What happened so far in this process.
    events: watch::Sender<BTreeMap<Event, u64>>,
}

/// What was seen from outside.
#[derive(Default)]
pub(crate) struct Seen {
    /// Every submission of a client, by its number.
    pub(crate) asked: Vec<Asked>,
    /// Tasks whose answer was taken from the sidecar by a client's connection.
    pub(crate) flushed: BTreeSet<String>,
    /// Tasks whose answer a client has whole.
    pub(crate) received: BTreeSet<String>,
    /// Tasks whose answer was on its way when the process died.
    pub(crate) unconfirmed: BTreeSet<String>,
    /// Tasks whose answer went out while the record could not be written.
    pub(crate) unrecorded: BTreeSet<String>,
    /// When the record was last found to be in trouble.
    trouble_at: Option<u64>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// A submission as its client knows it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) tenant: usize,
    pub(crate) key: usize,
    pub(crate) method: usize,
    pub(crate) pingback: bool,
    pub(crate) sync: bool,
    pub(crate) sent_ms: u64,
}

struct Process {
    gate: Arc<Gate>,
    proxy: Arc<Proxy>,
    disk: Disk,
    dialer: Dialer,
    /// Connections and submissions under way.
    requests: TaskTracker,
    stop_requests: CancellationToken,
    stop_chores: CancellationToken,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(&mut rng);
        let wall = MIDNIGHT - i64::try_from(plan.until_midnight).unwrap_or(0);
        let started = Instant::now();
        TIME.set(Some((started, wall)));
        let world = Self {
            provider: Mutex::new(Provider::default()),
            tasks: TaskTracker::new(),
            started,
            rng: Mutex::new(rng),
            trace: Mutex::default(),
            wrong: Mutex::default(),
            book: Mutex::default(),
            seen: Mutex::default(),
            process: Mutex::default(),
            links: Mutex::default(),
            incarnation: Mutex::new(0),
            events: watch::Sender::default(),
            plan,
        };
        world.trace(|| format!("plan: {:?}", world.plan.faults));
        world.trace(|| format!("store: {:?}", world.plan.store));
        world.trace(|| format!("ends: {:?}", world.plan.ends));
        world.trace(|| world.plan.text.clone());
        Arc::new(world)
    }

    /// Milliseconds since the start.
    pub(crate) fn ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn fork(&self) -> Rng {
        self.rng.lock().fork()
    }

    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        self.trace.lock().push(format!("{:>7} {}", self.ms(), what()));
    }

    pub(crate) fn wrong(&self, invariant: Invariant, what: impl Into<String>) {
        let what = what.into();
        self.trace(|| format!("WRONG {invariant:?}: {what}"));
        self.wrong.lock().push((invariant, what));
    }

    pub(crate) fn happened(&self, event: Event) {
        self.events.send_modify(|events| *events.entry(event).or_default() += 1);
    }

    /// Waits until that happened so often.
    pub(crate) async fn until(&self, event: Event, times: u64) {
        let mut events = self.events.subscribe();
        let often = |events: &BTreeMap<Event, u64>| events.get(&event) >= Some(&times);
        let _ = events.wait_for(often).await;
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.seen.lock().counts.entry(what).or_default() += 1;
    }

    pub(crate) fn found(&self) -> Vec<(Invariant, String)> {
        self.wrong.lock().clone()
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.trace.lock())
    }

    pub(crate) fn incarnation(&self) -> u32 {
        *self.incarnation.lock()
    }

    pub(crate) fn gate(&self) -> Option<Arc<Gate>> {
        self.process.lock().as_ref().map(|process| process.gate.clone())
    }

    pub(crate) fn is_written(&self) -> bool {
        self.process.lock().as_ref().is_some_and(|process| process.disk.is_idle())
    }

    /// Starts the sidecar from what is committed.
    pub(crate) fn start(self: &Arc<Self>) {
        *self.incarnation.lock() += 1;
        self.trace(|| "start".to_owned());
        self.events.send_replace(BTreeMap::new());
        let config = self.plan.config.clone();
        let policy = Arc::new(config.policy.clone());
        let now = now();
        let today = Calendar::new(policy.time_zone.clone(), now.wall).today();
        let restored = {
            let book = self.book.lock();
            let offered = book.tasks.values().filter(|task| task.state == TaskState::Offered);
            let offered = offered.map(|task| task.task_id.as_str().to_owned());
            self.seen.lock().unconfirmed.extend(offered);
            book.restored(today)
        };
        let clock = Clock::simulated(self::now);
        let metrics = Metrics::new(&policy).unwrap_or_else(|error| panic!("{error}"));
        let disk = Disk::start(self, self.fork());
        let engine = Engine::new(&policy, restored, now);
        let gate = Arc::new(Gate::new(engine, clock, disk.clone(), metrics));
        let dialer = Dialer::new(self);
        let target = target(&config, &dialer);
        let keep = config.state.keep_solves;
        let config = Arc::new(ArcSwap::from_pointee(config));
        let requests = TaskTracker::new();
        let proxy = Arc::new(Proxy::new(
            gate.clone(),
            clock,
            config,
            (target, Bounds::default()),
            requests.clone(),
        ));
        let stop_requests = CancellationToken::new();
        let stop_chores = CancellationToken::new();
        let (polls, stop) = (self.tasks.clone(), stop_chores.clone());
        self.tasks.spawn(watcher::run(proxy.clone(), gate.clone(), polls, keep, stop));
        let process = Process { gate, proxy, disk, dialer, requests, stop_requests, stop_chores };
        *self.process.lock() = Some(process);
    }

    /// Lets go of what holds the world in turn; it would outlive its seed, and many of them fill all memory.
    pub(crate) fn end(&self) {
        let process = self.process.lock().take();
        let links = std::mem::take(&mut *self.links.lock());
        drop((process, links));
    }

    /// The process dies at once: its connections end, what it did not commit is lost. Its tasks run on
    /// as ghosts that reach nobody.
    pub(crate) fn crash(&self) {
        let Some(process) = self.process.lock().take() else { return };
        let mut rng = self.fork();
        self.trace(|| "crash".to_owned());
        process.dialer.die();
        process.disk.crash(rng.chance(500));
        process.stop_chores.cancel();
        for (link, side) in std::mem::take(&mut *self.links.lock()) {
            link.sever(side, rng.chance(700));
        }
        let book = self.book.lock();
        self.provider.lock().process_died(&book);
    }

    /// SIGTERM: no new connections, requests under way answered, everything written down. The order is
    /// that of `app::App::stop`.
    pub(crate) async fn stop(&self) {
        let Some(process) = self.process.lock().take() else { return };
        self.trace(|| "stop".to_owned());
        let links = std::mem::take(&mut *self.links.lock());
        for (link, _) in &links {
            link.drain();
        }
        process.stop_requests.cancel();
        process.requests.close();
        let grace = Duration::from_secs(90);
        if tokio::time::timeout(grace, process.requests.wait()).await.is_err() {
            self.wrong(Invariant::Answered, "requests under way do not end at a stop");
        }
        process.stop_chores.cancel();
        while !process.disk.is_idle() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process.dialer.die();
        process.disk.crash(true);
        for (link, side) in &links {
            link.sever(*side, true);
        }
        self.trace(|| "stopped".to_owned());
        self.provider.lock().process_died(&self.book.lock());
    }

    /// The config is put in force again, and the provider connected to anew.
    pub(crate) fn reload(&self) {
        let process = self.process.lock();
        let Some(process) = process.as_ref() else { return };
        self.trace(|| "reload".to_owned());
        process.gate.reconfigure(&Arc::new(self.plan.config.policy.clone()));
        process.proxy.redirect(target(&self.plan.config, &process.dialer));
    }

    /// The background asked the provider about its accounts.
    pub(crate) fn observe_accounts(&self) {
        let Some(gate) = self.gate() else { return };
        for (place, name) in ACCOUNTS.iter().enumerate() {
            let (_, ours) = gate.account_state(name);
            let total = u32::try_from(self.plan.threads[place]).unwrap_or(1);
            gate.observe_account(name, AccountReport::Threads { total, working: ours, ours });
            gate.observe_account(name, AccountReport::Balance(Money::from_micros(9_000_000)));
        }
    }

    /// The wall clock jumps.
    pub(crate) fn jump(&self, by: i64) {
        self.trace(|| format!("the wall clock jumps by {by}"));
        TIME.set(TIME.get().map(|(started, wall)| (started, wall + by)));
    }

    /// A client's connection, if anybody accepts it.
    pub(crate) fn connect(self: &Arc<Self>, tenant: usize) -> Option<(Link, End)> {
        let (proxy, requests, stop) = {
            let process = self.process.lock();
            let process = process.as_ref()?;
            (process.proxy.clone(), process.requests.clone(), process.stop_requests.clone())
        };
        let mut rng = self.fork();
        let mut scanner = Scanner::new(self.clone(), tenant);
        let tap = Box::new(move |bytes: &[u8]| scanner.feed(bytes));
        let (link, client, server) = connect(self.plan.link(&mut rng), rng, Some((1, tap)));
        self.links.lock().push((link.clone(), 1));
        let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        requests.spawn(proxy::serve_stream(proxy, server, peer, stop));
        Some((link, client))
    }

    pub(crate) fn hold_link(&self, link: Link) {
        self.links.lock().push((link, 0));
    }

    /// The sidecar wants that written down.
    pub(crate) fn sent(&self, write: &Write) {
        let Write::Settle(settled) = write else { return };
        if settled.charged.is_none() || settled.task_id.as_str().starts_with("sync-") {
            return;
        }
        let id = settled.task_id.as_str();
        let Some((asked, solved)) = self.provider.lock().fate(id) else {
            return self.wrong(Invariant::ChargeHasGround, format!("{id} is no task"));
        };
        let (grounded, price) = {
            let seen = self.seen.lock();
            let arrived = seen.flushed.contains(id) || seen.unconfirmed.contains(id);
            let asked = &seen.asked[asked];
            let charges_solved = self.plan.tenants[asked.tenant].charges_solved;
            let grounded =
                if settled.delivered { arrived || asked.pingback } else { charges_solved };
            (grounded, METHODS[asked.method].2)
        };
        let charged = settled.charged.map(Money::micros);
        if !solved || !grounded || charged != Some(price) {
            let what = format!("{id}: {settled:?}; solved: {solved}, handed over: {grounded}");
            self.wrong(Invariant::ChargeHasGround, what);
        }
    }

    /// The disk has it.
    pub(crate) fn commit(&self, write: &Write) -> Committed {
        let (committed, wrong) = {
            let mut book = self.book.lock();
            let committed = book.apply(write);
            (committed, book.take_wrong())
        };
        for (invariant, what) in wrong {
            self.wrong(invariant, what);
        }
        committed
    }

    pub(crate) fn store_trouble(&self) {
        self.seen.lock().trouble_at = Some(self.ms());
    }

    /// Whether the record cannot be written, or was found so a moment ago.
    pub(crate) fn is_store_in_trouble(&self) -> bool {
        let trouble_at = self.seen.lock().trouble_at;
        self.plan.store.failing.contains(&self.ms())
            || trouble_at.is_some_and(|at| self.ms() - at <= 3_000)
    }

    /// The sidecar handed over the answer of that task.
    pub(crate) fn token_flushed(&self, id: &str, tenant: usize) {
        let Some((asked, _)) = self.provider.lock().fate(id) else {
            return self.wrong(Invariant::Isolation, format!("{id} is no task"));
        };
        let owner = self.seen.lock().asked[asked].clone();
        if owner.tenant != tenant {
            let what = format!("t{tenant} got the answer {id} of t{}", owner.tenant);
            self.wrong(Invariant::Isolation, what);
        }
        let recorded = {
            let book = self.book.lock();
            book.charge(id).is_some()
                || book.task(id).is_some_and(|task| {
                    matches!(task.state, TaskState::Offered | TaskState::Settled)
                })
        };
        if !recorded && self.is_store_in_trouble() {
            self.seen.lock().unrecorded.insert(id.to_owned());
        } else if !recorded && !owner.sync {
            let what = format!("the answer of {id} goes out, and the record does not know it");
            self.wrong(Invariant::RecordedBeforeAnswer, what);
        }
        self.seen.lock().flushed.insert(id.to_owned());
        self.happened(Event::Delivered);
    }

    /// The sidecar handed out a task id.
    pub(crate) fn id_flushed(&self, id: &str) {
        self.happened(Event::Accepted);
        if !self.book.lock().is_bound(id) {
            let what = format!("the id {id} goes out, and the record does not know it");
            self.wrong(Invariant::BoundBeforeAnswer, what);
        }
    }
}

fn target(config: &Config, dialer: &Dialer) -> Target {
    Target {
        host: "provider.test".to_owned(),
        port: 80,
        authority: http::HeaderValue::from_static("provider.test"),
        base_path: String::new(),
        tls: None,
        connect_timeout: config.upstream.connect_timeout,
        network: Some(Arc::new(dialer.clone())),
    }
}
