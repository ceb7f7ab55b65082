//! What becomes of `metadata.managedFields` in a write.
//!
//! Owners are kept from the first server-side apply on. An ordinary write gives its writer what it changed; a writer
//! that sends another list than the present one means to change it (that is how clients take over what they once
//! applied themselves), and one that empties it forgets all owners, as in Kubernetes.

use naru_api::apply::{Writer, track};
use naru_api::{Kind, meta};
use serde_json::{Value, json};

/// What a write says about owners.
#[derive(Debug, PartialEq)]
pub(crate) enum Owners {
    /// There are none.
    Nobody,
    /// Apply settled them: they are these.
    Settled(Value),
    /// These, and what the writer changes becomes its own.
    Among(Value),
}

// === impl Owners ===

impl Owners {
    /// Takes the owners out of `wanted`, which is to replace `old`.
    pub(crate) fn take(old: &Value, wanted: &mut Value, applied: bool) -> Owners {
        let given = meta::unset(wanted, "managedFields").filter(Value::is_array);
        if applied {
            return given.map_or(Owners::Nobody, Owners::Settled);
        }
        match given {
            Some(given) if given == json!([]) || given == json!([{}]) => Owners::Nobody,
            Some(given) => Owners::Among(given),
            None => old["metadata"].get("managedFields").cloned().map_or(Owners::Nobody, Owners::Among),
        }
    }

    /// Puts the owners into `new`, which is all that `old` becomes.
    pub(crate) fn settle(self, kind: &Kind, old: &Value, new: &mut Value, writer: Writer<'_>) {
        match self {
            Owners::Nobody => drop(meta::unset(new, "managedFields")),
            Owners::Settled(list) => meta::set(new, "managedFields", list),
            Owners::Among(list) => {
                meta::set(new, "managedFields", list.clone());
                if old["metadata"].get("managedFields") == Some(&list) {
                    track(kind, old, new, writer);
                } else {
                    let mut before = old.clone();
                    meta::set(&mut before, "managedFields", list);
                    track(kind, &before, new, writer);
                }
            }
        }
        sort(new);
    }
}

/// Orders the owners, so that writers who take turns and change nothing write nothing.
fn sort(object: &mut Value) {
    let list = object.get_mut("metadata").and_then(|m| m.get_mut("managedFields")).and_then(Value::as_array_mut);
    let Some(list) = list else { return };
    list.sort_by(|a, b| {
        let key =
            |v: &'_ Value| ["operation", "time", "manager", "subresource"].map(|k| v[k].as_str().map(str::to_owned));
        key(a).cmp(&key(b))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_stay_are_replaced_or_forgotten() {
        let list = json!([{"manager": "m", "operation": "Apply"}]);
        let old = json!({"metadata": {"managedFields": list}});
        let take = |wanted: Value| Owners::take(&old, &mut wanted.clone(), false);
        assert_eq!(take(json!({"metadata": {}})), Owners::Among(list.clone()));
        let other = json!([{"manager": "n"}]);
        assert_eq!(take(json!({"metadata": {"managedFields": other}})), Owners::Among(other.clone()));
        assert_eq!(take(json!({"metadata": {"managedFields": [{}]}})), Owners::Nobody);
        let mut applied = json!({"metadata": {"managedFields": other}});
        assert_eq!(Owners::take(&old, &mut applied, true), Owners::Settled(other));
        assert_eq!(applied, json!({"metadata": {}}));
    }
}
