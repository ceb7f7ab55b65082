//! Reading LIST and WATCH bodies into frames, without building a tree of every object.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

use crate::{BoxError, Delta, Frame, ObjectRef};

/// The few fields of an object's metadata that an informer needs itself.
pub(super) struct Essentials {
    pub(super) key: ObjectRef,
    pub(super) uid: Box<str>,
    pub(super) revision: u64,
    pub(super) deleting: bool,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow)]
    deletion_timestamp: Option<&'a RawValue>,
}

impl Essentials {
    pub(super) fn read(json: &[u8]) -> Result<Self, BoxError> {
        let Object { metadata } = serde_json::from_slice(json)?;
        Ok(Essentials {
            key: ObjectRef::new(&metadata.namespace, &metadata.name),
            uid: (*metadata.uid).into(),
            revision: revision(&metadata.resource_version)?,
            deleting: metadata.deletion_timestamp.is_some_and(|stamp| stamp.get() != "null"),
        })
    }
}

/// Resource versions of this server are numbers, ordered over all collections.
pub(super) fn revision(text: &str) -> Result<u64, BoxError> {
    text.parse().map_err(|_| format!("resourceVersion {text:?} is not a number").into())
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    metadata: ListMeta<'a>,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta<'a> {
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow, rename = "continue")]
    next: Cow<'a, str>,
}

/// One page of a list.
pub(super) struct Page {
    pub(super) revision: u64,
    pub(super) objects: Vec<(ObjectRef, Bytes)>,
    pub(super) next: String,
}

impl Page {
    pub(super) fn read(body: &Bytes) -> Result<Self, BoxError> {
        let list: List<'_> = serde_json::from_slice(body)?;
        let mut objects = Vec::new();
        for item in list.items.unwrap_or_default() {
            let raw = item.get().as_bytes();
            // Copied, so that a kept object does not hold the whole list's memory.
            objects.push((Essentials::read(raw)?.key, Bytes::copy_from_slice(raw)));
        }
        let revision = revision(&list.metadata.resource_version)?;
        Ok(Page { revision, objects, next: list.metadata.next.into_owned() })
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    event: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What one line of a watch says.
pub(super) enum Line {
    Frame(Frame),
    /// The server ends the watch with this status (JSON).
    Error(Bytes),
}

impl Line {
    pub(super) fn read(line: &[u8]) -> Result<Self, BoxError> {
        let Event { event, object } = serde_json::from_slice(line)?;
        let raw = object.get().as_bytes();
        if event == "ERROR" {
            return Ok(Line::Error(Bytes::copy_from_slice(raw)));
        }
        let Essentials { key, revision, .. } = Essentials::read(raw)?;
        let changes = match &*event {
            "ADDED" | "MODIFIED" => vec![Delta::Applied(key, Bytes::copy_from_slice(raw))],
            "DELETED" => vec![Delta::Deleted(key)],
            "BOOKMARK" => Vec::new(),
            other => return Err(format!("unknown watch event type {other:?}").into()),
        };
        Ok(Line::Frame(Frame::Changes { revision, changes }))
    }
}
