//! What stands around messages: the name of a document, and the frames of watches.

use bytes::{BufMut, Bytes, BytesMut};
use naru_api::schema::Types;
use naru_api::{Kind, meta};
use serde_json::{Map, Value};

use crate::decode::Reader;
use crate::encode::Writer;
use crate::form::{Form, Item, named, type_of};
use crate::wire::{Wire, fields, put_bytes, text};
use crate::{Malformed, Unwritable};

/// What every document begins with.
const MAGIC: &[u8] = b"k8s\0";
/// What every document ends with: neither encoded nor of another type, both said with nothing.
pub(crate) const TAIL: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// Reads a document of `kind`, or, without one, of the kind that it names (`policy/v1 Eviction`, `meta.k8s.io/v1
/// DeleteOptions`, `v1 PodList`).
///
/// # Errors
/// For bytes that are no such document.
pub fn decode(kind: Option<&Kind>, body: &[u8]) -> Result<Value, Malformed> {
    let (api_version, name, raw) = open(body)?;
    let types = Types::builtin();
    let form = kind.map(|kind| Form::One(Item::Object(kind.schema().root_id())));
    let object = match form.or_else(|| Form::of(&types, &api_version, &name)) {
        Some(form) => form.read(&Reader { types: &types }, raw, (&api_version, &name))?,
        None => Map::new(),
    };
    Ok(named(object, (&api_version, &name)))
}

/// Writes a document: an object of a built-in type, metadata alone (`meta.k8s.io/v1 PartialObjectMetadata`), or a list
/// of either.
///
/// # Errors
/// For objects that are not as their schema says, and types that have no form in protobuf.
pub fn encode(object: &Value) -> Result<Bytes, Unwritable> {
    let message = message(object)?;
    let mut out = opened(meta::api_version(object), meta::kind(object), message.len());
    put_bytes(&mut out, 2, &message);
    out.extend_from_slice(TAIL);
    Ok(out.into())
}

/// The message of a document, without what stands around it: what lists are made of.
///
/// # Errors
/// As [`encode`].
pub fn message(object: &Value) -> Result<Vec<u8>, Unwritable> {
    let (api_version, kind) = (meta::api_version(object), meta::kind(object));
    let types = Types::builtin();
    let form = Form::of(&types, api_version, kind);
    let form = form.ok_or_else(|| Unwritable(format!("{kind} of {api_version} has no form in protobuf")))?;
    let mut out = Vec::with_capacity(512);
    form.write(&Writer { types: &types }, &mut out, object)?;
    Ok(out)
}

/// A frame of a watch: the event's name and the document of its object, behind their length.
pub fn watch_frame(event: &str, document: &[u8]) -> Bytes {
    let mut raw = Vec::with_capacity(document.len() + 8);
    put_bytes(&mut raw, 1, document);
    let mut message = Vec::with_capacity(raw.len() + 24);
    put_bytes(&mut message, 1, event.as_bytes());
    put_bytes(&mut message, 2, &raw);
    let mut frame = BytesMut::with_capacity(message.len() + 4);
    // An object is far smaller than what four bytes can say.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

/// Whether objects of a kind have a form in protobuf: all but our own and those that users define.
pub fn is_spoken(kind: &Kind) -> bool {
    let known = || type_of(&Types::builtin(), &kind.api_version(), &kind.kind).is_some();
    // Users may call their kinds as they like.
    kind.custom().is_none() && kind.group != "naru.io" && known()
}

/// `runtime.Unknown`: the type's name and the bytes of the object.
fn open(body: &[u8]) -> Result<(String, String, &[u8]), Malformed> {
    let body = body.strip_prefix(MAGIC).ok_or(Malformed::Head)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in fields(body) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in fields(meta) {
                    match field? {
                        (1, Wire::Bytes(t)) => api_version = text(t)?,
                        (2, Wire::Bytes(t)) => kind = text(t)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    Ok((api_version, kind, raw))
}

/// What [`open`] reads, up to the object's bytes; `room` for them is made.
pub(crate) fn opened(api_version: &str, kind: &str, room: usize) -> Vec<u8> {
    let mut name = Vec::with_capacity(api_version.len() + kind.len() + 4);
    put_bytes(&mut name, 1, api_version.as_bytes());
    put_bytes(&mut name, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(room + name.len() + 32);
    out.extend_from_slice(MAGIC);
    put_bytes(&mut out, 1, &name);
    out
}
