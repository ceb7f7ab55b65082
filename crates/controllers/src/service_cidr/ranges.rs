//! ServiceCIDRs: ready once they are protected, and gone once no Service has an address that only they hold.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use jiff::Timestamp;
use naru_api::naru::names::{ADDRESS_ALLOCATOR, ADDRESS_MANAGER, SERVICE_CIDR_FINALIZER};
use naru_client::{ListOptions, ObjectRef};
use parking_lot::Mutex;
use serde_json::json;

use crate::cluster::{ApplyError, Cluster};
use crate::driver::{Controller, Keys};
use crate::ownership::{key, without_finalizer};
use crate::plan::{Plan, Write};
use crate::resources::{IP_ADDRESSES, SERVICE_CIDRS};
use crate::views::{Condition, ServiceCidr};

/// Protects ServiceCIDRs and says that they are ready.
pub(crate) struct ServiceCidrs(pub(crate) Arc<Cluster>);

/// One ServiceCIDR.
#[derive(Debug)]
pub(crate) struct View {
    pub(super) cidr: Arc<ServiceCidr>,
    /// How many Services' addresses no other one holds; counted when it is to go.
    pub(super) needed: usize,
}

impl Controller for ServiceCidrs {
    type View = View;

    fn name(&self) -> &'static str {
        "servicecidr"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        // Those that are to go: what becomes of any other one, or of an address, may let them.
        let ending: Arc<Mutex<BTreeSet<ObjectRef>>> = Arc::default();
        let (own, known) = (keys.clone(), ending.clone());
        self.0.service_cidrs.listen(move |change| {
            let mut ending = known.lock();
            let key = change.key();
            if change.after.as_ref().is_some_and(|cidr| cidr.deleting) {
                ending.insert(key.clone());
            } else {
                ending.remove(key);
            }
            own.add(key);
            ending.iter().for_each(|key| own.add(key));
        });
        let keys = keys.clone();
        self.0.addresses.listen(move |change| {
            if change.before.is_some() != change.after.is_some() {
                ending.lock().iter().for_each(|key| keys.add(key));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.0.service_cidrs.list().iter().map(|cidr| cidr.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let cidr = self.0.service_cidrs.get_ref(key)?;
        let needed = if cidr.deleting {
            let addresses = self.0.addresses.list();
            let ours = addresses.iter().filter(|a| a.view.metadata.label(ADDRESS_MANAGER) == Some(ADDRESS_ALLOCATOR));
            needed(&cidr.view, &self.others(key), ours.map(|address| &*address.key.name))
        } else {
            0
        };
        Some(View { cidr: cidr.view.clone(), needed })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan(view, now)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let cidr = self.0.service_cidrs.get_ref(key).filter(|cidr| cidr.deleting);
            let goes = plan.writes.iter().any(|write| matches!(write, Write::Patch { subresource: None, .. }));
            if let (Some(cidr), true) = (cidr, goes) {
                self.confirm(key, &cidr.view).await?;
            }
            self.0.apply(plan.writes, plan.notices).await
        })
    }
}

impl ServiceCidrs {
    /// The others that stay.
    fn others(&self, key: &ObjectRef) -> Vec<Arc<ServiceCidr>> {
        let others = self.0.service_cidrs.list();
        others.iter().filter(|other| other.key != *key && !other.deleting).map(|other| other.view.clone()).collect()
    }

    /// Asks the server itself whether nobody has an address of it: what is seen here may lag behind. None is given any
    /// more, since it is being deleted.
    async fn confirm(&self, key: &ObjectRef, cidr: &ServiceCidr) -> Result<(), ApplyError> {
        let ours = ListOptions::labels(format!("{ADDRESS_MANAGER}={ADDRESS_ALLOCATOR}"));
        let listed = self.0.client.dynamic(IP_ADDRESSES, None).list(&ours).await;
        let failed = |source| ApplyError::Write { what: format!("let ServiceCIDR {} go", key.name), source };
        let items = listed.map_err(failed)?.items;
        match needed(cidr, &self.others(key), items.iter().map(naru_api::meta::name)) {
            0 => Ok(()),
            _ => Err(ApplyError::Conflict { what: format!("what ServiceCIDR {} is needed for", key.name) }),
        }
    }
}

fn ranges(cidr: &ServiceCidr) -> impl Iterator<Item = IpNet> {
    cidr.spec.cidrs.iter().filter_map(|range| range.parse().ok())
}

/// How many addresses lie in the ranges of this one and of no other.
pub(super) fn needed<'a>(
    cidr: &ServiceCidr,
    others: &[Arc<ServiceCidr>],
    addresses: impl Iterator<Item = &'a str>,
) -> usize {
    let holds = |cidr: &ServiceCidr, address: IpAddr| ranges(cidr).any(|range| range.contains(&address));
    let parsed = addresses.filter_map(|address| address.parse::<IpAddr>().ok());
    parsed.filter(|a| holds(cidr, *a) && !others.iter().any(|other| holds(other, *a))).count()
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let meta = &view.cidr.metadata;
    let protected = meta.finalizers.iter().any(|finalizer| finalizer == SERVICE_CIDR_FINALIZER);
    match (meta.is_deleting(), view.needed) {
        (true, 0) => {
            let mut plan = Plan::nothing("nothing needs it");
            if protected {
                plan.push(without_finalizer(SERVICE_CIDRS, meta, SERVICE_CIDR_FINALIZER));
            }
            plan
        }
        (true, needed) => {
            let mut plan = Plan::nothing(format!("{needed} addresses need it"));
            let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new \
                           ServiceCIDR";
            plan.writes.extend(ready(&view.cidr, "False", "Terminating", message, now));
            plan
        }
        (false, _) if !protected => {
            let mut plan = Plan::nothing("protecting it");
            let mut finalizers = meta.finalizers.clone();
            finalizers.push(SERVICE_CIDR_FINALIZER.to_owned());
            let metadata = json!({ "finalizers": finalizers, "resourceVersion": meta.resource_version });
            plan.push(Write::merge(SERVICE_CIDRS, key(meta), json!({ "metadata": metadata })));
            plan
        }
        (false, _) => {
            let mut plan = Plan::nothing("ready");
            plan.writes.extend(ready(&view.cidr, "True", "", "Kubernetes Service CIDR is ready", now));
            plan
        }
    }
}

/// The write that says so, unless it is said already. Conditions of others stay.
fn ready(cidr: &ServiceCidr, status: &str, reason: &str, message: &str, now: Timestamp) -> Option<Write> {
    let known = &cidr.status.conditions;
    if Condition::find(known, "Ready").is_some_and(|had| had.status == status && had.reason == reason) {
        return None;
    }
    let mut conditions: Vec<_> = known.iter().filter(|had| had.kind != "Ready").map(|had| json!(had)).collect();
    conditions.push(json!({
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": naru_api::meta::time(now),
    }));
    let meta = &cidr.metadata;
    let metadata = json!({ "resourceVersion": meta.resource_version });
    let patch = json!({ "metadata": metadata, "status": { "conditions": conditions } });
    Some(Write::status(SERVICE_CIDRS, key(meta), patch))
}
