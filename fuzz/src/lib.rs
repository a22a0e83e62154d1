//! What the fuzz targets assert, one module a target; `tests/corpus.rs` replays seeds through it.
//!
//! Each `check` takes the fuzzer's bytes and panics where a promise is broken. The first byte or two
//! choose roles, limits and cuts; the rest is what the peer sends.

pub mod connection;
pub mod extensions;
pub mod frame;
pub mod handshake;
pub mod inflate;
mod memory;
pub mod message;
pub mod server;
pub mod utf8;
