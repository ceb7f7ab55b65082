//! Pod templates: whether two are the same, and the hash by which sets are named.

use naru_api::naru::names;
use serde_json::Value;

/// Whether two templates make the same pods; the hash label, which the controller itself adds, does not count.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    bare(one) == bare(other)
}

/// A template without the hash label.
pub(crate) fn bare(template: &Value) -> Value {
    let mut bare = template.clone();
    if let Some(meta) = bare.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("creationTimestamp");
        if let Some(labels) = meta.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(names::POD_TEMPLATE_HASH);
        }
    }
    bare
}

/// A short name for a template; `collisions` makes another one of the same.
pub(crate) fn hash(template: &Value, collisions: Option<i32>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    // Keys of objects are sorted, so equal templates are equal text.
    feed(bare(template).to_string().as_bytes());
    if let Some(collisions) = collisions {
        feed(&collisions.to_le_bytes());
    }
    // No vowels, so that no hash spells a word; no digits that look like letters.
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = String::with_capacity(10);
    for _ in 0..10 {
        text.push(ALPHABET[(hash % ALPHABET.len() as u64) as usize] as char);
        hash /= ALPHABET.len() as u64;
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_label_is_not_part_of_a_template() {
        let plain = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "x": 1 } });
        let mut labelled = plain.clone();
        labelled["metadata"]["labels"][names::POD_TEMPLATE_HASH] = "h".into();
        assert!(same(&plain, &labelled));
        assert_eq!(hash(&plain, None), hash(&labelled, None));
        let mut other = plain.clone();
        other["spec"]["x"] = 2.into();
        assert!(!same(&plain, &other));
        assert_ne!(hash(&plain, None), hash(&other, None));
        assert_ne!(hash(&plain, None), hash(&plain, Some(1)));
        assert_eq!(hash(&plain, None).len(), 10);
    }
}
