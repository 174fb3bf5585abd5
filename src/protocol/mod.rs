//! Floor 1: the WebSocket control protocol as types. Knows no configuration
//! key, no HTTP type and does no I/O.

pub mod connect;
pub mod error;
pub mod events;
pub mod frame;
pub mod methods;
pub mod scope;
pub mod shape;
pub mod version;
