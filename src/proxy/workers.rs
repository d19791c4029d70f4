//! Threads that serve connections, each with a runtime and a pool of connections to the provider of its
//! own: a request meets one thread from its head to its answer.

use std::cell::Cell;
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

/// The place of this thread among the workers, from one; zero for any other thread.
pub(super) fn place() -> usize {
    PLACE.get()
}

/// Workers. They end when this is dropped, and with them whatever they still serve.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Handle>,
    end: CancellationToken,
}

impl Workers {
    /// Starts that many; at least one.
    pub fn start(count: usize) -> io::Result<Self> {
        let mut started = Self { workers: Vec::new(), end: CancellationToken::new() };
        for place in 1..=count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            started.workers.push(runtime.handle().clone());
            let end = started.end.clone();
            thread::Builder::new().name(format!("worker-{place}")).spawn(move || {
                PLACE.set(place);
                runtime.block_on(end.cancelled());
            })?;
        }
        Ok(started)
    }

    /// Their runtimes.
    pub(super) fn runtimes(&self) -> &[Handle] {
        &self.workers
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end.cancel();
    }
}
