//! Tells the service manager what this process is doing: starting, ready,
//! reloading, draining. Silent when nobody listens; never fails a caller.

use std::time::Duration;

/// A channel to the service manager. Cheap to clone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notifier;

impl Notifier {
    /// One line for operators, shown by `systemctl status`.
    pub fn status(self, text: &str) {
        send(&[State::Status(&one_line(text))]);
    }

    /// The service answers requests from here on.
    pub fn ready(self, status: &str) {
        send(&[State::Ready, State::Status(&one_line(status))]);
    }

    /// A reload began; [`Self::ready`] ends it.
    pub fn reloading(self) {
        send(&[State::Reloading, State::Monotonic, State::Status("reloading the configuration")]);
    }

    /// The stop began and may take up to `grace`.
    pub fn stopping(self, grace: Duration, status: &str) {
        send(&[State::Stopping, State::Extend(grace), State::Status(&one_line(status))]);
    }

    /// Start or stop needs this much longer, from now. Call it from the loop
    /// that does the work, so that it falls silent when the work hangs.
    pub fn extend(self, by: Duration) {
        send(&[State::Extend(by)]);
    }

    /// A sign of life.
    pub fn alive(self) {
        send(&[State::Watchdog]);
    }
}

/// The watchdog period the manager set for this process, if any.
pub fn watchdog_period() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// What can be said, independent of the platform.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only systemd listens"))]
#[derive(Debug)]
enum State<'a> {
    Ready,
    Reloading,
    Monotonic,
    Stopping,
    Watchdog,
    Extend(Duration),
    Status(&'a str),
}

#[cfg(target_os = "linux")]
fn send(states: &[State<'_>]) {
    use sd_notify::NotifyState;

    let states: Vec<NotifyState<'_>> = states
        .iter()
        .filter_map(|state| {
            Some(match state {
                State::Ready => NotifyState::Ready,
                State::Reloading => NotifyState::Reloading,
                State::Monotonic => NotifyState::monotonic_usec_now().ok()?,
                State::Stopping => NotifyState::Stopping,
                State::Watchdog => NotifyState::Watchdog,
                State::Extend(by) => NotifyState::ExtendTimeoutUsec(
                    u32::try_from(by.as_micros()).unwrap_or(u32::MAX),
                ),
                State::Status(text) => NotifyState::Status(text),
            })
        })
        .collect();
    if let Err(err) = sd_notify::notify(&states) {
        tracing::debug!(%err, "the service manager does not take notifications");
    }
}

#[cfg(not(target_os = "linux"))]
fn send(_states: &[State<'_>]) {}

/// A status is one line; the protocol separates assignments by line breaks.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_smuggle_in_another_assignment() {
        assert_eq!(one_line("blocked: bad\nREADY=1\r\n"), "blocked: bad READY=1");
    }
}
