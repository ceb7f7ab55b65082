//! What requests can ask for beyond the object itself.

use serde_json::{Value, json};

use crate::resource::Query;

/// Which objects to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Label selector in its query form, empty for all.
    pub labels: String,
    /// Field selector in its query form, empty for all.
    pub fields: String,
    /// At most this many objects; 0 for all at once.
    pub limit: u32,
    /// Where the page before ended ([`List::next`](crate::List::next)); empty for the first.
    pub next: String,
}

impl ListOptions {
    /// All objects that match a label selector.
    pub fn labels(selector: impl Into<String>) -> Self {
        ListOptions { labels: selector.into(), ..ListOptions::default() }
    }

    /// All objects that match a field selector.
    pub fn fields(selector: impl Into<String>) -> Self {
        ListOptions { fields: selector.into(), ..ListOptions::default() }
    }

    pub(crate) fn query(&self) -> Query {
        let limit = if self.limit == 0 { String::new() } else { self.limit.to_string() };
        Query::default()
            .add("labelSelector", &self.labels)
            .add("fieldSelector", &self.fields)
            .add("limit", &limit)
            .add("continue", &self.next)
    }
}

/// How to read a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902: a list of operations.
    Json,
    /// RFC 7386: an object laid over the present one.
    Merge,
    /// Kubernetes' strategic merge: lists merge by key.
    Strategic,
}

impl PatchKind {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// What happens to the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Deleted afterwards.
    Background,
    /// Deleted first.
    Foreground,
    /// Kept, without their owner.
    Orphan,
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds of grace, if not the object's own.
    pub grace: Option<u32>,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if the object still has this resourceVersion.
    pub resource_version: Option<String>,
    /// What happens to owned objects, if not the kind's default.
    pub propagation: Option<Propagation>,
}

impl DeleteOptions {
    /// Deletes only the very object that was read, not a successor of the same name.
    pub fn exactly(uid: impl Into<String>) -> Self {
        DeleteOptions { uid: Some(uid.into()), ..DeleteOptions::default() }
    }

    /// Sets the seconds of grace; 0 deletes at once.
    pub fn grace(mut self, seconds: u32) -> Self {
        self.grace = Some(seconds);
        self
    }

    /// Sets what happens to owned objects.
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut value = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
        if let Some(grace) = self.grace {
            value["gracePeriodSeconds"] = json!(grace);
        }
        if let Some(uid) = &self.uid {
            value["preconditions"]["uid"] = json!(uid);
        }
        if let Some(version) = &self.resource_version {
            value["preconditions"]["resourceVersion"] = json!(version);
        }
        if let Some(propagation) = self.propagation {
            value["propagationPolicy"] = json!(match propagation {
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
                Propagation::Orphan => "Orphan",
            });
        }
        value
    }
}
