//! Kinds that are served and on which nothing acts yet: whoever makes one is told, so that it does not look as if it
//! had an effect.

use naru_api::meta;
use naru_store::{Prefix, Snapshot};
use serde_json::Value;

use crate::routes::Route;
use crate::subresource::approval::{self, signers::Signer};

/// What to say about a new object that has no effect.
pub(crate) fn warning(snapshot: &Snapshot, route: &Route, object: &Value) -> Option<String> {
    let missing = match &*route.collection {
        approval::COLLECTION if signed_by_nobody(object) => "no signer of the cluster has this name",
        "horizontalpodautoscalers.autoscaling" => "nothing is scaled by it: set the number of replicas (kubectl scale)",
        "runtimeclasses.node.k8s.io" => "every pod runs with the one runtime of its node",
        "deviceclasses.resource.k8s.io"
        | "resourceclaims.resource.k8s.io"
        | "resourceclaimtemplates.resource.k8s.io"
        | "resourceslices.resource.k8s.io" => "no pod is given devices by this version",
        "csidrivers.storage.k8s.io"
        | "csinodes.storage.k8s.io"
        | "csistoragecapacities.storage.k8s.io"
        | "volumeattachments.storage.k8s.io"
        | "volumeattributesclasses.storage.k8s.io" => "no driver is asked for volumes by this version",
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

fn signed_by_nobody(request: &Value) -> bool {
    let signer = meta::text(request, "spec.signerName");
    signer.starts_with("kubernetes.io/") && Signer::of(signer).is_none()
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
            ("autoscaling", "v2", "horizontalpodautoscalers"),
            ("autoscaling", "v1", "horizontalpodautoscalers"),
            ("flowcontrol.apiserver.k8s.io", "v1", "flowschemas"),
            ("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations"),
            ("node.k8s.io", "v1", "runtimeclasses"),
            ("resource.k8s.io", "v1", "deviceclasses"),
            ("resource.k8s.io", "v1", "resourceclaims"),
            ("resource.k8s.io", "v1", "resourceclaimtemplates"),
            ("resource.k8s.io", "v1", "resourceslices"),
            ("storage.k8s.io", "v1", "csidrivers"),
            ("storage.k8s.io", "v1", "csinodes"),
            ("storage.k8s.io", "v1", "csistoragecapacities"),
            ("storage.k8s.io", "v1", "volumeattachments"),
            ("storage.k8s.io", "v1", "volumeattributesclasses"),
        ] {
            let route = routes.find(group, version, plural).expect("served");
            let collection = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
            assert_eq!(&*route.collection, collection);
        }
    }
}
