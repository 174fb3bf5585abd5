//! `logs`: the gateway's log file, through the gateway or, when it is away,
//! straight from this host's disk or journal.

mod journal;
mod source;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::clock;
use crate::cli::args::look::LogsArgs;
use crate::cli::context::Context;
use crate::cli::link::{self, CallError};
use crate::cli::ui::log_line::{Form, Line};
use crate::cli::ui::page::Page;
use crate::cli::ui::paint::Palette;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::logging;

use source::Source;

const AWAY: &str = "Gateway not reachable. Is it running and accessible?";

/// What one answer holds at most.
const MOST_LINES: usize = 5000;
const MOST_BYTES: u64 = 1_000_000;

/// How much to read at a time.
#[derive(Debug, Clone, Copy)]
struct Amount {
    limit: usize,
    max_bytes: u64,
    timeout: Duration,
}

pub fn run(context: &Context, args: &LogsArgs) -> CommandResult {
    let number =
        |text: &str, name: &str| {
            text.trim().parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(|| {
                Failure::new(format!("Error: {name} must be a positive whole number"))
            })
        };
    let amount = Amount {
        limit: usize::try_from(number(&args.limit, "--limit")?).unwrap_or(usize::MAX),
        max_bytes: number(&args.max_bytes, "--max-bytes")?,
        timeout: link::timeout(Some(&args.timeout), link::CALL_MS)?,
    };
    let interval = Duration::from_millis(number(&args.interval, "--interval")?);
    let form = Form {
        json: args.json,
        local_time: args.local_time,
        palette: if args.plain { Palette::default() } else { context.ui.out },
    };
    let mut printer = Printer { context, form, begun: false };
    let mut source = Source::open(context, args);
    context.block_on(async {
        let mut amount = amount;
        loop {
            let read = source.read(amount).await.map_err(|err| away(context, args, &err))?;
            printer.show(&read)?;
            if !args.follow {
                return Ok(Outcome::default());
            }
            // The first look is as long as asked for; after it nothing may be missing.
            amount = Amount { limit: MOST_LINES, max_bytes: MOST_BYTES, ..amount };
            tokio::time::sleep(interval).await;
        }
    })
}

/// The configured log file, else today's file in the state directory.
pub fn local_file(context: &Context) -> PathBuf {
    let daily = || logging::default_file(&context.paths.logs(), clock::now_ms());
    context.config().log_file().unwrap_or_else(daily)
}

/// Prints results as they come.
struct Printer<'a> {
    context: &'a Context,
    form: Form,
    begun: bool,
}

impl Printer<'_> {
    fn show(&mut self, read: &Value) -> io::Result<()> {
        let ui = self.context.ui;
        let (mut page, mut talk) = (Page::default(), Page::default());
        if !self.begun {
            self.begun = true;
            page.line(if self.form.json {
                json!({
                    "type": "meta", "file": read["file"], "cursor": read["cursor"], "size": read["size"],
                })
                .to_string()
            } else {
                let file = read["file"].as_str().unwrap_or_default();
                format!("{} {file}", self.form.palette.dim("Log file:"))
            });
        }
        let lines = read["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        page.lines(
            lines.iter().filter_map(Value::as_str).map(|raw| Line::parse(raw).render(&self.form)),
        );
        let notices = [
            ("truncated", "Log tail truncated (increase --max-bytes)."),
            ("reset", "Log cursor reset (file rotated)."),
        ];
        for (_, message) in notices.iter().filter(|(key, _)| read[*key] == json!(true)) {
            if self.form.json {
                page.line(json!({ "type": "notice", "message": message }).to_string());
            } else {
                talk.line(message);
            }
        }
        ui.out(&String::from(page))?;
        ui.err(&String::from(talk));
        Ok(())
    }
}

/// Nothing can be shown: say which gateway was asked.
fn away(context: &Context, args: &LogsArgs, err: &CallError) -> Failure {
    let hint = format!("Hint: run `{} doctor`.", context.program());
    let notice = err.notice().unwrap_or_default();
    let CallError::Client { details, .. } = err else {
        return err.failure("");
    };
    if !args.json {
        return Failure::new(format!("{notice}{AWAY}\n{details}\n{hint}"));
    }
    let line = |lead: &str| {
        details.lines().find_map(|line| line.strip_prefix(lead)).map(|text| text.trim().to_owned())
    };
    let mut explained = json!({
        "url": line("Gateway target:"),
        "urlSource": line("Source:"),
    });
    if let Some(bind) = line("Bind:") {
        explained["bindDetail"] = json!(format!("Bind: {bind}"));
    }
    explained["message"] = json!(details);
    let document = json!({
        "type": "error", "message": AWAY, "error": err.text(), "details": explained, "hint": hint,
    });
    Failure::new(format!("{notice}{document}"))
}
