//! The comparison for launchd: the agent's file, and what launchd has loaded.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use plist::{Dictionary, Value};

use crate::doctor::drift::{Difference, Drift, Label};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Repair, Severity};
use crate::doctor::service;
use crate::doctor::steps::{Step, Verb};
use crate::supervise::addresses;
use crate::supervise::audit::is_secret_name;
use crate::supervise::launchd::plist as agent;
use crate::supervise::launchd::settings::{self, Setting, Standing};
use crate::supervise::spec::{PROXY_VARS, Scope, ServiceSpec, SpecInput};

/// The file of the agent.
pub fn path(facts: &Facts<'_>) -> std::path::PathBuf {
    let home = facts.host.env().get("HOME").unwrap_or("/");
    let name = format!("{}.plist", facts.host.names().label);
    std::path::Path::new(home).join("Library/LaunchAgents").join(name)
}

fn wanted(facts: &Facts<'_>, port: u16) -> Option<Dictionary> {
    let mut env = facts.host.env().clone();
    for key in PROXY_VARS {
        env.set(key, "");
    }
    let listen = addresses::wanted(&facts.snapshot().config.gateway, port).unwrap_or_default();
    let spec = ServiceSpec::for_host(&SpecInput {
        env: &env,
        paths: facts.host.paths(),
        scope: Scope::User,
        program: facts.host.program(),
        port,
        listen: &listen,
    });
    agent::agent(&spec).ok()
}

/// Compares the installed agent. No agent is no drift.
pub fn compare(facts: &Facts<'_>) -> Drift {
    let path = path(facts);
    let Ok(bytes) = fs::read(&path) else { return Drift::default() };
    let mode = path.metadata().map_or(0o644, |metadata| metadata.mode() & 0o7777);
    let explicit = facts.snapshot().config.gateway.port.is_some();
    let configured = facts.configured_port();
    let installed = agent::parse(&bytes);
    let argv = installed.as_ref().ok().and_then(|root| agent::program_arguments(root).ok());
    let port = argv.as_deref().and_then(service::port_of);
    let (Some(plain), Some(forced)) = (
        wanted(facts, port.unwrap_or(configured)),
        wanted(facts, port.filter(|_| !explicit).unwrap_or(configured)),
    ) else {
        return Drift::default();
    };
    let difference = |label, key: String, detail: String| Difference {
        label,
        severity: Severity::Warning,
        file: path.clone(),
        line: 0,
        key,
        detail,
        guarded: false,
        is_command: false,
    };
    let replace = |after: Vec<u8>, summary: &str| {
        let write = Step::Write { path: path.clone(), before: Some(bytes.clone()), after, mode };
        let restart = Step::Ask(Verb::Restart { system: false, socket: true });
        Repair::new(summary, vec![write, restart])
    };
    let root = match installed {
        Ok(root) => root,
        Err(err) => {
            // There are no other bytes to keep in what nobody can read.
            let mut whole = Vec::new();
            let written = Value::Dictionary(forced).to_writer_xml(&mut whole);
            let mut drift = Drift { foreign: true, ..Drift::default() };
            let mut broken = difference(
                Label::OursChanged,
                "the file".to_owned(),
                format!("cannot be read: {err}"),
            );
            broken.guarded = true;
            drift.differences.push(broken);
            drift.forced =
                written.ok().map(|()| replace(whole, "write the LaunchAgent anew").forced());
            return drift;
        }
    };
    let foreign = argv.as_deref().is_some_and(|argv| !service::is_ours(argv));
    let mut drift = Drift { foreign, ..Drift::default() };
    let ours = settings::settings(&plain);
    let mut broken: Vec<&Setting> = Vec::new();
    for setting in &ours {
        let standing = setting.standing(&root);
        if standing == Standing::Same {
            continue;
        }
        let changed = matches!(standing, Standing::Changed(_));
        let guarded = foreign || setting.is_command() && changed;
        let (label, detail) = if changed {
            (Label::OursChanged, "is not ours")
        } else {
            (Label::OursMissing, "is missing")
        };
        let mut found = difference(label, setting.label(), detail.to_owned());
        found.guarded = guarded;
        found.is_command = setting.is_command();
        if is_cosmetic(setting) {
            found.severity = Severity::Info;
        }
        drift.differences.push(found);
        if !guarded {
            broken.push(setting);
        }
    }
    for key in added(&root, &plain) {
        let mut found = difference(Label::OperatorAddition, key, "stays as it is".to_owned());
        found.severity = Severity::Info;
        drift.differences.push(found);
    }
    let summary = "put our settings back into the LaunchAgent";
    drift.repair = settings::mend(&bytes, &broken)
        .ok()
        .filter(|after| *after != bytes)
        .map(|after| replace(after, summary));
    let all = settings::settings(&forced);
    drift.forced = settings::mend(&bytes, &all.iter().collect::<Vec<_>>())
        .ok()
        .filter(|after| *after != bytes)
        .map(|after| replace(after, summary).forced());
    drift
}

fn is_cosmetic(setting: &Setting) -> bool {
    matches!(setting.path.last().map(String::as_str), Some("Comment" | "OPENCLAW_SERVICE_VERSION"))
}

/// Keys of the installed agent that ours does not have; values stay unseen.
fn added(installed: &Dictionary, ours: &Dictionary) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in installed {
        match (ours.get(key), value) {
            (None, _) => found.push(key.clone()),
            (Some(Value::Dictionary(known)), Value::Dictionary(inner))
                if key == "EnvironmentVariables" =>
            {
                let names = inner.keys().filter(|name| !known.contains_key(name));
                found.extend(names.map(|name| format!("{key}.{name}")));
            }
            _ => {}
        }
    }
    found
}

/// Variables of the installed agent that are named like secrets.
pub fn secrets(facts: &Facts<'_>) -> Vec<String> {
    let Ok(bytes) = fs::read(path(facts)) else { return Vec::new() };
    let Ok(root) = agent::parse(&bytes) else { return Vec::new() };
    agent::environment(&root)
        .into_iter()
        .filter(|(name, value)| is_secret_name(name) && !value.trim().is_empty())
        .map(|(name, _)| name)
        .collect()
}
