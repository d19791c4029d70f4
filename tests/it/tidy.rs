//! The house rules that a reader cannot see at a glance: floors, file lengths, honest tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Each module's floor, as `src/lib.rs` has it.
const FLOORS: [(&str, u8); 15] = [
    ("domain", 0),
    ("wire", 1),
    ("clock", 1),
    ("failpoint", 1),
    ("supervisor", 2),
    ("config", 2),
    ("record", 2),
    ("gate", 3),
    ("keyring", 3),
    ("proxy", 4),
    ("background", 4),
    ("admin", 4),
    ("operator", 5),
    ("app", 6),
    ("cli", 6),
];

/// What may look across its floor, and why.
const EXCEPTIONS: [(&str, &str); 2] = [
    ("background", "proxy"), // the watcher asks through the proxy, whose connections it shares
    ("cli", "app"),          // a command starts the app
];

#[test]
fn a_module_imports_from_lower_floors_only() {
    let mut wrong = Vec::new();
    for path in sources("src") {
        let module = module_of(&path);
        let Some(floor) = floor_of(&module) else { continue };
        for (number, line) in product_lines(&path) {
            for other in line.split("crate::").skip(1).map(first_word) {
                let allowed = other == module
                    || floor_of(other).is_some_and(|lower| lower < floor)
                    || EXCEPTIONS.contains(&(module.as_str(), other))
                    || (module == "cli" && other == "simulate");
                if !allowed && !line.trim_start().starts_with("//") {
                    wrong.push(format!("{}:{number}: {line}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_domain_does_no_io_and_reads_no_clock() {
    for path in sources("src/domain") {
        for (number, line) in product_lines(&path) {
            let words = [
                "std::fs",
                "std::net::Tcp",
                "tokio",
                "tracing",
                "Instant",
                "SystemTime",
                "parking_lot",
                "hyper",
            ];
            let code = line.split("//").next().unwrap_or_default();
            let found = words.iter().find(|word| code.contains(**word));
            assert_eq!(found, None, "{}:{number}: {line}", path.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_600_lines() {
    for path in ["src", "tests/it", "tests/crash", "benches"].into_iter().flat_map(sources) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_test_is_switched_off_and_none_waits_blindly() {
    let ignored = format!("#[{}", "ignore");
    for path in sources("src").into_iter().chain(sources("tests/it")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&ignored), "{} switches a test off", path.display());
    }
    let sleep = format!("sleep{}", "(");
    for path in sources("tests/it") {
        let is_support = path.components().any(|part| part.as_os_str() == "support");
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            is_support || !text.contains(&sleep),
            "{} sleeps: await a condition",
            path.display()
        );
    }
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "nothing under {folder}");
    found
}

fn module_of(path: &Path) -> String {
    let part = path.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    part.trim_end_matches(".rs").to_owned()
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// A file's lines before its tests, with their numbers.
fn product_lines(path: &Path) -> Vec<(usize, String)> {
    if path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs") {
        return Vec::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let before_tests = text.lines().take_while(|line| *line != "#[cfg(test)]");
    (1..).zip(before_tests.map(str::to_owned)).collect()
}
