//! What the integration tests stand on: the built program with a home of its
//! own on a free port, and an operator's WebSocket to it.

pub mod client;
pub mod gateway;
pub mod operator;
pub mod program;
