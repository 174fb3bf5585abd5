//! What models send, piece by piece, as JSON lines in a file (`--raw-stream`):
//! for whoever looks into why a reply reads as it does.

use std::path::PathBuf;

use serde_json::json;
use tokio::sync::mpsc;

use crate::agents::providers::Part;
use crate::agents::sessions::append;
use crate::agents::turn::Answer;
use crate::lifecycle::{self, CancellationToken, Lifecycle};

/// Lines that may wait for the disk; more are left out, and that is said.
const MOST_WAITING: usize = 4096;
/// Lines that are written at once.
const BATCH: usize = 256;

/// The way into the file. Runs never wait for it.
#[derive(Debug)]
pub(crate) struct RawStream {
    lines: mpsc::Sender<String>,
}

impl RawStream {
    /// Starts the task that writes.
    pub(crate) fn start(path: PathBuf, lifecycle: &Lifecycle) -> Self {
        let (lines, waiting) = mpsc::channel(MOST_WAITING);
        tracing::info!(file = %path.display(), "raw model streams are written");
        lifecycle.spawn("raw stream", |stop| write(path, waiting, stop));
        Self { lines }
    }

    fn push(&self, line: &serde_json::Value) {
        if self.lines.try_send(format!("{line}\n")).is_err() {
            tracing::warn!("the disk is too slow: a raw stream event is left out");
        }
    }
}

async fn write(path: PathBuf, mut waiting: mpsc::Receiver<String>, stop: CancellationToken) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            taken = waiting.recv_many(&mut batch, BATCH) => {
                if taken == 0 {
                    return;
                }
            }
            // Runs have ended by then: what waits is all there will be.
            () = stop.cancelled() => {
                waiting.close();
                continue;
            }
        }
        let (file, bytes) = (path.clone(), batch.concat().into_bytes());
        batch.clear();
        match lifecycle::spawn_blocking(move || append(&file, &bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => tracing::warn!(file = %path.display(), %err, "raw stream not written"),
            Err(err) => tracing::warn!(%err, "raw stream not written"),
        }
    }
}

/// One answer of a model on its way into the file.
#[derive(Debug)]
pub(crate) struct Tap<'a> {
    pub(crate) stream: &'a RawStream,
    pub(crate) run_id: &'a str,
    pub(crate) session_id: &'a str,
    /// What is being streamed: `text` or `thinking`, and all of it so far.
    open: Option<(&'static str, String)>,
}

impl<'a> Tap<'a> {
    pub(crate) fn new(stream: &'a RawStream, run_id: &'a str, session_id: &'a str) -> Self {
        Self { stream, run_id, session_id, open: None }
    }

    /// Notes a part before it is worked on.
    pub(crate) fn part(&mut self, part: &Part, now: u64) {
        let (kind, delta) = match part {
            Part::Text(delta) => ("text", delta),
            Part::Thinking(delta) => ("thinking", delta),
            Part::ThinkingSignature(_) => return,
            Part::ToolCall { .. } | Part::Done { .. } => return self.close(now),
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.close(now);
            self.event(kind, "start", "", "", now);
            self.open = Some((kind, String::new()));
        }
        if let Some((_, text)) = &mut self.open {
            text.push_str(delta);
        }
        self.event(kind, "delta", delta, "", now);
    }

    /// Notes the whole answer.
    pub(crate) fn end(&self, answer: &Answer, now: u64) {
        self.stream.push(&json!({
            "ts": now, "event": "assistant_message_end",
            "runId": self.run_id, "sessionId": self.session_id,
            "rawText": answer.text(), "rawThinking": answer.thinking(),
        }));
    }

    fn close(&mut self, now: u64) {
        if let Some((kind, text)) = self.open.take() {
            self.event(kind, "end", "", &text, now);
        }
    }

    fn event(&self, kind: &str, step: &str, delta: &str, content: &str, now: u64) {
        self.stream.push(&json!({
            "ts": now, "event": format!("assistant_{kind}_stream"),
            "runId": self.run_id, "sessionId": self.session_id,
            "evtType": format!("{kind}_{step}"), "delta": delta, "content": content,
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::agents::providers::Stop;
    use crate::agents::run::Usage;

    #[tokio::test]
    async fn pieces_and_the_whole_are_written_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/raw.jsonl");
        let lifecycle = Lifecycle::default();
        let stream = RawStream::start(path.clone(), &lifecycle);
        let (mut tap, mut answer) = (Tap::new(&stream, "r", "s"), Answer::default());
        let done = Part::Done { stop: Stop::Stop, usage: Usage::default(), response_id: None };
        let parts =
            [Part::Thinking("hm".into()), Part::Text("Hel".into()), Part::Text("lo".into())];
        for part in parts.into_iter().chain([done]) {
            tap.part(&part, 7);
            answer.push(part);
        }
        tap.end(&answer, 8);
        assert!(lifecycle.shut_down(Duration::from_secs(30)).await);
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let steps: Vec<&str> = lines.iter().filter_map(|line| line["evtType"].as_str()).collect();
        assert_eq!(
            steps,
            [
                "thinking_start",
                "thinking_delta",
                "thinking_end",
                "text_start",
                "text_delta",
                "text_delta",
                "text_end"
            ]
        );
        assert_eq!(lines[6]["content"], "Hello");
        assert_eq!(lines[5]["delta"], "lo");
        assert_eq!(lines[7]["event"], "assistant_message_end");
        assert_eq!(
            (&lines[7]["rawText"], &lines[7]["rawThinking"]),
            (&json!("Hello"), &json!("hm"))
        );
        assert_eq!((&lines[7]["runId"], &lines[7]["sessionId"]), (&json!("r"), &json!("s")));
    }
}
