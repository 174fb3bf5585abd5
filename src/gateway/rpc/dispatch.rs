//! From a request to its handler: role, scope, table, shape, rate limit; and a
//! handler's panic is an answer, not an end.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use futures_util::FutureExt;
use serde_json::json;

use crate::gateway::State;
use crate::gateway::rpc::{Call, Caller, FAMILIES, Method, Reply, newer};
use crate::gateway::ws::Outbox;
use crate::protocol::error::{ErrorCode, ErrorShape};
use crate::protocol::frame::Request;
use crate::protocol::methods;
use crate::protocol::scope::{self, Role, Scope};

static TABLE: LazyLock<HashMap<&'static str, &'static Method>> = LazyLock::new(|| {
    FAMILIES.iter().flat_map(|family| family.iter()).map(|row| (row.name, row)).collect()
});

/// The order in which official gateways advertise methods.
const ADVERTISED_ORDER: &str = include_str!("methods.txt");

/// Names for `hello-ok.features.methods`: the recorded list as far as it is
/// implemented, and what protocol 4 adds for those who speak it.
pub fn advertised(protocol: u64) -> &'static [&'static str] {
    static NAMES: LazyLock<[Vec<&'static str>; 2]> = LazyLock::new(|| {
        let three: Vec<&'static str> =
            ADVERTISED_ORDER.lines().filter(|name| TABLE.contains_key(name)).collect();
        let mut four = three.clone();
        four.extend(newer::METHODS.iter().map(|row| row.name));
        [three, four]
    });
    &NAMES[usize::from(protocol >= 4)]
}

/// What to do about a request.
#[derive(Debug)]
pub enum Verdict {
    Run(&'static Method),
    Refuse(ErrorShape),
    /// As `Refuse`; too many in a row end the connection.
    WrongRole(ErrorShape),
}

/// Decides about a request without running anything; its parameters are then in
/// the spelling that handlers read.
pub fn route(caller: &Caller, request: &mut Request) -> Verdict {
    methods::normalise(request);
    let method = request.method.as_str();
    if method == "connect" {
        return Verdict::Refuse(ErrorShape::invalid("connect is only valid as the first request"));
    }
    if !caller.role.may_call(method) {
        let role = caller.role.as_str();
        return Verdict::WrongRole(ErrorShape::invalid(format!("unauthorized role: {role}")));
    }
    let scope = required(caller, request);
    let exempt = method == "health" || caller.role == Role::Node;
    if !exempt && !caller.scopes.allow(scope) {
        return Verdict::Refuse(missing_scope(caller, scope));
    }
    let Some(row) = TABLE.get(method) else {
        return Verdict::Refuse(ErrorShape::invalid(format!("unknown method: {method}")));
    };
    if let Some(problems) = problems(caller, request) {
        // The write limit counts rejected calls too, so it is asked first.
        if !is_control_plane_write(method) {
            return Verdict::Refuse(invalid_params(method, &problems));
        }
    }
    Verdict::Run(row)
}

/// The scope that a request asks for. Protocol 4 asks for less here and there:
/// to name a session, or to choose its model, is no matter of administration.
fn required(caller: &Caller, request: &Request) -> Scope {
    const ORGANISING: [&str; 6] = ["key", "agentId", "label", "model", "thinkingLevel", "fastMode"];
    let organises = || {
        let keys = request.params.as_object().map(|fields| fields.keys());
        keys.is_some_and(|mut keys| keys.all(|key| ORGANISING.contains(&key.as_str())))
    };
    match request.method.as_str() {
        "sessions.patch" if caller.protocol >= 4 && organises() => Scope::Write,
        "node.pair.approve" if caller.protocol >= 4 => Scope::Pairing,
        "talk.mode" if caller.protocol >= 4 => Scope::Talk,
        method => scope::required(method),
    }
}

/// Runs a routed request to its end.
pub async fn run(
    state: Arc<State>,
    caller: Arc<Caller>,
    row: &'static Method,
    request: Request,
    outbox: Option<Arc<Outbox>>,
) -> Reply {
    let method = row.name;
    if is_control_plane_write(method) {
        state.writes.spend(&caller.budget_key(), method, state.clock.now_ms())?;
        if let Some(problems) = problems(&caller, &request) {
            return Err(invalid_params(method, &problems));
        }
    }
    let (began, metrics) = (Instant::now(), Arc::clone(&state.metrics));
    let call = Call { state, caller, method, id: request.id, params: request.params, outbox };
    let conn_id = call.caller.conn_id.clone();
    let handler = AssertUnwindSafe(async move { (row.run)(call).await });
    let reply = handler.catch_unwind().await.unwrap_or_else(|panic| {
        let err = panic_text(panic.as_ref());
        tracing::error!(method, conn_id, err, "handler panicked");
        Err(ErrorShape::unavailable(format!("internal error in {method}")))
    });
    metrics.call(method, began.elapsed(), reply.is_ok());
    reply
}

/// The refusal of a caller without `scope`, as its protocol spells it.
pub fn missing_scope(caller: &Caller, scope: Scope) -> ErrorShape {
    let name = scope.as_str();
    let message = format!("missing scope: {name}");
    if caller.protocol >= 4 {
        let details =
            json!({"code": "MISSING_SCOPE", "missingScope": name, "requiredScopes": [name]});
        ErrorShape::new(ErrorCode::Forbidden, message).with_details(details)
    } else {
        ErrorShape::invalid(message)
    }
}

/// What is wrong with the parameters. Protocol 4 has more of them than we know.
fn problems(caller: &Caller, request: &Request) -> Option<String> {
    let shape = methods::params(&request.method)?;
    if caller.protocol >= 4 {
        shape.check_known(&request.params)
    } else {
        shape.check(&request.params)
    }
}

fn invalid_params(method: &str, problems: &str) -> ErrorShape {
    // Clients know these two by the name of the field.
    let problems = match method {
        "secrets.resolve" if problems.contains("commandName") => "commandName",
        "secrets.resolve" => "targetIds",
        _ => problems,
    };
    ErrorShape::invalid(format!("invalid {method} params: {problems}"))
}

/// Methods that share the budget of three calls a minute.
fn is_control_plane_write(method: &str) -> bool {
    matches!(method, "config.apply" | "config.patch" | "update.run")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::protocol::connect::Client;
    use crate::protocol::scope::Scopes;

    fn caller(protocol: u64, role: Role, scopes: &[&str]) -> Caller {
        Caller {
            conn_id: "c".to_owned(),
            protocol,
            role,
            scopes: Scopes::new(scopes.iter().map(|&scope| scope.to_owned()).collect()),
            client: Client::default(),
            device_id: None,
            remote_ip: None,
            local: true,
            caps: Vec::new(),
            commands: Vec::new(),
            path_env: None,
            permissions: serde_json::Map::new(),
            connected_at: 0,
        }
    }

    fn refusal(caller: &Caller, method: &str, params: Value) -> String {
        let mut request = Request { id: "1".to_owned(), method: method.to_owned(), params };
        match route(caller, &mut request) {
            Verdict::Run(_) => "run".to_owned(),
            Verdict::Refuse(error) => error.message,
            Verdict::WrongRole(error) => format!("role: {}", error.message),
        }
    }

    #[test]
    fn role_then_scope_then_name_decide() {
        let reader = caller(3, Role::Operator, &["operator.read"]);
        let admin = caller(3, Role::Operator, &["operator.admin"]);
        let bare = caller(3, Role::Operator, &[]);
        let node = caller(3, Role::Node, &[]);
        let cases = [
            (&reader, "nope.method", "missing scope: operator.admin"),
            (&admin, "nope.method", "unknown method: nope.method"),
            (&bare, "system-presence", "missing scope: operator.read"),
            (&reader, "system-presence", "run"),
            (&bare, "health", "run"),
            (&node, "health", "run"),
            (&node, "system-presence", "role: unauthorized role: node"),
            (&admin, "skills.bins", "role: unauthorized role: operator"),
            (&admin, "connect", "connect is only valid as the first request"),
        ];
        for (who, method, expected) in cases {
            assert_eq!(refusal(who, method, json!({})), expected, "{method}");
        }
    }

    #[test]
    fn in_protocol_four_a_writer_names_sessions_but_sets_nothing_else() {
        let name = json!({"key": "main", "label": "Errands"});
        let elevate = json!({"key": "main", "label": "x", "elevatedLevel": "on"});
        let writer = caller(4, Role::Operator, &["operator.write"]);
        assert_eq!(refusal(&writer, "sessions.patch", name.clone()), "run");
        assert!(refusal(&writer, "sessions.patch", elevate).contains("missing scope"));
        let older = caller(3, Role::Operator, &["operator.write"]);
        assert!(refusal(&older, "sessions.patch", name).contains("missing scope"));
    }

    #[test]
    fn who_pairs_approves_nodes_in_protocol_four() {
        let approve = json!({"requestId": "r"});
        let pairing = caller(4, Role::Operator, &["operator.pairing"]);
        assert_eq!(refusal(&pairing, "node.pair.approve", approve.clone()), "run");
        let older = caller(3, Role::Operator, &["operator.pairing"]);
        let refused = refusal(&older, "node.pair.approve", approve);
        assert_eq!(refused, "missing scope: operator.write");
        let talker = caller(4, Role::Operator, &["operator.talk"]);
        assert_eq!(refusal(&talker, "talk.mode", json!({"enabled": true})), "run");
    }

    #[test]
    fn protocol_four_spells_a_missing_scope_differently() {
        let bare = caller(4, Role::Operator, &[]);
        let error = missing_scope(&bare, Scope::Read);
        assert_eq!(error.code, ErrorCode::Forbidden);
        assert_eq!(error.message, "missing scope: operator.read");
        assert_eq!(error.details.unwrap()["missingScope"], "operator.read");
    }

    #[test]
    fn no_method_has_two_rows_and_every_row_is_known_to_the_protocol() {
        let rows = FAMILIES.iter().map(|family| family.len()).sum::<usize>();
        assert_eq!(rows, TABLE.len(), "a method name appears twice");
        let listed: Vec<&str> = ADVERTISED_ORDER.lines().collect();
        assert_eq!(listed.len(), 112, "the recorded list has 112 methods");
        for name in TABLE.keys() {
            assert!(
                listed.contains(name)
                    || UNLISTED.contains(name)
                    || newer::METHODS.iter().any(|row| row.name == *name),
                "`{name}` is neither advertised by the reference nor callable there"
            );
        }
    }

    /// Callable in the reference although it does not advertise them.
    const UNLISTED: [&str; 16] = [
        "sessions.get",
        "sessions.steer",
        "sessions.resolve",
        "sessions.usage",
        "sessions.usage.timeseries",
        "sessions.usage.logs",
        "config.openFile",
        "chat.inject",
        "poll",
        "push.test",
        "web.login.start",
        "web.login.wait",
        "connect",
        "doctor.memory.status",
        "agents.files.set",
        "exec.approval.waitDecision",
    ];
}
