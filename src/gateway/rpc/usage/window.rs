//! The days a usage question is about, in the time zone it is asked in.

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, ToSpan};
use serde_json::Value;

/// Whole days from `first` to `last`.
#[derive(Debug, Clone)]
pub struct Window {
    pub first: Date,
    pub last: Date,
    pub zone: TimeZone,
}

impl Window {
    /// Reads `startDate`, `endDate`, `days`, `mode` and `utcOffset`; without
    /// any, the last `default_days` days.
    pub fn of(params: &Value, now_ms: u64, default_days: i64) -> Self {
        let zone = zone_of(params);
        let today = date_at(i64::try_from(now_ms).unwrap_or(i64::MAX), &zone);
        let date = |key: &str| params.get(key).and_then(Value::as_str)?.parse::<Date>().ok();
        let days = params.get("days").and_then(Value::as_f64).filter(|days| *days >= 1.0).map_or(
            default_days,
            |days| {
                #[expect(clippy::cast_possible_truncation, reason = "clamped to years")]
                let days = days.min(36_500.0) as i64;
                days
            },
        );
        let last = date("endDate").unwrap_or(today);
        let first = date("startDate").unwrap_or_else(|| minus_days(last, days - 1));
        Self { first: first.min(last), last, zone }
    }

    /// The date of a moment, if the window holds it.
    pub fn date_of(&self, at_ms: i64) -> Option<Date> {
        let date = date_at(at_ms, &self.zone);
        (self.first..=self.last).contains(&date).then_some(date)
    }

    /// Every day of the window.
    pub fn days(&self) -> impl Iterator<Item = Date> {
        let last = self.last;
        std::iter::successors(Some(self.first), move |date| {
            date.tomorrow().ok().filter(|next| *next <= last)
        })
    }

    /// Number of days as usage results count them: the end of the last day
    /// belongs to the next one.
    pub fn counted_days(&self) -> i64 {
        let span: Span = self.last.since(self.first).unwrap_or_default();
        i64::from(span.get_days()) + 2
    }
}

fn minus_days(date: Date, days: i64) -> Date {
    date.checked_sub(days.max(0).days()).unwrap_or(date)
}

fn date_at(ms: i64, zone: &TimeZone) -> Date {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(zone.clone()).date()
}

fn zone_of(params: &Value) -> TimeZone {
    match params.get("mode").and_then(Value::as_str) {
        Some("gateway") => TimeZone::system(),
        Some("specific") => params
            .get("utcOffset")
            .and_then(Value::as_str)
            .and_then(parse_offset)
            .map_or(TimeZone::UTC, TimeZone::fixed),
        _ => TimeZone::UTC,
    }
}

/// Reads `UTC+5` or `UTC-3:30`.
fn parse_offset(text: &str) -> Option<Offset> {
    let rest = text.strip_prefix("UTC")?;
    let (sign, rest) = match rest.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    Offset::from_seconds(sign * seconds).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_795_349_377_808; // 2026-11-22T12:09:37Z

    #[test]
    fn days_are_counted_back_from_today() {
        let window = Window::of(&json!({"days": 3}), NOW, 30);
        assert_eq!((window.first.to_string(), window.counted_days()), ("2026-11-20".into(), 4));
        let default = Window::of(&json!({}), NOW, 30);
        assert_eq!(default.first.to_string(), "2026-10-24");
    }

    #[test]
    fn the_zone_decides_which_day_a_moment_belongs_to() {
        let one_day = |offset: &str| {
            let params = json!({"startDate": "2026-11-22", "endDate": "2026-11-22",
                "mode": "specific", "utcOffset": offset});
            Window::of(&params, NOW, 30)
        };
        let late = 1_795_388_400_000; // 2026-11-22T23:00:00Z
        assert!(one_day("UTC+0").date_of(late).is_some());
        assert!(one_day("UTC+5:30").date_of(late).is_none());
        assert_eq!(one_day("UTC+0").counted_days(), 2);
    }
}
