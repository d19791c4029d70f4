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

/// A refusal that a client was told of: `req:` and 16 hex digits. With the colon it is no name of a
/// tenant. It is random, so that it says nothing of how many others there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl RequestId {
    /// `None` when the text is no such id.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("req:")?;
        let fits = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| u64::from_str_radix(digits, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req:{:016x}", self.0)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_read_as_it_is_written_and_is_no_name() {
        for id in [RequestId(0), RequestId(0x1f), RequestId(u64::MAX)] {
            let text = id.to_string();
            assert_eq!((RequestId::parse(&text), text.len()), (Some(id), 20));
            assert!(crate::config::name(&text).is_err());
        }
        for text in ["", "req:", "req:1f", "acme", "00000000000000001f", "req:+00000000000001f"] {
            assert_eq!(RequestId::parse(text), None, "{text}");
        }
    }
}
