//! The `solvegate` command.

fn main() {}
