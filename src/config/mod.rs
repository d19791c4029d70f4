//! What the operator wrote: `solvegate.yaml`, checked whole and resolved.
//!
//! ```text
//! text -> yaml (a tree with lines) -> expand (${NAME}, ${file:PATH}) -> service, tenants, slo -> Config
//! ```
//! Every fault is gathered on the way and reported at once; a [`Config`] has none.

mod diff;
mod effective;
mod expand;
mod finding;
mod limits;
mod scalar;
mod section;
mod service;
mod slo;
mod tenants;
mod urls;
mod words;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use self::expand::Sources;
use self::finding::{Place, Report};
use self::section::Section;
use self::yaml::{Kind, Node};
use crate::domain::engine::ACCOUNT_KEY_ID;
use crate::domain::ids::KeyHash;
use crate::domain::ids::Name;
use crate::domain::policy::{
    Charge, KeyPolicy, Overdraft, Policy, PriceList, RejectionForm, TenantPolicy,
};

pub use self::diff::changes;
pub use self::effective::{effective, key_view, view};
pub use self::finding::{Faults, Finding};
pub use self::urls::{Scheme, UpstreamUrl, WebhookUrl};
pub use crate::domain::notice::Kind as NotifyEvent;
pub use crate::wire::secret::Secret;

/// Everything the operator decides, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data listener, in plain HTTP.
    pub listen: SocketAddr,
    /// A second data listener with TLS.
    pub tls: Option<Tls>,
    /// The second port: metrics, health, API, status page.
    pub admin: Admin,
    /// The provider.
    pub upstream: UpstreamConfig,
    /// The real keys, by account; empty without `accounts`.
    pub account_keys: BTreeMap<Name, Secret>,
    /// Peers whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Webhooks.
    pub notify: Vec<Notify>,
    /// What is kept on disk.
    pub state: State,
    /// The log.
    pub log: Log,
    /// The most that a shutdown takes.
    pub shutdown_grace: Duration,
    /// What holds where a tenant says nothing, and for a caller that is no tenant.
    pub defaults: TenantDefaults,
    /// What decisions depend on.
    pub policy: Policy,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Finding>,
}

/// The TLS listener. Paths in the config are relative to the folder of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Its address.
    pub listen: SocketAddr,
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// The bearer token; `None` only on a loopback address.
    pub token: Option<Secret>,
}

/// The provider and how long it may take. `poll_spacing` and `forget_after` are part of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Where `in.php` is found.
    pub url: UpstreamUrl,
    /// For a TCP and TLS connection.
    pub connect_timeout: Duration,
    /// For the whole of a submission; a client waits 5 s at most.
    pub submit_timeout: Duration,
    /// For the whole of a poll.
    pub poll_timeout: Duration,
    /// How long a poll may be held until its solve is terminal; zero is not at all.
    pub hold_polls: Duration,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Where to.
    pub url: WebhookUrl,
    /// In which form.
    pub format: NotifyFormat,
    /// What about, without repetition.
    pub events: Vec<NotifyEvent>,
    /// Least time between two posts about one tenant and kind.
    pub cooldown: Duration,
}

/// The body of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the contract")]
pub enum NotifyFormat {
    Json,
    Slack,
    Discord,
}

/// What is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The database file.
    pub path: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
    /// How long solves stay in the log.
    pub keep_solves: Duration,
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process.
    Process,
    /// The loss of power.
    Power,
}

/// The log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// How much of a page URL is logged and stored.
    pub urls: LogUrls,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the contract")]
pub enum LogFormat {
    Text,
    Json,
}

/// How much of a page URL is logged and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the contract")]
pub enum LogUrls {
    Host,
    Whole,
    None,
}

/// What holds where a tenant says nothing, and for a caller that is no tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantDefaults {
    /// How a refusal is put.
    pub rejections: RejectionForm,
    /// `false`: decide and count, let everything pass.
    pub enforce: bool,
    /// What makes a solve chargeable.
    pub charge: Charge,
    /// What a prepaid balance must cover.
    pub overdraft: Overdraft,
    /// What one success costs.
    pub prices: PriceList,
}

/// Looks an environment variable up.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A file that says nothing, or of which there is no making sense.
const NOTHING: Node = Node { line: 1, kind: Kind::Null };

/// What holds without any file.
pub fn default_config() -> Config {
    service::read(&NOTHING, Path::new(""), &Report::new("defaults"))
}

/// Reads and checks a file.
pub fn load(path: &Path, env: Env<'_>) -> Result<Config, Faults> {
    parse(&path.display().to_string(), &read_file(path)?, base_dir(path), env)
}

/// Only how the admin listener is reached, for whoever has none of the other secrets: the rest of the
/// file is not looked at.
pub fn load_admin(path: &Path, env: Env<'_>) -> Result<Admin, Faults> {
    let text = read_file(path)?;
    let report = Report::new(&path.display().to_string());
    let mut root = yaml::parse(&text, &report).unwrap_or(NOTHING);
    if let Kind::Mapping(entries) = &mut root.kind {
        entries.retain(|entry| entry.key == "admin");
    }
    Sources::new(base_dir(path), env).expand(&mut root, &Place::default(), &report);
    let admin = service::read_admin(&root, &report);
    report.conclude().map(|_| admin)
}

/// Checks the text of a file; `name` stands in the faults, `base_dir` is the folder that relative
/// paths start from.
pub fn parse(name: &str, text: &str, base_dir: &Path, env: Env<'_>) -> Result<Config, Faults> {
    let report = Report::new(name);
    let mut root = yaml::parse(text, &report).unwrap_or(NOTHING);
    Sources::new(base_dir, env).expand(&mut root, &Place::default(), &report);
    let config = service::read(&root, base_dir, &report);
    let warnings = report.conclude()?;
    Ok(Config { warnings, ..config })
}

/// The other files that the text of a config refers to: `${file:…}`, certificate and private key. They
/// are told of a faulty text as well; `None` where there is no making sense of it.
pub fn files(
    text: &str,
    base_dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<Vec<PathBuf>> {
    let report = Report::new("");
    let mut root = yaml::parse(text, &report)?;
    let sources = Sources::new(base_dir, env);
    sources.expand(&mut root, &Place::default(), &report);
    let tls = service::read(&root, base_dir, &report).tls;
    let mut files = sources.files.into_inner();
    files.extend(tls.into_iter().flat_map(|tls| [tls.cert, tls.key]));
    Some(files)
}

/// The settings of a key that is made at run time, as JSON in the words of a key's section here. They
/// hold no secret and read no environment.
pub fn key_settings(
    json: &str,
    hash: KeyHash,
    tenant: &TenantPolicy,
    zone: &TimeZone,
) -> Result<KeyPolicy, Faults> {
    let report = Report::new("settings");
    let root = yaml::parse(json, &report).unwrap_or(NOTHING);
    let section = Section::root(&root, &report);
    let policy = tenants::key_settings(section, hash, tenant.priority, zone);
    report.conclude().map(|_| policy)
}

/// A name of a tenant, account or key, checked.
pub fn name(text: &str) -> Result<Name, String> {
    scalar::name(text)
}

/// The id of a key, checked.
pub fn key_id(text: &str) -> Result<Name, String> {
    let id = scalar::name(text)?;
    if &*id == ACCOUNT_KEY_ID { Err(tenants::KEY_ID_TAKEN.to_owned()) } else { Ok(id) }
}

/// The folder that paths in the file start from.
fn base_dir(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

fn read_file(path: &Path) -> Result<String, Faults> {
    read_text(path).map_err(|sentence| Faults::about_file(&path.display().to_string(), sentence))
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(yaml::SIZE_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > yaml::SIZE_MAX {
        return Err(yaml::TOO_LARGE.into());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text; save it as UTF-8".into())
}
