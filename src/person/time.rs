//! Moments in microseconds, the resolution of every time in the product.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use speedate::{MicrosecondsPrecisionOverflowBehavior, TimeConfig};

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// Truncates nanoseconds instead of rejecting them.
const TRUNCATE: TimeConfig = TimeConfig {
    microseconds_precision_overflow_behavior: MicrosecondsPrecisionOverflowBehavior::Truncate,
    unix_timestamp_offset: None,
};

/// The first moment of the year 0.
const YEAR_0: i64 = -62_167_219_200_000_000;

/// The first moment of the year 10000.
const YEAR_10000: i64 = 253_402_300_800_000_000;

const HOUR: i64 = 3_600_000_000;

/// A day in microseconds.
pub const DAY: i64 = 24 * HOUR;

impl Time {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// Later than every time that a record can carry.
    pub const MAX: Self = Self(i64::MAX);

    /// Returns the time that is this long after the Unix epoch.
    #[must_use]
    pub fn after_epoch(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }

    /// Parses RFC 3339 and ISO 8601. Without an offset the time is UTC; a date alone is its midnight. Returns
    /// `None` for anything else, including years outside 0..=9999.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_any(text).filter(|time| time.is_writable())
    }

    /// Parses like [`Time::parse`], but for a text from a URL, where the `+` of an
    /// offset may have become a space.
    #[must_use]
    pub fn parse_from_url(text: &str) -> Option<Self> {
        let text = text.trim();
        let plus = text.rsplit_once(' ').map(|(moment, offset)| format!("{moment}+{offset}"));
        // `2026-03-01 12:00` has no offset: with a `+` it does not parse, so it is parsed as it is.
        plus.and_then(|plus| Self::parse(&plus)).or_else(|| Self::parse(text))
    }

    /// Parses like [`Time::parse`], but accepts times outside the years 0..=9999, whether written so or moved
    /// there by an offset. Such a time is not [writable](Time::is_writable).
    #[must_use]
    pub fn parse_any(text: &str) -> Option<Self> {
        let text = text.trim();
        let Some((year, rest)) = long_year(text) else {
            return Self::parse_usual(text);
        };
        match u16::try_from(year) {
            Ok(year @ 0..=9999) => Self::parse_usual(&format!("{year:04}{rest}")),
            // 2000 is a leap year, so every valid month and day parses.
            _ => Self::parse_usual(&format!("2000{rest}"))
                .map(|_| Self(if year < 0 { i64::MIN } else { i64::MAX })),
        }
    }

    fn parse_usual(text: &str) -> Option<Self> {
        let text = whole_offset(text);
        let bytes = text.as_bytes();
        if let Ok(moment) = speedate::DateTime::parse_bytes_rfc3339_with_config(bytes, &TRUNCATE) {
            let time = moment.timestamp_tz() * 1_000_000 + i64::from(moment.time.microsecond);
            return Some(Self(time));
        }
        let date = speedate::Date::parse_str_rfc3339(&text).ok()?;
        Some(Self(date.timestamp() * 1_000_000))
    }

    /// Returns whether the year is one that RFC 3339 can write, 0..=9999.
    #[must_use]
    pub fn is_writable(self) -> bool {
        (YEAR_0..YEAR_10000).contains(&self.0)
    }

    /// Converts epoch milliseconds, as Kafka uses them. A time that RFC 3339 cannot write
    /// becomes the nearest that it can.
    #[must_use]
    pub fn from_milliseconds(milliseconds: i64) -> Self {
        Self(milliseconds.saturating_mul(1000).clamp(YEAR_0, YEAR_10000 - 1))
    }

    /// Returns the beginning of this clock hour (UTC).
    #[must_use]
    pub fn floor_to_hour(self) -> Self {
        Self(self.0.div_euclid(HOUR).saturating_mul(HOUR))
    }

    /// Returns this moment moved by some microseconds, saturating at the limits of `i64`.
    #[must_use]
    pub fn plus(self, microseconds: i64) -> Self {
        Self(self.0.saturating_add(microseconds))
    }
}

/// Splits off a year of more than four digits from what follows it. ISO 8601 and JavaScript write such a year
/// with a sign and six digits.
fn long_year(text: &str) -> Option<(i64, &str)> {
    let digits = text.trim_start_matches(['+', '-']);
    let length = digits.find(|it: char| !it.is_ascii_digit()).filter(|length| *length > 4)?;
    let (year, rest) = text.split_at(text.len() - digits.len() + length);
    Some((year.parse().ok()?, rest)).filter(|(_, rest)| rest.starts_with('-'))
}

/// Completes an offset without minutes, which ISO 8601 allows and databases write.
fn whole_offset(text: &str) -> Cow<'_, str> {
    let of_hours = |(rest, offset): (&str, &str)| {
        let digits = offset.strip_prefix(['+', '-'])?;
        let is_whole = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        (is_whole && rest.contains(':')).then(|| format!("{text}:00"))
    };
    let split = text.len().checked_sub(3).and_then(|at| text.split_at_checked(at));
    split.and_then(of_hours).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Writes RFC 3339 in UTC, ending in `Z`; microseconds only if they are not zero.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(moment) = DateTime::from_timestamp_micros(self.0) else {
            return write!(f, "{} µs", self.0);
        };
        let format =
            if self.0 % 1_000_000 == 0 { SecondsFormat::Secs } else { SecondsFormat::Micros };
        f.write_str(&moment.to_rfc3339_opts(format, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        Time::parse(text).map(|time| time.to_string())
    }

    #[test]
    fn reads_what_people_and_sdks_write() {
        for (text, expected) in [
            ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
            ("2026-03-01T12:00:00.5+02:00", "2026-03-01T10:00:00.500000Z"),
            ("2026-03-01T12:00:00.123456789Z", "2026-03-01T12:00:00.123456Z"),
            ("2026-03-01 12:00", "2026-03-01T12:00:00Z"),
            ("2026-03-01 12:00:00+00", "2026-03-01T12:00:00Z"),
            ("2026-03-01T12:00:00.25-05", "2026-03-01T17:00:00.250000Z"),
            ("2026-03-01", "2026-03-01T00:00:00Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("+002026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_year_of_more_digits_is_a_time_that_is_not_writable() {
        for text in [
            "+057042-03-01T00:00:00.000Z",
            "-000001-02-29T00:00:00Z",
            "+275760-09-13",
            "10000-01-01T00:00:00Z",
        ] {
            assert!(!Time::parse_any(text).unwrap().is_writable(), "{text}");
            assert_eq!(Time::parse(text), None, "{text}");
        }
        for text in
            ["+057042-13-01T00:00:00Z", "--57042-03-01", "57042", "+-00057042-03-01", "-2026-03-01"]
        {
            assert_eq!(Time::parse_any(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "yesterday",
            "1700000000",
            "2026-13-01",
            "12026-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn a_blank_before_an_offset_was_a_plus() {
        for (text, expected) in [
            ("2026-03-01T12:00:00 02:00", Some("2026-03-01T10:00:00Z")),
            ("2026-03-01T12:00:00.5 0200", Some("2026-03-01T10:00:00.500000Z")),
            ("2026-03-01T12:00:00 02 ", Some("2026-03-01T10:00:00Z")),
            ("2026-03-01 12:00 02:00", Some("2026-03-01T10:00:00Z")),
            ("2026-03-01 12:00 0200", Some("2026-03-01T10:00:00Z")),
            ("2026-03-01 12:00 02", Some("2026-03-01T10:00:00Z")),
            ("2026-03-01 12:00", Some("2026-03-01T12:00:00Z")),
            ("2026-03-01 12:00:00.25", Some("2026-03-01T12:00:00.250000Z")),
            ("2026-03-01 12:00:00Z", Some("2026-03-01T12:00:00Z")),
            ("2026-03-01T12:00:00+02:00", Some("2026-03-01T10:00:00Z")),
            ("2026-03-01 12:00-02", Some("2026-03-01T14:00:00Z")),
            ("2026-03-01", Some("2026-03-01T00:00:00Z")),
            ("2026-03-01 1200", None),
            ("2026-03-01 02", None),
            ("2026-03-01T12:00:00 2", None),
            ("2026-03-01T12:00:00Z 02", None),
        ] {
            let shown = Time::parse_from_url(text).map(|time| time.to_string());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
        assert_eq!(
            Time::parse("2026-03-01T12:00:00 02:00"),
            None,
            "an event is written as it is meant"
        );
    }

    #[test]
    fn floors_to_the_hour_before_the_epoch_too() {
        assert_eq!(Time(-1).floor_to_hour(), Time(-HOUR));
        assert_eq!(Time(HOUR + 1).floor_to_hour(), Time(HOUR));
        assert_eq!(Time(i64::MIN).floor_to_hour(), Time(i64::MIN));
    }

    #[test]
    fn milliseconds_stay_writable() {
        for (milliseconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Time::from_milliseconds(milliseconds).to_string(), shown);
        }
    }
}
