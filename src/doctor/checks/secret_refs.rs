//! References to secrets that have no value.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};
use crate::secrets::resolve::Resolver;
use crate::secrets::{Source, collect};

pub(super) const CHECK: Check = Check {
    id: "secret-refs",
    section: "Secrets",
    scope: Scope::Everywhere,
    severity: Severity::Error,
    finds: "active secret references whose variable or file has no value; references that only a program can answer are counted, the program is not run",
    matters: "the gateway does not start, or keeps the secrets before the last edit",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    let collected = collect::collect(&snapshot.runtime, &snapshot.env);
    let resolver = Resolver::new(&snapshot.runtime, &snapshot.env, &snapshot.home);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let (programs, direct): (Vec<_>, Vec<_>) =
        collected.active.iter().partition(|field| field.reference.source == Source::Exec);
    let mut found: Vec<Finding> = direct
        .into_iter()
        .filter_map(|field| {
            let reference = std::slice::from_ref(&field.reference);
            let err = runtime.block_on(resolver.resolve(reference)).err()?;
            let advice = match field.reference.source {
                Source::Env => format!(
                    "add {}=… to {}",
                    field.reference.id,
                    facts.short(&facts.state().join(".env"))
                ),
                _ => format!("{} config get {}", facts.program(), field.path),
            };
            Some(Finding::error(err.to_string()).at(&field.path).advise(advice))
        })
        .collect();
    if !programs.is_empty() {
        found.push(Finding::info(format!(
            "{} reference(s) are answered by programs, which were not run",
            programs.len()
        )));
    }
    found
}
