//! Keys that are made, rerolled and taken back while the sidecar runs, laid over those of the config.
//!
//! A key is a tenant and an id with settings, and has one or more secrets, of which only hashes are kept.
//! Settings of a key of the config stay in the config; a reroll gives it a further secret. What the record
//! holds is one [`KeyRecord`] per secret; [`Keyring::overlay`] makes the policy in force of config and
//! records.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use rand::RngExt;
use tokio::sync::oneshot;

use crate::config;
use crate::domain::ids::{KeyHash, Name};
use crate::domain::journal::KeyRecord;
use crate::domain::policy::{KeyPolicy, Policy, TenantPolicy};
use crate::domain::time::Wall;
use crate::wire::secret::Secret;

/// The official SDK insists on this length.
const KEY_LENGTH: usize = 32;
/// When a secret of the config was made, which nobody knows.
const OF_CONFIG: Wall = Wall(0);
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// The longest overlap of a reroll.
pub const OVERLAP_MAX: Duration = Duration::from_hours(30 * 24);

/// Why a key was not made or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum KeyError {
    #[error("there is no tenant `{0}`")]
    NoTenant(String),
    #[error("tenant `{tenant}` has no key `{key_id}`")]
    NoKey { tenant: Name, key_id: String },
    #[error("tenant `{tenant}` has, or had, a key `{key_id}`; give the new one another id")]
    Exists { tenant: Name, key_id: Name },
    #[error("key `{key_id}` of tenant `{tenant}` was revoked; make a new one")]
    Revoked { tenant: Name, key_id: String },
    #[error("{0}")]
    Invalid(String),
    #[error("the record cannot be written at present; nothing was changed")]
    Unrecorded,
    #[error("the record did not take it in time, so it was undone; give a new key another id")]
    Undone,
    #[error(
        "the key is refused from now on; that is not on record yet and will be, unless the process dies"
    )]
    RevokedUnrecorded,
    #[error("without tenants every key is passed through; add tenants to the config first")]
    PassThrough,
}

/// A key as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Its id, unique within the tenant.
    pub key_id: Name,
    /// What holds for it.
    pub policy: KeyPolicy,
    /// When it was made; `None`: it stands in the config.
    pub created_at: Option<Wall>,
    /// Its secrets, the oldest first.
    pub secrets: Vec<SecretView>,
    /// Who last did what and why; empty for an untouched key of the config.
    pub note: String,
}

/// One secret of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretView {
    /// All that is known of it.
    pub hash: KeyHash,
    /// Refused from then on; `None`: not.
    pub revoked_at: Option<Wall>,
}

/// What came of a test notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// The webhook's scheme and host.
    pub url: String,
    /// The form of its body.
    pub format: &'static str,
    /// Why it did not arrive.
    pub error: Option<String>,
}

/// What an operator asks of the running sidecar; answered when it is done and on record.
#[derive(Debug)]
pub enum Command {
    /// Reads the config again; the answer is why it was refused, if it was.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Posts a test notice to every webhook.
    TestNotify(oneshot::Sender<Vec<Tested>>),
    /// Makes a key.
    Create {
        /// Whose.
        tenant: String,
        /// Its id, unique within the tenant.
        key_id: String,
        /// JSON in the words of the config's key section.
        settings: String,
        /// Who did it and why.
        note: String,
        /// The secret.
        done: oneshot::Sender<Result<Secret, KeyError>>,
    },
    /// Gives a key a new secret.
    Reroll {
        /// Whose.
        tenant: String,
        /// Which.
        key_id: String,
        /// How long the secrets it had stay good.
        overlap: Duration,
        /// Who did it and why.
        note: String,
        /// The new secret.
        done: oneshot::Sender<Result<Secret, KeyError>>,
    },
    /// Takes a key back.
    Revoke {
        /// Whose.
        tenant: String,
        /// Which.
        key_id: String,
        /// Who did it and why.
        note: String,
        /// Done.
        done: oneshot::Sender<Result<(), KeyError>>,
    },
    /// Lists a tenant's keys, revoked ones included.
    List {
        /// Whose.
        tenant: String,
        /// The keys, by id.
        done: oneshot::Sender<Result<Vec<KeyView>, KeyError>>,
    },
}

/// A new secret, shown once, and what is to be written down before it is.
#[derive(Debug)]
pub struct Made {
    /// The secret.
    pub secret: Secret,
    /// What is to be written down.
    pub records: Vec<KeyRecord>,
    /// What undoes it where the record does not take it in time: a write that waits is written in the end.
    pub undo: Vec<KeyRecord>,
}

/// Everything that is known of keys beside the config.
#[derive(Debug, Default)]
pub struct Keyring {
    records: BTreeMap<KeyHash, KeyRecord>,
    /// Secrets whose end has come once: a clock that goes back does not make them good again.
    ended: BTreeSet<KeyHash>,
}

impl Keyring {
    /// The keyring that the record gave back.
    pub fn new(records: Vec<KeyRecord>) -> Self {
        let records = records.into_iter().map(|record| (record.hash, record)).collect();
        Self { records, ended: BTreeSet::new() }
    }

    /// Takes in what was written down.
    pub fn take(&mut self, records: Vec<KeyRecord>) {
        self.records.extend(records.into_iter().map(|record| (record.hash, record)));
    }

    /// The policy of the config with these keys in it, as of `now`. A key whose settings the config of
    /// today refuses, or whose tenant is gone, is left out with a sentence that says so.
    pub fn overlay(&mut self, base: &Policy, now: Wall) -> (Policy, Vec<String>) {
        let mut policy = base.clone();
        let mut left_out = Vec::new();
        let taken: BTreeSet<_> = hashes_of(base).collect();
        let ends =
            self.records.values().filter_map(|record| Some((record.hash, record.revoked_at?)));
        policy.revoked.extend(ends);
        policy.revoked.extend(self.refused(base, now).into_iter().map(|hash| (hash, Wall::MIN)));
        for record in self.by_age() {
            if taken.contains(&record.hash) {
                continue;
            }
            if let Err(why) = place(&mut policy, base, record) {
                left_out.push(format!("key {}/{}: {why}", record.tenant, record.key_id));
            }
        }
        (policy, left_out)
    }

    /// The secrets that are refused as of `now`: those whose end has come, once and for all, and whatever
    /// the clock says those that were replaced at once, those of revoked keys, and those that the config had
    /// and has no more.
    pub fn refused(&mut self, base: &Policy, now: Wall) -> BTreeSet<KeyHash> {
        let records = self.records.values();
        let ended = records.clone().filter(|record| record.is_revoked(now));
        self.ended.extend(ended.map(|record| record.hash));
        let configured: BTreeSet<_> = hashes_of(base).collect();
        let live = self.live(base);
        let refused = records.filter(|record| {
            let Some(made) = live.get(&(&record.tenant, &record.key_id)) else { return true };
            // One made after its end, or in place of it, proves that the end has come.
            let replaced = record.revoked_at.is_some_and(|end| end <= *made);
            self.ended.contains(&record.hash)
                || replaced
                || record.created_at == OF_CONFIG && !configured.contains(&record.hash)
        });
        refused.map(|record| record.hash).collect()
    }

    /// The keys that were not taken back: one of their secrets has no end, as every reroll leaves it; and
    /// when that one was made.
    fn live<'a>(&'a self, base: &'a Policy) -> BTreeMap<(&'a Name, &'a Name), Wall> {
        let untouched = base.tenants.iter().flat_map(|(tenant, policy)| {
            let keys = policy.keys.iter();
            let keys = keys.filter(|(_, key)| !self.records.contains_key(&key.hash));
            keys.map(move |(key_id, _)| ((tenant, key_id), OF_CONFIG))
        });
        let records = self.records.values().filter(|record| record.revoked_at.is_none());
        let made = records.map(|record| ((&record.tenant, &record.key_id), record.created_at));
        untouched.chain(made).collect()
    }

    /// Makes a key. `settings` is JSON in the words of the config's key section.
    pub fn create(
        &self,
        base: &Policy,
        (tenant, key_id): (&str, &str),
        settings: &str,
        (note, now): (&str, Wall),
    ) -> Result<Made, KeyError> {
        let (tenant, policy) = tenant_of(base, tenant)?;
        let key_id =
            config::key_id(key_id).map_err(|why| KeyError::Invalid(format!("id {why}")))?;
        let known = |record: &KeyRecord| *record.tenant == *tenant && record.key_id == key_id;
        if policy.keys.contains_key(&key_id) || self.records.values().any(known) {
            return Err(KeyError::Exists { tenant, key_id });
        }
        let secret = new_secret();
        config::key_settings(settings, secret.sha256(), policy, &base.time_zone)
            .map_err(|faults| KeyError::Invalid(faults.to_string()))?;
        let record = KeyRecord {
            hash: secret.sha256(),
            tenant,
            key_id,
            created_at: now,
            revoked_at: None,
            settings: Some(settings.to_owned()),
            note: note.to_owned(),
        };
        let undo = vec![KeyRecord { revoked_at: Some(now), ..record.clone() }];
        Ok(Made { secret, records: vec![record], undo })
    }

    /// Gives a key a new secret; those it had end after `overlap`.
    pub fn reroll(
        &self,
        base: &Policy,
        (tenant, key_id): (&str, &str),
        overlap: Duration,
        (note, now): (&str, Wall),
    ) -> Result<Made, KeyError> {
        if overlap > OVERLAP_MAX {
            return Err(KeyError::Invalid("overlap must be at most 30d".to_owned()));
        }
        let mut records = self.secrets(base, (tenant, key_id))?;
        let Some(live) = records.iter().find(|record| record.revoked_at.is_none()).cloned() else {
            let (tenant, _) = tenant_of(base, tenant)?;
            return Err(KeyError::Revoked { tenant, key_id: key_id.to_owned() });
        };
        records.retain(|record| !record.is_revoked(now));
        let mut undo = records.clone();
        let secret = new_secret();
        for record in &mut records {
            let end = now + overlap;
            record.revoked_at = Some(record.revoked_at.map_or(end, |at| at.min(end)));
            note.clone_into(&mut record.note);
        }
        let new = KeyRecord {
            hash: secret.sha256(),
            created_at: now,
            revoked_at: None,
            note: note.to_owned(),
            ..live
        };
        undo.push(KeyRecord { revoked_at: Some(now), ..new.clone() });
        records.push(new);
        Ok(Made { secret, records, undo })
    }

    /// Takes a key back: every secret of it that did not end yet ends now. Doing so again is no fault.
    pub fn revoke(
        &self,
        base: &Policy,
        (tenant, key_id): (&str, &str),
        (note, now): (&str, Wall),
    ) -> Result<Vec<KeyRecord>, KeyError> {
        let mut records = self.secrets(base, (tenant, key_id))?;
        for record in records.iter_mut().filter(|record| !record.is_revoked(now)) {
            record.revoked_at = Some(now);
            note.clone_into(&mut record.note);
        }
        Ok(records)
    }

    /// A tenant's keys, by id; revoked ones included.
    pub fn list(&self, base: &Policy, tenant: &str) -> Result<Vec<KeyView>, KeyError> {
        let (tenant, policy) = tenant_of(base, tenant)?;
        let mut views: BTreeMap<Name, KeyView> = BTreeMap::new();
        for (key_id, key) in &policy.keys {
            let record = self.records.get(&key.hash);
            let view = KeyView {
                key_id: key_id.clone(),
                policy: key.clone(),
                created_at: None,
                secrets: vec![SecretView {
                    hash: key.hash,
                    revoked_at: record.and_then(|record| record.revoked_at),
                }],
                note: record.map(|record| record.note.clone()).unwrap_or_default(),
            };
            views.insert(key_id.clone(), view);
        }
        for record in self.by_age().filter(|record| record.tenant == tenant) {
            let secret = SecretView { hash: record.hash, revoked_at: record.revoked_at };
            if let Some(view) = views.get_mut(&record.key_id) {
                if view.secrets.iter().all(|other| other.hash != secret.hash) {
                    view.secrets.push(secret);
                }
                record.note.clone_into(&mut view.note);
                continue;
            }
            let settings = record.settings.as_deref().unwrap_or("{}");
            let Ok(key) = config::key_settings(settings, record.hash, policy, &base.time_zone)
            else {
                continue;
            };
            let view = KeyView {
                key_id: record.key_id.clone(),
                policy: key,
                created_at: Some(record.created_at),
                secrets: vec![secret],
                note: record.note.clone(),
            };
            views.insert(record.key_id.clone(), view);
        }
        Ok(views.into_values().collect())
    }

    /// The secrets of a key, the oldest first; at least one.
    fn secrets(
        &self,
        base: &Policy,
        (tenant, key_id): (&str, &str),
    ) -> Result<Vec<KeyRecord>, KeyError> {
        let (tenant, policy) = tenant_of(base, tenant)?;
        let mut records: Vec<_> = self
            .by_age()
            .filter(|record| record.tenant == tenant && *record.key_id == *key_id)
            .cloned()
            .collect();
        let configured = policy.keys.get_key_value(key_id);
        if let Some((key_id, key)) = configured
            && records.iter().all(|record| record.hash != key.hash)
        {
            let record = KeyRecord {
                hash: key.hash,
                tenant: tenant.clone(),
                key_id: key_id.clone(),
                created_at: OF_CONFIG,
                revoked_at: None,
                settings: None,
                note: String::new(),
            };
            records.insert(0, record);
        }
        if records.is_empty() {
            return Err(KeyError::NoKey { tenant, key_id: key_id.to_owned() });
        }
        Ok(records)
    }

    fn by_age(&self) -> impl Iterator<Item = &KeyRecord> {
        let mut records: Vec<_> = self.records.values().collect();
        records.sort_by_key(|record| (record.created_at, record.hash));
        records.into_iter()
    }
}

/// Puts one secret into the policy: a further one of a key that stands there, or a key of its own.
fn place(policy: &mut Policy, base: &Policy, record: &KeyRecord) -> Result<(), String> {
    let zone: &TimeZone = &base.time_zone;
    let Some(tenant) = policy.tenants.get_mut(&record.tenant).map(Arc::make_mut) else {
        return Err("its tenant is not in the config".to_owned());
    };
    if let Some(key) = tenant.keys.get_mut(&record.key_id) {
        key.rerolls.push(record.hash);
        return Ok(());
    }
    let Some(settings) = &record.settings else {
        return Err("it is not in the config any more".to_owned());
    };
    let key = config::key_settings(settings, record.hash, tenant, zone)
        .map_err(|faults| faults.to_string())?;
    tenant.keys.insert(record.key_id.clone(), key);
    Ok(())
}

fn tenant_of<'p>(base: &'p Policy, tenant: &str) -> Result<(Name, &'p TenantPolicy), KeyError> {
    if base.pass_through {
        return Err(KeyError::PassThrough);
    }
    base.tenants
        .get_key_value(tenant)
        .map(|(name, policy)| (name.clone(), &**policy))
        .ok_or_else(|| KeyError::NoTenant(tenant.to_owned()))
}

fn hashes_of(policy: &Policy) -> impl Iterator<Item = KeyHash> {
    let keys = policy.tenants.values().flat_map(|tenant| tenant.keys.values());
    let accounts = policy.accounts.values().filter_map(|account| account.key_hash);
    keys.flat_map(KeyPolicy::hashes).chain(accounts)
}

/// 165 bits from the generator of the operating system's seed.
fn new_secret() -> Secret {
    let mut random = rand::rng();
    let key: String = (0..KEY_LENGTH)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect();
    Secret::new(key)
}
