//! YAML as Kubernetes reads it.
//!
//! Manifests are read with the rules of YAML 1.1 that Kubernetes' own parser keeps: `0644` is an octal number (modes of
//! volumes), `yes` and `on` are true, anchors and `<<` work. Limits keep a small file from growing into a large object.

use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Options};

use super::seed::RootSeed;

/// Nesting beyond this is refused, as it is in JSON: objects are kept as such.
const DEPTH: usize = 127;

fn options(duplicates: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        duplicate_keys: duplicates,
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: DEPTH,
            max_nodes: 4_000_000,
            max_events: 12_000_000,
            max_total_scalar_bytes: 64 << 20,
        },
    }
}

/// Reads one document along a schema.
pub(super) fn parse(seed: RootSeed<'_, '_>, body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|e| format!("the text is not UTF-8: {e}"))?;
    serde_saphyr::with_deserializer_from_str_with_options(text, options(DuplicateKeyPolicy::PassThrough), |d| {
        seed.deserialize(d)
    })
    .map_err(|e| e.to_string())
}

/// The first field of a document that stands there twice, as other servers tell it: by its line.
pub(super) fn repeated(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let read: Result<Value, _> = serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::Error));
    match read.err()? {
        serde_saphyr::Error::DuplicateMappingKey { key, location } => {
            Some(format!("line {}: key {:?} already set in map", location.line(), key.unwrap_or_default()))
        }
        _ => None,
    }
}

/// Reads one document without a schema.
pub(super) fn untyped(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|e| format!("the text is not UTF-8: {e}"))?;
    serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::Error)).map_err(|e| e.to_string())
}
