//! The provider, simulated: its API on a port, with set solve times, errors and faults.
