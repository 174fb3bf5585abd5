//! The gateway as its WebSocket clients see it.

mod conversation;
mod handshake;
