//! docs/config.md names every key that the reader knows, and no other.

use std::collections::BTreeSet;

use super::faults;

const REFERENCE: &str = include_str!("../../../docs/config.md");

/// A file with an unknown key in every mapping: each fault then lists the keys known there.
const PROBE: &str = "\
zzzzzzzz: 1
tls: { zzzzzzzz: 1 }
admin: { zzzzzzzz: 1 }
upstream: { zzzzzzzz: 1 }
accounts: { account: { zzzzzzzz: 1, plan: { zzzzzzzz: 1 } } }
tenants: { tenant: { zzzzzzzz: 1, prepaid: { zzzzzzzz: 1 }, keys: { key: { zzzzzzzz: 1, prepaid: { zzzzzzzz: 1 } } } } }
slo:
  zzzzzzzz: 1
  default: { zzzzzzzz: 1, latency: { zzzzzzzz: 1 } }
  types: { image: { zzzzzzzz: 1, latency: { zzzzzzzz: 1 } } }
  policy: [ { zzzzzzzz: 1, when: { zzzzzzzz: 1 }, action: { zzzzzzzz: 1 } } ]
notify: [ { zzzzzzzz: 1 } ]
state: { zzzzzzzz: 1 }
log: { zzzzzzzz: 1 }
";

/// Paths of the reader, with the operator's own names as the reference writes them.
fn known() -> BTreeSet<String> {
    // These stand in mappings whose keys are not fixed.
    let open = [
        "prices.default",
        "prices.<type>",
        "tenants.<tenant>.prices.default",
        "tenants.<tenant>.prices.<type>",
        "error_classes.<code>",
    ];
    let mut known: BTreeSet<String> = open.map(str::to_owned).into();
    for fault in faults(PROBE).lines() {
        let Some((path, keys)) = fault.split_once("zzzzzzzz: is not a known key; known here: ")
        else {
            continue;
        };
        let (_, section) = path.split_once(": ").unwrap();
        let section = section
            .replace("accounts.account.", "accounts.<account>.")
            .replace("tenants.tenant.", "tenants.<tenant>.")
            .replace("keys.key.", "keys.<key>.")
            .replace("types.image.", "types.<type>.")
            .replace("[0]", "[]");
        known.extend(keys.split(", ").map(|key| format!("{section}{key}")));
    }
    known
}

/// The first column of the tables.
fn documented() -> BTreeSet<String> {
    REFERENCE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(key, _)| key.to_owned())
        .collect()
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let (known, documented) = (known(), documented());
    assert!(known.len() > 100, "the probe reached only {known:?}");
    let missing: Vec<_> = known.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty() && stale.is_empty(), "missing {missing:#?}\nstale {stale:#?}");
}
