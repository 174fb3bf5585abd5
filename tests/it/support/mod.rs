//! What the integration tests stand on: the built program with a home of its
//! own on a free port, a gateway in this process, sockets of operators, and a
//! model server.

pub mod client;
pub mod fake_provider;
pub mod gateway;
pub mod operator;
pub mod program;
