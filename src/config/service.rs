//! The parts of the file that concern the process: listeners, provider, webhooks, disk, log.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::finding::Report;
use super::scalar::{self, duration, one_of, shown_duration, socket_addr};
use super::section::{Section, Value};
use super::tenants::{self, KeysSeen};
use super::urls::{UpstreamUrl, WebhookUrl};
use super::yaml::Node;
use super::{Admin, Config, Log, Notify, State, Tls, UpstreamConfig, slo, words};
use super::{Durability, LogFormat, LogUrls, NotifyFormat};
use crate::domain::outcome::Outcome;
use crate::domain::policy::{Policy, SloPolicy};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// in.php must be answered within 5 s of its last byte; this leaves time to write the answer.
const SUBMIT_TIMEOUT_MAX: Duration = Duration::from_millis(4500);
/// Some clients give up a poll at 5 s.
const HOLD_POLLS_MAX: Duration = Duration::from_secs(4);

/// Reads the whole file. What is faulty is reported and stands as its default.
pub(super) fn read(root: &Node, base_dir: &Path, report: &Report) -> Config {
    let mut root = Section::root(root, report);
    let mut keys = KeysSeen::default();

    let listen = root.read_or("listen", socket_addr, SocketAddr::from(([127, 0, 0, 1], 8080)));
    let tls = root.optional_section("tls").and_then(|section| tls(section, base_dir));
    let accounts = tenants::accounts(&mut root, &mut keys);
    let admin = admin(root.section("admin"), &mut keys);
    let slo = slo::read(root.section("slo"));
    let (upstream, pace) = upstream(root.section("upstream"), &slo);
    let defaults = tenants::defaults(&mut root);
    let time_zone = root.read_or("timezone", scalar::time_zone, TimeZone::UTC);
    let tenants = tenants::tenants(&mut root, &accounts, &defaults, &time_zone, &mut keys);
    let config = Config {
        listen,
        tls,
        admin,
        upstream,
        account_keys: accounts.keys.clone(),
        trusted_proxies: root.list("trusted_proxies", scalar::ip_net).unwrap_or_default(),
        notify: notify(&mut root),
        state: state(root.section("state"), base_dir),
        log: log(root.section("log")),
        shutdown_grace: root.read_or(
            "shutdown_grace",
            duration(Duration::from_secs(1)..=10 * MINUTE),
            Duration::from_secs(30),
        ),
        policy: Policy {
            pass_through: tenants.is_empty(),
            accounts: accounts.or_pass_through(&tenants),
            tenants: tenants::or_pass_through(tenants, &defaults),
            slo,
            time_zone,
            poll_spacing: pace.poll_spacing,
            forget_after: pace.forget_after,
            error_classes: error_classes(&mut root),
            revoked: BTreeMap::new(),
        },
        defaults,
        warnings: Vec::new(),
    };
    check_addresses(&root, &config);
    root.finish();
    config
}

/// Reads the admin section alone.
pub(super) fn read_admin(root: &Node, report: &Report) -> Admin {
    admin(Section::root(root, report).section("admin"), &mut KeysSeen::default())
}

/// Two listeners on one address would fail at start with a riddle. Port 0 takes any free port.
fn check_addresses(root: &Section<'_>, config: &Config) {
    let tls = config.tls.as_ref().map(|tls| ("tls", tls.listen));
    let mut taken = vec![("listen", config.listen)];
    for (section, address) in tls.into_iter().chain([("admin", config.admin.listen)]) {
        let same = taken.iter().find(|(_, other)| *other == address && address.port() != 0);
        if let Some((other, _)) = same {
            let place = root.place_of(section).child("listen", None);
            let text = format!("is the address of {other} too; give each its own port");
            root.report.fault(&place, text);
        }
        taken.push((section, address));
    }
}

fn tls(mut section: Section<'_>, base_dir: &Path) -> Option<Tls> {
    let listen = section.read_or("listen", socket_addr, SocketAddr::from(([127, 0, 0, 1], 8443)));
    let cert = section.required("cert", scalar::path(base_dir), "name the PEM file of the chain");
    let key = section.required("key", scalar::path(base_dir), "name the PEM file of the key");
    section.finish();
    Some(Tls { listen, cert: cert?, key: key? })
}

fn admin(mut section: Section<'_>, keys: &mut KeysSeen) -> Admin {
    let listen = section.read_or("listen", socket_addr, SocketAddr::from(([127, 0, 0, 1], 9465)));
    let token = section.read("token", scalar::token);
    if let Some(token) = &token {
        keys.claim(token.sha256(), &section, "token");
        if token.expose().len() < 16 {
            section.warn_at("token", "is short; 32 random characters are hard to guess");
        }
    }
    if !section.has("token") && !listen.ip().is_loopback() {
        section.fault_at(
            "token",
            "must be set unless admin.listen is a loopback address; \
             add token: \"${SOLVEGATE_ADMIN_TOKEN}\"",
        );
    }
    section.finish();
    Admin { listen, token }
}

/// The part of `upstream:` that decisions depend on.
struct Pace {
    poll_spacing: Duration,
    forget_after: Duration,
}

fn upstream(mut section: Section<'_>, slo: &SloPolicy) -> (UpstreamConfig, Pace) {
    let url = section.read_or("url", UpstreamUrl::read, UpstreamUrl::default());
    if url.is_in_the_clear() {
        section.warn_at("url", "is plain http: account keys cross the network unencrypted");
    }
    let seconds = Duration::from_secs;
    let timeout = |most| duration(MILLISECOND..=most);
    let upstream = UpstreamConfig {
        url,
        connect_timeout: section.read_or("connect_timeout", timeout(seconds(30)), seconds(2)),
        submit_timeout: section.read_or("submit_timeout", timeout(SUBMIT_TIMEOUT_MAX), seconds(4)),
        poll_timeout: section.read_or("poll_timeout", timeout(MINUTE), seconds(10)),
        hold_polls: section.read_or(
            "hold_polls",
            duration(Duration::ZERO..=HOLD_POLLS_MAX),
            Duration::ZERO,
        ),
    };
    let poll_spacing =
        section.read_or("poll_spacing", duration(Duration::ZERO..=MINUTE), seconds(1));
    let forget_after = section.read_or("forget_after", duration(MILLISECOND..=48 * HOUR), HOUR);
    let longest = slo.types.values().map(|slo| slo.deadline).fold(slo.default.deadline, Ord::max);
    if forget_after < longest {
        let longest = shown_duration(longest);
        let text = format!("must be at least {longest}, the longest deadline under slo");
        section.fault_at("forget_after", text);
    }
    section.finish();
    (upstream, Pace { poll_spacing, forget_after })
}

fn notify(root: &mut Section<'_>) -> Vec<Notify> {
    root.items("notify").into_iter().filter_map(webhook).collect()
}

fn webhook(item: Value<'_>) -> Option<Notify> {
    let mut section = item.section();
    let url = section.required("url", WebhookUrl::read, "name the URL to post to");
    let format = section.read_or("format", one_of(words::NOTIFY_FORMATS), NotifyFormat::Json);
    let every = || words::NOTIFY_EVENTS.iter().map(|(_, event)| *event).collect();
    let hint = "an event; leave it out for all of them";
    let mut events =
        section.filled_list("events", one_of(words::NOTIFY_EVENTS), hint).unwrap_or_else(every);
    events.sort_unstable();
    events.dedup();
    let cooldown = section.read_or("cooldown", duration(Duration::ZERO..=7 * DAY), 5 * MINUTE);
    section.finish();
    Some(Notify { url: url?, format, events, cooldown })
}

fn state(mut section: Section<'_>, base_dir: &Path) -> State {
    let state = State {
        path: section
            .read("path", scalar::path(base_dir))
            .unwrap_or_else(|| base_dir.join("solvegate.db")),
        durability: section.read_or("durability", one_of(words::DURABILITIES), Durability::Process),
        keep_solves: section.read_or("keep_solves", duration(DAY..=3650 * DAY), 90 * DAY),
    };
    section.finish();
    state
}

fn log(mut section: Section<'_>) -> Log {
    let log = Log {
        format: section.read_or("format", one_of(words::LOG_FORMATS), LogFormat::Text),
        urls: section.read_or("urls", one_of(words::LOG_URLS), LogUrls::Host),
    };
    section.finish();
    log
}

fn error_classes(root: &mut Section<'_>) -> BTreeMap<String, Outcome> {
    let mut classes = BTreeMap::new();
    for (code, value) in root.entries("error_classes") {
        let printable = code.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if code.is_empty() || !printable {
            value.fault("must be a code that the provider sends, such as ERROR_BAD_PROXY");
        } else if let Some(outcome) = value.read(one_of(words::ERROR_OUTCOMES)) {
            classes.insert(code.to_owned(), outcome);
        }
    }
    classes
}
