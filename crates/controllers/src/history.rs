//! ControllerRevisions: the former templates of DaemonSets and StatefulSets, for `kubectl rollout history` and `undo`.

use std::collections::BTreeSet;
use std::sync::Arc;

use naru_client::Resource;
use serde_json::{Value, json};

use crate::deployment::template;
use crate::ownership::{controller_of, key};
use crate::plan::Write;
use crate::resources::REVISIONS;
use crate::views::{ControllerRevision, Meta};

/// Label of pods and revisions: which template.
pub(crate) const HASH: &str = "controller-revision-hash";

/// The template's place in its history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct History {
    /// The present template's hash, as pods carry it.
    pub(crate) hash: String,
    /// The present template's revision name.
    pub(crate) name: String,
    /// What must be written to keep the history.
    pub(crate) writes: Vec<Write>,
}

/// Finds the present template in the history or enters it, and forgets the oldest ones beyond `limit` that no pod has.
pub(crate) fn keep(
    resource: &Resource,
    owner: &Meta,
    template: &Value,
    revisions: &[Arc<ControllerRevision>],
    in_use: &BTreeSet<String>,
    limit: i32,
) -> History {
    let hash = template::hash(template, None);
    let name = format!("{}-{hash}", owner.name);
    let newest = revisions.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let mut writes = Vec::new();
    match revisions.iter().find(|revision| revision.metadata.name == name) {
        None => {
            let mut data = template.clone();
            data["$patch"] = "replace".into();
            let mut labels = template["metadata"]["labels"].clone();
            labels[HASH] = hash.as_str().into();
            writes.push(Write::create(
                REVISIONS,
                json!({
                    "apiVersion": "apps/v1",
                    "kind": "ControllerRevision",
                    "metadata": {
                        "name": name, "namespace": owner.namespace, "labels": labels,
                        "ownerReferences": [controller_of(resource, owner)],
                    },
                    "data": { "spec": { "template": data } },
                    "revision": newest + 1,
                }),
            ));
        }
        // A template that has come back is the newest again.
        Some(known) if known.revision < newest => {
            let patch = json!({ "metadata": { "uid": known.metadata.uid }, "revision": newest + 1 });
            writes.push(Write::merge(REVISIONS, key(&known.metadata), patch));
        }
        Some(_) => {}
    }
    let used = |revision: &ControllerRevision| {
        revision.metadata.name == name || revision.metadata.label(HASH).is_some_and(|hash| in_use.contains(hash))
    };
    let mut old: Vec<_> =
        revisions.iter().filter(|revision| !used(revision) && !revision.metadata.is_deleting()).collect();
    old.sort_by_key(|revision| revision.revision);
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    writes.extend(
        old.into_iter().take(surplus).map(|old| Write::delete(REVISIONS, key(&old.metadata), &old.metadata.uid)),
    );
    History { hash, name, writes }
}

/// The template that a revision holds.
pub(crate) fn template_of(revision: &ControllerRevision) -> Value {
    let mut template = revision.data["spec"]["template"].clone();
    if let Some(map) = template.as_object_mut() {
        map.remove("$patch");
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::view;
    use crate::resources::DAEMON_SETS;

    fn revision(image: &str, number: i64) -> Arc<ControllerRevision> {
        let template = json!({ "image": image });
        let hash = template::hash(&template, None);
        Arc::new(view(json!({
            "metadata": { "name": format!("ds-{hash}"), "uid": image, "labels": { HASH: hash } },
            "data": { "spec": { "template": { "image": image, "$patch": "replace" } } },
            "revision": number,
        })))
    }

    fn keep_(image: &str, revisions: &[Arc<ControllerRevision>], in_use: &[&str]) -> Vec<String> {
        let owner = Meta { name: "ds".into(), namespace: "n".into(), uid: "u".into(), ..Meta::default() };
        let in_use = in_use.iter().map(|image| template::hash(&json!({ "image": image }), None)).collect();
        let history = keep(&DAEMON_SETS, &owner, &json!({ "image": image }), revisions, &in_use, 1);
        history.writes.iter().map(|write| write.to_string().replace(&history.hash, "HASH")).collect()
    }

    #[test]
    fn templates_are_entered_once_and_come_back_as_the_newest() {
        assert_eq!(keep_("a", &[], &[]), ["create controllerrevisions n/ds-HASH"]);
        assert!(keep_("a", &[revision("a", 1)], &[]).is_empty());
        let back = keep_("a", &[revision("a", 1), revision("b", 2)], &[]);
        assert_eq!(back, [r#"patch controllerrevisions ds-HASH {"metadata":{"uid":"a"},"revision":3}"#]);
        assert_eq!(template_of(&revision("a", 1)), json!({ "image": "a" }));
    }

    #[test]
    fn the_oldest_that_nobody_has_are_forgotten() {
        let all = [revision("a", 1), revision("b", 2), revision("c", 3), revision("d", 4)];
        let name = |image: &str| format!("delete controllerrevisions {}", revision(image, 0).metadata.name);
        assert_eq!(keep_("d", &all, &[]), [name("a"), name("b")]);
        assert_eq!(keep_("d", &all, &["a"]), [name("b")]);
    }
}
