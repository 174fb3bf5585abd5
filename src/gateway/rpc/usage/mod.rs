//! `usage.*` and `sessions.usage*`: tokens and dollars out of the transcripts.
//!
//! Reads every transcript of the window on each call, off the async workers;
//! nothing is kept in memory between calls.

pub mod ledger;
pub mod report;
pub mod totals;
pub mod window;
