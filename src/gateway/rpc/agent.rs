//! `agent` and `agent.wait`: a run on behalf of a program, acknowledged at once
//! and answered when it ends.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::agents::run::{Frame, Lane, Origin, Usage};
use crate::agents::sessions::ResetReason;
use crate::agents::{RunHandle, RunOutcome, RunRequest, RunStatus};
use crate::base::id::SessionKey;
use crate::channels::is_known;
use crate::gateway::noted;
use crate::gateway::routing::outbound;
use crate::gateway::rpc::attachments;
use crate::gateway::rpc::params::{flag, text, uint};
use crate::gateway::rpc::usage::totals::number;
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;
use crate::protocol::scope::Scope;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "agent", run: |call| Box::pin(agent(call)) },
    Method { name: "agent.wait", run: |call| Box::pin(wait(call)) },
];

const WAIT_TIMEOUT_MS: u64 = 30_000;
const LONGEST_WAIT_MS: u64 = 24 * 60 * 60 * 1000;

/// Said to the model when a session starts without a first message.
const GREETING: &str = "A fresh session was started. Read your startup files, then greet the user briefly and ask what they want to do.";

async fn agent(call: Call) -> Reply {
    let run_id = call.params["idempotencyKey"].as_str().unwrap_or_default().to_owned();
    let agents = &call.state.agents;
    if agents.known(&run_id).is_none() {
        let request = request(&call, run_id.clone()).await?;
        let message = request.message.clone();
        call.state.runs.started_by(
            &run_id,
            &call.caller,
            text(&call.params, "sessionKey").unwrap_or_default(),
            false,
        );
        let handle = match agents.submit(request).await {
            Ok(handle) => handle,
            Err(err) => {
                call.state.runs.forget(&run_id);
                return Err(err.into());
            }
        };
        if !handle.joined {
            let mut accepted = accepted(&run_id, handle.accepted_at);
            if call.caller.protocol >= 4
                && let (Some(fields), Some(key)) = (accepted.as_object_mut(), &handle.session_key)
            {
                fields.insert("sessionKey".into(), key.as_str().into());
                fields.insert("agentId".into(), agents.sessions().agent_of(key).into());
            }
            call.respond_early(accepted);
            let outcome = noting(&call, &run_id, message, handle).await;
            if flag(&call.params, "deliver") == Some(true) {
                deliver(&call, &outcome).await?;
            }
            return Ok(told(&call, &run_id, &outcome));
        }
    }
    // A repeat gets what is known now, and nothing after that.
    if let Some(outcome) = agents.known(&run_id).flatten() {
        return Ok(told(&call, &run_id, &outcome));
    }
    let active = agents.active();
    let at = active.iter().find(|run| run.run_id == run_id).map(|run| run.accepted_at);
    Ok(accepted(&run_id, at.unwrap_or_else(|| call.now())))
}

/// Waits for the end of a run and notes both ends of it; the run does not wait for the notes.
async fn noting(call: &Call, run_id: &str, message: String, handle: RunHandle) -> Arc<RunOutcome> {
    let Some(key) = handle.session_key.clone() else { return handle.outcome().await };
    let state = &call.state;
    let began = noted::run_began(state, run_id, &key, message, handle.accepted_at);
    let (task, outcome) = tokio::join!(began, handle.outcome());
    noted::run_ended(state, task, &outcome).await;
    outcome
}

/// Says the reply on a channel: the named one, else where the session was last
/// used from, if that was on a channel at all.
async fn deliver(call: &Call, outcome: &RunOutcome) -> Result<(), ErrorShape> {
    if outcome.status != RunStatus::Ok || outcome.silent || outcome.text.trim().is_empty() {
        return Ok(());
    }
    let named = |reply: &str, own: &str| {
        text(&call.params, reply).or_else(|| text(&call.params, own)).map(str::to_owned)
    };
    let (channel, to) = (named("replyChannel", "channel"), named("replyTo", "to"));
    let account = named("replyAccountId", "accountId");
    let main = call.state.agents.sessions().canonical("main");
    let key = outcome.session_key.as_ref().unwrap_or(&main);
    let place =
        outbound::target(&call.state, key, channel.as_deref(), account.as_deref(), to.as_deref());
    let sent = match place.await {
        Ok(place) => outbound::deliver(&call.state, place, &outcome.text).await,
        Err(why) => Err(why),
    };
    let is_named = channel.is_some() || to.is_some();
    match sent {
        Err(why) if is_named && flag(&call.params, "bestEffortDeliver") != Some(true) => {
            Err(ErrorShape::unavailable(format!("the reply was not delivered: {why}")))
        }
        _ => Ok(()),
    }
}

fn accepted(run_id: &str, at: u64) -> Value {
    json!({ "runId": run_id, "status": "accepted", "acceptedAt": at })
}

/// Reads and checks what the caller asks for.
async fn request(call: &Call, run_id: String) -> Result<RunRequest, ErrorShape> {
    let params = &call.params;
    let snapshot = call.state.config.load();
    let sessions = call.state.agents.sessions();
    let model = model_of(call)?;
    let known = super::agents::agent_ids(&snapshot.config, &call.state.paths);
    let agent = text(params, "agentId").map(str::to_lowercase);
    if let Some(agent) = agent.as_ref().filter(|agent| !known.contains(agent)) {
        return Err(ErrorShape::invalid(format!(
            "invalid agent params: unknown agent id \"{agent}\""
        )));
    }
    for key in ["channel", "replyChannel"] {
        let named = text(params, key).map(str::to_lowercase);
        if let Some(channel) = named.filter(|channel| channel != "last" && !is_known(channel)) {
            let text = format!("invalid agent params: unknown channel: {channel}");
            return Err(ErrorShape::invalid(text));
        }
    }
    let typed_key = text(params, "sessionKey");
    if let Some(typed) = typed_key
        && typed.to_lowercase().starts_with("agent:")
        && SessionKey::new(typed).agent().is_none()
    {
        return Err(ErrorShape::invalid(format!(
            "invalid agent params: malformed session key \"{typed}\""
        )));
    }
    let session_id = text(params, "sessionId").map(str::to_owned);
    let key = match (typed_key, &agent, &session_id) {
        (Some(typed), _, _) => Some(sessions.canonical(typed)),
        (None, Some(agent), None) => Some(SessionKey::main(agent, "main")),
        (None, None, None) => Some(sessions.canonical("main")),
        (None, _, Some(_)) => None,
    };
    if let (Some(agent), Some(key), Some(_)) = (&agent, &key, typed_key)
        && key.agent().is_some_and(|owner| owner != agent)
    {
        let owner = key.agent().unwrap_or_default();
        return Err(ErrorShape::invalid(format!(
            "invalid agent params: agent \"{agent}\" does not match session key agent \"{owner}\""
        )));
    }
    let message = params["message"].as_str().unwrap_or_default();
    let message = match reset_command(message) {
        Some((reason, rest)) => {
            call.require(Scope::Admin)?;
            if let Some(key) = &key {
                sessions.reset(key.as_str(), reason).await?;
            }
            if rest.is_empty() { GREETING } else { rest }.to_owned()
        }
        None => message.to_owned(),
    };
    let images = match params.get("attachments").and_then(Value::as_array) {
        Some(list) => attachments::images(list)?,
        None => Vec::new(),
    };
    Ok(RunRequest {
        run_id,
        agent,
        session_key: key,
        session_id,
        message,
        images,
        extra_system_prompt: text(params, "extraSystemPrompt").map(str::to_owned),
        model,
        thinking: text(params, "thinking").map(str::to_owned),
        timeout: uint(params, "timeout").filter(|s| *s > 0).map(Duration::from_secs),
        lane: match text(params, "lane") {
            Some("cron") => Lane::Cron,
            Some("subagent") => Lane::Subagent,
            Some("nested") => Lane::Nested,
            _ => Lane::Main,
        },
        origin: origin(params),
        owner: call.caller.scopes.allow(Scope::Admin),
        frame: Frame::Stamped,
        ..RunRequest::default()
    })
}

/// `provider/model` of an override, which only an admin may ask for.
fn model_of(call: &Call) -> Result<Option<String>, ErrorShape> {
    let (provider, model) = (text(&call.params, "provider"), text(&call.params, "model"));
    if provider.is_none() && model.is_none() {
        return Ok(None);
    }
    if !call.caller.scopes.allow(Scope::Admin) {
        return Err(ErrorShape::invalid(
            "provider/model overrides are not authorized for this caller.",
        ));
    }
    match (provider, model) {
        (Some(provider), Some(model)) => Ok(Some(format!("{provider}/{model}"))),
        (None, Some(model)) => Ok(Some(model.to_owned())),
        _ => Err(ErrorShape::invalid("invalid agent params: provider needs a model")),
    }
}

fn origin(params: &Value) -> Origin {
    let owned = |key: &str| text(params, key).map(str::to_owned);
    Origin {
        channel: owned("channel").filter(|channel| channel != "last"),
        account: owned("accountId"),
        to: owned("to"),
        thread: owned("threadId"),
        ..Origin::default()
    }
}

/// `/new` and `/reset`, with what follows them.
fn reset_command(message: &str) -> Option<(ResetReason, &str)> {
    let message = message.trim();
    let (word, rest) = message.split_once(char::is_whitespace).unwrap_or((message, ""));
    let reason = match word.to_ascii_lowercase().as_str() {
        "/new" => ResetReason::New,
        "/reset" => ResetReason::Reset,
        _ => return None,
    };
    Some((reason, rest.trim()))
}

/// The second response of `agent`, with what protocol 4 says besides.
fn told(call: &Call, run_id: &str, outcome: &RunOutcome) -> Value {
    let mut told = finished(run_id, outcome);
    if call.caller.protocol >= 4 {
        let meta = &mut told["result"]["meta"];
        meta["finalAssistantVisibleText"] = outcome.text.as_str().into();
        meta["finalPromptText"] = call.params["message"].clone();
        if outcome.status == RunStatus::Ok {
            let reason = meta["stopReason"].clone();
            meta["completion"] = json!({ "stopReason": reason, "finishReason": reason });
        }
        let agent = &mut meta["agentMeta"];
        agent["agentHarnessId"] = "openclaw".into();
        if agent.get("usage").is_some() {
            agent["usage"] = usage(&outcome.usage, true);
            agent["usage"]["cost"] = json!({ "total": number(outcome.cost_usd) });
        }
    }
    told
}

/// The second response of `agent` in any protocol. A model's refusal is an answer; only what
/// kept the run from happening is an error.
fn finished(run_id: &str, outcome: &RunOutcome) -> Value {
    let text = match outcome.status {
        RunStatus::Ok | RunStatus::Aborted => outcome.text.as_str(),
        RunStatus::Error | RunStatus::TimedOut => {
            outcome.error.as_deref().unwrap_or(outcome.text.as_str())
        }
    };
    let payloads = if text.trim().is_empty() || (outcome.silent && outcome.error.is_none()) {
        json!([])
    } else {
        json!([{ "text": text, "mediaUrl": null }])
    };
    let mut meta = Map::new();
    meta.insert("durationMs".into(), outcome.ended_at.saturating_sub(outcome.started_at).into());
    meta.insert("agentMeta".into(), agent_meta(outcome));
    meta.insert("aborted".into(), (outcome.status == RunStatus::Aborted).into());
    let stop = match (outcome.status, outcome.stop_reason.as_deref()) {
        (RunStatus::Ok, None) => Some("stop"),
        (RunStatus::Error, _) => Some("error"),
        (_, reason) => reason,
    };
    if let Some(reason) = stop {
        meta.insert("stopReason".into(), reason.into());
    }
    let summary = if outcome.status == RunStatus::Aborted { "aborted" } else { "completed" };
    json!({
        "runId": run_id,
        "status": "ok",
        "summary": summary,
        "result": { "payloads": payloads, "meta": meta },
    })
}

fn agent_meta(outcome: &RunOutcome) -> Value {
    let mut meta = Map::new();
    meta.insert("sessionId".into(), outcome.session_id.clone().into());
    meta.insert("provider".into(), outcome.provider.clone().into());
    meta.insert("model".into(), outcome.model.clone().into());
    let used = outcome.usage != Usage::default();
    if used {
        meta.insert("usage".into(), usage(&outcome.usage, false));
    }
    meta.insert("lastCallUsage".into(), usage(&outcome.last_call, true));
    if used {
        meta.insert("promptTokens".into(), outcome.last_call.prompt().into());
    }
    Value::Object(meta)
}

fn usage(usage: &Usage, with_zeros: bool) -> Value {
    let mut entry = Map::new();
    entry.insert("input".into(), usage.input.into());
    entry.insert("output".into(), usage.output.into());
    if with_zeros || usage.cache_read > 0 {
        entry.insert("cacheRead".into(), usage.cache_read.into());
    }
    if with_zeros || usage.cache_write > 0 {
        entry.insert("cacheWrite".into(), usage.cache_write.into());
    }
    let sum = usage.input + usage.output + usage.cache_read + usage.cache_write;
    entry.insert("total".into(), sum.into());
    Value::Object(entry)
}

async fn wait(call: Call) -> Reply {
    let run_id = text(&call.params, "runId").unwrap_or_default();
    let patience = uint(&call.params, "timeoutMs").unwrap_or(WAIT_TIMEOUT_MS).min(LONGEST_WAIT_MS);
    let outcome = call.state.agents.wait(run_id, Duration::from_millis(patience)).await;
    let Some(outcome) = outcome else {
        return Ok(json!({ "runId": run_id, "status": "timeout" }));
    };
    let status = match outcome.status {
        RunStatus::Ok | RunStatus::Aborted => "ok",
        RunStatus::Error => "error",
        RunStatus::TimedOut => "timeout",
    };
    let mut result = Map::new();
    result.insert("runId".into(), run_id.into());
    result.insert("status".into(), status.into());
    if outcome.started_at > 0 {
        result.insert("startedAt".into(), outcome.started_at.into());
    }
    result.insert("endedAt".into(), outcome.ended_at.into());
    if let Some(error) = outcome.error.as_ref().filter(|_| status != "ok") {
        result.insert("error".into(), error.clone().into());
    }
    Ok(Value::Object(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> RunOutcome {
        let used = Usage { input: 1000, output: 7, cache_read: 200, ..Usage::default() };
        RunOutcome {
            text: "agent hello".into(),
            session_id: "540d9c9a".into(),
            provider: "fake".into(),
            model: "good-1".into(),
            usage: used,
            last_call: used,
            started_at: 1000,
            ended_at: 8593,
            ..RunOutcome::default()
        }
    }

    #[test]
    fn a_good_run_ends_as_recorded() {
        let expected = json!({"runId": "ag-1", "status": "ok", "summary": "completed", "result": {
            "payloads": [{"text": "agent hello", "mediaUrl": null}],
            "meta": {"durationMs": 7593, "agentMeta": {"sessionId": "540d9c9a",
                "provider": "fake", "model": "good-1",
                "usage": {"input": 1000, "output": 7, "cacheRead": 200, "total": 1207},
                "lastCallUsage": {"input": 1000, "output": 7, "cacheRead": 200, "cacheWrite": 0,
                    "total": 1207},
                "promptTokens": 1200}, "aborted": false, "stopReason": "stop"}}});
        assert_eq!(finished("ag-1", &outcome()), expected);
    }

    #[test]
    fn a_models_refusal_is_the_reply() {
        let refused = RunOutcome {
            status: RunStatus::Error,
            text: String::new(),
            error: Some("400 fake provider says no".into()),
            usage: Usage::default(),
            last_call: Usage::default(),
            ..outcome()
        };
        let result = finished("r", &refused);
        assert_eq!(result["status"], "ok");
        assert_eq!(result["result"]["payloads"][0]["text"], "400 fake provider says no");
        let meta = &result["result"]["meta"]["agentMeta"];
        assert!(meta.get("usage").is_none() && meta.get("promptTokens").is_none());
        assert_eq!(meta["lastCallUsage"]["total"], 0);
    }

    #[test]
    fn reset_commands_are_recognised() {
        assert_eq!(reset_command(" /New  hi there "), Some((ResetReason::New, "hi there")));
        assert_eq!(reset_command("/reset"), Some((ResetReason::Reset, "")));
        assert_eq!(reset_command("/newest"), None);
    }
}
