//! `kill -9`: this test binary starts itself as a child, which writes and says what was acknowledged.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;

/// Makes a child of this binary, with the path of its database.
const CHILD: &str = "SOLVEGATE_STORE_TEST_CHILD";

#[test]
fn every_write_acknowledged_before_a_kill_is_there_after_it() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&path));
    }
    let home = home();
    let mut acknowledged = Vec::new();
    for acks in [1, 7, 100, 1_000, 3_000] {
        let (mut child, lines) =
            spawn(&home, "every_write_acknowledged_before_a_kill_is_there_after_it");
        let mut lines = lines.lines().map_while(Result::ok).filter_map(|line| {
            line.split_once("ack ").and_then(|(_, solve)| solve.parse::<u64>().ok())
        });
        acknowledged.extend(lines.by_ref().take(acks));
        child.kill().unwrap();
        acknowledged.extend(lines);
        child.wait().unwrap();

        let (store, restored) = open(&home);
        assert_eq!(store.health().conflicts, 0);
        drop(store);
        audit(&home);
        let conn = peek(&home);
        for solve in &acknowledged {
            let sql = "SELECT count(*) FROM ledger JOIN solves USING (solve)
                WHERE solve = ?1 AND outcome = 'solved' AND ledger.amount = -3000";
            let rows: i64 =
                conn.query_row(sql, [i64::try_from(*solve).unwrap()], |row| row.get(0)).unwrap();
            assert_eq!(rows, 1, "solve {solve} was acknowledged");
        }
        let last = acknowledged.iter().max().unwrap();
        assert!(restored.next_solve > *last, "no solve id is used again");
    }
    assert!(acknowledged.len() >= 4_108);
}

#[test]
fn a_killed_owner_leaves_no_lock_behind() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&path));
    }
    let home = home();
    let (mut child, mut lines) = spawn(&home, "a_killed_owner_leaves_no_lock_behind");
    let mut line = String::new();
    while !line.contains("ack ") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child wrote nothing");
    }

    let refused = Store::open(&options(&path(&home)), TODAY, "UTC").unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(open(&home));
}

#[test]
fn a_file_that_may_not_be_written_is_named() {
    if let Some(path) = std::env::var_os(CHILD) {
        let refused = Store::open(&options(Path::new(&path)), TODAY, "UTC").unwrap_err();
        return say(&refused.to_string());
    }
    let home = home();
    drop(open(&home));
    fs::remove_file(beside(&path(&home), ".lock")).unwrap();
    fs::set_permissions(path(&home), fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();

    let (mut child, lines) = spawn(&home, "a_file_that_may_not_be_written_is_named");
    let said: Vec<_> = lines.lines().map_while(Result::ok).collect();
    child.wait().unwrap();

    let expected = "solvegate.db` cannot be written; check its owner and mode";
    assert!(said.iter().any(|line| line.ends_with(expected)), "{said:?}");
}

/// Groups of 50 solves, each with its bind, verdict and settlement; the last is acknowledged.
fn write_until_killed(path: &Path) {
    let (store, restored) = Store::open(&options(path), TODAY, "UTC").unwrap();
    for first in (restored.next_solve..).step_by(50) {
        let waiting: Vec<_> = (first..first + 50)
            .map(|solve| {
                store.send(bind(solve));
                store.send(verdict(solve, Outcome::Solved));
                (solve, store.durable(settle(solve, Some(PRICE))))
            })
            .collect();
        for (solve, committed) in waiting {
            assert_eq!(wait(committed), Committed::Done);
            say(&format!("ack {solve}"));
        }
    }
}

/// A line that the harness does not capture, in one write.
fn say(text: &str) {
    std::io::stdout().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Runs one test of this file as a child; as nobody where this is root, whom no mode stops.
fn spawn(home: &TempDir, test: &str) -> (Child, BufReader<ChildStdout>) {
    const NOBODY: u32 = 65_534;
    let module = module_path!().split_once("::").unwrap().1;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([&format!("{module}::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, path(home))
        .stdout(Stdio::piped());
    let mode = fs::metadata(home.path()).unwrap();
    if mode.uid() == 0 && mode.permissions().mode() & 0o002 != 0 {
        command.uid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}
