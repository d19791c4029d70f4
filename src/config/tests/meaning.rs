//! What files that are right mean.

use std::path::Path;

use super::{ACCOUNT_KEY, ADMIN_TOKEN, EXAMPLE, TENANT_KEY, assert_golden, env, read};
use crate::config::{Config, default_config, effective, load, load_admin, parse, view};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::Name;
use crate::domain::money::Money;
use crate::domain::policy::{Limits, Rate, TenantPolicy};
use crate::domain::time::Wall;

fn ok(text: &str) -> Config {
    read(text).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// The tenant `acme`, with what `text` says of it.
fn acme(text: &str) -> TenantPolicy {
    let text = format!("accounts: {{ main: {{ key: k }} }}\ntenants:\n  acme: {text}");
    TenantPolicy::clone(&ok(&text).policy.tenants["acme"])
}

fn warnings(text: &str) -> String {
    let lines: Vec<_> = ok(text).warnings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn no_file_means_the_defaults() {
    let config = default_config();
    assert_golden("config_default.effective.yaml", &effective(&config));
    assert!(config.policy.pass_through);
    assert!(config.policy.tenants.keys().map(|name| &**name).eq(["default"]));
    assert!(config.policy.accounts.keys().map(|name| &**name).eq(["default"]));
    for nothing in ["", "# a comment\n", "tenants:\naccounts: ~\n", "tenants: {}", "\u{feff}{}"] {
        assert_eq!(effective(&ok(nothing)), effective(&config), "{nothing:?}");
    }
}

#[test]
fn the_whole_example_is_in_force_as_written() {
    let config = ok(EXAMPLE);
    assert_golden("config_example.effective.yaml", &effective(&config));
    assert!(!config.policy.pass_through);
    assert_eq!(config.account_keys["main"].expose(), ACCOUNT_KEY);
    assert_eq!(config.admin.token.unwrap().expose(), ADMIN_TOKEN);
    assert_eq!(config.notify[0].url.expose(), "https://hooks.example/x");
}

#[test]
fn the_effective_config_can_be_read_again() {
    for config in [default_config(), ok(EXAMPLE)] {
        let written = effective(&config);
        let unmasked = written
            .replace("token: '***'", &format!("token: {ADMIN_TOKEN}"))
            .replace("key: '***'", &format!("key: {ACCOUNT_KEY}"));
        let again = ok(&unmasked);
        assert_eq!(effective(&again), written);
        assert_eq!(format!("{:?}", again.policy), format!("{:?}", config.policy));
    }
}

#[test]
fn a_second_parser_reads_the_same_tree_from_what_is_written() {
    let config = ok(EXAMPLE);
    let tree: serde_json::Value = serde_yaml::from_str(&effective(&config)).unwrap();
    assert_eq!(tree, view(&config));
}

#[test]
fn no_secret_is_shown() {
    let config = ok(EXAMPLE);
    let shown = format!("{config:?}\n{config:#?}\n{}\n{}", effective(&config), view(&config));
    for secret in [ADMIN_TOKEN, ACCOUNT_KEY, TENANT_KEY, "CANARY", "hooks.example/x"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn the_host_of_a_webhook_is_shown_unless_it_may_hold_a_secret() {
    let shown = |url: &str| {
        let text = format!("notify: [{{ url: \"{url}\" }}]");
        let env = |name: &str| match name {
            "PART" => Some("canary".to_owned()),
            "WHOLE" => Some("https://hooks.example/canary".to_owned()),
            _ => None,
        };
        let config = parse("f.yaml", &text, Path::new(""), &env).unwrap();
        config.notify[0].url.masked().to_owned()
    };
    assert_eq!(shown("https://hooks.example/${PART}"), "https://hooks.example/***");
    assert_eq!(shown("${WHOLE}"), "https://hooks.example/***");
    assert_eq!(shown("https://${PART}.example/x"), "https://***/***");
    assert_eq!(shown("https://me:${PART}@hooks.example/x"), "https://***/***");
}

#[test]
fn accounts_without_tenants_are_watched_while_every_key_passes_through() {
    let config = ok("accounts: { main: { key: CANARYaccountkeyCANARYaccountkey } }");
    assert!(config.policy.pass_through);
    assert!(config.policy.accounts.keys().map(|name| &**name).eq(["default", "main"]));
    assert_eq!(&*config.policy.tenants["default"].account, "default");
    assert_eq!(config.policy.tenants["default"].limits, Limits::default());
}

#[test]
fn money_is_exact() {
    let tenant =
        acme("{ daily_spend_cap: 0.1, monthly_spend_cap: '0.2', prices: { default: 0.3 } }");
    let sum = tenant.limits.daily_spend_cap.unwrap() + tenant.limits.monthly_spend_cap.unwrap();
    assert_eq!(sum, tenant.prices.price(CaptchaType::Other));
    assert_eq!(sum, Money::from_micros(300_000));
    let large = acme("{ daily_spend_cap: 999999999.999999, monthly_spend_cap: 9007199.254741 }");
    assert_eq!(large.limits.daily_spend_cap, Some(Money::from_micros(999_999_999_999_999)));
    assert_eq!(large.limits.monthly_spend_cap, Some(Money::from_micros(9_007_199_254_741)));
}

#[test]
fn a_price_is_the_nearest_that_is_named() {
    let global = "prices: { default: 1, recaptcha_v2: 2, recaptcha_v3_enterprise: 3, image: 4 }";
    let price = |tenant: &str, captcha_type| {
        let text = format!(
            "{global}\naccounts: {{ a: {{ key: k }} }}\ntenants: {{ t: {{ prices: {tenant} }} }}"
        );
        ok(&text).policy.tenants["t"].prices.price(captcha_type).to_string()
    };
    for (tenant, captcha_type, expected) in [
        ("{}", CaptchaType::Other, "1.00"),
        ("{}", CaptchaType::RecaptchaV2Invisible, "2.00"),
        ("{}", CaptchaType::RecaptchaV3, "1.00"),
        ("{}", CaptchaType::RecaptchaV3Enterprise, "3.00"),
        ("{ recaptcha_v2: 9 }", CaptchaType::RecaptchaV2Invisible, "9.00"),
        ("{ recaptcha_v2: 9 }", CaptchaType::Image, "4.00"),
        (
            "{ recaptcha_v2: 9, recaptcha_v2_invisible: 8 }",
            CaptchaType::RecaptchaV2Invisible,
            "8.00",
        ),
        ("{ default: 7 }", CaptchaType::Image, "7.00"),
        ("{ default: 7, image: 6 }", CaptchaType::Image, "6.00"),
    ] {
        assert_eq!(price(tenant, captcha_type), expected, "{tenant} {captcha_type:?}");
    }
}

#[test]
fn a_value_from_elsewhere_is_typed_where_it_lands() {
    let lookup = |name: &str| match name {
        "N" => Some("12".to_owned()),
        "MAP" => Some("{ key: x }".to_owned()),
        _ => None,
    };
    let text = "\
accounts: { main: { key: 'a${N}b$${N}' } }
tenants:
  acme: { rate_per_minute: \"${N}\", daily_limit: '1${N}', in_flight_max: '3' }";
    let config = parse("f", text, Path::new(""), &lookup).unwrap();
    assert_eq!(config.account_keys["main"].expose(), "a12b${N}");
    let limits = &config.policy.tenants["acme"].limits;
    assert_eq!(limits.rate, Some(Rate { per_minute: 12, burst: 12 }));
    assert_eq!((limits.daily_limit, limits.in_flight_max), (Some(112), Some(3)));
    let structure = parse("f", "accounts: { main: \"${MAP}\" }", Path::new(""), &lookup);
    assert!(structure.unwrap_err().to_string().contains("must be a mapping"));
}

#[test]
fn files_are_found_beside_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
    write("key", b"0123456789abcdef0123456789abcdef\r\n");
    write("lines", b"a\n\n");
    write("large", &vec![b'x'; 64 * 1024 + 1]);
    write("binary", &[0xff, 0xfe]);
    write("solvegate.yaml", b"accounts: { main: { key: \"${file:key}\" } }\nstate: { path: s.db }");
    let path = folder.path().join("solvegate.yaml");
    let config = load(&path, &env).unwrap();
    assert_eq!(config.account_keys["main"].expose(), "0123456789abcdef0123456789abcdef");
    assert_eq!(config.state.path, folder.path().join("s.db"));
    for (name, fault) in [
        ("lines", "must be printable ASCII characters without spaces"),
        ("large", "cannot use large: larger than 64 KiB"),
        ("binary", "cannot use binary: not UTF-8 text"),
    ] {
        let text = format!("accounts: {{ main: {{ key: \"${{file:{name}}}\" }} }}");
        let faults = parse("f", &text, folder.path(), &env).unwrap_err().to_string();
        assert_eq!(faults, format!("f:1: accounts.main.key: {fault}"));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("solvegate.yaml");
    let fault = || load(&path, &env).unwrap_err().to_string();
    let shown = path.display();
    assert_eq!(fault(), format!("{shown}: cannot be read: No such file or directory (os error 2)"));
    std::fs::write(&path, [0xff]).unwrap();
    assert_eq!(fault(), format!("{shown}: is not UTF-8 text; save it as UTF-8"));
    std::fs::write(&path, vec![b'#'; (4 << 20) + 1]).unwrap();
    assert_eq!(fault(), format!("{shown}: is larger than 4 MiB; split off what is not config"));
}

#[test]
fn how_the_admin_port_is_reached_needs_nothing_else_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("solvegate.yaml");
    let load = |text: &str| {
        std::fs::write(&path, text).unwrap();
        load_admin(&path, &env).map_err(|faults| faults.to_string())
    };
    // The address of the default data listener, which this file moves away.
    let admin = load("listen: 0.0.0.0:80\nadmin: { listen: 127.0.0.1:8080 }").unwrap();
    assert_eq!(admin.listen.port(), 8080);
    let admin = load("accounts: { main: { key: \"${UNSET}\" } }\nadmin:\n  token: \"${ADMIN}\"");
    assert_eq!(
        admin.unwrap_err(),
        format!(
            "{}:3: admin.token: needs the environment variable ADMIN, which is not set",
            path.display()
        )
    );
    let admin = load("admin: { token: \"${SOLVEGATE_ADMIN_TOKEN}\" }\ntennants: 3").unwrap();
    assert_eq!(admin.token.unwrap().expose(), ADMIN_TOKEN);
    assert_eq!(admin.listen.port(), 9465);
}

#[test]
fn a_date_expires_a_key_at_the_start_of_that_day_in_the_time_zone() {
    let expires = |zone: &str, at: &str| {
        let text = format!(
            "timezone: {zone}\naccounts: {{ a: {{ key: k }} }}\ntenants: {{ t: {{ keys: {{ k: \
             {{ key: \"${{ACME_PROD_KEY}}\", expires: {at} }} }} }} }}"
        );
        ok(&text).policy.tenants["t"].keys["k"].expires
    };
    let midnight = 1_798_761_600_000; // 2027-01-01T00:00:00Z
    assert_eq!(expires("UTC", "2027-01-01"), Some(Wall(midnight)));
    assert_eq!(expires("Europe/Berlin", "2027-01-01"), Some(Wall(midnight - 3_600_000)));
    assert_eq!(expires("Europe/Berlin", "2027-01-01T00:00:00Z"), Some(Wall(midnight)));
    assert_eq!(expires("UTC", "2027-01-01T02:00:00+02:00"), Some(Wall(midnight)));
    assert_eq!(expires("UTC", "~"), None);
    // The clocks of Havana skip midnight on 2027-03-14: the day starts at one.
    assert_eq!(expires("America/Havana", "2027-03-14"), Some(Wall(1_805_000_400_000)));
}

#[test]
fn a_key_hash_and_the_key_are_the_same_key() {
    let hash = hex::encode(crate::config::Secret::new(TENANT_KEY).sha256().0);
    let by_key = acme("{ keys: { a: { key: \"${ACME_PROD_KEY}\" } } }");
    let by_hash = acme(&format!("{{ keys: {{ a: {{ sha256: \"{hash}\" }} }} }}"));
    assert_eq!(by_key, by_hash);
}

#[test]
fn a_key_inherits_its_tenant_s_priority_and_nothing_else() {
    let tenant = acme(
        "{ priority: critical, rate_per_minute: 9, keys: { a: { key: \"${ACME_PROD_KEY}\" } } }",
    );
    assert_eq!(tenant.keys["a"].priority, tenant.priority);
    assert_eq!(tenant.keys["a"].limits, Limits::default());
}

#[test]
fn an_objective_inherits_from_the_default_and_not_from_its_family() {
    let slo =
        ok("slo:\n  default: { objective: 0.9, latency: { threshold: 9s, objective: 0.8 } }\n  \
         types: { recaptcha_v2: { window: 7d }, image: { latency: { threshold: 1s } } }")
        .policy
        .slo;
    let image = slo.slo(CaptchaType::Image);
    assert!((image.objective - 0.9).abs() < 1e-12);
    assert_eq!(image.latency.unwrap().threshold.as_secs(), 1);
    assert!((image.latency.unwrap().objective - 0.8).abs() < 1e-12);
    assert_eq!(slo.slo(CaptchaType::RecaptchaV2).window.as_secs(), 7 * 86_400);
    assert_eq!(slo.slo(CaptchaType::RecaptchaV2Invisible), &slo.default);
}

#[test]
fn networks_of_ipv4_addresses_written_as_ipv6_are_the_ipv4_networks() {
    let config = ok(
        "trusted_proxies: [\"::ffff:10.0.0.0/104\", \"::ffff:192.0.2.1\", \"::ffff:0:0/96\", \"fd00::/8\", \"::/0\"]",
    );
    let proxies = config.trusted_proxies.iter().map(ToString::to_string);
    let expected = ["10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/0", "fd00::/8", "::/0"];
    assert_eq!(proxies.collect::<Vec<_>>(), expected);
    let tenants = "tenants: { a: { keys: { b: { key: k1234567890123456789012345678901, allow_from: [\"::ffff:10.0.0.0/104\"] } } } }";
    let config = ok(&format!("accounts: {{ main: {{ key: a }} }}\n{tenants}"));
    let allowed = &config.policy.tenants["a"].keys["b"].allow_from;
    assert_eq!(allowed[..], ["10.0.0.0/8".parse().unwrap()]);
}

#[test]
fn the_upstream_url_is_taken_apart() {
    let url = ok("upstream: { url: \"http://[::1]:8081/api/v1/\" }").upstream.url;
    assert_eq!((url.authority(), url.host(), url.port()), ("[::1]:8081", "[::1]", 8081));
    assert_eq!((url.scheme().as_str(), url.base_path()), ("http", "/api/v1"));
    let url = default_config().upstream.url;
    assert_eq!((url.port(), url.base_path()), (443, ""));
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let quiet = "accounts: { main: { key: CANARYaccountkeyCANARYaccountkey } }\nprices: { default: 1 }\n\
                 tenants: { t: { rate_per_minute: 1, accept_account_key: true } }";
    assert_eq!(warnings(quiet), "");
    assert_eq!(warnings(""), "");
    let text = "\
accounts: { main: { key: k }, idle: { key: i } }
prices: { image: 0 }
tenants: { t: { account: main } }
slo: { policy: [{ when: { status: exhausted }, action: pause }] }
upstream: { url: \"http://provider.example\" }
admin: { token: short }";
    assert_eq!(
        warnings(text),
        "\
f.yaml:1: accounts.main.key: is not 32 characters long, as CaptchaAI's keys are
f.yaml:1: accounts.idle.key: is not 32 characters long, as CaptchaAI's keys are
f.yaml:1: accounts.idle: is the account of no tenant
f.yaml:2: prices.image: is zero: these solves cost nothing, and no money limit stops them
f.yaml:2: prices: has no default: every other type is charged 0.003
f.yaml:3: tenants.t: has no rate, daily limit, concurrency, spend cap or prepaid balance: \
         nothing bounds what it spends
f.yaml:3: tenants.t: has no key and no accept_account_key: \
         nobody can use it until `solvegate key new` makes one
f.yaml:4: slo.policy: is set: solves are refused while one of its rules holds \
         (without it, alerts only)
f.yaml:5: upstream.url: is plain http: account keys cross the network unencrypted
f.yaml:6: admin.token: is short; 32 random characters are hard to guess"
    );
    let text = "accounts: { main: { key: CANARYaccountkeyCANARYaccountkey } }";
    assert_eq!(
        warnings(text),
        "f.yaml:1: accounts: are set without tenants: every caller's own key is passed through"
    );
}

#[test]
fn the_default_name_is_free_for_tenants_and_accounts() {
    let config = ok("accounts: { default: { key: k } }\ntenants: { default: {} }");
    let name: Name = "default".into();
    assert!(!config.policy.pass_through);
    assert_eq!(config.policy.tenants[&name].account, name);
    assert!(config.policy.accounts[&name].key_hash.is_some());
}
