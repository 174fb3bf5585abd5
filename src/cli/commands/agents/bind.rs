//! `agents bindings|bind|unbind`: which agent a channel's messages are for.

use serde_json::{Value, json};

use crate::channels::is_known;
use crate::cli::args::agents::{BindArgs, BindingsArgs, UnbindArgs};
use crate::cli::commands::agents::{edit, id_of, known, updated};
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::roster::{self, Bound, Conflict, describe};

pub(super) fn bindings(context: &Context, args: &BindingsArgs) -> CommandResult {
    let agent = match args.agent.as_deref() {
        Some(typed) => Some(known(context, Some(&id_of(typed)?))?),
        None => None,
    };
    let owner = |binding: &Value| binding["agentId"].as_str().unwrap_or_default().to_lowercase();
    let wanted = |binding: &&Value| {
        roster::is_route(binding) && agent.as_ref().is_none_or(|agent| owner(binding) == *agent)
    };
    let all = &context.config().config.bindings;
    let listed: Vec<&Value> = all.iter().filter(wanted).collect();
    if args.json {
        let rows = listed.iter().map(|binding| {
            json!({"agentId": owner(binding), "match": binding["match"],
                "description": describe(binding)})
        });
        return Ok(Outcome::json(&rows.collect::<Vec<_>>()));
    }
    let mut page = Page::default();
    match (&agent, listed.is_empty()) {
        (Some(agent), true) => page.line(format!("No routing bindings for agent \"{agent}\".")),
        (None, true) => page.line("No routing bindings."),
        (_, false) => {
            page.line("Routing bindings:");
            page.lines(
                listed.iter().map(|rule| format!("- {} <- {}", owner(rule), describe(rule))),
            );
        }
    }
    Ok(Outcome::text(page))
}

pub(super) fn bind(context: &Context, args: &BindArgs) -> CommandResult {
    let agent = known(context, args.agent.as_deref())?;
    let rules = rules(&args.bind)?;
    if rules.is_empty() {
        return Err(Failure::new("Provide at least one --bind <channel[:accountId]>."));
    }
    let (bound, notes) = edit(context, |document| roster::bind(document, &agent, &rules))?;
    let code = u8::from(!bound.conflicts.is_empty());
    if args.json {
        let mut document = json!({ "agentId": agent });
        extend(&mut document, &summary(&bound));
        return Ok(Outcome::json(&document).with_stderr(notes).with_code(code));
    }
    let mut page = Page::default();
    let changed = !bound.added.is_empty() || !bound.updated.is_empty();
    if changed {
        page.line(updated(context));
    } else {
        page.line("No new bindings added.");
    }
    section(&mut page, "Added bindings:", &bound.added);
    section(&mut page, "Updated bindings:", &bound.updated);
    section(&mut page, "Already present:", &bound.skipped);
    let said = claimed("Skipped bindings already claimed by another agent:", &bound.conflicts);
    Ok(Outcome::text(page).with_stderr(joined(&notes, &said)).with_code(code))
}

pub(super) fn unbind(context: &Context, args: &UnbindArgs) -> CommandResult {
    let agent = known(context, args.agent.as_deref())?;
    if args.all && !args.bind.is_empty() {
        return Err(Failure::new("Use either --all or --bind, not both."));
    }
    let rules = rules(&args.bind)?;
    if !args.all && rules.is_empty() {
        return Err(Failure::new(
            "Provide at least one --bind <channel[:accountId]> or use --all.",
        ));
    }
    let wanted = (!args.all).then_some(rules.as_slice());
    let (unbound, notes) = edit(context, |document| roster::unbind(document, &agent, wanted))?;
    let code = u8::from(!unbound.conflicts.is_empty());
    if args.json {
        let document = json!({
            "agentId": agent, "removed": described(&unbound.removed),
            "missing": described(&unbound.missing), "conflicts": owned(&unbound.conflicts),
        });
        return Ok(Outcome::json(&document).with_stderr(notes).with_code(code));
    }
    let mut page = Page::default();
    if unbound.removed.is_empty() {
        page.line(if args.all {
            format!("No bindings to remove for agent \"{agent}\".")
        } else {
            "No bindings removed.".to_owned()
        });
    } else {
        page.line(updated(context));
        section(&mut page, "Removed bindings:", &unbound.removed);
    }
    section(&mut page, "Not found:", &unbound.missing);
    let said = claimed("Bindings are owned by another agent:", &unbound.conflicts);
    Ok(Outcome::text(page).with_stderr(joined(&notes, &said)).with_code(code))
}

/// The rules that `channel[:account]` stands for, or everything that is wrong
/// with them.
pub(super) fn rules(specs: &[String]) -> Result<Vec<Value>, Failure> {
    let (mut rules, mut wrong) = (Vec::new(), Vec::new());
    for spec in specs.iter().map(|spec| spec.trim()).filter(|spec| !spec.is_empty()) {
        let (channel, account) = match spec.split_once(':') {
            Some((channel, account)) => (channel.trim(), Some(account.trim())),
            None => (spec, None),
        };
        let id = channel.to_lowercase();
        let known = is_known(&id);
        match account {
            _ if !known => wrong.push(format!("Unknown channel \"{channel}\".")),
            Some("") => wrong.push(format!("Invalid binding \"{spec}\" (empty account id).")),
            Some(account) => rules.push(json!({ "channel": id, "accountId": account })),
            None => rules.push(json!({ "channel": id })),
        }
    }
    if wrong.is_empty() { Ok(rules) } else { Err(Failure::new(wrong.join("\n"))) }
}

/// The part of the JSON that tells what became of the rules.
pub(super) fn summary(bound: &Bound) -> Value {
    json!({
        "added": described(&bound.added), "updated": described(&bound.updated),
        "skipped": described(&bound.skipped), "conflicts": owned(&bound.conflicts),
    })
}

/// What another agent has, in lines.
pub(super) fn claimed(title: &str, conflicts: &[Conflict]) -> String {
    if conflicts.is_empty() {
        return String::new();
    }
    let lines = owned(conflicts).into_iter().map(|line| format!("\n- {line}"));
    format!("{title}{}", lines.collect::<String>())
}

fn described(bindings: &[Value]) -> Vec<String> {
    bindings.iter().map(describe).collect()
}

fn owned(conflicts: &[Conflict]) -> Vec<String> {
    let line = |taken: &Conflict| format!("{} (agent={})", describe(&taken.binding), taken.owner);
    conflicts.iter().map(line).collect()
}

fn section(page: &mut Page, title: &str, bindings: &[Value]) {
    if !bindings.is_empty() {
        page.line(title);
        page.lines(bindings.iter().map(|binding| format!("- {}", describe(binding))));
    }
}

pub(super) fn joined(one: &str, other: &str) -> String {
    let parts = [one, other].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("\n")
}

fn extend(document: &mut Value, more: &Value) {
    if let (Some(document), Some(more)) = (document.as_object_mut(), more.as_object()) {
        document.extend(more.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_channel_and_maybe_an_account() {
        let of = |specs: &[&str]| {
            rules(&specs.iter().map(|spec| (*spec).to_owned()).collect::<Vec<_>>())
        };
        let expected =
            [json!({"channel": "irc"}), json!({"channel": "telegram", "accountId": "a"})];
        assert_eq!(of(&["IRC", "telegram:a"]).unwrap(), expected);
        let wrong = of(&["nope", "irc:"]).unwrap_err().to_string();
        assert_eq!(
            wrong,
            "Unknown channel \"nope\".\nInvalid binding \"irc:\" (empty account id)."
        );
    }
}
