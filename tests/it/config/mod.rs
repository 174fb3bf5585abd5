//! The configuration file: edited, broken, fought over, and never in the way;
//! the secrets it refers to.

mod broken;
mod commands;
mod edits;
mod live;
mod secrets;
mod standing;
mod verdicts;
mod writes;
