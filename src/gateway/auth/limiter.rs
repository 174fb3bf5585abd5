//! How often a secret may be guessed: a sliding window per client address,
//! then a lockout during which even the right secret is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

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
#[derive(Debug)]
pub struct Limiter {
    rules: RateLimit,
    seen: Mutex<HashMap<(Guess, IpAddr), Record>>,
}

const MAX_ADDRESSES: usize = 10_000;

#[derive(Debug, Default)]
struct Record {
    /// Milliseconds since the Unix epoch, oldest first.
    failures: Vec<u64>,
    locked_until: u64,
}

impl Limiter {
    pub fn new(rules: RateLimit) -> Self {
        Self { rules, seen: Mutex::default() }
    }

    /// Milliseconds until the next try is allowed, if it is not allowed now.
    pub fn locked_for(&self, guess: Guess, ip: IpAddr, now: u64) -> Option<u64> {
        if self.exempt(ip) {
            return None;
        }
        let seen = self.seen.lock().expect("no code panics while counting");
        let until = seen.get(&(guess, ip))?.locked_until;
        until.checked_sub(now).filter(|&left| left > 0)
    }

    /// Notes a wrong guess.
    pub fn failed(&self, guess: Guess, ip: IpAddr, now: u64) {
        if self.exempt(ip) {
            return;
        }
        let mut seen = self.seen.lock().expect("no code panics while counting");
        if seen.len() >= MAX_ADDRESSES {
            let window = self.rules.window_ms;
            seen.retain(|_, record| {
                record.locked_until > now
                    || record.failures.last().is_some_and(|&last| last + window > now)
            });
            if seen.len() >= MAX_ADDRESSES {
                seen.clear();
            }
        }
        let record = seen.entry((guess, ip)).or_default();
        record.failures.retain(|&at| at + self.rules.window_ms > now);
        record.failures.push(now);
        if record.failures.len() >= self.rules.max_attempts as usize {
            record.locked_until = now + self.rules.lockout_ms;
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
    use super::*;

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const GUESS: Guess = Guess::SharedSecret;

    #[test]
    fn the_eleventh_try_is_refused_until_the_lockout_ends() {
        let limiter = Limiter::new(RateLimit::default());
        for n in 0..10 {
            assert_eq!(limiter.locked_for(GUESS, FAR, n), None, "try {n}");
            limiter.failed(GUESS, FAR, n);
        }
        assert_eq!(limiter.locked_for(GUESS, FAR, 10), Some(299_999));
        assert_eq!(limiter.locked_for(Guess::DeviceToken, FAR, 10), None);
        assert_eq!(limiter.locked_for(GUESS, FAR, 300_009), None);
    }

    #[test]
    fn old_failures_and_a_success_do_not_count() {
        let limiter = Limiter::new(RateLimit::default());
        for n in 0..30 {
            limiter.failed(GUESS, FAR, n * 10_000);
            assert_eq!(limiter.locked_for(GUESS, FAR, n * 10_000), None, "try {n}");
        }
        for _ in 0..9 {
            limiter.failed(GUESS, FAR, 1_000_000);
        }
        limiter.succeeded(GUESS, FAR);
        limiter.failed(GUESS, FAR, 1_000_001);
        assert_eq!(limiter.locked_for(GUESS, FAR, 1_000_002), None);
    }

    #[test]
    fn browsers_are_limited_on_loopback_too() {
        let limiters = Limiters::new(None);
        assert!(limiters.direct.is_none());
        let lenient = Limiter::new(RateLimit::default());
        for _ in 0..10 {
            lenient.failed(GUESS, HOME, 1);
            limiters.browser.failed(GUESS, HOME, 1);
        }
        assert_eq!(lenient.locked_for(GUESS, HOME, 2), None);
        assert!(limiters.browser.locked_for(GUESS, HOME, 2).is_some());
    }
}
