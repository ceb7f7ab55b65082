//! The IPAddress beside each address of a Service: missing ones are made again, wrong ones replaced, orphans removed.
//!
//! A key is an address. Who has it is settled by the server in the Service's own write; this only puts right what somebody
//! did to the IPAddress, and makes those of Services that are older than IPAddresses.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use naru_api::naru::names::{ADDRESS_ALLOCATOR, ADDRESS_FAMILY, ADDRESS_MANAGER};
use naru_client::ObjectRef;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{ApplyError, BY_ADDRESS, Cluster};
use crate::driver::{Controller, Keys};
use crate::ownership::key;
use crate::plan::{Notice, Plan, Write};
use crate::resources::{IP_ADDRESSES, SERVICES};
use crate::views::{IpAddress, Meta, ParentRef, Service};

/// How long after a change an address is looked at: Services and IPAddresses are followed apart, and what was written
/// together is not seen together.
const SETTLE: Duration = Duration::from_secs(1);

/// Keeps the IPAddresses of Services.
pub(crate) struct ServiceAddresses(pub(crate) Arc<Cluster>);

/// One address.
#[derive(Debug)]
pub(crate) struct View {
    pub(super) address: String,
    /// Its IPAddress.
    pub(super) shown: Option<Arc<IpAddress>>,
    /// The Services that say they have it.
    pub(super) holders: Vec<Arc<Service>>,
}

impl Controller for ServiceAddresses {
    type View = View;

    fn name(&self) -> &'static str {
        "serviceaddress"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.addresses.listen(move |change| own.add_at(change.key(), Instant::now() + SETTLE));
        let keys = keys.clone();
        self.0.services.listen(move |change| {
            let of = |side: &Option<Arc<naru_client::Cached<Service>>>| {
                side.as_ref().map(|service| service.view.spec.cluster_ips.clone()).unwrap_or_default()
            };
            let (before, after) = (of(&change.before), of(&change.after));
            if before != after {
                let addresses = before.iter().chain(&after).filter(|address| *address != "None");
                addresses.for_each(|address| keys.add_at(&ObjectRef::cluster(address), Instant::now() + SETTLE));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        let services = self.0.services.list();
        let held = services.iter().flat_map(|service| &service.view.spec.cluster_ips);
        let held = held.filter(|address| *address != "None").map(|address| ObjectRef::cluster(address));
        held.chain(self.0.addresses.list().iter().map(|address| address.key.clone())).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let shown = self.0.addresses.get_ref(key).map(|address| address.view.clone());
        let holders = self.0.services.by_index(BY_ADDRESS, &key.name);
        let holders = holders.into_iter().map(|service| service.view.clone()).collect();
        Some(View { address: key.name.to_string(), shown, holders })
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            if plan.writes.iter().any(|write| matches!(write, Write::Delete { .. })) && self.is_held(key).await? {
                return Err(ApplyError::Conflict { what: format!("the Service of {}", key.name) });
            }
            self.0.apply(plan.writes, plan.notices).await
        })
    }
}

impl ServiceAddresses {
    /// Whether the Service that an IPAddress names has it, by the server's own word: it may be newer than what is seen
    /// here.
    async fn is_held(&self, key: &ObjectRef) -> Result<bool, ApplyError> {
        let Some(shown) = self.0.addresses.get_ref(key) else { return Ok(false) };
        let parent = &shown.view.spec.parent_ref;
        if !is_service(parent) {
            return Ok(false);
        }
        let found = self.0.client.dynamic(SERVICES, Some(&parent.namespace)).get_opt(&parent.name).await;
        let what = format!("ask whether Service {}/{} has {}", parent.namespace, parent.name, key.name);
        let found = found.map_err(|source| ApplyError::Write { what, source })?.unwrap_or_default();
        let addresses = found["spec"]["clusterIPs"].as_array().into_iter().flatten();
        Ok(addresses.filter_map(Value::as_str).any(|address| *address == *key.name))
    }
}

fn is_service(parent: &ParentRef) -> bool {
    parent.group.is_empty() && parent.resource == "services" && !parent.namespace.is_empty()
}

fn is_of(shown: &IpAddress, service: &Meta) -> bool {
    let parent = &shown.spec.parent_ref;
    is_service(parent) && parent.namespace == service.namespace && parent.name == service.name
}

fn labels(address: &str) -> [(&'static str, &'static str); 2] {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    [(ADDRESS_FAMILY, family), (ADDRESS_MANAGER, ADDRESS_ALLOCATOR)]
}

pub(super) fn plan(view: &View) -> Plan {
    let shown = view.shown.as_deref();
    if shown.is_some_and(|shown| shown.metadata.is_deleting()) {
        return Plan::nothing("on its way out");
    }
    let right = shown.and_then(|shown| view.holders.iter().find(|service| is_of(shown, &service.metadata)));
    let Some(service) = right.or(view.holders.first()) else { return orphan(shown) };
    let labels = labels(&view.address);
    match shown {
        None => {
            let mut plan = Plan::nothing("it has no IPAddress");
            plan.push(Write::create(IP_ADDRESSES, object(&view.address, &service.metadata)));
            plan
        }
        Some(shown) if right.is_none() => {
            let mut plan = remove(shown, "its IPAddress is another's");
            plan.notices.push(repairing(&view.address, &service.metadata));
            plan
        }
        Some(shown) if labels.iter().any(|(label, value)| shown.metadata.label(label) != Some(*value)) => {
            let mut plan = Plan::nothing("its IPAddress lacks labels");
            let labels: serde_json::Map<_, _> = labels.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
            let patch = json!({ "metadata": { "uid": shown.metadata.uid, "labels": labels } });
            plan.push(Write::merge(IP_ADDRESSES, key(&shown.metadata), patch));
            plan
        }
        Some(_) => Plan::nothing("up to date"),
    }
}

/// Nobody has the address: an IPAddress that the server made goes, one that somebody made reserves it.
fn orphan(shown: Option<&IpAddress>) -> Plan {
    match shown.filter(|shown| shown.metadata.label(ADDRESS_MANAGER) == Some(ADDRESS_ALLOCATOR)) {
        Some(shown) => remove(shown, "nobody has it"),
        None => Plan::nothing("not a Service's"),
    }
}

fn remove(shown: &IpAddress, reason: &'static str) -> Plan {
    let mut plan = Plan::nothing(reason);
    plan.push(Write::delete(IP_ADDRESSES, key(&shown.metadata), &shown.metadata.uid));
    plan
}

fn object(address: &str, service: &Meta) -> Value {
    let labels: serde_json::Map<_, _> = labels(address).iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": { "name": address, "labels": labels },
        "spec": { "parentRef": { "resource": "services", "namespace": service.namespace, "name": service.name } },
    })
}

fn repairing(address: &str, service: &Meta) -> Notice {
    let [(_, family), _] = labels(address);
    Notice {
        resource: SERVICES,
        key: key(service),
        uid: service.uid.clone(),
        warning: true,
        reason: "ClusterIPNotAllocated",
        message: format!(
            "the ClusterIP [{family}]: {address} for Service {}/{} has a wrong reference; repairing",
            service.namespace, service.name
        ),
    }
}
