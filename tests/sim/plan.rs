//! What a seed decides before anything happens: tenants and limits, and how much goes wrong.

use std::fmt::Write as _;
use std::ops::Range;

use solvegate::config::{self, Config};

use crate::net::{Cut, LinkPlan};
use crate::rng::Rng;

/// Begins every real key, so that it can be looked for.
pub(crate) const REAL: &str = "realkey";
/// Begins every tenant's key.
pub(crate) const VIRTUAL: &str = "virtkey";

/// Methods as clients write them, with the prices of the config.
pub(crate) const METHODS: [(&str, &str, i64); 2] =
    [("userrecaptcha", "googlekey", 3_000), ("turnstile", "sitekey", 2_000)];

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) text: String,
    pub(crate) tenants: Vec<Tenant>,
    /// When clients begin nothing new, in milliseconds.
    pub(crate) traffic_ms: u64,
    pub(crate) deadline_ms: u64,
    pub(crate) forget_ms: u64,
    pub(crate) clients: usize,
    pub(crate) faults: Faults,
    pub(crate) store: StorePlan,
    /// When the process ends, how, and how long it is down.
    pub(crate) ends: Vec<Ending>,
    /// When the config is put in force anew.
    pub(crate) reloads: Vec<u64>,
    /// Milliseconds from the start to midnight.
    pub(crate) until_midnight: u64,
    /// Of each account.
    pub(crate) threads: [u64; 2],
    /// When the wall clock jumps, and by how much.
    pub(crate) jumps: Vec<(u64, i64)>,
    /// When nothing connects to the provider.
    pub(crate) outage: Range<u64>,
}

#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) account: usize,
    /// Charged for what is solved, fetched or not.
    pub(crate) charges_solved: bool,
    pub(crate) limits: Limits,
    pub(crate) keys: Vec<Key>,
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) limits: Limits,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) in_flight: Option<u64>,
    /// A minute, and burst.
    pub(crate) rate: Option<(u64, u64)>,
    pub(crate) daily: Option<u64>,
    /// Micro-dollars.
    pub(crate) prepaid: Option<i64>,
    pub(crate) day_cap: Option<i64>,
}

/// One end of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// In milliseconds from the start, at the latest.
    pub(crate) at: u64,
    /// Right after that event, if it comes before: where a crash hurts most.
    pub(crate) after: Option<(Event, u64)>,
    /// All at once; otherwise by SIGTERM.
    pub(crate) is_crash: bool,
    pub(crate) down: u64,
}

/// What a crash may follow; with a number, the so many-th of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A submission reached the provider.
    Arrived,
    /// An id was handed out.
    Accepted,
    /// An answer was handed out.
    Delivered,
}

/// How often things go wrong, in a thousand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// Of the provider's answers.
    pub(crate) provider: u64,
    /// Of all connections: cut somewhere.
    pub(crate) cut: u64,
    /// Of connections with little room.
    pub(crate) narrow: u64,
    /// Of requests: their client hangs up.
    pub(crate) hang_up: u64,
    pub(crate) latency_max: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct StorePlan {
    pub(crate) commit_max: u64,
    /// In a thousand: commits that take seconds.
    pub(crate) stall: u64,
    /// When every commit fails.
    pub(crate) failing: Range<u64>,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let tenants: Vec<_> =
            (0..rng.within(2..=4)).map(|number| Tenant::new(number, rng)).collect();
        let traffic_ms = *rng.pick(&[8_000, 15_000, 30_000]);
        let deadline_ms = *rng.pick(&[5_000, 15_000, 40_000]);
        let forget_ms = deadline_ms.max(*rng.pick(&[30_000, 60_000, 90_000]));
        let threads = [rng.within(3..=30), rng.within(2..=16)];
        let text = text(rng, &tenants, (deadline_ms, forget_ms), threads);
        let config = config::parse("sim.yaml", &text, std::path::Path::new(""), &|_| None)
            .unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        let calm = *rng.pick(&[0, 1, 1, 2, 4]);
        let at = |rng: &mut Rng| rng.within(1_000..=traffic_ms + 5_000);
        let ending = |rng: &mut Rng, at| Ending {
            at,
            after: rng.chance(600).then(|| {
                let events = [Event::Arrived, Event::Accepted, Event::Delivered, Event::Delivered];
                (*rng.pick(&events), rng.within(1..=6))
            }),
            is_crash: rng.chance(800),
            down: rng.within(100..=5_000),
        };
        let ends = match rng.within(0..=9) {
            0..=4 => vec![at(rng)],
            5 => vec![at(rng) / 2, traffic_ms + 30_000],
            _ => Vec::new(),
        };
        let ends: Vec<_> = ends.into_iter().map(|at| ending(rng, at)).collect();
        let until_midnight = if rng.chance(300) { rng.within(1_000..=60_000) } else { 43_200_000 };
        let jumps = match rng.within(0..=9) {
            0 | 1 => vec![(at(rng), 172_800_000)],
            // A start on a day that was left before counts that day anew: not what is looked for here.
            2 if until_midnight > 600_000 || ends.is_empty() => vec![(at(rng), -600_000)],
            _ => Vec::new(),
        };
        let reloads = if rng.chance(300) { vec![at(rng), at(rng)] } else { Vec::new() };
        Self {
            config,
            text,
            traffic_ms,
            deadline_ms,
            forget_ms,
            clients: usize::try_from(rng.within(3..=10)).unwrap_or(3),
            faults: Faults {
                provider: 80 * calm,
                cut: 20 * calm,
                narrow: 50 * calm,
                hang_up: 40 * calm,
                latency_max: *rng.pick(&[0, 2, 10, 40]),
            },
            store: StorePlan {
                commit_max: *rng.pick(&[0, 5, 30, 200]),
                stall: *rng.pick(&[0, 0, 10]),
                failing: span(rng, traffic_ms, 250, 15_000),
            },
            ends,
            reloads,
            until_midnight,
            threads,
            jumps,
            outage: span(rng, traffic_ms, 200, 20_000),
            tenants,
        }
    }

    pub(crate) fn link(&self, rng: &mut Rng) -> LinkPlan {
        let faults = self.faults;
        let narrow = rng.chance(faults.narrow);
        let cut = rng.chance(faults.cut).then(|| Cut {
            side: rng.place(2),
            after: usize::try_from(rng.within(0..=900)).unwrap_or(0),
            in_order: rng.chance(500),
        });
        LinkPlan {
            latency_max: if narrow { faults.latency_max.min(2) } else { faults.latency_max },
            capacity: if narrow { 60 } else { 16_384 },
            cut,
        }
    }
}

impl Tenant {
    fn new(number: u64, rng: &mut Rng) -> Self {
        let keys = (0..rng.within(1..=2)).map(|key| Key {
            id: format!("k{key}"),
            secret: format!("{:z<32}", format!("{VIRTUAL}t{number}k{key}")),
            limits: if rng.chance(700) { Limits::default() } else { Limits::new(rng, 2) },
        });
        Self {
            name: format!("t{number}"),
            keys: keys.collect(),
            account: rng.place(2),
            charges_solved: rng.chance(150),
            limits: Limits::new(rng, 1),
        }
    }
}

impl Limits {
    fn new(rng: &mut Rng, tightness: i64) -> Self {
        let mut some = |per_mille| rng.chance(per_mille);
        let [in_flight, rate, daily, prepaid, cap] =
            [some(400), some(200), some(200), some(300), some(150)];
        Self {
            in_flight: in_flight.then(|| rng.within(1..=6)),
            rate: rate.then(|| (rng.within(6..=90), rng.within(1..=8))),
            daily: daily.then(|| rng.within(2..=30)),
            prepaid: prepaid.then(|| 1_000 * i64::try_from(rng.within(6..=120)).unwrap_or(4)),
            day_cap: cap.then(|| 40_000 / tightness),
        }
    }

    fn write(&self, text: &mut String) {
        let dollars = |micros: i64| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        let parts = [
            self.in_flight.map(|max| format!("in_flight_max: {max}, ")),
            self.rate.map(|(rate, burst)| format!("rate_per_minute: {rate}, burst: {burst}, ")),
            self.daily.map(|max| format!("daily_limit: {max}, ")),
            self.prepaid.map(|open| format!("prepaid: {{ opening_balance: {} }}, ", dollars(open))),
            self.day_cap.map(|cap| format!("daily_spend_cap: {}, ", dollars(cap))),
        ];
        text.extend(parts.into_iter().flatten());
    }
}

/// The real key of an account.
pub(crate) fn real_key(account: usize) -> String {
    format!("{:q<32}", format!("{REAL}{account}"))
}

pub(crate) const ACCOUNTS: [&str; 2] = ["main", "spare"];

fn span(rng: &mut Rng, traffic_ms: u64, per_mille: u64, longest: u64) -> Range<u64> {
    let from = rng.within(0..=traffic_ms);
    let length = rng.within(200..=longest);
    if rng.chance(per_mille) { from..from + length } else { 0..0 }
}

fn text(
    rng: &mut Rng,
    tenants: &[Tenant],
    (deadline, forget): (u64, u64),
    threads: [u64; 2],
) -> String {
    let mut text = format!(
        "admin: {{ listen: '127.0.0.1:0' }}\n\
         upstream: {{ url: 'http://provider.test', poll_spacing: {}ms, poll_timeout: {}ms, \
         hold_polls: {}ms, forget_after: {forget}ms }}\n\
         slo: {{ default: {{ deadline: {deadline}ms }} }}\n\
         prices: {{ default: 0.003, turnstile: 0.002 }}\naccounts:\n",
        rng.pick(&[0, 200, 1_000]),
        rng.pick(&[1_000, 3_000, 10_000]),
        rng.pick(&[0, 0, 1_000, 4_000]),
    );
    for (place, name) in ACCOUNTS.iter().enumerate() {
        let (key, threads) = (real_key(place), threads[place]);
        let _ = writeln!(text, "  {name}: {{ key: {key}, threads: {threads} }}");
    }
    text.push_str("tenants:\n");
    for tenant in tenants {
        let _ = write!(text, "  {}: {{ account: {}, ", tenant.name, ACCOUNTS[tenant.account]);
        if tenant.charges_solved {
            text.push_str("charge: solved, ");
        }
        tenant.limits.write(&mut text);
        text.push_str("keys: { ");
        for key in &tenant.keys {
            let _ = write!(text, "{}: {{ ", key.id);
            key.limits.write(&mut text);
            let _ = write!(text, "key: {} }}, ", key.secret);
        }
        text.push_str("} }\n");
    }
    text
}
