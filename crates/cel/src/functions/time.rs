//! Parts of times and durations.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Function, Outcome, one};
use crate::error::EvalError;
use crate::types::Sig;
use crate::types::Sig::{Duration, Int, String as Str, Timestamp as Time};
use crate::value::Value;

const PART: &[(&[Sig], Sig)] = &[(&[Time], Int), (&[Time, Str], Int)];
const BOTH: &[(&[Sig], Sig)] = &[(&[Time], Int), (&[Time, Str], Int), (&[Duration], Int)];

macro_rules! part {
    ($name:literal, $overloads:expr, $of:expr) => {
        Function { name: $name, member: true, overloads: $overloads, call: |args| part(args, $of, |_| None), cost: one }
    };
    ($name:literal, $overloads:expr, $of:expr, $of_duration:expr) => {
        Function {
            name: $name,
            member: true,
            overloads: $overloads,
            call: |args| part(args, $of, |length| Some($of_duration(length))),
            cost: one,
        }
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    part!("getFullYear", PART, |time| time.year().into()),
    part!("getMonth", PART, |time| i64::from(time.month()) - 1),
    part!("getDate", PART, |time| time.day().into()),
    part!("getDayOfMonth", PART, |time| i64::from(time.day()) - 1),
    part!("getDayOfWeek", PART, |time| time.weekday().to_sunday_zero_offset().into()),
    part!("getDayOfYear", PART, |time| i64::from(time.day_of_year()) - 1),
    part!("getHours", BOTH, |time| time.hour().into(), |length: SignedDuration| length.as_hours()),
    part!("getMinutes", BOTH, |time| time.minute().into(), |length: SignedDuration| length.as_mins()),
    part!("getSeconds", BOTH, |time| time.second().into(), |length: SignedDuration| length.as_secs()),
    part!("getMilliseconds", BOTH, |time| time.millisecond().into(), |length: SignedDuration| length.as_millis()
        as i64),
];

fn part(args: &[Value], of: fn(&Zoned) -> i64, of_duration: fn(SignedDuration) -> Option<i64>) -> Outcome {
    let value = match args {
        [Value::Timestamp(time)] => Some(of(&time.to_zoned(TimeZone::UTC))),
        [Value::Timestamp(time), Value::String(zone)] => Some(of(&in_zone(*time, zone)?)),
        [Value::Duration(length)] => of_duration(*length),
        _ => None,
    };
    value.map(Value::Int).ok_or_else(EvalError::no_overload)
}

fn in_zone(time: Timestamp, zone: &str) -> Result<Zoned, EvalError> {
    let fixed = || {
        let (negative, rest) = match zone.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, zone.strip_prefix('+').unwrap_or(zone)),
        };
        let (hours, minutes) = rest.split_once(':')?;
        let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
        Some(TimeZone::fixed(Offset::from_seconds(if negative { -seconds } else { seconds }).ok()?))
    };
    let zone = fixed().map_or_else(|| TimeZone::get(zone), Ok);
    zone.map(|zone| time.to_zoned(zone)).map_err(|error| EvalError::new(error.to_string()))
}

/// A length of time as Go reads it: numbers with units, `1h30m`, `1.5s`; `None` for other text.
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len())),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let units: [(&str, i128); 8] = [
            ("ns", 1),
            ("us", 1_000),
            ("µs", 1_000),
            ("μs", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
        ];
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, scale) = units.into_iter().find(|(name, _)| *name == unit)?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        if !fraction.is_empty() {
            let digits: String = fraction.chars().take(18).collect();
            total = total.checked_add(digits.parse::<i128>().ok()? * scale / 10i128.pow(digits.len() as u32))?;
        }
        rest = after;
    }
    let total = i64::try_from(if negative { -total } else { total }).ok()?;
    Some(SignedDuration::from_nanos(total))
}

/// In seconds, as CEL writes it: `90s`, `0.5s`.
pub(crate) fn duration_text(length: SignedDuration) -> String {
    let (seconds, rest) = (length.as_secs(), length.subsec_nanos());
    if rest == 0 {
        return format!("{seconds}s");
    }
    let sign = if length.is_negative() { "-" } else { "" };
    let fraction = format!("{:09}", rest.abs());
    format!("{sign}{}.{}s", seconds.abs(), fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, expected) in [
            ("1h30m", Some("5400s")),
            ("1.5s", Some("1.5s")),
            ("-250ms", Some("-0.25s")),
            ("100us", Some("0.0001s")),
            ("0", Some("0s")),
            ("", None),
            ("5", None),
            ("1d", None),
            (".s", None),
            ("9999999h", None),
        ] {
            assert_eq!(parse_duration(text).map(duration_text).as_deref(), expected, "{text}");
        }
    }
}
