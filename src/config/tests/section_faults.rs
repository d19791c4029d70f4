//! Faults of each section: exact text and line.

use super::faults::check;

#[test]
fn ports_of_urls() {
    check(&[
        (
            "notify:\n  - url: https://99999:CANARY@9:99999/CANARY",
            "f.yaml:2: notify[0].url: must name a port between 1 and 65535, or none",
        ),
        (
            "upstream: { url: \"http://[::1]:65536\" }",
            "f.yaml:1: upstream.url: must name a port between 1 and 65535, or none",
        ),
        (
            "upstream: { url: \"http://127.0.0.1:+80\" }",
            "f.yaml:1: upstream.url: must name a port between 1 and 65535, or none",
        ),
        (
            "upstream: { url: \"https://x:0\" }",
            "f.yaml:1: upstream.url: must name a port between 1 and 65535, or none",
        ),
    ]);
}

#[test]
fn listeners_and_urls() {
    check(&[
        (
            "admin: { listen: 0.0.0.0:9465 }",
            "f.yaml:1: admin.token: must be set unless admin.listen is a loopback address; \
             add token: \"${SOLVEGATE_ADMIN_TOKEN}\"",
        ),
        ("admin: { token: \"${EMPTY}\" }", "f.yaml:1: admin.token: must not be empty"),
        (
            "admin: { token: \"a b\" }",
            "f.yaml:1: admin.token: must be printable ASCII characters without spaces",
        ),
        (
            "accounts: { a: { key: CANARYaccountkeyCANARYaccountkey } }\n\
             admin: { token: CANARYaccountkeyCANARYaccountkey }",
            "f.yaml:2: admin.token: is the same secret as accounts.a.key (line 1); give each its own",
        ),
        ("admin: { token: '***' }", "f.yaml:1: admin.token: is masked; write the secret itself"),
        (
            "listen: 127.0.0.1:7\nadmin:\n  listen: 127.0.0.1:7",
            "f.yaml:2: admin.listen: is the address of listen too; give each its own port",
        ),
        (
            "tls: {}",
            "f.yaml:1: tls.cert: must be set; name the PEM file of the chain\n\
             f.yaml:1: tls.key: must be set; name the PEM file of the key",
        ),
        (
            "upstream: { url: ftp://x }",
            "f.yaml:1: upstream.url: must be an http or https URL such as https://ocr.captchaai.com",
        ),
        (
            "upstream: { url: \"https://u:CANARY@x\" }",
            "f.yaml:1: upstream.url: must not hold a user name or password; keys belong to `accounts`",
        ),
        (
            "upstream: { url: \"https://x/?a\" }",
            "f.yaml:1: upstream.url: must end with its path, without `?` or `#`",
        ),
        (
            "upstream: { url: https://x/in.php }",
            "f.yaml:1: upstream.url: must not name a script; leave /in.php out",
        ),
        ("notify: [{}]", "f.yaml:1: notify[0].url: must be set; name the URL to post to"),
        (
            "notify: [{ url: CANARY }]",
            "f.yaml:1: notify[0].url: must be an http or https URL such as https://hooks.example/x",
        ),
        (
            "notify: [{ url: \"https://x\", events: [] }]",
            "f.yaml:1: notify[0].events: must list an event; leave it out for all of them",
        ),
        (
            "error_classes: { ERROR_X: solved }",
            "f.yaml:1: error_classes.ERROR_X: must be one of unsolvable, provider_error, timeout, client_error, account_error, capacity, is solved",
        ),
        (
            "error_classes: { \"\": timeout }",
            "f.yaml:1: error_classes.: must be a code that the provider sends, such as ERROR_BAD_PROXY",
        ),
    ]);
}

/// The text with the one account that tenants need, on line 1.
fn with_account(rest: &str) -> String {
    format!("accounts: {{ main: {{ key: CANARYaccountkeyCANARYaccountkey }} }}\n{rest}")
}

fn check_tenant(table: &[(&str, &str)]) {
    for (tenant, expected) in table {
        let text = with_account(&format!("tenants:\n  acme: {tenant}"));
        check(&[(&text, expected)]);
    }
}

#[test]
fn accounts() {
    check(&[
        (
            "accounts: { main: {} }",
            "f.yaml:1: accounts.main.key: must be set; write the account's key, such as \"${CAPTCHAAI_KEY}\"",
        ),
        (
            "accounts: { main: CANARY }",
            "f.yaml:1: accounts.main: must be a mapping of `key: value`",
        ),
        (
            "accounts: { main: { key: [CANARY] } }",
            "f.yaml:1: accounts.main.key: must be a single value, is a list",
        ),
        (
            "accounts: { main: { key: k, threads: 0 } }",
            "f.yaml:1: accounts.main.threads: must be at least 1, is 0; or write auto",
        ),
        (
            "accounts: { main: { key: k, plan: { threads: 5 } } }",
            "f.yaml:1: accounts.main.plan.monthly_cost: must be set; name the dollars a month",
        ),
        (
            "accounts:\n  a: { key: CANARY }\n  b: { key: CANARY }",
            "f.yaml:3: accounts.b.key: is the same secret as accounts.a.key (line 2); give each its own",
        ),
        (
            "accounts: { -a: { key: k } }",
            "f.yaml:1: accounts.-a: must be named with 1 to 64 letters, digits, `_`, `.` or `-`, the first a letter or digit",
        ),
        (
            "tenants: { acme: {} }",
            "f.yaml:1: tenants.acme: needs an account; add accounts: { main: { key: \"${CAPTCHAAI_KEY}\" } }",
        ),
        (
            "accounts: { a: { key: a }, b: { key: b } }\ntenants: { acme: {} }",
            "f.yaml:2: tenants.acme: must name its account, one of a, b",
        ),
        (
            "accounts: { a: { key: a } }\ntenants: { acme: { account: CANARY } }",
            "f.yaml:2: tenants.acme.account: must be the name of an account; configured: a",
        ),
    ]);
}

#[test]
fn tenants_and_their_limits() {
    check_tenant(&[
        (
            "{ rate_per_minute: 0 }",
            "f.yaml:3: tenants.acme.rate_per_minute: must be at least 1, is 0",
        ),
        (
            "{ rate_per_minute: \"${RATE}\" }",
            "f.yaml:3: tenants.acme.rate_per_minute: must be at least 1, from ${RATE}",
        ),
        (
            "{ rate_per_minute: 1000001 }",
            "f.yaml:3: tenants.acme.rate_per_minute: must be at most 1000000, is 1000001",
        ),
        ("{ burst: 5 }", "f.yaml:3: tenants.acme.burst: needs rate_per_minute beside it"),
        (
            "{ in_flight_max: 100001 }",
            "f.yaml:3: tenants.acme.in_flight_max: must be at most 100000, is 100001",
        ),
        (
            "{ daily_limit: 1.5 }",
            "f.yaml:3: tenants.acme.daily_limit: must be a whole number such as 10, is 1.5",
        ),
        (
            "{ allow_types: [] }",
            "f.yaml:3: tenants.acme.allow_types: must list a captcha type; leave it out to allow all",
        ),
        (
            "{ allow_types: [turnstle] }",
            "f.yaml:3: tenants.acme.allow_types[0]: must be a captcha type, is turnstle; did you mean turnstile?",
        ),
        ("{ prepaid: 5 }", "f.yaml:3: tenants.acme.prepaid: must be a mapping of `key: value`"),
        (
            "{ priority: high }",
            "f.yaml:3: tenants.acme.priority: must be one of critical, normal, background, is high",
        ),
    ]);
}

#[test]
fn tenant_keys() {
    check_tenant(&[
        (
            "{ keys: { a: {} } }",
            "f.yaml:3: tenants.acme.keys.a: must have key (32 letters or digits) or sha256 (its hash)",
        ),
        (
            "{ keys: { a: CANARYtenantkeyCANARYtenantkey00 } }",
            "f.yaml:3: tenants.acme.keys.a: must be a mapping of `key: value`",
        ),
        (
            "{ keys: { a: { key: CANARYtenantkeyCANARYtenantkey0 } } }",
            "f.yaml:3: tenants.acme.keys.a.key: must be 32 letters or digits (has 31)",
        ),
        (
            "{ keys: { a: { key: CANARYtenantkeyCANARYtenantkey-0 } } }",
            "f.yaml:3: tenants.acme.keys.a.key: must be 32 letters or digits (has other characters)",
        ),
        (
            "{ keys: { a: { sha256: CANARY } } }",
            "f.yaml:3: tenants.acme.keys.a.sha256: must be the 64 hexadecimal digits of the key's SHA-256",
        ),
        (
            "{ keys: { a: { key: CANARYaccountkeyCANARYaccountkey } } }",
            "f.yaml:3: tenants.acme.keys.a.key: is the same secret as accounts.main.key (line 1); give each its own",
        ),
        (
            "{ keys: { a: { key: \"${ACME_PROD_KEY}\", allow_from: [] } } }",
            "f.yaml:3: tenants.acme.keys.a.allow_from: must list a network; leave it out to allow any",
        ),
        (
            "{ keys: { a: { key: \"${ACME_PROD_KEY}\", expires: soon } } }",
            "f.yaml:3: tenants.acme.keys.a.expires: must be a date such as 2027-01-01 or an instant such as 2027-01-01T08:00:00Z, is soon",
        ),
        (
            "\n    keys:\n      a: { key: \"${ACME_PROD_KEY}\" }\n      b: { key: \"${ACME_PROD_KEY}\" }",
            "f.yaml:6: tenants.acme.keys.b.key: is the same secret as tenants.acme.keys.a.key (line 5); give each its own",
        ),
    ]);
}

#[test]
fn objectives_and_policies() {
    check(&[
        (
            "slo: { default: { warning_below: 0.1 } }",
            "f.yaml:1: slo.default.warning_below: must leave critical_below (0.1) under warning_below (0.1)",
        ),
        (
            "slo: { types: { image: { critical_below: 0.7 } } }",
            "f.yaml:1: slo.types.image.critical_below: must leave critical_below (0.7) under warning_below (0.5)",
        ),
        (
            "slo: { types: { image: { latency: { threshold: 1s } } } }",
            "f.yaml:1: slo.types.image.latency.objective: must be set; name the share to reach",
        ),
        (
            "slo: { policy: [{}] }",
            "f.yaml:1: slo.policy[0]: must have when; add when: { status: exhausted }\nf.yaml:1: slo.policy[0]: must have action; add action: pause",
        ),
        (
            "slo: { policy: [{ when: { status: healthy }, action: pause }] }",
            "f.yaml:1: slo.policy[0].when.status: must be one of warning, critical, exhausted, is healthy",
        ),
        (
            "slo: { policy: [{ when: { over: 1h }, action: pause }] }",
            "f.yaml:1: slo.policy[0].when: must have either status, or burn_rate_above and over",
        ),
        (
            "slo: { policy: [{ when: { burn_rate_above: 0, over: 4h }, action: { throttle: 2 } }] }",
            "f.yaml:1: slo.policy[0].when.burn_rate_above: must be a factor above 0, such as 2, is 0\n\
             f.yaml:1: slo.policy[0].when.over: must be one of 5m, 30m, 1h, 2h, 6h, 1d, 3d, is 4h\n\
             f.yaml:1: slo.policy[0].action.throttle: must be the share to admit, from 0 to 1, is 2",
        ),
        (
            "slo: { policy: [{ when: { status: exhausted }, action: stop }] }",
            "f.yaml:1: slo.policy[0].action: must be one of pause, pause_non_critical, is stop",
        ),
    ]);
}
