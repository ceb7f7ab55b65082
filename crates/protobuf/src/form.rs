//! What documents are made of: an object, its metadata alone, or a list of either.

use naru_api::schema::{TypeId, Types};
use serde_json::{Map, Value};

use crate::decode::Reader;
use crate::encode::Writer;
use crate::wire::{Wire, fields, put_message};
use crate::{Malformed, Unwritable};

/// Where the types are that documents of all groups share.
pub(crate) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
/// The version and kind of metadata alone.
const PARTIAL: (&str, &str) = ("meta.k8s.io/v1", "PartialObjectMetadata");

/// What a document is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    One(Item),
    /// A message with the list's metadata under 1 and the items under 2.
    List(Item),
}

/// What one object is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    /// The fields of this type.
    Object(TypeId),
    /// A message with the object's metadata under 1.
    Metadata,
}

// === impl Form ===

impl Form {
    /// The form of documents of this name; none where there is no such type.
    pub(crate) fn of(types: &Types, api_version: &str, kind: &str) -> Option<Form> {
        Item::of(types, api_version, kind).map(Form::One).or_else(|| {
            // `PodList` is not in the table of facts: it is no more than its items.
            Item::of(types, api_version, kind.strip_suffix("List")?).map(Form::List)
        })
    }

    pub(crate) fn read(
        self,
        reader: &Reader<'_>,
        raw: &[u8],
        (api_version, kind): (&str, &str),
    ) -> Result<Map<String, Value>, Malformed> {
        let item = match self {
            Form::One(item) => return item.read(reader, raw),
            Form::List(item) => item,
        };
        let kind = kind.strip_suffix("List").unwrap_or(kind);
        let (mut metadata, mut items) = (Map::new(), Vec::new());
        for field in fields(raw) {
            match field? {
                (1, Wire::Bytes(bytes)) => metadata = Item::shared(reader.types, "ListMeta").read(reader, bytes)?,
                (2, Wire::Bytes(bytes)) => items.push(named(item.read(reader, bytes)?, (api_version, kind))),
                _ => {}
            }
        }
        Ok(Map::from_iter([("metadata".to_owned(), metadata.into()), ("items".to_owned(), items.into())]))
    }

    pub(crate) fn write(self, writer: &Writer<'_>, out: &mut Vec<u8>, object: &Value) -> Result<(), Unwritable> {
        let item = match self {
            Form::One(item) => return item.write(writer, out, object),
            Form::List(item) => item,
        };
        put_list_metadata(writer, out, &object["metadata"])?;
        for object in object["items"].as_array().into_iter().flatten() {
            put_message(out, 2, |out| item.write(writer, out, object))?;
        }
        Ok(())
    }
}

/// Writes the metadata of a list.
pub(crate) fn put_list_metadata(writer: &Writer<'_>, out: &mut Vec<u8>, metadata: &Value) -> Result<(), Unwritable> {
    put_message(out, 1, |out| Item::shared(writer.types, "ListMeta").write(writer, out, metadata))
}

// === impl Item ===

impl Item {
    fn of(types: &Types, api_version: &str, kind: &str) -> Option<Item> {
        if (api_version, kind) == PARTIAL {
            return Some(Item::Metadata);
        }
        type_of(types, api_version, kind).map(Item::Object)
    }

    /// A type that documents of all groups share.
    fn shared(types: &Types, name: &str) -> Item {
        // A test holds that they are there.
        Item::Object(types.find(&format!("{META}.{name}")).unwrap_or(TypeId::OPEN))
    }

    fn read(self, reader: &Reader<'_>, raw: &[u8]) -> Result<Map<String, Value>, Malformed> {
        if let Item::Object(id) = self {
            return reader.object(id, raw, 0);
        }
        let mut object = Map::new();
        for field in fields(raw) {
            if let (1, Wire::Bytes(bytes)) = field? {
                let metadata = Item::shared(reader.types, "ObjectMeta").read(reader, bytes)?;
                object.insert("metadata".to_owned(), metadata.into());
            }
        }
        Ok(object)
    }

    fn write(self, writer: &Writer<'_>, out: &mut Vec<u8>, object: &Value) -> Result<(), Unwritable> {
        match self {
            Item::Object(id) => {
                let empty = Map::new();
                let fields = match object {
                    Value::Object(fields) => fields,
                    Value::Null => &empty,
                    other => return Err(Unwritable(format!("an object is expected, not {other}"))),
                };
                writer.object(out, id, fields, 0)
            }
            Item::Metadata => {
                let metadata = Item::shared(writer.types, "ObjectMeta");
                put_message(out, 1, |out| metadata.write(writer, out, &object["metadata"]))
            }
        }
    }
}

/// An object with its name, as JSON has it.
pub(crate) fn named(mut object: Map<String, Value>, (api_version, kind): (&str, &str)) -> Value {
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    object.entry("metadata").or_insert_with(|| Map::new().into());
    object.into()
}

/// The type of an object.
pub(crate) fn type_of(types: &Types, api_version: &str, kind: &str) -> Option<TypeId> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{decode, encode};

    #[test]
    fn shared_types_are_there() {
        for name in ["ListMeta", "ObjectMeta", "Status"] {
            assert_ne!(Item::shared(&Types::builtin(), name), Item::Object(TypeId::OPEN), "{name}");
        }
    }

    #[test]
    fn lists_and_metadata_alone_read_back_equal() {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
        let metadata = json!({"resourceVersion": "7", "continue": "t", "remainingItemCount": 3});
        let list = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": [map]});
        assert_eq!(decode(None, &encode(&list).expect("bytes")).expect("a list"), list);
        let alone = |name: &str| json!({"apiVersion": PARTIAL.0, "kind": PARTIAL.1, "metadata": {"name": name}});
        assert_eq!(decode(None, &encode(&alone("a")).expect("bytes")).expect("metadata"), alone("a"));
        let list = json!({"apiVersion": PARTIAL.0, "kind": "PartialObjectMetadataList",
            "metadata": metadata, "items": [alone("a"), alone("b")]});
        assert_eq!(decode(None, &encode(&list).expect("bytes")).expect("a list"), list);
        for (api_version, kind) in [("v1", "List"), ("v1", "Table"), ("meta.k8s.io/v1", "Table"), ("x/v1", "PodList")] {
            let error = encode(&json!({"apiVersion": api_version, "kind": kind, "items": []})).expect_err("no form");
            assert!(error.to_string().contains("has no form in protobuf"), "{error}");
        }
    }
}
