//! Byte sizes and time spans as Compose writes them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, written `67108864`, `64m`, `64MB`, `1.5g`; units are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub i64);

/// A time span, written `1m30s`, `500ms`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

impl Size {
    /// Reads a size; `-1` (no limit) is taken.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let power = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            "p" => 5,
            _ => return None,
        };
        let bytes = number.parse::<f64>().ok()? * 1024f64.powi(power);
        ((-1.0..9e18).contains(&bytes)).then_some(Self(bytes as i64))
    }
}

impl Span {
    /// Reads a time span. Units: us, ms, s, m, h, d, w.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut nanos = 0f64;
        if rest.is_empty() {
            return None;
        }
        if rest == "0" {
            return Some(Self::default());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
            let number: f64 = rest[..digits].parse().ok()?;
            let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| digits + n);
            nanos += number
                * match &rest[digits..unit] {
                    "ns" => 1.0,
                    "us" | "µs" => 1e3,
                    "ms" => 1e6,
                    "s" => 1e9,
                    "m" => 60e9,
                    "h" => 3_600e9,
                    "d" => 86_400e9,
                    "w" => 604_800e9,
                    _ => return None,
                };
            rest = &rest[unit..];
        }
        (nanos < 1.8e19).then(|| Self(Duration::from_nanos(nanos as u64)))
    }

    /// Whole seconds, rounded up, so that a short span does not become none.
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if nanos == 0 {
            write!(f, "{rest}s")
        } else if seconds == 0 {
            write!(f, "{}ms", f64::from(nanos) / 1e6)
        } else {
            write!(f, "{}s", rest as f64 + f64::from(nanos) / 1e9)
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not a size")))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not a time span")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1024", 1024),
            ("1b", 1),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("-1", -1),
        ] {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        for text in ["", "m", "1x", "1 0m", "--1"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }

    #[test]
    fn spans() {
        for (text, millis) in
            [("1m30s", 90_000), ("500ms", 500), ("1.5s", 1_500), ("0", 0), ("0s", 0), ("1h", 3_600_000)]
        {
            assert_eq!(Span::parse(text), Some(Span(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "10", "s", "1x", "-1s"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
        for text in ["1m30s", "500ms", "1.5s", "1h0m0s", "10s"] {
            assert_eq!(Span::parse(text).expect("a span").to_string(), text);
        }
    }
}
