//! What an agent wrote about itself into `IDENTITY.md`. Pure.

use serde_json::{Map, Value};

const KEYS: [&str; 6] = ["name", "emoji", "avatar", "theme", "creature", "vibe"];

/// `- **Name:** Claw` and the like. Placeholders in parentheses or underscores
/// are not values.
pub fn fields(text: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    for line in text.lines() {
        let line = line.trim().trim_start_matches(['-', '*', ' ']);
        let Some((key, value)) = line.split_once(':') else { continue };
        let key = key.trim_matches(['*', '_', ' ']).to_lowercase();
        let value = value.trim().trim_start_matches(['*', ' ']).trim();
        let placeholder = value.starts_with(['(', '_']) || value.is_empty();
        if KEYS.contains(&key.as_str()) && !placeholder {
            fields.entry(key).or_insert_with(|| value.into());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_no_values() {
        let text =
            "# Me\n- **Name:** Claw\n- **Vibe:** calm\n- **Avatar:** _(path)_\n- Emoji: 🦀\n";
        let found = fields(text);
        assert_eq!(found.len(), 3);
        assert_eq!(found["name"], "Claw");
        assert_eq!(found["vibe"], "calm");
    }
}
