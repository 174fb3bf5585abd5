//! Floor 1: the WebSocket control protocol as types. Knows no configuration
//! key, no HTTP type and does no I/O.

pub mod error;
