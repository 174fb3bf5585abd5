//! systemd: unit files as values, and the manager behind `systemctl`.

pub mod actions;
pub mod files;
pub mod render;
pub mod service;
pub mod settings;
pub mod systemctl;
pub mod unit;
pub mod vendor;
pub mod words;
