//! What flow schemas and priority levels say, read once when they change.

use std::sync::Arc;

use http::HeaderValue;
use serde::Deserialize;

use super::classify::{By, Flows, LevelOf, Rules, Schema};
use super::report::Counts;
use super::seats::{Queuing, Wanted};

/// A FlowSchema, as far as it is read.
#[derive(Debug, Deserialize)]
pub(super) struct SchemaObject {
    metadata: Metadata,
    spec: SchemaSpec,
}

/// A PriorityLevelConfiguration, as far as it is read.
#[derive(Debug, Deserialize)]
pub(super) struct LevelObject {
    metadata: Metadata,
    spec: LevelSpec,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    uid: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaSpec {
    priority_level_configuration: Reference,
    #[serde(default)]
    matching_precedence: i64,
    #[serde(default)]
    distinguisher_method: Option<Distinguisher>,
    #[serde(default)]
    rules: Option<Vec<Rules>>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Distinguisher {
    r#type: String,
}

#[derive(Debug, Deserialize)]
struct LevelSpec {
    r#type: String,
    #[serde(default)]
    limited: Option<Limited>,
    #[serde(default)]
    exempt: Option<Limited>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Limited {
    nominal_concurrency_shares: u64,
    lendable_percent: u64,
    borrowing_limit_percent: Option<u64>,
    limit_response: LimitResponse,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LimitResponse {
    queuing: Option<QueuingObject>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueuingObject {
    queues: usize,
    hand_size: usize,
    queue_length_limit: usize,
}

/// How many queues a level has at most: an object may say millions, each of which would take memory.
const QUEUES: usize = 4_096;

// === impl LevelObject ===

impl LevelObject {
    /// What the level is to have.
    pub(super) fn wanted(&self) -> Wanted {
        let exempt = self.spec.r#type == "Exempt";
        let none = Limited::default();
        let own = if exempt { &self.spec.exempt } else { &self.spec.limited }.as_ref().unwrap_or(&none);
        let queuing = own.limit_response.queuing.as_ref().map(|queuing| {
            let queues = queuing.queues.clamp(1, QUEUES);
            Queuing { queues, hand: queuing.hand_size.clamp(1, queues), length: queuing.queue_length_limit }
        });
        Wanted {
            name: self.metadata.name.clone(),
            shares: own.nominal_concurrency_shares,
            lendable: own.lendable_percent,
            borrowing: own.borrowing_limit_percent,
            queuing,
            exempt,
        }
    }

    /// The level with the number that its seats have.
    pub(super) fn level(&self, seats: Option<u32>) -> Arc<LevelOf> {
        Arc::new(LevelOf { name: self.metadata.name.clone(), uid: header(&self.metadata.uid), seats })
    }
}

// === impl SchemaObject ===

impl SchemaObject {
    /// The name of its priority level.
    pub(super) fn level(&self) -> &str {
        &self.spec.priority_level_configuration.name
    }
}

/// Puts schemas in their order, by precedence and name; those whose level is not there count for nothing.
pub(super) fn flows(
    schemas: impl IntoIterator<Item = SchemaObject>,
    level: impl Fn(&str) -> Option<Arc<LevelOf>>,
    counts: impl Fn(&str, &str) -> Arc<Counts>,
) -> Flows {
    let mut schemas: Vec<SchemaObject> = schemas.into_iter().collect();
    schemas.sort_by(|a, b| {
        let key = |schema: &SchemaObject| (schema.spec.matching_precedence, schema.metadata.name.clone());
        key(a).cmp(&key(b))
    });
    let read = |schema: SchemaObject| {
        let level = level(schema.level())?;
        let by = match schema.spec.distinguisher_method.as_ref().map(|method| method.r#type.as_str()) {
            Some("ByUser") => By::User,
            Some("ByNamespace") => By::Namespace,
            _ => By::Nothing,
        };
        let counts = counts(&schema.metadata.name, &level.name);
        let uid = header(&schema.metadata.uid);
        Some(Schema {
            #[cfg(test)]
            name: schema.metadata.name,
            uid,
            level,
            by,
            rules: schema.spec.rules.unwrap_or_default(),
            counts,
        })
    };
    Flows { schemas: schemas.into_iter().filter_map(read).collect() }
}

/// An object as the server reads it; `None` for what cannot be read, which then counts for nothing.
pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn header(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""))
}
