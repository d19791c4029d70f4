//! Identifiers: tenants, keys, accounts and solves.

use std::fmt;
use std::sync::Arc;

/// A configured name (tenant, account or key id), safe to print and to use as a metric label.
pub type Name = Arc<str>;

/// The SHA-256 of a virtual API key: all that the core, the store and the logs ever see of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

/// Shows the first four bytes, enough to tell two keys apart in a log.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// One solve of this process; never reused, also not after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SolveId(pub u64);

/// The provider's name for a solve, as text (an integer id is kept as its digits). 1 to 64 printable
/// ASCII characters without `|`, `,`, `&`, quotes or space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// `None` when the text is empty, over 64 characters or holds a character that no provider uses.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
        fits.then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
