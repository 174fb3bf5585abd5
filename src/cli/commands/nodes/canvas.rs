//! `nodes canvas …`: what a node shows.

use std::fs;

use serde_json::{Value, json};

use crate::cli::args::node_media::{
    A2uiCommand, A2uiPushArgs, CanvasCommand, CanvasNodeArgs, EvalArgs, PresentArgs,
};
use crate::cli::commands::nodes::{Asker, media, members};
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};

/// What an A2UI message may do. The last of them is of a newer version.
const ACTIONS: [&str; 5] =
    ["beginRendering", "surfaceUpdate", "dataModelUpdate", "deleteSurface", "createSurface"];

pub(super) fn run(context: &Context, command: &CanvasCommand) -> CommandResult {
    match command {
        CanvasCommand::Snapshot(args) => media::snapshot(context, args),
        CanvasCommand::Present(args) => present(context, args),
        CanvasCommand::Hide(args) => {
            let on = Canvas::new(context, args, "canvas hide");
            on.tell("canvas.hide", None, "canvas hide ok")
        }
        CanvasCommand::Navigate(args) => {
            let on = Canvas::new(context, &args.on, "canvas navigate");
            on.tell("canvas.navigate", Some(json!({ "url": args.target })), "canvas navigate ok")
        }
        CanvasCommand::Eval(args) => eval(context, args),
        CanvasCommand::A2ui(args) => match &args.command {
            A2uiCommand::Push(args) => push(context, args),
            A2uiCommand::Reset(args) => {
                let on = Canvas::new(context, args, "canvas a2ui reset");
                on.tell("canvas.a2ui.reset", None, "canvas a2ui reset ok")
            }
        },
    }
}

/// The canvas of one node.
struct Canvas<'a> {
    asked: Asker<'a>,
    args: &'a CanvasNodeArgs,
}

impl<'a> Canvas<'a> {
    fn new(context: &'a Context, args: &'a CanvasNodeArgs, what: &'static str) -> Self {
        Self { asked: Asker::new(context, &args.of.rpc, what), args }
    }

    fn invoke(&self, command: &str, params: Option<Value>) -> Result<Value, Failure> {
        let node = self.asked.node(&self.args.of.node)?;
        self.asked.invoke(&node, command, params, self.args.invoke_timeout.as_deref())
    }

    /// Invokes a command that answers nothing; with `--json` nothing is said.
    fn tell(&self, command: &str, params: Option<Value>, done: &str) -> CommandResult {
        self.invoke(command, params)?;
        if self.args.of.rpc.json {
            return Ok(Outcome::default());
        }
        Ok(Outcome::text(self.asked.context.ui.out.good(done)))
    }
}

fn present(context: &Context, args: &PresentArgs) -> CommandResult {
    let on = Canvas::new(context, &args.on, "canvas present");
    let at = |option: &str, typed: &Option<String>| -> Result<Value, Failure> {
        let number: Option<f64> = on.asked.number(option, typed.as_deref(), "a number")?;
        Ok(number.map_or(Value::Null, plain))
    };
    let placement = members([
        ("x", at("--x", &args.x)?),
        ("y", at("--y", &args.y)?),
        ("width", at("--width", &args.width)?),
        ("height", at("--height", &args.height)?),
    ]);
    let placed = placement.as_object().is_some_and(|placement| !placement.is_empty());
    let target = args.target.as_deref().filter(|target| !target.is_empty());
    let params =
        members([("url", json!(target)), ("placement", placed.then_some(placement).into())]);
    on.tell("canvas.present", Some(params), "canvas present ok")
}

/// A number as JavaScript writes it: whole ones without a point.
fn plain(number: f64) -> Value {
    let text = number.to_string();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn eval(context: &Context, args: &EvalArgs) -> CommandResult {
    let on = Canvas::new(context, &args.on, "canvas eval");
    let script = args.js.as_ref().or(args.script.as_ref()).filter(|script| !script.is_empty());
    let script = script.ok_or_else(|| on.asked.failure("missing --js or <js>"))?;
    let answer = on.invoke("canvas.eval", Some(json!({ "javaScript": script })))?;
    if args.on.of.rpc.json {
        return Ok(Outcome::json(&answer));
    }
    Ok(Outcome::text(match &answer["payload"]["result"] {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Null | Value::Bool(false) | Value::String(_) => {
            context.ui.out.good("canvas eval ok")
        }
        other => other.to_string(),
    }))
}

fn push(context: &Context, args: &A2uiPushArgs) -> CommandResult {
    let on = Canvas::new(context, &args.on, "canvas a2ui push");
    let lines = match (&args.jsonl, &args.text) {
        (Some(path), None) => fs::read_to_string(path)
            .map_err(|err| on.asked.failure(format!("reading {path}: {err}")))?,
        (None, Some(text)) => page_with(text),
        _ => return Err(on.asked.failure("provide exactly one of --jsonl or --text")),
    };
    let count = checked(&lines).map_err(|text| on.asked.failure(text))?;
    let plural = if count == 1 { "" } else { "s" };
    on.tell(
        "canvas.a2ui.pushJSONL",
        Some(json!({ "jsonl": lines })),
        &format!("canvas a2ui push ok (v0.8, {count} message{plural})"),
    )
}

/// The messages that show one text.
fn page_with(text: &str) -> String {
    let column = json!({"Column": {"children": {"explicitList": ["text"]}}});
    let body = json!({"Text": {"text": {"literalString": text}, "usageHint": "body"}});
    let update = json!({"surfaceUpdate": {"surfaceId": "main", "components": [
        {"id": "root", "component": column}, {"id": "text", "component": body}]}});
    let begin = json!({"beginRendering": {"surfaceId": "main", "root": "root"}});
    format!("{update}\n{begin}")
}

/// How many messages there are, if the node will understand them.
fn checked(lines: &str) -> Result<usize, String> {
    let (mut count, mut older, mut newer) = (0, false, false);
    let mut wrong = Vec::new();
    for (at, line) in lines.lines().enumerate() {
        let (line, at) = (line.trim(), at + 1);
        if line.is_empty() {
            continue;
        }
        count += 1;
        match serde_json::from_str(line) {
            Err(err) => wrong.push(format!("line {at}: SyntaxError: {err}")),
            Ok(Value::Object(message)) => {
                let actions: Vec<&str> =
                    ACTIONS.into_iter().filter(|action| message.contains_key(*action)).collect();
                match actions.as_slice() {
                    ["createSurface"] => newer = true,
                    [_] => older = true,
                    _ => wrong.push(format!(
                        "line {at}: expected exactly one action key ({})",
                        ACTIONS.join(", ")
                    )),
                }
            }
            Ok(_) => wrong.push(format!("line {at}: expected JSON object")),
        }
    }
    if count == 0 {
        wrong.push("no JSONL messages found".to_owned());
    }
    if older && newer {
        wrong.push("mixed A2UI v0.8 and v0.9 messages in one file".to_owned());
    }
    if !wrong.is_empty() {
        return Err(format!("Invalid A2UI JSONL:\n- {}", wrong.join("\n- ")));
    }
    if newer {
        return Err("Detected A2UI v0.9 JSONL (createSurface). OpenClaw currently supports v0.8 \
                    only."
            .to_owned());
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_two_messages_that_pass_the_check() {
        assert_eq!(checked(&page_with("hi \"there\"")), Ok(2));
    }

    #[test]
    fn every_wrong_line_is_named() {
        let wrong = checked("\n{\"beginRendering\":{}}\n[]\n{}\nnope").unwrap_err();
        let lines: Vec<&str> = wrong.lines().collect();
        assert_eq!(lines[0], "Invalid A2UI JSONL:");
        assert_eq!(lines[1], "- line 3: expected JSON object");
        assert!(lines[2].starts_with("- line 4: expected exactly one action key (beginRendering"));
        assert!(lines[3].starts_with("- line 5: SyntaxError: "));
        assert_eq!(checked(" ").unwrap_err(), "Invalid A2UI JSONL:\n- no JSONL messages found");
        assert!(checked("{\"createSurface\":{}}").unwrap_err().contains("v0.9"));
    }
}
