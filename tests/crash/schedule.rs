//! How and when each sidecar dies.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use solvegate::failpoint::Point;

/// One death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// At the n-th passing of a failpoint.
    At(Point, u64),
    /// Told to shut down after so many requests and answers, and dead at a failpoint on the way.
    ShuttingDownAt(Point, u64),
    /// SIGKILL after so many requests and answers of clients, and so long after that.
    Under { events: u64, after: Duration },
    /// SIGKILL so long after the start, ready or not.
    Starting { after: Duration },
    /// Told to shut down after so many requests and answers, and SIGKILL so long after that, where it
    /// is not done by then.
    ShuttingDown { events: u64, after: Duration },
}

impl Death {
    /// The failpoint to start the sidecar with.
    pub(crate) const fn failpoint(self) -> Option<(Point, u64)> {
        match self {
            Self::At(point, passing) => Some((point, passing)),
            Self::ShuttingDownAt(point, _) => Some((point, 1)),
            Self::Under { .. } | Self::Starting { .. } | Self::ShuttingDown { .. } => None,
        }
    }

    /// A name to count it under.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::At(point, _) | Self::ShuttingDownAt(point, _) => point.label(),
            Self::Under { .. } => "under load",
            Self::Starting { .. } => "while starting",
            Self::ShuttingDown { .. } => "while shutting down",
        }
    }
}

/// So many deaths: first while the record is created, then each failpoint once, in any order, then any
/// (creation excepted, which comes but once).
pub(crate) fn deaths(kills: usize, rng: &mut StdRng) -> Vec<Death> {
    let [creation, points @ ..] = Point::ALL;
    assert_eq!(creation, Point::DuringCreate);
    let mut once = points.map(|point| at(point, rng));
    once.shuffle(rng);
    let any = std::iter::repeat_with(|| match rng.random_range(0..100) {
        0..45 => at(*points.choose(rng).unwrap(), rng),
        45..85 => Death::Under { events: rng.random_range(1..900), after: moment(rng, 4_000) },
        85..93 => Death::Starting { after: moment(rng, 120_000) },
        _ => Death::ShuttingDown { events: rng.random_range(1..400), after: moment(rng, 60_000) },
    });
    let first = std::iter::once(Death::At(creation, 1));
    first.chain(once).chain(any).take(kills).collect()
}

fn at(point: Point, rng: &mut StdRng) -> Death {
    match point {
        Point::DuringCreate | Point::DuringRestore => Death::At(point, 1),
        Point::DuringShutdown | Point::DuringClose => {
            Death::ShuttingDownAt(point, rng.random_range(1..400))
        }
        Point::AfterUpstreamAccepted
        | Point::BeforeBindCommit
        | Point::AfterBindCommit
        | Point::BeforeReadyCommit
        | Point::AfterReadyCommit
        | Point::MidFlush
        | Point::BeforeSettleCommit
        | Point::AfterSettleCommit => Death::At(point, rng.random_range(1..60)),
    }
}

fn moment(rng: &mut StdRng, micros: u64) -> Duration {
    Duration::from_micros(rng.random_range(0..micros))
}
