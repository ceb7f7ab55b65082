//! The version 2 document in the protobuf form that Go clients ask for (gnostic's `openapi.v2.Document`).
//!
//! A message is a table of JSON keys and field numbers, and one walk writes any of them, so that the document is
//! described once, as JSON, and this form cannot say anything else. Refused: generated messages, a second model of the
//! whole document for the sake of one encoding. What the tables do not name is left out, except extensions (`x-…`),
//! which every message carries as YAML, of which JSON is a part.

use serde_json::{Map, Value};

/// A message: what each key becomes, and the number under which extensions are kept (0: it has none).
struct Message {
    fields: &'static [(&'static str, u32, Form)],
    extensions: u32,
}

/// How a JSON value is written.
enum Form {
    Text,
    Texts,
    Flag,
    Double,
    Whole,
    /// Any value, as YAML.
    Any,
    Anys,
    One(&'static Message),
    Many(&'static Message),
    /// An object with free keys: a message whose field of this number repeats name and value.
    Named(u32, &'static Message),
    /// A text or several: `TypeItem`.
    Type,
    /// The schema of a list's items, wrapped as if there could be several.
    Items,
    /// A schema, or whether there may be more at all.
    More,
    /// Parameters are one of several messages, by their place.
    Parameters,
    /// The schema of an answer, which could also be a file.
    Answered,
}

use Form::{Answered, Any, Anys, Double, Flag, Items, Many, More, Named, One, Parameters, Text, Texts, Type, Whole};

static INFO: Message =
    Message { fields: &[("title", 1, Text), ("version", 2, Text), ("description", 3, Text)], extensions: 7 };

static EXTERNAL_DOCS: Message = Message { fields: &[("description", 1, Text), ("url", 2, Text)], extensions: 3 };

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("multipleOf", 6, Double),
        ("maximum", 7, Double),
        ("exclusiveMaximum", 8, Flag),
        ("minimum", 9, Double),
        ("exclusiveMinimum", 10, Flag),
        ("maxLength", 11, Whole),
        ("minLength", 12, Whole),
        ("pattern", 13, Text),
        ("maxItems", 14, Whole),
        ("minItems", 15, Whole),
        ("uniqueItems", 16, Flag),
        ("maxProperties", 17, Whole),
        ("minProperties", 18, Whole),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        ("additionalProperties", 21, More),
        ("type", 22, Type),
        ("items", 23, Items),
        ("allOf", 24, Many(&SCHEMA)),
        ("properties", 25, Named(1, &SCHEMA)),
        ("discriminator", 26, Text),
        ("readOnly", 27, Flag),
        ("externalDocs", 29, One(&EXTERNAL_DOCS)),
        ("example", 30, Any),
    ],
    extensions: 31,
};

static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, One(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("format", 7, Text),
        ("uniqueItems", 20, Flag),
    ],
    extensions: 23,
};

static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("uniqueItems", 19, Flag),
    ],
    extensions: 22,
};

static ANSWER: Message = Message { fields: &[("description", 1, Text), ("schema", 2, Answered)], extensions: 5 };
/// An answer, which could also be a reference to one.
static ANSWER_VALUE: Message = Message { fields: &[("", 1, One(&ANSWER))], extensions: 0 };

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Parameters),
        ("responses", 9, Named(1, &ANSWER_VALUE)),
        ("schemes", 10, Texts),
        ("deprecated", 11, Flag),
    ],
    extensions: 13,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, One(&OPERATION)),
        ("put", 3, One(&OPERATION)),
        ("post", 4, One(&OPERATION)),
        ("delete", 5, One(&OPERATION)),
        ("options", 6, One(&OPERATION)),
        ("head", 7, One(&OPERATION)),
        ("patch", 8, One(&OPERATION)),
        ("parameters", 9, Parameters),
    ],
    extensions: 10,
};

/// Numbers of the document's own fields.
const SWAGGER: u32 = 1;
const INFO_AT: u32 = 2;
const PATHS: u32 = 8;
const DEFINITIONS: u32 = 9;

/// A document being written, definition by definition.
pub(super) struct Document {
    out: Vec<u8>,
    definitions: Vec<u8>,
}

impl Document {
    pub(super) fn new(info: &Value, paths: &Map<String, Value>) -> Document {
        let mut out = Vec::new();
        bytes(&mut out, SWAGGER, b"2.0");
        nested(&mut out, INFO_AT, |out| message(out, &INFO, info));
        nested(&mut out, PATHS, |out| {
            paths.iter().for_each(|(path, item)| named(out, 2, path, |out| message(out, &PATH_ITEM, item)));
        });
        Document { out, definitions: Vec::new() }
    }

    pub(super) fn define(&mut self, name: &str, schema: &Value) {
        named(&mut self.definitions, 1, name, |out| message(out, &SCHEMA, schema));
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        bytes(&mut self.out, DEFINITIONS, &self.definitions);
        self.out
    }
}

fn message(out: &mut Vec<u8>, of: &Message, value: &Value) {
    for (key, number, form) in of.fields {
        let value = if key.is_empty() { Some(value) } else { value.get(key) };
        if let Some(value) = value {
            field(out, *number, form, value);
        }
    }
    if of.extensions == 0 {
        return;
    }
    for (key, value) in value.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x-")) {
        named(out, of.extensions, key, |out| yaml(out, value));
    }
}

fn field(out: &mut Vec<u8>, number: u32, form: &Form, value: &Value) {
    let list = || value.as_array().into_iter().flatten();
    match form {
        Text => bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Texts => list().filter_map(Value::as_str).for_each(|text| bytes(out, number, text.as_bytes())),
        Flag => whole(out, number, u64::from(value == &Value::Bool(true))),
        Double => {
            varint(out, u64::from(number) << 3 | 1);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Whole => whole(out, number, value.as_i64().unwrap_or_default().cast_unsigned()),
        Any => nested(out, number, |out| yaml(out, value)),
        Anys => list().for_each(|item| nested(out, number, |out| yaml(out, item))),
        One(of) => nested(out, number, |out| message(out, of, value)),
        Many(of) => list().for_each(|item| nested(out, number, |out| message(out, of, item))),
        Named(inner, of) => nested(out, number, |out| {
            let entries = value.as_object().into_iter().flatten();
            entries.for_each(|(name, value)| named(out, *inner, name, |out| message(out, of, value)));
        }),
        Type => nested(out, number, |out| match value {
            Value::String(one) => bytes(out, 1, one.as_bytes()),
            _ => list().filter_map(Value::as_str).for_each(|one| bytes(out, 1, one.as_bytes())),
        }),
        Items | Answered => nested(out, number, |out| nested(out, 1, |out| message(out, &SCHEMA, value))),
        More => nested(out, number, |out| match value {
            Value::Bool(may) => whole(out, 2, u64::from(*may)),
            schema => nested(out, 1, |out| message(out, &SCHEMA, schema)),
        }),
        Parameters => {
            list().for_each(|parameter| nested(out, number, |out| nested(out, 1, |out| place(out, parameter))))
        }
    }
}

/// A parameter: `Parameter`, by where it stands.
fn place(out: &mut Vec<u8>, parameter: &Value) {
    match parameter["in"].as_str() {
        Some("body") => nested(out, 1, |out| message(out, &BODY_PARAMETER, parameter)),
        Some("path") => nested(out, 2, |out| nested(out, 4, |out| message(out, &PATH_PARAMETER, parameter))),
        _ => nested(out, 2, |out| nested(out, 3, |out| message(out, &QUERY_PARAMETER, parameter))),
    }
}

/// A name and a value, as maps travel.
fn named(out: &mut Vec<u8>, number: u32, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    nested(out, number, |out| {
        bytes(out, 1, name.as_bytes());
        nested(out, 2, value);
    });
}

/// The message `Any`: its second field is the value's text.
fn yaml(out: &mut Vec<u8>, value: &Value) {
    bytes(out, 2, value.to_string().as_bytes());
}

/// A message within: written behind what is there, then moved to make room for its length.
fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    varint(out, u64::from(number) << 3 | 2);
    let start = out.len();
    write(out);
    let mut length = Vec::with_capacity(4);
    varint(&mut length, (out.len() - start) as u64);
    out.splice(start..start, length);
}

fn bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn whole(out: &mut Vec<u8>, number: u32, value: u64) {
    varint(out, u64::from(number) << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_byte_by_byte() {
        let paths = json!({"/p": {"get": {"operationId": "o", "x-a": 1, "parameters": [
            {"in": "path", "name": "n", "type": "string", "required": true}]}}});
        let mut document = Document::new(&json!({"title": "T"}), paths.as_object().expect("a map"));
        document.define("D", &json!({"type": "object", "properties": {"f": {"$ref": "r"}}}));
        let expected = [
            &b"\x0a\x032.0"[..],                 // swagger
            b"\x12\x03\x0a\x01T",                // info.title
            b"\x42\x34\x12\x32\x0a\x02/p",       // paths.path[0].name
            b"\x12\x2c\x12\x2a",                 // its value, get
            b"\x2a\x01o",                        // operation_id
            b"\x42\x19\x0a\x17\x12\x15\x22\x13", // parameters: parameter, non_body_parameter, path
            b"\x08\x01\x12\x04path\x22\x01n\x2a\x06string",
            b"\x6a\x0a\x0a\x03x-a\x12\x03\x12\x011", // vendor_extension: name, value.yaml
            b"\x4a\x1f\x0a\x1d\x0a\x01D",            // definitions
            b"\x12\x18\xb2\x01\x08\x0a\x06object",   // type
            b"\xca\x01\x0a\x0a\x08\x0a\x01f\x12\x03\x0a\x01r", // properties
        ]
        .concat();
        assert_eq!(document.finish(), expected, "as protoc's own encoder would write it");
    }

    #[test]
    fn lengths_of_more_than_one_byte() {
        let mut out = Vec::new();
        nested(&mut out, 1, |out| out.extend_from_slice(&[7; 300]));
        assert_eq!(out[..3], [0x0a, 0xac, 0x02]);
        assert_eq!(out.len(), 303);
    }
}
