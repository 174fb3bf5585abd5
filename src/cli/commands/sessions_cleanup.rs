//! `sessions cleanup`: `session.maintenance` now instead of at its hour. Works
//! on the files; a running gateway takes the changes over.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::agents::sessions::maintenance::{self, Round, Rules};
use crate::agents::sessions::{Store, Stores};
use crate::base::clock;
use crate::cli::args::manage::SessionsCleanupArgs;
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::lifecycle::Lifecycle;

pub(super) fn run(context: &Context, args: &SessionsCleanupArgs) -> CommandResult {
    let config = &context.config().config;
    let mut rules = Rules::of(config);
    rules.enforce |= args.enforce;
    let mode = if rules.enforce { "enforce" } else { "warn" };
    let busy: BTreeSet<String> = args.active_key.iter().cloned().collect();
    let now = clock::now_ms();
    let mut summaries = Vec::new();
    let mut page = Page::default();
    for (agent, store) in targets(context, args)? {
        let failed =
            |err: std::io::Error| Failure::new(format!("Error: {}: {err}", store.path().display()));
        store.refresh().map_err(failed)?;
        let round = if args.dry_run || !rules.enforce {
            maintenance::plan(&store.entries(), &rules, now, &busy)
        } else {
            maintenance::run(&store, &rules, now, &busy).map_err(failed)?
        };
        let applied = !args.dry_run && rules.enforce;
        if !summaries.is_empty() {
            page.gap();
        }
        if args.all_agents {
            page.line(format!("Agent: {agent}"));
        }
        describe(&mut page, &store, &round, (mode, applied));
        let mut summary = json!({
            "agentId": agent,
            "storePath": store.path(),
            "mode": mode,
            "dryRun": args.dry_run,
            "beforeCount": round.before,
            "afterCount": round.after(),
            "missing": 0,
            "pruned": round.pruned.len(),
            "capped": round.capped.len(),
            "diskBudget": budget(&rules, &round),
            "wouldMutate": round.before != round.after() || round.archives > 0,
        });
        if !args.dry_run {
            summary["applied"] = json!(applied);
            summary["appliedCount"] = json!(store.entries().len());
        }
        summaries.push(summary);
    }
    if !args.json {
        return Ok(Outcome::text(page));
    }
    Ok(match <[Value; 1]>::try_from(summaries) {
        Ok([one]) => Outcome::json(&one),
        Err(many) => Outcome::json(
            &json!({"allAgents": true, "mode": mode, "dryRun": args.dry_run, "stores": many}),
        ),
    })
}

/// The stores that are meant, each once.
fn targets(
    context: &Context,
    args: &SessionsCleanupArgs,
) -> Result<Vec<(String, Arc<Store>)>, Failure> {
    let local = Local::open(context);
    let named = args.agent.as_deref().map(str::trim).filter(|id| !id.is_empty());
    if let Some(path) = &args.store {
        if named.is_some() || args.all_agents {
            return Err(Failure::new("--store cannot be combined with --agent or --all-agents"));
        }
        return Ok(vec![(local.default_id, Arc::new(Store::new(PathBuf::from(path))))]);
    }
    let ids = match named {
        Some(_) if args.all_agents => {
            return Err(Failure::new("--agent and --all-agents cannot be used together"));
        }
        Some(id) if !local.ids.iter().any(|known| known.eq_ignore_ascii_case(id)) => {
            return Err(Failure::new(format!(
                "Unknown agent id \"{id}\". Use \"{} agents list\" to see configured agents.",
                context.program()
            )));
        }
        Some(id) => vec![id.to_lowercase()],
        None if args.all_agents => local.ids,
        None => vec![local.default_id],
    };
    let stores = Stores::new(context.paths.clone(), Lifecycle::default());
    let config = &context.config().config;
    let mut found: Vec<(String, Arc<Store>)> = Vec::new();
    for id in ids {
        let store = stores.of(config, &id);
        if found.iter().all(|(_, known)| known.path() != store.path()) {
            found.push((id, store));
        }
    }
    Ok(found)
}

fn budget(rules: &Rules, round: &Round) -> Value {
    match rules.disk {
        None => Value::Null,
        Some((most, enough)) => json!({
            "maxBytes": most, "highWaterBytes": enough,
            "removedEntries": round.evicted.len(), "removedFiles": round.archives,
        }),
    }
}

fn describe(page: &mut Page, store: &Store, round: &Round, (mode, applied): (&str, bool)) {
    page.line(format!("Session store: {}", store.path().display()));
    if applied {
        page.line(format!(
            "Applied maintenance. Current entries: {} (removed {}, archives removed {})",
            round.after(),
            round.before - round.after(),
            round.archives
        ));
        return;
    }
    page.line(format!("Maintenance mode: {mode}"));
    let removed = round.before - round.after();
    page.line(format!("Entries: {} -> {} (remove {removed})", round.before, round.after()));
    page.line(format!("Would prune stale: {}", round.pruned.len()));
    page.line(format!("Would cap overflow: {}", round.capped.len()));
    for (action, keys) in [("prune", &round.pruned), ("cap", &round.capped)] {
        page.lines(keys.iter().map(|key| format!("  {action} {key}")));
    }
    if mode == "warn" && removed > 0 {
        page.line("Nothing was removed; --enforce removes them.");
    }
}
