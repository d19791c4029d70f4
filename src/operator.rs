//! What people change while the sidecar runs, one change at a time: the config (on SIGHUP, when the file
//! changes, on request), and keys.

use std::io::Read;
use std::path::{Path, PathBuf};
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
use crate::keyring::{Command, KeyError, Keyring, Made};
use crate::proxy::tls::Certificate;
use crate::proxy::{Proxy, Target};
use crate::supervisor::Supervisor;
use crate::wire::secret::Secret;

/// How often the file is looked at. A look reads it whole, so that a swapped symlink (a Kubernetes
/// `ConfigMap`) is seen too.
const EVERY: Duration = Duration::from_secs(2);

/// How long a change of keys waits for the record.
const RECORD_WAIT: Duration = Duration::from_secs(5);

/// Changes of the config that are named in the log, at most.
const CHANGES_SHOWN: usize = 20;

/// The largest file that another is told from by its content.
const CONTENT_MAX: u64 = 1 << 20;

/// Tells two contents of files apart.
type Fingerprint = [u8; 32];

/// The file and those that it takes secrets and certificates from, and what happens to them. Begun
/// before the file is read for the first time, so that neither a change nor a SIGHUP of the first moments
/// is missed.
#[derive(Debug)]
pub struct Watch {
    path: Option<PathBuf>,
    seen: Option<Fingerprint>,
    files: Files,
    hangups: Hangups,
    supervisor: Supervisor,
}

impl Watch {
    /// Begins to watch the file at `path`; `None`: there is none. SIGHUP ends the process no more.
    /// `supervisor` is told of reloads.
    pub async fn begin(path: Option<PathBuf>, supervisor: Supervisor) -> Self {
        let hangups = Hangups::listen();
        let mut watch = Self { path, seen: None, files: Files::default(), hangups, supervisor };
        watch.look().await;
        watch
    }

    /// Whether the files are others than before.
    async fn is_changed(&mut self) -> bool {
        let now = self.fingerprint().await;
        let changed = now != self.seen && now.is_some();
        if changed {
            self.seen = now;
        }
        changed
    }

    async fn look(&mut self) {
        self.seen = self.fingerprint().await;
    }

    /// What the files hold at present; `None` when the config cannot be read.
    async fn fingerprint(&mut self) -> Option<Fingerprint> {
        let (path, mut files) = (self.path.clone()?, self.files.clone());
        let looking = move || files.look(&path).map(|seen| (seen, files));
        let (seen, files) = tokio::task::spawn_blocking(looking).await.ok()??;
        self.files = files;
        Some(seen)
    }
}

/// What a config refers to. It is looked for when the text of the config changed, also of one that is not
/// in force: what it lacks may be put there.
#[derive(Debug, Clone, Default)]
struct Files {
    /// The text in which they were found.
    of: Option<Fingerprint>,
    paths: Vec<PathBuf>,
}

impl Files {
    fn look(&mut self, config: &Path) -> Option<Fingerprint> {
        let text = std::fs::read(config).ok()?;
        let of: Fingerprint = Sha256::digest(&text).into();
        if self.of != Some(of) {
            let folder = config.parent().unwrap_or_else(|| Path::new(""));
            let text = String::from_utf8_lossy(&text);
            if let Some(paths) = config::files(&text, folder, &|name| std::env::var(name).ok()) {
                self.paths = paths;
            }
            self.of = Some(of);
        }
        let mut all = Sha256::new_with_prefix(of);
        for path in &self.paths {
            // One that is gone is another than one that is empty.
            all.update(content(path).map_or([0; 32], |content| Sha256::digest(content).into()));
        }
        Some(all.finalize().into())
    }
}

fn content(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    // Opening a pipe could wait for ever.
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let file = std::fs::File::open(path).ok()?;
    file.take(CONTENT_MAX).read_to_end(&mut content).ok()?;
    Some(content)
}

/// What an operator works on.
#[derive(Debug)]
pub struct Operator {
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
    /// Serves commands and reloads what `watch` sees, until `stop`.
    pub async fn run(
        mut self,
        mut watch: Watch,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        let mut looks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(command) = commands.recv() => {
                    if let Command::Reload(done) = command {
                        watch.look().await;
                        // Whoever asked may be gone.
                        let _ = done.send(self.reload(&watch).await);
                    } else {
                        self.change_keys(command).await;
                    }
                }
                () = watch.hangups.recv() => {
                    watch.look().await;
                    let _ = self.reload(&watch).await;
                }
                _ = looks.tick() => {
                    self.end_secrets();
                    if watch.is_changed().await {
                        let _ = self.reload(&watch).await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self, watch: &Watch) -> Result<(), String> {
        watch.supervisor.reloading().await;
        let outcome = self.load_and_put_in_force(watch.path.as_ref()).await;
        // With whichever config is in force.
        watch.supervisor.ready().await;
        outcome
    }

    async fn load_and_put_in_force(&mut self, path: Option<&PathBuf>) -> Result<(), String> {
        let outcome = match load(path).await {
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

    /// Puts a changed config in force, whole or not at all; what changed.
    fn put_in_force(&mut self, mut config: Config) -> Result<Vec<String>, String> {
        let old = self.config.load();
        if config.policy.pass_through && !old.policy.pass_through {
            let text = "the file names no tenants any more, which would forward every key as it is; \
                restart to do that";
            return Err(text.to_owned());
        }
        let target = Target::of(&config).map_err(|error| error.to_string())?;
        let mut another_certificate = false;
        if let (Some(certificate), Some(tls)) = (&self.certificate, &config.tls) {
            another_certificate =
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
        let mut changes = config::changes(&old, &config);
        if another_certificate {
            changes.push("tls: another certificate".to_owned());
        }
        // What an account that is gone still has open is polled to its end.
        for (name, key) in &old.account_keys {
            config.account_keys.entry(name.clone()).or_insert_with(|| key.clone());
        }
        let policy = self.overlaid(&config.policy);
        self.gate.reconfigure(&policy);
        self.proxy.redirect(target);
        self.config.store(Arc::new(config));
        Ok(changes)
    }

    /// The config's policy with the keys that were made and taken back at run time.
    fn overlaid(&mut self, base: &Policy) -> Arc<Policy> {
        overlaid(&mut self.keyring, base, self.gate.now().wall)
    }

    async fn change_keys(&mut self, command: Command) {
        let config = self.config.load_full();
        let (base, now) = (&config.policy, self.gate.now().wall);
        match command {
            // Taken care of where the file is watched.
            Command::Reload(_) => {}
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
                    Ok(made) => self.record(made).await,
                    Err(error) => Err(error),
                };
                let _ = done.send(told("made", key, &note, made));
            }
            Command::Reroll { tenant, key_id, overlap, note, done } => {
                let key = (tenant.as_str(), key_id.as_str());
                let made = match self.keyring.reroll(base, key, overlap, (&note, now)) {
                    Ok(made) => self.record(made).await,
                    Err(error) => Err(error),
                };
                let _ = done.send(told("rerolled", key, &note, made));
            }
            Command::Revoke { tenant, key_id, note, done } => {
                let key = (tenant.as_str(), key_id.as_str());
                let revoked = match self.keyring.revoke(base, key, (&note, now)) {
                    Ok(records) => {
                        // In force before it is on record: a leaked key must not wait for a disk.
                        self.put_keys_in_force(records.clone());
                        if self.write(records).await {
                            Ok(())
                        } else {
                            Err(KeyError::RevokedUnrecorded)
                        }
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

    /// Writes a new secret down, then puts it in force.
    async fn record(&mut self, made: Made) -> Result<Secret, KeyError> {
        if !self.gate.is_recording() {
            return Err(KeyError::Unrecorded);
        }
        if self.write(made.records.clone()).await {
            self.put_keys_in_force(made.records);
            return Ok(made.secret);
        }
        // It waits to be written, and so must what undoes it.
        drop(self.gate.record(writes(&made.undo)));
        self.put_keys_in_force(made.undo);
        Err(KeyError::Undone)
    }

    /// Whether the records were written down in time; if not, they will be.
    async fn write(&self, records: Vec<KeyRecord>) -> bool {
        let written = self.gate.record(writes(&records));
        tokio::time::timeout(RECORD_WAIT, written).await == Ok(true)
    }

    fn put_keys_in_force(&mut self, records: Vec<KeyRecord>) {
        self.keyring.take(records);
        self.reconfigure();
    }

    fn reconfigure(&mut self) {
        let config = self.config.load_full();
        let policy = self.overlaid(&config.policy);
        self.gate.reconfigure(&policy);
    }

    /// Makes the ends of rerolled secrets last that have come: the clock may go back.
    fn end_secrets(&mut self) {
        let (config, now) = (self.config.load_full(), self.gate.now().wall);
        let (refused, policy) = (self.keyring.refused(&config.policy, now), self.gate.policy());
        if refused.iter().any(|hash| policy.revoked.get(hash) != Some(&Wall::MIN)) {
            self.reconfigure();
        }
    }
}

fn writes(records: &[KeyRecord]) -> Vec<Write> {
    records.iter().cloned().map(Write::Key).collect()
}

/// The config's policy with the keyring over it; what had to be left out is logged.
pub fn overlaid(keyring: &mut Keyring, base: &Policy, now: Wall) -> Arc<Policy> {
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

/// Reads and checks the file; a large one must not hold up requests meanwhile.
async fn load(path: Option<&PathBuf>) -> Result<Config, String> {
    let Some(path) = path.cloned() else {
        return Err("there is no config file to reload".to_owned());
    };
    let read = move || config::load(&path, &|name| std::env::var(name).ok());
    match tokio::task::spawn_blocking(read).await {
        Ok(loaded) => loaded.map_err(|faults| faults.to_string()),
        Err(_) => Err("reading the config broke off".to_owned()),
    }
}

/// SIGHUP, where there is such a thing.
#[derive(Debug)]
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
