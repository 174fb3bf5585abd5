//! How often a secret may be guessed: a sliding window per client address,
//! then a lockout during which even the right secret is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::schema::gateway::RateLimit;

/// What is being guessed; each has its own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guess {
    SharedSecret,
    DeviceToken,
    HookToken,
}

/// Both limiters: the configured one, and the one every browser meets.
#[derive(Debug)]
pub struct Limiters {
    /// Absent unless `gateway.auth.rateLimit` is configured.
    pub direct: Option<Limiter>,
    /// For connections with an `Origin`, loopback included: a web page in the
    /// operator's browser must not guess at leisure.
    pub browser: Limiter,
}

impl Limiters {
    pub fn new(configured: Option<&RateLimit>) -> Self {
        let rules = configured.cloned().unwrap_or_default();
        Self {
            direct: configured.map(|rules| Limiter::new(rules.clone())),
            browser: Limiter::new(RateLimit { exempt_loopback: false, ..rules }),
        }
    }
}

/// Counts failures by address. Holds at most [`MAX_ADDRESSES`] of them; when
/// full, the ones that expire first make room.
///
/// It goes by the monotonic clock: setting the host's time neither lifts a
/// lockout nor prolongs it.
#[derive(Debug)]
pub struct Limiter {
    rules: RateLimit,
    seen: Mutex<HashMap<(Guess, IpAddr), Record>>,
}

const MAX_ADDRESSES: usize = 10_000;

#[derive(Debug, Default)]
struct Record {
    /// Oldest first.
    failures: Vec<Instant>,
    locked_until: Option<Instant>,
}

impl Record {
    fn counts(&self, window: Duration, now: Instant) -> bool {
        self.locked_until.is_some_and(|until| until > now)
            || self.failures.last().is_some_and(|&last| now.duration_since(last) < window)
    }
}

impl Limiter {
    pub fn new(rules: RateLimit) -> Self {
        Self { rules, seen: Mutex::default() }
    }

    /// How long until the next try is allowed, if it is not allowed now.
    pub fn locked_for(&self, guess: Guess, ip: IpAddr) -> Option<Duration> {
        if self.exempt(ip) {
            return None;
        }
        let seen = self.seen.lock().expect("no code panics while counting");
        let until = seen.get(&(guess, ip))?.locked_until?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Notes a wrong guess.
    pub fn failed(&self, guess: Guess, ip: IpAddr) {
        if self.exempt(ip) {
            return;
        }
        let now = Instant::now();
        let window = Duration::from_millis(self.rules.window_ms);
        let mut seen = self.seen.lock().expect("no code panics while counting");
        if seen.len() >= MAX_ADDRESSES {
            seen.retain(|_, record| record.counts(window, now));
            if seen.len() >= MAX_ADDRESSES {
                seen.clear();
            }
        }
        let record = seen.entry((guess, ip)).or_default();
        record.failures.retain(|&at| now.duration_since(at) < window);
        record.failures.push(now);
        if record.failures.len() as u64 >= self.rules.max_attempts {
            record.locked_until = now.checked_add(Duration::from_millis(self.rules.lockout_ms));
            record.failures.clear();
        }
    }

    /// Forgets the failures of an address that proved itself.
    pub fn succeeded(&self, guess: Guess, ip: IpAddr) {
        self.seen.lock().expect("no code panics while counting").remove(&(guess, ip));
    }

    fn exempt(&self, ip: IpAddr) -> bool {
        self.rules.exempt_loopback && ip.is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const GUESS: Guess = Guess::SharedSecret;

    #[tokio::test(start_paused = true)]
    async fn the_eleventh_try_is_refused_until_the_lockout_ends() {
        let limiter = Limiter::new(RateLimit::default());
        for n in 0..10 {
            assert_eq!(limiter.locked_for(GUESS, FAR), None, "try {n}");
            limiter.failed(GUESS, FAR);
        }
        advance(Duration::from_millis(1)).await;
        assert_eq!(limiter.locked_for(GUESS, FAR), Some(Duration::from_millis(299_999)));
        assert_eq!(limiter.locked_for(Guess::DeviceToken, FAR), None);
        advance(Duration::from_millis(299_999)).await;
        assert_eq!(limiter.locked_for(GUESS, FAR), None);
    }

    #[tokio::test(start_paused = true)]
    async fn old_failures_and_a_success_do_not_count() {
        let limiter = Limiter::new(RateLimit::default());
        for n in 0..30 {
            limiter.failed(GUESS, FAR);
            assert_eq!(limiter.locked_for(GUESS, FAR), None, "try {n}");
            advance(Duration::from_secs(10)).await;
        }
        advance(Duration::from_secs(60)).await;
        for _ in 0..9 {
            limiter.failed(GUESS, FAR);
        }
        limiter.succeeded(GUESS, FAR);
        limiter.failed(GUESS, FAR);
        assert_eq!(limiter.locked_for(GUESS, FAR), None);
    }

    #[test]
    fn browsers_are_limited_on_loopback_too() {
        let limiters = Limiters::new(None);
        assert!(limiters.direct.is_none());
        let lenient = Limiter::new(RateLimit::default());
        for _ in 0..10 {
            lenient.failed(GUESS, HOME);
            limiters.browser.failed(GUESS, HOME);
        }
        assert_eq!(lenient.locked_for(GUESS, HOME), None);
        assert!(limiters.browser.locked_for(GUESS, HOME).is_some());
    }
}
