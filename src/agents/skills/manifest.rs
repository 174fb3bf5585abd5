//! The head of a `SKILL.md`: name, description and what the skill needs.
//!
//! Reads the front matter that skills use in practice: one key per line,
//! quoted or bare, block scalars, and a JSON5 object under `metadata`.

use serde_json::{Map, Value};

/// What a skill says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    pub name: String,
    pub description: String,
    pub homepage: Option<String>,
    pub emoji: Option<String>,
    /// Key of its entry in the configuration; the name unless said otherwise.
    pub entry_key: Option<String>,
    /// What a hook wants to hear of.
    pub events: Vec<String>,
    pub primary_env: Option<String>,
    /// Offered whether or not its requirements are met.
    pub always: bool,
    /// Not shown to models.
    pub hidden: bool,
    pub requires: Requirements,
    pub install: Vec<Install>,
}

/// What must be there for a skill to work.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirements {
    pub bins: Vec<String>,
    /// One of these is enough.
    pub any_bins: Vec<String>,
    pub env: Vec<String>,
    pub config: Vec<String>,
    /// Node's spelling: `linux`, `darwin`, `win32`.
    pub os: Vec<String>,
}

/// One way to get the missing programs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Install {
    pub id: String,
    pub kind: String,
    pub label: String,
    pub bins: Vec<String>,
    #[serde(skip)]
    pub os: Vec<String>,
}

/// Reads the head of a `SKILL.md`; `None` when it has no name or description.
pub fn parse(text: &str) -> Option<Manifest> {
    let fields = front_matter(text)?;
    let text_of = |key: &str| fields.get(key).map(|value| value.trim().to_owned());
    let name = text_of("name").filter(|name| !name.is_empty())?;
    let description = text_of("description").filter(|text| !text.is_empty())?;
    let metadata: Value = fields
        .get("metadata")
        .and_then(|text| crate::config::json5::value(text).ok())
        .unwrap_or_default();
    let ours = ["openclaw", "clawdbot"].iter().find_map(|key| metadata.get(key));
    let meta = ours.and_then(Value::as_object).cloned().unwrap_or_default();
    let meta_text = |key: &str| meta.get(key).and_then(Value::as_str).map(str::to_owned);
    let requires = meta.get("requires").and_then(Value::as_object).cloned().unwrap_or_default();
    Some(Manifest {
        name,
        description,
        homepage: text_of("homepage").or_else(|| meta_text("homepage")),
        emoji: meta_text("emoji"),
        entry_key: meta_text("skillKey").or_else(|| meta_text("hookKey")),
        events: strings(&meta, "events"),
        primary_env: meta_text("primaryEnv"),
        always: meta.get("always").and_then(Value::as_bool).unwrap_or(false),
        hidden: text_of("disable-model-invocation").is_some_and(|value| value == "true"),
        requires: Requirements {
            bins: strings(&requires, "bins"),
            any_bins: strings(&requires, "anyBins"),
            env: strings(&requires, "env"),
            config: strings(&requires, "config"),
            os: strings(&meta, "os"),
        },
        install: meta
            .get("install")
            .and_then(Value::as_array)
            .map(|list| list.iter().enumerate().filter_map(install).collect())
            .unwrap_or_default(),
    })
}

fn install((index, spec): (usize, &Value)) -> Option<Install> {
    let spec = spec.as_object()?;
    let text = |key: &str| spec.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = text("kind")?;
    let bins = strings(spec, "bins");
    let what = text("formula")
        .or_else(|| text("package"))
        .or_else(|| text("module"))
        .or_else(|| bins.first().cloned())
        .unwrap_or_else(|| kind.clone());
    Some(Install {
        id: text("id").unwrap_or_else(|| format!("{kind}-{index}")),
        label: text("label").unwrap_or_else(|| format!("Install {what} ({kind})")),
        bins,
        os: strings(spec, "os"),
        kind,
    })
}

fn strings(map: &Map<String, Value>, key: &str) -> Vec<String> {
    match map.get(key) {
        Some(Value::Array(list)) => {
            list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        }
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// Keys and raw values between the two `---` lines.
fn front_matter(text: &str) -> Option<std::collections::HashMap<String, String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let mut fields = std::collections::HashMap::new();
    let mut open: Option<(String, String)> = None;
    for line in lines {
        if line.trim_end() == "---" {
            if let Some((key, value)) = open.take() {
                fields.insert(key, unquoted(&value));
            }
            return Some(fields);
        }
        let indented = line.starts_with([' ', '\t']);
        match (indented, line.split_once(':'), &mut open) {
            (false, Some((key, value)), _) => {
                if let Some((key, value)) = open.take() {
                    fields.insert(key, unquoted(&value));
                }
                let value = value.trim();
                let block = matches!(value, "|" | ">" | "|-" | ">-");
                let value = if block { "" } else { value };
                open = Some((key.trim().to_owned(), value.to_owned()));
            }
            (_, _, Some((_, value))) => {
                if !value.is_empty() {
                    value.push('\n');
                }
                value.push_str(line.trim());
            }
            _ => {}
        }
    }
    None
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"')
        .map(|text| text.replace("\\\"", "\""))
        .or_else(|| inner('\'').map(|text| text.replace("''", "'")))
        .unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_skills_write_it() {
        let text = r#"---
name: weather
description: "Forecasts: now and later."
homepage: https://example.org/:help
metadata:
  {
    "openclaw":
      {
        "emoji": "☔",
        "os": ["linux"],
        "requires": { "bins": ["curl"], "env": ["WEATHER_KEY"] },
        "install": [{ "id": "brew", "kind": "brew", "formula": "curl", "bins": ["curl"] }],
      },
  }
---
# Weather
"#;
        let manifest = parse(text).unwrap();
        assert_eq!(manifest.name, "weather");
        assert_eq!(manifest.description, "Forecasts: now and later.");
        assert_eq!(manifest.homepage.as_deref(), Some("https://example.org/:help"));
        assert_eq!(manifest.requires.bins, ["curl"]);
        assert_eq!(manifest.requires.os, ["linux"]);
        assert_eq!(manifest.install[0].label, "Install curl (brew)");
    }

    #[test]
    fn block_text_and_bare_heads_are_read_and_broken_ones_refused() {
        let folded = parse("---\nname: a\ndescription: >\n  one\n  two\n---\n").unwrap();
        assert_eq!(folded.description, "one\ntwo");
        assert_eq!(parse("# no head"), None);
        assert_eq!(parse("---\nname: a\n---\n"), None);
        assert_eq!(parse("---\nname: a\ndescription: b\n"), None);
    }
}
