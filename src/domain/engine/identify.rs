//! Who is asking: the key selects tenant, key record and account.

use std::net::IpAddr;

use super::{ACCOUNT_KEY_PLACE, DEFAULT_TENANT, Engine, KeyPlace, place_index};
use crate::domain::ids::{KeyHash, Name};
use crate::domain::rejection::{Reason, Rejection, Verdict};
use crate::domain::solve::Identity;
use crate::domain::time::{Now, Wall};

/// One sentence for every way to be unknown: who asks learns no tenant's name by it.
const NO_SUCH_KEY: &str = "no such key; check it with whoever runs Solvegate";

/// What a request shows of its sender.
#[derive(Debug, Clone, Copy)]
pub struct Credential<'a> {
    /// The SHA-256 of `key=`; `None` when the request carries none.
    pub key: Option<KeyHash>,
    /// The tenant of the path prefix `/t/<tenant>/`.
    pub prefix: Option<&'a str>,
    /// The client's address.
    pub source_ip: Option<IpAddr>,
}

impl Engine {
    /// Whose request this is. A revoked key and a denied address get nothing at all; an expired key is
    /// still known, so that it may fetch what it paid for (see [`expired`](Self::expired)).
    pub fn identify(&self, credential: &Credential<'_>, now: Now) -> Result<Identity, Rejection> {
        if self.policy.pass_through {
            return Ok(self.pass_through(credential.key));
        }
        let Some(hash) = credential.key else {
            return Err(refuse(Reason::UnknownKey, "the request carries no key"));
        };
        let place = self.place_of(hash, credential.prefix)?;
        if place.revoked_at <= now.wall {
            return Err(refuse(Reason::RevokedKey, "this key was revoked"));
        }
        let tenant = &self.tenants[place_index(place.tenant)];
        let key = &tenant.keys[place_index(place.key)];
        if !address_fits(&key.policy.allow_from, credential.source_ip) {
            return Err(refuse(Reason::IpDenied, "this key may not be used from this address"));
        }
        let Some(account) = self.account_places.get(&tenant.policy.account) else {
            return Err(refuse(Reason::UnknownKey, "this key has no account"));
        };
        Ok(Identity { tenant: place.tenant, key: place.key, account: *account, holder: None })
    }

    /// The tenant and key that a credential names, good or not; for the books of refusals.
    pub fn named(&self, credential: &Credential<'_>) -> Option<(Name, Name)> {
        let place = self.place_of(credential.key?, credential.prefix).ok()?;
        let tenant = &self.tenants[place_index(place.tenant)];
        Some((tenant.name.clone(), tenant.keys[place_index(place.key)].id.clone()))
    }

    /// The one identity of pass-through: tenant `default`, whatever the key.
    fn pass_through(&self, key: Option<KeyHash>) -> Identity {
        let tenant = self.tenant_places.get(DEFAULT_TENANT).copied().unwrap_or_default();
        let account = self.account_places.get(DEFAULT_TENANT).copied().unwrap_or_default();
        Identity { tenant, key: ACCOUNT_KEY_PLACE, account, holder: key.map(Into::into) }
    }

    /// The rejection of a key that is past its time; `None` for a live one.
    pub fn expired(&self, identity: Identity, now: Now) -> Option<Rejection> {
        let expires = self.key(identity).policy.expires?;
        (expires <= now.wall).then(|| refuse(Reason::ExpiredKey, "this key has expired"))
    }

    /// The rejection of a key that a reload or a revocation took away since it was identified.
    pub fn revoked(&self, identity: Identity, now: Now) -> Option<Rejection> {
        let (tenant, key) = (self.tenant(identity), self.key(identity));
        let closed = identity.key == ACCOUNT_KEY_PLACE && !tenant.policy.accept_account_key;
        let is_revoked = |hash| self.policy.revoked.get(&hash).is_some_and(|at| *at <= now.wall);
        let revoked = !self.policy.revoked.is_empty() && key.policy.hashes().all(is_revoked);
        let gone = tenant.removed || key.removed || revoked;
        (closed || gone).then(|| refuse(Reason::RevokedKey, "this key was revoked"))
    }

    fn place_of(&self, hash: KeyHash, prefix: Option<&str>) -> Result<KeyPlace, Rejection> {
        let prefixed = match prefix {
            Some(name) => match self.tenant_places.get(name) {
                Some(place) => Some(*place),
                None => return Err(refuse(Reason::UnknownKey, NO_SUCH_KEY)),
            },
            None => None,
        };
        if let Some(place) = self.keys.get(&hash) {
            if prefixed.is_some_and(|tenant| tenant != place.tenant) {
                return Err(refuse(Reason::UnknownKey, NO_SUCH_KEY));
            }
            return Ok(*place);
        }
        let by_account_key = prefixed.filter(|tenant| self.keeps_account_key(*tenant, hash));
        match by_account_key {
            Some(tenant) => Ok(KeyPlace { tenant, key: ACCOUNT_KEY_PLACE, revoked_at: Wall::MAX }),
            None => Err(refuse(Reason::UnknownKey, NO_SUCH_KEY)),
        }
    }

    fn keeps_account_key(&self, tenant: u32, hash: KeyHash) -> bool {
        let tenant = &self.tenants[place_index(tenant)];
        let Some(account) = self.account_places.get(&tenant.policy.account) else { return false };
        let account = &self.accounts[place_index(*account)];
        !tenant.removed && tenant.policy.accept_account_key && account.policy.key_hash == Some(hash)
    }
}

fn address_fits(allowed: &[ipnet::IpNet], source: Option<IpAddr>) -> bool {
    allowed.is_empty()
        || source
            .is_some_and(|source| allowed.iter().any(|net| net.contains(&source.to_canonical())))
}

fn refuse(reason: Reason, text: &str) -> Rejection {
    Rejection { reason, text: text.to_owned(), retry_after: None, verdict: Some(Verdict::Spent) }
}
