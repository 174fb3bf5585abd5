//! Event names, who may receive them and which may be dropped for a slow peer.

use crate::protocol::scope::Scope;

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
    UpdateAvailable,
}

/// Names as `hello-ok.features.events` lists them. Part of the wire contract.
pub const ADVERTISED: [&str; 24] = [
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
    "update.available",
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
            Self::UpdateAvailable => "update.available",
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
            | Self::ChatSideResult => Some(Scope::Read),
            _ => None,
        }
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
        ) || matches!(self.gate(), Some(Scope::Approvals | Scope::Pairing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_lost_is_not_droppable() {
        for event in [Event::Agent, Event::Chat, Event::Shutdown, Event::Health] {
            assert!(!event.droppable(), "{event:?}");
        }
        assert!(Event::Tick.droppable() && Event::DevicePairRequested.droppable());
    }
}
