//! Who solves what at which price, and the sidecar's config that says so.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// The account's real key at the provider.
pub(crate) const ACCOUNT: &str = "crash0account0key000000000000000";

/// A solve that is still open so long after its submission, and past the grace after a restart, is
/// forgotten, and its hold voided.
pub(crate) const FORGET_AFTER_SECONDS: u64 = 12;

/// One key of one tenant, and how many clients use it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) tenant: &'static str,
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) clients: usize,
}

/// `acme` is prepaid and runs dry, `zen` pays later and is bounded in flight, `kiosk` has a prepaid key
/// beside one that is not, `solo` pays for what is solved whether it is fetched or not.
pub(crate) static KEYS: [Key; 5] = [
    key("acme", "prod", "crash0key0acme000000000000000000", 6),
    key("zen", "prod", "crash0key0zen0000000000000000000", 6),
    key("kiosk", "till", "crash0key0till000000000000000000", 4),
    key("kiosk", "back", "crash0key0back000000000000000000", 3),
    key("solo", "prod", "crash0key0solo000000000000000000", 5),
];

/// What every tenant may spend a day: so much that nobody reaches it, and `getbalance` says of a tenant
/// without a wallet what memory knows of its spending.
pub(crate) const CAP_MICROS: i64 = 900_000_000_000;

const fn key(tenant: &'static str, id: &'static str, secret: &'static str, clients: usize) -> Key {
    Key { tenant, id, secret, clients }
}

/// The captcha types that are submitted: the fields that make them, and the price in micro-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Turnstile,
    RecaptchaV2,
    RecaptchaV3,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Turnstile, Self::RecaptchaV2, Self::RecaptchaV3];

    pub(crate) const fn fields(self) -> &'static str {
        match self {
            Self::Turnstile => "method=turnstile&sitekey=s",
            Self::RecaptchaV2 => "method=userrecaptcha&googlekey=k",
            Self::RecaptchaV3 => "method=userrecaptcha&version=v3&min_score=0.3&googlekey=k",
        }
    }

    /// What a success costs that tenant.
    pub(crate) fn price(self, tenant: &str) -> i64 {
        match self {
            Self::Turnstile if tenant == "zen" => 2_301,
            Self::Turnstile => 2_000,
            Self::RecaptchaV2 => 3_003,
            Self::RecaptchaV3 => 4_000,
        }
    }
}

/// Whether what is solved is charged although nobody fetched it.
pub(crate) fn charges_solved(tenant: &str) -> bool {
    tenant == "solo"
}

/// The config for a run of so many kills; the more, the more money `acme` and the till have to lose.
pub(crate) fn config(provider: SocketAddr, kills: usize) -> String {
    let opening = dollars(20_000 * i64::try_from(kills).unwrap());
    let cap = format!("daily_spend_cap: {}", dollars(CAP_MICROS));
    let zone = noon_zone();
    let mut text = format!(
        "listen: 127.0.0.1:0\n\
         admin: {{ listen: '127.0.0.1:0' }}\n\
         upstream: {{ url: 'http://{provider}', poll_spacing: 5ms, \
         forget_after: {FORGET_AFTER_SECONDS}s }}\n\
         accounts: {{ main: {{ key: {ACCOUNT}, threads: 50000, balance_precheck: false }} }}\n\
         prices: {{ default: 0.003003, turnstile: 0.002, recaptcha_v3: 0.004 }}\n\
         slo: {{ default: {{ deadline: 5s }} }}\n\
         state: {{ path: solvegate.db }}\n\
         log: {{ urls: whole }}\n\
         timezone: {zone}\n\
         shutdown_grace: 10s\n\
         tenants:\n"
    );
    for (tenant, terms) in [
        ("acme", format!("prepaid: {{ opening_balance: {opening} }}")),
        ("zen", "in_flight_max: 9, prices: { turnstile: 0.002301 }".to_owned()),
        ("kiosk", "rejections: http".to_owned()),
        ("solo", "charge: solved, prepaid: { opening_balance: 100000 }".to_owned()),
    ] {
        let keys: Vec<String> = KEYS
            .iter()
            .filter(|key| key.tenant == tenant)
            .map(|key| {
                let wallet = match key.id {
                    "till" => format!(", prepaid: {{ opening_balance: {opening} }}"),
                    _ => String::new(),
                };
                format!("{}: {{ key: {}{wallet} }}", key.id, key.secret)
            })
            .collect();
        writeln!(text, "  {tenant}: {{ {terms}, {cap}, keys: {{ {} }} }}", keys.join(", "))
            .unwrap();
    }
    text
}

/// Micro-dollars as a config has them.
fn dollars(micros: i64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// A zone where it is about noon, so that no run crosses a day.
fn noon_zone() -> String {
    let hour = i32::from(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour());
    match 12 - hour {
        0 => "UTC".to_owned(),
        // These names count the other way round.
        east @ 1.. => format!("Etc/GMT-{east}"),
        west => format!("Etc/GMT+{}", -west),
    }
}
