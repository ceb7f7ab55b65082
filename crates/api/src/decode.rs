//! Bytes to objects.
//!
//! One pass reads JSON or YAML along the kind's schema: it builds the object, checks every value's type, leaves out
//! fields that the schema does not know, and notices repeated ones; whatever is wrong is named by its path. Nulls are
//! absent fields, quantities and time stamps are written in their canonical form, as Kubernetes does. Refused
//! alternative: parsing into a Rust type a kind, which loses unknown fields in silence and says where in words of the
//! program, not of the file.
//!
//! Of a kind that was added at run time the table of types knows only the metadata; the rest is read as it is, and then
//! pruned by the schema of its definition. Its nulls stay, for they may be meant, or be replaced by a default.

mod context;
mod seed;
mod yaml;

use serde::de::DeserializeSeed;
use serde_json::Value;

use context::{Context, Finding, Oddity};
use seed::TypeSeed;

use crate::kind::Kind;
use crate::meta;
use crate::status::Status;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML (one document).
    Yaml,
}

/// What happens to unknown and repeated fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are refused.
    Strict,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// They are dropped.
    Ignore,
}

impl FieldValidation {
    /// Reads the query parameter `fieldValidation`.
    pub fn parse(text: &str) -> Option<FieldValidation> {
        match text {
            "Strict" => Some(FieldValidation::Strict),
            "" | "Warn" => Some(FieldValidation::Warn),
            "Ignore" => Some(FieldValidation::Ignore),
            _ => None,
        }
    }
}

/// A decoded object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, without unknown fields, with `apiVersion` and `kind`.
    pub object: Value,
    /// One sentence for every dropped field.
    pub warnings: Vec<String>,
}

/// Reads an object of `kind`. Refuses malformed text, wrong types, and another `apiVersion` or `kind` than the kind's.
pub fn decode(kind: &Kind, body: &[u8], format: Format, mode: FieldValidation) -> Result<Decoded, Status> {
    let (object, odd) = read(kind, body, format)?;
    judge(kind, object, &odd, mode)
}

/// Reads what is to be applied, which is YAML. A field that the schema does not know is refused whatever the mode: its
/// writer could not own it.
pub fn applied(kind: &Kind, body: &[u8], mode: FieldValidation) -> Result<Decoded, Status> {
    let (object, odd) = read(kind, body, Format::Yaml)?;
    if let Some(why) = undeclared(&odd) {
        let (namespace, name) = (meta::namespace(&object), meta::name(&object));
        let what = format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind);
        let text = format!("failed to create typed patch object ({namespace}/{name}; {what}): {why}");
        return Err(Status::bad_request(text));
    }
    if mode == FieldValidation::Strict
        && !odd.is_empty()
        && let Some(line) = yaml::repeated(body)
    {
        return Err(Status::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {line}"
        )));
    }
    judge(kind, object, &odd, mode)
}

/// Reads a part of an object that is in memory: all its fields must be known to the schema.
///
/// # Errors
/// What is wrong with it, by paths.
pub fn part(kind: &Kind, object: Value) -> Result<Value, String> {
    let (object, odd) = walk(kind, object).map_err(|status| status.message)?;
    undeclared(&odd).map_or(Ok(object), Err)
}

/// The fields that the schema does not know, if there are any.
fn undeclared(odd: &[Finding]) -> Option<String> {
    let unknown = odd.iter().filter(|finding| finding.what == Oddity::Unknown);
    let fields: Vec<String> = unknown.map(|found| format!(".{}: field not declared in schema", found.path)).collect();
    match fields.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("errors:\n  {}", several.join("\n  "))),
    }
}

/// Reads an object and what is odd about it.
fn read(kind: &Kind, body: &[u8], format: Format) -> Result<(Value, Vec<Finding>), Status> {
    let schema = kind.schema();
    let context = Context::new(schema.types(), kind.custom().is_some());
    let seed = TypeSeed::root(&context, schema.root_id());
    let parsed = match format {
        Format::Json => {
            let mut deserializer = serde_json::Deserializer::from_slice(body);
            let value = seed.deserialize(&mut deserializer);
            value.and_then(|v| deserializer.end().map(|()| v)).map_err(|e| e.to_string())
        }
        Format::Yaml => yaml::parse(seed, body),
    };
    finish(kind, context, parsed)
}

/// Checks and prunes an object that is already in memory, such as the result of a patch.
pub fn value(kind: &Kind, object: Value, mode: FieldValidation) -> Result<Decoded, Status> {
    let (object, odd) = walk(kind, object)?;
    judge(kind, object, &odd, mode)
}

/// As `read`, for what is already in memory.
fn walk(kind: &Kind, object: Value) -> Result<(Value, Vec<Finding>), Status> {
    let schema = kind.schema();
    let context = Context::new(schema.types(), kind.custom().is_some());
    let parsed = TypeSeed::root(&context, schema.root_id()).deserialize(object);
    finish(kind, context, parsed.map_err(|e| e.to_string()))
}

/// Reads JSON or YAML without a schema (patches, options).
pub fn untyped(body: &[u8], format: Format) -> Result<Value, Status> {
    match format {
        Format::Json => serde_json::from_slice(body)
            .map_err(|e| Status::bad_request(format!("the body of the request is no JSON: {e}"))),
        Format::Yaml => {
            yaml::untyped(body).map_err(|e| Status::bad_request(format!("the body of the request is no YAML: {e}")))
        }
    }
}

fn finish(kind: &Kind, context: Context<'_>, parsed: Result<Value, String>) -> Result<(Value, Vec<Finding>), Status> {
    let findings = context.finish();
    let mut object = match (parsed, findings.failure) {
        (_, Some(failure)) => return Err(refused(kind, &failure)),
        (Err(syntax), None) => return Err(refused(kind, &syntax)),
        (Ok(object), None) => object,
    };
    if !object.is_object() {
        return Err(refused(kind, "expected an object"));
    }
    identify(kind, &mut object)?;
    let mut odd = findings.odd;
    if let Some(version) = kind.custom() {
        let pruned = version.schema.prune(&mut object);
        if let Some(fault) = pruned.faults.first() {
            return Err(refused(kind, &fault.to_string()));
        }
        // What stands there twice is seen first, before anything is known of the object.
        odd.sort_by_key(|finding| finding.what == Oddity::Unknown);
        odd.extend(pruned.unknown.into_iter().map(|path| Finding { what: Oddity::Unknown, path }));
    }
    Ok((object, odd))
}

/// The object cannot be what it is said to be.
fn refused(kind: &Kind, why: &str) -> Status {
    let (name, version) = (&kind.kind, &kind.version);
    Status::bad_request(format!("{name} in version \"{version}\" cannot be handled as a {name}: {why}"))
}

/// Refuses what is odd, or tells it, or does not.
fn judge(kind: &Kind, object: Value, odd: &[Finding], mode: FieldValidation) -> Result<Decoded, Status> {
    let warnings: Vec<String> = odd.iter().map(ToString::to_string).collect();
    match mode {
        FieldValidation::Strict if !warnings.is_empty() => {
            Err(refused(kind, &format!("strict decoding error: {}", warnings.join(", "))))
        }
        FieldValidation::Ignore => Ok(Decoded { object, warnings: Vec::new() }),
        FieldValidation::Strict | FieldValidation::Warn => Ok(Decoded { object, warnings }),
    }
}

/// Checks `apiVersion` and `kind` and fills them in where they are absent.
fn identify(kind: &Kind, object: &mut Value) -> Result<(), Status> {
    let (api_version, name) = (kind.api_version(), kind.kind.as_ref());
    let given = meta::api_version(object);
    if !given.is_empty() && given != api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({api_version})"
        )));
    }
    let given = meta::kind(object);
    if !given.is_empty() && given != name {
        return Err(Status::bad_request(format!(
            "{given} in version {api_version:?} cannot be handled as a {name}: the kind in the data ({given}) does not \
             match the expected kind ({name})"
        )));
    }
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".to_owned(), api_version.into());
        map.insert("kind".to_owned(), name.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
