//! The models one can choose, as `models.list` shows them.

use serde_json::{Value, json};

use crate::agents::models::reference::{self, Named};
use crate::agents::models::{self, Lookup, catalog};
use crate::agents::providers::echo;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub provider: String,
    pub id: String,
    pub name: String,
    pub context_window: u64,
    pub reasoning: bool,
    pub input: Vec<String>,
}

impl Row {
    /// The row on the wire.
    pub fn to_json(&self) -> Value {
        json!({"id": self.id, "name": self.name, "provider": self.provider,
            "contextWindow": self.context_window, "reasoning": self.reasoning, "input": self.input})
    }
}

/// Catalogue and configured providers, those the allowlist lets through,
/// sorted by provider and name.
pub fn rows(lookup: &Lookup<'_>) -> Vec<Row> {
    let config = lookup.config;
    let mut rows: Vec<Row> = Vec::new();
    for (provider, entry) in &config.models.providers {
        for model in &entry.models {
            rows.push(Row {
                provider: provider.clone(),
                id: model.id.clone(),
                name: if model.name.is_empty() { model.id.clone() } else { model.name.clone() },
                context_window: model.context_window.unwrap_or(models::DEFAULT_WINDOW),
                reasoning: model.reasoning,
                input: if model.input.is_empty() {
                    vec!["text".to_owned()]
                } else {
                    model.input.clone()
                },
            });
        }
    }
    if config.models.mode.as_deref() != Some("replace") {
        for entry in catalog::entries() {
            let listed =
                rows.iter().any(|row| row.provider == entry.provider && row.id == entry.id);
            if !listed {
                rows.push(Row {
                    provider: entry.provider.clone(),
                    id: entry.id.clone(),
                    name: entry.name.clone(),
                    context_window: entry.context_window,
                    reasoning: entry.reasoning,
                    input: entry.input.clone(),
                });
            }
        }
    }
    if lookup.is_dev() {
        let echo = echo::model();
        rows.push(Row {
            provider: echo.provider,
            id: echo.id,
            name: "dev/echo (built-in test model, no AI)".to_owned(),
            context_window: echo.context_window,
            reasoning: false,
            input: echo.input,
        });
    }
    add_listed(lookup, &mut rows);
    rows.retain(|row| {
        let named = Named {
            provider: reference::canonical(&row.provider),
            id: row.id.clone(),
            profile: None,
        };
        reference::is_allowed(config, lookup.agent, &named)
    });
    rows.sort_by(|a, b| (&a.provider, &a.name).cmp(&(&b.provider, &b.name)));
    rows
}

/// Names in the allowlist that no list has are choosable all the same.
fn add_listed(lookup: &Lookup<'_>, rows: &mut Vec<Row>) {
    for key in lookup.config.agents.defaults.models.keys() {
        let Some(named) = Named::parse(key, reference::DEFAULT_PROVIDER) else {
            continue;
        };
        let known = rows
            .iter()
            .any(|row| reference::canonical(&row.provider) == named.provider && row.id == named.id);
        if !known && named.id != "*" {
            rows.push(Row {
                name: named.id.clone(),
                provider: named.provider,
                id: named.id,
                context_window: models::DEFAULT_WINDOW,
                reasoning: false,
                input: vec!["text".to_owned()],
            });
        }
    }
}
