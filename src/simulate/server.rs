//! The TCP shell: accepts, reads requests, is switched up and down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Reply;
use super::control::Control;
use super::control_api;
use super::deliver::{Flow, deliver};
use super::exchange::exchange;
use super::fault::FaultBook;
use super::http::{Connection, ReadError, Request};
use super::log::RequestLog;
use super::options::Options;
use super::provider::Provider;

const BACKLOG: u32 = 4096;
/// Between attempts to take the port again.
const REBIND_PAUSE: Duration = Duration::from_millis(10);

/// A running simulated provider.
#[derive(Debug)]
pub struct Simulation {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Simulation {
    /// Binds and serves until [`stop`](Self::stop), or until dropped. Needs a tokio runtime around it.
    pub fn start(options: Options) -> io::Result<Self> {
        let listener = bind(options.listen)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options));
        shared.tracker.spawn(accept(shared.clone(), listener, addr));
        Ok(Self { addr, shared })
    }

    /// The address that it listens on, with the port that it got.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What tests and people change and see while it runs.
    pub fn control(&self) -> Control {
        Control::new(self.shared.clone())
    }

    /// Closes every connection and waits for the tasks behind them.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Whether data connections are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Up,
    /// Connections are accepted and reset.
    Resetting,
    /// Nobody listens.
    Refusing,
}

/// Everything behind the one lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) provider: Provider,
    pub(super) faults: FaultBook,
    pub(super) log: RequestLog,
    /// As given at the start, to go back to.
    pub(super) options: Options,
}

/// What every connection and the control handle share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) power: watch::Sender<Power>,
    pub(super) listening: watch::Sender<bool>,
    /// Changes with every request logged or answered.
    pub(super) logged: watch::Sender<()>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Cancelled when the power goes; the next one comes with the power.
    powered: Mutex<CancellationToken>,
    started: Instant,
}

impl Shared {
    #[expect(
        clippy::disallowed_methods,
        reason = "stands beside the product, with a clock of its own"
    )]
    fn new(options: Options) -> Self {
        Self {
            state: Mutex::new(State::new(options)),
            power: watch::Sender::new(Power::Up),
            listening: watch::Sender::new(true),
            logged: watch::Sender::new(()),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            powered: Mutex::new(CancellationToken::new()),
            started: Instant::now(),
        }
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sleeps until that time since the start.
    pub(super) async fn sleep_until(&self, time: Duration) {
        tokio::time::sleep_until(self.started + time).await;
    }

    pub(super) fn switch(&self, power: Power) {
        let mut powered = self.powered.lock();
        if power == Power::Up && powered.is_cancelled() {
            *powered = CancellationToken::new();
        } else if power != Power::Up {
            powered.cancel();
        }
        self.power.send_replace(power);
    }

    fn powered(&self) -> CancellationToken {
        self.powered.lock().clone()
    }
}

impl State {
    fn new(options: Options) -> Self {
        let mut state = Self {
            provider: Provider::new(options.clone()),
            faults: FaultBook::new(options.seed),
            log: RequestLog::new(options.log_max),
            options,
        };
        state.faults.add(state.options.faults.clone());
        state
    }

    /// As at the start, except that task ids and log numbers go on.
    pub(super) fn reset(&mut self) {
        self.provider.reset(self.options.clone());
        self.faults = FaultBook::new(self.options.seed);
        self.faults.add(self.options.faults.clone());
        self.log.clear();
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // So that the port can be taken again while old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, addr: SocketAddr) {
    let mut listener = Some(listener);
    let mut power = shared.power.subscribe();
    loop {
        let wanted = *power.borrow_and_update() != Power::Refusing;
        if !wanted {
            listener = None;
        } else if listener.is_none() {
            listener = bind(addr).ok();
        }
        shared.listening.send_replace(listener.is_some());
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = power.changed() => {}
            () = tokio::time::sleep(REBIND_PAUSE), if wanted && listener.is_none() => {}
            () = accept_all(&shared, listener.as_ref()) => {}
        }
    }
}

async fn accept_all(shared: &Arc<Shared>, listener: Option<&TcpListener>) {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        // An error is the client's (gone already) or a lack of descriptors, which passes.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REBIND_PAUSE).await;
            continue;
        };
        let stop = shared.stop.clone();
        shared.tracker.spawn(stop.run_until_cancelled_owned(serve(shared.clone(), stream)));
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    // Small answers must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut connection = Connection::new(stream);
    let mut is_control = false;
    let mut out = Vec::new();
    loop {
        let powered = shared.powered();
        // Without power, what comes is read all the same: it may be for the control API.
        let watches_power = !is_control && !powered.is_cancelled();
        let read = tokio::select! {
            biased;
            () = powered.cancelled(), if watches_power => return connection.end_with_reset(),
            read = connection.read() => read,
        };
        let request = match read {
            Ok(request) => request,
            Err(error) => return turn_away(&mut connection, &error, &mut out).await,
        };
        let next = if request.path().starts_with("/-/") {
            is_control = true;
            control(&shared, &mut connection, &request, &mut out).await
        } else {
            tokio::select! {
                biased;
                () = powered.cancelled() => return connection.end_with_reset(),
                next = exchange(&shared, &mut connection, &request, &mut out) => next,
            }
        };
        if !matches!(next, Ok(Flow::KeepAlive)) {
            return;
        }
    }
}

async fn control(
    shared: &Arc<Shared>,
    connection: &mut Connection,
    request: &Request,
    out: &mut Vec<u8>,
) -> io::Result<Flow> {
    let reply = control_api::answer(&Control::new(shared.clone()), request).await;
    deliver(connection, &reply, None, request.keeps_alive(), out).await
}

/// Says why nothing could be read, as far as anybody is there to hear it.
async fn turn_away(connection: &mut Connection, error: &ReadError, out: &mut Vec<u8>) {
    let reply = match error {
        ReadError::Closed | ReadError::Io(_) => return,
        ReadError::Malformed(_) => Reply::page(400, "Bad Request"),
        ReadError::TooLarge => Reply::page(413, "Request Entity Too Large"),
    };
    // The connection ends either way.
    let _ = deliver(connection, &reply, None, false, out).await;
}
