//! `activeHours`: when of the day a heart may beat. Pure.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

const MINUTES_A_DAY: u16 = 24 * 60;

/// Whether a heart may beat at `now`. Hours that are missing or no times of day
/// (the validation names those) forbid nothing; equal ones forbid everything.
pub(super) fn allow(hours: Option<&Value>, user: Option<&str>, now: Timestamp) -> bool {
    let Some(hours) = hours.filter(|hours| hours.is_object()) else { return true };
    let (Some(start), Some(end)) = (minute(&hours["start"]), minute(&hours["end"])) else {
        return true;
    };
    let now = minute_of(&now.to_zoned(zone(hours["timezone"].as_str(), user)));
    if start <= end { (start..end).contains(&now) } else { now >= start || now < end }
}

/// The minute of the day of `HH:MM`; `24:00` ends a day.
fn minute(text: &Value) -> Option<u16> {
    let text = text.as_str()?;
    if text == "24:00" {
        return Some(MINUTES_A_DAY);
    }
    let time = Time::strptime("%H:%M", text).ok()?;
    Some(minute_of_time(time))
}

fn minute_of(at: &Zoned) -> u16 {
    minute_of_time(at.time())
}

fn minute_of_time(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

/// `local` is this host's zone, `user` or none the user's, a name its own.
fn zone(name: Option<&str>, user: Option<&str>) -> TimeZone {
    let named = |name: &str| TimeZone::get(name.trim()).ok();
    let of_user = || user.and_then(named).unwrap_or_else(TimeZone::system);
    match name.map(str::trim) {
        None | Some("" | "user") => of_user(),
        Some("local") => TimeZone::system(),
        Some(name) => named(name).unwrap_or_else(of_user),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str, hours: &Value, user: Option<&str>) -> bool {
        allow(Some(hours), user, text.parse().unwrap())
    }

    #[test]
    fn a_heart_beats_between_start_and_end() {
        let day = json!({"start": "08:00", "end": "22:30", "timezone": "UTC"});
        assert!(!at("2026-03-01T07:59:59Z", &day, None));
        assert!(at("2026-03-01T08:00:00Z", &day, None));
        assert!(at("2026-03-01T22:29:59Z", &day, None));
        assert!(!at("2026-03-01T22:30:00Z", &day, None));
        let night = json!({"start": "22:00", "end": "06:00", "timezone": "UTC"});
        assert!(at("2026-03-01T23:00:00Z", &night, None));
        assert!(at("2026-03-01T05:59:00Z", &night, None));
        assert!(!at("2026-03-01T06:00:00Z", &night, None));
        let late = json!({"start": "20:00", "end": "24:00", "timezone": "UTC"});
        assert!(at("2026-03-01T23:59:59Z", &late, None));
        let never = json!({"start": "08:00", "end": "08:00", "timezone": "UTC"});
        assert!(!at("2026-03-01T08:00:00Z", &never, None));
    }

    #[test]
    fn the_users_zone_counts_unless_another_is_named() {
        let noon = "2026-03-01T12:00:00Z";
        let hours = json!({"start": "13:00", "end": "14:00"});
        assert!(at(noon, &hours, Some("Europe/Berlin")));
        let own = json!({"start": "13:00", "end": "14:00", "timezone": "Asia/Tokyo"});
        assert!(!at(noon, &own, Some("Europe/Berlin")));
        let unknown = json!({"start": "13:00", "end": "14:00", "timezone": "Mars/Base"});
        assert!(at(noon, &unknown, Some("Europe/Berlin")));
    }

    #[test]
    fn hours_that_are_none_forbid_nothing() {
        let now = Timestamp::UNIX_EPOCH;
        assert!(allow(None, None, now));
        assert!(allow(Some(&json!({"start": "8"})), None, now));
        assert!(allow(Some(&json!({"start": "25:00", "end": "26:00"})), None, now));
    }
}
