//! Request bodies in Kubernetes' protobuf form, which Go clients (kubectl among them) send for typed objects without asking
//! first whether it is understood. In what they are answered is `negotiate`'s.

use naru_api::{Kind, Status};
use serde_json::Value;

/// Reads an object of `kind`, or where there is none the document that the body says it is.
///
/// # Errors
/// 400 for a body that is malformed.
pub(crate) fn decode(kind: Option<&Kind>, body: &[u8]) -> Result<Value, Status> {
    naru_protobuf::decode(kind, body)
        .map_err(|error| Status::bad_request(format!("the protobuf body is not readable: {error}")))
}

#[cfg(test)]
mod tests;
