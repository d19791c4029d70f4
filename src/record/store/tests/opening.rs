//! Which files are opened, which are refused, and that a refused one stays as it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// Puts a file where the database is to be.
type Make = Box<dyn Fn(&Path)>;

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let home = home();
    let (first, _) = open(&home);
    wait(first.durable(bind(1)));

    let refused = Store::open(&options(&path(&home)), TODAY, "UTC").unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("is in use by another solvegate; give each its own state.path")
    );
    assert_eq!(wait(first.durable(bind(2))), Committed::Done);

    drop(first);
    assert_eq!(open(&home).1.tasks.len(), 2);
}

#[test]
fn a_closed_one_is_left_to_others_though_somebody_holds_it_still() {
    let home = home();
    let (first, _) = open(&home);
    wait(first.durable(bind(1)));
    first.close(Duration::from_secs(10)).unwrap();

    assert_eq!(open(&home).1.tasks.len(), 1);
    drop(first);
}

#[test]
fn a_child_that_is_just_being_started_does_not_keep_the_lock() {
    let home = home();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::process::Command::new("true").status().ok();
            }
        });
        let refused =
            (0..40).find_map(|_| Store::open(&options(&path(&home)), TODAY, "UTC").map(drop).err());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(refused.is_none(), "{refused:?}");
    });
}

#[test]
fn another_name_of_the_same_file_is_the_same_file() {
    let home = home();
    let (first, _) = open(&home);
    let link = home.path().join("link.db");
    symlink(path(&home), &link).unwrap();

    let refused = Store::open(&options(&link), TODAY, "UTC").unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(first);
}

#[test]
fn readers_see_a_running_store() {
    let home = home();
    let (store, _) = open(&home);
    let reader = reader(&home);
    wait(store.durable(settle(1, Some(PRICE))));

    assert_eq!(reader.ledger_sum("acme").unwrap(), -PRICE);
}

#[test]
fn the_files_are_for_their_owner_only() {
    let home = home();
    let (store, _) = open(&home);
    wait(store.durable(bind(1)));

    let mut names = Vec::new();
    for file in fs::read_dir(home.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    let expected = ["solvegate.db", "solvegate.db-shm", "solvegate.db-wal", "solvegate.db.lock"];
    assert_eq!(names, expected);
    drop(store);
}

#[test]
fn what_is_no_record_of_ours_is_refused_and_left_alone() {
    let foreign = |sql: &'static str| {
        move |path: &Path| {
            rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
        }
    };
    let garbage = |bytes: &'static [u8]| move |path: &Path| fs::write(path, bytes).unwrap();
    let cases: [(Make, &str); 8] = [
        (Box::new(garbage(b"tenants:\n  acme: {}\n")), "is no SQLite database"),
        (Box::new(garbage(b"x")), "is no SQLite database"),
        (Box::new(garbage(b"SQLite format 3\0and then something else")), "is no SQLite database"),
        (Box::new(foreign("CREATE TABLE mails (id)")), "is a database of another program"),
        (Box::new(foreign("PRAGMA user_version = 1")), "is a database of another program"),
        (
            Box::new(foreign("PRAGMA application_id = 0x536F6C76")),
            "is a database of another program",
        ),
        (
            Box::new(foreign("PRAGMA application_id = 0x536F6C76; PRAGMA user_version = 3")),
            "was written by a newer solvegate (its schema is 3, this one knows 2)",
        ),
        (
            Box::new(foreign("PRAGMA application_id = 0x536F6C76; PRAGMA user_version = -1")),
            "is a database of another program",
        ),
    ];
    for (make, text) in cases {
        let home = home();
        make(&path(&home));
        let before = fs::read(path(&home)).unwrap();

        let refused = Store::open(&options(&path(&home)), TODAY, "UTC").unwrap_err();

        assert!(refused.to_string().contains(text), "{refused}");
        assert_eq!(fs::read(path(&home)).unwrap(), before, "{text}");
    }
}

#[test]
fn damage_in_what_a_start_reads_is_reported_and_left_alone() {
    for table in ["tasks", "usage", "meta", "sqlite_schema"] {
        let home = home();
        let (store, _) = open(&home);
        store.send(bind(1));
        wait(store.durable(settle(1, Some(PRICE))));
        drop(store);
        let mut bytes = fs::read(path(&home)).unwrap();
        let page = root_page(&home, table);
        // The first page begins with the header of the file, which stays.
        let begin = if page == 1 { 100 } else { (page - 1) * 4_096 };
        bytes[begin..begin + 64].fill(0xFF);
        fs::write(path(&home), &bytes).unwrap();

        let refused = Store::open(&options(&path(&home)), TODAY, "UTC").unwrap_err();

        assert!(refused.to_string().contains("is damaged"), "{table}: {refused}");
        assert_eq!(fs::read(path(&home)).unwrap(), bytes, "{table}");
    }
}

#[test]
fn damage_in_any_page_is_reported_and_left_alone() {
    let home = home();
    let (store, _) = open(&home);
    for solve in 1..300 {
        store.send(bind(solve));
        store.send(verdict(solve, Outcome::Solved));
        store.send(settle(solve, Some(PRICE)));
    }
    wait(store.durable(bind(300)));
    drop(store);
    let whole = fs::read(path(&home)).unwrap();
    let pages = whole.len() / 4_096;
    assert!(pages > 40, "{pages}");
    for page in 1..pages {
        let mut bytes = whole.clone();
        bytes[page * 4_096..page * 4_096 + 64].fill(0xFF);
        fs::write(path(&home), &bytes).unwrap();

        let refused = Store::open(&options(&path(&home)), TODAY, "UTC").unwrap_err();

        assert!(refused.to_string().contains("is damaged"), "page {page}: {refused}");
        assert_eq!(fs::read(path(&home)).unwrap(), bytes, "page {page}");
    }
}

#[test]
fn damage_in_a_large_file_is_found_while_it_is_in_use_and_stops_admission() {
    let home = home();
    let (store, _) = open(&home);
    for solve in 1..1_800 {
        store.send(faults::large(solve));
    }
    wait(store.durable(bind(1_800)));
    drop(store);
    let mut bytes = fs::read(path(&home)).unwrap();
    assert!(bytes.len() as u64 > open::CHECKED_AT_START, "{}", bytes.len());
    let page = root_page(&home, "solves_by_time");
    bytes[(page - 1) * 4_096..][..64].fill(0xFF);
    fs::write(path(&home), &bytes).unwrap();

    let (store, _) = open(&home);

    wait_until("it is found", || store.health().failing.is_some());
    assert!(store.health().failing.unwrap().starts_with("the file is damaged: "));
    assert_eq!(store.health().failures, 1);
    assert!(!store.is_accepting());
    // What touches no damaged page is still written down.
    assert_eq!(wait(store.durable(Write::Ready(SolveId(1)))), Committed::Done);
}

#[test]
fn a_file_that_was_cut_short_is_reported() {
    let home = home();
    let (store, _) = open(&home);
    for solve in 0..500 {
        store.send(settle(solve, Some(PRICE)));
    }
    drop(store);
    let bytes = fs::read(path(&home)).unwrap();
    fs::write(path(&home), &bytes[..bytes.len() / 2]).unwrap();

    let refused = Store::open(&options(&path(&home)), TODAY, "UTC").unwrap_err();
    assert!(refused.to_string().contains("is damaged"), "{refused}");
}

#[test]
fn a_row_that_this_version_cannot_read_is_reported() {
    let home = home();
    let (store, _) = open(&home);
    wait(store.durable(bind(1)));
    drop(store);
    peek(&home).execute("UPDATE tasks SET captcha_type = 'riddle'", []).unwrap();

    let refused = Store::open(&options(&path(&home)), TODAY, "UTC").unwrap_err();
    let OpenError::Corrupt { source, .. } = refused else { panic!("{refused}") };
    assert!(source.to_string().contains("column `captcha_type` holds `riddle`"), "{source}");
}

#[test]
fn a_directory_that_is_missing_and_a_zone_that_is_unknown_are_named() {
    let home = home();
    let nowhere = home.path().join("missing/solvegate.db");

    let refused = Store::open(&options(&nowhere), TODAY, "UTC").unwrap_err();
    assert!(refused.to_string().contains("missing/solvegate.db"), "{refused}");
    let refused = Store::open(&options(&path(&home)), TODAY, "Mars/Olympus").unwrap_err();
    assert_eq!(refused.to_string(), "unknown time zone `Mars/Olympus`");
    assert!(!path(&home).exists());
}

#[test]
fn a_directory_in_the_place_of_the_record_is_named() {
    let home = home();
    fs::create_dir(path(&home)).unwrap();

    let refused = Store::open(&options(&path(&home)), TODAY, "UTC").unwrap_err();

    let OpenError::Io { source, .. } = refused else { panic!("{refused}") };
    assert_eq!(source.kind(), std::io::ErrorKind::IsADirectory);
}

#[test]
fn a_bare_name_is_a_file_in_the_working_directory() {
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    let found = open::resolve(Path::new("nothing-of-that-name.db")).unwrap();
    assert_eq!(found, here.join("nothing-of-that-name.db"));
}

#[test]
fn a_sum_that_no_tenant_can_have_spent_is_reported() {
    for (micros, is_read) in
        [(1_000_000_000_000_000_000_i64, true), (1_000_000_000_000_000_001, false)]
    {
        let home = home();
        let (store, _) = open(&home);
        wait(store.durable(settle(1, Some(PRICE))));
        drop(store);
        peek(&home).execute("UPDATE usage SET micros = ?1", [micros]).unwrap();

        let opened = Store::open(&options(&path(&home)), TODAY, "UTC");

        let spent = opened.map(|(_, restored)| restored.charged[0].total_spent.micros());
        if is_read {
            assert_eq!(spent.unwrap(), micros);
        } else {
            assert!(spent.unwrap_err().to_string().contains("is damaged"));
        }
    }
}

#[test]
fn a_change_of_time_zone_counts_the_days_anew() {
    let home = home();
    let (store, _) = open(&home);
    // 15:30 UTC yesterday is half past midnight today in Tokyo.
    let evening = Wall(NOON.0 - 20 * 3_600_000 - 1_800_000);
    let Write::Settle(mut late) = settle(1, Some(PRICE)) else { unreachable!() };
    (late.at, late.day) = (evening, date(2026, 11, 20));
    store.send(Write::Settle(late));
    wait(store.durable(settle(2, Some(PRICE))));
    drop(store);

    let in_zone = |zone| {
        let (store, restored) = Store::open(&options(&path(&home)), TODAY, zone).unwrap();
        drop(store);
        audit(&home);
        restored.charged
    };

    let one_of_two =
        ChargedTotal { day_solves: 1, day_spent: PRICE, ..charged_total(2, PRICE + PRICE) };
    for (zone, expected) in [
        ("UTC", &one_of_two),
        ("Asia/Tokyo", &charged_total(2, PRICE + PRICE)),
        ("UTC", &one_of_two),
    ] {
        assert_eq!(in_zone(zone), std::slice::from_ref(expected), "{zone}");
    }
}

#[test]
fn power_durability_syncs_every_commit() {
    for (durability, synchronous) in [(Durability::Process, 1), (Durability::Power, 2)] {
        let home = home();
        let options = StoreOptions { durability, ..options(&path(&home)) };
        let (store, _) = Store::open(&options, TODAY, "UTC").unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        store.on_writer(move |conn| {
            let level: i32 =
                conn.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
            tell.send(level).unwrap();
        });

        assert_eq!(told.recv().unwrap(), synchronous);
    }
}

fn root_page(home: &TempDir, table: &str) -> usize {
    if table == "sqlite_schema" {
        return 1;
    }
    let page: i64 = peek(home)
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))
        .unwrap();
    usize::try_from(page).unwrap()
}
