//! `config set`: values, JSON, builders, batches, and trying them out.

use std::io::ErrorKind;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::args::config::SetArgs;
use crate::cli::commands::config::{author, error, failed_report, write_failure, written_notes};
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::assign::{self, Assignment, Mode, ProviderFlags, RefFlags, Request};
use crate::config::validate::known;
use crate::config::write::{self, Before};
use crate::config::{Snapshot, load};
use crate::secrets::resolve::Resolver;
use crate::secrets::{self, SecretRef, Source};

pub(super) fn run(context: &Context, args: SetArgs) -> CommandResult {
    let as_json = args.json;
    let request = request(args)?;
    let (mode, assignments) = assign::plan(&request).map_err(error)?;
    if request.dry_run {
        return dry_run(context, &request, mode, &assignments, as_json);
    }
    forbid(
        &assignments,
        "Config policy validation failed: unsupported SecretRef usage was detected.",
    )?;
    let mut removed = Vec::new();
    let written =
        write::update(&context.paths, &context.env, &author(), None, Before::Valid, |current| {
            let (text, lines) = assign::apply(write::source_text(current), &assignments)?;
            removed = lines;
            Ok(text)
        })
        .map_err(write_failure)?;
    let mut lines = removed;
    lines.push(match assignments.as_slice() {
        [one] => format!("Updated {}. Restart the gateway to apply.", one.keys.join(".")),
        many => format!("Updated {} config paths. Restart the gateway to apply.", many.len()),
    });
    Ok(Outcome::text(lines.join("\n")).with_stderr(written_notes(&written)))
}

fn request(args: SetArgs) -> Result<Request, Failure> {
    if args.batch_json.is_some() && args.batch_file.is_some() {
        return Err(error("Use either --batch-json or --batch-file, not both."));
    }
    let read = |file: PathBuf| {
        std::fs::read_to_string(&file).map_err(|err| match err.kind() {
            ErrorKind::NotFound => {
                error(format!("ENOENT: no such file or directory, open '{}'", file.display()))
            }
            _ => error(format!("--batch-file {}: {err}", file.display())),
        })
    };
    let batch_file = args.batch_file.map(read).transpose()?;
    Ok(Request {
        path: args.path,
        value: args.value,
        strict: args.strict_json || args.json,
        dry_run: args.dry_run,
        allow_exec: args.allow_exec,
        batch_json: args.batch_json,
        batch_file,
        reference: RefFlags {
            provider: args.ref_provider,
            source: args.ref_source,
            id: args.ref_id,
        },
        provider: ProviderFlags {
            source: args.provider_source,
            allowlist: args.provider_allowlist,
            path: args.provider_path,
            mode: args.provider_mode,
            timeout_ms: args.provider_timeout_ms,
            max_bytes: args.provider_max_bytes,
            command: args.provider_command,
            args: args.provider_arg,
            no_output_timeout_ms: args.provider_no_output_timeout_ms,
            max_output_bytes: args.provider_max_output_bytes,
            json_only: args.provider_json_only,
            env: args.provider_env,
            pass_env: args.provider_pass_env,
            trusted_dirs: args.provider_trusted_dir,
            allow_insecure_path: args.provider_allow_insecure_path,
            allow_symlink_command: args.provider_allow_symlink_command,
        },
    })
}

/// Refuses references where only plain text may stand.
fn forbid(assignments: &[Assignment], headline: &str) -> Result<(), Failure> {
    let mut document = json!({});
    for assignment in assignments {
        let mut place = &mut document;
        for key in &assignment.keys {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[key.as_str()];
        }
        *place = assignment.value.clone();
    }
    let forbidden = known::forbidden_references(&document);
    if forbidden.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        forbidden.iter().map(|(path, message)| format!("- {path}: {message}")).collect();
    Err(error(format!("{headline}\n{}", lines.join("\n"))))
}

/// What a dry run found.
#[derive(Debug, Default)]
struct Findings {
    checked: usize,
    skipped: usize,
    /// Message, and the reference it is about.
    errors: Vec<(String, Option<SecretRef>)>,
}

fn dry_run(
    context: &Context,
    request: &Request,
    mode: Mode,
    assignments: &[Assignment],
    as_json: bool,
) -> CommandResult {
    const SCHEMA: &str = "Dry run failed: config schema validation failed.";
    let current = context.config();
    if !current.is_valid() {
        return Err(Failure::new(current.invalid_block().join("\n")));
    }
    if !as_json {
        forbid(assignments, SCHEMA)?;
    }
    let (text, _) = assign::apply(write::source_text(current), assignments).map_err(error)?;
    let next = load::evaluate(text, &context.paths, &context.env);
    let mut findings = Findings::default();
    if mode == Mode::Json {
        let complaints = next.issues.iter().map(|issue| (format!("- {issue}"), None));
        findings.errors.extend(complaints);
    }
    if mode != Mode::Value {
        check_references(context, request, assignments, &next, &mut findings)?;
    }
    let failed = !findings.errors.is_empty();
    if as_json {
        let report = report(context, mode, assignments.len(), &findings);
        return Ok(if failed { failed_report(&report) } else { Outcome::json(&report) });
    }
    if failed {
        let schema: Vec<&str> = findings
            .errors
            .iter()
            .filter(|(_, reference)| reference.is_none())
            .map(|(message, _)| message.as_str())
            .collect();
        if !schema.is_empty() {
            let lines: Vec<String> = schema.iter().map(|line| format!("- {line}")).collect();
            return Err(error(format!("{SCHEMA}\n{}", lines.join("\n"))));
        }
        let lines: Vec<String> = findings
            .errors
            .iter()
            .filter_map(|(message, reference)| {
                reference.as_ref().map(|reference| format!("- {reference} -> {message}"))
            })
            .collect();
        return Err(error(format!(
            "Dry run failed: {} SecretRef assignment(s) could not be resolved.\n{}",
            lines.len(),
            lines.join("\n")
        )));
    }
    let mut lines = Vec::new();
    if mode == Mode::Value {
        lines.push("Dry run note: value mode does not run schema/resolvability checks. Use --strict-json, builder flags, or batch mode to enable validation checks.".to_owned());
    }
    if findings.skipped > 0 {
        lines.push(format!("Dry run note: skipped {} exec SecretRef resolvability check(s). Re-run with --allow-exec to execute exec providers during dry-run.", findings.skipped));
    }
    lines.push(format!(
        "Dry run successful: {} update(s) validated against {}.",
        assignments.len(),
        context.short(&context.paths.config)
    ));
    Ok(Outcome::text(lines.join("\n")))
}

fn report(context: &Context, mode: Mode, operations: usize, findings: &Findings) -> Value {
    let checked = mode != Mode::Value;
    let mut report = json!({
        "ok": findings.errors.is_empty(),
        "operations": operations,
        "configPath": context.short(&context.paths.config),
        "inputModes": [mode.as_str()],
        "checks": {
            "schema": mode == Mode::Json,
            "resolvability": checked,
            "resolvabilityComplete": checked && findings.skipped == 0,
        },
        "refsChecked": findings.checked,
        "skippedExecRefs": findings.skipped,
    });
    if !findings.errors.is_empty() {
        let errors: Vec<Value> = findings
            .errors
            .iter()
            .map(|(message, reference)| match reference {
                Some(reference) => json!({
                    "kind": "resolvability", "message": message, "ref": reference.to_string(),
                }),
                None => json!({"kind": "schema", "message": message}),
            })
            .collect();
        report["errors"] = Value::Array(errors);
    }
    report
}

/// Resolves the references that the assignments touch.
fn check_references(
    context: &Context,
    request: &Request,
    assignments: &[Assignment],
    next: &Snapshot,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut touched: Vec<SecretRef> = Vec::new();
    for assignment in assignments {
        if let [secrets, providers, alias, ..] = assignment.keys.as_slice()
            && secrets == "secrets"
            && providers == "providers"
        {
            let users = secrets::collect::collect(&next.resolved, &next.env).active;
            let users = users.into_iter().map(|field| field.reference);
            touched.extend(users.filter(|reference| reference.provider == *alias));
        } else {
            references_in(&assignment.value, &next.resolved, &mut touched);
        }
    }
    touched.sort();
    touched.dedup();
    for reference in touched {
        if reference.source == Source::Exec && !request.allow_exec {
            findings.skipped += 1;
            continue;
        }
        findings.checked += 1;
        let resolver = Resolver::new(&next.resolved, &next.env, &context.paths.home);
        let wanted = [reference.clone()];
        let result = context.block_on(async { Ok(resolver.resolve(&wanted).await) })?;
        if let Err(err) = result {
            findings.errors.push((err.to_string(), Some(reference)));
        }
    }
    Ok(())
}

fn references_in(value: &Value, config: &Value, found: &mut Vec<SecretRef>) {
    match value {
        Value::Object(object) => match secrets::reference(value, config) {
            Some(reference) if object.contains_key("id") => found.push(reference),
            _ => object.values().for_each(|member| references_in(member, config, found)),
        },
        Value::Array(items) => items.iter().for_each(|item| references_in(item, config, found)),
        _ => {}
    }
}
