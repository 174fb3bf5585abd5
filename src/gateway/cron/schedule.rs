//! When a schedule fires next. Pure over the clock's reading.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::gateway::cron::expr::{Expr, ExprError};
use crate::gateway::cron::job::Schedule;

/// Jobs at the top of the hour are spread over this much.
const STAGGER_MS: u64 = 300_000;

/// Why a schedule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error(transparent)]
    Expr(#[from] ExprError),
    #[error("RangeError: Invalid time zone specified: {0}")]
    Zone(String),
    #[error("invalid cron schedule: \"{0}\" is not a point in time")]
    At(String),
}

impl Schedule {
    /// Checks the schedule and brings it into the form that is kept.
    pub fn normalise(&mut self, now: u64) -> Result<(), ScheduleError> {
        match self {
            Self::At { at } => {
                *at = iso(parse_at(at)?);
            }
            Self::Every { anchor_ms, .. } => {
                anchor_ms.get_or_insert(now);
            }
            Self::Cron { expr, tz, .. } => {
                Expr::parse(expr)?;
                zone(tz.as_deref())?;
            }
        }
        Ok(())
    }

    /// The first moment after `after` at which a job with this id fires.
    pub fn next_after(&self, job_id: &str, after: u64) -> Result<Option<u64>, ScheduleError> {
        Ok(match self {
            Self::At { at } => Some(parse_at(at)?).filter(|at| *at > after),
            Self::Every { every_ms, anchor_ms } => {
                let (every, anchor) = ((*every_ms).max(1), anchor_ms.unwrap_or(0));
                if after < anchor {
                    Some(anchor)
                } else {
                    let passed = (after - anchor) / every + 1;
                    anchor.checked_add(passed.saturating_mul(every))
                }
            }
            Self::Cron { expr, tz, stagger_ms } => {
                let expr = Expr::parse(expr)?;
                let default = if expr.is_top_of_hour() { STAGGER_MS } else { 0 };
                let offset = stagger(job_id, stagger_ms.unwrap_or(default));
                // A staggered match may lie before `after` without its offset.
                let base = after.saturating_sub(offset);
                expr.next_after(base, &zone(tz.as_deref())?).map(|at| at + offset)
            }
        })
    }
}

/// Where in the window a job starts: always the same for one job.
fn stagger(job_id: &str, window_ms: u64) -> u64 {
    if window_ms <= 1 {
        return 0;
    }
    let digest = Sha256::digest(job_id.as_bytes());
    let number = digest.iter().take(4).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    number % window_ms
}

fn zone(name: Option<&str>) -> Result<TimeZone, ScheduleError> {
    match name.map(str::trim).filter(|name| !name.is_empty()) {
        None => Ok(TimeZone::system()),
        Some(name) => TimeZone::get(name)
            .ok()
            .or_else(|| fixed_offset(name))
            .ok_or_else(|| ScheduleError::Zone(name.to_owned())),
    }
}

/// `+02:00` and `-0530` are zones, too.
fn fixed_offset(text: &str) -> Option<TimeZone> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits: String = rest.chars().filter(|c| *c != ':').collect();
    if digits.len() != 4 || rest.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = (digits[..2].parse::<i32>().ok()?, digits[2..].parse::<i32>().ok()?);
    let seconds = (minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))?;
    Some(TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?))
}

/// Milliseconds since the Unix epoch of an ISO time; without a zone it is UTC.
fn parse_at(text: &str) -> Result<u64, ScheduleError> {
    let text = text.trim();
    let bad = || ScheduleError::At(text.to_owned());
    let stamp = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| {
            let civil = text.parse::<jiff::civil::DateTime>().ok()?;
            Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
        })
        .or_else(|| Timestamp::from_millisecond(text.parse().ok()?).ok())
        .ok_or_else(bad)?;
    u64::try_from(stamp.as_millisecond()).map_err(|_| bad())
}

/// Whether a single point in time can still come, and within our time.
///
/// # Errors
/// Says what is wrong, in the words that clients show.
pub fn check_single(at: &str, now: u64) -> Result<(), String> {
    const MINUTE_MS: u64 = 60_000;
    const YEAR_MS: u64 = 31_557_600_000;
    let Ok(ms) = parse_at(at) else {
        return Err(format!("Invalid schedule.at: expected ISO-8601 timestamp (got {at})"));
    };
    let (past, ahead) = (now.saturating_sub(ms), ms.saturating_sub(now));
    if past > MINUTE_MS {
        return Err(format!(
            "schedule.at is in the past: {} ({} minutes ago). Current time: {}",
            iso(ms),
            past / MINUTE_MS,
            iso(now)
        ));
    }
    if ahead > 10 * YEAR_MS {
        return Err(format!(
            "schedule.at is too far in the future: {} ({} years ahead). Maximum allowed: 10 years",
            iso(ms),
            ahead / YEAR_MS
        ));
    }
    Ok(())
}

fn iso(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_keeps_its_anchor() {
        let every = Schedule::Every { every_ms: 1000, anchor_ms: Some(500) };
        assert_eq!(every.next_after("j", 100).unwrap(), Some(500));
        assert_eq!(every.next_after("j", 500).unwrap(), Some(1500));
        assert_eq!(every.next_after("j", 2600).unwrap(), Some(3500));
    }

    #[test]
    fn a_single_time_is_kept_in_one_spelling_and_passes() {
        let mut at = Schedule::At { at: "2027-01-01T00:00:00Z".into() };
        at.normalise(0).unwrap();
        assert_eq!(at, Schedule::At { at: "2027-01-01T00:00:00.000Z".into() });
        assert_eq!(at.next_after("j", 0).unwrap(), Some(1_798_761_600_000));
        assert_eq!(at.next_after("j", 1_798_761_600_000).unwrap(), None);
        let mut bad = Schedule::At { at: "tomorrow".into() };
        assert!(bad.normalise(0).is_err());
    }

    #[test]
    fn a_single_time_must_be_one_that_can_come() {
        let now = 1_795_349_471_140;
        assert_eq!(check_single("2026-11-22T12:11:12Z", now), Ok(()));
        assert_eq!(check_single("1795349471140", now), Ok(()));
        let said = |at: &str| check_single(at, now).unwrap_err();
        assert_eq!(
            said("2020-01-01T00:00:00Z"),
            "schedule.at is in the past: 2020-01-01T00:00:00.000Z (3625211 minutes ago). \
             Current time: 2026-11-22T12:11:11.140Z"
        );
        assert!(said("2040-01-01").contains("13 years ahead"), "{}", said("2040-01-01"));
        assert_eq!(said("never"), "Invalid schedule.at: expected ISO-8601 timestamp (got never)");
    }

    #[test]
    fn the_top_of_the_hour_is_spread_unless_told_otherwise() {
        let cron = |stagger_ms| Schedule::Cron {
            expr: "0 9 * * *".into(),
            tz: Some("UTC".into()),
            stagger_ms,
        };
        let exact = cron(Some(0)).next_after("j", 0).unwrap().unwrap();
        assert_eq!(exact, 9 * 3_600_000);
        let spread = cron(None).next_after("j", 0).unwrap().unwrap();
        assert!((exact..exact + STAGGER_MS).contains(&spread));
        let following = cron(None).next_after("j", spread).unwrap().unwrap();
        assert_eq!(following, spread + 86_400_000);
        let zone =
            Schedule::Cron { expr: "* * * * *".into(), tz: Some("Mars".into()), stagger_ms: None };
        assert!(zone.next_after("j", 0).is_err());
    }
}
