//! Quantities (`500m`, `1.5Gi`): parsed, compared and written exactly as Kubernetes does.
//!
//! A quantity is kept as a whole number of billionths, which is the smallest step Kubernetes knows, so arithmetic and
//! comparison are exact. Floating point is refused: `0.1` must stay `100m`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// The largest magnitude, 2^63-1 whole units; greater values are cut to it, as Kubernetes does.
const MAX: i128 = i64::MAX as i128 * NANO;

/// How a quantity was written, which is how it is written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `1500m`, `2k`, `3G`.
    #[default]
    DecimalSi,
    /// `512Mi`.
    BinarySi,
    /// `1e3`.
    DecimalExponent,
}

/// An exact decimal number with a unit suffix.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// The text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

impl Quantity {
    /// A whole number of units, written decimally.
    pub fn from_units(units: i64) -> Quantity {
        Quantity { nano: i128::from(units) * NANO, format: Format::DecimalSi }
    }

    /// A whole number of thousandths, written decimally (`250` is `250m`).
    pub fn from_milli(milli: i64) -> Quantity {
        Quantity { nano: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// A number of bytes, written with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Quantity {
        Quantity { nano: i128::from(bytes) * NANO, format: Format::BinarySi }
    }

    /// Parses a quantity.
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError);
        }
        let (base, exponent, format) = scale(suffix)?;
        let nano = magnitude(whole, fraction, base, exponent);
        let nano = nano.min(MAX);
        Ok(Quantity { nano: if negative { -nano } else { nano }, format })
    }

    /// Whole units, rounded away from zero.
    pub fn value(&self) -> i64 {
        clamp(div_up(self.nano, NANO))
    }

    /// Thousandths, rounded away from zero.
    pub fn milli(&self) -> i64 {
        clamp(div_up(self.nano, NANO / 1000))
    }

    /// Whether it is exactly zero.
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(&self) -> bool {
        self.nano % NANO == 0
    }

    /// How it was written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The sum, cut to the largest magnitude, in the format of `self`.
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nano: (self.nano + other.nano).clamp(-MAX, MAX), format }
    }

    /// The difference, cut to the largest magnitude, in the format of `self`.
    pub fn minus(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nano: (self.nano - other.nano).clamp(-MAX, MAX), format }
    }
}

/// Base, exponent and format of a suffix.
fn scale(suffix: &str) -> Result<(i128, i32, Format), QuantityError> {
    let decimal = |exponent| Ok((10, exponent, Format::DecimalSi));
    let binary = |exponent| Ok((2, exponent, Format::BinarySi));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        other => {
            let exponent = other.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
            let exponent = exponent.parse::<i32>().map_err(|_| QuantityError)?;
            Ok((10, exponent, Format::DecimalExponent))
        }
    }
}

/// Billionths of `whole.fraction × base^exponent`, rounded up, cut to [`MAX`].
fn magnitude(whole: &str, fraction: &str, base: i128, exponent: i32) -> i128 {
    let digits = || whole.bytes().chain(fraction.bytes()).map(|b| i128::from(b - b'0')).skip_while(|d| *d == 0);
    if base == 2 {
        // Digits beyond the 20th after the point cannot change a multiple of 2^-60 by a billionth after rounding up.
        let (mut number, mut scale, mut seen, mut rest) = (0i128, 0i32, 0, false);
        for (i, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
            if seen < 20 {
                number = number * 10 + i128::from(digit - b'0');
                seen += usize::from(number != 0);
                scale += i32::from(i >= whole.len());
            } else if i < whole.len() {
                return MAX;
            } else {
                rest |= digit != b'0';
            }
        }
        return binary(number, scale, exponent, rest);
    }
    // The decimal point moves: 10^(exponent + 9) billionths.
    let shift = i64::from(exponent) + 9 - i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let count = i64::try_from(digits().count()).unwrap_or(i64::MAX);
    if count == 0 {
        return 0;
    }
    if count.saturating_add(shift) > 30 {
        return MAX;
    }
    let keep = if shift >= 0 { count } else { (count + shift).max(0) };
    let (mut number, mut rest) = (0i128, false);
    for (i, digit) in digits().enumerate() {
        if i64::try_from(i).unwrap_or(i64::MAX) < keep {
            number = number * 10 + digit;
        } else {
            rest |= digit != 0;
        }
    }
    let number = if shift > 0 { number * 10i128.pow(u32::try_from(shift).unwrap_or(0)) } else { number };
    number + i128::from(rest)
}

/// Billionths of `number / 10^scale × 2^exponent`, rounded up.
fn binary(number: i128, scale: i32, exponent: i32, rest: bool) -> i128 {
    let mut number = number;
    let (mut tens, mut inexact) = (scale, rest);
    // number × 10^9 × 2^exponent / 10^scale, dividing late where it fits and early where it must.
    let mut nines = 9;
    while tens > 0 && nines > 0 {
        tens -= 1;
        nines -= 1;
    }
    number = match number.checked_mul(10i128.pow(nines)) {
        Some(n) => n,
        None => return MAX,
    };
    for _ in 0..exponent {
        match number.checked_mul(2) {
            Some(n) => number = n,
            None if tens > 0 => {
                inexact |= number % 10 != 0;
                number = number / 10 * 2;
                tens -= 1;
            }
            None => return MAX,
        }
    }
    for _ in 0..tens {
        inexact |= number % 10 != 0;
        number /= 10;
    }
    number.saturating_add(i128::from(inexact)).min(MAX)
}

fn div_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

// === impl Quantity: writing and comparing ===

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let binary = self.format == Format::BinarySi && self.nano.abs() >= 1024 * NANO && self.is_whole();
        if binary {
            let (mut number, mut power) = (self.nano / NANO, 0);
            while number % 1024 == 0 && power < 6 {
                number /= 1024;
                power += 1;
            }
            return write!(f, "{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut number, mut power) = (self.nano, 0);
        while number % 1000 == 0 && power < 9 {
            number /= 1000;
            power += 1;
        }
        match (self.format, power) {
            (Format::DecimalExponent, 3) => write!(f, "{number}"),
            (Format::DecimalExponent, _) => write!(f, "{number}e{}", (power as i32 - 3) * 3),
            _ => write!(f, "{number}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][power]),
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Quantity, QuantityError> {
        Quantity::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

#[cfg(test)]
mod tests;
