//! Whether a command may run: by policy, by the list of approved programs, or
//! because an operator says so. Deciding is pure; asking goes through the
//! control plane, so that every client that may approve sees the question.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::agents::tools::ToolContext;
use crate::base::clock::now_ms;
use crate::base::hex;
use crate::base::id::uuid;
use crate::lifecycle;
use crate::store::exec_approvals::{self, ReplaceError};

/// How long operators have to decide, in milliseconds.
const PATIENCE_MS: u64 = 1_800_000;

/// Which commands run at all. Later is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Security {
    Full,
    Allowlist,
    Deny,
}

/// Which commands an operator is asked about. Later is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    Off,
    OnMiss,
    Always,
}

impl Security {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "full" => Some(Self::Full),
            "allowlist" => Some(Self::Allowlist),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Allowlist => "allowlist",
            Self::Deny => "deny",
        }
    }
}

impl Ask {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "off" => Some(Self::Off),
            "on-miss" => Some(Self::OnMiss),
            "always" => Some(Self::Always),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OnMiss => "on-miss",
            Self::Always => "always",
        }
    }
}

/// What the policy says about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Run,
    Ask,
    Deny(&'static str),
}

fn judge(security: Security, ask: Ask, listed: bool) -> Verdict {
    match (security, ask) {
        (Security::Deny, _) => Verdict::Deny("host=gateway security=deny"),
        (_, Ask::Always) => Verdict::Ask,
        (Security::Full, _) => Verdict::Run,
        (Security::Allowlist, _) if listed => Verdict::Run,
        (Security::Allowlist, Ask::OnMiss) => Verdict::Ask,
        (Security::Allowlist, _) => {
            Verdict::Deny("security=allowlist, and the command is not on the list")
        }
    }
}

/// Lets a command pass, asks about it, or says why it may not run.
pub(crate) async fn obtain(
    context: &ToolContext,
    command: &str,
    cwd: &Path,
    security: Security,
    ask: Ask,
) -> Result<(), String> {
    let (security, ask, fallback, listed, programs) = {
        let state = context.inner.paths.state.clone();
        let path = context.snapshot.env.get("PATH").unwrap_or_default().to_owned();
        let (agent, command) = (context.agent.clone(), command.to_owned());
        let (cwd, home) = (cwd.to_owned(), context.inner.paths.home.clone());
        let look = move || {
            let reading = exec_approvals::read(&state);
            // Rules that cannot be read may forbid everything.
            if let Some(why) = match &reading {
                Ok(reading) => reading.broken.clone(),
                Err(err) => Some(err.to_string()),
            } {
                let path = exec_approvals::path(&state);
                let path = path.display();
                return Err(format!(
                    "exec denied: {path} cannot be read: {why}; repair or remove it"
                ));
            }
            let file = reading.map(|reading| reading.file).unwrap_or_default();
            let host = |name| host_setting(&file, &agent, name);
            let security = host("security")
                .and_then(Security::parse)
                .map_or(security, |host| host.max(security));
            let ask = match host("ask").and_then(Ask::parse) {
                // Said of this host, it silences whoever would ask.
                Some(Ask::Off) => Ask::Off,
                host => host.map_or(ask, |host| host.max(ask)),
            };
            let fallback = host("askFallback").and_then(Security::parse);
            let programs = programs(&command, &path, &cwd);
            let whole = whole_command(&command);
            let listed = patterns(&file, &agent).any(|pattern| pattern == whole)
                || programs.as_ref().is_some_and(|programs| {
                    programs.iter().all(|program| {
                        patterns(&file, &agent).any(|pattern| is_match(pattern, program, &home))
                    })
                });
            Ok((security, ask, fallback, listed, programs))
        };
        lifecycle::spawn_blocking(look).await.map_err(|err| err.to_string())??
    };
    match judge(security, ask, listed) {
        Verdict::Run => {
            if security == Security::Allowlist {
                note(context, command, programs, false).await;
            }
            return Ok(());
        }
        Verdict::Deny(why) => return Err(format!("exec denied: {why}")),
        Verdict::Ask => {}
    }
    let Some(plane) = context.inner.control_plane() else {
        return Err("exec denied: the command needs approval, and this process has nobody to ask"
            .to_owned());
    };
    let question = json!({
        "command": command,
        "cwd": cwd,
        "host": "gateway",
        "security": security.as_str(),
        "ask": ask.as_str(),
        "agentId": context.agent,
        "resolvedPath": programs.as_ref().and_then(|programs| programs.first()),
        "sessionKey": context.session_key,
        "timeoutMs": PATIENCE_MS,
    });
    let answer = tokio::select! {
        answer = plane.call("exec.approval.request", question) => answer?,
        () = context.cancel.cancelled() => return Err("exec denied: the run was ended".to_owned()),
    };
    match answer["decision"].as_str() {
        Some("allow-once") => Ok(()),
        Some("allow-always") => {
            note(context, command, programs, true).await;
            Ok(())
        }
        Some(_) => Err("exec denied: an operator refused the command".to_owned()),
        None if undecided(fallback, listed) => Ok(()),
        None => Err("exec denied: the command needs approval, and nobody gave it in time; \
                     approve it in a client that is connected, or set tools.exec.ask"
            .to_owned()),
    }
}

/// What the approvals file says about an agent: its own section, else that of
/// every agent, else the defaults.
pub(crate) fn host_setting<'a>(file: &'a Value, agent: &str, name: &str) -> Option<&'a str> {
    [&file["agents"][agent], &file["agents"]["*"], &file["defaults"]]
        .into_iter()
        .find_map(|section| section[name].as_str())
}

/// Whether a command runs that nobody decided about: only if the file says so.
fn undecided(fallback: Option<Security>, listed: bool) -> bool {
    match fallback {
        Some(Security::Full) => true,
        Some(Security::Allowlist) => listed,
        Some(Security::Deny) | None => false,
    }
}

fn patterns<'a>(file: &'a Value, agent: &str) -> impl Iterator<Item = &'a str> {
    [&file["agents"][agent], &file["agents"]["*"]]
        .into_iter()
        .filter_map(|section| section["allowlist"].as_array())
        .flatten()
        .filter_map(|entry| entry["pattern"].as_str())
}

/// How a command line that is allowed as it stands is kept on the list.
fn whole_command(command: &str) -> String {
    let digest = hex::encode(&Sha256::digest(command.trim()));
    format!("=command:{}", &digest[..16])
}

/// The programs that a command line starts one after the other, if that is all
/// it does.
fn programs(command: &str, path: &str, cwd: &Path) -> Option<Vec<PathBuf>> {
    let parts = command.split("&&").flat_map(|part| part.split("||"));
    let parts = parts.flat_map(|part| part.split([';', '|']));
    parts.map(|part| single_program(part, path, cwd)).collect()
}

/// Programs that run whatever they are told to: allowing one for good would
/// allow everything.
const WRAPPERS: &[&str] = &[
    "ash",
    "bash",
    "busybox",
    "chroot",
    "csh",
    "dash",
    "doas",
    "env",
    "fish",
    "ksh",
    "nice",
    "nohup",
    "runuser",
    "setsid",
    "sh",
    "ssh",
    "stdbuf",
    "su",
    "sudo",
    "systemd-run",
    "tcsh",
    "time",
    "timeout",
    "toybox",
    "unshare",
    "watch",
    "xargs",
    "zsh",
];

fn is_wrapper(program: &Path) -> bool {
    program.file_name().is_some_and(|name| WRAPPERS.iter().any(|it| name == *it))
}

/// The program that a command line starts, if it is one program and no more:
/// anything that a shell would interpret cannot be judged by its first word.
fn single_program(command: &str, path: &str, cwd: &Path) -> Option<PathBuf> {
    const SHELL: &[char] = &[
        ';', '|', '&', '$', '`', '<', '>', '(', ')', '{', '}', '\n', '\r', '*', '?', '~', '#', '!',
    ];
    if command.contains(SHELL) {
        return None;
    }
    let words = shell_words::split(command).ok()?;
    let first = words.first().filter(|word| !word.is_empty() && !word.contains('='))?;
    let found = if first.contains('/') {
        Some(cwd.join(first))
    } else {
        std::env::split_paths(path).map(|dir| dir.join(first)).find(|path| path.is_file())
    };
    found?.canonicalize().ok()
}

/// Whether a pattern means this program: a path in which `*` stands for
/// anything within a name and `**` for anything, or a bare name.
fn is_match(pattern: &str, program: &Path, home: &Path) -> bool {
    let program = program.to_string_lossy();
    let pattern = pattern.trim();
    match pattern.strip_prefix("~/") {
        Some(rest) => glob(&home.join(rest).to_string_lossy(), &program),
        None if pattern.contains('/') => glob(pattern, &program),
        None => false,
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        return ends.into_iter().any(|at| glob(rest, &text[at..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let name = text.find('/').unwrap_or(text.len());
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        return ends.into_iter().filter(|at| *at <= name).any(|at| glob(rest, &text[at..]));
    }
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('?'), Some(c)) if c != '/' => glob(&pattern[1..], &text[c.len_utf8()..]),
        (Some(p), Some(c)) if p == c => glob(&pattern[p.len_utf8()..], &text[c.len_utf8()..]),
        _ => false,
    }
}

/// Notes on the list of an agent that its entries were used; with `add` what
/// the command needs is put there. The file may change meanwhile.
async fn note(context: &ToolContext, command: &str, programs: Option<Vec<PathBuf>>, add: bool) {
    let (state, agent) = (context.inner.paths.state.clone(), context.agent.clone());
    let (command, home) = (command.to_owned(), context.inner.paths.home.clone());
    let write = move || {
        for _ in 0..5 {
            let reading = exec_approvals::read(&state)?;
            let mut file = reading.file;
            let list = file["agents"][agent.as_str()]["allowlist"].as_array();
            let mut list = list.cloned().unwrap_or_default();
            if !marked(&mut list, &command, programs.as_deref(), &home, add) {
                return Ok(());
            }
            file["agents"][agent.as_str()]["allowlist"] = list.into();
            match exec_approvals::replace(&state, file, Some(&reading.hash)) {
                Err(ReplaceError::Changed) => {}
                other => return other.map(|_| ()).map_err(std::io::Error::other),
            }
        }
        Err(std::io::Error::other("the file keeps changing"))
    };
    if let Ok(Err(err)) = lifecycle::spawn_blocking(write).await {
        tracing::warn!(%err, "the approval is not remembered");
    }
}

/// Marks what a command used; whether anything on the list is another now.
fn marked(
    list: &mut Vec<Value>,
    command: &str,
    programs: Option<&[PathBuf]>,
    home: &Path,
    add: bool,
) -> bool {
    let mut changed = false;
    let mut mark = |list: &mut Vec<Value>, pattern: &str, program: Option<&Path>, add: bool| {
        let is_it = |entry: &&mut Value| {
            let known = entry["pattern"].as_str().unwrap_or_default();
            known == pattern || program.is_some_and(|program| is_match(known, program, home))
        };
        let mut used: Vec<&mut Value> = list.iter_mut().filter(is_it).collect();
        let mut fresh = json!({"id": uuid(), "pattern": pattern, "source": "allow-always"});
        let new = add && !used.iter().any(|entry| entry["pattern"] == pattern);
        if new {
            used.push(&mut fresh);
        }
        for entry in used {
            entry["lastUsedAt"] = now_ms().into();
            entry["lastUsedCommand"] = command.into();
            if let Some(program) = program {
                entry["lastResolvedPath"] = json!(program);
            }
            changed = true;
        }
        if new {
            list.push(fresh);
        }
    };
    let plain = programs.filter(|it| !add || !it.iter().any(|program| is_wrapper(program)));
    for program in plain.unwrap_or_default() {
        mark(list, &program.to_string_lossy(), Some(program), add);
    }
    mark(list, &whole_command(command), None, add && plain.is_none());
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_then_list_then_operator_decide() {
        let cases = [
            (Security::Full, Ask::Off, false, Verdict::Run),
            (Security::Full, Ask::OnMiss, false, Verdict::Run),
            (Security::Full, Ask::Always, true, Verdict::Ask),
            (Security::Allowlist, Ask::Off, true, Verdict::Run),
            (Security::Allowlist, Ask::OnMiss, true, Verdict::Run),
            (Security::Allowlist, Ask::OnMiss, false, Verdict::Ask),
        ];
        for (security, ask, listed, expected) in cases {
            assert_eq!(judge(security, ask, listed), expected, "{security:?} {ask:?} {listed}");
        }
        assert!(matches!(judge(Security::Allowlist, Ask::Off, false), Verdict::Deny(_)));
        assert!(matches!(judge(Security::Deny, Ask::Always, true), Verdict::Deny(_)));
    }

    #[test]
    fn the_nearest_section_of_the_file_speaks() {
        let file = json!({"defaults": {"security": "allowlist", "ask": "always"},
            "agents": {"ops": {"security": "full"}, "*": {"ask": "off"}}});
        assert_eq!(host_setting(&file, "main", "security"), Some("allowlist"));
        assert_eq!(host_setting(&file, "ops", "security"), Some("full"));
        assert_eq!(host_setting(&file, "ops", "ask"), Some("off"));
        assert_eq!(host_setting(&file, "ops", "askFallback"), None);
    }

    #[test]
    fn silence_is_no_consent_unless_the_file_says_so() {
        assert!(!undecided(None, true));
        assert!(undecided(Some(Security::Full), false));
        assert!(undecided(Some(Security::Allowlist), true));
        assert!(!undecided(Some(Security::Allowlist), false));
    }

    #[test]
    fn only_one_plain_program_can_be_judged() {
        let cwd = Path::new("/");
        let found = |command: &str| single_program(command, "/usr/bin:/bin", cwd);
        assert!(found("ls -la 'a b'").is_some());
        for command in ["ls; rm x", "ls $(id)", "a=b ls", "", "ls > x", "no-such-program-here"] {
            assert_eq!(found(command), None, "{command}");
        }
    }

    #[test]
    fn programs_in_a_row_are_judged_one_by_one() {
        let found = |command: &str| programs(command, "/usr/bin:/bin", Path::new("/"));
        assert_eq!(found("ls -l | cat && ls; ls").unwrap().len(), 4);
        for command in ["ls & cat", "ls | no-such-program-here", "ls |& cat", "ls;", "echo 'a;b'"] {
            assert_eq!(found(command), None, "{command}");
        }
    }

    #[test]
    fn what_is_allowed_for_good_is_a_program_or_the_very_command() {
        let (home, git) = (Path::new("/home/op"), PathBuf::from("/usr/bin/git"));
        let bash = PathBuf::from("/usr/bin/bash");
        let mut list = vec![json!({"pattern": "/usr/bin/*"}), json!({"pattern": "/bin/ls"})];
        assert!(marked(&mut list, "git log", Some(std::slice::from_ref(&git)), home, false));
        assert_eq!((list.len(), &list[0]["lastUsedCommand"]), (2, &json!("git log")));
        assert_eq!(list[1].get("lastUsedAt"), None);
        for _ in 0..2 {
            assert!(marked(&mut list, "git log", Some(std::slice::from_ref(&git)), home, true));
            assert_eq!((list.len(), &list[2]["pattern"]), (3, &json!("/usr/bin/git")));
        }
        let mut list = Vec::new();
        for programs in [Some([bash].as_slice()), None] {
            marked(&mut list, "bash -c 'rm x'", programs, home, true);
        }
        assert_eq!((list.len(), &list[0]["pattern"]), (1, &json!(whole_command("bash -c 'rm x'"))));
        assert!(!marked(&mut list, "ls", None, home, false));
    }

    #[test]
    fn a_star_stays_within_a_name() {
        let home = Path::new("/home/op");
        let matches = |pattern: &str, path: &str| is_match(pattern, Path::new(path), home);
        assert!(matches("/usr/bin/git", "/usr/bin/git"));
        assert!(matches("/usr/bin/*", "/usr/bin/git"));
        assert!(!matches("/usr/*", "/usr/bin/git"));
        assert!(matches("/usr/**", "/usr/bin/git"));
        assert!(matches("~/bin/deploy?", "/home/op/bin/deploy1"));
        assert!(!matches("git", "/usr/bin/git"));
        assert!(!matches("/usr/bin/git", "/usr/bin/gitk"));
    }
}
