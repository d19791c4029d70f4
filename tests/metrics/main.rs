//! What Prometheus is told, rendered through the real registry: engine and metrics on a clock that the
//! test moves.

#![expect(clippy::unwrap_used, reason = "a failed assertion is the result")]
#![expect(clippy::float_cmp, reason = "counts, and figures of the config as they were written")]

mod golden;
mod labels;
mod sidecar;
mod values;
