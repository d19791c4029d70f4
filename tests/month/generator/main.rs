//! Writes what sidecars would show to Prometheus over days of scripted traffic, in minutes.
//!
//! `month DIR`, with one job a line on stdin, writes `DIR/<job>/<day>.om`: `OpenMetrics` with times, one
//! file per day and job, without the end mark, so that jobs can be joined. Everything that is decided
//! is decided by the product: the engine in simulated time, and its metrics.

#![expect(clippy::unwrap_used, reason = "a tool of the tests: a failure ends it")]

mod replica;
mod stream;
mod writer;

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::replica::Replica;
use crate::stream::Stream;
use crate::writer::Writer;

/// When the simulated time begins: a midnight, UTC. A fixed one, for equal results.
const START_MS: i64 = 1_767_225_600_000;
const SCRAPE_MS: i64 = 30_000;
const DAY_MS: i64 = 86_400_000;
/// How often the values are held against the text of `/metrics`.
const PROOF_MS: i64 = 6 * 3_600_000;

/// One sidecar, its traffic and what happens to both.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    name: String,
    seed: u64,
    days: u32,
    objective: f64,
    types: Vec<TypeSpec>,
    #[serde(default)]
    incidents: Vec<Incident>,
    /// Hours at which the process dies and starts again, with its counters at zero.
    #[serde(default)]
    restarts: Vec<f64>,
    /// Hours from and to which nothing is scraped.
    #[serde(default)]
    unscraped: Vec<[f64; 2]>,
    /// Also write every event to `DIR/<job>/events.csv`.
    #[serde(default)]
    list_events: bool,
}

/// A captcha type and its usual traffic.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeSpec {
    captcha_type: String,
    window_hours: u64,
    /// Solves an hour at the peak of the day; a tenth of it at night.
    peak_per_hour: f64,
    /// Usual share of failures.
    bad_share: f64,
}

/// A change of one type's traffic for a while.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Incident {
    captcha_type: String,
    from_hour: f64,
    to_hour: f64,
    /// Share of failures meanwhile; as usual if absent.
    bad_share: Option<f64>,
    /// Traffic meanwhile, as a multiple of the usual.
    #[serde(default = "one")]
    traffic: f64,
    /// Errors of clients an hour, besides.
    #[serde(default)]
    client_errors_per_hour: f64,
    /// Exactly that many failures besides, spread evenly.
    #[serde(default)]
    failures: u32,
}

fn one() -> f64 {
    1.0
}

fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    for line in text.lines() {
        run(&serde_json::from_str(line).unwrap(), Path::new(&dir));
    }
}

/// Plays one job from its first day to its last.
fn run(job: &Job, dir: &Path) {
    let mut writer = Writer::new(&dir.join(&job.name), job);
    let mut stream = Stream::new(job);
    let mut replica = Replica::new(job, START_MS);
    let mut restarts = job.restarts.iter().map(|hour| at_hour(*hour)).peekable();
    // Not on the full minute, where the rules are evaluated.
    let mut scrape = START_MS + 7_000;
    let end = START_MS + i64::from(job.days) * DAY_MS;
    while scrape < end {
        if let Some(at) = restarts.next_if(|at| *at <= scrape) {
            play(&mut stream, &mut replica, &mut writer, at);
            // What comes in until the new process listens is turned away.
            stream.skip_to(at + 12_000);
            replica = replica.restarted(job, at + 12_000);
        }
        play(&mut stream, &mut replica, &mut writer, scrape);
        if !job.unscraped.iter().any(|gap| at_hour(gap[0]) <= scrape && scrape < at_hour(gap[1])) {
            let values = replica.values(scrape);
            if (scrape - START_MS) % PROOF_MS < SCRAPE_MS {
                replica.prove(&values, scrape);
            }
            writer.scrape(replica.series(), &values, scrape);
        }
        scrape += SCRAPE_MS;
    }
    writer.finish();
}

/// Everything that happens before `until`.
fn play(stream: &mut Stream, replica: &mut Replica, writer: &mut Writer, until: i64) {
    while let Some(event) = stream.next_before(until) {
        replica.solve(&event);
        writer.event(&event);
    }
}

#[expect(clippy::float_arithmetic, reason = "a script in hours")]
#[expect(clippy::cast_possible_truncation, reason = "hours of a few months")]
fn at_hour(hour: f64) -> i64 {
    START_MS + (hour * 3_600_000.0).round() as i64
}
