//! What people change while the sidecar runs, one change at a time: the config (on SIGHUP, when the file
//! changes, on request), and keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::background::notifier::Webhooks;
use crate::config::{self, Config};
use crate::domain::journal::{KeyRecord, Write};
use crate::domain::policy::Policy;
use crate::domain::time::Wall;
use crate::gate::Gate;
use crate::keyring::{Command, KeyError, Keyring};
use crate::proxy::tls::Certificate;
use crate::proxy::{Proxy, Target};

/// How often the file is looked at. A look reads it whole, so that a swapped symlink (a Kubernetes
/// `ConfigMap`) is seen too.
const EVERY: Duration = Duration::from_secs(2);

/// How long a change of keys waits for the record.
const RECORD_WAIT: Duration = Duration::from_secs(5);

/// Changes of the config that are named in the log, at most.
const CHANGES_SHOWN: usize = 20;

/// Tells two contents of the file apart.
pub type Fingerprint = [u8; 32];

/// What an operator works on.
#[derive(Debug)]
pub struct Operator {
    /// The file that reloads read; `None`: there is none.
    pub path: Option<PathBuf>,
    /// The config in force.
    pub config: Arc<ArcSwap<Config>>,
    /// Keys made at run time.
    pub keyring: Keyring,
    /// The door to the core.
    pub gate: Arc<Gate>,
    /// The request path.
    pub proxy: Arc<Proxy>,
    /// Where webhooks are posted to.
    pub webhooks: Webhooks,
    /// The certificate of the TLS listener, if there is one.
    pub certificate: Option<Arc<Certificate>>,
}

impl Operator {
    /// Serves commands and watches the file, which was like `seen` when it was read first, until `stop`.
    pub async fn run(
        mut self,
        mut seen: Option<Fingerprint>,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        let mut looks = tokio::time::interval(EVERY);
        let mut hangups = Hangups::listen();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(command) = commands.recv() => {
                    if let Command::Reload(done) = command {
                        seen = fingerprint(self.path.as_ref()).await;
                        // Whoever asked may be gone.
                        let _ = done.send(self.reload().await);
                    } else {
                        self.change_keys(command).await;
                    }
                }
                () = hangups.recv() => {
                    seen = fingerprint(self.path.as_ref()).await;
                    let _ = self.reload().await;
                }
                _ = looks.tick() => {
                    self.end_secrets();
                    let now = fingerprint(self.path.as_ref()).await;
                    if now != seen && now.is_some() {
                        seen = now;
                        let _ = self.reload().await;
                    }
                }
            }
        }
    }

    async fn reload(&self) -> Result<(), String> {
        let outcome = match self.load().await {
            Ok(config) => self.put_in_force(config),
            Err(why) => Err(why),
        };
        self.gate.metrics().reloaded(outcome.is_ok(), self.gate.now().wall);
        match &outcome {
            Ok(changes) => {
                let shown =
                    changes.iter().take(CHANGES_SHOWN).cloned().collect::<Vec<_>>().join("; ");
                tracing::info!(changes = changes.len(), "the config was reloaded: {shown}");
            }
            Err(why) => {
                tracing::error!("the config was not reloaded, the old one stays in force:\n{why}");
            }
        }
        outcome.map(|_| ())
    }

    /// Reads and checks the file; a large one must not hold up requests meanwhile.
    async fn load(&self) -> Result<Config, String> {
        let Some(path) = self.path.clone() else {
            return Err("there is no config file to reload".to_owned());
        };
        let read = move || config::load(&path, &|name| std::env::var(name).ok());
        match tokio::task::spawn_blocking(read).await {
            Ok(loaded) => loaded.map_err(|faults| faults.to_string()),
            Err(_) => Err("reading the config broke off".to_owned()),
        }
    }

    /// Puts a changed config in force, whole or not at all; what changed.
    fn put_in_force(&self, mut config: Config) -> Result<Vec<String>, String> {
        let old = self.config.load();
        if config.policy.pass_through && !old.policy.pass_through {
            let text = "the file names no tenants any more, which would forward every key as it is; \
                restart to do that";
            return Err(text.to_owned());
        }
        let target = Target::of(&config).map_err(|error| error.to_string())?;
        if let (Some(certificate), Some(tls)) = (&self.certificate, &config.tls) {
            certificate.reload(&tls.cert, &tls.key).map_err(|error| error.to_string())?;
        }
        for (key, changed) in [
            ("listen", old.listen != config.listen),
            (
                "tls.listen",
                old.tls.as_ref().map(|tls| tls.listen) != config.tls.as_ref().map(|tls| tls.listen),
            ),
            ("admin", old.admin != config.admin),
            ("state", old.state != config.state),
        ] {
            if changed {
                tracing::warn!(key, "this change takes a restart");
            }
        }
        let changes = config::changes(&old, &config);
        // What an account that is gone still has open is polled to its end.
        for (name, key) in &old.account_keys {
            config.account_keys.entry(name.clone()).or_insert_with(|| key.clone());
        }
        self.gate.reconfigure(&self.overlaid(&config.policy));
        self.proxy.redirect(target);
        self.config.store(Arc::new(config));
        Ok(changes)
    }

    /// The config's policy with the keys that were made and taken back at run time.
    fn overlaid(&self, base: &Policy) -> Arc<Policy> {
        overlaid(&self.keyring, base, self.gate.now().wall)
    }

    async fn change_keys(&mut self, command: Command) {
        let config = self.config.load_full();
        let (base, now) = (&config.policy, self.gate.now().wall);
        match command {
            Command::Reload(done) => {
                let _ = done.send(self.reload().await);
            }
            Command::TestNotify(done) => {
                let testing = self.webhooks.test(self.config.load_full());
                self.webhooks.tasks.spawn(async move {
                    // Whoever asked may be gone.
                    let _ = done.send(testing.await);
                });
            }
            Command::Create { tenant, key_id, settings, note, done } => {
                let key = (tenant.as_str(), key_id.as_str());
                let made = match self.keyring.create(base, key, &settings, (&note, now)) {
                    Ok(made) => self.record(made.records).await.map(|()| made.secret),
                    Err(error) => Err(error),
                };
                let _ = done.send(told("made", key, &note, made));
            }
            Command::Reroll { tenant, key_id, overlap, note, done } => {
                let key = (tenant.as_str(), key_id.as_str());
                let made = match self.keyring.reroll(base, key, overlap, (&note, now)) {
                    Ok(made) => self.record(made.records).await.map(|()| made.secret),
                    Err(error) => Err(error),
                };
                let _ = done.send(told("rerolled", key, &note, made));
            }
            Command::Revoke { tenant, key_id, note, done } => {
                let key = (tenant.as_str(), key_id.as_str());
                let revoked = match self.keyring.revoke(base, key, (&note, now)) {
                    Ok(records) => {
                        // In force before it is on record: a leaked key must not wait for a disk.
                        self.keyring.take(records.clone());
                        self.gate.reconfigure(&self.overlaid(base));
                        self.record(records).await
                    }
                    Err(error) => Err(error),
                };
                let _ = done.send(told("revoked", key, &note, revoked));
            }
            Command::List { tenant, done } => {
                let _ = done.send(self.keyring.list(base, &tenant));
            }
        }
    }

    /// Writes the records down, then puts them in force.
    async fn record(&mut self, records: Vec<KeyRecord>) -> Result<(), KeyError> {
        let writes = records.iter().cloned().map(Write::Key).collect();
        let written = tokio::time::timeout(RECORD_WAIT, self.gate.record(writes)).await;
        if written != Ok(true) {
            return Err(KeyError::Unrecorded);
        }
        self.keyring.take(records);
        self.gate.reconfigure(&self.overlaid(&self.config.load().policy));
        Ok(())
    }

    /// Puts the ends of rerolled secrets in force when their time has come.
    fn end_secrets(&self) {
        let now = self.gate.now().wall;
        let policy = self.gate.policy();
        if self.keyring.ended(now).any(|hash| !policy.revoked.contains(&hash)) {
            self.gate.reconfigure(&self.overlaid(&self.config.load().policy));
        }
    }
}

/// The config's policy with the keyring over it; what had to be left out is logged.
pub fn overlaid(keyring: &Keyring, base: &Policy, now: Wall) -> Arc<Policy> {
    let (policy, left_out) = keyring.overlay(base, now);
    for why in left_out {
        tracing::warn!("a key made at run time is left out: {why}");
    }
    Arc::new(policy)
}

fn told<T>(
    what: &str,
    (tenant, key_id): (&str, &str),
    note: &str,
    outcome: Result<T, KeyError>,
) -> Result<T, KeyError> {
    match &outcome {
        Ok(_) => tracing::info!(tenant, key_id, note, "a key was {what}"),
        Err(error) => tracing::warn!(tenant, key_id, note, %error, "a key was not {what}"),
    }
    outcome
}

/// What the file at `path` holds at present; `None` when it cannot be read.
pub async fn fingerprint(path: Option<&PathBuf>) -> Option<Fingerprint> {
    let text = tokio::fs::read(path?).await.ok()?;
    Some(Sha256::digest(&text).into())
}

/// SIGHUP, where there is such a thing.
struct Hangups(Option<tokio::signal::unix::Signal>);

impl Hangups {
    fn listen() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

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
