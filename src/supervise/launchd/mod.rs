//! launchd: the LaunchAgent as a value, and the manager behind `launchctl`.

#[cfg(target_os = "macos")]
pub mod activate;
pub mod plist;
pub mod service;
pub mod settings;
#[cfg(test)]
mod tests;
