//! `solvegate demo`: provider, sidecar, tenants and traffic in one process, until Ctrl-C.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `world` | the simulated provider, the sidecar and its config, the sample tenants |
//! | `traffic` | the tenants' clients |
//! | `incident` | the provider's bad minutes |
//! | `figures` | one moment in numbers |
//! | `view` | the summary on the terminal |
//! | `books` | the audit at the end |

mod books;
mod figures;
mod incident;
mod traffic;
mod view;
mod world;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::books::Books;
use self::figures::Figures;
use self::incident::Weather;
use self::traffic::Traffic;
use self::view::{Frame, View};
use self::world::{World, YOUR_KEY};
use super::fail;
use crate::clock::Clock;
use crate::domain::time::{Mono, Now};
use crate::record::store::Unflushed;

/// How long solves under way may take to end once the demo ends.
const WIND_DOWN: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(5);
/// Requests per second are those of so many of the last summaries.
const RATE_SUMMARIES: usize = 10;

/// The arguments of `solvegate demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Stop after so many seconds, instead of at Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
}

/// Why the demo ended badly.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    World(#[from] world::WorldError),
    #[error("cannot make the clients")]
    Client(#[from] reqwest::Error),
    #[error("cannot take signals")]
    Signals(#[source] std::io::Error),
    #[error("cannot write to the terminal")]
    Output(#[source] std::io::Error),
    #[error(transparent)]
    Unflushed(#[from] Unflushed),
    #[error("cannot read the demo's record")]
    Books(#[from] rusqlite::Error),
}

pub(super) fn run(arguments: &DemoArgs) -> ExitCode {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(demo(arguments)) {
        Ok(books) if books.agree() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

async fn demo(arguments: &DemoArgs) -> Result<Books, DemoError> {
    let mut signals = Signals::new().map_err(DemoError::Signals)?;
    let world = World::start().await?;
    let traffic = Traffic::start(world.app.data)?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (weather, seen) = watch::channel(Weather::Fine);
    tasks.spawn(incident::run(world.provider.control(), weather, stop.clone()));
    let mut show = Show::new(&world, seen);
    // A terminal that is gone ends the demo, but not its order.
    let mut shown = show.view.say(&introduction(&world));
    if shown.is_ok() {
        let end = arguments.seconds.map(Duration::from_secs);
        let doing = match arguments.seconds {
            Some(seconds) => format!("of {}:{:02}", seconds / 60, seconds % 60),
            None => "Ctrl-C ends it".to_owned(),
        };
        shown = show.until(&world, end, &doing, signals.next()).await;
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    if shown.is_ok() {
        let ended = async {
            tokio::select! {
                () = traffic.wind_down() => {}
                () = signals.next() => {}
            }
        };
        let doing = "ending: waiting for the solves under way";
        shown = show.until(&world, Some(WIND_DOWN), doing, ended).await;
    }
    traffic.cut().await;
    finish(world, &traffic, show, shown).await
}

/// Stops the sidecar, shows the last summary and audits the record.
async fn finish(
    world: World,
    traffic: &Traffic,
    mut show: Show,
    shown: std::io::Result<()>,
) -> Result<Books, DemoError> {
    let World { provider, app, store, folder } = world;
    let gate = app.gate().clone();
    let stopped = app.stop(GRACE).await;
    provider.stop().await;
    let figures = Figures::of(&gate);
    let span = [show.started.wall, show.clock.now().wall];
    stopped?;
    let books = Books::read(&store, &traffic.answers(), figures.cost, span)?;
    // Removed before the last word, so that nothing is left behind whatever becomes of it.
    drop(folder);
    let shown = shown
        .and_then(|()| show.frame(&figures, "ended"))
        .and_then(|()| show.view.say(&format!("\n{books}")));
    match shown {
        // Whoever reads has enough; the exit code still says whether the books agree.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(books),
        shown => shown.map(|()| books).map_err(DemoError::Output),
    }
}

fn introduction(world: &World) -> String {
    let base = format!("http://{}", world.app.data);
    format!(
        "A simulated provider, the sidecar and five sample tenants, all on this machine.\n\n\
         base URL   {base}\n\
         your key   {YOUR_KEY}   (a key of tenant acme)\n\
         metrics    http://{}/metrics\n\
         provider   {}   (simulated, solves 15 times as fast as a real one)\n\n\
         Try it from another terminal:\n  \
         curl '{base}/in.php?key={YOUR_KEY}&method=turnstile&sitekey=x&pageurl=https://a.test'\n  \
         curl '{base}/res.php?key={YOUR_KEY}&action=get&id=THE_ID'\n",
        world.app.admin,
        world.provider.url(),
    )
}

/// The summary over time.
struct Show {
    view: View,
    clock: Clock,
    started: Now,
    weather: watch::Receiver<Weather>,
    /// When, and how many requests there had been.
    requests: VecDeque<(Mono, u64)>,
}

impl Show {
    fn new(world: &World, weather: watch::Receiver<Weather>) -> Self {
        let clock = Clock::start();
        let started = clock.now();
        let requests = [(started.mono, Figures::of(world.app.gate()).requests)].into();
        Self { view: View::new(), clock, started, weather, requests }
    }

    /// Shows a summary now and then until `ended`, or until `time` is over.
    async fn until(
        &mut self,
        world: &World,
        time: Option<Duration>,
        doing: &str,
        ended: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let end = async {
            match time {
                Some(time) => tokio::time::timeout(time, ended).await.unwrap_or_default(),
                None => ended.await,
            }
        };
        tokio::pin!(end);
        let every = self.view.every();
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                () = tokio::time::sleep(every) => {}
            }
            self.frame(&Figures::of(world.app.gate()), doing)?;
        }
    }

    fn frame(&mut self, figures: &Figures, doing: &str) -> std::io::Result<()> {
        let now = self.clock.mono();
        let (since, before) = self.requests.front().copied().unwrap_or((now, figures.requests));
        self.requests.push_back((now, figures.requests));
        if self.requests.len() > RATE_SUMMARIES {
            self.requests.pop_front();
        }
        let weather = *self.weather.borrow();
        let frame = Frame {
            elapsed: now.since(self.started.mono),
            doing,
            figures,
            requests_per_second: rate(figures.requests.saturating_sub(before), now.since(since)),
            provider: &weather.to_string(),
            is_provider_fine: weather == Weather::Fine && !figures.held_back,
        };
        self.view.show(&frame)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a view for people")]
fn rate(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

/// Ctrl-C, and what a service manager sends.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
