//! Owners of fields, in stored bytes and out of them.
//!
//! What clients see as `metadata.managedFields` is larger than most objects, and only clients of the network look at it.
//! Stored and followed objects hold a short form instead, in a field of their metadata that nobody else knows
//! ([`FIELD`]), right at its beginning: what clients see is spliced in where bytes leave the server, without parsing.
//! Within the server an object that is being changed is without either ([`take`], [`put`]). Refused: the long form in
//! the store, which would nearly double the memory of pods and what every write of one parses.

use bytes::Bytes;
use memchr::{memchr, memmem};
use naru_api::apply::{Owners, show, shown_len};
use naru_api::meta;
use serde_json::Value;

/// Where stored objects have the short form, in their metadata.
pub(crate) const FIELD: &str = "fieldOwners";

const METADATA: &[u8] = b"\"metadata\":{";
const STAMP: &[u8] = b"\"resourceVersion\":\"";
const KEY: &[u8] = b"\"fieldOwners\":\"";
const SHOWN: &[u8] = b"\"managedFields\":";
/// The head (`kind`, `apiVersion`) is never longer than this.
const HEAD: usize = 512;

/// The short form in an object's bytes, and what stands around it.
struct Place<'b> {
    before: &'b [u8],
    code: &'b str,
    after: &'b [u8],
}

/// Finds the short form. It needs no escapes, and stands after the revision, if there is one.
fn find(object: &[u8]) -> Option<Place<'_>> {
    let mut at = memmem::find(&object[..object.len().min(HEAD)], METADATA)? + METADATA.len();
    if let Some(digits) = object[at..].strip_prefix(STAMP) {
        let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        at += STAMP.len() + length;
        at += object[at..].strip_prefix(b"\",").map(|_| 2)?;
    }
    let rest = object[at..].strip_prefix(KEY)?;
    let end = memchr(b'"', rest)?;
    let code = std::str::from_utf8(&rest[..end]).ok()?;
    Some(Place { before: &object[..at], code, after: &rest[end + 1..] })
}

// === impl Place ===

impl Place<'_> {
    fn shown_len(&self) -> usize {
        self.before.len() + SHOWN.len() + shown_len(self.code) + self.after.len()
    }

    fn write(&self, out: &mut impl FnMut(&[u8])) {
        out(self.before);
        out(SHOWN);
        show(self.code, out);
        out(self.after);
    }
}

/// An object's bytes as clients see them.
pub(crate) fn shown(object: &Bytes) -> Bytes {
    let Some(place) = find(object) else { return object.clone() };
    let mut out = Vec::with_capacity(place.shown_len());
    place.write(&mut |piece: &[u8]| out.extend_from_slice(piece));
    out.into()
}

/// How long [`shown`] is.
pub(crate) fn len(object: &[u8]) -> usize {
    find(object).map_or(object.len(), |place| place.shown_len())
}

/// Hands out what [`shown`] is, piece by piece.
pub(crate) fn write(object: &[u8], out: &mut impl FnMut(&[u8])) {
    match find(object) {
        Some(place) => place.write(out),
        None => out(object),
    }
}

/// An object's bytes without owners, for those who do not look at them.
pub(crate) fn without(object: &Bytes) -> Bytes {
    let Some(Place { before, after, .. }) = find(object) else { return object.clone() };
    match after.strip_prefix(b",") {
        Some(after) => [before, after].concat().into(),
        None => [before.strip_suffix(b",").unwrap_or(before), after].concat().into(),
    }
}

/// Makes metadata what clients see of it.
pub(crate) fn show_in(metadata: &mut Value) {
    let Some(Value::String(code)) = metadata.as_object_mut().and_then(|map| map.remove(FIELD)) else { return };
    metadata["managedFields"] = Owners::from_code(&code).to_json();
}

/// Takes the owners out of an object of the store, whatever form they have.
pub(crate) fn take(object: &mut Value) -> Owners {
    let short = meta::unset(object, FIELD);
    let long = meta::unset(object, "managedFields");
    match (short.as_ref().and_then(Value::as_str), long) {
        (Some(code), _) => Owners::from_code(code),
        // As it was kept by former versions.
        (None, Some(list)) => Owners::from_json(&list).unwrap_or_default(),
        (None, None) => Owners::default(),
    }
}

/// Puts owners into an object that is to be stored.
pub(crate) fn put(object: &mut Value, owners: &Owners) {
    if owners.is_empty() {
        meta::unset(object, FIELD);
    } else {
        meta::set(object, FIELD, owners.to_code());
    }
}

#[cfg(test)]
mod tests {
    use naru_store::Revision;
    use serde_json::json;

    use super::*;
    use crate::encode;

    fn entries() -> Value {
        json!([{"manager": "m", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}, "f:k": {}}}}])
    }

    fn stored(metadata: &Value, revision: Option<u64>) -> Bytes {
        let mut object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"k": "v"}});
        put(&mut object, &Owners::from_json(&entries()).expect("entries"));
        let plain = encode::plain(&object);
        revision.map_or(plain.clone().into(), |at| encode::stamp(&plain, Revision(at)).expect("an object"))
    }

    fn read(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).expect("JSON")
    }

    #[test]
    fn clients_see_the_long_form_of_what_is_kept() {
        for revision in [Some(41), None] {
            let kept = stored(&json!({"name": "a", "annotations": {"x": "y"}}), revision);
            let shown = shown(&kept);
            assert_eq!(read(&shown)["metadata"]["managedFields"], entries());
            assert_eq!(read(&shown)["metadata"].get(FIELD), None);
            assert_eq!(read(&shown)["metadata"]["annotations"]["x"], "y");
            assert_eq!(len(&kept), shown.len());
            let mut written = Vec::new();
            write(&kept, &mut |piece: &[u8]| written.extend_from_slice(piece));
            assert_eq!(written, shown);
            let mut object = read(&kept);
            show_in(&mut object["metadata"]);
            assert_eq!(object, read(&shown));
        }
    }

    #[test]
    fn without_owners_it_is_the_object_alone() {
        for (metadata, revision) in [(json!({"name": "a"}), Some(7)), (json!({}), Some(7)), (json!({}), None)] {
            let mut expected = metadata.clone();
            if let Some(revision) = revision {
                expected["resourceVersion"] = revision.to_string().into();
            }
            assert_eq!(read(&without(&stored(&metadata, revision)))["metadata"], expected);
        }
        let bare = Bytes::from(encode::plain(&json!({"kind": "A", "metadata": {"name": "fieldOwners"}})));
        assert_eq!((shown(&bare), without(&bare), len(&bare)), (bare.clone(), bare.clone(), bare.len()));
    }

    #[test]
    fn both_forms_are_taken_out() {
        let owners = Owners::from_json(&entries()).expect("entries");
        let mut short = json!({"metadata": {"name": "a"}});
        put(&mut short, &owners);
        let mut long = json!({"metadata": {"name": "a", "managedFields": entries()}});
        for object in [&mut short, &mut long] {
            assert_eq!(take(object), owners);
            assert_eq!(*object, json!({"metadata": {"name": "a"}}));
        }
        assert!(take(&mut short).is_empty());
    }
}
