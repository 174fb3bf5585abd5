//! Event names, who may receive them and which may be dropped for a slow peer.

use crate::protocol::scope::{Role, Scope, Scopes};

/// An event of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    Agent,
    Chat,
    ChatSideResult,
    SessionMessage,
    SessionTool,
    SessionsChanged,
    Presence,
    Tick,
    TalkMode,
    Shutdown,
    Health,
    Heartbeat,
    Cron,
    NodePairRequested,
    NodePairResolved,
    NodeInvokeRequest,
    DevicePairRequested,
    DevicePairResolved,
    VoicewakeChanged,
    ExecApprovalRequested,
    ExecApprovalResolved,
    PluginApprovalRequested,
    PluginApprovalResolved,
    /// Of protocol 4.
    Task,
    /// Of protocol 4.
    ChatMetadataChanged,
}

/// Names as `hello-ok.features.events` lists them. Part of the wire contract.
///
/// The Node gateway's list also has `update.available`; it never comes here,
/// where the package manager knows about new versions.
pub fn advertised(protocol: u64) -> &'static [&'static str] {
    if protocol >= 4 { &ADVERTISED } else { &ADVERTISED[..OF_PROTOCOL_3] }
}

const OF_PROTOCOL_3: usize = 23;

const ADVERTISED: [&str; 25] = [
    "connect.challenge",
    "agent",
    "chat",
    "session.message",
    "session.tool",
    "sessions.changed",
    "presence",
    "tick",
    "talk.mode",
    "shutdown",
    "health",
    "heartbeat",
    "cron",
    "node.pair.requested",
    "node.pair.resolved",
    "node.invoke.request",
    "device.pair.requested",
    "device.pair.resolved",
    "voicewake.changed",
    "exec.approval.requested",
    "exec.approval.resolved",
    "plugin.approval.requested",
    "plugin.approval.resolved",
    "task",
    "chat.metadata.changed",
];

impl Event {
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Chat => "chat",
            Self::ChatSideResult => "chat.side_result",
            Self::SessionMessage => "session.message",
            Self::SessionTool => "session.tool",
            Self::SessionsChanged => "sessions.changed",
            Self::Presence => "presence",
            Self::Tick => "tick",
            Self::TalkMode => "talk.mode",
            Self::Shutdown => "shutdown",
            Self::Health => "health",
            Self::Heartbeat => "heartbeat",
            Self::Cron => "cron",
            Self::NodePairRequested => "node.pair.requested",
            Self::NodePairResolved => "node.pair.resolved",
            Self::NodeInvokeRequest => "node.invoke.request",
            Self::DevicePairRequested => "device.pair.requested",
            Self::DevicePairResolved => "device.pair.resolved",
            Self::VoicewakeChanged => "voicewake.changed",
            Self::ExecApprovalRequested => "exec.approval.requested",
            Self::ExecApprovalResolved => "exec.approval.resolved",
            Self::PluginApprovalRequested => "plugin.approval.requested",
            Self::PluginApprovalResolved => "plugin.approval.resolved",
            Self::Task => "task",
            Self::ChatMetadataChanged => "chat.metadata.changed",
        }
    }

    /// The scope a receiver must hold. Texts of conversations ask for read, so
    /// that a connection whose scopes were cleared sees none of them.
    pub fn gate(self) -> Option<Scope> {
        match self {
            Self::ExecApprovalRequested
            | Self::ExecApprovalResolved
            | Self::PluginApprovalRequested
            | Self::PluginApprovalResolved => Some(Scope::Approvals),
            Self::DevicePairRequested
            | Self::DevicePairResolved
            | Self::NodePairRequested
            | Self::NodePairResolved => Some(Scope::Pairing),
            Self::SessionsChanged
            | Self::SessionMessage
            | Self::SessionTool
            | Self::Agent
            | Self::Chat
            | Self::ChatSideResult
            | Self::Task
            | Self::ChatMetadataChanged => Some(Scope::Read),
            _ => None,
        }
    }

    /// Whether a peer may hear it. Protocol 4 shows operators without the scope
    /// to read less than protocol 3 did.
    pub fn may_be_heard(self, role: Role, scopes: &Scopes, protocol: u64) -> bool {
        let newer = protocol >= 4;
        if matches!(self, Self::Task | Self::ChatMetadataChanged) && !newer {
            return false;
        }
        let gate = match self {
            _ if self.gate().is_some() => self.gate(),
            Self::Presence | Self::Cron | Self::VoicewakeChanged if newer => Some(Scope::Read),
            Self::TalkMode if newer => Some(Scope::Talk),
            _ => None,
        };
        // What nodes are told is not a matter of scopes.
        let open = self.gate().is_none() && role == Role::Node;
        let gate = gate.filter(|_| !open);
        gate.is_none_or(|scope| role == Role::Operator && scopes.allow(scope))
    }

    /// Whether a slow peer may miss it; any other event closes a slow peer.
    pub fn droppable(self) -> bool {
        matches!(
            self,
            Self::Tick
                | Self::Presence
                | Self::Cron
                | Self::Heartbeat
                | Self::SessionsChanged
                | Self::SessionMessage
                | Self::SessionTool
                | Self::TalkMode
                | Self::VoicewakeChanged
                | Self::Task
                | Self::ChatMetadataChanged
        ) || matches!(self.gate(), Some(Scope::Approvals | Scope::Pairing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_without_scopes_sees_less_in_protocol_four() {
        let (bare, reader) = (Scopes::default(), Scopes::new(vec!["operator.read".to_owned()]));
        let hears = |event: Event, scopes: &Scopes, protocol: u64| {
            event.may_be_heard(Role::Operator, scopes, protocol)
        };
        assert!(hears(Event::Presence, &bare, 3) && !hears(Event::Presence, &bare, 4));
        assert!(hears(Event::Cron, &reader, 4) && hears(Event::Shutdown, &bare, 4));
        assert!(hears(Event::Task, &reader, 4) && !hears(Event::Task, &reader, 3));
        assert!(!hears(Event::Task, &bare, 4) && !hears(Event::Chat, &bare, 3));
        let node = |event: Event| event.may_be_heard(Role::Node, &bare, 4);
        assert!(node(Event::VoicewakeChanged) && !node(Event::Task));
        assert!(!advertised(3).contains(&"task") && advertised(4).contains(&"task"));
        assert!(advertised(3).ends_with(&["plugin.approval.resolved"]));
    }

    #[test]
    fn what_must_not_be_lost_is_not_droppable() {
        for event in [Event::Agent, Event::Chat, Event::Shutdown, Event::Health] {
            assert!(!event.droppable(), "{event:?}");
        }
        assert!(Event::Tick.droppable() && Event::DevicePairRequested.droppable());
    }
}
