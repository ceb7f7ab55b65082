//! The form of cron schedules.

/// Checks `minute hour day month weekday`, or `@hourly` and its kin.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if let Some(word) = schedule.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        let every = word.strip_prefix("every ").is_some_and(is_span);
        return if known.contains(&word) || every { Ok(()) } else { Err(format!("unrecognized descriptor: @{word}")) };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: {fields:?}", fields.len()));
    }
    const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let ranges: [(u32, u32, &[&str]); 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, MONTHS), (0, 7, DAYS)];
    for (field, (low, high, words)) in fields.into_iter().zip(ranges) {
        for part in field.split(',') {
            part_in(part, low, high, words)
                .ok_or_else(|| format!("{field:?} is no list of numbers, ranges or steps from {low} to {high}"))?;
        }
    }
    Ok(())
}

fn part_in(part: &str, low: u32, high: u32, words: &[&str]) -> Option<()> {
    let range = match part.split_once('/') {
        Some((range, step)) => {
            step.parse::<u32>().ok().filter(|s| *s > 0)?;
            range
        }
        None => part,
    };
    if matches!(range, "*" | "?") {
        return Some(());
    }
    let number = |text: &str| -> Option<u32> {
        let lower = text.to_lowercase();
        let word = words.iter().position(|w| *w == lower).and_then(|i| u32::try_from(i).ok()).map(|i| i + low);
        word.or_else(|| text.parse().ok()).filter(|n| (low..=high).contains(n))
    };
    let (from, to) = match range.split_once('-') {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(range)?, high),
    };
    (from <= to).then_some(())
}

/// A span such as `1h30m`.
fn is_span(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        if digits == 0 || !matches!(&rest[digits..digits + unit], "h" | "m" | "s" | "ms") {
            return false;
        }
        rest = &rest[digits + unit..];
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn forms() {
        for fine in ["* * * * *", "*/5 0-6 1,15 JAN-mar MON", "0 3 ? * 7", "@hourly", "@every 1h30m"] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for wrong in
            ["", "* * * *", "60 * * * *", "* 24 * * *", "5-1 * * * *", "*/0 * * * *", "a * * * *", "@never", "@every x"]
        {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
