//! Who owns whom, by uid.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use naru_api::naru::names::FOREGROUND_DELETION;
use naru_client::{ObjectRef, Resource};

use crate::catalog::EssentialMeta;

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) resource: Arc<Resource>,
    pub(crate) key: ObjectRef,
    pub(crate) uid: String,
    pub(crate) deleting: bool,
    pub(crate) meta: EssentialMeta,
}

/// Every object that exists, and the objects that name it as an owner.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Node {
    /// Whether its finalizers hold it in this way.
    pub(crate) fn waits_for(&self, finalizer: &str) -> bool {
        self.deleting && self.meta.finalizers.iter().any(|name| &**name == finalizer)
    }
}

impl Graph {
    pub(crate) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub(crate) fn uids(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    pub(crate) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Node> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.nodes.get(uid))
    }

    /// Whether an object holds up owners, directly or through others that wait, that it owns itself in the end: each
    /// would wait for the next for ever.
    pub(crate) fn is_circular(&self, uid: &str) -> bool {
        let mut seen = HashSet::new();
        let mut next = vec![uid];
        while let Some(held) = next.pop().and_then(|uid| self.nodes.get(uid)) {
            for owner in held.meta.owner_references.iter().filter(|owner| owner.block_owner_deletion) {
                if owner.uid == uid {
                    return true;
                }
                let waits = self.nodes.get(&owner.uid).is_some_and(|node| node.waits_for(FOREGROUND_DELETION));
                if waits && seen.insert(owner.uid.as_str()) {
                    next.push(&owner.uid);
                }
            }
        }
        false
    }

    /// Takes an object's newest state; returns whom it concerns.
    pub(crate) fn apply(&mut self, node: Node) -> Vec<String> {
        let uid = node.uid.clone();
        let known = self.nodes.get(&uid);
        let same = known.is_some_and(|known| {
            known.deleting == node.deleting
                && known.meta.owner_references == node.meta.owner_references
                && known.meta.finalizers == node.meta.finalizers
        });
        let mut concerned = Vec::new();
        if !same {
            let former = known.map(|known| known.meta.owner_references.clone()).unwrap_or_default();
            for owner in &former {
                self.forget(&owner.uid, &uid);
            }
            for owner in &node.meta.owner_references {
                self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            }
            concerned.extend(former.iter().chain(&node.meta.owner_references).map(|owner| owner.uid.clone()));
            // Those that own nothing, and that nobody owns, concern nobody.
            if !node.meta.owner_references.is_empty() || node.deleting {
                concerned.push(uid.clone());
            }
            if node.deleting {
                concerned.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
            }
        }
        self.nodes.insert(uid, node);
        concerned
    }

    /// Takes an object's end; returns whom it concerns.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut concerned: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        for owner in &node.meta.owner_references {
            self.forget(&owner.uid, uid);
            concerned.push(owner.uid.clone());
        }
        concerned
    }

    fn forget(&mut self, owner: &str, uid: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(uid);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}
