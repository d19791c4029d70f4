//! A text that no log, error or `Debug` shows. Stands in for `wire::secret` until that is merged.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::domain::ids::KeyHash;

/// A secret text: an account's key, the admin token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps the text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The SHA-256 of the text.
    pub fn sha256(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
