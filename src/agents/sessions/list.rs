//! `sessions.list`: all sessions, a part of them, or a page.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::agents::choice;
use crate::agents::runtime::Inner;
use crate::agents::sessions::{
    Entry, SessionError, Sessions, Store, Stores, canonical, history, read_messages, rows,
    transcript_path,
};
use crate::base::id::SessionKey;

/// Rows of a page, unless the client says.
const PAGE: usize = 100;

/// `sessions.list`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListParams {
    pub limit: Option<usize>,
    pub offset: usize,
    /// Whether the answer says which part of the list it is, as since protocol 4.
    #[serde(skip)]
    pub paged: bool,
    pub active_minutes: Option<u64>,
    pub include_global: Option<bool>,
    pub include_unknown: Option<bool>,
    pub include_derived_titles: bool,
    pub include_last_message: bool,
    pub label: Option<String>,
    pub spawned_by: Option<String>,
    pub agent_id: Option<String>,
    pub search: Option<String>,
}

impl Sessions {
    /// `sessions.list`.
    pub async fn list(&self, params: ListParams) -> Result<Value, SessionError> {
        self.blocking(move |this| this.list_now(&params)).await
    }

    /// How many sessions all agents have, and the newest first few rows with
    /// nothing read from transcripts; for health and status.
    pub async fn recent(&self, limit: usize) -> Result<Value, SessionError> {
        let params = ListParams {
            limit: Some(limit),
            include_global: Some(true),
            include_unknown: Some(true),
            ..ListParams::default()
        };
        self.list(params).await
    }

    fn list_now(&self, params: &ListParams) -> Result<Value, SessionError> {
        let snapshot = self.inner.config.load();
        let config = &snapshot.config;
        let now = self.inner.clock.now_ms();
        let stores = self.stores(config, params.agent_id.as_deref())?;
        let mut found: Vec<(SessionKey, Arc<Entry>, Arc<Store>)> = Vec::new();
        for (agent, store) in &stores {
            for (stored, entry) in store.entries() {
                let key = canonical(config, Some(agent), &stored);
                let keep = match key.as_str() {
                    "global" => params.include_global.unwrap_or(false),
                    "unknown" => params.include_unknown.unwrap_or(false),
                    _ => true,
                } && params.label.as_deref().is_none_or(|label| entry.text("label") == Some(label))
                    && params
                        .spawned_by
                        .as_deref()
                        .is_none_or(|by| entry.text("spawnedBy") == Some(by))
                    && params.active_minutes.is_none_or(|minutes| {
                        entry.updated_at() >= now.saturating_sub(minutes.saturating_mul(60_000))
                    })
                    // Runs of cron jobs are listed under their job.
                    && !key.as_str().contains(":run:")
                    && (params.agent_id.is_none() || key.agent().is_none_or(|owner| owner == agent));
                if keep {
                    found.push((key, entry, Arc::clone(store)));
                }
            }
        }
        found.sort_by_key(|(_, entry, _)| Reverse(entry.updated_at()));
        let needle = params.search.as_deref().map(|text| text.trim().to_lowercase());
        let needle = needle.filter(|needle| !needle.is_empty());
        let (offset, limit) = if params.paged {
            (params.offset, Some(params.limit.unwrap_or(PAGE)))
        } else {
            (0, params.limit)
        };
        let (mut sessions, mut total) = (Vec::new(), 0);
        for (key, entry, store) in found {
            let full = limit.is_some_and(|limit| sessions.len() >= limit);
            if full && !params.paged {
                break;
            }
            let shown = !full && total >= offset;
            if !shown && needle.is_none() {
                total += 1;
                continue;
            }
            let mut row = if params.paged {
                self.newer_row_of(&key, Some(&entry), true)
            } else {
                Inner::row_with(config, &key, &entry)
            };
            if needle.as_deref().is_some_and(|needle| !rows::matches(&row, needle)) {
                continue;
            }
            total += 1;
            if !shown {
                continue;
            }
            if params.include_derived_titles || params.include_last_message {
                add_texts(&mut row, &transcript_path(store.dir(), &entry), params);
            }
            sessions.push(row);
        }
        let default = choice::default_choice(config, None);
        let path = match (&params.agent_id, stores.as_slice()) {
            (Some(_), [(_, store)]) => store.path().display().to_string(),
            _ if Stores::is_shared(config) => stores
                .first()
                .map(|(_, store)| store.path().display().to_string())
                .unwrap_or_default(),
            _ => "(multiple)".to_owned(),
        };
        let mut list = json!({
            "ts": now, "path": path, "count": sessions.len(),
            "defaults": {
                "modelProvider": default.provider, "model": default.model,
                "contextTokens": default.context_tokens,
            },
        });
        if params.paged {
            list["defaults"] = self.newer_defaults(None);
            let next = offset + sessions.len();
            let more = next < total;
            list["totalCount"] = total.into();
            list["limitApplied"] = limit.into();
            list["hasMore"] = more.into();
            list["nextOffset"] = more.then_some(next).into();
            // Sessions here have no owners.
            list["owners"] = json!([]);
            if offset > 0 {
                list["offset"] = offset.into();
            }
        }
        list["sessions"] = sessions.into();
        Ok(list)
    }
}

/// Derived title and last message, read from the transcript.
fn add_texts(row: &mut Value, path: &Path, params: &ListParams) {
    let Ok(messages) = read_messages(path, usize::MAX) else { return };
    if params.include_derived_titles
        && let Some(first) = messages.iter().find(|stored| stored.message["role"] == "user")
    {
        let text = history::plain_text(&first.message);
        let clean = history::strip_envelope(&text).unwrap_or(text);
        let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
        if !line.is_empty() {
            row["derivedTitle"] = history::ellipsis(&line, 60).into();
        }
    }
    if params.include_last_message {
        let last = messages
            .iter()
            .rev()
            .filter(|stored| matches!(stored.message["role"].as_str(), Some("user" | "assistant")))
            .map(|stored| history::plain_text(&stored.message))
            .find(|text| !text.trim().is_empty());
        if let Some(text) = last {
            let clean = history::strip_envelope(&text).unwrap_or(text);
            row["lastMessagePreview"] = history::ellipsis(clean.trim(), 200).into();
        }
    }
}
