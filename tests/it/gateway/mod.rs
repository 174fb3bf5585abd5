//! The gateway as its WebSocket clients see it.

mod approvals;
mod conversation;
mod flags;
mod handshake;
mod jobs;
#[cfg(target_os = "linux")]
mod killed;
mod newer;
mod nodes;
mod proof;
mod refusals;
mod reload;
mod rpc_chat;
mod rpc_state;
mod tls;
mod tool_servers;
mod tools;
