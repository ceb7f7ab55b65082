use std::sync::Arc;

use naru_api::naru::names::{FOREGROUND_DELETION, ORPHAN};
use naru_client::ObjectRef;

use super::graph::{Graph, Node};
use super::plan::{View, plan};
use crate::catalog::EssentialMeta;
use crate::resources::{PODS, REPLICA_SETS};
use crate::views::Owner;

fn owner(uid: &str) -> Owner {
    Owner {
        uid: uid.into(),
        name: uid.into(),
        kind: "ReplicaSet".into(),
        api_version: "apps/v1".into(),
        controller: false,
        block_owner_deletion: true,
    }
}

fn node(uid: &str, owners: &[&str], finalizers: &[&str]) -> Node {
    Node {
        resource: Arc::new(if owners.is_empty() { REPLICA_SETS } else { PODS }),
        key: ObjectRef::new("shop", uid),
        uid: uid.into(),
        deleting: !finalizers.is_empty(),
        meta: EssentialMeta {
            owner_references: owners.iter().map(|uid| owner(uid)).collect(),
            finalizers: finalizers.iter().map(|name| (*name).into()).collect(),
            resource_version: "5".into(),
        },
    }
}

fn graph(nodes: &[Node]) -> Graph {
    let mut graph = Graph::default();
    nodes.iter().for_each(|node| drop(graph.apply(node.clone())));
    graph
}

fn planned(graph: &Graph, uid: &str) -> String {
    let plan = plan(&View::of(graph, uid).unwrap());
    plan.writes.iter().map(|write| format!("{write}\n")).collect()
}

#[test]
fn an_object_goes_when_its_last_owner_is_gone() {
    let graph = graph(&[
        node("rs", &[], &[]),
        node("a", &["rs"], &[]),
        node("b", &["gone"], &[]),
        node("c", &["gone", "rs"], &[]),
    ]);
    assert_eq!(planned(&graph, "a"), "");
    assert_eq!(planned(&graph, "b"), "delete pods shop/b\n");
    assert_eq!(planned(&graph, "c"), "", "one owner is enough");
}

#[test]
fn foreground_deletion_deletes_what_is_owned_first() {
    let owner = node("rs", &[], &[FOREGROUND_DELETION, "x/keep"]);
    let mut graph = graph(&[owner, node("a", &["rs"], &[]), node("other", &[], &[]), node("b", &["rs", "other"], &[])]);
    assert_eq!(planned(&graph, "rs"), "");
    assert_eq!(planned(&graph, "a"), "delete pods shop/a\n");
    let released = planned(&graph, "b");
    assert!(
        released.starts_with("patch pods shop/b") && released.contains("other") && !released.contains("\"rs\""),
        "{released}"
    );
    assert_eq!(graph.remove("a"), ["rs"], "the owner is told");
    graph.remove("b");
    let last = planned(&graph, "rs");
    assert_eq!(
        last,
        "patch replicasets shop/rs {\"metadata\":{\"finalizers\":[\"x/keep\"],\"resourceVersion\":\"5\"}}\n"
    );
}

#[test]
fn a_circle_of_owners_is_opened() {
    let waiting = |uid: &str, owner: &str| node(uid, &[owner], &[FOREGROUND_DELETION]);
    let mut graph = graph(&[waiting("a", "c"), node("b", &["a"], &[]), node("c", &["b"], &[])]);
    assert_eq!(planned(&graph, "b"), "delete pods shop/b\n");
    graph.apply(waiting("b", "a"));
    let opened = planned(&graph, "c");
    assert!(opened.starts_with("patch pods shop/c") && !opened.contains("blockOwnerDeletion"), "{opened}");
    let mut free = node("c", &["b"], &[]);
    free.meta.owner_references[0].block_owner_deletion = false;
    graph.apply(free.clone());
    assert_eq!(planned(&graph, "c"), "delete pods shop/c\n");
    free.deleting = true;
    free.meta.finalizers = [FOREGROUND_DELETION.into()].into();
    graph.apply(free);
    assert!(planned(&graph, "b").contains("\"finalizers\":null"), "nothing holds it up any more");
    assert_eq!(planned(&graph, "a"), "", "it waits for that one");
}

#[test]
fn a_chain_of_owners_is_no_circle() {
    let waiting = |uid: &str, owners: &[&str]| node(uid, owners, &[FOREGROUND_DELETION]);
    let graph = graph(&[waiting("a", &[]), waiting("b", &["a"]), waiting("c", &["b"]), node("d", &["c"], &[])]);
    for uid in ["a", "b", "c"] {
        assert_eq!(planned(&graph, uid), "", "{uid} waits for what it owns");
    }
    assert_eq!(planned(&graph, "d"), "delete pods shop/d\n");
}

#[test]
fn orphaning_releases_what_is_owned_first() {
    let mut graph = graph(&[node("rs", &[], &[ORPHAN]), node("a", &["rs"], &[])]);
    assert_eq!(
        planned(&graph, "rs"),
        "patch pods shop/a {\"metadata\":{\"ownerReferences\":null,\"resourceVersion\":\"5\"}}\n"
    );
    assert_eq!(planned(&graph, "a"), "", "and does not delete it meanwhile");
    graph.apply(node("a", &[], &[]));
    assert_eq!(
        planned(&graph, "rs"),
        "patch replicasets shop/rs {\"metadata\":{\"finalizers\":null,\"resourceVersion\":\"5\"}}\n"
    );
}

#[test]
fn changes_concern_owners_and_owned() {
    let mut graph = Graph::default();
    assert!(graph.apply(node("rs", &[], &[])).is_empty(), "a new object without owners concerns nobody");
    assert_eq!(graph.apply(node("a", &["rs"], &[])), ["rs", "a"]);
    assert!(graph.apply(node("a", &["rs"], &[])).is_empty(), "nor does a change of anything else");
    assert_eq!(graph.apply(node("rs", &[], &[FOREGROUND_DELETION])), ["rs", "a"]);
    assert_eq!(graph.remove("rs"), ["a"]);
    assert!(graph.remove("rs").is_empty());
}
