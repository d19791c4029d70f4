//! The series that the config makes known. They start at zero before anything can count in them: a
//! series born at one hides its first increment from `increase()`. What the config knows no more goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prometheus::{Histogram, IntCounter};

use super::tenants::Tenants;
use super::{Metrics, Notified, Operation, UpstreamResult, event_label};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::Name;
use crate::domain::notice::Kind;
use crate::domain::outcome::Outcome;
use crate::domain::policy::Policy;
use crate::domain::rejection::Reason;
use crate::domain::slo::SloKind;

/// Tenants with series of their own.
const TENANT_LABELS_MAX: usize = 1_000;
/// The label of tenants beyond those, and of tenants and accounts that left the config before their
/// last solve ended.
pub(super) const OTHER: &str = "other";

/// The series of one account's questions, by operation.
pub(super) type AskedHandles = [OperationHandles; Operation::ALL.len()];

#[derive(Debug)]
pub(super) struct OperationHandles {
    pub(super) by_result: [IntCounter; UpstreamResult::ALL.len()],
    pub(super) duration: Histogram,
}

/// Names that are labels.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) tenants: Tenants,
    accounts: BTreeSet<Name>,
    /// What every question to the provider touches, looked up once.
    asked: BTreeMap<Name, AskedHandles>,
    /// Configured tenants beyond the limit.
    beyond: BTreeSet<Name>,
    /// Types with an SLO on latency.
    latency: BTreeSet<CaptchaType>,
}

impl Known {
    /// Tenants that have labels keep them, whoever is configured beside them.
    fn next(&self, policy: &Policy) -> Self {
        let mut tenants = self.tenants.clone();
        tenants.labelled.retain(|name, _| policy.tenants.contains_key(name));
        let has_left = tenants.labelled.len() < self.tenants.labelled.len();
        let mut beyond = BTreeSet::new();
        for name in policy.tenants.keys() {
            if tenants.labelled.contains_key(name) {
                continue;
            }
            if tenants.labelled.len() == TENANT_LABELS_MAX {
                beyond.insert(name.clone());
                continue;
            }
            // A name that happens to be `other` shares its series with the rest.
            let is_other = &**name == OTHER;
            let series = if is_other { tenants.other.clone() } else { Arc::default() };
            tenants.labelled.insert(name.clone(), series);
        }
        tenants.has_other |= has_left || !beyond.is_empty();
        let has_latency =
            |captcha_type: &CaptchaType| policy.slo.slo(*captcha_type).latency.is_some();
        Self {
            tenants,
            accounts: policy.accounts.keys().cloned().collect(),
            asked: BTreeMap::new(),
            beyond,
            latency: CaptchaType::ALL.into_iter().filter(has_latency).collect(),
        }
    }

    pub(super) fn has_label(&self, tenant: &Name) -> bool {
        self.tenants.labelled.contains_key(tenant)
    }

    pub(super) fn is_beyond(&self, tenant: &Name) -> bool {
        self.beyond.contains(tenant)
    }

    pub(super) fn account<'a>(&self, name: &'a str) -> &'a str {
        if self.accounts.contains(name) { name } else { OTHER }
    }

    pub(super) fn asked(&self, account: &str) -> Option<&AskedHandles> {
        self.asked.get(account)
    }

    pub(super) fn has_slo(&self, slo: SloKind, captcha_type: CaptchaType) -> bool {
        match slo {
            SloKind::Success => true,
            SloKind::Latency => self.latency.contains(&captcha_type),
        }
    }
}

impl Metrics {
    /// Takes over what a config makes known. To be called before the engine acts on it.
    pub fn reconfigure(&self, policy: &Policy) {
        let mut next = self.known.read().next(policy);
        self.start_closed();
        for captcha_type in next.latency.iter().map(|captcha_type| captcha_type.label()) {
            for result in ["good", "bad"] {
                self.slo_events.with_label_values(&["latency", captcha_type, result]);
            }
        }
        for account in next.accounts.clone() {
            self.start_account(&account);
            let handles = self.asked_handles(&account);
            next.asked.insert(account, handles);
        }
        let mut known = self.known.write();
        if !known.accounts.is_subset(&next.accounts) {
            self.start_account(OTHER);
        }
        // A name that happens to be `other` shares its series with the rest.
        let gone = |name: &&Name| &***name != OTHER;
        for account in known.accounts.difference(&next.accounts).filter(gone) {
            self.end_account(account);
        }
        for captcha_type in known.latency.difference(&next.latency) {
            for result in ["good", "bad"] {
                let labels = ["latency", captcha_type.label(), result];
                let _ = self.slo_events.remove_label_values(&labels);
            }
        }
        *known = Arc::new(next);
    }

    /// What is known without any config.
    fn start_closed(&self) {
        for captcha_type in CaptchaType::ALL.map(CaptchaType::label) {
            for outcome in Outcome::ALL {
                self.solves.with_label_values(&[captcha_type, outcome.label()]);
            }
            for result in ["good", "bad"] {
                self.slo_events.with_label_values(&["success", captcha_type, result]);
                self.reports.with_label_values(&[captcha_type, result]);
            }
            self.solve_duration.with_label_values(&[captcha_type]);
            self.undelivered.with_label_values(&[captcha_type]);
        }
        for kind in Kind::ALL.map(Some).into_iter().chain([None]) {
            for result in Notified::ALL.map(Notified::label) {
                self.notifications.with_label_values(&[event_label(kind), result]);
            }
        }
        for result in ["ok", "failed"] {
            self.reloads.with_label_values(&[result]);
        }
        for reason in Reason::ALL.map(Reason::label) {
            for mode in ["enforced", "shadow"] {
                self.rejections.with_label_values(&[reason, mode]);
            }
        }
    }

    fn start_account(&self, account: &str) {
        for operation in Operation::ALL.map(Operation::label) {
            self.upstream_duration.with_label_values(&[account, operation]);
            for result in UpstreamResult::ALL {
                let labels = [account, operation, result.label()];
                self.upstream_requests.with_label_values(&labels);
            }
        }
        for captcha_type in CaptchaType::ALL {
            self.cost.add(&[account, captcha_type.label()], 0);
        }
    }

    fn asked_handles(&self, account: &str) -> AskedHandles {
        Operation::ALL.map(Operation::label).map(|operation| OperationHandles {
            by_result: UpstreamResult::ALL.map(|result| {
                let labels = [account, operation, result.label()];
                self.upstream_requests.with_label_values(&labels)
            }),
            duration: self.upstream_duration.with_label_values(&[account, operation]),
        })
    }

    fn end_account(&self, account: &str) {
        for operation in Operation::ALL.map(Operation::label) {
            let _ = self.upstream_duration.remove_label_values(&[account, operation]);
            for result in UpstreamResult::ALL {
                let labels = [account, operation, result.label()];
                let _ = self.upstream_requests.remove_label_values(&labels);
            }
        }
        for captcha_type in CaptchaType::ALL {
            self.cost.remove(&[account, captcha_type.label()]);
        }
    }
}
