//! Identifiers: tenants, keys, accounts and solves.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasherDefault, Hasher};
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

/// A map of solves in which up to 16 neighbours by number are neighbours in memory: what was submitted at
/// about the same time is asked for at about the same time.
pub(super) type SolveMap<V> = HashMap<SolveId, V, BuildHasherDefault<InOrder>>;

/// A hash of numbers that leaves the last four bits where they are and spreads the others over what is
/// above. What a table tells keys at one place apart by, the seven highest bits, neighbours differ in too.
#[derive(Debug, Default)]
pub(super) struct InOrder(u64);

impl Hasher for InOrder {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 << 8 | u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32 << 4 | self.0 & 15) ^ self.0 << 57
    }
}

/// A refusal that a client was told of: `req:` and 16 letters from a to p. With the colon it is no name of
/// a tenant, without digits no task's id. It is random, so that it says nothing of how many others there
/// were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl RequestId {
    /// `None` when the text is no such id.
    pub fn parse(text: &str) -> Option<Self> {
        let letters = text.strip_prefix("req:").filter(|letters| letters.len() == 16)?;
        letters.bytes().try_fold(Self(0), |id, letter| {
            letter.is_ascii_lowercase().then_some(())?;
            let value = letter - b'a';
            (value < 16).then_some(Self(id.0 << 4 | u64::from(value)))
        })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: &[u8; 16] = b"abcdefghijklmnop";
        f.write_str("req:")?;
        self.0.to_be_bytes().iter().try_for_each(|byte| {
            f.write_char(char::from(LETTERS[usize::from(byte >> 4)]))?;
            f.write_char(char::from(LETTERS[usize::from(byte & 15)]))
        })
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
            assert!(!text.bytes().any(|byte| byte.is_ascii_digit()), "{text}");
            assert!(crate::config::name(&text).is_err());
        }
        for text in [
            "",
            "req:",
            "req:ab",
            "acme",
            "aaaaaaaaaaaaaaaaaaaa",
            "req:aaaaaaaaaaaaaaaq",
            "req:aaaaaaaaaaaaaaaA",
        ] {
            assert_eq!(RequestId::parse(text), None, "{text}");
        }
    }
}
