//! A start with a log of many rows: written by SQL, with the product's own tables and indexes, since the
//! product's way in takes hours.

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use solvegate::record::store::{Durability, Reader, Store, verify};

use crate::{TODAY, TODAY_MS, open, options};

const CHUNK: u64 = 1_000_000;
const DAYS: u64 = 90;
const STARTS: usize = 5;

/// Takes about 300 bytes of disk a row, until it is through.
pub(crate) fn start_with(rows: u64, tenants: u64) {
    let home = tempfile::tempdir_in(".").unwrap();
    let path = home.path().join("bench.db");
    drop(open(&path, Durability::Process));
    let begin = Instant::now();
    fill(&path, rows, tenants);
    let mib = fs::metadata(&path).unwrap().len() >> 20;
    println!("{rows} rows, {tenants} tenants: {mib} MiB, written in {:?}", begin.elapsed());

    let start = |zone| {
        let begin = Instant::now();
        let (store, _) = Store::open(&options(&path, Durability::Process), TODAY, zone).unwrap();
        let took = begin.elapsed();
        drop(store);
        took
    };
    let mut starts: Vec<_> = (0..STARTS).map(|_| start("UTC")).collect();
    starts.sort_unstable();
    println!("  store open: median {:?}, of {starts:?}", starts[STARTS / 2]);
    let config = "listen: 127.0.0.1:0\nadmin: { listen: '127.0.0.1:0' }\n\
        upstream: { url: 'http://127.0.0.1:1' }\nstate: { path: bench.db }\n";
    fs::write(home.path().join("solvegate.yaml"), config).unwrap();
    let mut starts: Vec<_> = (0..STARTS).map(|_| process(home.path())).collect();
    starts.sort_unstable();
    println!("  process to 200 of /readyz: median {:?}, of {starts:?}", starts[STARTS / 2]);
    println!("  the first start in another time zone: {:?}", start("Asia/Tokyo"));
    let begin = Instant::now();
    println!("  audit: {:?} in {:?}", verify(&Reader::open(&path).unwrap()), begin.elapsed());
}

fn fill(path: &Path, rows: u64, tenants: u64) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA cache_size = -500000;",
    )
    .unwrap();
    let step = DAYS * 86_400_000 / rows;
    let at = format!("({TODAY_MS} - ({rows} - i) * {step})");
    let tenant = format!("'tenant-' || (i * 7919 % {tenants})");
    let captcha_type = "CASE i % 5 WHEN 0 THEN 'turnstile' WHEN 1 THEN 'recaptcha_v2'
        WHEN 2 THEN 'recaptcha_v3' WHEN 3 THEN 'image' ELSE 'geetest' END";
    for first in (1..=rows).step_by(usize::try_from(CHUNK).unwrap()) {
        let last = rows.min(first + CHUNK - 1);
        let numbers = format!(
            "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
        );
        conn.execute_batch(&format!(
            "BEGIN;
             INSERT INTO solves (solve, account, task_id, tenant, key_id, captcha_type, outcome,
                 duration_ms, price, submitted_at, ended_at, charged, delivered, settled_at, thread_ms)
             {numbers} SELECT i, 'main', 5000000000 + i, {tenant}, 'prod', {captcha_type}, 'solved',
                 12000, 2301, {at}, {at} + 12000, 2301, 1, {at} + 13000, 12000 FROM n;
             INSERT INTO ledger (cause, kind, tenant, key_id, amount, at, day, captcha_type, account,
                 task_id, solve)
             {numbers} SELECT 'charge:main:' || (5000000000 + i), 'charge', {tenant}, 'prod', -2301,
                 {at} + 13000, date(({at} + 13000) / 1000, 'unixepoch'), {captcha_type}, 'main',
                 5000000000 + i, i FROM n;
             COMMIT;"
        ))
        .unwrap();
    }
    conn.execute_batch(&format!(
        "INSERT INTO usage (tenant, key_id, day, captcha_type, solves, micros)
             SELECT tenant, key_id, day, captcha_type, count(*), -sum(amount) FROM ledger
             WHERE kind = 'charge' GROUP BY 1, 2, 3, 4;
         INSERT OR REPLACE INTO meta VALUES ('next_solve', '{}');",
        rows + 1
    ))
    .unwrap();
}

/// From the start of the process to its first 200.
fn process(home: &Path) -> Duration {
    let begin = Instant::now();
    let mut sidecar = Command::new(env!("CARGO_BIN_EXE_solvegate"))
        .args(["run", "--config", "solvegate.yaml"])
        .current_dir(home)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(sidecar.stdout.take().unwrap()).lines();
    let admin = lines.nth(1).unwrap().unwrap();
    let admin = admin.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(&admin).unwrap();
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let took = begin.elapsed();
    sidecar.kill().unwrap();
    sidecar.wait().unwrap();
    took
}
