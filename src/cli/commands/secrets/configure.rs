//! `secrets configure`: asks where each secret in clear shall live, makes a
//! plan of the answers, checks it, and applies it on request.

use std::io::{self, BufRead, IsTerminal as _};

use serde_json::{Map, Value, json};

use crate::base::clock;
use crate::cli::args::secrets::ConfigureArgs;
use crate::cli::commands::secrets::{execute, said};
use crate::cli::context::Context;
use crate::cli::ui::desk::Desk;
use crate::cli::ui::{self, CommandResult, Failure, Outcome};
use crate::config::Snapshot;
use crate::secrets::apply::{Applied, Mode};
use crate::secrets::plan::{self, Options, Plan, Target};
use crate::secrets::{Source, reference, stores, targets};

pub(super) fn run(context: &Context, args: &ConfigureArgs) -> CommandResult {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("Error: secrets configure requires an interactive TTY."));
    }
    let mut desk = Desk {
        input: io::stdin().lock(),
        show: |text: &str| context.ui.err(text),
        cancelled: "Error: Secrets configure cancelled.",
    };
    let snapshot = context.config();
    let plan = make_plan(&mut desk, snapshot, args)?;
    let places = plan::places(&plan).map_err(|err| Failure::new(format!("Error: {err}")))?;
    let preflight = execute(context, &plan, &places, Mode::DryRun, args.allow_exec)?;
    if let Some(file) = &args.plan_out {
        let text = format!("{}\n", ui::json(&plan));
        std::fs::write(file, text)
            .map_err(|err| Failure::new(format!("Error: {}: {err}", file.display())))?;
    }
    // Shown before the question: it is what the answer is about.
    context.ui.out(&if args.json {
        ui::json(&json!({"plan": plan, "preflight": preflight}))
    } else {
        summary(&plan, &preflight, args)
    })?;
    let go = args.apply || (!args.json && desk.confirm("Apply this plan now?")?);
    let sure = || "Migrated values cannot be brought back by this command. Go on?";
    if !go {
        return Ok(Outcome::default());
    }
    if args.apply && !args.yes && !args.json && !desk.confirm(sure())? {
        return Ok(Outcome::text("Apply cancelled."));
    }
    let applied = execute(context, &plan, &places, Mode::Write, args.allow_exec)?;
    Ok(Outcome::text(if args.json { ui::json(&applied) } else { said(&applied) }))
}

fn summary(plan: &Plan, preflight: &Applied, args: &ConfigureArgs) -> String {
    let mut lines = vec![format!(
        "Preflight: changed={}, files={}, warnings={}.",
        preflight.changed,
        preflight.changed_files.len(),
        preflight.warning_count
    )];
    lines.extend(preflight.warnings.iter().map(|warning| format!("- warning: {warning}")));
    lines.push(format!(
        "Plan: targets={}, providerUpserts={}, providerDeletes={}.",
        plan.targets.len(),
        plan.provider_upserts.len(),
        plan.provider_deletes.len()
    ));
    lines.extend(args.plan_out.as_ref().map(|file| format!("Plan written to {}", file.display())));
    lines.join("\n")
}

/// A secret in clear that a plan could move.
struct Candidate {
    kind: String,
    path: String,
    keys: Vec<String>,
    agent: Option<String>,
}

fn make_plan<R: BufRead, S: Fn(&str)>(
    desk: &mut Desk<R, S>,
    snapshot: &Snapshot,
    args: &ConfigureArgs,
) -> Result<Plan, Failure> {
    let mut plan = Plan {
        version: 1,
        protocol_version: 1,
        generated_at: Some(clock::iso8601(clock::now_ms())),
        generated_by: Some("openclaw secrets configure".to_owned()),
        targets: Vec::new(),
        provider_upserts: Map::new(),
        provider_deletes: Vec::new(),
        options: Options::default(),
    };
    if !args.skip_provider_setup {
        while let Some((alias, provider)) = desk.provider()? {
            plan.provider_upserts.insert(alias, provider);
        }
    }
    if !args.providers_only {
        for candidate in candidates(snapshot, args.agent.as_deref()) {
            if let Some(target) = desk.target(candidate)? {
                plan.targets.push(target);
            }
        }
    }
    if plan.targets.is_empty() && plan.provider_upserts.is_empty() {
        return Err(Failure::new("Error: No secrets changes were selected."));
    }
    Ok(plan)
}

fn candidates(snapshot: &Snapshot, agent: Option<&str>) -> Vec<Candidate> {
    let config = &snapshot.resolved;
    let mut found = Vec::new();
    for pattern in targets::patterns() {
        targets::each(config, &pattern, &mut |path, keys, value| {
            let plain = value.as_str().is_some_and(|text| !text.trim().is_empty());
            if plain && reference(value, config).is_none() {
                found.push(Candidate { kind: plan::kind_of(&pattern), path, keys, agent: None });
            }
        });
    }
    let agent =
        agent.map_or_else(|| snapshot.config.agents.default_id().to_lowercase(), str::to_owned);
    let file = snapshot.state.join("agents").join(&agent).join("agent/auth-profiles.json");
    if let Ok(Some(store)) = stores::read_object(&file) {
        for one in stores::credentials(&store, config) {
            let (field, _) = one.kind.fields();
            if one.plain.is_some() && one.kind != stores::Kind::OAuth {
                found.push(Candidate {
                    kind: format!("auth-profiles.{}.{field}", one.kind.as_str()),
                    path: format!("profiles.{}.{field}", one.id),
                    keys: ["profiles", one.id, field].map(str::to_owned).to_vec(),
                    agent: Some(agent.clone()),
                });
            }
        }
    }
    found
}

impl<R: BufRead, S: Fn(&str)> Desk<R, S> {
    /// One more provider, until none is wanted.
    fn provider(&mut self) -> Result<Option<(String, Value)>, Failure> {
        let alias = self.ask("Provider to add or replace (empty: none)", "")?;
        if alias.is_empty() {
            return Ok(None);
        }
        let provider = match self.source("Where does it read from: env, file or exec", "file")? {
            None | Some(Source::Env) => json!({"source": "env"}),
            Some(Source::File) => {
                let path = self.ask("File", "~/.openclaw/secrets.json")?;
                let mode = self.ask("Kind of file: json or singleValue", "json")?;
                json!({"source": "file", "path": path, "mode": mode})
            }
            Some(Source::Exec) => {
                let command = self.ask("Program, as an absolute path", "")?;
                json!({"source": "exec", "command": command})
            }
        };
        Ok(Some((alias, provider)))
    }

    fn source(&mut self, question: &str, default: &str) -> Result<Option<Source>, Failure> {
        loop {
            let answer = self.ask(question, default)?;
            if answer == "keep" {
                return Ok(None);
            }
            if let Some(source) = Source::parse(&answer) {
                return Ok(Some(source));
            }
        }
    }

    fn target(&mut self, candidate: Candidate) -> Result<Option<Target>, Failure> {
        let question = format!("{}: keep, env, file or exec", candidate.path);
        let Some(source) = self.source(&question, "keep")? else { return Ok(None) };
        let provider = self.ask("Provider", "default")?;
        let id = self.ask("Id", &suggested_id(source, &candidate.keys))?;
        let after = |key: &str| {
            let at = candidate.keys.iter().position(|found| found == key)?;
            candidate.keys.get(at + 1).cloned()
        };
        Ok(Some(Target {
            provider_id: after("providers"),
            account_id: after("accounts"),
            kind: candidate.kind,
            path: candidate.path,
            path_segments: candidate.keys,
            reference: json!({"source": source.as_str(), "provider": provider, "id": id}),
            agent_id: candidate.agent,
            auth_profile_provider: None,
        }))
    }
}

/// An id that follows from the place: `MODELS_PROVIDERS_X_APIKEY` or a pointer.
fn suggested_id(source: Source, keys: &[String]) -> String {
    let escape = |key: &String| key.replace('~', "~0").replace('/', "~1");
    match source {
        Source::Env => {
            let name: String = keys.join("_").to_uppercase();
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        }
        Source::File => format!("/{}", keys.iter().map(escape).collect::<Vec<_>>().join("/")),
        Source::Exec => keys.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_a_plan() {
        let answers = "vault\nfile\n/s.json\n\n\nkeep\nfile\nvault\n\n";
        let mut desk = Desk { input: answers.as_bytes(), show: |_: &str| {}, cancelled: "" };
        let (alias, provider) = desk.provider().unwrap().unwrap();
        assert_eq!(alias, "vault");
        assert_eq!(provider, json!({"source": "file", "path": "/s.json", "mode": "json"}));
        assert!(desk.provider().unwrap().is_none());
        let candidate = || Candidate {
            kind: "models.providers.apiKey".into(),
            path: "models.providers.a/b.apiKey".into(),
            keys: ["models", "providers", "a/b", "apiKey"].map(str::to_owned).to_vec(),
            agent: None,
        };
        assert!(desk.target(candidate()).unwrap().is_none());
        let target = desk.target(candidate()).unwrap().unwrap();
        assert_eq!(target.reference["id"], "/models/providers/a~1b/apiKey");
        assert_eq!(target.provider_id.as_deref(), Some("a/b"));
        assert!(desk.target(candidate()).is_err(), "the end of the input cancels");
    }
}
