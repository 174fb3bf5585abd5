//! How far the updates of a bot were read, in the reference's file. Blocking.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::store::atomic::{self, Sync};

/// The place of one account's offset.
#[derive(Debug, Clone)]
pub(super) struct Offset {
    path: PathBuf,
    bot: String,
}

impl Offset {
    pub(super) fn new(state: &Path, account: &str, bot: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let account: String = account.chars().map(plain).collect();
        let path = state.join("telegram").join(format!("update-offset-{account}.json"));
        Self { path, bot: bot.to_owned() }
    }

    /// The last update that was accepted. Another bot's offset says nothing.
    pub(super) fn read(&self) -> Option<i64> {
        let document: Value = serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
        let same = document["botId"].as_str().is_none_or(|bot| bot == self.bot);
        document["lastUpdateId"].as_i64().filter(|_| same)
    }

    pub(super) fn write(&self, last: i64) -> io::Result<()> {
        let document = json!({"version": 2, "lastUpdateId": last, "botId": self.bot});
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        atomic::write(&self.path, &text, Sync::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_that_of_its_bot() {
        let dir = tempfile::tempdir().unwrap();
        let offset = Offset::new(dir.path(), "default", "123456");
        assert_eq!(offset.read(), None);
        offset.write(7).unwrap();
        assert_eq!(offset.read(), Some(7));
        assert_eq!(Offset::new(dir.path(), "default", "99").read(), None);
        let text = std::fs::read_to_string(dir.path().join("telegram/update-offset-default.json"));
        let text: Value = serde_json::from_str(&text.unwrap()).unwrap();
        assert_eq!(text, json!({"version": 2, "lastUpdateId": 7, "botId": "123456"}));
    }
}
