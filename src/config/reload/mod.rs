//! From an edited file to what has to happen in the running gateway. Pure.

pub mod diff;
