//! Runs the service manager's own programs, each with a time limit. Everything
//! that talks to `systemctl`, `launchctl` or `loginctl` takes a [`Runner`], so
//! that tests can stand in for the host.

use std::fmt;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use crate::lifecycle::child;

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    pub program: String,
    pub args: Vec<String>,
    /// Set in addition to the inherited environment.
    pub env: Vec<(String, String)>,
    pub limit: Duration,
}

impl CommandLine {
    pub fn new<S: Into<String>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        Self {
            program: program.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            limit: QUERY_LIMIT,
        }
    }

    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shell_words::join(std::iter::once(&self.program).chain(&self.args)))
    }
}

/// Longest wait for an answer that changes nothing.
pub const QUERY_LIMIT: Duration = Duration::from_secs(10);

/// What a program that ran to its end left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finished {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// What it said, preferring complaints.
    pub fn said(&self) -> &str {
        let stderr = self.stderr.trim();
        if stderr.is_empty() { self.stdout.trim() } else { stderr }
    }
}

/// Why a program gave no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{program} is not installed")]
    Missing { program: String },
    #[error("`{command}` did not finish within {} s", limit.as_secs())]
    TimedOut { command: String, limit: Duration },
    #[error("{program} cannot be run")]
    Io {
        program: String,
        #[source]
        source: io::Error,
    },
}

/// Runs programs. Blocking: not for use inside the async runtime.
pub trait Runner: fmt::Debug {
    fn run(&self, command: &CommandLine) -> Result<Finished, RunError>;

    /// Waits before looking again.
    fn pause(&self, delay: Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(async { tokio::time::sleep(delay).await });
        }
    }
}

/// Runs programs on this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostRunner;

impl Runner for HostRunner {
    fn run(&self, command: &CommandLine) -> Result<Finished, RunError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => RunError::Missing { program: command.program.clone() },
            _ => RunError::Io { program: command.program.clone(), source },
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(async {
            let output = child::command(&command.program)
                .args(&command.args)
                .envs(command.env.iter().map(|(key, value)| (key, value)))
                // The programs' messages are matched below; keep them in English.
                .env("LC_ALL", "C.UTF-8")
                .env("SYSTEMD_PAGER", "cat")
                .env("SYSTEMD_COLORS", "0")
                .stdin(Stdio::null())
                .output();
            let Ok(output) = tokio::time::timeout(command.limit, output).await else {
                let limit = command.limit;
                return Err(RunError::TimedOut { command: command.to_string(), limit });
            };
            let output = output.map_err(failed)?;
            Ok(Finished {
                code: output.status.code(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            })
        })
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! A host made of answers: each rule matches a prefix of the command line.

    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    type Answer = Result<Finished, RunError>;

    #[derive(Debug, Default)]
    pub(crate) struct Script {
        rules: RefCell<Vec<(String, VecDeque<Finished>)>>,
        pub(crate) ran: RefCell<Vec<String>>,
    }

    impl Script {
        /// Answers commands that begin with `prefix`; several answers for one
        /// prefix are given in turn, the last one stays.
        pub(crate) fn on(self, prefix: &str, code: i32, stdout: &str, stderr: &str) -> Self {
            let answer =
                Finished { code: Some(code), stdout: stdout.into(), stderr: stderr.into() };
            {
                let mut rules = self.rules.borrow_mut();
                match rules.iter_mut().find(|(known, _)| known == prefix) {
                    Some((_, answers)) => answers.push_back(answer),
                    None => rules.push((prefix.to_owned(), VecDeque::from([answer]))),
                }
            }
            self
        }

        pub(crate) fn commands(&self) -> Vec<String> {
            self.ran.borrow().clone()
        }
    }

    impl Runner for Script {
        fn run(&self, command: &CommandLine) -> Answer {
            let line = command.to_string();
            self.ran.borrow_mut().push(line.clone());
            let mut rules = self.rules.borrow_mut();
            let rule = rules.iter_mut().find(|(prefix, _)| line.starts_with(prefix.as_str()));
            match rule {
                Some((_, answers)) if answers.len() > 1 => {
                    Ok(answers.pop_front().expect("there are two"))
                }
                Some((_, answers)) => Ok(answers[0].clone()),
                None => Ok(Finished { code: Some(0), ..Finished::default() }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_given_up() {
        let command = CommandLine::new("sleep", ["60"]).within(Duration::from_millis(50));
        assert!(matches!(HostRunner.run(&command), Err(RunError::TimedOut { .. })));
    }

    #[test]
    fn a_missing_program_is_named() {
        let err = HostRunner.run(&CommandLine::new("no-such-program-here", [""; 0])).unwrap_err();
        assert_eq!(err.to_string(), "no-such-program-here is not installed");
    }

    #[test]
    fn output_and_status_come_back() {
        let command = CommandLine::new("sh", ["-c", "echo out; echo err >&2; exit 3"]);
        let done = HostRunner.run(&command).unwrap();
        assert_eq!((done.code, done.stdout.as_str(), done.said()), (Some(3), "out\n", "err"));
    }
}
