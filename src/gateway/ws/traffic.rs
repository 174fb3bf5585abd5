//! How WebSocket traffic shows in the log: `--ws-log` and `--compact`.
//!
//! Unless `--verbose` is given only trouble shows: refusals, and answers that
//! took long. With it every answer and event is one line, or every frame.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::gateway::rpc::Reply;

/// An answer that took longer is worth a line.
const SLOW: Duration = Duration::from_millis(50);
/// Characters of one value in a line.
const MOST_CHARS: usize = 240;

/// What of the traffic is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Traffic {
    /// Refusals and slow answers.
    #[default]
    Trouble,
    /// A line for each answer and event.
    Compact,
    /// A line for each frame.
    Full,
}

impl Traffic {
    /// What `--verbose` and `--ws-log` ask for.
    pub fn new(verbose: bool, style: Option<&str>) -> Self {
        match style {
            _ if !verbose => Self::Trouble,
            Some("full") => Self::Full,
            _ => Self::Compact,
        }
    }

    pub fn opened(self, conn_id: &str, remote: impl std::fmt::Display) {
        if self != Self::Trouble {
            say(&format!("← open remote={remote} conn={conn_id}"));
        }
    }

    pub fn closed(self, conn_id: &str, reason: &str) {
        if self != Self::Trouble {
            say(&format!("→ close reason={} conn={conn_id}", clip(reason)));
        }
    }

    pub fn request(self, conn_id: &str, id: &str, method: &str) {
        if self == Self::Full {
            say(&format!("← req {} conn={conn_id} id={}", clip(method), clip(id)));
        }
    }

    /// An answer; without a time it is the second one to its request.
    pub fn answer(
        self,
        conn_id: &str,
        id: &str,
        method: &str,
        took: Option<Duration>,
        reply: &Reply,
    ) {
        let slow = took.is_some_and(|took| took >= SLOW);
        if self == Self::Trouble && reply.is_ok() && !slow {
            return;
        }
        let arrow = if self == Self::Full { '→' } else { '⇄' };
        let mark = if reply.is_ok() { '✓' } else { '✗' };
        let mut line = format!("{arrow} res {mark} {}", clip(method));
        // Without what differs each time a client that insists is counted, not listed.
        if let Some(took) = took.filter(|_| slow || self != Self::Trouble) {
            let _ = write!(line, " {}ms", took.as_millis());
        }
        if let Err(error) = reply {
            let message = clip(&error.message);
            let _ = write!(line, " errorCode={} errorMessage={message}", error.code.as_str());
        }
        let _ = write!(line, " conn={conn_id}");
        if self != Self::Trouble {
            let _ = write!(line, " id={}", clip(id));
        }
        say(&line);
    }

    /// A message that is no request.
    pub fn malformed(self, conn_id: &str, err: &str) {
        tracing::warn!(target: "gateway/ws", "✗ parse-error error={} conn={conn_id}", clip(err));
    }

    /// An event and how many sockets hear it.
    pub fn event(self, name: &str, hearers: usize, payload: impl FnOnce() -> Value) {
        if self == Self::Trouble || hearers == 0 {
            return;
        }
        let mut line = format!("→ event {name} clients={hearers}");
        if name == "agent" {
            line.push_str(&run_summary(&payload()));
        }
        say(&line);
    }
}

fn say(line: &str) {
    tracing::info!(target: "gateway/ws", "{line}");
}

/// What an event of a run is about, without its whole text.
fn run_summary(payload: &Value) -> String {
    let data = &payload["data"];
    let tool = data["name"]
        .as_str()
        .map(|name| Value::from(format!("{}:{name}", data["phase"].as_str().unwrap_or_default())));
    let stream = payload["stream"].as_str().unwrap_or_default();
    let of = |wanted: &str, value: &Value| (stream == wanted).then(|| value.clone());
    let parts = [
        ("run", Some(payload["runId"].clone())),
        ("session", Some(payload["sessionKey"].clone())),
        ("stream", Some(payload["stream"].clone())),
        ("aseq", Some(payload["seq"].clone())),
        ("text", of("assistant", &data["text"])),
        ("tool", tool.filter(|_| stream == "tool")),
        ("phase", of("lifecycle", &data["phase"])),
        ("error", of("lifecycle", &data["error"])),
    ];
    let mut summary = String::new();
    for (name, value) in parts {
        match value {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => drop(write!(summary, " {name}={}", clip(&text))),
            Some(value) => drop(write!(summary, " {name}={value}")),
        }
    }
    summary
}

/// One line of bounded length.
fn clip(text: &str) -> String {
    let mut line: String =
        text.chars().take(MOST_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_verbose_shows_more_than_trouble() {
        assert_eq!(Traffic::new(false, Some("full")), Traffic::Trouble);
        assert_eq!(Traffic::new(true, None), Traffic::Compact);
        assert_eq!(Traffic::new(true, Some("auto")), Traffic::Compact);
        assert_eq!(Traffic::new(true, Some("compact")), Traffic::Compact);
        assert_eq!(Traffic::new(true, Some("full")), Traffic::Full);
    }

    #[test]
    fn an_event_of_a_run_is_summed_up_on_one_line() {
        let text = json!({"runId": "r", "sessionKey": "agent:main:main", "stream": "assistant",
            "seq": 3, "data": {"text": "two\nlines", "delta": "lines"}});
        assert_eq!(
            run_summary(&text),
            " run=r session=agent:main:main stream=assistant aseq=3 text=two lines"
        );
        let tool =
            json!({"runId": "r", "stream": "tool", "data": {"phase": "start", "name": "read"}});
        assert_eq!(run_summary(&tool), " run=r stream=tool tool=start:read");
        assert_eq!(clip(&"ä".repeat(300)).chars().count(), MOST_CHARS + 1);
    }
}
