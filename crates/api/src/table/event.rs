//! Tables of events.

use jiff::Timestamp;
use serde_json::Value;

use super::age::age;
use super::cell::{name, text};
use super::{Table, table};
use crate::meta;

const COLUMNS: &[&str] =
    &["Last Seen", "Type", "Reason", "Object", "+Subobject", "+Source", "Message", "+First Seen", "+Count", "+Name"];

/// Where the two forms of events keep the same things.
struct Places {
    object: &'static str,
    message: &'static str,
    first: &'static str,
    last: &'static str,
    count: &'static str,
    component: &'static str,
    host: &'static str,
}

const OLD: Places = Places {
    object: "involvedObject",
    message: "message",
    first: "firstTimestamp",
    last: "lastTimestamp",
    count: "count",
    component: "source.component",
    host: "source.host",
};

const NEW: Places = Places {
    object: "regarding",
    message: "note",
    first: "deprecatedFirstTimestamp",
    last: "deprecatedLastTimestamp",
    count: "deprecatedCount",
    component: "deprecatedSource.component",
    host: "deprecatedSource.host",
};

pub(super) const CORE: Table = table(COLUMNS, |event, now| row(event, now, &OLD));
pub(super) const NEWER: Table = table(COLUMNS, |event, now| row(event, now, &NEW));

fn row(event: &Value, now: Timestamp, places: &Places) -> Vec<Value> {
    let stamp = |path: &str| meta::text(event, path).parse::<Timestamp>().ok();
    let shown = |at: Option<Timestamp>| at.map_or_else(|| "<unknown>".to_owned(), |at| age(at, now));
    let first = stamp(places.first).or_else(|| stamp("eventTime"));
    let last = stamp("series.lastObservedTime").or_else(|| stamp(places.last)).or(first);
    let series = meta::at(event, "series.count").as_i64();
    let count = series.or_else(|| meta::at(event, places.count).as_i64()).filter(|c| *c > 0).unwrap_or(1);
    let of = |key: &str| meta::text(event, &format!("{}.{key}", places.object));
    let object = match (of("kind"), of("name")) {
        (kind, "") => kind.to_lowercase(),
        (kind, name) => format!("{}/{name}", kind.to_lowercase()),
    };
    let component = match meta::text(event, places.component) {
        "" => meta::text(event, "reportingComponent"),
        component => component,
    };
    let source = match meta::text(event, places.host) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    };
    vec![
        shown(last).into(),
        text(event, "type", ""),
        text(event, "reason", ""),
        object.into(),
        of("fieldPath").into(),
        source.into(),
        meta::text(event, places.message).trim().into(),
        shown(first).into(),
        count.into(),
        name(event),
    ]
}
