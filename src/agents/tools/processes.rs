//! Processes that tools started: each confined, its output bounded, its
//! environment free of what belongs to the gateway. Kept in memory only.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::Command;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agents::tools::confine;
use crate::agents::tools::confine::Cell;
use crate::agents::tools::confine::Confinement;
use crate::base::clock::now_ms;
use crate::lifecycle::{self, Lifecycle};
use crate::profile::env::Env;

/// Bytes of output kept from the start and from the end.
const HEAD_BYTES: usize = 100_000;
const TAIL_BYTES: usize = 100_000;
/// How long a finished process's pipes are read; a child of it may hold them.
const PIPE_GRACE: Duration = Duration::from_millis(300);
/// How long finished processes stay listed.
const FINISHED_TTL_MS: u64 = 30 * 60 * 1000;
const MOST_FINISHED: usize = 100;

/// Variables that belong to the gateway: its service manager's, its secrets,
/// and keys of model providers and channels.
const SCRUBBED: &[&str] = &[
    "NOTIFY_SOCKET",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "CREDENTIALS_DIRECTORY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "MAINPID",
    "MANAGERPID",
    "OPENCLAW_GATEWAY_TOKEN",
    "OPENCLAW_GATEWAY_PASSWORD",
    "CLAWDBOT_GATEWAY_TOKEN",
    "CLAWDBOT_GATEWAY_PASSWORD",
    "OPENCLAW_HOOKS_TOKEN",
    "TELEGRAM_BOT_TOKEN",
    "DISCORD_BOT_TOKEN",
    "SLACK_BOT_TOKEN",
    "SLACK_APP_TOKEN",
    "SLACK_USER_TOKEN",
    "MATTERMOST_BOT_TOKEN",
    "MATRIX_ACCESS_TOKEN",
    "MATRIX_PASSWORD",
    "IRC_PASSWORD",
    "IRC_NICKSERV_PASSWORD",
    "ANTHROPIC_OAUTH_TOKEN",
    "HUGGINGFACE_HUB_TOKEN",
    "HF_TOKEN",
];
/// Providers whose `<NAME>_API_KEY` stays with the gateway.
const PROVIDERS: &[&str] = &[
    "OPENAI",
    "ANTHROPIC",
    "GEMINI",
    "GOOGLE",
    "OLLAMA",
    "OPENROUTER",
    "GROQ",
    "MISTRAL",
    "DEEPSEEK",
    "XAI",
    "TOGETHER",
    "ZAI",
    "Z_AI",
    "MOONSHOT",
    "NVIDIA",
    "VENICE",
    "LITELLM",
    "VLLM",
    "SGLANG",
    "KILOCODE",
    "CEREBRAS",
    "MINIMAX",
    "KIMI",
    "KIMICODE",
    "SYNTHETIC",
    "XIAOMI",
    "AI_GATEWAY",
    "CLOUDFLARE_AI_GATEWAY",
    "OPENCODE",
    "OPENCODE_ZEN",
    "VOYAGE",
    "BRAVE",
];

/// Whether a variable is kept from tools.
pub(crate) fn is_scrubbed(name: &str) -> bool {
    SCRUBBED.contains(&name)
        || name.strip_suffix("_API_KEY").is_some_and(|provider| PROVIDERS.contains(&provider))
}

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) agent: String,
    pub(crate) command: String,
    pub(crate) cwd: PathBuf,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) timeout: Option<Duration>,
    /// Whether something will be written to the standard input; a command that
    /// reads it otherwise sees its end at once instead of waiting for ever.
    pub(crate) interactive: bool,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) why: Why,
    pub(crate) duration: Duration,
    pub(crate) at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Exited,
    TimedOut,
    Killed,
}

/// Output with a bounded memory: its start and its end.
#[derive(Debug, Default)]
pub(crate) struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
    /// How much of `total` a poll has returned.
    polled: u64,
}

impl Output {
    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(TAIL_BYTES)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        self.tail.extend(rest);
    }

    /// All that is kept, with a note where something was left out.
    pub(crate) fn text(&self) -> String {
        self.from(0)
    }

    /// What came after byte `start`.
    fn from(&self, start: u64) -> String {
        let head_len = self.head.len() as u64;
        let tail_start = self.total - self.tail.len() as u64;
        let skip = |start: u64| usize::try_from(start).unwrap_or(usize::MAX);
        let head = self.head.get(skip(start).min(self.head.len())..).unwrap_or_default();
        let mut bytes = head.to_vec();
        let missing = tail_start.saturating_sub(start.max(head_len));
        if missing > 0 {
            bytes.extend_from_slice(format!("\n[… {missing} bytes left out …]\n").as_bytes());
        }
        bytes.extend(self.tail.iter().skip(skip(start.saturating_sub(tail_start))));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What came since the last call.
    pub(crate) fn take_fresh(&mut self) -> String {
        let fresh = self.from(self.polled);
        self.polled = self.total;
        fresh
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) command: String,
    pub(crate) cwd: PathBuf,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: u64,
    /// Listed by the `process` tool; set once a call returned before the end.
    pub(crate) backgrounded: AtomicBool,
    /// Whether a poll has told that it ended.
    pub(crate) seen: AtomicBool,
    output: Mutex<Output>,
    exit: watch::Sender<Option<Exit>>,
    kill: CancellationToken,
    stdin: tokio::sync::Mutex<Option<ChildStdin>>,
    changed: watch::Sender<u64>,
}

impl Process {
    pub(crate) fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    pub(crate) async fn ended(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone(),
            // The sender lives in `self`.
            Err(_) => None,
        }
        .unwrap_or(Exit {
            code: None,
            signal: None,
            why: Why::Killed,
            duration: Duration::ZERO,
            at_ms: 0,
        })
    }

    /// Waits for more output or the end.
    pub(crate) async fn changed(&self) {
        let mut changed = self.changed.subscribe();
        let mut exit = self.exit.subscribe();
        tokio::select! {
            _ = changed.changed() => {}
            _ = exit.wait_for(Option::is_some) => {}
        }
    }

    /// Ends the whole group, at once.
    pub(crate) fn kill(&self) {
        self.kill.cancel();
    }

    /// Writes to the standard input; `eof` closes it afterwards.
    pub(crate) async fn write(&self, bytes: &[u8], eof: bool) -> io::Result<()> {
        let mut stdin = self.stdin.lock().await;
        let Some(pipe) = stdin.as_mut() else {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "standard input is closed"));
        };
        pipe.write_all(bytes).await?;
        pipe.flush().await?;
        if eof {
            stdin.take();
        }
        Ok(())
    }
}

/// All processes of this gateway's tools.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    confinement: Arc<Confinement>,
    known: Mutex<HashMap<String, Arc<Process>>>,
}

impl Processes {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Process>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a command in a shell.
    pub(crate) async fn start(
        &self,
        launch: Launch,
        env: &Env,
        lifecycle: &Lifecycle,
    ) -> io::Result<Arc<Process>> {
        let id = short_id();
        let mut command = Command::new(shell(env));
        command.arg("-c").arg(&launch.command).current_dir(&launch.cwd);
        let extra: Vec<(&str, &str)> = launch
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain([("OPENCLAW_SHELL", "exec")])
            .collect();
        let stdin = if launch.interactive { Stdio::piped() } else { Stdio::null() };
        let (mut child, cell) = self.confined(&id, command, &extra, env, stdin).await?;
        let process = Arc::new(Process {
            id,
            agent: launch.agent,
            command: launch.command,
            cwd: launch.cwd,
            pid: child.id(),
            started_at: now_ms(),
            backgrounded: AtomicBool::new(false),
            seen: AtomicBool::new(false),
            output: Mutex::default(),
            exit: watch::Sender::new(None),
            kill: CancellationToken::new(),
            stdin: tokio::sync::Mutex::new(child.stdin.take()),
            changed: watch::Sender::new(0),
        });
        self.forget_old();
        self.known().insert(process.id.clone(), Arc::clone(&process));
        let watched = Arc::clone(&process);
        let timeout = launch.timeout;
        lifecycle.spawn("tool process", move |stop| async move {
            watch_over(&watched, child, cell, timeout, stop).await;
        });
        Ok(process)
    }

    /// Starts a program that is spoken to; whoever asked ends it.
    pub(crate) async fn launch(
        &self,
        command: Command,
        extra: &[(&str, &str)],
        env: &Env,
    ) -> io::Result<(Child, Cell)> {
        self.confined(&short_id(), command, extra, env, Stdio::piped()).await
    }

    /// Starts a command in a cell of its own, without what belongs to the
    /// gateway.
    async fn confined(
        &self,
        id: &str,
        command: Command,
        extra: &[(&str, &str)],
        env: &Env,
        stdin: Stdio,
    ) -> io::Result<(Child, Cell)> {
        let (confinement, name) = (Arc::clone(&self.confinement), id.to_owned());
        let is_service = env.get("INVOCATION_ID").is_some();
        let (cell, launcher) =
            lifecycle::spawn_blocking(move || confinement.prepare(&name, is_service))
                .await
                .map_err(io::Error::other)?;
        let wanted = command.as_std();
        let mut command = Command::new("/bin/sh");
        command.args(launcher).arg(wanted.get_program()).args(wanted.get_args());
        if let Some(dir) = wanted.get_current_dir() {
            command.current_dir(dir);
        }
        command.env_clear();
        for (name, value) in env.iter().filter(|(name, _)| !is_scrubbed(name)) {
            command.env(name, value);
        }
        command.envs(extra.iter().copied()).env(confine::MARK, id);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        Ok((command.spawn()?, cell))
    }

    /// Processes of an agent that outlived their call, oldest first.
    pub(crate) fn of(&self, agent: &str) -> Vec<Arc<Process>> {
        self.forget_old();
        let mut list: Vec<Arc<Process>> = self
            .known()
            .values()
            .filter(|process| process.agent == agent)
            .filter(|process| process.backgrounded.load(Ordering::Acquire))
            .map(Arc::clone)
            .collect();
        list.sort_by_key(|process| process.started_at);
        list
    }

    /// A process of the agent by id or unique beginning of it.
    pub(crate) fn find(&self, agent: &str, id: &str) -> Option<Arc<Process>> {
        let list = self.of(agent);
        let mut hits = list.iter().filter(|process| process.id.starts_with(id.trim()));
        match (hits.next(), hits.next()) {
            (Some(hit), None) if !id.trim().is_empty() => Some(Arc::clone(hit)),
            _ => None,
        }
    }

    pub(crate) fn remove(&self, id: &str) {
        self.known().remove(id);
    }

    fn forget_old(&self) {
        let now = now_ms();
        let mut known = self.known();
        known.retain(|_, process| {
            process.exit().is_none_or(|exit| {
                process.backgrounded.load(Ordering::Acquire)
                    && now.saturating_sub(exit.at_ms) < FINISHED_TTL_MS
            })
        });
        if known.len() > MOST_FINISHED {
            let mut finished: Vec<(u64, String)> = known
                .values()
                .filter_map(|process| Some((process.exit()?.at_ms, process.id.clone())))
                .collect();
            finished.sort_unstable();
            let surplus = known.len() - MOST_FINISHED;
            for (_, id) in finished.into_iter().take(surplus) {
                known.remove(&id);
            }
        }
    }
}

fn short_id() -> String {
    let mut id = crate::base::id::uuid();
    id.truncate(8);
    id
}

/// The user's shell, if `-c` means the same there as in `sh`.
fn shell(env: &Env) -> &str {
    let wanted = env.get("SHELL").unwrap_or("/bin/sh");
    let name = Path::new(wanted).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let candidates: &[&str] = match name {
        "sh" | "bash" | "zsh" | "dash" | "ksh" => &[],
        "fish" => &["/bin/bash", "/usr/bin/bash"],
        _ => &["/bin/bash"],
    };
    if candidates.is_empty() && Path::new(wanted).is_file() {
        return wanted;
    }
    candidates.iter().find(|path| Path::new(path).is_file()).unwrap_or(&"/bin/sh")
}

/// Reads the output until the process ends or must end.
async fn watch_over(
    process: &Process,
    mut child: Child,
    cell: Cell,
    timeout: Option<Duration>,
    stop: CancellationToken,
) {
    let begun = Instant::now();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let mut pumps = Box::pin(async {
        tokio::join!(pump(process, stdout), pump(process, stderr));
    });
    let deadline = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(deadline);
    let cell = Arc::new(cell);
    let mut drained = false;
    let (status, why) = loop {
        tokio::select! {
            status = child.wait() => break (status.ok(), Why::Exited),
            () = &mut pumps, if !drained => drained = true,
            () = process.kill.cancelled() => break (end(process, &cell, &mut child).await, Why::Killed),
            () = stop.cancelled() => break (end(process, &cell, &mut child).await, Why::Killed),
            () = &mut deadline => break (end(process, &cell, &mut child).await, Why::TimedOut),
        }
    };
    if !drained {
        // What is still in the pipes counts; a grandchild that keeps them open
        // does not hold up the result.
        drop(tokio::time::timeout(PIPE_GRACE, pumps).await);
    }
    process.stdin.lock().await.take();
    let (code, signal) = exit_of(status);
    process.exit.send_replace(Some(Exit {
        code,
        signal,
        why,
        duration: begun.elapsed(),
        at_ms: now_ms(),
    }));
}

/// Kills all that the command started and reaps its leader.
async fn end(process: &Process, cell: &Arc<Cell>, child: &mut Child) -> Option<ExitStatus> {
    let (cell, leader) = (Arc::clone(cell), process.pid);
    if lifecycle::spawn_blocking(move || cell.destroy(leader)).await.is_err() {
        tracing::warn!(id = process.id, "tool processes not killed");
    }
    child.wait().await.ok()
}

fn exit_of(status: Option<ExitStatus>) -> (Option<i32>, Option<i32>) {
    use std::os::unix::process::ExitStatusExt;
    status.map_or((None, None), |status| (status.code(), status.signal()))
}

async fn pump(process: &Process, pipe: Option<impl AsyncRead + Unpin>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len) = pipe.read(&mut buffer).await {
        if len == 0 {
            return;
        }
        process.output().push(&buffer[..len]);
        process.changed.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Env {
        [
            ("PATH", "/usr/bin:/bin"),
            ("NOTIFY_SOCKET", "/run/x"),
            ("OPENAI_API_KEY", "sk"),
            ("A", "1"),
        ]
        .into_iter()
        .collect()
    }

    fn launch(command: &str, timeout: Option<Duration>) -> Launch {
        Launch {
            agent: "main".into(),
            command: command.into(),
            cwd: std::env::temp_dir(),
            env: Vec::new(),
            timeout,
            interactive: false,
        }
    }

    async fn run(command: &str, timeout: Option<Duration>) -> (Arc<Process>, Exit) {
        let process = Processes::default()
            .start(launch(command, timeout), &env(), &Lifecycle::default())
            .await
            .unwrap();
        let exit = process.ended().await;
        (process, exit)
    }

    #[tokio::test]
    async fn output_of_both_pipes_and_the_exit_code_are_kept() {
        let (process, exit) = run("echo out; echo err >&2; exit 3", None).await;
        assert_eq!((exit.code, exit.why), (Some(3), Why::Exited));
        let text = process.output().text();
        assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    }

    #[tokio::test]
    async fn a_tool_does_not_see_what_belongs_to_the_gateway() {
        let (process, _) = run("env", None).await;
        let text = process.output().text();
        assert!(text.contains("A=1\n") && text.contains("OPENCLAW_SHELL=exec\n"), "{text}");
        assert!(!text.contains("NOTIFY_SOCKET") && !text.contains("sk"), "{text}");
    }

    #[tokio::test]
    async fn a_timeout_ends_the_whole_group() {
        let (process, exit) =
            run("trap '' TERM; sleep 60 & echo $!; wait", Some(Duration::from_millis(200))).await;
        assert_eq!(exit.why, Why::TimedOut);
        let child: i32 = process.output().text().trim().parse().unwrap();
        let gone = async {
            while nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), None).is_ok() {
                // A killed orphan stays a zombie until init reaps it.
                let stat =
                    std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
                if stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    }

    #[tokio::test]
    async fn endless_output_stays_bounded() {
        let (process, exit) = run("yes | head -c 3000000; echo END", None).await;
        assert_eq!(exit.code, Some(0));
        let text = process.output().text();
        assert!(text.len() < HEAD_BYTES + TAIL_BYTES + 100);
        assert!(text.contains("bytes left out") && text.ends_with("END\n"));
    }

    #[tokio::test]
    async fn a_command_that_reads_its_input_does_not_hang() {
        let (_, exit) = run("cat; exit 4", Some(Duration::from_secs(20))).await;
        assert_eq!((exit.code, exit.why), (Some(4), Why::Exited));
    }

    #[test]
    fn fresh_output_is_returned_once() {
        let mut output = Output::default();
        output.push(b"one");
        assert_eq!(output.take_fresh(), "one");
        output.push(b"two");
        assert_eq!(output.take_fresh(), "two");
        assert_eq!(output.take_fresh(), "");
        output.push(&vec![b'x'; HEAD_BYTES + TAIL_BYTES + 10]);
        assert!(output.take_fresh().contains("left out"));
        assert_eq!(output.text().len(), output.from(0).len());
    }
}
