//! A gateway process under measurement: its home, its start, what `/proc` says
//! about it and its children, and its end.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Shared secret of the gateways under measurement.
pub(crate) const TOKEN: &str = "bench-token";

/// One of the two gateways: how it is called.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    /// The program and its leading arguments.
    pub(crate) command: Vec<String>,
    pub(crate) installed: f64,
}

impl Side {
    fn command(&self, home: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(arguments);
        clean(&mut command, home);
        command
    }
}

/// Gives a child an environment without settings of the caller's.
fn clean(command: &mut Command, home: &Path) {
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null())
        .kill_on_drop(true);
}

pub(crate) struct Gateway {
    pub(crate) port: u16,
    pub(crate) ready_after: Duration,
    /// Seconds of CPU of the processes that run when it is ready.
    pub(crate) cpu_until_ready: f64,
    child: Child,
}

impl Gateway {
    /// Starts it and waits until `/readyz` says yes.
    pub(crate) async fn start(side: &Side, home: &Path, provider: SocketAddr) -> Self {
        let port = free_port();
        write_config(home, port, provider);
        let log = fs::File::create(home.join("gateway.log")).unwrap();
        let mut command = side.command(home, &["gateway", "--port", &port.to_string()]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let began = Instant::now();
        let mut child = command.spawn().unwrap();
        while !is_ready(port).await {
            if let Some(status) = child.try_wait().unwrap() {
                let log = fs::read_to_string(home.join("gateway.log")).unwrap_or_default();
                panic!("{} ended with {status}:\n{log}", side.name);
            }
            assert!(began.elapsed() < Duration::from_mins(2), "{} is not ready", side.name);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ready_after = began.elapsed();
        let mut gateway = Self { port, ready_after, cpu_until_ready: 0.0, child };
        gateway.cpu_until_ready = gateway.processes().into_iter().map(cpu_seconds).sum();
        gateway
    }

    fn pid(&self) -> i32 {
        self.child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs")
    }

    /// The process and everything below it.
    fn processes(&self) -> Vec<i32> {
        let mut found = vec![self.pid()];
        let mut at = 0;
        while at < found.len() {
            let children = format!("/proc/{0}/task/{0}/children", found[at]);
            let text = fs::read_to_string(children).unwrap_or_default();
            found.extend(text.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
            at += 1;
        }
        found
    }

    /// Proportional memory of the process and its children, in bytes.
    pub(crate) fn pss(&self) -> f64 {
        self.processes().into_iter().map(pss_bytes).sum()
    }

    /// Asks it to stop and says how long that took.
    pub(crate) async fn stop(mut self) -> Duration {
        let began = Instant::now();
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        let status = tokio::time::timeout(Duration::from_mins(1), self.child.wait())
            .await
            .expect("it stops within a minute")
            .unwrap();
        let took = began.elapsed();
        assert!(status.success() || status.signal() == Some(15), "it ended with {status}");
        took
    }
}

fn pss_bytes(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}

/// Time on a processor of all threads of a process, to the nanosecond.
fn cpu_seconds(pid: i32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum::<f64>()
        / 1e9
}

fn write_config(home: &Path, port: u16, provider: SocketAddr) {
    let config = json!({
        "gateway": {
            "mode": "local",
            "port": port,
            "bind": "loopback",
            "auth": {"mode": "token", "token": TOKEN},
            "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
        },
        "models": {"mode": "merge", "providers": {"bench": {
            "baseUrl": format!("http://{provider}/v1"),
            "api": "openai-completions",
            "apiKey": "none",
            "models": [{"id": "bench-1", "name": "Bench", "contextWindow": 32768, "maxTokens": 4096}],
        }}},
        "agents": {"defaults": {
            "model": {"primary": "bench/bench-1"},
            "maxConcurrent": 16,
            "memorySearch": {
                "provider": "openai",
                "model": "text-embedding-3-small",
                "remote": {"baseUrl": format!("http://{provider}/v1"), "apiKey": "none"},
            },
        }},
    });
    let dir = home.join(".openclaw");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("openclaw.json"), serde_json::to_vec_pretty(&config).unwrap()).unwrap();
}

fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap().port()
}

async fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let request = b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    stream.write_all(request).await.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

/// Runs a command to its end: wall time, and peak memory in MiB.
///
/// Time and memory come from two runs: the peak is what GNU time reports, whose
/// own process is too small to hide it.
pub(crate) async fn run_command(side: &Side, home: &Path, arguments: &[&str]) -> (Duration, f64) {
    let mut command = side.command(home, arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().await.unwrap();
    let took = began.elapsed();
    assert!(status.success(), "{arguments:?} of {} ended with {status}", side.name);

    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "%M"]).args(&side.command).args(arguments);
    clean(&mut command, home);
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let kib: f64 = text.lines().next_back().unwrap_or_default().trim().parse().unwrap_or(f64::NAN);
    (took, kib / 1024.0)
}

/// Requests per second of an authorised GET, as wrk counts them.
pub(crate) async fn wrk(port: u16, path: &str) -> f64 {
    run_wrk(port, path, &[]).await
}

/// As [`wrk`], for a POST of this JSON, which stands in no need of quoting.
pub(crate) async fn wrk_post(port: u16, path: &str, body: &str, home: &Path) -> f64 {
    let script = home.join("post.lua");
    let text = format!(
        "wrk.method = \"POST\"\nwrk.body = [[{body}]]\nwrk.headers[\"Content-Type\"] = \"application/json\"\n"
    );
    fs::write(&script, text).unwrap();
    run_wrk(port, path, &["-s", &script.display().to_string()]).await
}

async fn run_wrk(port: u16, path: &str, more: &[&str]) -> f64 {
    let output = Command::new("wrk")
        .args(["-t1", "-c16", "-d5s", "-H", &format!("Authorization: Bearer {TOKEN}")])
        .args(more)
        .arg(format!("http://127.0.0.1:{port}{path}"))
        .output()
        .await
        .expect("wrk is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Non-2xx"), "wrk saw errors:\n{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or_else(|| panic!("wrk said:\n{text}"))
}
