//! Floor 3: what answers. Runs turns of a model with tools over a session and
//! reports what happens through an [`EventSink`]. Knows no gateway, no socket
//! and no channel.

pub mod auth_profiles;
mod card;
pub mod choice;
mod commands;
pub mod embeddings;
mod events;
pub mod failover;
pub mod heartbeat;
mod invoke;
mod lanes;
mod mcp;
pub mod memory;
pub mod models;
mod prompt;
pub mod providers;
pub mod public_web;
mod queue;
mod raw_stream;
mod reporter;
pub mod run;
mod runtime;
pub mod sessions;
pub mod skills;
pub mod tools;
mod turn;
pub mod workspace;

pub use commands::is_command;
pub use invoke::ToolCall;
pub(crate) use turn::time_zone;

pub use run::{EventSink, RunBody, RunEvent, RunOutcome, RunRequest, RunStatus};
pub use runtime::{
    AbortTarget, ActiveRun, Agents, AgentsDeps, DRAINING_TEXT, RunHandle, RunRefused,
};
