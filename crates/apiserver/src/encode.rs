//! How objects become stored bytes, and stored bytes become served ones.
//!
//! Stored bytes are JSON that begins with `kind`, `apiVersion` and `metadata`, without a resourceVersion: that is
//! spliced in as the first field of the metadata when the object enters the store's view, where its place is found
//! without parsing. Refused: serialising the object again with its revision, which would cost a parse a write and
//! would have to be repeated at every start.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use naru_identity::Sealer;
use naru_store::{Codec, CodecError, IndexName, Key, Opened, Revision};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::extension::COLLECTION as DEFINITIONS;
use crate::kept::FIELD;

/// Pods by the node they are bound to.
pub(crate) const BY_NODE: IndexName = IndexName("pods.node");
/// Objects by the identifier of each of their owners.
pub(crate) const BY_OWNER: IndexName = IndexName("owner");
/// Definitions of kinds that are being deleted, under the value `true`.
pub(crate) const ENDING: IndexName = IndexName("definitions.ending");
/// Namespaces that are being deleted, under the value `true`.
pub(crate) const TERMINATING: IndexName = IndexName("namespaces.terminating");

const METADATA: &[u8] = b"\"metadata\":{";
const STAMP: &[u8] = b"\"resourceVersion\":\"";
/// The head (`kind`, `apiVersion`) is never longer than this.
const HEAD: usize = 512;

/// What the store must be told about values: where the revision goes, what is sealed, what is indexed.
pub struct StoreCodec {
    sealer: Arc<Sealer>,
}

// === impl StoreCodec ===

impl StoreCodec {
    /// A codec that opens sealed values with `sealer`.
    pub fn new(sealer: Arc<Sealer>) -> Self {
        Self { sealer }
    }
}

impl Codec for StoreCodec {
    fn open(&self, key: &Key, stored: &[u8], at: Revision) -> Result<Opened, CodecError> {
        let unsealed;
        let plain = if Sealer::is_sealed(stored) {
            unsealed = self
                .sealer
                .open(key.as_str(), stored)
                .map_err(|e| CodecError::caused("it is sealed and cannot be opened", e))?;
            &unsealed[..]
        } else {
            stored
        };
        let served = stamp(plain, at).ok_or_else(|| CodecError::new("it is not a stored object (no metadata)"))?;
        Ok(Opened { indexes: indexes(key, &served)?, served })
    }

    fn restamp(&self, served: &Bytes, at: Revision) -> Bytes {
        restamp(served, at)
    }

    fn close(&self, key: &Key, served: &Bytes) -> Result<Bytes, CodecError> {
        close(&self.sealer, key, served)
    }
}

/// Collections whose values are sealed: Secrets, and the source text of Compose projects, which holds passwords as often as
/// not.
pub(crate) const SEALED: [&str; 2] = ["secrets", "projects.naru.io"];

/// What is stored of an object that is served so, sealed by the newest key.
///
/// # Errors
/// When it cannot be sealed, or is not served so.
pub(crate) fn close(sealer: &Sealer, key: &Key, served: &Bytes) -> Result<Bytes, CodecError> {
    let plain = unstamp(served).ok_or_else(|| CodecError::new("it is not a served object (no revision)"))?;
    seal(sealer, key, plain).map_err(|e| CodecError::caused("it cannot be sealed", e))
}

/// The same object with another revision.
pub(crate) fn restamp(served: &Bytes, at: Revision) -> Bytes {
    let head = &served[..served.len().min(HEAD)];
    let Some(found) = memmem::find(head, METADATA).map(|m| m + METADATA.len()) else { return served.clone() };
    let Some(digits) = served[found..].strip_prefix(STAMP) else { return served.clone() };
    let start = found + STAMP.len();
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    [&served[..start], at.0.to_string().as_bytes(), &served[start + length..]].concat().into()
}

/// Inserts the revision into an object's bytes.
pub(crate) fn stamp(plain: &[u8], at: Revision) -> Option<Bytes> {
    let place = memmem::find(&plain[..plain.len().min(HEAD)], METADATA)? + METADATA.len();
    let (head, tail) = plain.split_at(place);
    let comma: &[u8] = if tail.first() == Some(&b'}') { b"" } else { b"," };
    Some([head, STAMP, at.0.to_string().as_bytes(), b"\"", comma, tail].concat().into())
}

/// Takes the revision out of an object's bytes again.
fn unstamp(served: &[u8]) -> Option<Vec<u8>> {
    let place = memmem::find(&served[..served.len().min(HEAD)], METADATA)? + METADATA.len();
    let (head, tail) = served.split_at(place);
    let tail = tail.strip_prefix(STAMP)?;
    let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
    let tail = tail[digits..].strip_prefix(b"\"")?;
    Some([head, tail.strip_prefix(b",").unwrap_or(tail)].concat())
}

/// The stored bytes of an object.
///
/// # Errors
/// When sealing fails.
pub(crate) fn encode(sealer: &Sealer, key: &Key, object: &Value) -> Result<Bytes, naru_identity::SealError> {
    seal(sealer, key, plain(object))
}

/// What is stored of an object's bytes.
fn seal(sealer: &Sealer, key: &Key, plain: Vec<u8>) -> Result<Bytes, naru_identity::SealError> {
    if SEALED.contains(&key.collection()) {
        return sealer.seal(key.as_str(), &plain).map(Bytes::from);
    }
    Ok(plain.into())
}

/// The object's bytes without revision.
pub(crate) fn plain(object: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let mut write = |bytes: &[u8]| out.extend_from_slice(bytes);
    write(b"{\"kind\":");
    write(text(fields.get("kind")).as_bytes());
    write(b",\"apiVersion\":");
    write(text(fields.get("apiVersion")).as_bytes());
    write(b",\"metadata\":{");
    let metadata = fields.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    // First, where it is found without parsing.
    let owners = metadata.get(FIELD).and_then(Value::as_str);
    if let Some(code) = owners {
        out.extend_from_slice(format!("\"{FIELD}\":\"{code}\"").as_bytes());
    }
    write_fields(&mut out, metadata, &["resourceVersion", "selfLink", FIELD], owners.is_none());
    out.push(b'}');
    write_fields(&mut out, fields, &["kind", "apiVersion", "metadata"], false);
    out.push(b'}');
    out
}

fn write_fields(out: &mut Vec<u8>, fields: &Map<String, Value>, skip: &[&str], mut first: bool) {
    for (name, value) in fields.iter().filter(|(name, _)| !skip.contains(&name.as_str())) {
        if !first {
            out.push(b',');
        }
        first = false;
        // Neither strings nor parsed JSON can fail to serialise into memory.
        let _ = serde_json::to_writer(&mut *out, name);
        out.push(b':');
        let _ = serde_json::to_writer(&mut *out, value);
    }
}

fn text(value: Option<&Value>) -> String {
    Value::from(value.and_then(Value::as_str).unwrap_or_default()).to_string()
}

#[derive(Deserialize)]
struct Facts {
    #[serde(default)]
    metadata: MetadataFacts,
    #[serde(default)]
    spec: Option<SpecFacts>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataFacts {
    #[serde(default)]
    owner_references: Option<Vec<OwnerFacts>>,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct OwnerFacts {
    uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecFacts {
    #[serde(default)]
    node_name: Option<String>,
}

fn indexes(key: &Key, served: &[u8]) -> Result<Vec<(IndexName, Arc<str>)>, CodecError> {
    let collection = key.collection();
    let interesting = matches!(collection, "pods" | "namespaces" | DEFINITIONS)
        || memmem::find(served, b"\"ownerReferences\"").is_some();
    if !interesting {
        return Ok(Vec::new());
    }
    let facts: Facts =
        serde_json::from_slice(served).map_err(|e| CodecError::caused("its metadata is not readable", e))?;
    let mut indexes = Vec::new();
    if collection == "pods"
        && let Some(node) = facts.spec.and_then(|s| s.node_name).filter(|n| !n.is_empty())
    {
        indexes.push((BY_NODE, node.into()));
    }
    if facts.metadata.deletion_timestamp.is_some() {
        match collection {
            "namespaces" => indexes.push((TERMINATING, "true".into())),
            DEFINITIONS => indexes.push((ENDING, "true".into())),
            _ => {}
        }
    }
    indexes.extend(facts.metadata.owner_references.into_iter().flatten().map(|o| (BY_OWNER, o.uid.into())));
    Ok(indexes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn codec() -> (tempfile::TempDir, StoreCodec) {
        let dir = tempfile::tempdir().expect("a folder");
        let sealer = Sealer::open_or_create(&dir.path().join("seal.key")).expect("a sealer");
        (dir, StoreCodec::new(Arc::new(sealer)))
    }

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "n1"},
            "metadata": {"name": "web", "resourceVersion": "7", "ownerReferences": [{"uid": "o1"}],
                "annotations": {"x": "\"metadata\":{\"resourceVersion\":\"1\""}}})
    }

    #[test]
    fn a_revision_is_spliced_in_and_replaced() {
        let (_dir, codec) = codec();
        let key = Key::new("pods", "shop", "web");
        let stored = encode(&codec.sealer, &key, &pod()).expect("encode");
        assert!(!String::from_utf8_lossy(&stored).contains("\"7\""), "the revision is not stored");
        let opened = codec.open(&key, &stored, Revision(41)).expect("open");
        let read: Value = serde_json::from_slice(&opened.served).expect("JSON");
        assert_eq!(read["metadata"]["resourceVersion"], "41");
        assert_eq!(read["metadata"]["annotations"], pod()["metadata"]["annotations"]);
        let again: Value = serde_json::from_slice(&codec.restamp(&opened.served, Revision(1_000))).expect("JSON");
        assert_eq!(again["metadata"]["resourceVersion"], "1000");
        assert_eq!(again["spec"], pod()["spec"]);
        assert_eq!(opened.indexes, [(BY_NODE, "n1".into()), (BY_OWNER, "o1".into())]);
    }

    #[test]
    fn what_is_closed_opens_to_the_same_bytes() {
        let (_dir, codec) = codec();
        let secret =
            json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"}, "data": {"p": "aHVudGVy"}});
        let bare = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}, "data": {"k": ",\""}});
        for (collection, object) in [("pods", pod()), ("secrets", secret), ("configmaps", bare)] {
            let key = Key::new(collection, "shop", "a");
            let stored = encode(&codec.sealer, &key, &object).expect("encode");
            let served = codec.open(&key, &stored, Revision(41)).expect("open").served;
            let closed = codec.close(&key, &served).expect("close");
            assert_eq!(Sealer::is_sealed(&closed), collection == "secrets");
            assert_eq!(codec.open(&key, &closed, Revision(41)).expect("open").served, served);
            if collection != "secrets" {
                assert_eq!(closed, stored);
            }
        }
        codec.close(&Key::new("pods", "a", "b"), &Bytes::from_static(b"[]")).expect_err("no object");
    }

    #[test]
    fn secrets_are_sealed_for_their_place() {
        let (_dir, codec) = codec();
        let key = Key::new("secrets", "shop", "db");
        let secret =
            json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"}, "data": {"p": "aHVudGVy"}});
        let stored = encode(&codec.sealer, &key, &secret).expect("encode");
        assert!(memmem::find(&stored, b"aHVudGVy").is_none());
        let opened = codec.open(&key, &stored, Revision(3)).expect("open");
        assert!(memmem::find(&opened.served, b"aHVudGVy").is_some());
        codec.open(&Key::new("secrets", "evil", "db"), &stored, Revision(3)).expect_err("another place");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let (_dir, codec) = codec();
        codec.open(&Key::new("pods", "a", "b"), b"[]", Revision(1)).expect_err("no object");
    }

    #[test]
    fn a_terminating_namespace_is_indexed() {
        let (_dir, codec) = codec();
        let key = Key::new("namespaces", "", "shop");
        let open = |object: &Value| codec.open(&key, &plain(object), Revision(1)).expect("open").indexes;
        assert!(open(&json!({"kind": "Namespace", "metadata": {"name": "shop"}})).is_empty());
        let going =
            json!({"kind": "Namespace", "metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(open(&going), [(TERMINATING, "true".into())]);
        let key = Key::new(DEFINITIONS, "", "widgets.example.com");
        assert_eq!(codec.open(&key, &plain(&going), Revision(1)).expect("open").indexes, [(ENDING, "true".into())]);
    }
}
