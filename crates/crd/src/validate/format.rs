//! Formats of text.
//!
//! A format that nobody knows says nothing about a text, as everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

/// Whether a text is of a format.
pub(crate) fn holds(format: &str, text: &str) -> bool {
    match format {
        "bsonobjectid" => text.len() == 24 && is_hex(text),
        "byte" => bytes(text).is_some(),
        "cidr" => is_cidr(text),
        "creditcard" => is_card(text),
        "date" => date(text).is_some(),
        "date-time" | "datetime" => is_date_time(text),
        "duration" => duration(text).is_some(),
        "email" => is_email(text),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && is_hex(digits)
        }
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "k8s-long-name" => text.len() <= 253 && text.split('.').all(is_label),
        "k8s-short-name" => text.len() <= 63 && is_label(text),
        "mac" => is_mac(text),
        "rgbcolor" => is_rgb(text),
        "ssn" => is_ssn(text),
        "uri" => is_uri(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        _ => true,
    }
}

/// The bytes of base64 text.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A day.
pub(crate) fn date(text: &str) -> Option<Date> {
    let digits = text.len() == 10 && text.bytes().enumerate().all(|(at, b)| matches!(at, 4 | 7) == (b == b'-'));
    text.parse().ok().filter(|_| digits)
}

/// A point in time.
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    is_date_time(text).then(|| text.parse().ok())?
}

/// Whether a text is a time stamp such as `2006-01-02T15:04:05Z`.
pub(crate) fn is_date_time(text: &str) -> bool {
    let Some((day, rest)) = text.split_once(['T', 't']) else { return false };
    let (Some(_), Some(clock)) = (date(day), rest.get(..8)) else { return false };
    let part = |range: std::ops::Range<usize>, most: u32| {
        let digits = &clock[range];
        digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse().is_ok_and(|n: u32| n <= most)
    };
    let fits = clock.is_ascii() && part(0..2, 23) && part(3..5, 59) && part(6..8, 59);
    let zone = rest[8..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let fraction = &rest[8..rest.len() - zone.len()];
    let offset = |sign: char| {
        zone.strip_prefix(sign).is_some_and(|z| {
            z.len() == 5 && z.as_bytes()[2] == b':' && z.bytes().filter(u8::is_ascii_digit).count() == 4
        })
    };
    fits && clock.as_bytes()[2] == b':'
        && clock.as_bytes()[5] == b':'
        && (fraction.is_empty() || (fraction.starts_with('.') && fraction.len() > 1 && !fraction[1..].contains('.')))
        && (matches!(zone, "Z" | "z") || offset('+') || offset('-'))
}

/// A length of time, in the units of programs (`1h30m`) or of people (`2 days`).
pub(crate) fn duration(text: &str) -> Option<SignedDuration> {
    const UNITS: [(&[&str], i128); 8] = [
        (&["ns", "nano", "nanosecond"], 1),
        (&["us", "µs", "μs", "micro", "microsecond"], 1_000),
        (&["ms", "milli", "millisecond"], 1_000_000),
        (&["s", "sec", "second"], 1_000_000_000),
        (&["m", "min", "minute"], 60 * 1_000_000_000),
        (&["h", "hr", "hour"], 3_600 * 1_000_000_000),
        (&["d", "day"], 24 * 3_600 * 1_000_000_000),
        (&["w", "wk", "week"], 7 * 24 * 3_600 * 1_000_000_000),
    ];
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
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let known =
            |name: &&str| *name == unit || unit.strip_suffix('s').is_some_and(|one| one.len() > 1 && *name == one);
        let (_, scale) = UNITS.iter().find(|(names, _)| names.iter().any(&known))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*scale)?)?;
        let fraction: String = fraction.chars().take(18).collect();
        if !fraction.is_empty() {
            total = total.checked_add(fraction.parse::<i128>().ok()? * scale / 10i128.pow(fraction.len() as u32))?;
        }
        rest = after.trim_start();
    }
    let total = i64::try_from(if negative { -total } else { total }).ok()?;
    Some(SignedDuration::from_nanos(total))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_label(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let plain = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    plain && length.parse().is_ok_and(|length: u8| length <= most)
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_digit(10).unwrap_or(10)).collect()
}

fn is_card(text: &str) -> bool {
    let digits = digits(text);
    if !(12..=19).contains(&digits.len()) || digits.contains(&10) {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_isbn10(text: &str) -> bool {
    let text = text.replace(['-', ' '], "");
    if text.len() != 10 || !text.is_ascii() {
        return false;
    }
    let digit = |(at, c): (usize, char)| match c {
        'X' | 'x' if at == 9 => Some(10),
        c => c.to_digit(10),
    };
    let digits: Option<Vec<u32>> = text.chars().enumerate().map(digit).collect();
    digits.is_some_and(|d| d.iter().zip(1..).map(|(digit, place)| digit * place).sum::<u32>().is_multiple_of(11))
}

fn is_isbn13(text: &str) -> bool {
    let digits = digits(text);
    digits.len() == 13
        && !digits.contains(&10)
        && digits.iter().enumerate().map(|(at, d)| if at % 2 == 0 { *d } else { d * 3 }).sum::<u32>().is_multiple_of(10)
}

fn is_ssn(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let marks: Vec<usize> = text.char_indices().filter(|(_, c)| matches!(c, '-' | ' ')).map(|(at, _)| at).collect();
    plain.len() == 9 && plain.bytes().all(|b| b.is_ascii_digit()) && matches!(marks.as_slice(), [] | [3] | [3, 6] | [5])
}

fn is_rgb(text: &str) -> bool {
    let inner = text.strip_prefix("rgb(").and_then(|t| t.strip_suffix(')'));
    inner.is_some_and(|inner| {
        let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
        parts.len() == 3 && parts.iter().all(|p| p.parse::<u8>().is_ok())
    })
}

fn is_mac(text: &str) -> bool {
    let parts = |mark: char, width: usize| {
        let parts: Vec<&str> = text.split(mark).collect();
        let fits = parts.iter().all(|p| p.len() == width && is_hex(p));
        (fits && parts.len() > 1).then_some(parts.len() * width / 2)
    };
    let length = parts(':', 2).or_else(|| parts('-', 2)).or_else(|| parts('.', 4));
    matches!(length, Some(6 | 8 | 20))
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let marked =
        text.len() == 32 || (text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-'));
    let of = |at: usize| plain.chars().nth(at).unwrap_or_default().to_ascii_lowercase();
    let fits = match version {
        None => true,
        Some('3') => of(12) == '3',
        Some(version) => of(12) == version && matches!(of(16), '8' | '9' | 'a' | 'b'),
    };
    plain.len() == 32 && is_hex(&plain) && marked && fits
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty() && text.len() <= 255 && text.split('.').all(label)
}

fn is_email(text: &str) -> bool {
    let address = match (text.find('<'), text.strip_suffix('>')) {
        (Some(begin), Some(inner)) => &inner[begin + 1..],
        (None, None) => text,
        _ => return false,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let atom = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let plain = !local.is_empty() && local.chars().all(atom) && !local.starts_with('.') && !local.ends_with('.');
    (quoted || plain) && !local.contains("..") && (is_hostname(domain) || domain.starts_with('['))
}

fn is_uri(text: &str) -> bool {
    if text.bytes().any(|b| b.is_ascii_control()) || text.contains(' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let mut letters = scheme.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && !rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_of_a_format_or_not() {
        for (format, good, bad) in [
            (
                "date-time",
                &["2026-01-02T03:04:05Z", "2026-01-02t03:04:05.123+01:00"][..],
                &["2026-01-02", "2026-13-02T03:04:05Z", "2026-01-02T24:04:05Z", "2026-01-02T03:04:05", "x"][..],
            ),
            ("date", &["2026-02-28"], &["2026-02-30", "2026-2-3", "20260228"]),
            ("duration", &["1h30m", "1.5s", "-2ms", "2 days", "1 hour 3 mins", "0"], &["", "5", "1 parsec", "h"]),
            ("ipv4", &["10.0.0.1"], &["::1", "10.0.0.256"]),
            ("ipv6", &["::1"], &["10.0.0.1"]),
            ("cidr", &["10.0.0.0/8", "fd00::/64"], &["10.0.0.0/33", "10.0.0.0", "10.0.0.0/+8"]),
            ("mac", &["01:23:45:67:89:ab", "0123.4567.89ab"], &["01:23:45", "01:23:45:67:89:zz"]),
            ("uuid", &["f47ac10b-58cc-4372-a567-0e02b2c3d479"], &["f47ac10b", "f47ac10b-58cc-4372-a567-0e02b2c3d47g"]),
            ("uuid4", &["f47ac10b-58cc-4372-a567-0e02b2c3d479"], &["f47ac10b-58cc-3372-a567-0e02b2c3d479"]),
            ("email", &["a@b.c", "Ann <a@b.c>"], &["a", "a@", "@b", "a b@c"]),
            ("uri", &["http://a/b?c", "/path", "urn:x"], &["a b", "", "path"]),
            ("hostname", &["a.example.com"], &["-a.b", "", "a..b"]),
            ("byte", &["aGVsbG8=", ""], &["a", "???"]),
            ("isbn", &["0-306-40615-2", "978-0-306-40615-7"], &["0-306-40615-3"]),
            ("creditcard", &["4111 1111 1111 1111"], &["4111 1111 1111 1112", "411"]),
            ("ssn", &["123-45-6789"], &["12-345-6789", "123"]),
            ("hexcolor", &["#fff", "a0b1c2"], &["#ggg", "#ffff"]),
            ("rgbcolor", &["rgb(1, 2,255)"], &["rgb(1,2)", "rgb(1,2,256)"]),
            ("bsonobjectid", &["507f1f77bcf86cd799439011"], &["507f"]),
            ("k8s-short-name", &["web-1"], &["Web", "a.b"]),
            ("k8s-long-name", &["a.b-c"], &["a..b", "A"]),
            ("made-up", &["anything"], &[]),
        ] {
            for text in good {
                assert!(holds(format, text), "{text:?} is a {format}");
            }
            for text in bad {
                assert!(!holds(format, text), "{text:?} is no {format}");
            }
        }
    }

    #[test]
    fn lengths_of_time_are_read() {
        for (text, seconds) in [("1h30m", 5400.0), ("-1.5s", -1.5), ("2 days", 172_800.0), ("1w", 604_800.0)] {
            assert_eq!(duration(text).map(|d| d.as_secs_f64()), Some(seconds), "{text}");
        }
        assert_eq!(duration("99999999999999999999h"), None);
    }
}
