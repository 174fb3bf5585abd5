//! systemd: unit files as values, and the manager behind `systemctl`.

pub mod render;
pub mod unit;
pub mod words;
