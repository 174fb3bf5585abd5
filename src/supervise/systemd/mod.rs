//! systemd: unit files as values, and the manager behind its socket and
//! `systemctl`.

pub mod actions;
pub mod bus;
pub mod files;
pub mod render;
pub mod service;
pub mod settings;
pub mod systemctl;
pub mod unit;
pub mod vendor;
pub mod wire;
pub mod words;
