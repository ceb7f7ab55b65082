//! Spans of time as people read them.

use jiff::Timestamp;

/// The span from `then` to `now` in at most two units: `5m3s`, `3h`, `2d4h`, `1y20d`.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - then.as_second();
    span(seconds)
}

/// A number of seconds in at most two units.
pub(super) fn span(seconds: i64) -> String {
    // Clocks of two machines may differ by a second.
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |a: i64, unit: &str, b: i64, smaller: &str| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{smaller}") }
    };
    if seconds < 120 {
        return format!("{seconds}s");
    }
    if minutes < 180 {
        return if minutes < 10 { two(minutes, "m", seconds % 60, "s") } else { format!("{minutes}m") };
    }
    match hours {
        0..8 => two(hours, "h", minutes % 60, "m"),
        8..48 => format!("{hours}h"),
        48..192 => two(hours / 24, "d", hours % 24, "h"),
        192..17_520 => format!("{}d", hours / 24),
        17_520..70_080 => two(hours / 8760, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 8760),
    }
}
