//! The configuration file: edited, broken, fought over, and never in the way;
//! the secrets it refers to.

mod broken;
mod canary;
mod commands;
mod edits;
mod live;
#[cfg(target_os = "linux")]
mod memory;
mod secret_commands;
mod secrets;
mod standing;
mod verdicts;
mod writes;
