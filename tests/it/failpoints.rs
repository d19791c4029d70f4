//! The places where `tests/crash` makes the process die are in no other build.

use std::fs;

#[test]
fn the_binary_knows_failpoints_only_where_they_were_asked_for() {
    let binary = fs::read(env!("CARGO_BIN_EXE_solvegate")).unwrap();

    let found = memchr::memmem::find(&binary, b"SOLVEGATE_FAILPOINT").is_some();

    assert_eq!(found, cfg!(feature = "failpoints"));
}
