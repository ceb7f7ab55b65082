//! What stands around messages: objects, lists, and the frames of watches.

use bytes::{BufMut, Bytes, BytesMut};
use naru_api::schema::{TypeId, Types};
use naru_api::{Kind, meta};
use serde_json::{Map, Value, json};

use crate::decode::Reader;
use crate::encode::Writer;
use crate::wire::{Wire, fields, put_bytes, put_message, text};
use crate::{Malformed, Unwritable};

/// What every document begins with.
const MAGIC: &[u8] = b"k8s\0";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Reads a document of `kind`, or, without one, of the kind that it names (`policy/v1 Eviction`, `meta.k8s.io/v1
/// DeleteOptions`).
///
/// # Errors
/// For bytes that are no such document.
pub fn decode(kind: Option<&Kind>, body: &[u8]) -> Result<Value, Malformed> {
    let (api_version, name, raw) = open(body)?;
    let types = Types::builtin();
    let mut object = Map::new();
    if let Some(id) = kind.map(|k| k.schema().root_id()).or_else(|| type_of(&types, &api_version, &name)) {
        object = Reader { types: &types }.object(id, raw, 0)?;
    }
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), name.into());
    let mut object = Value::Object(object);
    if meta::at(&object, "metadata").is_null() {
        object["metadata"] = json!({});
    }
    Ok(object)
}

/// Writes an object of a built-in type.
///
/// # Errors
/// For objects that are not as their schema says.
pub fn encode(object: &Value) -> Result<Bytes, Unwritable> {
    let (api_version, kind) = (meta::api_version(object), meta::kind(object));
    let message = message(object)?;
    Ok(close(api_version, kind, &message))
}

/// The message of an object, without what stands around it: what lists are made of.
///
/// # Errors
/// As [`encode`].
pub fn message(object: &Value) -> Result<Vec<u8>, Unwritable> {
    let (api_version, kind) = (meta::api_version(object), meta::kind(object));
    let types = Types::builtin();
    let id = type_of(&types, api_version, kind);
    let id = id.ok_or_else(|| Unwritable(format!("{kind} of {api_version} has no form in protobuf")))?;
    let fields = object.as_object().ok_or_else(|| Unwritable("an object is expected".to_owned()))?;
    let mut out = Vec::with_capacity(512);
    Writer { types: &types }.object(&mut out, id, fields, 0)?;
    Ok(out)
}

/// Writes the metadata of an object as `meta.k8s.io/v1 PartialObjectMetadata`: its message, without what stands around.
///
/// # Errors
/// As [`encode`].
pub fn partial_message(object: &Value) -> Result<Vec<u8>, Unwritable> {
    let types = Types::builtin();
    let id = types.find(&format!("{META}.ObjectMeta")).ok_or_else(|| Unwritable("metadata has no type".to_owned()))?;
    let empty = Map::new();
    let metadata = object.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let mut out = Vec::with_capacity(256);
    put_message(&mut out, 1, |out| Writer { types: &types }.object(out, id, metadata, 0))?;
    Ok(out)
}

/// Writes a list from the messages of its items; `metadata` is the list's own.
///
/// # Errors
/// For metadata that is none.
pub fn list(
    api_version: &str,
    list_kind: &str,
    metadata: &Value,
    items: impl IntoIterator<Item: AsRef<[u8]>>,
) -> Result<Bytes, Unwritable> {
    let types = Types::builtin();
    let id = types.find(&format!("{META}.ListMeta")).ok_or_else(|| Unwritable("lists have no type".to_owned()))?;
    let empty = Map::new();
    let metadata = metadata.as_object().unwrap_or(&empty);
    let mut out = Vec::new();
    put_message(&mut out, 1, |out| Writer { types: &types }.object(out, id, metadata, 0))?;
    for item in items {
        put_bytes(&mut out, 2, item.as_ref());
    }
    Ok(close(api_version, list_kind, &out))
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
    type_of(&Types::builtin(), &kind.api_version(), &kind.kind).is_some() && kind.group != "naru.io"
}

/// The type of a document.
fn type_of(types: &Types, api_version: &str, kind: &str) -> Option<TypeId> {
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let package = match group {
        "meta.k8s.io" => META.to_owned(),
        "apiextensions.k8s.io" => format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}"),
        "apiregistration.k8s.io" => format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}"),
        // `flowcontrol.apiserver.k8s.io`, `rbac.authorization.k8s.io`, `apps`.
        group => format!("io.k8s.api.{}.{version}", group.split('.').next().unwrap_or_default()),
    };
    // Options and refusals travel under the version of the object they are for.
    types.find(&format!("{package}.{kind}")).or_else(|| types.find(&format!("{META}.{kind}")))
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

/// What [`open`] reads.
fn close(api_version: &str, kind: &str, message: &[u8]) -> Bytes {
    let mut name = Vec::with_capacity(api_version.len() + kind.len() + 4);
    put_bytes(&mut name, 1, api_version.as_bytes());
    put_bytes(&mut name, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(message.len() + name.len() + 32);
    out.extend_from_slice(MAGIC);
    put_bytes(&mut out, 1, &name);
    put_bytes(&mut out, 2, message);
    // Neither encoded nor of another type: both are said with nothing.
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out.into()
}

/// The refusal of a watch that ends, as the document of an `ERROR` frame.
///
/// # Errors
/// As [`encode`].
pub fn status(status: &Value) -> Result<Bytes, Unwritable> {
    let mut status = status.clone();
    status["apiVersion"] = "v1".into();
    status["kind"] = "Status".into();
    encode(&status)
}
