//! A changed config is put in force whole or not at all: on SIGHUP, when the file changes, on request.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How often the file is looked at. A look reads it whole, so that a swapped symlink (a Kubernetes
/// `ConfigMap`) is seen too.
const EVERY: Duration = Duration::from_secs(2);

/// Tells two contents of the file apart.
type Fingerprint = [u8; 32];

/// Asks for a reload; the answer is why it failed, if it did.
pub type Request = oneshot::Sender<Result<(), String>>;

/// The file, and what happens to it. Begun before the file is read for the first time, so that neither a
/// change nor a SIGHUP of the first moments is missed.
#[derive(Debug)]
pub struct Watch {
    path: Option<PathBuf>,
    seen: Option<Fingerprint>,
    hangups: Hangups,
}

impl Watch {
    /// Begins to watch the file at `path`; `None`: there is none. SIGHUP ends the process no more.
    pub async fn begin(path: Option<PathBuf>) -> Self {
        let hangups = hangups();
        let seen = fingerprint(path.as_ref()).await;
        Self { path, seen, hangups }
    }

    /// The file.
    pub fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }
}

/// Calls `reload` for every change of the file, SIGHUP and request, until `stop`.
pub async fn run(
    watch: Watch,
    mut requests: mpsc::Receiver<Request>,
    reload: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let Watch { path, mut seen, mut hangups } = watch;
    let reload = Arc::new(reload);
    let mut looks = tokio::time::interval(EVERY);
    loop {
        let request = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(request) = requests.recv() => Some(request),
            () = hangups.recv() => None,
            _ = looks.tick() => {
                let now = fingerprint(path.as_ref()).await;
                if now == seen || now.is_none() {
                    continue;
                }
                None
            }
        };
        seen = fingerprint(path.as_ref()).await;
        let reload = reload.clone();
        let outcome = tokio::task::spawn_blocking(move || reload()).await;
        let outcome = outcome.unwrap_or_else(|_| Err("the reload broke off".to_owned()));
        if let Some(request) = request {
            // Whoever asked may be gone.
            let _ = request.send(outcome);
        }
    }
}

/// What the file at `path` holds at present; `None` when it cannot be read.
async fn fingerprint(path: Option<&PathBuf>) -> Option<Fingerprint> {
    let text = tokio::fs::read(path?).await.ok()?;
    Some(Sha256::digest(&text).into())
}

/// SIGHUP, where there is such a thing.
#[derive(Debug)]
struct Hangups(Option<tokio::signal::unix::Signal>);

fn hangups() -> Hangups {
    Hangups(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
}

impl Hangups {
    async fn recv(&mut self) {
        let heard = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
