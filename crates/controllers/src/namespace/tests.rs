use std::sync::Arc;

use naru_client::ObjectRef;
use serde_json::json;

use super::{end, provision};
use crate::catalog::Held;
use crate::fixtures::{noon, view};
use crate::plan::Write;
use crate::resources::PODS;
use crate::views::Namespace;

fn namespace(phase: &str) -> Arc<Namespace> {
    Arc::new(view(json!({
        "metadata": { "name": "shop", "uid": "n" },
        "spec": { "finalizers": ["kubernetes", "x/y"] },
        "status": { "phase": phase },
    })))
}

fn held(name: &str, deleting: bool) -> Held {
    let finalizers = if deleting { vec!["x/stuck".into()] } else { vec![] };
    Held { resource: PODS, key: ObjectRef::new("shop", name), uid: name.into(), deleting, finalizers }
}

#[test]
fn everything_is_deleted_before_the_namespace_goes() {
    let look = |contents| end::plan(&end::View { namespace: namespace("Terminating"), contents }, noon());
    let first = look(vec![held("a", false), held("b", true)]);
    assert_eq!(first.writes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["delete pods shop/a"]);
    let stuck = look(vec![held("b", true)]).to_string();
    assert!(
        stuck.contains("pods has 1 resource instances") && stuck.contains("x/stuck in 1 resource instances"),
        "{stuck}"
    );
    let last = look(vec![]);
    let [Write::Put { subresource: "finalize", body, .. }] = &last.writes[..] else { panic!("{last}") };
    assert_eq!(body["spec"]["finalizers"], json!(["x/y"]), "others' finalizers stay");
}

#[test]
fn every_namespace_is_given_an_account_and_the_certificate() {
    let look = |phase: &str, has_account, certificate| {
        let view = provision::View { namespace: namespace(phase), has_account, certificate, wanted: "PEM".into() };
        provision::plan(&view).writes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        look("Active", false, None),
        ["create serviceaccounts shop/default", "create configmaps shop/kube-root-ca.crt"]
    );
    assert_eq!(
        look("Active", true, Some(false)),
        [r#"patch configmaps shop/kube-root-ca.crt {"data":{"ca.crt":"PEM"}}"#]
    );
    assert!(look("Active", true, Some(true)).is_empty());
    assert!(look("Terminating", false, None).is_empty());
}
