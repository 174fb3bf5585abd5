//! Floor 3: what answers. Runs turns of a model with tools over a session and
//! reports what happens through an [`EventSink`]. Knows no gateway, no socket
//! and no channel.

pub mod auth_profiles;
pub mod failover;
pub mod models;
pub mod providers;
pub mod run;
pub mod skills;

pub use run::{EventSink, RunBody, RunEvent, RunOutcome, RunRequest, RunStatus};
