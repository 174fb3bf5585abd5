//! A way through SSH to a gateway that listens on its own machine only. The
//! system's `ssh` makes it, with the user's configuration, keys and agent.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};

/// How much of what `ssh` complains about is read.
const MOST_SAID: u64 = 4096;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// `user@host:port`, of which only the host is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshTarget {
    user_host: String,
    port: Option<u16>,
}

/// Why there is no way through.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("\"{0}\" is no SSH target (user@host or user@host:port)")]
    Target(String),
    #[error("the program ssh cannot be started: {0}")]
    Program(io::Error),
    #[error("no free port on this machine: {0}")]
    Port(io::Error),
    #[error("ssh to {target} ended: {said}")]
    Ended { target: SshTarget, said: String },
    #[error("ssh to {target} did not open the port within {}ms", .limit.as_millis())]
    Slow { target: SshTarget, limit: Duration },
}

/// An open way. It closes when this is dropped, if not before.
#[derive(Debug)]
pub struct Tunnel {
    child: Child,
    pub local_port: u16,
}

impl SshTarget {
    pub fn parse(text: &str) -> Result<Self, TunnelError> {
        let refused = || TunnelError::Target(text.trim().to_owned());
        let given = text.trim();
        let given = given.strip_prefix("ssh ").unwrap_or(given).trim();
        let (user, host) = given.rsplit_once('@').map_or((None, given), |(u, h)| (Some(u), h));
        let colons = host.bytes().filter(|byte| *byte == b':').count();
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if colons == 1 || host.ends_with(']') => (host, Some(port)),
            _ => (host, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.map(str::parse).transpose().map_err(|_| refused())?;
        // A leading dash would be read as an option.
        let odd = |word: &str| {
            word.is_empty() || word.starts_with('-') || word.contains(|c: char| c.is_whitespace())
        };
        if odd(host) || user.is_some_and(odd) || port == Some(0) {
            return Err(refused());
        }
        let user_host = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
        Ok(Self { user_host, port })
    }

    /// What `ssh` is told. It asks nobody anything, and ends if it cannot forward.
    fn arguments(&self, identity: Option<&str>, local: u16, remote: u16) -> Vec<String> {
        let mut arguments = vec!["-N".to_owned(), "-L".to_owned()];
        arguments.push(format!("127.0.0.1:{local}:127.0.0.1:{remote}"));
        for option in ["ExitOnForwardFailure=yes", "BatchMode=yes", "ControlPath=none"] {
            arguments.extend(["-o".to_owned(), option.to_owned()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(identity) = identity {
            arguments.extend(["-i".to_owned(), identity.to_owned()]);
        }
        arguments.extend(["--".to_owned(), self.user_host.clone()]);
        arguments
    }
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.user_host),
            None => f.write_str(&self.user_host),
        }
    }
}

impl Tunnel {
    /// Opens a way to `remote`, a port of the other machine's loopback address.
    pub async fn open(
        target: &SshTarget,
        identity: Option<&str>,
        remote: u16,
        limit: Duration,
    ) -> Result<Self, TunnelError> {
        let local_port = free_port(remote).await.map_err(TunnelError::Port)?;
        let mut child = Command::new("ssh")
            .args(target.arguments(identity, local_port, remote))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(TunnelError::Program)?;
        let stderr = child.stderr.take();
        let opened = tokio::time::timeout(limit, async {
            loop {
                if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                    let said = last_words(stderr).await;
                    return Err(TunnelError::Ended { target: target.clone(), said });
                }
                if TcpStream::connect((Ipv4Addr::LOCALHOST, local_port)).await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
        });
        opened
            .await
            .unwrap_or_else(|_| Err(TunnelError::Slow { target: target.clone(), limit }))?;
        Ok(Self { child, local_port })
    }

    /// Ends the program and waits for its end.
    pub async fn close(&mut self) {
        // What cannot be ended has ended.
        drop(self.child.kill().await);
    }

    /// The process that keeps the way open.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }
}

/// The same port as there, if it is free here.
async fn free_port(preferred: u16) -> io::Result<u16> {
    let host = Ipv4Addr::LOCALHOST;
    let listener = match TcpListener::bind((host, preferred)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((host, 0)).await?,
    };
    Ok(listener.local_addr()?.port())
}

async fn last_words(stderr: Option<ChildStderr>) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = stderr {
        drop(stderr.take(MOST_SAID).read_to_end(&mut said).await);
    }
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_with_a_user_and_a_port_perhaps() {
        let shown = |text| SshTarget::parse(text).map(|target| target.to_string());
        for text in ["den", "me@den", "me@den:2222", "den:22", "me@[2001:db8::7]:22"] {
            assert_eq!(shown(text).unwrap(), text.replace(['[', ']'], ""), "{text}");
        }
        assert_eq!(shown(" ssh me@den ").unwrap(), "me@den");
        assert_eq!(shown("2001:db8::7").unwrap(), "2001:db8::7");
        let bad = ["", "me@", "-oProxyCommand=x", "me@-x", "-l@den", "den:x", "den:0", "a b"];
        for text in bad {
            assert!(shown(text).unwrap_err().to_string().contains("is no SSH target"), "{text}");
        }
    }

    #[test]
    fn nothing_of_a_target_is_read_as_an_option() {
        let target = SshTarget::parse("me@den:2222").unwrap();
        let told = target.arguments(Some("/k"), 5000, 18789).join(" ");
        assert_eq!(
            told,
            "-N -L 127.0.0.1:5000:127.0.0.1:18789 -o ExitOnForwardFailure=yes -o BatchMode=yes \
             -o ControlPath=none -p 2222 -i /k -- me@den"
        );
    }
}
