//! What a config file means, what is wrong with it, and that no secret gets out.

mod faults;
mod hostile;
mod meaning;
mod reference;
mod section_faults;

use std::path::{Path, PathBuf};

use super::{Config, Faults, parse};

const EXAMPLE: &str = include_str!("../../../tests/golden/config_example.yaml");

/// Secrets that no output may hold, not even in part.
const ADMIN_TOKEN: &str = "CANARYadmintokenCANARYadmintoken";
const ACCOUNT_KEY: &str = "CANARYaccountkeyCANARYaccountkey";
const TENANT_KEY: &str = "CANARYtenantkeyCANARYtenantkey00";

fn env(name: &str) -> Option<String> {
    let value = match name {
        "SOLVEGATE_ADMIN_TOKEN" => ADMIN_TOKEN,
        "CAPTCHAAI_KEY" => ACCOUNT_KEY,
        "ACME_PROD_KEY" => TENANT_KEY,
        "RATE" => "0",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn read(text: &str) -> Result<Config, Faults> {
    parse("f.yaml", text, Path::new(""), &env)
}

/// The faults, one line each.
fn faults(text: &str) -> String {
    read(text).map_or_else(|faults| faults.to_string(), |_| String::new())
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares with the golden file; with `UPDATE_GOLDEN` set, writes it.
fn assert_golden(name: &str, actual: &str) {
    let path = golden(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name} differs; UPDATE_GOLDEN=1 accepts it");
}
