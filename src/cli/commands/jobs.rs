//! `cron add` and `cron edit`: from options to the parameters of `cron.add` and
//! `cron.update`. What scripts match, the texts of refusals, is kept.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::base::clock;
use crate::base::duration::parse_ms;
use crate::cli::args::jobs::{CronAddArgs, CronEditArgs, JobFields};
use crate::cli::args::rpc::Rpc;
use crate::cli::commands::call::call_or_fail;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};

/// Parameters, or a refusal without its `Error: `.
type Asked<T> = Result<T, String>;

pub fn add(context: &Context, args: &CronAddArgs) -> CommandResult {
    if args.job.name.is_none() {
        return Err(Failure::new("error: required option '--name <name>' not specified"));
    }
    let params = add_params(args, clock::now_ms()).map_err(refused)?;
    let job = call_or_fail(context, &args.job.rpc, "cron.add", Some(params))?;
    warn_if_disabled(context, &args.job.rpc);
    Ok(Outcome::json(&job))
}

pub fn edit(context: &Context, args: &CronEditArgs) -> CommandResult {
    let rpc = &args.job.rpc;
    let mut patch = edit_patch(args).map_err(refused)?;
    match schedule_change(&args.job, clock::now_ms()).map_err(refused)? {
        Change::None => {}
        Change::Whole(schedule) => drop(patch.insert("schedule".into(), schedule)),
        Change::OfCron { tz, stagger_ms } => {
            let params = json!({ "includeDisabled": true });
            let jobs = call_or_fail(context, rpc, "cron.list", Some(params))?;
            let jobs = jobs["jobs"].as_array().cloned().unwrap_or_default();
            let existing = jobs.iter().find(|job| job["id"] == args.id.as_str());
            let Some(existing) = existing else {
                return Err(refused(format!("unknown cron job id: {}", args.id)));
            };
            let schedule = changed_cron(&existing["schedule"], tz, stagger_ms).map_err(refused)?;
            patch.insert("schedule".into(), schedule);
        }
    }
    let params = json!({ "id": args.id, "patch": patch });
    let job = call_or_fail(context, rpc, "cron.update", Some(params))?;
    warn_if_disabled(context, rpc);
    Ok(Outcome::json(&job))
}

fn refused(mut text: String) -> Failure {
    text.insert_str(0, "Error: ");
    Failure::new(text)
}

/// Says so when the gateway keeps jobs but does not run them.
fn warn_if_disabled(context: &Context, rpc: &Rpc) {
    let Ok(status) = call_or_fail(context, rpc, "cron.status", Some(json!({}))) else { return };
    if status["enabled"] == json!(true) {
        return;
    }
    context.ui.err(
        "warning: cron scheduler is disabled in the Gateway; jobs are saved but will not run \
         automatically.\nRe-enable with `cron.enabled: true` (or remove `cron.enabled: false`) \
         and restart the Gateway.",
    );
    if let Some(path) = status["storePath"].as_str() {
        context.ui.err(&format!("store: {path}"));
    }
}

/// An option's text without surrounding space; `None` when that leaves nothing.
fn filled(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

fn put(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

fn add_params(args: &CronAddArgs, now: u64) -> Asked<Value> {
    let job = &args.job;
    let Change::Whole(schedule) = schedule_change(job, now)? else {
        return Err("Choose exactly one schedule: --at, --every, or --cron".to_owned());
    };
    let wake = filled(job.wake.as_ref()).unwrap_or("now");
    if !matches!(wake, "now" | "next-heartbeat") {
        return Err("--wake must be now or next-heartbeat".to_owned());
    }
    let announce = job.announce || job.deliver;
    if announce && job.no_deliver {
        return Err("Choose at most one of --announce or --no-deliver".to_owned());
    }
    let payload = match (filled(job.system_event.as_ref()), filled(job.message.as_ref())) {
        (Some(text), None) => json!({ "kind": "systemEvent", "text": text }),
        (None, Some(message)) => {
            let mut turn = Map::new();
            turn.insert("kind".into(), "agentTurn".into());
            turn.insert("message".into(), message.into());
            turn_options(&mut turn, job);
            if job.light_context {
                turn.insert("lightContext".into(), true.into());
            }
            Value::Object(turn)
        }
        _ => return Err("Choose exactly one payload: --system-event or --message".to_owned()),
    };
    let is_turn = payload["kind"] == "agentTurn";
    let target = match &job.session {
        Some(target) => target.trim(),
        None if is_turn => "isolated",
        None => "main",
    };
    let own = target.strip_prefix("session:").is_some_and(|id| !id.trim().is_empty());
    let apart = matches!(target, "isolated" | "current") || own;
    let problem = if target != "main" && !apart {
        Some("--session must be main, isolated, current, or session:<id>")
    } else if job.delete_after_run && job.keep_after_run {
        Some("Choose --delete-after-run or --keep-after-run, not both")
    } else if target == "main" && is_turn {
        Some("Main jobs require --system-event (systemEvent).")
    } else if apart && !is_turn {
        Some("Isolated/current/custom-session jobs require --message (agentTurn).")
    } else if (announce || job.no_deliver) && !(apart && is_turn) {
        Some("--announce/--no-deliver require a non-main agentTurn session target.")
    } else if filled(job.account.as_ref()).is_some() && !(apart && is_turn) {
        Some("--account requires a non-main agentTurn job with delivery.")
    } else if filled(job.name.as_ref()).is_none() {
        Some("--name is required")
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(problem.to_owned());
    }
    let mut params = Map::new();
    put(&mut params, "name", filled(job.name.as_ref()));
    put(&mut params, "description", filled(job.description.as_ref()));
    params.insert("enabled".into(), (!args.disabled).into());
    put(&mut params, "deleteAfterRun", after_run(job));
    put(&mut params, "agentId", filled(job.agent.as_ref()).map(str::to_lowercase));
    put(&mut params, "sessionKey", filled(job.session_key.as_ref()));
    params.insert("schedule".into(), schedule);
    params.insert("sessionTarget".into(), target.into());
    params.insert("wakeMode".into(), wake.into());
    params.insert("payload".into(), payload);
    if apart {
        let mut delivery = Map::new();
        let mode = if job.no_deliver { "none" } else { "announce" };
        delivery.insert("mode".into(), mode.into());
        let channel = job.channel.as_ref().map_or(Some("last"), |name| filled(Some(name)));
        put(&mut delivery, "channel", channel);
        put(&mut delivery, "to", filled(job.to.as_ref()));
        put(&mut delivery, "accountId", filled(job.account.as_ref()));
        put(&mut delivery, "bestEffort", job.best_effort_deliver.then_some(true));
        params.insert("delivery".into(), delivery.into());
    }
    Ok(Value::Object(params))
}

fn after_run(job: &JobFields) -> Option<bool> {
    if job.delete_after_run { Some(true) } else { job.keep_after_run.then_some(false) }
}

/// What an agent's turn may be given besides its message.
fn turn_options(turn: &mut Map<String, Value>, job: &JobFields) {
    put(turn, "model", filled(job.model.as_ref()));
    put(turn, "thinking", filled(job.thinking.as_ref()));
    let seconds = filled(job.timeout_seconds.as_ref()).and_then(|text| text.parse::<u64>().ok());
    put(turn, "timeoutSeconds", seconds.filter(|seconds| *seconds > 0));
    let tools = filled(job.tools.as_ref()).map(|list| {
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<_>>()
    });
    put(turn, "toolsAllow", tools);
}

/// Everything that `cron edit` changes, but the schedule.
fn edit_patch(args: &CronEditArgs) -> Asked<Map<String, Value>> {
    let job = &args.job;
    let is = |text: &Option<String>, word: &str| text.as_deref() == Some(word);
    let delivers = job.announce || job.deliver || job.no_deliver;
    let problem = if is(&job.session, "main") && job.message.is_some() {
        Some("Main jobs cannot use --message; use --system-event or --session isolated.")
    } else if is(&job.session, "isolated") && job.system_event.is_some() {
        Some("Isolated jobs cannot use --system-event; use --message or --session main.")
    } else if job.announce && (job.deliver || job.no_deliver) {
        Some("Choose --announce or --no-deliver (not multiple).")
    } else if args.enable && args.disable {
        Some("Choose --enable or --disable, not both")
    } else if job.delete_after_run && job.keep_after_run {
        Some("Choose --delete-after-run or --keep-after-run, not both")
    } else if job.agent.is_some() && args.clear_agent {
        Some("Use --agent or --clear-agent, not both")
    } else if job.session_key.is_some() && args.clear_session_key {
        Some("Use --session-key or --clear-session-key, not both")
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(problem.to_owned());
    }
    let mut patch = Map::new();
    put(&mut patch, "name", job.name.clone());
    put(&mut patch, "description", job.description.clone());
    put(&mut patch, "enabled", args.enable.then_some(true).or(args.disable.then_some(false)));
    put(&mut patch, "deleteAfterRun", after_run(job));
    put(&mut patch, "sessionTarget", job.session.clone());
    put(&mut patch, "wakeMode", job.wake.clone());
    put(&mut patch, "agentId", filled(job.agent.as_ref()).map(str::to_lowercase));
    put(&mut patch, "agentId", args.clear_agent.then_some(Value::Null));
    put(&mut patch, "sessionKey", filled(job.session_key.as_ref()));
    put(&mut patch, "sessionKey", args.clear_session_key.then_some(Value::Null));

    let best_effort =
        job.best_effort_deliver.then_some(true).or(args.no_best_effort_deliver.then_some(false));
    let addressed = job.channel.is_some() || job.to.is_some() || job.account.is_some();
    let mut turn = Map::new();
    turn.insert("kind".into(), "agentTurn".into());
    put(&mut turn, "message", job.message.clone());
    turn_options(&mut turn, job);
    let light = job.light_context.then_some(true).or(args.no_light_context.then_some(false));
    put(&mut turn, "lightContext", light);
    put(&mut turn, "toolsAllow", args.clear_tools.then_some(Value::Null));
    let changes_delivery = delivers || addressed || best_effort.is_some();
    let changes_turn = turn.len() > 1 || changes_delivery;
    match &job.system_event {
        Some(_) if changes_turn => return Err("Choose at most one payload change".to_owned()),
        Some(text) => {
            patch.insert("payload".into(), json!({ "kind": "systemEvent", "text": text }));
        }
        None if changes_turn => drop(patch.insert("payload".into(), turn.into())),
        None => {}
    }
    if changes_delivery {
        let mut delivery = Map::new();
        if delivers {
            let announces = job.announce || job.deliver;
            let mode = if announces { "announce" } else { "none" };
            delivery.insert("mode".into(), mode.into());
        } else if best_effort.is_some() {
            delivery.insert("mode".into(), "announce".into());
        }
        put(&mut delivery, "channel", filled(job.channel.as_ref()));
        put(&mut delivery, "to", filled(job.to.as_ref()));
        put(&mut delivery, "accountId", filled(job.account.as_ref()));
        put(&mut delivery, "bestEffort", best_effort);
        patch.insert("delivery".into(), delivery.into());
    }
    if let Some(alert) = failure_alert(args)? {
        patch.insert("failureAlert".into(), alert);
    }
    Ok(patch)
}

fn failure_alert(args: &CronEditArgs) -> Asked<Option<Value>> {
    let mut alert = Map::new();
    if let Some(after) = &args.failure_alert_after {
        let after = after.trim().parse::<u64>().ok().filter(|after| *after > 0);
        let problem = "Invalid --failure-alert-after (must be a positive integer).";
        alert.insert("after".into(), after.ok_or(problem)?.into());
    }
    put(&mut alert, "channel", filled(args.failure_alert_channel.as_ref()).map(str::to_lowercase));
    put(&mut alert, "to", filled(args.failure_alert_to.as_ref()));
    if let Some(text) = &args.failure_alert_cooldown {
        let cooldown = duration_ms(text).ok_or("Invalid --failure-alert-cooldown.")?;
        alert.insert("cooldownMs".into(), cooldown.into());
    }
    if let Some(mode) = &args.failure_alert_mode {
        let mode = mode.trim().to_lowercase();
        if !matches!(mode.as_str(), "announce" | "webhook") {
            let problem = "Invalid --failure-alert-mode (must be 'announce' or 'webhook').";
            return Err(problem.to_owned());
        }
        alert.insert("mode".into(), mode.into());
    }
    put(&mut alert, "accountId", filled(args.failure_alert_account_id.as_ref()));
    match (args.no_failure_alert, alert.is_empty()) {
        (true, false) => {
            Err("Use --no-failure-alert alone (without failure-alert-* options).".to_owned())
        }
        (true, true) => Ok(Some(Value::Bool(false))),
        (false, true) if !args.failure_alert => Ok(None),
        (false, _) => Ok(Some(alert.into())),
    }
}

/// What the options say about the schedule.
#[derive(Debug, PartialEq)]
enum Change {
    None,
    Whole(Value),
    /// Zone or spread of a cron expression that is there already.
    OfCron {
        tz: Option<String>,
        stagger_ms: Option<u64>,
    },
}

fn schedule_change(job: &JobFields, now: u64) -> Asked<Change> {
    let stagger_ms = match (filled(job.stagger.as_ref()), job.exact) {
        (Some(_), true) => return Err("Choose either --stagger or --exact, not both".to_owned()),
        (Some(text), false) => {
            Some(duration_ms(text).ok_or("Invalid --stagger; use e.g. 30s, 1m, 5m")?)
        }
        (None, exact) => exact.then_some(0),
    };
    let tz = filled(job.tz.as_ref()).map(str::to_owned);
    let (at, every, cron) =
        (filled(job.at.as_ref()), filled(job.every.as_ref()), filled(job.cron.as_ref()));
    match [at, every, cron].iter().flatten().count() {
        0 if tz.is_some() || stagger_ms.is_some() => return Ok(Change::OfCron { tz, stagger_ms }),
        0 => return Ok(Change::None),
        1 => {}
        _ => return Err("Choose exactly one schedule: --at, --every, or --cron".to_owned()),
    }
    if tz.is_some() && every.is_some() {
        return Err("--tz is only valid with --cron or offset-less --at".to_owned());
    }
    if stagger_ms.is_some() && cron.is_none() {
        return Err("--stagger/--exact are only valid for cron schedules".to_owned());
    }
    if let Some(at) = at {
        let at = moment(at, tz.as_deref(), now);
        let at = at.ok_or("Invalid --at; use ISO time or duration like 20m")?;
        return Ok(Change::Whole(json!({ "kind": "at", "at": at })));
    }
    if let Some(every) = every {
        let every = duration_ms(every).ok_or("Invalid --every; use e.g. 10m, 1h, 1d")?;
        return Ok(Change::Whole(json!({ "kind": "every", "everyMs": every })));
    }
    let mut schedule = Map::new();
    schedule.insert("kind".into(), "cron".into());
    put(&mut schedule, "expr", cron);
    put(&mut schedule, "tz", tz);
    put(&mut schedule, "staggerMs", stagger_ms);
    Ok(Change::Whole(schedule.into()))
}

fn changed_cron(existing: &Value, tz: Option<String>, stagger_ms: Option<u64>) -> Asked<Value> {
    if existing["kind"] != "cron" {
        return Err("Current job is not a cron schedule; use --cron to convert first".to_owned());
    }
    let mut schedule = existing.as_object().cloned().unwrap_or_default();
    put(&mut schedule, "tz", tz);
    put(&mut schedule, "staggerMs", stagger_ms);
    Ok(schedule.into())
}

/// `1.5h`, `20m`, `500ms`; positive, and a unit is required.
fn duration_ms(text: &str) -> Option<u64> {
    parse_ms(text, "").filter(|ms| *ms > 0)
}

/// A moment as ISO text in UTC: a duration from now, or a time, which without
/// an offset is meant in `tz`, or in UTC.
fn moment(text: &str, tz: Option<&str>, now: u64) -> Option<String> {
    let at = if let Some(wait) = duration_ms(text.trim_start_matches('+')) {
        Timestamp::from_millisecond(i64::try_from(now.checked_add(wait)?).ok()?).ok()?
    } else if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else {
        let zone = tz.map_or(Some(TimeZone::UTC), |tz| TimeZone::get(tz).ok())?;
        text.parse::<DateTime>().ok()?.to_zoned(zone).ok()?.timestamp()
    };
    Some(format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of a job's options.
    type Fill = fn(&mut JobFields);

    fn job(fill: impl FnOnce(&mut JobFields)) -> CronAddArgs {
        let mut args = CronAddArgs::default();
        args.job.name = Some("job1".into());
        fill(&mut args.job);
        args
    }

    #[test]
    fn a_job_becomes_the_recorded_parameters() {
        let args = job(|job| {
            job.every = Some("1h".into());
            job.message = Some("cron hi".into());
            job.no_deliver = true;
        });
        let expected = json!({"name": "job1", "enabled": true,
            "schedule": {"kind": "every", "everyMs": 3_600_000}, "sessionTarget": "isolated",
            "wakeMode": "now", "payload": {"kind": "agentTurn", "message": "cron hi"},
            "delivery": {"mode": "none", "channel": "last"}});
        assert_eq!(add_params(&args, 0).unwrap(), expected);
        let note = job(|job| {
            job.cron = Some("0 9 * * *".into());
            job.tz = Some("Europe/Berlin".into());
            job.system_event = Some("look".into());
        });
        let params = add_params(&note, 0).unwrap();
        assert_eq!(params["sessionTarget"], "main");
        assert_eq!(params["schedule"]["tz"], "Europe/Berlin");
        assert!(params.get("delivery").is_none());
    }

    #[test]
    fn what_contradicts_itself_is_refused_in_the_words_that_scripts_know() {
        let cases: [(Fill, &str); 6] = [
            (|_| {}, "Choose exactly one schedule: --at, --every, or --cron"),
            (|job| job.every = Some("soon".into()), "Invalid --every; use e.g. 10m, 1h, 1d"),
            (
                |job| job.every = Some("1h".into()),
                "Choose exactly one payload: --system-event or --message",
            ),
            (
                |job| {
                    job.every = Some("1h".into());
                    job.message = Some("x".into());
                    job.session = Some("main".into());
                },
                "Main jobs require --system-event (systemEvent).",
            ),
            (
                |job| {
                    job.every = Some("1h".into());
                    job.exact = true;
                },
                "--stagger/--exact are only valid for cron schedules",
            ),
            (
                |job| {
                    job.every = Some("1h".into());
                    job.system_event = Some("x".into());
                    job.announce = true;
                },
                "--announce/--no-deliver require a non-main agentTurn session target.",
            ),
        ];
        for (fill, expected) in cases {
            assert_eq!(add_params(&job(fill), 0).unwrap_err(), expected);
        }
    }

    #[test]
    fn moments_are_understood_as_people_write_them() {
        let at = |words: &str, tz| moment(words, tz, 1_795_349_376_355);
        assert_eq!(at("20m", None).unwrap(), "2026-11-22T12:29:36.355Z");
        assert_eq!(at("+1s", None), at("1s", None));
        assert_eq!(at("2026-12-01T10:00:00+01:00", None).unwrap(), "2026-12-01T09:00:00.000Z");
        let berlin = Some("Europe/Berlin");
        assert_eq!(at("2026-12-01T10:00", berlin).unwrap(), "2026-12-01T09:00:00.000Z");
        assert_eq!(at("2026-12-01 10:00", None).unwrap(), "2026-12-01T10:00:00.000Z");
        assert_eq!(at("tomorrow", None), None);
        assert_eq!(duration_ms("0m"), None);
        assert_eq!(duration_ms("1.5h"), Some(5_400_000));
    }

    #[test]
    fn an_edit_touches_only_what_was_named() {
        let mut args = CronEditArgs { id: "j".to_owned(), disable: true, ..Default::default() };
        args.job.model = Some("fake/m".into());
        args.clear_agent = true;
        let patch = Value::Object(edit_patch(&args).unwrap());
        let expected = json!({"enabled": false, "agentId": null,
            "payload": {"kind": "agentTurn", "model": "fake/m"}});
        assert_eq!(patch, expected);
        args.job.system_event = Some("x".into());
        assert_eq!(edit_patch(&args).unwrap_err(), "Choose at most one payload change");
        let mut alert = CronEditArgs { no_failure_alert: true, ..Default::default() };
        assert_eq!(failure_alert(&alert).unwrap(), Some(json!(false)));
        alert.failure_alert_after = Some("3".into());
        assert!(failure_alert(&alert).is_err());
    }
}
