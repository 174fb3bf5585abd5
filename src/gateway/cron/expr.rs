//! Cron expressions: five fields, six with seconds, seven with years.
//!
//! Lists, ranges, steps, month and day names, `L` for the last day of the
//! month, `15W` for the working day nearest to the 15th and `1#2` for the second
//! Monday. As usual, when both day fields are restricted a day needs to match
//! only one of them, or both if the second begins with `+`.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// Days searched for the next match: every leap-day pattern occurs within.
const HORIZON_DAYS: usize = 366 * 9;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Why an expression cannot be used. The texts are those clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    #[error(
        "TypeError: CronPattern: invalid configuration format ('{0}'), exactly five, six, or seven space separated parts are required."
    )]
    Parts(String),
    #[error("TypeError: CronPattern: invalid {field} field '{text}'")]
    Field { field: &'static str, text: String },
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expr {
    seconds: Vec<u8>,
    minutes: Vec<u8>,
    hours: Vec<u8>,
    days: Days,
    months: Vec<u8>,
    /// Empty: every year.
    years: Vec<u16>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Days {
    rule: Rule,
    of_month: Vec<u8>,
    last_of_month: bool,
    /// Days whose nearest working day is meant; 0 is the last of the month.
    working: Vec<u8>,
    /// 0 is Sunday.
    of_week: Vec<u8>,
    /// `(day, n)`: the n-th such day of the month, 0 for the last.
    nth_of_week: Vec<(u8, u8)>,
}

/// Which of the two fields a day has to match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Rule {
    #[default]
    Neither,
    OfMonth,
    OfWeek,
    One,
    Both,
}

impl Expr {
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let nickname = match text.trim().to_ascii_lowercase().as_str() {
            "@yearly" | "@annually" => Some("0 0 1 1 *"),
            "@monthly" => Some("0 0 1 * *"),
            "@weekly" => Some("0 0 * * 0"),
            "@daily" | "@midnight" => Some("0 0 * * *"),
            "@hourly" => Some("0 * * * *"),
            _ => None,
        };
        let source = nickname.unwrap_or(text);
        let parts: Vec<&str> = source.split_whitespace().collect();
        let (seconds, rest, years) = match parts.len() {
            5 => ("0", &parts[..], None),
            6 => (parts[0], &parts[1..], None),
            7 => (parts[0], &parts[1..6], Some(parts[6])),
            _ => return Err(ExprError::Parts(text.trim().to_owned())),
        };
        Ok(Self {
            seconds: numbers("second", seconds, 0, 59, &[])?,
            minutes: numbers("minute", rest[0], 0, 59, &[])?,
            hours: numbers("hour", rest[1], 0, 23, &[])?,
            days: Days::parse(rest[2], rest[4])?,
            months: numbers("month", rest[3], 1, 12, &MONTHS)?,
            years: match years {
                None | Some("*") => Vec::new(),
                Some(text) => years_of(text)?,
            },
        })
    }

    /// Whether it fires at the top of hours only, so that many jobs would start
    /// at the same moment.
    pub fn is_top_of_hour(&self) -> bool {
        self.seconds == [0] && self.minutes == [0]
    }

    /// The first match after `after`, in milliseconds since the Unix epoch.
    pub fn next_after(&self, after_ms: u64, zone: &TimeZone) -> Option<u64> {
        let after = Timestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?;
        let start = after.to_zoned(zone.clone());
        let mut date = start.date();
        for day in 0..HORIZON_DAYS {
            if self.matches_date(date)
                && let Some(found) = self.first_on(date, &start, day == 0)
            {
                return u64::try_from(found.timestamp().as_millisecond()).ok();
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn matches_date(&self, date: Date) -> bool {
        let month = u8::try_from(date.month()).unwrap_or(0);
        let year = u16::try_from(date.year()).unwrap_or(0);
        (self.years.is_empty() || self.years.contains(&year))
            && self.months.contains(&month)
            && self.days.matches(date)
    }

    /// The first match on a date, after `start` if that is the same day.
    fn first_on(&self, date: Date, start: &Zoned, same_day: bool) -> Option<Zoned> {
        let moment = |hour: u8, minute: u8, second: u8| {
            let [hour, minute, second] =
                [hour, minute, second].map(|n| i8::try_from(n).unwrap_or(0));
            date.at(hour, minute, second, 0).to_zoned(start.time_zone().clone()).ok()
        };
        for &hour in &self.hours {
            if same_day && i16::from(hour) < i16::from(start.hour()) {
                continue;
            }
            for &minute in &self.minutes {
                for &second in &self.seconds {
                    // A time that a clock change skips moves to after the gap.
                    let Some(at) = moment(hour, minute, second) else { continue };
                    if at.timestamp() > start.timestamp() {
                        return Some(at);
                    }
                }
            }
        }
        None
    }
}

impl Days {
    fn parse(of_month: &str, of_week: &str) -> Result<Self, ExprError> {
        let any = |text: &str| matches!(text, "*" | "?");
        let (of_week, both) = match of_week.strip_prefix('+') {
            Some(rest) => (rest, true),
            None => (of_week, false),
        };
        let rule = match (any(of_month), any(of_week)) {
            (true, true) => Rule::Neither,
            (true, false) => Rule::OfWeek,
            (false, true) => Rule::OfMonth,
            (false, false) if both => Rule::Both,
            (false, false) => Rule::One,
        };
        let mut days = Self { rule, ..Self::default() };
        let bad_day = |text: &str| ExprError::Field { field: "day", text: text.to_owned() };
        let mut plain = Vec::new();
        for part in of_month.split(',') {
            if part.eq_ignore_ascii_case("l") {
                days.last_of_month = true;
            } else if let Some(near) = part.strip_suffix(['W', 'w']) {
                days.working.push(match near {
                    "L" | "l" => 0,
                    near => near
                        .parse()
                        .ok()
                        .filter(|day| (1..=31).contains(day))
                        .ok_or_else(|| bad_day(part))?,
                });
            } else {
                plain.push(part);
            }
        }
        if !plain.is_empty() {
            days.of_month = numbers("day", &plain.join(","), 1, 31, &[])?;
        }
        let bad = |text: &str| ExprError::Field { field: "day of week", text: text.to_owned() };
        let mut plain = Vec::new();
        for part in of_week.split(',') {
            if let Some((day, nth)) = part.split_once('#') {
                let day = number(day, &DAYS).filter(|day| *day <= 7).ok_or_else(|| bad(part))?;
                let nth = match nth.to_ascii_lowercase().as_str() {
                    "l" => 0,
                    nth => nth
                        .parse()
                        .ok()
                        .filter(|nth| (1..=5).contains(nth))
                        .ok_or_else(|| bad(part))?,
                };
                days.nth_of_week.push((day % 7, nth));
            } else if let Some(day) = part.strip_suffix(['L', 'l']).filter(|day| !day.is_empty()) {
                let day = number(day, &DAYS).filter(|day| *day <= 7).ok_or_else(|| bad(part))?;
                days.nth_of_week.push((day % 7, 0));
            } else {
                plain.push(part);
            }
        }
        if !plain.is_empty() {
            let mut list = numbers("day of week", &plain.join(","), 0, 7, &DAYS)?;
            for day in &mut list {
                *day %= 7;
            }
            list.sort_unstable();
            list.dedup();
            days.of_week = list;
        }
        Ok(days)
    }

    fn matches(&self, date: Date) -> bool {
        let day = u8::try_from(date.day()).unwrap_or(0);
        let week_day = u8::try_from(date.weekday().to_sunday_zero_offset()).unwrap_or(0);
        let is_last = date.last_of_month() == date;
        let by_month = self.of_month.contains(&day)
            || (self.last_of_month && is_last)
            || self.working.iter().any(|&near| working_day(date, near) == Some(date));
        let by_week = self.of_week.contains(&week_day)
            || self.nth_of_week.iter().any(|&(wanted, nth)| {
                wanted == week_day
                    && match nth {
                        0 => date.last_of_month().day() - date.day() < 7,
                        nth => (day - 1) / 7 + 1 == nth,
                    }
            });
        match self.rule {
            Rule::Neither => true,
            Rule::OfWeek => by_week,
            Rule::OfMonth => by_month,
            Rule::Both => by_month && by_week,
            Rule::One => by_month || by_week,
        }
    }
}

/// The working day nearest to a day of the month of `date`, within that month;
/// day 0 is the last.
fn working_day(date: Date, near: u8) -> Option<Date> {
    let last = date.last_of_month();
    let target = match near {
        0 => last,
        near => date.with().day(i8::try_from(near).ok()?).build().ok()?,
    };
    let shift = match target.weekday() {
        Weekday::Saturday if target.day() == 1 => 2,
        Weekday::Saturday => -1,
        Weekday::Sunday if target == last => -2,
        Weekday::Sunday => 1,
        _ => 0,
    };
    target.checked_add(shift.days()).ok()
}

/// Every value of a field, sorted.
fn numbers(
    field: &'static str,
    text: &str,
    min: u8,
    max: u8,
    names: &[&str],
) -> Result<Vec<u8>, ExprError> {
    let bad = || ExprError::Field { field, text: text.to_owned() };
    let mut values = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                (range, step.parse::<u8>().ok().filter(|step| *step > 0).ok_or_else(bad)?)
            }
            None => (part, 1),
        };
        let (low, high) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (min, if max == 7 { 6 } else { max }),
            Some((low, high)) => {
                (number(low, names).ok_or_else(bad)?, number(high, names).ok_or_else(bad)?)
            }
            None => {
                let low = number(range, names).ok_or_else(bad)?;
                (low, if part.contains('/') { max } else { low })
            }
        };
        if low < min || high > max || low > high {
            return Err(bad());
        }
        values.extend((low..=high).step_by(usize::from(step)));
    }
    values.sort_unstable();
    values.dedup();
    Ok(values)
}

fn years_of(text: &str) -> Result<Vec<u16>, ExprError> {
    let bad = || ExprError::Field { field: "year", text: text.to_owned() };
    let mut years = Vec::new();
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let low: u16 = low.parse().map_err(|_| bad())?;
        let high: u16 = high.parse().map_err(|_| bad())?;
        if low < 1970 || high > 9999 || low > high {
            return Err(bad());
        }
        years.extend(low..=high);
    }
    Ok(years)
}

/// A number, or a name counted from the field's first value.
fn number(text: &str, names: &[&str]) -> Option<u8> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let text = text.to_ascii_lowercase();
    let index = names.iter().position(|name| *name == text)?;
    let first = usize::from(names.len() == MONTHS.len());
    u8::try_from(index + first).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expr: &str, after: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let after: Timestamp = after.parse().unwrap();
        let after = u64::try_from(after.as_millisecond()).unwrap();
        let next = Expr::parse(expr).unwrap().next_after(after, &zone).unwrap();
        Timestamp::from_millisecond(i64::try_from(next).unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_next_match_is_found() {
        let cases = [
            ("0 9 * * 1", "2026-11-22T12:15:24Z", "2026-11-23T09:00:00Z"),
            ("*/15 * * * *", "2026-11-22T12:15:00Z", "2026-11-22T12:30:00Z"),
            ("30 6 1 jan *", "2026-11-22T12:15:00Z", "2027-01-01T06:30:00Z"),
            ("0 0 29 2 *", "2026-11-22T12:15:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 L * *", "2026-11-22T12:15:00Z", "2026-11-30T00:00:00Z"),
            ("0 0 * * mon#2", "2026-11-22T12:15:00Z", "2026-12-14T00:00:00Z"),
            ("0 0 * * 5L", "2026-11-22T12:15:00Z", "2026-11-27T00:00:00Z"),
            ("10 0 12 * * *", "2026-11-22T12:00:05Z", "2026-11-22T12:00:10Z"),
            ("0 12 13 * 5", "2026-11-22T12:15:00Z", "2026-11-27T12:00:00Z"),
            ("@daily", "2026-11-22T12:15:00Z", "2026-11-23T00:00:00Z"),
            ("0 0 * * 7", "2026-11-23T00:00:00Z", "2026-11-29T00:00:00Z"),
            ("0 0 15W * *", "2026-02-01T00:00:00Z", "2026-02-16T00:00:00Z"),
            ("0 0 1W * *", "2026-07-31T12:00:00Z", "2026-08-03T00:00:00Z"),
            ("0 0 LW * *", "2026-01-31T00:00:00Z", "2026-02-27T00:00:00Z"),
            ("0 0 31W * *", "2026-01-30T12:00:00Z", "2026-03-31T00:00:00Z"),
            ("0 0 13 * +5", "2026-01-01T00:00:00Z", "2026-02-13T00:00:00Z"),
            ("0 0 * * +5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 */10 * 5", "2026-01-09T00:00:00Z", "2026-01-11T00:00:00Z"),
        ];
        for (expr, after, expected) in cases {
            assert_eq!(next(expr, after, "UTC"), expected, "{expr}");
        }
    }

    #[test]
    fn clocks_that_change_do_not_lose_a_day() {
        // 02:30 does not exist on the last Sunday of March.
        let at = next("30 2 * * *", "2027-03-27T12:00:00Z", "Europe/Berlin");
        assert_eq!(at, "2027-03-28T01:30:00Z");
        let at = next("0 9 * * *", "2026-11-22T12:00:00Z", "Europe/Berlin");
        assert_eq!(at, "2026-11-23T08:00:00Z");
        // Times as the reference's library finds them.
        for (expr, after, zone, expected) in [
            ("30 1 * * *", "2026-11-01T05:45:00Z", "America/New_York", "2026-11-02T06:30:00Z"),
            ("*/30 * * * *", "2026-03-08T06:30:00Z", "America/New_York", "2026-03-08T07:00:00Z"),
            ("*/30 * * * *", "2026-03-08T07:30:00Z", "America/New_York", "2026-03-08T08:00:00Z"),
            ("0 2,3 * * *", "2026-03-08T07:00:00Z", "America/New_York", "2026-03-09T06:00:00Z"),
            ("0 0 * * *", "2026-09-05T10:00:00Z", "America/Santiago", "2026-09-06T04:00:00Z"),
            ("15 0 * * *", "2026-09-05T10:00:00Z", "America/Santiago", "2026-09-06T04:15:00Z"),
            ("0 * * * *", "2026-04-04T14:00:00Z", "Australia/Lord_Howe", "2026-04-04T15:30:00Z"),
            ("*/15 2 * * *", "2026-10-03T14:00:00Z", "Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ] {
            assert_eq!(next(expr, after, zone), expected, "{expr} {zone}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_known_words() {
        let parts = Expr::parse("bad").unwrap_err().to_string();
        assert_eq!(
            parts,
            "TypeError: CronPattern: invalid configuration format ('bad'), exactly five, six, or seven space separated parts are required."
        );
        for expr in [
            "60 * * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "* * * * mon#9",
            "0 0 32W * *",
            "0 0 L-2 * *",
        ] {
            assert!(Expr::parse(expr).is_err(), "{expr}");
        }
        assert_eq!(Expr::parse("0 0 30 2 *").unwrap().next_after(0, &TimeZone::UTC), None);
    }
}
