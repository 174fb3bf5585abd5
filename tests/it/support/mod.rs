//! What the integration tests stand on: the built program with a home of its
//! own on a free port, an operator's WebSocket to it, and a model server.

pub mod fake_provider;
pub mod operator;
pub mod program;
