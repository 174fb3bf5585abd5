//! OpenClaw gateway: one always-on process that owns the control plane, the
//! OpenAI-compatible HTTP APIs, agent runs and chat channels on one port, and
//! whose life belongs to the operating system's service manager.
//!
//! Modules stand on floors, lowest first; a module may use only the floors
//! below it (`tests/architecture.rs` enforces this, `ARCHITECTURE.md` explains).

// Floor 0: pure, no I/O.
pub mod base;

// Floor 1: the wire, this host, background tasks, HTTP to services.
pub mod lifecycle;
pub mod logging;
pub mod outbound;
pub mod profile;
pub mod protocol;

// Floor 2: configuration and durable state.
pub mod config;
pub mod secrets;
pub mod store;

// Floor 3: siblings that do not see each other.
pub mod agents;
pub mod channels;
pub mod client;
pub mod supervise;

// Floor 4: the composition root.
pub mod gateway;

// Floor 5: looks at all of it from outside.
pub mod doctor;

// Floor 6: the terminal.
pub mod cli;
