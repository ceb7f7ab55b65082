//! Bounds of texts and numbers.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::said;
use crate::fault::Fault;
use crate::path::Path;
use crate::schema::{Bound, Limits, Schema, is_whole};

/// Judges a text or number.
pub(super) fn judge(limits: &Limits, path: &Path<'_>, value: &Value, faults: &mut Vec<Fault>) {
    match value {
        Value::String(text) => faults.extend(long(limits, path, text)),
        Value::Number(number) => numbers(limits, path, number, faults),
        _ => {}
    }
}

/// The first thing that is wrong with a text.
fn long(limits: &Limits, path: &Path<'_>, text: &str) -> Option<Fault> {
    let needs_length = limits.max_length.is_some() || limits.min_length.is_some();
    let length = if needs_length { text.chars().count() as u64 } else { 0 };
    if let Some(most) = limits.max_length.filter(|most| length > *most) {
        return Some(Fault::too_long(path, most));
    }
    if let Some(least) = limits.min_length.filter(|least| length < *least) {
        return Some(said(path, text, &format!("should be at least {least} chars long")));
    }
    let pattern = limits.pattern.as_ref().filter(|pattern| !pattern.matches(text))?;
    Some(said(path, text, &format!("should match '{}'", pattern.text)))
}

/// A format of numbers says how large they are.
pub(super) fn in_range(schema: &Schema, path: &Path<'_>, number: &Number, faults: &mut Vec<Fault>) {
    let Some(format) = schema.format.as_deref() else { return };
    if !is_whole(number) {
        return;
    }
    let fits = match (format, number.as_i64()) {
        ("int32", Some(whole)) => i32::try_from(whole).is_ok(),
        ("int32", None) => number.as_f64().is_some_and(|n| n.abs() <= f64::from(i32::MAX)),
        ("int64", None) => number.as_f64().is_some_and(|n| n.abs() < 9.0e18),
        _ => true,
    };
    if !fits {
        let kind = schema.kind.map_or("", crate::schema::Type::name);
        let text = format!("Checked value must be of type {kind} with format {format} in {path}");
        faults.push(Fault::invalid("", "", text));
    }
}

fn numbers(limits: &Limits, path: &Path<'_>, number: &Number, faults: &mut Vec<Fault>) {
    let mut wrong = |words: String| faults.push(said(path, Value::Number(number.clone()), &words));
    if let Some(step) = limits.multiple_of.as_ref().filter(|step| !is_multiple(number, step)) {
        wrong(format!("should be a multiple of {}", show(step)));
    }
    let beyond = |bound: &Bound, side: Ordering| match compare(number, &bound.value) {
        Some(Ordering::Equal) => bound.exclusive,
        order => order == Some(side),
    };
    if let Some(bound) = limits.maximum.as_ref().filter(|bound| beyond(bound, Ordering::Greater)) {
        let words = if bound.exclusive { "should be less than" } else { "should be less than or equal to" };
        wrong(format!("{words} {}", show(&bound.value)));
    }
    if let Some(bound) = limits.minimum.as_ref().filter(|bound| beyond(bound, Ordering::Less)) {
        let words = if bound.exclusive { "should be greater than" } else { "should be greater than or equal to" };
        wrong(format!("{words} {}", show(&bound.value)));
    }
}

/// Exactly, where both are whole.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn is_multiple(number: &Number, step: &Number) -> bool {
    if let (Some(number), Some(step)) = (number.as_i128(), step.as_i128())
        && step != 0
    {
        return number % step == 0;
    }
    let (Some(number), Some(step)) = (number.as_f64(), step.as_f64()) else { return true };
    if step <= 0.0 {
        return true;
    }
    let times = number / step;
    (times - times.round()).abs() <= 1e-9 * times.abs().max(1.0)
}

/// Whole numbers without a point, however they are written.
fn show(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}
