//! The decision about one object.

use naru_api::naru::names::{FOREGROUND_DELETION, ORPHAN};
use serde_json::{Value, json};

use super::graph::{Graph, Node};
use super::options;
use crate::plan::{Plan, Write};
use crate::views::Owner;

/// One object, its owners by what is known of them, and what it owns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) object: Node,
    /// Owners that exist and stay.
    pub(crate) solid: Vec<Owner>,
    /// Owners that nothing is known of.
    pub(crate) absent: Vec<Owner>,
    /// Owners that wait for this object to go first.
    pub(crate) waiting: Vec<Owner>,
    /// Whether it holds up owners that it would have to wait for itself.
    pub(crate) circular: bool,
    /// What it owns.
    pub(crate) dependents: Vec<Node>,
}

impl View {
    pub(crate) fn of(graph: &Graph, uid: &str) -> Option<View> {
        let object = graph.get(uid)?.clone();
        let (mut solid, mut absent, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for owner in &object.meta.owner_references {
            match graph.get(&owner.uid) {
                None => absent.push(owner.clone()),
                Some(known) if known.waits_for(FOREGROUND_DELETION) => waiting.push(owner.clone()),
                Some(_) => solid.push(owner.clone()),
            }
        }
        // They matter only to whoever waits for them: an owner of thousands is looked at whenever one of them changes.
        let dependents =
            if object.deleting || !waiting.is_empty() { graph.dependents(uid).cloned().collect() } else { Vec::new() };
        let circular = !waiting.is_empty() && graph.is_circular(uid);
        Some(View { object, solid, absent, waiting, circular, dependents })
    }
}

pub(super) fn plan(view: &View) -> Plan {
    let object = &view.object;
    let mut plan = Plan::nothing("owned");
    if object.waits_for(ORPHAN) {
        release_all(&mut plan, view);
        return plan;
    }
    if view.circular {
        // The circle is opened here; what is to be done besides follows, seeing this.
        plan.reason = "its owners wait for it in a circle".into();
        let open = |owner: &Owner| {
            let closes = view.waiting.contains(owner) || owner.uid == object.uid;
            let blocks = owner.block_owner_deletion && !closes;
            Owner { block_owner_deletion: blocks, ..owner.clone() }
        };
        let owners: Vec<_> = object.meta.owner_references.iter().map(open).collect();
        plan.push(with_owners(object, owners.iter()));
        return plan;
    }
    if object.waits_for(FOREGROUND_DELETION) {
        let blocks = |dependent: &&Node| {
            let mut owners = dependent.meta.owner_references.iter();
            owners.any(|owner| owner.uid == object.uid && owner.block_owner_deletion)
        };
        match view.dependents.iter().filter(blocks).count() {
            0 => {
                plan.reason = "what it owned is gone".into();
                plan.push(without_finalizer(object, FOREGROUND_DELETION));
            }
            left => plan.reason = format!("waits for {left} objects that it owns").into(),
        }
        return plan;
    }
    if object.deleting || (view.absent.is_empty() && view.waiting.is_empty()) {
        return plan;
    }
    if view.solid.is_empty() {
        plan.reason = "its owners are gone".into();
        let mut options = options(object);
        if !view.waiting.is_empty() && !view.dependents.is_empty() {
            // An owner that goes last wants what this one owns gone before it.
            options = options.propagation(naru_client::Propagation::Foreground);
        }
        plan.push(Write::Delete { resource: (*object.resource).clone(), key: object.key.clone(), options });
    } else if !view.waiting.is_empty() {
        // Somebody else still owns it: it must not hold up the owner that waits.
        plan.reason = "it has another owner".into();
        let keep = |owner: &&Owner| view.solid.contains(owner) || view.absent.contains(owner);
        plan.push(with_owners(object, object.meta.owner_references.iter().filter(keep)));
    }
    plan
}

/// Takes the object away from everything that it owns, then lets it go.
fn release_all(plan: &mut Plan, view: &View) {
    let object = &view.object;
    if view.dependents.is_empty() {
        plan.reason = "what it owned is released".into();
        plan.push(without_finalizer(object, ORPHAN));
        return;
    }
    plan.reason = format!("releasing {} objects", view.dependents.len()).into();
    for dependent in &view.dependents {
        let left = dependent.meta.owner_references.iter().filter(|owner| owner.uid != object.uid);
        plan.push(with_owners(dependent, left));
    }
}

fn with_owners<'a>(object: &Node, owners: impl Iterator<Item = &'a Owner>) -> Write {
    let owners: Vec<_> = owners.collect();
    let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
    merge(object, json!({ "ownerReferences": owners }))
}

fn without_finalizer(object: &Node, finalizer: &str) -> Write {
    let left: Vec<_> = object.meta.finalizers.iter().filter(|name| &***name != finalizer).collect();
    let left = if left.is_empty() { Value::Null } else { json!(left) };
    merge(object, json!({ "finalizers": left }))
}

fn merge(object: &Node, mut metadata: Value) -> Write {
    metadata["resourceVersion"] = (*object.meta.resource_version).into();
    Write::merge((*object.resource).clone(), object.key.clone(), json!({ "metadata": metadata }))
}
