//! Schedules: five fields (minute, hour, day of month, month, day of week) or a macro such as `@daily`.

use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// How far ahead to look for a time: leap days come at least that often.
const YEARS: i16 = 9;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both kinds of day are restricted: either will do.
    either_day: bool,
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// Which field cannot be read, in words for people.
    pub(super) fn parse(text: &str) -> Result<Schedule, String> {
        let expanded = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = expanded.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("schedule {text:?}: expected five fields or a macro such as @daily"));
        };
        let open = |field: &str| field.starts_with('*') || field.starts_with('?');
        let named = |problem: String| format!("schedule {text:?}: {problem}");
        let weekdays = field(weekday, "day of week", 0, 7, &DAYS).map_err(named)?;
        Ok(Schedule {
            minutes: field(minute, "minute", 0, 59, &[]).map_err(named)?,
            hours: field(hour, "hour", 0, 23, &[]).map_err(named)?,
            days: field(day, "day of month", 1, 31, &[]).map_err(named)?,
            months: field(month, "month", 1, 12, &MONTHS).map_err(named)?,
            // Sunday is both 0 and 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !open(day) && !open(weekday),
        })
    }

    /// The first time after `after` in this zone; none if there is none, as for a 30th of February. A time that the
    /// clocks skip counts as the moment after they have.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = after.to_zoned(zone.clone()).datetime();
        let mut at = floor_minute(start).checked_add(1.minute()).ok()?;
        let last = at.year().saturating_add(YEARS);
        while at.year() <= last {
            at = if !has(self.months, at.month()) {
                first_of_next_month(at)?
            } else if !self.has_day(at) {
                at.date().tomorrow().ok()?.at(0, 0, 0, 0)
            } else if !has(self.hours, at.hour()) {
                at.date().at(at.hour(), 0, 0, 0).checked_add(1.hour()).ok()?
            } else if !has(self.minutes, at.minute()) {
                at.checked_add(1.minute()).ok()?
            } else {
                let found = zone.to_timestamp(at).ok()?;
                if found > after {
                    return Some(found);
                }
                // The clocks went back over this time: it has been.
                at.checked_add(1.minute()).ok()?
            };
        }
        None
    }

    fn has_day(&self, at: DateTime) -> bool {
        let day = has(self.days, at.day());
        let weekday = has(self.weekdays, at.date().weekday().to_sunday_zero_offset());
        debug_assert_eq!(Weekday::Sunday.to_sunday_zero_offset(), 0);
        if self.either_day { day || weekday } else { day && weekday }
    }
}

fn has(set: u64, value: i8) -> bool {
    set >> value & 1 == 1
}

fn floor_minute(at: DateTime) -> DateTime {
    at.date().at(at.hour(), at.minute(), 0, 0)
}

fn first_of_next_month(at: DateTime) -> Option<DateTime> {
    Some(at.date().last_of_month().tomorrow().ok()?.at(0, 0, 0, 0))
}

/// Reads `*`, `a`, `a-b`, each with `/step`, and lists of them, as a set of bits.
fn field(text: &str, what: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let refuse = |part: &str| format!("{what} {part:?} is not a number, name, range or step within {least}-{most}");
    let number = |word: &str| -> Option<u32> {
        let named = names.iter().position(|name| word.eq_ignore_ascii_case(name)).map(|at| at as u32);
        // Months are counted from 1, days of the week from 0.
        named.map(|at| at + least).or_else(|| word.parse().ok()).filter(|n| (least..=most).contains(n))
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0).ok_or_else(|| refuse(part))?),
            None => (part, 1_usize),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (least, most),
            Some((first, last)) => number(first).zip(number(last)).ok_or_else(|| refuse(part))?,
            None => {
                let only = number(range).ok_or_else(|| refuse(part))?;
                // `5/10` begins at 5 and has no end.
                (only, if part.contains('/') { most } else { only })
            }
        };
        if first > last {
            return Err(refuse(part));
        }
        (first..=last).step_by(step).for_each(|value| set |= 1 << value);
    }
    Ok(set)
}
