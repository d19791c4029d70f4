//! What was refused: counted, noted for its tenant, and kept under the id that its client was told.

use rand::RngExt;

use super::Gate;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::engine::Credential;
use crate::domain::ids::{Name, RequestId};
use crate::domain::recent::{Kept, Refused, Subject};
use crate::domain::rejection::Rejection;
use crate::domain::solve::Identity;

/// Who was refused.
#[derive(Debug, Clone, Copy)]
pub enum Refusee<'a> {
    /// A tenant, and what was to be solved.
    Tenant(Identity, Option<CaptchaType>),
    /// Whoever has a credential that is no good.
    Asker(&'a Credential<'a>),
    /// Nobody that the request names.
    Nobody,
}

impl Gate {
    /// The rejection of an expired key, counted.
    pub fn expired(&self, identity: Identity) -> Option<Rejection> {
        let now = self.clock.now();
        let rejection = self.engine.lock().expired(identity, now)?;
        self.rejected(identity, None, &rejection);
        Some(rejection)
    }

    /// Counts a refusal that the shell decided on by itself.
    pub fn rejected(
        &self,
        identity: Identity,
        captcha_type: Option<CaptchaType>,
        rejection: &Rejection,
    ) {
        let tenant = self.note(identity, captcha_type, rejection, false);
        self.metrics.rejected(Some(&tenant), rejection.reason);
    }

    pub(super) fn note(
        &self,
        identity: Identity,
        captcha_type: Option<CaptchaType>,
        rejection: &Rejection,
        shadow: bool,
    ) -> Name {
        let (tenant, key_id) = {
            let engine = self.engine.lock();
            (engine.tenant_name(identity).clone(), engine.key_id(identity).clone())
        };
        let subject = Subject { tenant: tenant.clone(), key_id, captcha_type };
        self.recent.lock().note(subject, rejection, shadow, self.clock.now().wall);
        tenant
    }

    /// Keeps a refusal that a client is told of, to be explained by its id.
    pub fn keep(&self, refusee: Refusee<'_>, rejection: &Rejection) -> RequestId {
        let engine = self.engine.lock();
        let (of, captcha_type) = match refusee {
            Refusee::Tenant(identity, captcha_type) => {
                let names = (engine.tenant_name(identity).clone(), engine.key_id(identity).clone());
                (Some(names), captcha_type)
            }
            Refusee::Asker(credential) => (engine.named(credential), None),
            Refusee::Nobody => (None, None),
        };
        drop(engine);
        let id = RequestId(rand::rng().random());
        let (rejection, at) = (rejection.clone(), self.clock.now().wall);
        self.kept.lock().keep(Kept { id, of, captcha_type, rejection, at });
        id
    }

    /// The refusal of that id, unless it was too long ago.
    pub fn kept(&self, id: RequestId) -> Option<Kept> {
        self.kept.lock().find(id)
    }

    /// Why that tenant was refused of late, the latest first.
    pub fn recent_rejections(&self, tenant: &str) -> Vec<Refused> {
        self.recent.lock().of(tenant)
    }
}
