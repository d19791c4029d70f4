//! The last refusals, for whoever asks why: of each tenant one entry per key, captcha type and reason; and
//! each by itself, by the id that its client was told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::captcha_type::CaptchaType;
use super::ids::{Name, RequestId};
use super::rejection::{Reason, Rejection};
use super::time::Wall;

/// Entries kept per tenant; the one that was quiet the longest goes.
const ENTRIES_MAX: usize = 64;
/// Refusals kept by themselves; the oldest goes.
const KEPT_MAX: usize = 4_096;
/// The same of those that name no tenant, apart: strangers are not to push tenants out.
const KEPT_OF_NOBODY_MAX: usize = 512;

/// A refusal that came once or often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which of the tenant's keys.
    pub key_id: Name,
    /// What was to be solved; `None` where that was not looked at yet.
    pub captcha_type: Option<CaptchaType>,
    /// Why.
    pub reason: Reason,
    /// Shadow mode let it pass.
    pub shadow: bool,
    /// What the last one was told: the limit, its value, when to come back.
    pub text: String,
    /// How long the last one was to wait; `None`: waiting does not help, or nobody knows.
    pub retry_after: Option<Duration>,
    /// How often.
    pub count: u64,
    /// When first.
    pub first_at: Wall,
    /// When last.
    pub last_at: Wall,
}

/// Who was refused, and what for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The tenant.
    pub tenant: Name,
    /// Which of its keys.
    pub key_id: Name,
    /// What was to be solved.
    pub captcha_type: Option<CaptchaType>,
}

/// The last refusals, by tenant.
#[derive(Debug, Default)]
pub struct RecentRejections(BTreeMap<Name, Vec<Refused>>);

impl RecentRejections {
    /// Notes one.
    pub fn note(&mut self, subject: Subject, rejection: &Rejection, shadow: bool, now: Wall) {
        let entries = self.0.entry(subject.tenant).or_default();
        let known = entries.iter_mut().find(|entry| {
            entry.reason == rejection.reason
                && entry.shadow == shadow
                && entry.captcha_type == subject.captcha_type
                && entry.key_id == subject.key_id
        });
        if let Some(entry) = known {
            entry.count = entry.count.saturating_add(1);
            entry.last_at = now;
            rejection.text.clone_into(&mut entry.text);
            entry.retry_after = rejection.retry_after;
            return;
        }
        if entries.len() >= ENTRIES_MAX {
            let quietest = entries.iter().enumerate().min_by_key(|(_, entry)| entry.last_at);
            if let Some((place, _)) = quietest {
                entries.swap_remove(place);
            }
        }
        entries.push(Refused {
            key_id: subject.key_id,
            captcha_type: subject.captcha_type,
            reason: rejection.reason,
            shadow,
            text: rejection.text.clone(),
            retry_after: rejection.retry_after,
            count: 1,
            first_at: now,
            last_at: now,
        });
    }

    /// Those of a tenant, the latest first.
    pub fn of(&self, tenant: &str) -> Vec<Refused> {
        let mut entries = self.0.get(tenant).cloned().unwrap_or_default();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.last_at));
        entries
    }

    /// Forgets tenants that are gone.
    pub fn keep(&mut self, stays: impl Fn(&Name) -> bool) {
        self.0.retain(|tenant, _| stays(tenant));
    }
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What its client was told.
    pub id: RequestId,
    /// The tenant and which of its keys; `None` where the request named none.
    pub of: Option<(Name, Name)>,
    /// What was to be solved; `None` where that was not looked at yet.
    pub captcha_type: Option<CaptchaType>,
    /// Why, until when.
    pub rejection: Rejection,
    /// When.
    pub at: Wall,
}

/// The last refusals by themselves.
#[derive(Debug, Default)]
pub struct KeptRejections {
    of_tenants: VecDeque<Kept>,
    of_nobody: VecDeque<Kept>,
}

impl KeptRejections {
    /// Keeps one.
    pub fn keep(&mut self, kept: Kept) {
        let (ring, max) = match kept.of {
            Some(_) => (&mut self.of_tenants, KEPT_MAX),
            None => (&mut self.of_nobody, KEPT_OF_NOBODY_MAX),
        };
        if ring.len() >= max {
            ring.pop_front();
        }
        ring.push_back(kept);
    }

    /// That one, unless it was too long ago.
    pub fn find(&self, id: RequestId) -> Option<Kept> {
        let mut all = self.of_tenants.iter().chain(&self.of_nobody);
        all.find(|kept| kept.id == id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: u64, tenant: Option<&str>) -> Kept {
        let of = tenant.map(|tenant| (tenant.into(), "prod".into()));
        let rejection = rejection(Reason::Rate, "wait 9 s");
        Kept { id: RequestId(id), of, captcha_type: None, rejection, at: Wall(1) }
    }

    #[test]
    fn the_last_refusals_are_found_by_their_id_and_strangers_push_no_tenant_out() {
        let mut recent = KeptRejections::default();
        recent.keep(kept(0, Some("acme")));
        for id in 1..=1_000 {
            recent.keep(kept(id, None));
        }

        assert_eq!(recent.find(RequestId(0)), Some(kept(0, Some("acme"))));
        assert_eq!(recent.find(RequestId(1_000 - 512)), None);
        assert_eq!(recent.find(RequestId(1_000 - 511)), Some(kept(489, None)));
        for id in 2_000..2_000 + 4_096 {
            recent.keep(kept(id, Some("zen")));
        }
        assert_eq!(recent.find(RequestId(0)), None);
        assert_eq!(recent.find(RequestId(2_000)), Some(kept(2_000, Some("zen"))));
    }

    fn subject(key_id: &str) -> Subject {
        let captcha_type = Some(CaptchaType::Turnstile);
        Subject { tenant: "acme".into(), key_id: key_id.into(), captcha_type }
    }

    fn rejection(reason: Reason, text: &str) -> Rejection {
        Rejection { reason, text: text.to_owned(), retry_after: None, verdict: None }
    }

    #[test]
    fn the_same_refusal_is_counted_and_another_is_listed_before_it() {
        let mut recent = RecentRejections::default();
        for (second, text) in [(1, "wait 9 s"), (2, "wait 8 s")] {
            recent.note(subject("prod"), &rejection(Reason::Rate, text), false, Wall(second));
        }
        recent.note(subject("batch"), &rejection(Reason::Rate, "a"), false, Wall(3));
        recent.note(subject("prod"), &rejection(Reason::Rate, "b"), true, Wall(4));

        let listed = recent.of("acme");

        let seen: Vec<_> = listed.iter().map(|it| (&*it.key_id, it.shadow, it.count)).collect();
        assert_eq!(seen, [("prod", true, 1), ("batch", false, 1), ("prod", false, 2)]);
        assert_eq!(listed[2].text, "wait 8 s");
        assert_eq!((listed[2].first_at, listed[2].last_at), (Wall(1), Wall(2)));
        assert!(recent.of("zen").is_empty());
    }

    #[test]
    fn a_flood_of_kinds_keeps_the_latest() {
        let mut recent = RecentRejections::default();
        for second in 0..100 {
            let key_id = format!("key{second}");
            recent.note(subject(&key_id), &rejection(Reason::Rate, ""), false, Wall(second));
        }

        let listed = recent.of("acme");

        assert_eq!(listed.len(), ENTRIES_MAX);
        assert_eq!((listed[0].last_at, listed[ENTRIES_MAX - 1].last_at), (Wall(99), Wall(36)));
        recent.keep(|_| false);
        assert!(recent.of("acme").is_empty());
    }
}
