//! `logs`: the gateway's log file, through the gateway or, when it is away,
//! straight from this host's disk.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::cli::args::look::LogsArgs;
use crate::cli::context::Context;
use crate::cli::link::{self, CallError, Link};
use crate::cli::ui::log_line::{Form, Line};
use crate::cli::ui::page::Page;
use crate::cli::ui::paint::Palette;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::client::{Caller, Connection, Expect};
use crate::logging;
use crate::logging::tail::{self, TailRequest};
use crate::profile::paths::expand;

const AWAY: &str = "Gateway not reachable. Is it running and accessible?";

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
        let mut cursor = None;
        loop {
            let read =
                source.read(cursor, amount).await.map_err(|err| away(context, args, &err))?;
            printer.show(&read)?;
            cursor = read["cursor"].as_u64();
            if !args.follow {
                return Ok(Outcome::default());
            }
            tokio::time::sleep(interval).await;
        }
    })
}

/// Where the lines come from.
struct Source<'a> {
    context: &'a Context,
    link: Result<Link, CallError>,
    connection: Option<Connection>,
    /// The file to read while the gateway is away; none for a remote gateway.
    file: Option<PathBuf>,
    told: bool,
    delays: Backoff,
    retry_at: u64,
}

impl<'a> Source<'a> {
    fn open(context: &'a Context, args: &LogsArgs) -> Self {
        let link = Link::open(
            context,
            args.url.as_deref(),
            args.token.as_deref(),
            args.password.as_deref(),
        );
        let local = link.as_ref().is_ok_and(|link| link.target.bind.is_some());
        let file = local.then(|| local_file(context)).filter(|file| has_lines(file));
        Self { context, link, connection: None, file, told: false, delays: delays(), retry_at: 0 }
    }

    /// The next `logs.tail` result, from the gateway if it answers.
    async fn read(&mut self, cursor: Option<u64>, amount: Amount) -> Result<Value, CallError> {
        if clock::now_ms() < self.retry_at
            && let Some(read) = self.read_file(cursor, amount)
        {
            return Ok(read);
        }
        match self.ask(cursor, amount).await {
            Ok(read) => {
                self.delays = delays();
                self.retry_at = 0;
                self.told = false;
                Ok(read)
            }
            Err(err) => {
                self.connection = None;
                let Some(read) = self.read_file(cursor, amount) else { return Err(err) };
                if !self.told {
                    self.told = true;
                    self.context.ui.err("Gateway not reachable; reading local log file");
                }
                let delay = self.delays.next().unwrap_or_default();
                self.retry_at =
                    clock::now_ms() + u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                Ok(read)
            }
        }
    }

    async fn ask(&mut self, cursor: Option<u64>, amount: Amount) -> Result<Value, CallError> {
        let link = match &self.link {
            Ok(link) => link,
            Err(CallError::NoCredentials { config }) => {
                return Err(CallError::NoCredentials { config: config.clone() });
            }
            Err(CallError::Client { err, details }) => {
                return Err(CallError::Client {
                    err: crate::client::ClientError::Protocol(err.to_string()),
                    details: details.clone(),
                });
            }
        };
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(link.connect(Caller::CLI, amount.timeout).await?),
        };
        let mut params = json!({ "limit": amount.limit, "maxBytes": amount.max_bytes });
        if let Some(cursor) = cursor {
            params["cursor"] = json!(cursor);
        }
        connection
            .call("logs.tail", Some(params), Expect::First, amount.timeout)
            .await
            .map_err(|err| link.error(err))
    }

    /// The same result from the local file.
    fn read_file(&self, cursor: Option<u64>, amount: Amount) -> Option<Value> {
        let request = TailRequest { cursor, limit: amount.limit, max_bytes: amount.max_bytes };
        let read = tail::read(self.file.as_deref()?, request).ok()?;
        serde_json::to_value(read).ok()
    }
}

fn delays() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(30))
}

/// The configured log file, else today's file in the state directory.
pub fn local_file(context: &Context) -> PathBuf {
    match context.config().config.logging.get("file").and_then(Value::as_str) {
        Some(file) => expand(file, &context.paths.home),
        None => logging::default_file(&context.paths.logs(), clock::now_ms()),
    }
}

fn has_lines(file: &Path) -> bool {
    let request = TailRequest { cursor: None, limit: 1, max_bytes: 1 };
    tail::read(file, request).is_ok_and(|read| read.size > 0)
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
