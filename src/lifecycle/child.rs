//! Child processes of the gateway. Everything that starts a program builds its
//! command here, so that no child inherits what the service manager handed to
//! this process alone: its notify socket, its listening sockets, its watchdog.

use std::ffi::OsStr;

/// Variables that belong to one supervised process and to none of its children.
pub const SUPERVISOR_VARS: [&str; 11] = [
    "NOTIFY_SOCKET",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "FDSTORE",
    "MEMORY_PRESSURE_WATCH",
];

/// A command for the async runtime. The child is killed when its handle is
/// dropped and has its own process group, so that a signal reaches its whole tree.
pub fn command(program: impl AsRef<OsStr>) -> tokio::process::Command {
    let mut command = tokio::process::Command::from(blocking(program));
    command.kill_on_drop(true).process_group(0);
    command
}

/// The same for blocking code.
pub fn blocking(program: impl AsRef<OsStr>) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    for name in SUPERVISOR_VARS {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_never_sees_the_supervisors_variables() {
        let command = blocking("env");
        for name in SUPERVISOR_VARS {
            let removed = command.get_envs().any(|(key, value)| key == name && value.is_none());
            assert!(removed, "{name}");
        }
    }

    #[tokio::test]
    async fn a_child_leads_its_own_process_group() {
        let output =
            command("sh").args(["-c", "ps -o pgid= -p $$; echo $$"]).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let ids: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(ids[0], ids[1]);
    }
}
