//! The provider's protocol: bytes to types and back, no IO.
//!
//! [`route`] finds the endpoint, [`request`] reads a call and rewrites it for the provider, [`answer`]
//! classifies what comes back, [`refuse`] says what the sidecar answers by itself.

pub mod answer;
pub mod refuse;
pub mod request;
pub mod route;
pub mod secret;

#[cfg(test)]
mod corpus_tests;
