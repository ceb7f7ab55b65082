//! What every namespace is given: the ServiceAccount `default` and the authority's certificate for its pods.

use std::sync::Arc;

use jiff::Timestamp;
use naru_client::ObjectRef;
use serde_json::json;

use crate::cluster::Cluster;
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::resources::{CONFIG_MAPS, SERVICE_ACCOUNTS};
use crate::views::Namespace;

const CERTIFICATE: &str = "kube-root-ca.crt";

/// Provides every namespace with what its pods expect.
pub(crate) struct Provision {
    pub(crate) cluster: Arc<Cluster>,
    /// The authority's certificate, PEM; empty for none.
    pub(crate) certificate: Arc<str>,
}

/// One namespace and what it lacks.
#[derive(Debug)]
pub(crate) struct View {
    pub(super) namespace: Arc<Namespace>,
    pub(super) has_account: bool,
    /// The certificate's ConfigMap: absent, or whether it holds the certificate.
    pub(super) certificate: Option<bool>,
    pub(super) wanted: Arc<str>,
}

impl Controller for Provision {
    type View = View;

    fn name(&self) -> &'static str {
        "serviceaccount"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.cluster.namespaces.listen(move |change| own.add(change.key()));
        let from_accounts = keys.clone();
        self.cluster.service_accounts.listen(move |change| {
            if &*change.key().name == "default" {
                from_accounts.add(&ObjectRef::cluster(&change.key().namespace));
            }
        });
        let keys = keys.clone();
        self.cluster.root_certificates.listen(move |change| keys.add(&ObjectRef::cluster(&change.key().namespace)));
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.cluster.namespaces.list().iter().map(|namespace| namespace.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let namespace = self.cluster.namespaces.get_ref(key)?.view.clone();
        let has_account = self.cluster.service_accounts.get(&key.name, "default").is_some();
        let map = self.cluster.root_certificates.get(&key.name, CERTIFICATE);
        let certificate = map.map(|map| map.view.data.get("ca.crt").is_some_and(|pem| **pem == *self.certificate));
        Some(View { namespace, has_account, certificate, wanted: self.certificate.clone() })
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }
}

pub(super) fn plan(view: &View) -> Plan {
    let meta = &view.namespace.metadata;
    let mut plan = Plan::nothing("provided");
    if meta.is_deleting() || view.namespace.status.phase == "Terminating" {
        return Plan::nothing("on its way out");
    }
    if !view.has_account {
        plan.push(Write::create(
            SERVICE_ACCOUNTS,
            json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": { "name": "default", "namespace": meta.name },
            }),
        ));
    }
    let data = json!({ "ca.crt": &*view.wanted });
    match view.certificate {
        _ if view.wanted.is_empty() => {}
        Some(true) => {}
        Some(false) => {
            plan.push(Write::merge(CONFIG_MAPS, ObjectRef::new(&meta.name, CERTIFICATE), json!({ "data": data })));
        }
        None => plan.push(Write::create(
            CONFIG_MAPS,
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": { "name": CERTIFICATE, "namespace": meta.name },
                "data": data,
            }),
        )),
    }
    if !plan.writes.is_empty() {
        plan.reason = "providing".into();
    }
    plan
}
