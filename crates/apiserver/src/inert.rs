//! Kinds that are served and on which nothing acts yet: whoever makes one is told, so that it does not look as if it
//! had an effect. And groups that are not served, whose refusal says what to do instead.

use naru_api::{Status, meta};
use naru_store::{Prefix, Snapshot};
use serde_json::Value;

use crate::routes::Route;
use crate::subresource::approval::SIGNER;

/// The refusal of a kind that is not served.
pub(crate) fn absent(group: &str) -> Status {
    let mut status = Status::no_such_path();
    match group {
        "autoscaling" => {
            status.message = "this version scales nothing by itself: set the number of replicas (kubectl scale)".into();
        }
        "apiextensions.k8s.io" => status.message = "this version serves no custom resources".into(),
        "admissionregistration.k8s.io" => status.message = "this version calls no admission webhooks".into(),
        _ => {}
    }
    status
}

/// What to say about a new object that has no effect.
pub(crate) fn warning(snapshot: &Snapshot, route: &Route, object: &Value) -> Option<String> {
    let missing = match &*route.collection {
        "limitranges" | "resourcequotas" => "limits of namespaces are not enforced by this version",
        "certificatesigningrequests.certificates.k8s.io" if signed_by_cluster(object) => {
            "this version signs only for kubernetes.io/kube-apiserver-client"
        }
        "certificatesigningrequests.certificates.k8s.io"
            if meta::text(object, "spec.signerName") == SIGNER && object["spec"].get("expirationSeconds").is_some() =>
        {
            "its certificate will be valid for a year, whatever expirationSeconds says"
        }
        // As in every cluster, somebody has to install what serves it; the class is how that shows.
        "ingresses.networking.k8s.io"
            if snapshot.count(&Prefix::collection("ingressclasses.networking.k8s.io")) == 0 =>
        {
            "no ingress controller serves it: install one with its IngressClass, or publish a Service"
        }
        _ => return None,
    };
    Some(format!("this {} is kept, but {missing}", route.kind.kind))
}

fn signed_by_cluster(request: &Value) -> bool {
    let signer = meta::text(request, "spec.signerName");
    signer.starts_with("kubernetes.io/") && signer != SIGNER
}

#[cfg(test)]
mod tests {
    use naru_api::Registry;

    #[test]
    fn every_kind_named_here_is_served() {
        let routes = crate::routes::Routes::of(&Registry::builtin());
        for (group, version, plural) in [
            ("", "v1", "limitranges"),
            ("", "v1", "resourcequotas"),
            ("certificates.k8s.io", "v1", "certificatesigningrequests"),
            ("networking.k8s.io", "v1", "ingresses"),
            ("networking.k8s.io", "v1", "ingressclasses"),
        ] {
            let route = routes.find(group, version, plural).expect("served");
            let collection = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
            assert_eq!(&*route.collection, collection);
        }
    }
}
