//! The composition root: builds the floors, starts the tasks, orders the shutdown.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin};
use crate::background::account_poll::{AccountPoll, ClientError};
use crate::background::notifier::{Notifier, Webhooks};
use crate::background::watcher;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::domain::calendar::Calendar;
use crate::domain::engine::Engine;
use crate::domain::journal::{NotifiedRecord, TaskRecord, TaskState};
use crate::failpoint::{self, Point};
use crate::gate::Gate;
use crate::keyring::Keyring;
use crate::operator::{self, Operator, Watch};
use crate::proxy::tls::{Certificate, TlsError};
use crate::proxy::{self, Bounds, Limits, Proxy, Target, Workers};
use crate::record::metrics::{Metrics, MetricsError};
use crate::record::store::{Durability, OpenError, Store, StoreOptions, Unflushed};
use crate::supervisor::Supervisor;

/// What the record is given to be written down in, however much of the grace is left.
const CLOSE_AT_LEAST: Duration = Duration::from_secs(5);
/// Sent to a process that reaches the limit on the size of its files; this number on Linux and the BSDs.
const SIGXFSZ: i32 = 25;

/// Why the sidecar did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port that is taken, or an address that is not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The record.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Threads.
    #[error("cannot start the threads that serve requests")]
    Workers(#[source] std::io::Error),
}

/// A sidecar that serves.
#[derive(Debug)]
pub struct App {
    /// Where clients are served.
    pub data: SocketAddr,
    /// Where clients are served over TLS; `None` without `tls:`.
    pub tls: Option<SocketAddr>,
    /// The second port.
    pub admin: SocketAddr,
    gate: Arc<Gate>,
    ready: Arc<AtomicBool>,
    requests: TaskTracker,
    chores: TaskTracker,
    stop_requests: CancellationToken,
    stop_chores: CancellationToken,
    hurry: CancellationToken,
    /// Held last: what they serve ends with them.
    workers: Workers,
}

impl App {
    /// Opens the record, restores the state and serves; `watch` is on the file that reloads read.
    pub async fn start(config: Config, watch: Watch) -> Result<Self, StartError> {
        let bounds = Bounds { connections: connections_max(), ..Bounds::default() };
        Self::start_watching(config, watch, Clock::start(), bounds).await
    }

    /// The same, with that clock and those bounds.
    pub async fn start_with(
        config: Config,
        path: Option<PathBuf>,
        clock: Clock,
        bounds: Bounds,
    ) -> Result<Self, StartError> {
        Self::start_watching(config, Watch::begin(path, Supervisor::default()).await, clock, bounds)
            .await
    }

    async fn start_watching(
        config: Config,
        watch: Watch,
        clock: Clock,
        bounds: Bounds,
    ) -> Result<Self, StartError> {
        // reqwest takes the process's default; an error says that one is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        outlive_file_limit();
        let listener = listen_for_workers(config.listen).await?;
        let tls_listener = match &config.tls {
            Some(tls) => Some(listen_for_workers(tls.listen).await?),
            None => None,
        };
        let admin_listener = listen(config.admin.listen).await?;
        let certificate =
            config.tls.as_ref().map(|tls| Certificate::load(&tls.cert, &tls.key)).transpose()?;
        let target = Target::of(&config)?;
        let (gate, keyring, notified) = open_gate(&config, clock)?;
        let gate = Arc::new(gate);
        let data = listener
            .local_addr()
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let app = Self {
            data,
            tls: tls_listener.as_ref().and_then(|listener| listener.local_addr().ok()),
            admin: admin_listener.local_addr().unwrap_or(config.admin.listen),
            gate: gate.clone(),
            ready: Arc::new(AtomicBool::new(true)),
            requests: TaskTracker::new(),
            chores: TaskTracker::new(),
            stop_requests: CancellationToken::new(),
            stop_chores: CancellationToken::new(),
            hurry: CancellationToken::new(),
            workers: Workers::start(workers()).map_err(StartError::Workers)?,
        };
        let token = config.admin.token.as_ref().map(crate::wire::secret::Secret::sha256);
        let keep = config.state.keep_solves;
        let config = Arc::new(ArcSwap::from_pointee(config));
        let proxy = Arc::new(Proxy::new(
            gate.clone(),
            clock,
            config.clone(),
            (target, bounds),
            app.requests.clone(),
        ));
        app.serve(&proxy, (listener, tls_listener), certificate.as_ref(), bounds)?;
        let accounts = AccountPoll::new(gate.clone(), clock, config.clone())?;
        app.chores.spawn(accounts.run(app.stop_chores.clone()));
        let watching = watcher::run(
            proxy.clone(),
            gate.clone(),
            app.chores.clone(),
            keep,
            app.stop_chores.clone(),
        );
        app.chores.spawn(watching);
        let (commands, received) = mpsc::channel(16);
        let record = config.load().state.path.clone();
        let in_force = config.clone();
        let webhooks = Webhooks::new(gate.clone(), app.chores.clone())?;
        let notices = Notifier::new(webhooks.clone(), config.clone(), notified);
        app.chores.spawn(notices.run(app.stop_chores.clone()));
        let operator =
            Operator { config, keyring, gate: gate.clone(), proxy, webhooks, certificate };
        app.chores.spawn(operator.run(watch, received, app.stop_chores.clone()));
        let ready = app.ready.clone();
        let bills = Arc::new(Semaphore::new(admin::BILLS_AT_ONCE));
        let admin = Admin { gate, token, ready, config: in_force, record, commands, bills };
        let (chores, stop) = (app.chores.clone(), app.stop_chores.clone());
        app.chores.spawn(admin::serve(Arc::new(admin), admin_listener, chores, stop));
        Ok(app)
    }

    fn serve(
        &self,
        proxy: &Arc<Proxy>,
        (listener, tls_listener): (std::net::TcpListener, Option<std::net::TcpListener>),
        certificate: Option<&Arc<Certificate>>,
        bounds: Bounds,
    ) -> Result<(), TlsError> {
        let limits = Limits::new(bounds.connections);
        let on = (&self.workers, &self.stop_requests);
        proxy::serve(proxy.clone(), listener, None, limits.clone(), on);
        if let Some((listener, certificate)) = tls_listener.zip(certificate) {
            proxy::serve(proxy.clone(), listener, Some(certificate.server()?), limits, on);
        }
        Ok(())
    }

    /// The state as it is.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Cancelled during a stop, it ends the grace: whoever asks twice does not want to wait.
    pub fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }

    /// Ends in order: not ready, no new connections, requests under way answered, everything written
    /// down. What is not done within `grace` is cut off, but never what is to be written.
    pub async fn stop(self, grace: Duration) -> Result<(), Unflushed> {
        let begin = self.gate.now().mono;
        self.ready.store(false, Ordering::Release);
        self.stop_requests.cancel();
        self.requests.close();
        let answered = tokio::select! {
            biased;
            () = self.requests.wait() => true,
            () = self.hurry.cancelled() => false,
            () = tokio::time::sleep(grace) => false,
        };
        if !answered {
            tracing::warn!(
                left = self.requests.len(),
                "the grace is over; requests under way are cut off"
            );
        }
        self.stop_chores.cancel();
        self.chores.close();
        // Chores hold nothing that is not in the core: a poll of the watcher is asked again after the start.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.chores.wait()).await;
        failpoint::pass(Point::DuringShutdown);
        let gate = self.gate;
        // The record gets what is left of the grace, and enough to be written when nothing is.
        let left = grace.saturating_sub(gate.now().mono.since(begin)).max(CLOSE_AT_LEAST);
        match tokio::task::spawn_blocking(move || gate.close(left)).await {
            Ok(closed) => closed,
            Err(_) => Err(Unflushed { left: 0, spill: None }),
        }
    }
}

/// Half of the descriptors that the process may have are left for the provider's side and the record.
fn connections_max() -> usize {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024);
    let most = Bounds::default().connections;
    usize::try_from(descriptors / 2).unwrap_or(most).min(most)
}

/// A file that grows past the process's limit is to fail like one on a full disk: as an error that the
/// store waits out, and not by the signal's death of the process. Once listened for, it kills no more.
fn outlive_file_limit() {
    use tokio::signal::unix::{SignalKind, signal};
    if let Err(error) = signal(SignalKind::from_raw(SIGXFSZ)) {
        tracing::warn!(%error, "a limit on file sizes would end this process");
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// The same, to be taken over by another runtime.
async fn listen_for_workers(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    let listener = listen(address).await?.into_std();
    listener.map_err(|source| StartError::Listen { address, source })
}

/// Threads that serve requests: one a core, or what the variable says that the runtime knows.
fn workers() -> usize {
    let wanted = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|count| count.parse().ok());
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    wanted.unwrap_or_else(cores)
}

fn open_gate(
    config: &Config,
    clock: Clock,
) -> Result<(Gate, Keyring, Vec<NotifiedRecord>), StartError> {
    let base = &config.policy;
    let options = StoreOptions {
        path: config.state.path.clone(),
        durability: match config.state.durability {
            config::Durability::Process => Durability::Process,
            config::Durability::Power => Durability::Power,
        },
        clock: Arc::new(move || clock.mono()),
    };
    let now = clock.now();
    let today = Calendar::new(base.time_zone.clone(), now.wall).today();
    let zone = base.time_zone.iana_name().unwrap_or("UTC");
    let (store, mut restored) = Store::open(&options, today, zone)?;
    tracing::info!(
        path = %config.state.path.display(),
        open_tasks = restored.tasks.len(),
        tenants_charged = restored.charged.len(),
        "the record is open"
    );
    let mut keyring = Keyring::new(std::mem::take(&mut restored.keys));
    let notified = std::mem::take(&mut restored.notified);
    let policy = operator::overlaid(&mut keyring, base, now.wall);
    let metrics = Metrics::new(&policy)?;
    metrics.configured(now.wall);
    let is_lost = |task: &&TaskRecord| {
        task.state != TaskState::Settled && !policy.accounts.contains_key(&task.account)
    };
    let lost = restored.tasks.iter().filter(is_lost).count();
    if lost > 0 {
        tracing::warn!(
            tasks = lost,
            "open tasks are of accounts that are not configured any more, so that nobody can be asked for \
             their answers: configure these accounts by their old names until the tasks are done"
        );
    }
    Ok((Gate::new(Engine::new(&policy, restored, now), clock, store, metrics), keyring, notified))
}
