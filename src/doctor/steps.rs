//! The changes of which repairs consist, as values. Nothing here changes
//! anything; see [`crate::doctor::repair`].

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::base::{VERSION, clock, hex};
use crate::config::edit::{self, EditError};
use crate::config::{Snapshot, legacy, write};

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Puts `after` in place of what was there when it was inspected.
    Write {
        path: PathBuf,
        before: Option<Vec<u8>>,
        after: Vec<u8>,
        mode: u32,
    },
    Remove {
        path: PathBuf,
    },
    Mode {
        path: PathBuf,
        mode: u32,
    },
    Directory {
        path: PathBuf,
    },
    Config(ConfigChange),
    Ask(Verb),
}

/// A change of `openclaw.json`; everything else in it stays as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Takes keys out that no release knows.
    Remove(Vec<Vec<String>>),
    /// Replaces old spellings by current ones.
    Migrate,
    Set(Vec<String>, Value),
    /// Makes up a gateway token.
    GenerateToken,
}

/// Something the service manager is asked for, in the order in which several
/// are asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Linger,
    /// Takes a unit of the same or another name out of service.
    Retire {
        system: bool,
        unit: String,
    },
    Reload {
        system: bool,
    },
    Enable {
        system: bool,
        unit: String,
    },
    ResetFailed {
        system: bool,
        unit: String,
    },
    /// The units on disk take effect; only what runs is restarted.
    Restart {
        system: bool,
        socket: bool,
    },
    Start {
        system: bool,
    },
    Install,
}

impl Verb {
    /// Whether it starts, stops or installs something.
    pub fn is_lifecycle(&self) -> bool {
        matches!(
            self,
            Self::Retire { .. } | Self::Restart { .. } | Self::Start { .. } | Self::Install
        )
    }

    /// What it does, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Linger => "let the user's services run without a login".to_owned(),
            Self::Retire { unit, .. } => format!("stop and disable {unit}"),
            Self::Reload { .. } => "let the manager read its units again".to_owned(),
            Self::Enable { unit, .. } => format!("enable {unit}"),
            Self::ResetFailed { unit, .. } => format!("clear the failed state of {unit}"),
            Self::Restart { socket: true, .. } => {
                "restart the gateway and its socket if they run".to_owned()
            }
            Self::Restart { .. } => "restart the gateway if it runs".to_owned(),
            Self::Start { .. } => "start the gateway".to_owned(),
            Self::Install => "install and start the gateway service".to_owned(),
        }
    }
}

impl ConfigChange {
    /// The text of the file with the change made.
    pub fn edit(&self, text: &str, current: &Snapshot) -> Result<String, EditError> {
        match self {
            Self::Remove(paths) => {
                let mut text = text.to_owned();
                for path in paths {
                    text = edit::unset(&text, path)?.unwrap_or(text);
                }
                Ok(text)
            }
            Self::Migrate => {
                let previous = crate::config::json5::value(text)?;
                let mut next = previous.clone();
                if legacy::migrate(&mut next).is_empty() {
                    return Ok(text.to_owned());
                }
                edit::transform(text, &previous, &next)
            }
            Self::Set(path, value) => edit::set(text, path, value),
            Self::GenerateToken => {
                let key = |name: &str| ["gateway", "auth", name].map(str::to_owned);
                let mut bytes = [0_u8; 24];
                // Without random numbers the gateway makes one up at its start.
                if getrandom::fill(&mut bytes).is_err() {
                    return Ok(text.to_owned());
                }
                let mut text = text.to_owned();
                if current.config.gateway.auth.mode.is_none() {
                    text = edit::set(&text, &key("mode"), &json!("token"))?;
                }
                edit::set(&text, &key("token"), &json!(hex::encode(&bytes)))
            }
        }
    }
}

/// The text of `openclaw.json` after several changes, before it is stamped.
pub fn edited<'c>(
    changes: impl IntoIterator<Item = &'c ConfigChange>,
    current: &Snapshot,
) -> Result<String, EditError> {
    let mut text = write::source_text(current).to_owned();
    for change in changes {
        text = change.edit(&text, current)?;
    }
    Ok(text)
}

/// The text with a note of who repaired it, where setups leave theirs.
pub fn signed(text: &str, current: &Snapshot, now_ms: u64) -> Result<String, EditError> {
    let remote = current.config.gateway.mode.as_deref() == Some("remote");
    let notes = [
        ("lastRunAt", json!(clock::iso8601(now_ms))),
        ("lastRunVersion", json!(VERSION)),
        ("lastRunCommand", json!("doctor")),
        ("lastRunMode", json!(if remote { "remote" } else { "local" })),
    ];
    let mut text = text.to_owned();
    for (name, value) in notes {
        text = edit::set(&text, &["wizard", name].map(str::to_owned), &value)?;
    }
    Ok(text)
}
