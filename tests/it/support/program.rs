//! The built program as its users run it: a process with a scratch home, a
//! free port and no setting of the caller's.

use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Shared secret of every gateway that the tests start.
pub const TOKEN: &str = "test-token-abc123";

/// Below what any kernel takes for outgoing connections.
const PORTS: Range<u16> = 20_000..32_000;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A running gateway. Dropping it kills the process.
pub struct Gateway {
    pub port: u16,
    pub home: TempDir,
    child: Child,
}

impl Gateway {
    /// Starts the program in the dev profile with `config` over the usual
    /// settings, and waits until it is ready.
    pub async fn start(config: Value) -> Self {
        Self::start_with(config, &[]).await
    }

    /// As [`Gateway::start`], with more in its environment.
    pub async fn start_with(config: Value, env: &[(&str, &str)]) -> Self {
        let mut gateway = Self::spawn_with(config, env);
        gateway.wait_until_ready().await;
        gateway
    }

    /// Starts the program and does not wait for anything.
    pub fn spawn(config: Value) -> Self {
        Self::spawn_with(config, &[])
    }

    /// As [`Gateway::spawn`], with more in its environment.
    pub fn spawn_with(config: Value, env: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = free_port();
        let state = home.path().join(".openclaw-dev");
        fs::create_dir_all(&state).unwrap();
        let mut settings = json!({"gateway": {
            "mode": "local",
            "port": port,
            "bind": "loopback",
            "auth": {"mode": "token", "token": TOKEN},
        }});
        merge(&mut settings, config);
        fs::write(state.join("openclaw.json"), settings.to_string()).unwrap();
        Self::over(home, port, &[], env)
    }

    /// Starts the program over what an earlier one left behind.
    pub fn over(home: TempDir, port: u16, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let log = fs::File::create(home.path().join("gateway.log")).unwrap();
        let child = command(home.path())
            .args(["--dev", "gateway", "--port", &port.to_string()])
            .args(args)
            .envs(vars.iter().copied())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { port, home, child }
    }

    /// A command of the same host and profile.
    pub fn command(&self, line: &str) -> Command {
        let mut command = command(self.home.path());
        command.env("OPENCLAW_GATEWAY_PORT", self.port.to_string());
        command.arg("--dev").args(line.split(' '));
        command
    }

    /// Where its configuration lies.
    pub fn config(&self) -> PathBuf {
        self.home.path().join(".openclaw-dev/openclaw.json")
    }

    /// Ends it without a word, as a power cut would.
    pub async fn kill(mut self) -> (TempDir, u16) {
        self.child.kill().await.unwrap();
        (self.home, self.port)
    }

    /// Waits for its exit.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(START, self.child.wait()).await.expect("it ends").unwrap()
    }

    pub async fn wait_until_ready(&mut self) {
        let began = Instant::now();
        while !self.get("/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the gateway ended with {status}:\n{}", self.log());
            }
            assert!(began.elapsed() < START, "not ready in time:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The whole answer to a GET, or nothing when the port does not answer.
    pub async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    /// What it wrote to its terminal.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("gateway.log")).unwrap_or_default()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("it runs")).unwrap()
    }

    /// Asks it to stop and waits for its exit.
    pub async fn stop(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        tokio::time::timeout(START, self.child.wait()).await.expect("it stops").unwrap()
    }
}

/// The built program with a clean environment and `home` as its home.
pub fn command(home: &Path) -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_openclaw")));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .env("TMPDIR", home)
        .current_dir(home)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs the program on a terminal of its own, with one line per answer: its status
/// and what the terminal showed.
pub async fn on_a_terminal(
    home: &Path,
    vars: &[(&str, &str)],
    args: &str,
    answers: &[&str],
) -> (i32, String) {
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_openclaw"));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_clear().env("PATH", "/usr/bin:/bin");
    script.env("HOME", home).env("TMPDIR", home).env("SHELL", "/bin/sh");
    script.envs(vars.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = script.spawn().unwrap();
    let mut input = running.stdin.take().unwrap();
    input.write_all(format!("{}\n", answers.join("\n")).as_bytes()).await.unwrap();
    let output = running.wait_with_output().await.unwrap();
    drop(input);
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A port that nobody else gets before the gateway binds it: the kernel gives
/// outgoing connections of other tests only numbers above [`PORTS`], and no
/// number is handed out twice.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let size = PORTS.end - PORTS.start;
    let first = u16::try_from(std::process::id() % u32::from(size)).unwrap();
    for _ in 0..size {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + (first + step) % size;
        let is_free = |host| TcpListener::bind((host, port)).is_ok();
        if is_free("127.0.0.1") && (is_free("::1") || !has_ipv6()) {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// Lays `over` onto `base`, object by object; null takes a key away.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.shift_remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over,
    }
}
