//! What of the parameters of `system.run` reaches a node. Pure.
//!
//! A node runs what is marked as approved without asking anybody. So the mark
//! is the gateway's alone: it is set where an operator decided about this very
//! command for this node, and what a client writes there goes no further.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::base::hex;
use crate::gateway::approvals::{Asker, Decision, Outcome, Ticket};

/// What a client may say; everything else stays here.
const FORWARDED: [&str; 11] = [
    "command",
    "rawCommand",
    "systemRunPlan",
    "cwd",
    "env",
    "timeoutMs",
    "needsScreenRecording",
    "agentId",
    "sessionKey",
    "runId",
    "suppressNotifyOnExit",
];

/// Shells whose text after `-c` may stand for the whole command.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ash", "ksh", "fish"];

/// Why nothing is sent to the node.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub message: String,
    pub details: Value,
}

/// Who asks the node, and for which node.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    pub node_id: &'q str,
    pub asker: &'q Asker,
    /// Whether the caller could have decided.
    pub decides: bool,
    pub now: u64,
}

/// Parameters that go to the node.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleared {
    pub params: Value,
    /// The decision that this run uses up.
    pub uses: Option<String>,
}

/// Judges the parameters of a `system.run`. `ticket` finds a question that was
/// put to the operators.
pub fn clear(
    params: &Value,
    question: Question<'_>,
    ticket: impl FnOnce(&str) -> Option<Ticket>,
) -> Result<Cleared, Refusal> {
    let Some(given) = params.as_object() else {
        return Ok(Cleared { params: params.clone(), uses: None });
    };
    let kept = given.iter().filter(|(key, _)| FORWARDED.contains(&key.as_str()));
    let mut next: Map<String, Value> =
        kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    let wanted = text(params, "approvalDecision")
        .and_then(Decision::parse)
        .filter(|decision| *decision != Decision::Deny);
    if given.get("approved") != Some(&Value::Bool(true)) && wanted.is_none() {
        consistent(params)?;
        return Ok(Cleared { params: Value::Object(next), uses: None });
    }
    let Some(run) = text(params, "runId") else {
        return Err(guard("MISSING_RUN_ID", "approval override requires params.runId", None));
    };
    let deny = |code: &str, message: &str| guard(code, message, Some(run));
    let Some(ticket) = ticket(run) else {
        return Err(deny("UNKNOWN_APPROVAL_ID", "unknown or expired approval id"));
    };
    if question.now > ticket.expires_at_ms {
        return Err(deny("APPROVAL_EXPIRED", "approval expired"));
    }
    match text(&ticket.request, "nodeId") {
        None => {
            return Err(deny("APPROVAL_NODE_BINDING_MISSING", "approval id missing node binding"));
        }
        Some(node) if node != question.node_id => {
            return Err(deny("APPROVAL_NODE_MISMATCH", "approval id not valid for this node"));
        }
        Some(_) => {}
    }
    if ticket.asker.device.is_some() {
        if ticket.asker.device != question.asker.device {
            return Err(deny("APPROVAL_DEVICE_MISMATCH", "approval id not valid for this device"));
        }
    } else if ticket.asker.conn != question.asker.conn {
        return Err(deny("APPROVAL_CLIENT_MISMATCH", "approval id not valid for this client"));
    }
    let Some(plan) = plan(&ticket.request["systemRunPlan"]) else {
        return Err(deny("APPROVAL_REQUEST_MISMATCH", "approval id does not match request"));
    };
    same_environment(&ticket.request["systemRunBinding"], given.get("env"), run)?;
    // What runs is what was shown, whatever the caller says now.
    if let Some(env) = next.get_mut("env") {
        *env = environment(env).into_iter().collect::<Value>();
    }
    next.insert("command".into(), plan["argv"].clone());
    next.insert("rawCommand".into(), plan["commandText"].clone());
    for key in ["cwd", "agentId", "sessionKey"] {
        match text(&plan, key) {
            Some(value) => drop(next.insert(key.into(), value.into())),
            None => drop(next.shift_remove(key)),
        }
    }
    next.insert("systemRunPlan".into(), plan);
    let undecided = question.decides && wanted == Some(Decision::AllowOnce);
    let (decision, uses) = match ticket.outcome() {
        Outcome::Closed(Some(Decision::AllowAlways)) => (Decision::AllowAlways, None),
        Outcome::Closed(Some(Decision::AllowOnce)) => (Decision::AllowOnce, Some(run.to_owned())),
        // Nobody answered in time; who may decide says what it decided itself.
        Outcome::Closed(None) if undecided => (Decision::AllowOnce, Some(run.to_owned())),
        _ => return Err(deny("APPROVAL_REQUIRED", "approval required")),
    };
    next.insert("approved".into(), true.into());
    next.insert("approvalDecision".into(), decision.as_str().into());
    Ok(Cleared { params: Value::Object(next), uses })
}

/// The refusal of a decision that has been used up meanwhile.
pub fn used_up(run: &str) -> Refusal {
    guard("APPROVAL_REQUIRED", "approval required", Some(run))
}

/// A plan of a run with everything that it must say, or `None`.
pub fn plan(given: &Value) -> Option<Value> {
    let argv = given.get("argv")?.as_array()?;
    let argv: Vec<&str> = argv.iter().filter_map(Value::as_str).collect();
    if argv.is_empty() {
        return None;
    }
    let mut plan = Map::new();
    let mut put = |key: &str, value: Value| drop(plan.insert(key.to_owned(), value));
    put("argv", json!(argv));
    put("cwd", json!(text(given, "cwd")));
    put("commandText", text(given, "commandText")?.into());
    put("commandPreview", json!(text(given, "commandPreview")));
    for key in ["agentId", "sessionKey"] {
        put(key, json!(text(given, key)));
    }
    if let Some(file) = given.get("mutableFileOperand").filter(|file| file.is_object()) {
        put("mutableFileOperand", file.clone());
    }
    Some(Value::Object(plan))
}

/// What a decision is bound to, as questions show it.
pub fn binding(plan: &Value, env: &Value) -> Value {
    json!({
        "argv": plan["argv"],
        "cwd": plan["cwd"],
        "agentId": plan["agentId"],
        "sessionKey": plan["sessionKey"],
        "envHash": environment_hash(env),
    })
}

/// Names of the variables that a run sets, sorted.
pub fn environment_names(env: &Value) -> Vec<&str> {
    environment(env).into_iter().map(|(name, _)| name).collect()
}

fn environment(env: &Value) -> Vec<(&str, &str)> {
    let allowed = |name: &str| {
        let mut chars = name.chars();
        chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && chars.all(|rest| rest.is_ascii_alphanumeric() || "_()".contains(rest))
    };
    let entries = env.as_object().into_iter().flatten();
    let mut entries: Vec<(&str, &str)> = entries
        .filter_map(|(name, value)| Some((name.trim(), value.as_str()?)))
        .filter(|(name, _)| allowed(name))
        .collect();
    entries.sort_unstable();
    entries
}

fn environment_hash(env: &Value) -> Option<String> {
    let entries = environment(env);
    let text = (!entries.is_empty()).then(|| json!(entries).to_string())?;
    Some(hex::encode(&Sha256::digest(text.as_bytes())))
}

fn same_environment(expected: &Value, env: Option<&Value>, run: &str) -> Result<(), Refusal> {
    let env = env.unwrap_or(&Value::Null);
    let actual = environment_hash(env);
    let refuse = |code: &str, message: &str| {
        let mut refusal = guard(code, message, Some(run));
        refusal.details["envKeys"] = json!(environment_names(env));
        Err(refusal)
    };
    match (text(expected, "envHash"), actual.as_deref()) {
        (None, Some(_)) => refuse(
            "APPROVAL_ENV_BINDING_MISSING",
            "approval id missing env binding for requested env overrides",
        ),
        (expected, actual) if expected != actual => {
            refuse("APPROVAL_ENV_MISMATCH", "approval id env binding mismatch")
        }
        _ => Ok(()),
    }
}

/// Whether the text shown to people is the command that runs.
fn consistent(params: &Value) -> Result<(), Refusal> {
    let Some(raw) = text(params, "rawCommand") else { return Ok(()) };
    let argv: Vec<&str> =
        params["command"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if argv.is_empty() {
        return Err(guard("MISSING_COMMAND", "rawCommand requires params.command", None));
    }
    let said = command_line(&argv);
    let name = argv[0].rsplit('/').next().unwrap_or_default();
    let wrapped = match argv[..] {
        [_, flags, payload] if SHELLS.contains(&name) => {
            flags.starts_with('-') && flags.ends_with('c') && raw == payload.trim()
        }
        _ => false,
    };
    if raw == said || wrapped {
        return Ok(());
    }
    let message = "INVALID_REQUEST: rawCommand does not match command";
    let mut refusal = guard("RAW_COMMAND_MISMATCH", message, None);
    refusal.details["rawCommand"] = raw.into();
    refusal.details["inferred"] = said.into();
    Err(refusal)
}

/// A command as text, with quotes where a word needs them.
fn command_line(argv: &[&str]) -> String {
    let quoted = argv.iter().map(|word| {
        if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c == '"') {
            format!("\"{}\"", word.replace('"', "\\\""))
        } else {
            (*word).to_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn guard(code: &str, message: &str, run: Option<&str>) -> Refusal {
    let mut details = json!({ "code": code });
    if let Some(run) = run {
        details["runId"] = run.into();
    }
    Refusal { message: message.to_owned(), details }
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::approvals::Desk;

    fn asker(device: Option<&str>, conn: &str) -> Asker {
        Asker { device: device.map(str::to_owned), conn: conn.to_owned() }
    }

    fn request(node: &str, env: &Value) -> Value {
        let given = json!({"argv": ["ls", "-l"], "commandText": "ls -l", "cwd": "/srv"});
        let plan = plan(&given).unwrap();
        json!({"host": "node", "nodeId": node, "systemRunBinding": binding(&plan, env),
            "systemRunPlan": plan})
    }

    /// A desk with the question `r1`, decided as told.
    fn desk(env: &Value, decision: Option<Decision>) -> Desk {
        let desk = Desk::default();
        let by = asker(Some("d1"), "c1");
        desk.open("r1".into(), request("n1", env), by, 1000, 0).unwrap();
        desk.close("r1", decision, 1);
        desk
    }

    fn run(desk: &Desk, who: &Asker, decides: bool, params: &Value) -> Result<Cleared, Refusal> {
        let question = Question { node_id: "n1", asker: who, decides, now: 2 };
        clear(params, question, |id| desk.get(id, 2))
    }

    #[test]
    fn nobody_approves_a_run_by_saying_so() {
        let desk = desk(&Value::Null, Some(Decision::Deny));
        let who = asker(Some("d1"), "c1");
        let plain = json!({"command": ["ls"], "approved": "yes", "approvalSource": "me", "x": 1});
        let cleared = run(&desk, &who, true, &plain).unwrap();
        assert_eq!(cleared, Cleared { params: json!({"command": ["ls"]}), uses: None });
        let code = |params: Value| {
            let refusal = run(&desk, &who, false, &params).unwrap_err();
            refusal.details["code"].as_str().unwrap().to_owned()
        };
        let claim = json!({"command": ["rm", "-rf", "/"], "approved": true});
        assert_eq!(code(claim), "MISSING_RUN_ID");
        assert_eq!(code(json!({"approved": true, "runId": "r9"})), "UNKNOWN_APPROVAL_ID");
        assert_eq!(code(json!({"approved": true, "runId": "r1"})), "APPROVAL_REQUIRED");
        let decided = json!({"approvalDecision": "allow-always", "runId": "r1"});
        assert_eq!(code(decided), "APPROVAL_REQUIRED");
    }

    #[test]
    fn what_runs_is_what_was_decided_about() {
        let desk = desk(&Value::Null, Some(Decision::AllowOnce));
        let claim = json!({"command": ["rm", "-rf", "/"], "cwd": "/", "approved": true,
            "approvalDecision": "allow-once", "agentId": "other", "runId": "r1"});
        let cleared = run(&desk, &asker(Some("d1"), "c2"), false, &claim).unwrap();
        assert_eq!(cleared.params["command"], json!(["ls", "-l"]));
        assert_eq!(cleared.params["cwd"], "/srv");
        assert_eq!(cleared.params["approved"], true);
        assert!(cleared.params.get("agentId").is_none());
        assert_eq!(cleared.uses.as_deref(), Some("r1"));
        let other = run(&desk, &asker(Some("d2"), "c1"), true, &claim).unwrap_err();
        assert_eq!(other.details["code"], "APPROVAL_DEVICE_MISMATCH");
        let mut with_env = claim.clone();
        with_env["env"] = json!({"LD_PRELOAD": "/tmp/x.so"});
        let refusal = run(&desk, &asker(Some("d1"), "c1"), true, &with_env).unwrap_err();
        assert_eq!(refusal.details["code"], "APPROVAL_ENV_BINDING_MISSING");
        assert_eq!(refusal.details["envKeys"], json!(["LD_PRELOAD"]));
        let who = asker(Some("d1"), "c1");
        let elsewhere = Question { node_id: "n2", asker: &who, decides: true, now: 2 };
        let refusal = clear(&claim, elsewhere, |id| desk.get(id, 2)).unwrap_err();
        assert_eq!(refusal.details["code"], "APPROVAL_NODE_MISMATCH");
        let late = Question { node_id: "n1", asker: &who, decides: true, now: 1001 };
        let refusal = clear(&claim, late, |id| desk.get(id, 2)).unwrap_err();
        assert_eq!(refusal.details["code"], "APPROVAL_EXPIRED");
    }

    #[test]
    fn a_question_without_an_answer_is_for_those_who_could_have_given_it() {
        let env = json!({"LANG": "C"});
        let desk = desk(&env, None);
        let claim =
            json!({"approved": true, "approvalDecision": "allow-once", "runId": "r1", "env": env});
        let who = asker(Some("d1"), "c1");
        assert!(run(&desk, &who, false, &claim).is_err());
        assert_eq!(run(&desk, &who, true, &claim).unwrap().uses.as_deref(), Some("r1"));
        let mut other = claim;
        other["env"]["A=B"] = "what nobody was asked about".into();
        assert_eq!(run(&desk, &who, true, &other).unwrap().params["env"], env);
        other["env"] = json!({"LANG": "de"});
        let refusal = run(&desk, &who, true, &other).unwrap_err();
        assert_eq!(refusal.details["code"], "APPROVAL_ENV_MISMATCH");
    }

    #[test]
    fn the_text_of_a_command_is_the_command() {
        let good = [
            json!({"command": ["echo", "a b"], "rawCommand": "echo \"a b\""}),
            json!({"command": ["/bin/sh", "-lc", "ls | wc"], "rawCommand": "ls | wc"}),
            json!({"command": ["ls"]}),
        ];
        for params in good {
            assert_eq!(consistent(&params), Ok(()), "{params}");
        }
        let bad = json!({"command": ["rm", "x"], "rawCommand": "ls x"});
        assert_eq!(consistent(&bad).unwrap_err().details["code"], "RAW_COMMAND_MISMATCH");
        assert_eq!(
            consistent(&json!({"rawCommand": "ls"})).unwrap_err().details["code"],
            "MISSING_COMMAND"
        );
    }
}
