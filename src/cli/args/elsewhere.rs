//! Commands of the reference that have no counterpart here, and the way out.

/// A command as typed, and what to do instead.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        "acp",
        "the bridge for editors (ACP) is part of the Node program, which works with this gateway: \
         npx openclaw@2026.4.2 acp",
    ),
    (
        "mcp serve",
        "the MCP server over chat channels is part of the Node program, which works with this \
         gateway: npx openclaw@2026.4.2 mcp serve",
    ),
    (
        "models auth login-github-copilot",
        "GitHub Copilot needs a plugin of the Node gateway; use a provider with an API key: \
         openclaw models auth add",
    ),
    (
        "node",
        "the node host is part of the Node program, which works with this gateway: \
         npx openclaw@2026.4.2 node run",
    ),
    (
        "tui",
        "the terminal interface is part of the Node program, which works with this gateway: \
         npx openclaw@2026.4.2 tui; without Node: openclaw agent --message, or the Control UI \
         (openclaw dashboard)",
    ),
    (
        "webhooks",
        "Gmail's watch is set up by the Node program (npx openclaw@2026.4.2 webhooks gmail setup); \
         what it posts arrives at this gateway's own hooks: hooks.enabled, hooks.token and \
         hooks.mappings, see docs/http.md",
    ),
];

/// The entry of [`ELSEWHERE`] that `args` names.
pub fn elsewhere(args: &[String]) -> Option<(&'static str, &'static str)> {
    let named = |command: &str| super::names(args, command);
    ELSEWHERE.iter().copied().find(|(command, _)| named(command))
}
