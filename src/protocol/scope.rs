//! Roles and scopes, and which method asks for which.

use serde::{Deserialize, Serialize};

/// What kind of peer a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Operator,
    Node,
}

impl Role {
    /// Reads the `role` of connect params; absent means operator.
    pub fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("operator") => Some(Self::Operator),
            Some("node") => Some(Self::Node),
            Some(_) => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Node => "node",
        }
    }

    /// Whether this role may call `method` at all.
    pub fn may_call(self, method: &str) -> bool {
        method == "health" || (self == Self::Node) == NODE_METHODS.contains(&method)
    }
}

/// Methods of nodes; nodes may call no others, operators none of these.
const NODE_METHODS: [&str; 7] = [
    "node.invoke.result",
    "node.event",
    "node.pending.drain",
    "node.pending.pull",
    "node.pending.ack",
    "node.canvas.capability.refresh",
    "skills.bins",
];

/// A permission of an operator connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    Read,
    Write,
    Admin,
    Approvals,
    Pairing,
    /// Of protocol 4; to write includes it.
    Talk,
    TalkSecrets,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Admin => "operator.admin",
            Self::Approvals => "operator.approvals",
            Self::Pairing => "operator.pairing",
            Self::Talk => "operator.talk",
            Self::TalkSecrets => "operator.talk.secrets",
        }
    }
}

/// Scopes as a client spelled them; unknown ones are kept and grant nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(Vec<String>);

impl Scopes {
    pub fn new(list: Vec<String>) -> Self {
        Self(list)
    }

    /// Every scope there is.
    pub fn all() -> Self {
        let all = [Scope::Admin, Scope::Read, Scope::Write, Scope::Approvals, Scope::Pairing];
        Self(all.iter().map(|scope| scope.as_str().to_owned()).collect())
    }

    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the list grants `scope`: admin grants all, write grants read.
    pub fn allow(&self, scope: Scope) -> bool {
        self.allow_named(scope.as_str())
    }

    /// As [`Scopes::allow`], for a scope by name.
    pub fn allow_named(&self, scope: &str) -> bool {
        self.0.iter().any(|held| {
            held == scope
                || (held == "operator.admin" && scope.starts_with("operator."))
                || (held == "operator.write" && matches!(scope, "operator.read" | "operator.talk"))
        })
    }

    /// The first of `wanted` that this list does not grant.
    pub fn first_missing<'a>(&self, wanted: &'a [String]) -> Option<&'a str> {
        wanted.iter().map(String::as_str).find(|scope| !self.allow_named(scope))
    }

    /// With what admin and write imply written out, sorted, without duplicates.
    #[must_use]
    pub fn expanded(&self) -> Self {
        let mut list = self.0.clone();
        if list.iter().any(|scope| scope == "operator.admin") {
            list.push("operator.read".to_owned());
            list.push("operator.write".to_owned());
        } else if list.iter().any(|scope| scope == "operator.write") {
            list.push("operator.read".to_owned());
        }
        list.sort_unstable();
        list.dedup();
        Self(list)
    }
}

/// The scope a method asks for. What is not listed asks for admin.
pub fn required(method: &str) -> Scope {
    match method {
        "status"
        | "logs.tail"
        | "channels.status"
        | "usage.status"
        | "usage.cost"
        | "tts.status"
        | "tts.providers"
        | "models.list"
        | "tools.catalog"
        | "tools.effective"
        | "agents.list"
        | "agent.identity.get"
        | "skills.status"
        | "hooks.status"
        | "tasks.list"
        | "tasks.get"
        | "voicewake.get"
        | "sessions.list"
        | "sessions.get"
        | "sessions.preview"
        | "sessions.resolve"
        | "sessions.subscribe"
        | "sessions.unsubscribe"
        | "sessions.messages.subscribe"
        | "sessions.messages.unsubscribe"
        | "sessions.usage"
        | "sessions.usage.timeseries"
        | "sessions.usage.logs"
        | "cron.list"
        | "cron.get"
        | "cron.status"
        | "cron.runs"
        | "gateway.identity.get"
        | "system-presence"
        | "last-heartbeat"
        | "node.list"
        | "node.describe"
        | "chat.history"
        | "chat.startup"
        | "chat.metadata"
        | "sessions.describe"
        | "config.get"
        | "config.schema.lookup"
        | "talk.config"
        | "agents.files.list"
        | "agents.files.get"
        | "doctor.memory.status"
        | "health" => Scope::Read,
        "send"
        | "poll"
        | "message.action"
        | "agent"
        | "agent.wait"
        | "wake"
        | "talk.mode"
        | "talk.speak"
        | "tts.enable"
        | "tts.disable"
        | "tts.convert"
        | "tts.setProvider"
        | "voicewake.set"
        | "node.invoke"
        | "node.pair.approve"
        | "chat.send"
        | "chat.abort"
        | "sessions.create"
        | "sessions.send"
        | "sessions.steer"
        | "sessions.abort"
        | "push.test"
        | "tasks.cancel"
        | "node.pending.enqueue" => Scope::Write,
        "exec.approval.request"
        | "exec.approval.list"
        | "plugin.approval.list"
        | "openclaw.approval.list"
        | "exec.approval.waitDecision"
        | "exec.approval.resolve"
        | "plugin.approval.request"
        | "plugin.approval.waitDecision"
        | "plugin.approval.resolve" => Scope::Approvals,
        "node.pair.request"
        | "node.pair.list"
        | "node.pair.reject"
        | "node.pair.verify"
        | "device.pair.list"
        | "device.pair.approve"
        | "device.pair.reject"
        | "device.pair.remove"
        | "device.token.rotate"
        | "device.token.revoke"
        | "node.rename" => Scope::Pairing,
        _ => Scope::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(list: &[&str]) -> Scopes {
        Scopes::new(list.iter().map(|&scope| scope.to_owned()).collect())
    }

    #[test]
    fn admin_grants_all_and_write_grants_read() {
        assert!(scopes(&["operator.admin"]).allow(Scope::Pairing));
        assert!(scopes(&["operator.write"]).allow(Scope::Read));
        assert!(!scopes(&["operator.read"]).allow(Scope::Write));
        assert!(scopes(&["operator.write"]).allow(Scope::Talk));
        assert!(!scopes(&["operator.write"]).allow(Scope::Admin));
        assert!(!Scopes::default().allow(Scope::Read));
    }

    #[test]
    fn expansion_is_sorted_and_written_out() {
        assert_eq!(
            scopes(&["operator.pairing", "operator.admin"]).expanded(),
            scopes(&["operator.admin", "operator.pairing", "operator.read", "operator.write"])
        );
        assert_eq!(
            scopes(&["operator.write"]).expanded(),
            scopes(&["operator.read", "operator.write"])
        );
    }

    #[test]
    fn roles_do_not_share_methods_except_health() {
        assert!(Role::Node.may_call("health") && Role::Operator.may_call("health"));
        assert!(Role::Node.may_call("skills.bins") && !Role::Operator.may_call("skills.bins"));
        assert!(!Role::Node.may_call("status") && Role::Operator.may_call("status"));
    }

    #[test]
    fn an_unlisted_method_asks_for_admin() {
        for method in ["nope.method", "config.set", "wizard.start", "sessions.patch"] {
            assert_eq!(required(method), Scope::Admin, "{method}");
        }
        assert_eq!(required("agent"), Scope::Write);
    }
}
