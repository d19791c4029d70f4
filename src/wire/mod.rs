//! The provider's protocol: bytes to types and back, no IO.
