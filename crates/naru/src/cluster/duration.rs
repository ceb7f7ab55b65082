//! Times as people write them: `90s`, `30m`, `1h30m`, `7d`.

use std::time::Duration;

/// Reads a time.
///
/// # Errors
/// Says what is expected.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: expected a time such as 30m, 1h30m or 7d");
    let (mut seconds, mut digits) = (0u64, String::new());
    for letter in text.trim().chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(wrong()),
        };
        let count: u64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        seconds = count.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
    }
    match digits.is_empty() && !text.trim().is_empty() && seconds <= 100 * 365 * 86_400 {
        true => Ok(Duration::from_secs(seconds)),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_read_as_they_are_written() {
        let seconds = |text: &str| super::parse(text).map(|time| time.as_secs());
        assert_eq!((seconds("90s"), seconds("1h30m"), seconds("7d")), (Ok(90), Ok(5_400), Ok(604_800)));
        for wrong in ["", "5", "h", "1x", "-1h", "99999999999999999999h", "200w200w99999w"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
