//! `skills …`: what the gateway's agents know how to do, and what they lack
//! for it. Each is one call.

use serde_json::{Value, json};

use crate::cli::args::manage::{SkillsCommand, SkillsListArgs};
use crate::cli::args::rpc::Rpc;
use crate::cli::commands::call::call_or_fail;
use crate::cli::commands::hub;
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Outcome};

pub fn run(context: &Context, command: &SkillsCommand) -> CommandResult {
    match command {
        SkillsCommand::List(args) => list(context, args),
        SkillsCommand::Info(args) => {
            let skills = ask(context, &args.rpc)?;
            let wanted =
                |skill: &&Value| skill["name"] == *args.name || skill["skillKey"] == *args.name;
            let found = skills["skills"].as_array().into_iter().flatten().find(wanted);
            Ok(info(context, &args.name, found, args.rpc.json))
        }
        SkillsCommand::Search(args) => hub::search(context, args),
        SkillsCommand::Install(args) => hub::install(context, args),
        SkillsCommand::Update(args) => hub::update(context, args),
        SkillsCommand::Check(args) => {
            let summary = summary(&ask(context, &args.rpc)?);
            Ok(if args.rpc.json {
                Outcome::json(&summary)
            } else {
                Outcome::text(summed(&summary))
            })
        }
    }
}

fn ask(context: &Context, rpc: &Rpc) -> Result<Value, crate::cli::ui::Failure> {
    call_or_fail(context, rpc, "skills.status", Some(json!({})))
}

fn list(context: &Context, args: &SkillsListArgs) -> CommandResult {
    let mut answer = ask(context, &args.rpc)?;
    if args.eligible
        && let Some(skills) = answer["skills"].as_array_mut()
    {
        skills.retain(|skill| skill["eligible"] == json!(true));
    }
    if args.rpc.json {
        return Ok(Outcome::json(&answer));
    }
    Ok(Outcome::text(skills_text(&answer, args)))
}

fn state(skill: &Value) -> &'static str {
    match () {
        () if skill["disabled"] == true => "disabled",
        () if skill["eligible"] == true => "ready",
        () if skill["blockedByAllowlist"] == true => "blocked",
        () => "needs setup",
    }
}

fn missing(skill: &Value) -> Vec<String> {
    let kinds = ["bins", "anyBins", "env", "config", "os"].iter();
    let names = kinds.flat_map(|kind| {
        let names = skill["missing"][*kind].as_array().cloned().unwrap_or_default();
        names.into_iter().filter_map(move |name| Some(format!("{kind}: {}", name.as_str()?)))
    });
    names.collect()
}

fn info(context: &Context, name: &str, skill: Option<&Value>, as_json: bool) -> Outcome {
    let Some(skill) = skill else {
        return if as_json {
            Outcome::json(&json!({ "error": "not found", "skill": name }))
        } else {
            let list = format!("{} skills list", context.program());
            Outcome::text(format!(
                "Skill \"{name}\" not found. Run `{list}` to see available skills."
            ))
        };
    };
    if as_json {
        return Outcome::json(skill);
    }
    let mut page = Page::default();
    page.line(format!("{} ({})", skill["name"].as_str().unwrap_or(name), state(skill)));
    page.gap();
    page.line(skill["description"].as_str().unwrap_or_default());
    page.gap();
    page.line("Details:");
    for (key, label) in [
        ("source", "Source"),
        ("filePath", "Path"),
        ("homepage", "Homepage"),
        ("primaryEnv", "Primary env"),
    ] {
        if let Some(text) = skill[key].as_str() {
            page.line(format!("  {label}: {text}"));
        }
    }
    let missing = missing(skill);
    if !missing.is_empty() {
        page.line(format!("  Missing: {}", missing.join(", ")));
    }
    Outcome::text(page)
}

/// Who is ready and who is not, as `skills check --json` shows it.
fn summary(answer: &Value) -> Value {
    let skills = answer["skills"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of =
        |wanted: &str| skills.iter().filter(|skill| state(skill) == wanted).collect::<Vec<_>>();
    let names =
        |skills: &[&Value]| skills.iter().map(|skill| skill["name"].clone()).collect::<Vec<_>>();
    let (ready, disabled, blocked) = (of("ready"), of("disabled"), of("blocked"));
    let lacking: Vec<Value> = of("needs setup")
        .into_iter()
        .map(|skill| {
            json!({ "name": skill["name"], "missing": skill["missing"], "install": skill["install"] })
        })
        .collect();
    json!({
        "summary": {
            "total": skills.len(), "eligible": ready.len(), "disabled": disabled.len(),
            "blocked": blocked.len(), "missingRequirements": lacking.len(),
        },
        "eligible": names(&ready), "disabled": names(&disabled), "blocked": names(&blocked),
        "missingRequirements": lacking,
    })
}

fn summed(summary: &Value) -> String {
    let mut page = Page::default();
    page.line("Skills Status Check");
    page.gap();
    let counts = &summary["summary"];
    for (key, label) in [
        ("total", "Total"),
        ("eligible", "Eligible"),
        ("disabled", "Disabled"),
        ("blocked", "Blocked by allowlist"),
        ("missingRequirements", "Missing requirements"),
    ] {
        page.line(format!("{label}: {}", counts[key]));
    }
    let listed = |key: &str| summary[key].as_array().cloned().unwrap_or_default();
    let ready = listed("eligible");
    if !ready.is_empty() {
        page.gap();
        page.line("Ready to use:");
        page.lines(ready.iter().filter_map(|name| Some(format!("  {}", name.as_str()?))));
    }
    let lacking = listed("missingRequirements");
    if !lacking.is_empty() {
        page.gap();
        page.line("Missing requirements:");
        for skill in &lacking {
            let name = skill["name"].as_str().unwrap_or("?");
            page.line(format!("  {name} ({})", missing(skill).join(", ")));
        }
    }
    page.into()
}

fn skills_text(answer: &Value, args: &SkillsListArgs) -> String {
    let skills = answer["skills"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = skills.iter().filter(|skill| skill["eligible"] == json!(true)).count();
    let mut page = Page::default();
    page.line(format!("Skills ({ready}/{} ready)", skills.len()));
    for skill in skills {
        let state = state(skill);
        let name = skill["name"].as_str().unwrap_or("?");
        let about = skill["description"].as_str().unwrap_or_default();
        page.line(format!("- {name} ({state}): {about}"));
        if args.verbose {
            let missing = missing(skill);
            if !missing.is_empty() {
                page.line(format!("  missing {}", missing.join(", ")));
            }
        }
    }
    page.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skills_say_what_they_lack_when_asked() {
        let answer = json!({"skills": [
            {"name": "a", "description": "does a", "eligible": true},
            {"name": "b", "description": "does b", "eligible": false, "missing": {"bins": ["git"], "env": []}},
        ]});
        let args = SkillsListArgs { verbose: true, ..SkillsListArgs::default() };
        assert_eq!(
            skills_text(&answer, &args),
            "Skills (1/2 ready)\n- a (ready): does a\n- b (needs setup): does b\n  missing bins: git\n"
        );
    }

    #[test]
    fn a_check_sorts_skills_by_what_stands_in_their_way() {
        let answer = json!({"skills": [
            {"name": "a", "eligible": true},
            {"name": "b", "eligible": false, "missing": {"bins": ["git"]}, "install": []},
            {"name": "c", "eligible": false, "disabled": true},
            {"name": "d", "eligible": false, "blockedByAllowlist": true},
        ]});
        let summary = summary(&answer);
        let counts = json!({"total": 4, "eligible": 1, "disabled": 1, "blocked": 1,
            "missingRequirements": 1});
        assert_eq!(summary["summary"], counts);
        assert_eq!(summary["missingRequirements"][0]["name"], "b");
        assert!(summed(&summary).contains("  b (bins: git)"));
    }
}
