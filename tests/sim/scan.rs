//! Looks through every byte that the sidecar writes to a client.

use std::sync::Arc;

use crate::Invariant;
use crate::plan::REAL;
use crate::provider::{ID, TOKEN};
use crate::world::World;

pub(crate) struct Scanner {
    world: Arc<World>,
    tenant: usize,
    buffer: Vec<u8>,
    /// What comes before was looked at.
    from: usize,
}

const ID_DIGITS: usize = 9;

impl Scanner {
    pub(crate) fn new(world: Arc<World>, tenant: usize) -> Self {
        Self { world, tenant, buffer: Vec::new(), from: 0 }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while self.from < self.buffer.len() {
            let rest = &self.buffer[self.from..];
            let starts = |word: &str| {
                let size = rest.len().min(word.len());
                (rest[..size] == word.as_bytes()[..size]).then_some(size == word.len())
            };
            match (starts(TOKEN), starts(ID), starts(REAL)) {
                (Some(true), _, _) => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'.') else { return };
                    let id = String::from_utf8_lossy(&rest[TOKEN.len()..TOKEN.len() + ID_DIGITS]);
                    self.world.token_flushed(&id, self.tenant);
                    self.from += end;
                }
                (_, Some(true), _) => {
                    if rest.len() < ID_DIGITS {
                        return;
                    }
                    self.world.id_flushed(&String::from_utf8_lossy(&rest[..ID_DIGITS]));
                    self.from += ID_DIGITS;
                }
                (_, _, Some(true)) => {
                    self.world.wrong(Invariant::Isolation, "a real key went to a client");
                    self.from += REAL.len();
                }
                (Some(false), ..) | (_, Some(false), _) | (.., Some(false)) => return,
                (None, None, None) => self.from += 1,
            }
        }
    }
}
