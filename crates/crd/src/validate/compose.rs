//! Schemas that are made of others: all of them, any, exactly one, none.

use serde_json::Value;

use super::{Findings, walk};
use crate::fault::Fault;
use crate::path::Path;
use crate::schema::{Limits, Schema};

fn walk_one(schema: &Schema, path: &Path<'_>, value: &Value) -> Findings {
    let mut findings = Findings::default();
    walk(schema, path, value, None, &mut findings);
    findings
}

/// Judges a value by the schemas that its own is made of. What was before does not count here: alternatives have no
/// history.
pub(super) fn judge(limits: &Limits, path: &Path<'_>, value: &Value, out: &mut Findings) {
    if !limits.any_of.is_empty() {
        let tried: Vec<Findings> = limits.any_of.iter().map(|schema| walk_one(schema, path, value)).collect();
        if tried.iter().all(|findings| !findings.faults.is_empty()) {
            out.faults.push(composite(path, "must validate at least one schema (anyOf)"));
            out.faults.extend(best(tried));
        }
    }
    if !limits.one_of.is_empty() {
        let tried: Vec<Findings> = limits.one_of.iter().map(|schema| walk_one(schema, path, value)).collect();
        match tried.iter().filter(|findings| findings.faults.is_empty()).count() {
            0 => {
                out.faults.push(composite(path, "must validate one and only one schema (oneOf). Found none valid"));
                out.faults.extend(best(tried));
            }
            1 => {}
            several => {
                let words =
                    format!("must validate one and only one schema (oneOf). Found {several} valid alternatives");
                out.faults.push(composite(path, &words));
            }
        }
    }
    if !limits.all_of.is_empty() {
        let mut valid = 0;
        for schema in &limits.all_of {
            let findings = walk_one(schema, path, value);
            valid += usize::from(findings.faults.is_empty());
            out.faults.extend(findings.faults);
        }
        match valid {
            0 => out.faults.push(composite(path, "must validate all the schemas (allOf). None validated")),
            all if all == limits.all_of.len() => {}
            _ => out.faults.push(composite(path, "must validate all the schemas (allOf)")),
        }
    }
    if limits.not.as_ref().is_some_and(|schema| walk_one(schema, path, value).faults.is_empty()) {
        out.faults.push(composite(path, "must not validate the schema (not)"));
    }
}

/// Other servers give these no path of their own; people and programs search for the words.
fn composite(path: &Path<'_>, words: &str) -> Fault {
    Fault::invalid("", "", format!("{:?} {words}", path.to_string()))
}

/// The faults of the alternative that fits best, the first of several.
fn best(tried: Vec<Findings>) -> Vec<Fault> {
    let most = tried.iter().map(|findings| findings.kept).max().unwrap_or(0);
    tried.into_iter().find(|findings| findings.kept == most).map(|findings| findings.faults).unwrap_or_default()
}
