//! How far a JSON patch may take an object: no deeper than what can be read again, and no larger by copying.
//!
//! A patch of some kilobytes can double an object with each `copy`, and nest it in itself with each `move`; either is
//! found before it is done, since dropping a document that is deep enough already ends the process.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::status::{Reason, Status};

/// How many bytes copies may add, as much as a request may have (Kubernetes' limit).
const COPIED: usize = 3 << 20;
/// How deep an object may be after a patch: what reads it again stops at 128.
const DEPTH: usize = 120;

/// What copies may still add to an object, in bytes.
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Room {
        Room(COPIED)
    }
}

/// Whether the next operation of a patch keeps an object within its bounds.
///
/// # Errors
/// 413 when it does not.
pub(super) fn check(object: &Value, operation: &PatchOperation, room: &mut Room) -> Result<(), Status> {
    let (value, path) = match operation {
        PatchOperation::Add(add) => (Some(&add.value), add.path.as_str()),
        PatchOperation::Replace(replace) => (Some(&replace.value), replace.path.as_str()),
        PatchOperation::Move(moved) => (object.pointer(moved.from.as_str()), moved.path.as_str()),
        PatchOperation::Copy(copy) => (object.pointer(copy.from.as_str()), copy.path.as_str()),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => (None, ""),
    };
    if let Some(value) = value {
        let above = path.bytes().filter(|byte| *byte == b'/').count();
        if !DEPTH.checked_sub(above).is_some_and(|left| is_shallow(value, left)) {
            return Err(too_large(format!("the patch nests the object deeper than {DEPTH} levels")));
        }
        if matches!(operation, PatchOperation::Copy(_)) {
            let left = room.0.checked_sub(value.to_string().len());
            let why = || too_large(format!("the copies of the patch add more than {COPIED} bytes to the object"));
            room.0 = left.ok_or_else(why)?;
        }
    }
    Ok(())
}

fn too_large(why: String) -> Status {
    Status::new(Reason::RequestEntityTooLarge, why)
}

/// Whether a value nests no deeper than so many levels. It looks no further than that itself.
fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_shallow(item, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|field| is_shallow(field, levels - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use json_patch::Patch;
    use serde_json::{Value, json};

    use super::{DEPTH, Room, check};

    /// Applies operations one after another: how many were done, and the code of the refusal of the next.
    fn applied(object: &mut Value, operations: &Value) -> (usize, u16) {
        let patch: Patch = serde_json::from_value(operations.clone()).expect("a patch");
        let mut room = Room::default();
        for (done, operation) in patch.0.iter().enumerate() {
            if let Err(status) = check(object, operation, &mut room) {
                return (done, status.code);
            }
            json_patch::patch(object, std::slice::from_ref(operation)).expect("done");
        }
        (patch.0.len(), 200)
    }

    #[test]
    fn copies_double_an_object_only_as_far_as_a_request_may_be_long() {
        let mut object = json!({"data": {"k": "x".repeat(100_000)}});
        let doubling: Vec<Value> =
            (0..60).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")})).collect();
        let (done, code) = applied(&mut object, &doubling.into());
        assert!((3..6).contains(&done), "{done}");
        assert_eq!(code, 413);
        let small: Vec<Value> =
            (0..60).map(|n| json!({"op": "copy", "from": "/a", "path": format!("/b{n}")})).collect();
        assert_eq!(applied(&mut json!({"a": {"k": "v"}}), &small.into()), (60, 200));
    }

    #[test]
    fn an_object_is_nested_no_deeper_than_it_can_be_read() {
        let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"a": inner}));
        let add =
            |above: usize, levels: usize| json!([{"op": "add", "path": "/a".repeat(above), "value": nested(levels)}]);
        assert_eq!(applied(&mut nested(DEPTH), &add(2, DEPTH - 3)), (1, 200));
        assert_eq!(applied(&mut nested(DEPTH), &add(2, DEPTH - 2)), (0, 413));
        assert_eq!(applied(&mut nested(DEPTH), &add(DEPTH + 1, 0)), (0, 413));
        for op in ["move", "copy"] {
            let into = "/b".to_owned() + &"/a".repeat(60);
            let into_itself = json!([{"op": op, "from": "/a", "path": into}]);
            let mut object = json!({"a": nested(70), "b": nested(60)});
            assert_eq!(applied(&mut object, &into_itself), (0, 413), "{op}");
            let mut object = json!({"a": nested(30), "b": nested(60)});
            assert_eq!(applied(&mut object, &into_itself), (1, 200), "{op}");
        }
    }
}
