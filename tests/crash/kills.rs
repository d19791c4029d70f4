//! Kill, start again, and so on; then reconcile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use solvegate::failpoint::Point;
use solvegate::record::store::{Reader, verify};
use tokio::sync::watch;

use crate::clients::{self, Orders};
use crate::evidence::{Evidence, ProviderLog, provider_tasks, unsettled};
use crate::notes::Notes;
use crate::process::{End, Home, Provider, Ready, Sidecar};
use crate::reconcile::reconcile;
use crate::schedule::{Death, deaths};
use crate::tenants::{self, KEYS};
use crate::{http, teeth};

/// Longer than anything that is waited for takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// A start with little on record may take so long on a busy machine; what it takes is printed.
const READY_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_or_doubles_a_charge() {
    let kills = number("SOLVEGATE_CRASH_KILLS").map_or(25, |kills| usize::try_from(kills).unwrap());
    assert!(kills >= Point::ALL.len(), "fewer kills than failpoints");
    let seed = number("SOLVEGATE_CRASH_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("{kills} kills; SOLVEGATE_CRASH_SEED={seed} repeats their schedule");
    // An abort would leave a core file behind each time.
    rlimit::setrlimit(rlimit::Resource::CORE, 0, 0).unwrap();
    let schedule = deaths(kills, &mut StdRng::seed_from_u64(seed));

    let mut run = Run::start(kills, seed).await;
    for (number, death) in schedule.iter().enumerate() {
        run.live_and_die(*death).await;
        if (number + 1) % 50 == 0 {
            run.say_how_far(number + 1);
        }
    }
    let evidence = run.finish().await;

    run.judge(&evidence);
    let was_hit = |point: &Point| run.died.contains_key(point.label());
    assert!(Point::ALL.iter().all(was_hit), "not every failpoint was hit: {:?}", run.died);
    std::fs::remove_dir_all(&run.home.0).unwrap();
}

struct Run {
    provider: Provider,
    home: Home,
    notes: Arc<Notes>,
    orders: watch::Sender<Orders>,
    clients: tokio::task::JoinSet<()>,
    log: ProviderLog,
    starts: Vec<Duration>,
    died: BTreeMap<&'static str, usize>,
    began: Instant,
}

impl Run {
    async fn start(kills: usize, seed: u64) -> Self {
        let provider = Provider::start().await;
        // Left behind where the test fails, to be looked at.
        let folder = tempfile::Builder::new()
            .prefix("crash-")
            .disable_cleanup(true)
            .tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR")))
            .unwrap();
        let home = Home::furnish(folder.path(), &tenants::config(provider.address, kills));
        let notes = Arc::new(Notes::new());
        let orders = watch::Sender::new(Orders::Work(None));
        let clients = clients::start(&notes, &orders.subscribe(), seed);
        Self {
            provider,
            home,
            notes,
            orders,
            clients,
            log: ProviderLog::default(),
            starts: Vec::new(),
            died: BTreeMap::new(),
            began: Instant::now(),
        }
    }

    async fn live_and_die(&mut self, death: Death) {
        let mut sidecar = Sidecar::start(&self.home, death.failpoint());
        let what = format!("{death:?}");
        let ends: &[End] = match death {
            Death::At(Point::DuringCreate | Point::DuringRestore, _) => &[End::Aborted],
            Death::At(..) => {
                self.welcome(&mut sidecar).await;
                &[End::Aborted]
            }
            Death::ShuttingDownAt(_, events) => {
                self.welcome(&mut sidecar).await;
                self.see(events).await;
                sidecar.terminate();
                &[End::Aborted]
            }
            Death::Under { events, after } => {
                self.welcome(&mut sidecar).await;
                self.see(events).await;
                tokio::time::sleep(after).await;
                sidecar.kill();
                &[End::Killed]
            }
            Death::Starting { after } => {
                let ready = tokio::time::timeout(after, self.welcome(&mut sidecar)).await;
                drop(ready);
                sidecar.kill();
                &[End::Killed]
            }
            Death::ShuttingDown { events, after } => {
                self.welcome(&mut sidecar).await;
                self.see(events).await;
                sidecar.terminate();
                tokio::time::sleep(after).await;
                sidecar.kill();
                &[End::Killed, End::Done]
            }
        };
        let end = sidecar.ended(&what).await;
        assert!(ends.contains(&end), "{what} ended as {end:?}; see {}", self.home.0.display());
        self.orders.send_replace(Orders::Work(None));
        *self.died.entry(death.label()).or_default() += 1;
        self.log.read_on(self.provider.address).await;
    }

    /// Waits until the sidecar is ready, and tells the clients where it is.
    async fn welcome(&mut self, sidecar: &mut Sidecar) -> Ready {
        let ready = sidecar.ready().await;
        let ready =
            ready.unwrap_or_else(|| panic!("it did not start; see {}", self.home.0.display()));
        self.starts.push(ready.took);
        self.orders.send_replace(Orders::Work(Some(ready.data)));
        ready
    }

    /// Waits until the clients sent and received so much.
    async fn see(&self, events: u64) {
        let mut seen = self.notes.events();
        let until = *seen.borrow() + events;
        let waiting = seen.wait_for(|seen| *seen >= until);
        tokio::time::timeout(PATIENCE, waiting).await.expect("no traffic").unwrap();
    }

    /// Traffic ends, one more kill, everything settles, a shutdown in order, and a start after that.
    async fn finish(&mut self) -> Evidence {
        let mut sidecar = Sidecar::start(&self.home, None);
        let ready = self.welcome(&mut sidecar).await;
        self.orders.send_replace(Orders::Finish(ready.data));
        let clients = std::mem::take(&mut self.clients);
        tokio::time::timeout(PATIENCE, clients.join_all()).await.expect("clients do not end");
        sidecar.kill();
        assert_eq!(sidecar.ended("the last kill").await, End::Killed);

        let mut evidence = Evidence::default();
        let mut sidecar = Sidecar::start(&self.home, None);
        let ready = self.welcome(&mut sidecar).await;
        self.settled(ready).await;
        balances(&mut evidence, ready, "settled").await;
        sidecar.terminate();
        assert_eq!(sidecar.ended("an orderly end").await, End::Done);
        let mut sidecar = Sidecar::start(&self.home, None);
        let ready = self.welcome(&mut sidecar).await;
        balances(&mut evidence, ready, "restored").await;
        sidecar.terminate();
        assert_eq!(sidecar.ended("an orderly end").await, End::Done);

        self.log.read_on(self.provider.address).await;
        evidence.received = std::mem::take(&mut self.log.received);
        evidence.tasks = provider_tasks(self.provider.address).await;
        evidence.read_record(&self.home.record());
        evidence.notes = self.notes.read().0;
        evidence
    }

    /// Waits until nothing is held, in flight or open any more.
    async fn settled(&self, ready: Ready) {
        let begin = Instant::now();
        loop {
            let metrics = http::get(ready.admin, "/metrics").await.text;
            let busy: Vec<&str> = metrics
                .lines()
                .filter(|line| {
                    let counted = ["solvegate_tenant_held_usd{", "solvegate_solves_in_flight{"];
                    let waits = line.starts_with("solvegate_store_pending_events ");
                    counted.iter().any(|name| line.starts_with(name)) || waits
                })
                .filter(|line| !line.ends_with(" 0"))
                .collect();
            let open = unsettled(&self.home.record());
            if busy.is_empty() && open == 0 {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "never settled: {open} open, {busy:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn judge(&mut self, evidence: &Evidence) {
        let (mut faults, summary) = reconcile(evidence);
        faults.extend(self.notes.read().1);
        faults.extend(verify(&Reader::open(&self.home.record()).unwrap()).unwrap());
        faults.extend(self.complaints());
        self.starts.sort_unstable();
        let (median, last) =
            (self.starts[self.starts.len() / 2], self.starts[self.starts.len() - 1]);
        println!("died: {:?}", self.died);
        println!(
            "{} requests, {summary:?}; {} starts, ready after {median:.0?} (median), {last:.0?} \
             (most); {:.0?} in all",
            self.notes.requests(),
            self.starts.len(),
            self.began.elapsed(),
        );
        let shown: Vec<_> = faults.iter().take(20).collect();
        let folder = self.home.0.display();
        assert!(faults.is_empty(), "{} faults, see {folder}: {shown:#?}", faults.len());
        assert!(last < READY_MAX, "a start took {last:?}");
        assert!(summary.delivered > self.starts.len(), "hardly any traffic: {summary:?}");
        assert!(summary.refused_poor > 0, "no wallet ran dry: {summary:?}");
        teeth::bite(evidence);
    }

    /// What the sidecars' log says that must never be said: a write that contradicts the record may be
    /// a second charge that the tables caught, and a panic is a bug.
    fn complaints(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.home.log()).unwrap();
        // A disk that hangs for seconds may cost a charge by design, so say so beside the faults.
        let hung = log.matches("while the store is failing").count();
        if hung > 0 {
            println!("the disk hung: {hung} answers went out before they were on record");
        }
        let bad = ["panicked at", "a write was left out", "an impossible write"];
        log.lines()
            .filter(|line| bad.iter().any(|text| line.contains(text)))
            .map(|line| format!("the log says: {line}"))
            .collect()
    }

    fn say_how_far(&self, kills: usize) {
        let (requests, seconds) = (self.notes.requests(), self.began.elapsed().as_secs());
        println!("{kills} kills, {requests} requests, {seconds} s");
    }
}

/// What every key is told of its balance.
async fn balances(evidence: &mut Evidence, ready: Ready, when: &'static str) {
    for key in &KEYS {
        let target = format!("/res.php?key={}&action=getbalance", key.secret);
        let text = http::get(ready.data, &target).await.text;
        evidence.balances.push((key.tenant, key.id, micros(&text), when));
    }
}

/// A decimal number of dollars as micro-dollars, without a float.
fn micros(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or_else(|| panic!("no balance: {text}"));
    assert!(fraction.len() <= 6, "finer than a micro-dollar: {text}");
    format!("{whole}{fraction:0<6}").parse().unwrap()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}
