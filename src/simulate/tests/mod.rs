//! The simulated provider, seen from outside.
