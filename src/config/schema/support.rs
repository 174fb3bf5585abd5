//! Which keys this gateway heeds, and the page that lists every key with its
//! reload class: `docs/configuration.md` and the notes in `config schema` come
//! from here and from the table that validates.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::reload::plan::{Action, action_for};
use crate::config::schema::table::{Edge, Kind, Shape, Table};

/// What a key does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    Native,
    /// Checked and kept, without effect.
    Inert,
}

impl Support {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Inert => "accepted, inert",
        }
    }
}

use Support::{Inert, Native};

/// Plugin entries that a later release knows and that switch on parts of this
/// gateway: the metrics and the calls over HTTP.
pub const METRICS: &str = "diagnostics-prometheus";
pub const ADMIN_RPC: &str = "admin-http-rpc";

/// The longest matching prefix decides; `*` stands for any key, `[]` for items.
/// Without a match a key is inert.
const SUPPORT: &[(&str, Support)] = &[
    ("$schema", Native),
    ("agents.defaults.bootstrapMaxChars", Native),
    ("agents.defaults.bootstrapTotalMaxChars", Native),
    ("agents.defaults.compaction.mode", Native),
    ("agents.defaults.compaction.model", Native),
    ("agents.defaults.compaction.reserveTokensFloor", Native),
    ("agents.defaults.compaction.timeoutSeconds", Native),
    ("agents.defaults.contextTokens", Native),
    ("agents.defaults.heartbeat", Native),
    ("agents.defaults.heartbeat.directPolicy", Inert),
    ("agents.defaults.heartbeat.includeReasoning", Inert),
    ("agents.defaults.heartbeat.isolatedSession", Inert),
    ("agents.defaults.heartbeat.lightContext", Inert),
    ("agents.defaults.heartbeat.suppressToolErrorWarnings", Inert),
    ("agents.defaults.maxConcurrent", Native),
    ("agents.defaults.memorySearch", Native),
    ("agents.defaults.memorySearch.cache", Inert),
    ("agents.defaults.memorySearch.experimental", Inert),
    ("agents.defaults.memorySearch.fallback", Inert),
    ("agents.defaults.memorySearch.local", Inert),
    ("agents.defaults.memorySearch.multimodal", Inert),
    ("agents.defaults.memorySearch.qmd", Inert),
    ("agents.defaults.memorySearch.remote.batch", Inert),
    ("agents.defaults.memorySearch.sources", Inert),
    ("agents.defaults.memorySearch.store.path", Inert),
    ("agents.defaults.memorySearch.store.vector.extensionPath", Inert),
    ("agents.defaults.memorySearch.sync", Inert),
    ("agents.defaults.model", Native),
    ("agents.defaults.models", Native),
    ("agents.defaults.sandbox.mode", Native),
    ("agents.defaults.skipBootstrap", Native),
    ("agents.defaults.subagents.maxConcurrent", Native),
    ("agents.defaults.subagents.model", Native),
    ("agents.defaults.subagents.thinking", Native),
    ("agents.defaults.thinkingDefault", Native),
    ("agents.defaults.timeoutSeconds", Native),
    ("agents.defaults.userTimezone", Native),
    ("agents.defaults.verboseDefault", Native),
    ("agents.defaults.workspace", Native),
    ("agents.list", Native),
    ("agents.list.[].fastModeDefault", Inert),
    ("agents.list.[].humanDelay", Inert),
    ("agents.list.[].reasoningDefault", Inert),
    ("agents.list.[].runtime", Inert),
    ("agents.list.[].sandbox", Inert),
    ("agents.list.[].sandbox.mode", Native),
    ("auth.cooldowns.billingBackoffHours", Native),
    ("auth.cooldowns.billingMaxHours", Native),
    ("auth.cooldowns.failureWindowHours", Native),
    ("auth.order", Native),
    ("bindings", Native),
    ("bindings.[].acp", Inert),
    ("bindings.[].match.guildId", Inert),
    ("bindings.[].match.roles", Inert),
    ("bindings.[].match.teamId", Inert),
    ("channels.irc.accounts", Native),
    ("channels.irc.allowFrom", Native),
    ("channels.irc.channels", Native),
    ("channels.irc.chunkMode", Native),
    ("channels.irc.dangerouslyAllowNameMatching", Native),
    ("channels.irc.defaultAccount", Native),
    ("channels.irc.dmPolicy", Native),
    ("channels.irc.enabled", Native),
    ("channels.irc.groupAllowFrom", Native),
    ("channels.irc.groupPolicy", Native),
    ("channels.irc.groups", Native),
    ("channels.irc.groups.*.skills", Inert),
    ("channels.irc.historyLimit", Native),
    ("channels.irc.host", Native),
    ("channels.irc.name", Native),
    ("channels.irc.nick", Native),
    ("channels.irc.nickserv", Native),
    ("channels.irc.password", Native),
    ("channels.irc.passwordFile", Native),
    ("channels.irc.port", Native),
    ("channels.irc.realname", Native),
    ("channels.irc.responsePrefix", Native),
    ("channels.irc.textChunkLimit", Native),
    ("channels.irc.tls", Native),
    ("channels.irc.username", Native),
    ("channels.matrix.accessToken", Native),
    ("channels.matrix.accounts", Native),
    ("channels.matrix.actions", Native),
    ("channels.matrix.actions.profile", Inert),
    ("channels.matrix.actions.verification", Inert),
    ("channels.matrix.allowPrivateNetwork", Native),
    ("channels.matrix.autoJoin", Native),
    ("channels.matrix.autoJoinAllowlist", Native),
    ("channels.matrix.chunkMode", Native),
    ("channels.matrix.defaultAccount", Native),
    ("channels.matrix.deviceName", Native),
    ("channels.matrix.dm", Native),
    ("channels.matrix.dm.threadReplies", Inert),
    ("channels.matrix.enabled", Native),
    ("channels.matrix.groupAllowFrom", Native),
    ("channels.matrix.groupPolicy", Native),
    ("channels.matrix.groups", Native),
    ("channels.matrix.groups.*.account", Inert),
    ("channels.matrix.groups.*.allowBots", Inert),
    ("channels.matrix.groups.*.skills", Inert),
    ("channels.matrix.historyLimit", Native),
    ("channels.matrix.homeserver", Native),
    ("channels.matrix.name", Native),
    ("channels.matrix.password", Native),
    ("channels.matrix.replyToMode", Native),
    ("channels.matrix.responsePrefix", Native),
    ("channels.matrix.rooms", Native),
    ("channels.matrix.textChunkLimit", Native),
    ("channels.matrix.threadReplies", Native),
    ("channels.matrix.userId", Native),
    ("channels.telegram.accounts", Native),
    ("channels.telegram.actions", Native),
    ("channels.telegram.actions.sendMessage", Inert),
    ("channels.telegram.allowFrom", Native),
    ("channels.telegram.apiRoot", Native),
    ("channels.telegram.botToken", Native),
    ("channels.telegram.chunkMode", Native),
    ("channels.telegram.defaultAccount", Native),
    ("channels.telegram.dmPolicy", Native),
    ("channels.telegram.enabled", Native),
    ("channels.telegram.groupAllowFrom", Native),
    ("channels.telegram.groupPolicy", Native),
    ("channels.telegram.groups", Native),
    ("channels.telegram.groups.*.disableAudioPreflight", Inert),
    ("channels.telegram.groups.*.errorCooldownMs", Inert),
    ("channels.telegram.groups.*.errorPolicy", Inert),
    ("channels.telegram.groups.*.skills", Inert),
    ("channels.telegram.groups.*.topics.*.agentId", Inert),
    ("channels.telegram.groups.*.topics.*.disableAudioPreflight", Inert),
    ("channels.telegram.groups.*.topics.*.errorCooldownMs", Inert),
    ("channels.telegram.groups.*.topics.*.errorPolicy", Inert),
    ("channels.telegram.groups.*.topics.*.skills", Inert),
    ("channels.telegram.healthMonitor", Native),
    ("channels.telegram.historyLimit", Native),
    ("channels.telegram.linkPreview", Native),
    ("channels.telegram.name", Native),
    ("channels.telegram.replyToMode", Native),
    ("channels.telegram.responsePrefix", Native),
    ("channels.telegram.textChunkLimit", Native),
    ("channels.telegram.tokenFile", Native),
    ("channels.telegram.webhookHost", Native),
    ("channels.telegram.webhookPath", Native),
    ("channels.telegram.webhookPort", Native),
    ("channels.telegram.webhookSecret", Native),
    ("channels.telegram.webhookUrl", Native),
    ("commands.allowFrom", Native),
    ("commands.ownerAllowFrom", Native),
    ("commands.restart", Native),
    ("commands.text", Native),
    ("cron.enabled", Native),
    ("cron.failureAlert", Native),
    ("cron.failureDestination", Native),
    ("cron.maxConcurrentRuns", Native),
    ("cron.retry", Native),
    ("cron.runLog", Native),
    ("cron.sessionRetention", Native),
    ("cron.store", Native),
    ("cron.webhook", Native),
    ("cron.webhookToken", Native),
    ("discovery.mdns", Native),
    ("env", Native),
    ("env.shellEnv", Inert),
    ("gateway", Native),
    ("gateway.http.endpoints.responses.files.pdf.maxPixels", Inert),
    ("gateway.nodes.browser", Inert),
    ("gateway.push", Inert),
    ("gateway.remote.transport", Inert),
    ("gateway.webchat", Inert),
    ("hooks", Native),
    ("hooks.gmail", Inert),
    ("hooks.internal", Inert),
    ("hooks.transformsDir", Inert),
    ("logging", Native),
    ("logging.consoleStyle", Inert),
    ("logging.redactPatterns", Inert),
    ("mcp", Native),
    ("messages.ackReaction", Native),
    ("messages.ackReactionScope", Native),
    ("messages.groupChat", Native),
    ("messages.queue", Native),
    ("messages.queue.debounceMsByChannel", Inert),
    ("messages.responsePrefix", Native),
    ("meta", Native),
    ("models", Native),
    ("models.bedrockDiscovery", Inert),
    ("models.providers.*.injectNumCtxForOpenAICompat", Inert),
    ("models.providers.*.models.[].compat.nativeWebSearchTool", Inert),
    ("models.providers.*.models.[].compat.requiresAssistantAfterToolResult", Inert),
    ("models.providers.*.models.[].compat.requiresMistralToolIds", Inert),
    ("models.providers.*.models.[].compat.requiresOpenAiAnthropicToolPayload", Inert),
    ("models.providers.*.models.[].compat.requiresThinkingAsText", Inert),
    ("models.providers.*.models.[].compat.supportsStrictMode", Inert),
    ("models.providers.*.models.[].compat.supportsTools", Inert),
    ("models.providers.*.models.[].compat.thinkingFormat", Inert),
    ("models.providers.*.models.[].compat.toolCallArgumentsEncoding", Inert),
    ("models.providers.*.models.[].compat.toolSchemaProfile", Inert),
    ("models.providers.*.models.[].compat.unsupportedToolSchemaKeywords", Inert),
    ("plugins.allow", Native),
    ("plugins.deny", Native),
    ("plugins.entries", Native),
    ("secrets", Native),
    ("session.dmScope", Native),
    ("session.identityLinks", Native),
    ("session.idleMinutes", Native),
    ("session.mainKey", Native),
    ("session.maintenance", Native),
    ("session.maintenance.rotateBytes", Inert),
    ("session.reset", Native),
    ("session.resetByChannel", Native),
    ("session.resetByType", Native),
    ("session.scope", Native),
    ("session.store", Native),
    ("skills.entries", Native),
    ("skills.load.extraDirs", Native),
    ("tools.agentToAgent", Native),
    ("tools.allow", Native),
    ("tools.alsoAllow", Native),
    ("tools.byProvider", Native),
    ("tools.deny", Native),
    ("tools.exec", Native),
    ("tools.exec.applyPatch", Inert),
    ("tools.exec.cleanupMs", Inert),
    ("tools.exec.pathPrepend", Inert),
    ("tools.exec.safeBinProfiles", Inert),
    ("tools.exec.safeBinTrustedDirs", Inert),
    ("tools.exec.safeBins", Inert),
    ("tools.exec.strictInlineEval", Inert),
    ("tools.fs", Native),
    ("tools.profile", Native),
    ("tools.sessions", Native),
    ("tools.subagents", Native),
    ("ui", Native),
    ("wizard", Native),
];

/// What the key at `path` does.
pub fn of(path: &str) -> Support {
    let path = &shared(path);
    let matching = SUPPORT.iter().filter(|(prefix, _)| is_below(path, prefix));
    matching.max_by_key(|(prefix, _)| prefix.len()).map_or(Inert, |(_, support)| *support)
}

/// The spelling of `path` under which its rule stands: what an account or an
/// agent sets has the effect it has for all of them.
fn shared(path: &str) -> String {
    if let Some(rest) = path.strip_prefix("agents.list.[].")
        && ["heartbeat", "memorySearch"].iter().any(|section| is_below(rest, section))
    {
        return format!("agents.defaults.{rest}");
    }
    match path.split_once(".accounts.*.") {
        Some((channel, rest)) if channel.starts_with("channels.") => format!("{channel}.{rest}"),
        _ => path.to_owned(),
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The top-level sections of a document of which nothing has an effect.
pub fn inert_sections(document: &Value) -> Vec<&str> {
    let sections = document.as_object().into_iter().flatten();
    let alive = |name: &str| {
        SUPPORT.iter().any(|(path, support)| *support == Native && is_below(path, name))
    };
    sections.map(|(name, _)| name.as_str()).filter(|name| !alive(name)).collect()
}

/// The word for a reload class.
pub fn reload_word(path: &str) -> &'static str {
    match action_for(path) {
        Action::Nothing => "live",
        Action::Hot => "hot",
        Action::Restart => "restart",
    }
}

const HEAD: &str = "# Configuration

`~/.openclaw/openclaw.json` is JSON5: comments, trailing commas, single quotes and bare keys are fine.
An edit is taken over while the gateway runs; nobody is disconnected.
What cannot be used changes nothing: the configuration before it stays in force, and `openclaw status`, `openclaw health`, the log and `systemctl status` say why.
A start that finds a broken file serves with the last known good one, and says so; `openclaw gateway run --strict-config` refuses instead.

- *live*: read when it is needed. *hot*: a running part is told. *restart*: the process starts over when no run is active; the port stays open.
- *native*: has its effect here. *accepted, inert*: checked and kept, because the Node gateway knows it, without effect here.
- A required key has a `!`. `*` is any key, `[]` an item of a list. A secret may be text, `${VARIABLE}` or a reference (`docs/secrets.md`).

This page is rendered from the table that validates the file; `openclaw config schema` prints the same as JSON Schema.
";

/// The page about every key.
pub fn page(table: &Table) -> String {
    let mut page = HEAD.to_owned();
    let mut known: Vec<(*const Shape, String)> = Vec::new();
    for section in table.root().named() {
        let _infallible = write!(
            page,
            "\n## {}\n\n| key | value | reload | support |\n|---|---|---|---|\n",
            section.key
        );
        rows(table, section, section.key, &mut known, &mut page);
    }
    page
}

fn rows(
    table: &Table,
    edge: &Edge,
    path: &str,
    known: &mut Vec<(*const Shape, String)>,
    page: &mut String,
) {
    let shape = table.shape(edge);
    let parts = parts(table, shape);
    // A shape that occurs again is described once.
    let again = known.iter().find(|(seen, _)| *seen == std::ptr::from_ref(shape));
    let mut value = word(table, shape);
    if let Some((_, first)) = again
        && !parts.is_empty()
    {
        let _infallible = write!(value, "; the same keys as `{first}`");
    }
    let mark = if edge.required { "!" } else { "" };
    let _infallible = writeln!(
        page,
        "| `{path}{mark}` | {} | {} | {} |",
        value.replace('|', "\\|"),
        reload_word(path),
        of(path).as_str()
    );
    if again.is_some() {
        return;
    }
    known.push((std::ptr::from_ref(shape), path.to_owned()));
    for part in parts {
        rows(table, part, &format!("{path}.{}", part.key), known, page);
    }
}

/// The named parts of a shape, through alternatives.
fn parts<'t>(table: &'t Table, shape: &'t Shape) -> Vec<&'t Edge> {
    match shape.kind {
        Kind::Union | Kind::OneOf => {
            let mut parts: Vec<&Edge> = Vec::new();
            for part in shape.edges.iter().flat_map(|edge| self::parts(table, table.shape(edge))) {
                if !parts.iter().any(|seen| seen.key == part.key) {
                    parts.push(part);
                }
            }
            parts
        }
        _ => shape.edges.iter().filter(|edge| edge.key != "|").collect(),
    }
}

/// The kind of a value, its choices and its bounds, in words.
fn word(table: &Table, shape: &Shape) -> String {
    let mut word = match shape.kind {
        Kind::Any => "anything".to_owned(),
        Kind::Null => "null".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Int => "whole number".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::String => "text".to_owned(),
        Kind::Secret => "secret".to_owned(),
        Kind::Ref => "secret reference".to_owned(),
        Kind::Strict => "object".to_owned(),
        Kind::Object => "open object".to_owned(),
        Kind::Array => "list".to_owned(),
        Kind::Enum | Kind::Literals => {
            let choices: Vec<String> =
                shape.literals().map(|choice| format!("`{choice}`")).collect();
            choices.join(", ")
        }
        Kind::Union | Kind::OneOf => {
            let mut kinds: Vec<String> = Vec::new();
            for edge in &shape.edges {
                let kind = self::word(table, table.shape(edge));
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            kinds.join(" or ")
        }
    };
    if !shape.bounds.is_empty() {
        let _infallible = write!(word, " ({})", shape.bounds);
    }
    word
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::schema::table;

    #[test]
    fn every_rule_names_a_key_of_the_table() {
        for (path, _) in SUPPORT {
            assert!(table::table().at(path.split('.')).is_some(), "{path}");
        }
        assert!(SUPPORT.is_sorted_by_key(|(path, _)| path));
    }

    #[test]
    fn the_page_is_what_is_rendered() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let rendered = page(table::table());
        if option_env!("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text == rendered, "{} differs; render it with UPDATE_DOCS=1", path.display());
    }

    #[test]
    fn a_section_without_any_effect_is_named() {
        let document = json!({"browser": {}, "gateway": {}, "agents": {}, "canvasHost": {},
            "channels": {}, "plugins": {}, "bindings": []});
        assert_eq!(inert_sections(&document), ["browser", "canvasHost"]);
        assert_eq!(of("gateway.push"), Inert);
        assert_eq!(of("gateway.port"), Native);
        assert_eq!(of("channels.telegram.accounts.*.botToken"), Native);
        assert_eq!(of("channels.telegram.accounts.*.streaming"), Inert);
        assert_eq!(of("channels.discord.token"), Inert);
        assert_eq!(of("agents.list.[].heartbeat.activeHours"), Native);
        assert_eq!(of("agents.list.[].heartbeat.isolatedSession"), Inert);
        assert_eq!(reload_word("gateway.port"), "restart");
    }
}
