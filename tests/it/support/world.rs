//! One sidecar in front of one simulated provider, and the books at the end.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use solvegate::app::App;
use solvegate::clock::Clock;
use solvegate::config;
use solvegate::domain::engine::{Snapshot, TenantView};
use solvegate::proxy::Bounds;
use solvegate::record::store::{Charge, Reader, SolveRow, verify};
use solvegate::simulate::{
    AccountOptions, Control, LogEntry, Operation, Options, PerType, Simulation,
};
use tempfile::TempDir;

use super::client::{poll, submission};
use super::warp::Warp;
use super::{ACCOUNT, ACME, Answer, BATCH, Client, ZEN, panics, secrets, until};

/// How a test differs from the others.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// How the provider is spoken to.
    pub(crate) scheme: &'static str,
    /// Beside the provider's address.
    pub(crate) upstream: &'static str,
    /// Of the account, beside its key.
    pub(crate) account: &'static str,
    /// Tenants; `ACME`, `BATCH` and `ZEN` stand for keys.
    pub(crate) tenants: &'static str,
    /// Everything else.
    pub(crate) rest: String,
    /// Of the simulated provider.
    pub(crate) provider: Options,
    /// What clients are given.
    pub(crate) bounds: Bounds,
    /// How far the wall clock is ahead, where the test sets it.
    pub(crate) ahead: Option<&'static AtomicI64>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            scheme: "http",
            upstream: "poll_spacing: 0s, submit_timeout: 2s, poll_timeout: 2s",
            account: "threads: 5000",
            tenants: "acme: { keys: { prod: { key: ACME } } }, zen: { keys: { prod: { key: ZEN } } }",
            rest: String::new(),
            provider: provider(),
            bounds: Bounds::default(),
            ahead: None,
        }
    }
}

/// A provider that solves at once.
fn provider() -> Options {
    Options {
        accounts: vec![AccountOptions { threads: 5000, ..AccountOptions::new(ACCOUNT) }],
        solve_times: vec![PerType::all(Duration::ZERO)],
        jitter: 0.0,
        ..Options::default()
    }
}

/// A running test bed.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) provider: Simulation,
    pub(crate) folder: TempDir,
    pub(crate) setup: Setup,
    pub(crate) upstream: SocketAddr,
    app: Option<App>,
}

impl World {
    pub(crate) async fn start(setup: Setup) -> Self {
        let provider = Simulation::start(setup.provider.clone()).unwrap();
        let upstream = provider.addr();
        Self::start_before(setup, provider, upstream).await
    }

    /// With another provider than the simulated one.
    pub(crate) async fn start_at(setup: Setup, upstream: SocketAddr) -> Self {
        let provider = Simulation::start(setup.provider.clone()).unwrap();
        Self::start_before(setup, provider, upstream).await
    }

    /// With a way to the simulated provider that breaks.
    pub(crate) async fn start_through(setup: Setup, warp: &Warp) -> Self {
        let provider = Simulation::start(setup.provider.clone()).unwrap();
        warp.lead_to(provider.addr());
        Self::start_before(setup, provider, warp.address).await
    }

    /// Everything but the sidecar, for one that is a process of its own.
    pub(crate) fn without_sidecar(setup: Setup) -> Self {
        let provider = Simulation::start(setup.provider.clone()).unwrap();
        let upstream = provider.addr();
        Self::before(setup, provider, upstream)
    }

    async fn start_before(setup: Setup, provider: Simulation, upstream: SocketAddr) -> Self {
        let mut world = Self::before(setup, provider, upstream);
        world.open().await;
        world
    }

    fn before(setup: Setup, provider: Simulation, upstream: SocketAddr) -> Self {
        secrets::watch_log();
        panics::watch();
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        Self { provider, folder, setup, upstream, app: None }
    }

    /// The config file, written out anew from the set-up.
    pub(crate) fn write_config(&self) -> PathBuf {
        let path = self.folder.path().join("solvegate.yaml");
        let Setup { upstream, account, tenants, rest, .. } = &self.setup;
        let tenants = tenants.replace("ACME", ACME).replace("BATCH", BATCH).replace("ZEN", ZEN);
        let accounts = format!("accounts: {{ main: {{ key: {ACCOUNT}, {account} }} }}\n");
        let tenants = match tenants.as_str() {
            "" => String::new(),
            some => format!("{accounts}tenants: {{ {some} }}\n"),
        };
        let admin = if rest.contains("admin:") { "" } else { "admin: { listen: '127.0.0.1:0' }\n" };
        let text = format!(
            "listen: 127.0.0.1:0\n{admin}upstream: {{ url: '{}://{}', {upstream} }}\n\
             state: {{ path: state/solvegate.db }}\n{tenants}{rest}\n",
            self.setup.scheme, self.upstream
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts the sidecar; its record is what the last one left.
    pub(crate) async fn open(&mut self) {
        let path = self.write_config();
        let config = config::load(&path, &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
        let clock = self.setup.ahead.map_or_else(Clock::start, Clock::set_by);
        let app = App::start_with(config, Some(path), clock, self.setup.bounds).await;
        self.app = Some(app.unwrap());
    }

    /// Stops the sidecar, in order.
    pub(crate) async fn stop(&mut self) {
        let app = self.app.take().unwrap();
        app.stop(Duration::from_secs(10)).await.unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.open().await;
    }

    pub(crate) fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    pub(crate) fn take_app(&mut self) -> App {
        self.app.take().unwrap()
    }

    pub(crate) fn control(&self) -> Control {
        self.provider.control()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.app().data).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.client().await.get(target).await
    }

    /// One request to the admin listener.
    pub(crate) async fn admin(&self, request: &str) -> Answer {
        let mut client = Client::connect(self.app().admin).await;
        client.send(request.as_bytes()).await;
        client.answer().await
    }

    /// The value of a series, written as `/metrics` does, with all its labels.
    pub(crate) async fn metric<T: FromStr<Err: Debug>>(&self, series: &str) -> T {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let text = self.admin(request).await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).trim().parse().unwrap()
    }

    /// A submission that is accepted; its id.
    pub(crate) async fn submit(&self, key: &str, wish: &str) -> String {
        self.get(&submission(key, wish)).await.id()
    }

    pub(crate) async fn poll(&self, key: &str, id: &str) -> Answer {
        self.get(&poll(key, id)).await
    }

    /// Polls until there is another answer than `CAPCHA_NOT_READY`.
    pub(crate) async fn poll_to_end(&self, key: &str, id: &str) -> Answer {
        let mut client = self.client().await;
        let polling = async {
            loop {
                let answer = client.get(&poll(key, id)).await;
                if answer.text() != "CAPCHA_NOT_READY" {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), polling).await.expect("never ready")
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.app().gate().snapshot()
    }

    pub(crate) fn tenant(&self, name: &str) -> TenantView {
        let tenants = self.snapshot().tenants;
        tenants.into_iter().find(|tenant| &*tenant.name == name).unwrap()
    }

    /// Waits until no solve is open and no thread is taken.
    pub(crate) async fn settled(&self) {
        until("everything is settled", || is_idle(&self.snapshot())).await;
    }

    /// Requests of that operation that reached the provider.
    pub(crate) fn received(&self, operation: Operation) -> Vec<LogEntry> {
        let log = self.control().log(0);
        log.into_iter().filter(|entry| entry.operation == operation).collect()
    }

    /// What reached the provider after that request, but for the account polls of the background.
    pub(crate) fn traffic(&self, since: u64) -> Vec<LogEntry> {
        let mut log = self.control().log(since);
        log.retain(|entry| !matches!(entry.operation, Operation::Threads | Operation::Balance));
        log
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Reads what is written down once all that memory knows is.
    fn reader(&self) -> Reader {
        let started = std::time::Instant::now();
        let is_behind = |app: &App| app.gate().store_figures().pending > 0;
        while self.app.as_ref().is_some_and(is_behind) {
            assert!(started.elapsed() < Duration::from_secs(10), "the record lags behind");
            std::thread::yield_now();
        }
        Reader::open(&self.state().join("solvegate.db")).unwrap()
    }

    /// The log of solves as far as it is written down, oldest first.
    pub(crate) fn solves(&self) -> Vec<SolveRow> {
        let mut solves = self.reader().solves(100_000).unwrap();
        solves.reverse();
        solves
    }

    /// The charges of a tenant in the month of that day.
    pub(crate) fn charges_of(&self, tenant: &str, month: jiff::civil::Date) -> Vec<Charge> {
        self.reader().charges(tenant, month).unwrap()
    }

    /// The task of every charge, of whomever and whenever.
    fn charged_tasks(&self) -> Vec<String> {
        let record = rusqlite::Connection::open(self.state().join("solvegate.db")).unwrap();
        let mut charges =
            record.prepare("SELECT task_id FROM ledger WHERE kind = 'charge'").unwrap();
        charges.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// Stops, and reconciles: the books balance, exactly `delivered` solves were charged, each once, and
    /// no key is in the record.
    pub(crate) async fn close(mut self, delivered: usize) {
        if self.app.is_some() {
            let snapshot = self.snapshot();
            let open: u64 = snapshot.tenants.iter().map(|tenant| tenant.open).sum();
            assert_eq!(snapshot.open, open);
            secrets::assert_none_in(&self.state());
            self.stop().await;
        }
        secrets::assert_none_in(&self.state());
        assert_eq!(verify(&self.reader()).unwrap(), Vec::<String>::new());
        let mut charged = self.charged_tasks();
        assert_eq!(charged.len(), delivered, "charges: {charged:?}");
        charged.sort();
        charged.dedup();
        assert_eq!(charged.len(), delivered, "a task was charged twice");
        let (_, leaked) = secrets::logged();
        assert!(leaked.is_empty(), "the log holds a key: {leaked:#?}");
        assert_eq!(panics::seen(), Vec::<String>::new());
    }
}

pub(crate) fn is_idle(snapshot: &Snapshot) -> bool {
    snapshot.open == 0
        && snapshot.tenants.iter().all(|tenant| tenant.in_flight == 0 && tenant.held.micros() == 0)
        && snapshot.accounts.iter().all(|account| account.in_flight == 0)
        && snapshot.in_flight_by_type.iter().all(|count| *count == 0)
}
