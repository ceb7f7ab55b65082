//! Namespaces: whether one takes objects, and what a new one starts with.

use naru_api::naru::names::{FOREGROUND_DELETION, ORPHAN};
use naru_api::validate::names;
use naru_api::{FieldError, Kind, Status, meta};
use naru_store::{Key, Revision, Snapshot};
use serde_json::{Value, json};

use super::Effects;
use crate::encode::TERMINATING;
use crate::state::Core;
use crate::verbs::owners;

/// The ConfigMap with the cluster's CA in every namespace, which token volumes mount.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";

/// The state in which the namespace takes a new object; the write must find it unchanged.
///
/// # Errors
/// 404 when it does not exist, 403 when it is being deleted.
pub(crate) fn open(snapshot: &Snapshot, kind: &Kind, namespace: &str, name: &str) -> Result<(Key, Revision), Status> {
    let key = Key::new("namespaces", "", namespace);
    let Some(entry) = snapshot.get(&key) else {
        let mut status = Status::no_such_path();
        status.message = format!("namespaces {namespace:?} not found");
        status.details = Some(Box::new(naru_api::status::Details {
            name: namespace.to_owned(),
            kind: "namespaces".to_owned(),
            ..Default::default()
        }));
        return Err(status);
    };
    if entry.indexes().iter().any(|(index, _)| *index == TERMINATING) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Status::forbidden(kind, name, &why);
        if let Some(details) = &mut status.details {
            details.causes.push(naru_api::status::Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".to_owned(),
            });
        }
        return Err(status);
    }
    Ok((key, entry.modified))
}

/// Finalizers that may go by their name alone.
const STANDARD: [&str; 3] = ["kubernetes", ORPHAN, FOREGROUND_DELETION];

/// Judges a namespace's own finalizers (`spec.finalizers`), which are written through `finalize`.
///
/// # Errors
/// 422 for names that are none.
pub(crate) fn judge_finalizers(kind: &Kind, namespace: &Value) -> Result<(), Status> {
    let mut errors = Vec::new();
    for (index, value) in namespace["spec"]["finalizers"].as_array().into_iter().flatten().enumerate() {
        let text = value.as_str().unwrap_or_default();
        let fault = match names::label_key(text) {
            Err(why) => why,
            Ok(()) if text.contains('/') || STANDARD.contains(&text) => continue,
            Ok(()) => "name is neither a standard finalizer name nor is it fully qualified".to_owned(),
        };
        errors.push(FieldError::invalid(format!("spec.finalizers[{index}]"), value, fault));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(kind, meta::name(namespace), errors)) }
}

/// Completes a new namespace, which comes with its default service account and the cluster's CA in one transaction, so
/// that a pod can be created in it the moment it exists.
pub(crate) fn admit(core: &Core, namespace: &Value) -> Result<Effects, Status> {
    Ok(Effects { along: contents(core, meta::name(namespace))?, ..Effects::default() })
}

/// What every namespace starts with.
fn contents(core: &Core, namespace: &str) -> Result<Vec<(Key, bytes::Bytes)>, Status> {
    let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}});
    let ca = json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": ROOT_CA, "annotations": {"kubernetes.io/description":
            "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints."}},
        "data": {"ca.crt": core.authority.certificate()},
    });
    [("serviceaccounts", account), ("configmaps", ca)]
        .into_iter()
        .map(|(collection, mut object)| {
            meta::set(&mut object, "namespace", namespace);
            let kind = &core.route("", "v1", collection)?.kind;
            crate::verbs::create::identify(kind, &mut object);
            owners::give(kind, &mut object, owners::CONTROLLERS);
            let key = Key::new(collection, namespace, meta::name(&object));
            let stored = crate::encode::encode(&core.sealer, &key, &object).map_err(Status::internal)?;
            Ok((key, stored))
        })
        .collect()
}
