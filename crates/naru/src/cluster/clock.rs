//! Clocks of machines, compared.

use jiff::Timestamp;
use serde_json::Value;

/// By how much a machine's clock may differ from the server's when it joins, in seconds: certificates are signed for so much
/// before their time.
pub(crate) const JOINING: i64 = 300;
/// By how much it may differ later before it is told, in seconds: less than what would be refused, more than the time for
/// which news may be under way.
pub(crate) const TOLD: i64 = 60;

/// How a clock (`here`) stands to another (`there`), in words that go before that one's name, where they differ by more
/// than `limit` seconds.
pub(crate) fn difference(there: Timestamp, here: Timestamp, limit: i64) -> Option<String> {
    let ahead = here.as_second() - there.as_second();
    let text = |seconds: i64| match seconds {
        s if s < 120 => format!("{s} seconds"),
        s if s < 7_200 => format!("{} minutes", s / 60),
        s if s < 172_800 => format!("{} hours", s / 3_600),
        s => format!("{} days", s / 86_400),
    };
    match ahead {
        ahead if ahead > limit => Some(format!("{} ahead of", text(ahead))),
        ahead if ahead < -limit => Some(format!("{} behind", text(-ahead))),
        _ => None,
    }
}

/// How this machine's clock stands to that of the server that says of its cluster `about`.
pub(crate) fn difference_to(about: &Value, limit: i64) -> Option<String> {
    let there = about["time"].as_str()?.parse::<Timestamp>().ok()?;
    difference(there, Timestamp::now(), limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_the_limit() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert_eq!(difference(at(10_000), at(10_300), JOINING), None);
        assert_eq!(difference(at(10_000), at(9_700), JOINING), None);
        assert_eq!(difference(at(10_000), at(10_301), JOINING).as_deref(), Some("5 minutes ahead of"));
        assert_eq!(difference(at(10_000), at(2_799), JOINING).as_deref(), Some("2 hours behind"));
        assert_eq!(difference(at(10_000), at(9_939), TOLD).as_deref(), Some("61 seconds behind"));
    }
}
