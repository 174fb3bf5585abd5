//! `models set`, `models aliases …`, `models fallbacks …`: edits of the
//! configuration. Each edit is a pure change of a JSON document; comments and
//! order of the file survive.

use serde_json::{Map, Value, json};

use crate::agents::models::reference::{self, Named};
use crate::cli::args::models::{
    AddAliasArgs, AliasArgs, AliasesCommand, FallbacksCommand, ListFormArgs,
};
use crate::cli::commands::config;
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

/// A model of the defaults: the one that answers, or the one that looks at images.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    key: &'static str,
    default: &'static str,
    list: &'static str,
    one: &'static str,
    cleared: &'static str,
}

pub const ANSWERS: Slot = Slot {
    key: "model",
    default: "Default model",
    list: "Fallbacks",
    one: "Fallback",
    cleared: "Fallback list cleared.",
};

pub const IMAGES: Slot = Slot {
    key: "imageModel",
    default: "Image model",
    list: "Image fallbacks",
    one: "Image fallback",
    cleared: "Image fallback list cleared.",
};

/// `models set` and `models set-image`.
pub fn set(context: &Context, slot: Slot, typed: &str) -> CommandResult {
    let model = named(context, typed)?;
    let written = config::change(context, |document| {
        mention(document, &model);
        in_slot(document, slot).insert("primary".into(), model.as_str().into());
        Ok(())
    })?;
    Ok(updated(context, &written, &format!("{}: {model}", slot.default)))
}

pub fn fallbacks(context: &Context, slot: Slot, command: &FallbacksCommand) -> CommandResult {
    let now = list_of(&context.config().resolved, slot);
    match command {
        FallbacksCommand::List(args) => Ok(listed(slot, &now, args)),
        FallbacksCommand::Add(args) => {
            let model = named(context, &args.model)?;
            let mut after = now.clone();
            if !now.contains(&model) {
                after.push(model.clone());
            }
            let written = config::change(context, |document| {
                mention(document, &model);
                in_slot(document, slot).insert("fallbacks".into(), json!(after));
                Ok(())
            })?;
            Ok(updated(context, &written, &format!("{}: {}", slot.list, after.join(", "))))
        }
        FallbacksCommand::Remove(args) => {
            let model = named(context, &args.model)?;
            let after: Vec<&String> = now.iter().filter(|known| **known != model).collect();
            if after.len() == now.len() {
                return Err(Failure::new(format!("Error: {} not found: {model}", slot.one)));
            }
            let written = config::change(context, |document| {
                in_slot(document, slot).insert("fallbacks".into(), json!(after));
                Ok(())
            })?;
            let after: Vec<&str> = after.into_iter().map(String::as_str).collect();
            Ok(updated(context, &written, &format!("{}: {}", slot.list, after.join(", "))))
        }
        FallbacksCommand::Clear => {
            let written = config::change(context, |document| {
                in_slot(document, slot).insert("fallbacks".into(), json!([]));
                Ok(())
            })?;
            Ok(updated(context, &written, slot.cleared))
        }
    }
}

fn listed(slot: Slot, models: &[String], args: &ListFormArgs) -> Outcome {
    if args.json {
        return Outcome::json(&json!({ "fallbacks": models }));
    }
    if args.plain {
        return Outcome::text(models.join("\n"));
    }
    let mut page = Page::default();
    page.line(format!("{} ({}):", slot.list, models.len()));
    if models.is_empty() {
        page.line("- none");
    }
    page.lines(models.iter().map(|model| format!("- {model}")));
    Outcome::text(page)
}

pub fn aliases(context: &Context, command: &AliasesCommand) -> CommandResult {
    match command {
        AliasesCommand::List(args) => Ok(alias_list(&context.config().resolved, args)),
        AliasesCommand::Add(args) => add_alias(context, args),
        AliasesCommand::Remove(args) => remove_alias(context, args),
    }
}

fn known_aliases(document: &Value) -> Vec<(String, String)> {
    let models = document["agents"]["defaults"]["models"].as_object();
    let alias = |(key, entry): (&String, &Value)| {
        let alias = entry["alias"].as_str()?.trim();
        (!alias.is_empty()).then(|| (alias.to_owned(), key.clone()))
    };
    models.into_iter().flatten().filter_map(alias).collect()
}

fn alias_list(document: &Value, args: &ListFormArgs) -> Outcome {
    let aliases = known_aliases(document);
    if args.json {
        let aliases: Map<String, Value> =
            aliases.into_iter().map(|(alias, model)| (alias, model.into())).collect();
        return Outcome::json(&json!({ "aliases": aliases }));
    }
    let mut page = Page::default();
    if args.plain {
        page.lines(aliases.iter().map(|(alias, model)| format!("{alias} {model}")));
        return Outcome::text(page);
    }
    page.line(format!("Aliases ({}):", aliases.len()));
    if aliases.is_empty() {
        page.line("- none");
    }
    page.lines(aliases.iter().map(|(alias, model)| format!("- {alias} -> {model}")));
    Outcome::text(page)
}

fn plain_alias(typed: &str) -> Result<&str, Failure> {
    let alias = typed.trim();
    if alias.is_empty() {
        return Err(Failure::new("Error: Alias cannot be empty."));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
    if !alias.chars().all(plain) {
        return Err(Failure::new(
            "Error: Alias must use letters, numbers, dots, underscores, colons, or dashes.",
        ));
    }
    Ok(alias)
}

fn add_alias(context: &Context, args: &AddAliasArgs) -> CommandResult {
    let alias = plain_alias(&args.alias)?;
    let model = named(context, &args.model)?;
    let written = config::change(context, |document| {
        let other = known_aliases(document)
            .into_iter()
            .find(|(known, key)| known == alias && *key != model);
        if let Some((_, key)) = other {
            return Err(format!("Alias {alias} already points to {key}."));
        }
        mention(document, &model);
        document["agents"]["defaults"]["models"][model.as_str()]["alias"] = alias.into();
        Ok(())
    })?;
    Ok(updated(context, &written, &format!("Alias {alias} -> {model}")))
}

fn remove_alias(context: &Context, args: &AliasArgs) -> CommandResult {
    let alias = plain_alias(&args.alias)?;
    let mut left = 0;
    let written = config::change(context, |document| {
        let aliases = known_aliases(document);
        let Some((_, key)) = aliases.iter().find(|(known, _)| known == alias) else {
            return Err(format!("Alias not found: {alias}"));
        };
        left = aliases.len() - 1;
        let entry = &mut document["agents"]["defaults"]["models"][key.as_str()];
        if let Some(entry) = entry.as_object_mut() {
            entry.shift_remove("alias");
        }
        Ok(())
    })?;
    Ok(updated(context, &written, if left == 0 { "No aliases configured." } else { "" }))
}

/// The full name of what somebody typed: an alias, a name, or `provider/name`.
fn named(context: &Context, typed: &str) -> Result<String, Failure> {
    let config = &context.config().config;
    let typed = typed.trim();
    let (primary, _) = reference::configured(config, config.agents.default_id());
    let provider = primary.as_deref().and_then(|model| Some(model.split_once('/')?.0));
    let text = reference::unaliased(config, typed);
    Named::parse(text, provider.unwrap_or("anthropic"))
        .map(|model| model.key())
        .ok_or_else(|| Failure::new(format!("Error: Invalid model reference: {typed}")))
}

/// Makes sure that the model is among those that may be used.
fn mention(document: &mut Value, model: &str) {
    let models = &mut document["agents"]["defaults"]["models"];
    if !models[model].is_object() {
        models[model] = json!({});
    }
}

/// The slot as an object; a bare name becomes its `primary`.
fn in_slot(document: &mut Value, slot: Slot) -> &mut Map<String, Value> {
    let place = &mut document["agents"]["defaults"][slot.key];
    if let Value::String(primary) = place {
        *place = json!({ "primary": primary });
    }
    if !place.is_object() {
        *place = json!({});
    }
    place.as_object_mut().expect("it was just made one")
}

fn list_of(document: &Value, slot: Slot) -> Vec<String> {
    let list = document["agents"]["defaults"][slot.key]["fallbacks"].as_array();
    list.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn updated(context: &Context, notes: &str, said: &str) -> Outcome {
    let mut page = Page::default();
    page.line(format!("Updated {}", context.short(&context.paths.config)));
    if !said.is_empty() {
        page.line(said);
    }
    Outcome::text(page).with_stderr(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_becomes_the_primary_of_a_slot() {
        let mut document = json!({"agents": {"defaults": {"model": "fake/a"}}});
        in_slot(&mut document, ANSWERS).insert("fallbacks".into(), json!(["fake/b"]));
        mention(&mut document, "fake/b");
        assert_eq!(
            document,
            json!({"agents": {"defaults": {
                "model": {"primary": "fake/a", "fallbacks": ["fake/b"]},
                "models": {"fake/b": {}}}}})
        );
        assert_eq!(list_of(&document, ANSWERS), ["fake/b"]);
        assert!(list_of(&document, IMAGES).is_empty());
    }

    #[test]
    fn aliases_are_listed_and_checked() {
        let document = json!({"agents": {"defaults": {"models": {
            "fake/a": {"alias": "quick"}, "fake/b": {}}}}});
        assert_eq!(known_aliases(&document), [("quick".to_owned(), "fake/a".to_owned())]);
        let shown = alias_list(&document, &ListFormArgs::default()).stdout();
        assert_eq!(shown, "Aliases (1):\n- quick -> fake/a\n");
        assert!(plain_alias("two words").is_err() && plain_alias(" ").is_err());
    }
}
