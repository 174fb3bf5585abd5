//! `memory …`: the index of each agent's memory, on this host. Asks a provider
//! of embeddings where the configuration names one; needs no gateway.

use serde_json::{Value, json};

use crate::agents::embeddings::{
    Asked, EmbedError, Embedder, Resolved, Target, Vectors, as_vectors,
};
use crate::agents::memory::{Memory, MemoryError, Query};
use crate::agents::workspace::Workspaces;
use crate::cli::args::memory::{IndexArgs, MemoryCommand, SearchArgs, StatusArgs};
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

pub(super) fn run(context: &Context, command: &MemoryCommand) -> CommandResult {
    context.block_on(async {
        match command {
            MemoryCommand::Status(args) => status(context, args).await,
            MemoryCommand::Index(args) => index(context, args).await,
            MemoryCommand::Search(args) => search(context, args).await,
        }
    })
}

/// An agent's memory and the provider that makes vectors for it.
struct Of {
    memory: Memory,
    resolved: Result<Resolved, EmbedError>,
    embedder: Embedder,
}

impl Of {
    fn new(context: &Context, agent: &str) -> Self {
        let snapshot = context.config();
        let lookup = context.lookup(agent);
        let resolved = Target::of(&snapshot.config, agent, None)
            .map_err(|err| EmbedError::Answer(err.to_string()))
            .and_then(|target| Embedder::resolve(&target, &lookup));
        let workspace = Workspaces::new(context.paths.clone()).of(&snapshot.config, agent);
        let memory = Memory::of(&snapshot.config, agent, &context.paths, workspace);
        Self { memory, resolved, embedder: Embedder::default() }
    }

    fn vectors(&self) -> Result<Option<Asked<'_>>, String> {
        Asked::of(&self.embedder, &self.resolved)
    }

    /// Takes in the files and asks for the vectors that are missing.
    async fn index(&self, force: bool) -> Result<(), String> {
        self.memory.refresh(force).map_err(|err| err.to_string())?;
        match self.vectors()? {
            Some(vectors) => self.memory.learn_all(&vectors).await,
            None => Ok(()),
        }
    }

    async fn probe(&self) -> Value {
        let answer = match self.vectors() {
            Ok(Some(vectors)) => {
                vectors.embed(&["ping".to_owned()]).await.map_err(|err| err.to_string())
            }
            Ok(None) => Err(EmbedError::NoProvider.to_string()),
            Err(reason) => Err(reason),
        };
        match answer {
            Ok(_) => json!({"ok": true}),
            Err(reason) => json!({"ok": false, "error": reason}),
        }
    }

    fn status(&self) -> Result<Value, MemoryError> {
        let name = self.resolved.as_ref().ok().map(Resolved::name);
        let provider = name.as_deref().and_then(|name| name.split('/').next()).unwrap_or_default();
        self.memory.status(provider, name.as_deref())
    }
}

/// The named agent, else every configured one.
fn agents(context: &Context, named: Option<&str>) -> Result<Vec<String>, Failure> {
    let agents = &context.config().config.agents;
    let named = named.map(str::trim).filter(|id| !id.is_empty());
    match named {
        Some(id) if id != agents.default_id() && agents.get(id).is_none() => {
            Err(Failure::new(format!(
                "Error: Unknown agent id \"{id}\". Use \"{} agents list\" to see configured agents.",
                context.program()
            )))
        }
        Some(id) => Ok(vec![id.to_lowercase()]),
        None if agents.list.is_empty() => Ok(vec![agents.default_id().to_owned()]),
        None => Ok(agents.list.iter().map(|agent| agent.id.to_lowercase()).collect()),
    }
}

async fn status(context: &Context, args: &StatusArgs) -> CommandResult {
    let mut all = Vec::new();
    let mut failed = Page::default();
    for agent in agents(context, args.agent.as_deref())? {
        let of = Of::new(context, &agent);
        let mut row = json!({"agentId": agent});
        if args.deep || args.index {
            row["embeddingProbe"] = of.probe().await;
        }
        if args.index
            && let Err(reason) = of.index(args.force).await
        {
            row["indexError"] = json!(reason);
            failed.line(format!("Memory index failed: {reason}"));
        }
        let status = of.status().map_err(|err| Failure::new(err.to_string()))?;
        row["scan"] = json!({"totalFiles": status["custom"]["totalFiles"], "issues": []});
        row["status"] = status;
        all.push(row);
    }
    let outcome = if args.json {
        Outcome::json(&all)
    } else {
        let mut page = Page::default();
        for row in &all {
            describe(context, &mut page, row);
        }
        Outcome::text(page)
    };
    let code = u8::from(!failed.is_empty());
    Ok(outcome.with_stderr(failed).with_code(code))
}

fn describe(context: &Context, page: &mut Page, row: &Value) {
    let status = &row["status"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let short = |value: &Value| context.short(text(value).as_ref());
    page.line(format!("Memory Search ({})", text(&row["agentId"])));
    page.line(format!("Provider: {}", text(&status["provider"])));
    if let Some(model) = status["model"].as_str() {
        page.line(format!("Model: {model}"));
    }
    page.line(format!(
        "Indexed: {}/{} files · {} chunks",
        status["files"], row["scan"]["totalFiles"], status["chunks"]
    ));
    page.line(format!("Dirty: {}", if status["dirty"] == true { "yes" } else { "no" }));
    page.line(format!("Store: {}", short(&status["dbPath"])));
    page.line(format!("Workspace: {}", short(&status["workspaceDir"])));
    if let Some(probe) = row["embeddingProbe"].as_object() {
        let ready = if probe["ok"] == true { "ready" } else { "unavailable" };
        page.line(format!("Embeddings: {ready}"));
        if let Some(reason) = probe.get("error").and_then(Value::as_str) {
            page.line(format!("Embeddings error: {reason}"));
        }
    }
    let vectors = if status["vector"]["enabled"] == true {
        format!("ready ({} entries)", status["vector"]["entries"])
    } else {
        "disabled".to_owned()
    };
    page.line(format!("Vector: {vectors}"));
    page.line("FTS: ready");
    page.gap();
}

async fn index(context: &Context, args: &IndexArgs) -> CommandResult {
    let mut page = Page::default();
    let mut failed = Page::default();
    for agent in agents(context, args.agent.as_deref())? {
        let of = Of::new(context, &agent);
        match of.index(args.force).await {
            Ok(()) => page.line(format!("Memory index updated ({agent}).")),
            Err(reason) => failed.line(format!("Memory index failed ({agent}): {reason}")),
        }
    }
    let code = u8::from(!failed.is_empty());
    Ok(Outcome::text(page).with_stderr(failed).with_code(code))
}

async fn search(context: &Context, args: &SearchArgs) -> CommandResult {
    let Some(text) = args.query.as_ref().or(args.words.as_ref()).filter(|it| !it.trim().is_empty())
    else {
        return Err(Failure::new(
            "Missing search query. Provide a positional query or use --query <text>.",
        ));
    };
    let agent = match &args.agent {
        Some(id) => agents(context, Some(id))?.remove(0),
        None => context.config().config.agents.default_id().to_lowercase(),
    };
    let of = Of::new(context, &agent);
    let query =
        Query { text: text.clone(), max_results: args.max_results, min_score: args.min_score };
    let vectors = of.vectors();
    let found = of.memory.clone().search(query, as_vectors(&vectors)).await;
    let found =
        found.map_err(|err| Failure::new(format!("Memory search failed: {err}")))?.to_json();
    let warning = found["warning"].as_str().map(|it| format!("{it}\n")).unwrap_or_default();
    if args.json {
        return Ok(Outcome::json(&json!({"results": found["results"]})).with_stderr(warning));
    }
    let mut page = Page::default();
    for result in found["results"].as_array().into_iter().flatten() {
        let path = result["path"].as_str().unwrap_or_default();
        page.line(format!(
            "{:.3} {}:{}-{}",
            result["score"].as_f64().unwrap_or_default(),
            context.short(path.as_ref()),
            result["startLine"],
            result["endLine"]
        ));
        page.line(result["snippet"].as_str().unwrap_or_default());
        page.gap();
    }
    if page.is_empty() {
        page.line("No matches.");
    }
    Ok(Outcome::text(page).with_stderr(warning))
}
