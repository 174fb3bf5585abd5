//! One action's result in its two forms: text for people, the reference's JSON
//! envelope for scripts.

use std::net::SocketAddr;

use serde::Serialize;
use serde_json::Value;

use crate::cli::ui::{Outcome, json};
use crate::supervise::host::Hint;
use crate::supervise::listeners::Owner;
use crate::supervise::manager::Drift;
use crate::supervise::report::ServiceSummary;

/// What an action has to say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Said {
    action: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServiceSummary>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hint_items: Vec<Hint>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drift: Vec<Drift>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linger: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Value>,
    /// The text form.
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    hint_prefix: &'static str,
}

impl Said {
    pub(super) fn of(action: &'static str) -> Self {
        Self {
            action,
            ok: true,
            result: None,
            message: None,
            error: None,
            hints: Vec::new(),
            service: None,
            hint_items: Vec::new(),
            warnings: Vec::new(),
            drift: Vec::new(),
            linger: None,
            details: Vec::new(),
            plan: None,
            text: String::new(),
            hint_prefix: "",
        }
    }

    pub(super) fn done(mut self, result: &'static str, text: String) -> Self {
        self.result = Some(result);
        self.text = text;
        self
    }

    pub(super) fn failed(mut self, error: impl Into<String>) -> Self {
        self.ok = false;
        self.error = Some(error.into());
        self
    }

    /// The text also appears as `message`.
    pub(super) fn with_message(mut self) -> Self {
        self.message = Some(self.text.clone());
        self
    }

    pub(super) fn without_message(mut self) -> Self {
        self.message = None;
        self
    }

    /// A further line of the text form.
    pub(super) fn append(mut self, line: &str) -> Self {
        self.text.push('\n');
        self.text.push_str(line);
        self
    }

    pub(super) fn with_service(mut self, service: ServiceSummary) -> Self {
        self.service = Some(service);
        self
    }

    pub(super) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    pub(super) fn with_drift(mut self, drift: Vec<Drift>) -> Self {
        self.drift = drift;
        self
    }

    pub(super) fn with_linger(mut self, linger: Option<&'static str>) -> Self {
        self.linger = linger;
        self
    }

    pub(super) fn with_details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    pub(super) fn with_plan(mut self, plan: Value) -> Self {
        self.plan = Some(plan);
        self
    }

    pub(super) fn with_hints(mut self, hints: Vec<Hint>, prefix: &'static str) -> Self {
        self.hints = hints.iter().map(|hint| hint.text.clone()).collect();
        self.hint_items = hints;
        self.hint_prefix = prefix;
        self
    }

    pub(super) fn finish(self, as_json: bool) -> Outcome {
        let code = u8::from(!self.ok);
        if as_json {
            return Outcome::text(json(&self)).with_code(code);
        }
        let hints = self.hints.iter().map(|hint| format!("{}{hint}", self.hint_prefix));
        if let Some(error) = self.error {
            let lines =
                std::iter::once(error).chain(self.details).chain(self.warnings).chain(hints);
            let text: Vec<String> = lines.collect();
            return Outcome::default().with_stderr(text.join("\n")).with_code(code);
        }
        let drift = self.drift.iter().map(|drift| format!("- {}", drift.message));
        let lines = std::iter::once(self.text).chain(drift).chain(hints);
        let text: Vec<String> = lines.collect();
        Outcome::text(text.join("\n")).with_stderr(self.warnings.join("\n"))
    }
}

/// Explains a taken port in the words that operators and their scripts know.
/// A foreign process is never called a gateway.
pub(super) fn port_taken(addresses: &[SocketAddr], owners: &[Owner]) -> Vec<String> {
    let Some(address) = addresses.first() else { return Vec::new() };
    let mut lines = Vec::new();
    let gateway = owners.iter().any(Owner::is_gateway);
    if gateway {
        lines.push(format!("another gateway instance is already listening on ws://{address}"));
        lines.push("If the gateway is supervised, stop it with: openclaw gateway stop".into());
    }
    lines.push(format!("Port {} is already in use.", address.port()));
    for owner in owners {
        let unit = owner.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
        let Owner { pid, user, command_line, .. } = owner;
        lines.push(format!("- pid {pid} {user}: {command_line} ({address}{unit})"));
    }
    if owners.is_empty() {
        lines.push("- owned by another user; run as root to see whose it is".into());
    }
    for owner in owners.iter().filter(|owner| !owner.is_gateway()) {
        let Owner { pid, command, .. } = owner;
        lines.push(format!("owner: pid {pid} {command} (not an OpenClaw gateway)"));
    }
    lines.push(if gateway {
        "- Gateway already running locally. Stop it (openclaw gateway stop) or use a different port."
            .into()
    } else {
        "- Another process is listening on this port.".to_owned()
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_owner_is_never_called_a_gateway() {
        let owner = Owner {
            pid: 4711,
            parent: 1,
            user: "claw".into(),
            uid: 1000,
            command: "python3".into(),
            command_line: "python3 openclaw-thing.py".into(),
            executable: None,
            unit: Some("thing.service".into()),
        };
        let text = port_taken(&["127.0.0.1:18789".parse().unwrap()], &[owner]).join("\n");
        assert!(!text.contains("another gateway"), "{text}");
        assert!(text.contains("Port 18789 is already in use."));
        assert!(text.contains("owner: pid 4711 python3 (not an OpenClaw gateway)"));
        assert!(text.contains("thing.service"));
    }

    #[test]
    fn the_envelope_has_the_recorded_order() {
        let said = Said::of("start")
            .done("not-loaded", "Gateway service disabled.".into())
            .with_message()
            .with_service(ServiceSummary::systemd(false))
            .with_hints(
                vec![Hint { kind: "install", text: "openclaw gateway install".into() }],
                "Start with: ",
            );
        let keys: Vec<String> = match serde_json::to_value(&said).unwrap() {
            Value::Object(map) => map.keys().cloned().collect(),
            _ => Vec::new(),
        };
        assert_eq!(keys, ["action", "ok", "result", "message", "hints", "service", "hintItems"]);
        let text = said.finish(false).stdout();
        assert_eq!(text, "Gateway service disabled.\nStart with: openclaw gateway install");
    }
}
