//! What becomes of the owners of fields in a write.
//!
//! Who makes an object owns it; an ordinary write gives its writer what it changed. A writer that sends another list than
//! the present one means to change it (that is how clients take over what they once applied themselves), and one that
//! replaces it by one empty entry has all owners forgotten, as in Kubernetes. What others than the writer make of the
//! object afterwards, webhooks for one, is nobody's.

use std::sync::Arc;

use naru_api::apply::{Owners, Writer};
use naru_api::{Kind, meta};
use naru_store::Snapshot;
use serde_json::{Value, json};

use super::WriteOptions;
use crate::admission::{policy, webhook};
use crate::kept;
use crate::routes::Route;
use crate::state::Core;
use crate::versions;

/// Who writes what nobody sent: the server itself.
pub(crate) const SERVER: &str = "kube-apiserver";
/// Whose work in Kubernetes the first contents of a namespace are, and what controllers write.
pub(crate) const CONTROLLERS: &str = "kube-controller-manager";

/// What a write says about owners.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// They are to be forgotten.
    Forget,
    /// Apply settled them: they are these.
    Settled(Owners),
    /// These, and what the writer changes becomes its own.
    Among(Owners),
}

// === impl Said ===

impl Said {
    /// Takes out of `wanted` what it says about owners, which now are `kept`.
    pub(crate) fn take(kept: &Owners, wanted: &mut Value, options: WriteOptions<'_>) -> Said {
        let given = meta::unset(wanted, "managedFields").unwrap_or_default();
        let list = Owners::from_json(&given);
        if options.applied {
            return Said::Settled(list.unwrap_or_default());
        }
        // Nobody says through a subresource whose fields are whose.
        if options.subresource.is_empty() {
            if given == json!([{}]) {
                return Said::Forget;
            }
            if let Some(list) = list {
                return Said::Among(list);
            }
        }
        Said::Among(kept.clone())
    }

    /// Who owns what after a write that turned `old` into `new`, both in the form in which they are worked on.
    pub(crate) fn settle(self, core: &Core, route: &Route, old: &Value, new: &Value, writer: Writer<'_>) -> Owners {
        match self {
            Said::Forget => Owners::default(),
            Said::Settled(owners) => owners,
            Said::Among(mut owners) => {
                let (old, new) = (versions::shown(route, old), versions::shown(route, new));
                owners.track(&route.kind, &old, &new, writer, &|object, to| in_version(core, route, object, to));
                owners
            }
        }
    }
}

/// Who owns what of a new object.
pub(crate) fn of_new(route: &Route, object: &mut Value, options: WriteOptions<'_>, writer: Writer<'_>) -> Owners {
    let given = meta::unset(object, "managedFields").unwrap_or_default();
    if options.applied {
        return Owners::from_json(&given).unwrap_or_default();
    }
    // What was another object's means nothing here.
    Owners::of_new(&route.kind, &versions::shown(route, object), writer)
}

/// Makes `manager` the owner of a new object that comes along with another one.
pub(crate) fn give(kind: &Kind, object: &mut Value, manager: &'static str) {
    let writer = WriteOptions { manager, ..WriteOptions::default() }.writer();
    let owners = Owners::of_new(kind, object, writer);
    kept::put(object, &owners);
}

/// Puts owners where webhooks and policies look for them, if there are any who do. What they make of the list does not
/// count: it is taken out again before the object is stored.
pub(crate) fn show_to_judges(
    core: &Core,
    snapshot: &Snapshot,
    options: WriteOptions<'_>,
    object: &mut Value,
    owners: &Owners,
) {
    if options.notes.is_none() || owners.is_empty() {
        return;
    }
    let policies = policy::Policies::of(core, snapshot);
    let hooks = webhook::Hooks::of(core, snapshot);
    let silent = policies.judges_nothing() && policies.changes_nothing();
    if !silent || !hooks.mutating().is_empty() || !hooks.validating().is_empty() {
        meta::set(object, "managedFields", owners.to_json());
    }
}

/// An object of the route's resource in another version of it: owners speak of the version in which they wrote. Of kinds
/// that users define the name alone changes, also where a webhook would change more: it is not asked for the sake of owners.
pub(crate) fn in_version(core: &Core, route: &Route, object: &Value, to: &str) -> Option<(Arc<Kind>, Value)> {
    let serving = core.serving();
    let find = |api_version: &str| {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        serving.routes.find(group, version, &route.kind.plural).filter(|other| other.collection == route.collection)
    };
    let other = find(to)?;
    if route.custom.is_some() {
        let mut object = object.clone();
        object["apiVersion"] = to.into();
        return Some((other.kind.clone(), object));
    }
    let from = find(meta::api_version(object))?;
    Some((other.kind.clone(), versions::to_served(other, versions::to_stored(from, object.clone()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(manager: &str) -> Value {
        json!([{"manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}}])
    }

    #[test]
    fn owners_stay_are_replaced_or_forgotten() {
        let owners = |manager: &str| Owners::from_json(&entries(manager)).expect("entries");
        let take = |wanted: Value, options: WriteOptions<'_>| Said::take(&owners("old"), &mut wanted.clone(), options);
        let ordinary = WriteOptions::default();
        for silent in [json!({}), json!({"managedFields": []}), json!({"managedFields": [{"manager": "broken"}]})] {
            assert_eq!(take(json!({"metadata": silent}), ordinary), Said::Among(owners("old")), "{silent}");
        }
        let other = json!({"metadata": {"managedFields": entries("new")}});
        assert_eq!(take(other.clone(), ordinary), Said::Among(owners("new")));
        let below = WriteOptions { subresource: "status", ..ordinary };
        assert_eq!(take(other.clone(), below), Said::Among(owners("old")));
        let empty = json!({"metadata": {"managedFields": [{}]}});
        assert_eq!(take(empty.clone(), ordinary), Said::Forget);
        assert_eq!(take(empty, below), Said::Among(owners("old")));
        let mut applied = other;
        let options = WriteOptions { applied: true, ..ordinary };
        assert_eq!(Said::take(&owners("old"), &mut applied, options), Said::Settled(owners("new")));
        assert_eq!(applied, json!({"metadata": {}}));
    }
}
