//! What holds a tool's processes together: a control group of their own inside
//! the gateway's unit, where the service manager delegates one, else a process
//! group, resource limits and a mark in their environment.
//!
//! Whatever a command starts, and however it detaches, is found again and ends
//! with it. All of it lies inside the unit: it ends with the gateway as well.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::sys::signal::killpg;
use nix::unistd::Pid;

/// Threads and processes that one command may have at a time.
const MOST_PROCESSES: usize = 1_024;
/// Names the command that a process belongs to, to every descendant of it.
pub(crate) const MARK: &str = "OPENCLAW_EXEC_ID";
/// Where the gateway itself lives once its control group has children.
const OWN_GROUP: &str = "main";
const TOOL_GROUP: &str = "tool-";
/// Sweeps over processes that start others while they are being killed.
const MOST_SWEEPS: usize = 200;
const SWEEP_PAUSE: Duration = Duration::from_millis(10);

/// Runs in the shell of every host: joins the control group, sets the limits
/// that are allowed here, becomes the command. `$1` is the group or empty,
/// `$2` the limit of processes or empty, `$3` the limit of memory in KiB.
/// `ulimit -p` is what small shells call `-u`.
const LAUNCHER: &str = r#"[ -z "$1" ] || echo 0 >"$1/cgroup.procs" || exit 126
ulimit -c 0 2>/dev/null
[ -z "$2" ] || ulimit -u "$2" 2>/dev/null || ulimit -p "$2" 2>/dev/null
[ -z "$3" ] || ulimit -d "$3" 2>/dev/null
shift 3
exec "$@""#;

/// Where commands are put.
#[derive(Debug, Default)]
pub(crate) struct Confinement {
    /// Looked for at the first command.
    home: OnceLock<Option<Home>>,
}

/// The control group that this process may divide.
#[derive(Debug, Clone)]
struct Home {
    dir: PathBuf,
    /// Whether children can be limited, not only held together.
    limits: bool,
}

/// What holds one command.
#[derive(Debug)]
pub(crate) struct Cell {
    id: String,
    group: Option<PathBuf>,
}

impl Confinement {
    /// Prepares the place of one command and the words with which a shell
    /// starts a program in it. Reads `/proc` and `/sys`: blocks.
    pub(crate) fn prepare(&self, id: &str, is_service: bool) -> (Cell, Vec<String>) {
        let home = self.home.get_or_init(|| if is_service { find_home() } else { None });
        let group = home.as_ref().and_then(|home| {
            forget_empty(&home.dir);
            let dir = home.dir.join(format!("{TOOL_GROUP}{id}"));
            match create(&dir, home.limits) {
                Ok(()) => Some(dir),
                Err(err) => {
                    tracing::debug!(%err, "no control group for a tool");
                    None
                }
            }
        });
        let is_limited = group.is_some() && home.as_ref().is_some_and(|home| home.limits);
        let (processes, memory) = if is_limited {
            (String::new(), String::new())
        } else {
            let processes = threads_of_this_user().map(|now| (now + MOST_PROCESSES).to_string());
            let memory = total_memory().map(|bytes| (bytes / 1024).to_string());
            (processes.unwrap_or_default(), memory.unwrap_or_default())
        };
        let path = group.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default();
        let words = ["-c", LAUNCHER, "sh", &path, &processes, &memory];
        let words = words.into_iter().map(str::to_owned).collect();
        (Cell { id: id.to_owned(), group }, words)
    }
}

impl Cell {
    /// Ends everything in it, whatever it ignores. Blocks for as long as it
    /// takes to find processes that keep starting others.
    pub(crate) fn destroy(&self, leader: Option<u32>) {
        if let Some(pid) = leader.and_then(|pid| i32::try_from(pid).ok())
            && let Err(err) = killpg(Pid::from_raw(pid), Signal::SIGKILL)
            && err != nix::errno::Errno::ESRCH
        {
            tracing::warn!(pid, %err, "tool process group not killed");
        }
        if let Some(group) = &self.group
            && fs::write(group.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        sweep(&self.id);
    }
}

/// Finds the control group of this process's unit, which it may divide.
fn find_home() -> Option<Home> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = unit_path(&text)?;
    let dir = mount_point()?.join(path.trim_start_matches('/'));
    let own = dir.join(OWN_GROUP);
    create(&own, false).ok()?;
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let wanted: Vec<String> = controllers
        .split_whitespace()
        .filter(|name| ["memory", "pids"].contains(name))
        .map(|name| format!("+{name}"))
        .collect();
    // A group with members of its own cannot pass controllers on.
    let limits = !wanted.is_empty()
        && fs::write(own.join("cgroup.procs"), std::process::id().to_string()).is_ok()
        && fs::write(dir.join("cgroup.subtree_control"), wanted.join(" ")).is_ok();
    Some(Home { dir, limits })
}

/// The path of the service in a `/proc/PID/cgroup` text.
fn unit_path(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = path.strip_suffix(OWN_GROUP).map_or(path, |path| path.trim_end_matches('/'));
    path.ends_with(".service").then_some(path)
}

fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    line.split(' ').nth(1).map(PathBuf::from)
}

fn create(dir: &Path, limits: bool) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
        _ => {}
    }
    if limits {
        let half = total_memory().map(|bytes| (bytes / 2).to_string());
        let settings = [
            ("pids.max", Some(MOST_PROCESSES.to_string())),
            ("memory.max", half),
            ("memory.oom.group", Some("1".to_owned())),
        ];
        for (name, value) in settings {
            // A controller that is not there has no such file.
            if let Some(value) = value.filter(|_| dir.join(name).exists()) {
                fs::write(dir.join(name), value)?;
            }
        }
    }
    Ok(())
}

/// Removes the groups of commands of which nothing runs any more; the kernel
/// keeps the others.
fn forget_empty(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TOOL_GROUP) {
            drop(fs::remove_dir(entry.path()));
        }
    }
}

/// Kills every process that carries the mark. All are stopped before any is
/// killed, so that none can replace another.
fn sweep(id: &str) {
    let mark = format!("{MARK}={id}\0");
    for _ in 0..MOST_SWEEPS {
        let mut stopped = Vec::new();
        loop {
            let found = marked(&mark);
            let fresh: Vec<i32> = found.into_iter().filter(|pid| !stopped.contains(pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in &fresh {
                signal(*pid, Signal::SIGSTOP);
            }
            stopped.extend(fresh);
        }
        if stopped.is_empty() {
            return;
        }
        for pid in stopped {
            signal(pid, Signal::SIGKILL);
        }
        #[expect(clippy::disallowed_methods, reason = "runs on a blocking thread")]
        std::thread::sleep(SWEEP_PAUSE);
    }
    tracing::warn!(id, "processes of a tool could not all be killed");
}

/// One that has ended meanwhile needs no signal.
fn signal(pid: i32, signal: Signal) {
    if let Err(err) = kill(Pid::from_raw(pid), signal)
        && err != nix::errno::Errno::ESRCH
    {
        tracing::debug!(pid, %err, "tool process not signalled");
    }
}

/// Live processes whose environment holds the mark.
fn marked(mark: &str) -> Vec<i32> {
    processes()
        .filter(|pid| {
            let dir = PathBuf::from(format!("/proc/{pid}"));
            let holds = fs::read(dir.join("environ")).is_ok_and(|environ| {
                environ.windows(mark.len()).any(|part| part == mark.as_bytes())
            });
            holds && fs::read_to_string(dir.join("stat")).is_ok_and(|stat| !is_dead(&stat))
        })
        .collect()
}

/// Whether a `/proc/PID/stat` text is that of a zombie.
fn is_dead(stat: &str) -> bool {
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What counts against the limit of processes already.
fn threads_of_this_user() -> Option<usize> {
    use std::os::unix::fs::MetadataExt;
    let user = nix::unistd::getuid().as_raw();
    let mut threads = 0;
    for pid in processes() {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        if fs::metadata(&dir).is_ok_and(|meta| meta.uid() == user) {
            threads += fs::read_dir(dir.join("task")).map_or(0, Iterator::count);
        }
    }
    (threads > 0).then_some(threads)
}

/// Bytes of memory this machine has.
fn total_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_has_a_group_to_divide() {
        let user = "0::/user.slice/user@1.service/app.slice/openclaw-gateway.service\n";
        let path = "/user.slice/user@1.service/app.slice/openclaw-gateway.service";
        assert_eq!(unit_path(user), Some(path));
        let divided = "1:name=systemd:/x\n0::/system.slice/a.service/main\n";
        assert_eq!(unit_path(divided), Some("/system.slice/a.service"));
        assert_eq!(unit_path("0::/user.slice/session-1.scope\n"), None);
        assert_eq!(unit_path("0::/\n"), None);
    }

    #[test]
    fn a_zombie_is_not_alive() {
        assert!(is_dead("12 (a) b) Z 1 2"));
        assert!(!is_dead("12 (Z) S 1 2"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_left_the_process_group_is_found_by_its_mark() {
        use std::process::Command;
        use std::process::Stdio;
        let id = crate::base::id::uuid();
        let (cell, words) = Confinement::default().prepare(&id, false);
        let mut leader = Command::new("/bin/sh")
            .args(words)
            .args(["/bin/sh", "-c", "setsid sleep 300 & echo $!; sleep 300"])
            .env(MARK, &id)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = leader.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        let left: i32 = line.trim().parse().unwrap();
        cell.destroy(None);
        leader.wait().unwrap();
        let stat = fs::read_to_string(format!("/proc/{left}/stat"));
        assert!(stat.is_err() || is_dead(&stat.unwrap()), "{left} still runs");
    }
}
