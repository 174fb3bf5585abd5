//! Process signals as one value. What to do with them is the gateway's choice.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the operator or the service manager asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Drain, then exit 0. The name is the signal's, for the log.
    Stop(&'static str),
    /// Read the configuration again.
    Reload,
    /// Drain, then let the manager start the program again. Two signals mean
    /// it, because releases disagree about which one.
    Restart(&'static str),
}

/// Receives the signals the gateway answers to, from its creation on.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    /// Installs the handlers. Do this first: before it, a signal kills.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next request. Cancel-safe.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.term.recv() => Request::Stop("SIGTERM"),
            _ = self.int.recv() => Request::Stop("SIGINT"),
            _ = self.hup.recv() => Request::Reload,
            _ = self.usr1.recv() => Request::Restart("SIGUSR1"),
            _ = self.usr2.recv() => Request::Restart("SIGUSR2"),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal as Unix, raise};

    use super::*;

    #[tokio::test]
    async fn each_signal_has_its_meaning() {
        let mut signals = Signals::install().unwrap();
        for (unix, expected) in [
            (Unix::SIGTERM, Request::Stop("SIGTERM")),
            (Unix::SIGHUP, Request::Reload),
            (Unix::SIGUSR1, Request::Restart("SIGUSR1")),
            (Unix::SIGUSR2, Request::Restart("SIGUSR2")),
            (Unix::SIGINT, Request::Stop("SIGINT")),
        ] {
            raise(unix).unwrap();
            assert_eq!(signals.next().await, expected);
        }
    }
}
