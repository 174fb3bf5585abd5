//! `agent`: one turn of a conversation, run by the gateway. The gateway
//! answers twice; the second answer is the reply.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::id::{self, SessionKey};
use crate::cli::args::chat::AgentArgs;
use crate::cli::context::Context;
use crate::cli::link::Link;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::client::{Caller, Expect};

/// Seconds a run may take unless flag or configuration say otherwise.
const DEFAULT_SECONDS: u64 = 600;
/// What the gateway may take beyond the run itself.
const SLACK: Duration = Duration::from_secs(30);

pub fn run(context: &Context, args: &AgentArgs) -> CommandResult {
    if args.local {
        return Err(Failure::with_code(
            "openclaw agent --local is not part of this gateway: turns run inside the gateway, so \
             start one (openclaw gateway run; openclaw --dev gateway for a try)",
            2,
        ));
    }
    let seconds = seconds(context, args.timeout.as_deref())?;
    let params = params(args, seconds, context)?;
    let link = Link::open(context, None, None, None).map_err(|err| err.failure(""))?;
    // 0 means no limit; the socket still has to end some day.
    let limit = match seconds {
        0 => Duration::from_secs(24 * 3600),
        seconds => Duration::from_secs(seconds) + SLACK,
    };
    let answer = context.block_on(async {
        link.call(Caller::CLI, "agent", Some(params), Expect::Final, limit)
            .await
            .map_err(|err| err.failure(""))
    })?;
    if args.json {
        return Ok(Outcome::json(&answer));
    }
    Ok(Outcome::text(reply(&answer)))
}

fn seconds(context: &Context, flag: Option<&str>) -> Result<u64, Failure> {
    match flag.map(str::trim) {
        Some(text) => text.parse().map_err(|_| {
            Failure::new(
                "Error: --timeout must be a positive integer (seconds; 0 means no timeout)",
            )
        }),
        None => Ok(context.config().runtime["agents"]["defaults"]["timeoutSeconds"]
            .as_u64()
            .unwrap_or(DEFAULT_SECONDS)),
    }
}

/// The `agent` request; without a conversation named, the default agent's own.
fn params(args: &AgentArgs, seconds: u64, context: &Context) -> Result<Value, Failure> {
    let given = |text: &Option<String>| {
        text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let message = args.message.trim();
    if message.is_empty() {
        return Err(Failure::new("Error: Message (--message) is required"));
    }
    let (to, session_id, agent) = (given(&args.to), given(&args.session_id), given(&args.agent));
    let snapshot = context.config();
    let known =
        snapshot.runtime["agents"]["list"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(agent) = &agent
        && !known.is_empty()
        && !known
            .iter()
            .any(|entry| entry["id"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(agent)))
    {
        return Err(Failure::new(format!(
            "Error: Unknown agent id \"{agent}\". Use \"{} agents list\" to see configured agents.",
            context.program()
        )));
    }
    let session_key =
        session_id.is_none().then(|| main_session(&snapshot.runtime, agent.as_deref()));
    let mut params = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            params.insert(key.to_owned(), value);
        }
    };
    set("message", Some(json!(message)));
    set("agentId", agent.map(Value::from));
    set("to", to.map(Value::from));
    set("replyTo", given(&args.reply_to).map(Value::from));
    set("sessionId", session_id.map(Value::from));
    set("sessionKey", session_key.map(Value::from));
    set("thinking", given(&args.thinking).map(Value::from));
    set("deliver", Some(json!(args.deliver)));
    set("channel", given(&args.channel).map(Value::from));
    set("replyChannel", given(&args.reply_channel).map(Value::from));
    set("replyAccountId", given(&args.reply_account).map(Value::from));
    set("timeout", Some(json!(seconds)));
    set("idempotencyKey", Some(json!(id::uuid())));
    Ok(Value::Object(params))
}

/// The conversation that direct messages share.
fn main_session(runtime: &Value, agent: Option<&str>) -> String {
    let session = &runtime["session"];
    if session["scope"] == "global" {
        return "global".to_owned();
    }
    let list = runtime["agents"]["list"].as_array().map(Vec::as_slice).unwrap_or_default();
    let default = list.iter().find(|entry| entry["default"] == json!(true)).or(list.first());
    let agent = agent.or(default.and_then(|entry| entry["id"].as_str())).unwrap_or("main");
    let main_key = session["mainKey"].as_str().unwrap_or("main");
    SessionKey::main(agent, main_key).to_string()
}

/// The texts of a reply, media as lines of their own.
fn reply(answer: &Value) -> String {
    let payloads = answer["result"]["payloads"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = Vec::new();
    for payload in payloads {
        lines.extend(payload["text"].as_str().filter(|text| !text.is_empty()).map(str::to_owned));
        let many = payload["mediaUrls"].as_array().map(Vec::as_slice).unwrap_or_default();
        let one = payload["mediaUrl"].as_str().filter(|_| many.is_empty());
        let media = many.iter().filter_map(Value::as_str).chain(one);
        lines.extend(media.map(|url| format!("MEDIA:{url}")));
    }
    if lines.is_empty() {
        return answer["summary"].as_str().unwrap_or("No reply from agent.").to_owned();
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_without_a_session_id_goes_to_the_main_conversation() {
        let runtime = json!({"agents": {"list": [{"id": "a"}, {"id": "b", "default": true}]}});
        assert_eq!(main_session(&runtime, None), "agent:b:main");
        assert_eq!(main_session(&runtime, Some("A")), "agent:a:main");
        assert_eq!(main_session(&json!({"session": {"mainKey": "home"}}), None), "agent:main:home");
        assert_eq!(main_session(&json!({"session": {"scope": "global"}}), None), "global");
    }

    #[test]
    fn a_reply_is_its_texts_and_media() {
        let answer = json!({"summary": "completed", "result": {"payloads": [
            {"text": "one", "mediaUrl": null},
            {"text": "", "mediaUrl": "a.png"},
            {"text": "two", "mediaUrls": ["b.png", "c.png"], "mediaUrl": "b.png"},
        ]}});
        assert_eq!(reply(&answer), "one\nMEDIA:a.png\ntwo\nMEDIA:b.png\nMEDIA:c.png");
        assert_eq!(reply(&json!({"summary": "completed"})), "completed");
        assert_eq!(reply(&json!({})), "No reply from agent.");
    }
}
