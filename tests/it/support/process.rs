//! The program itself, as a process of its own.
