//! `depends_on` with `restart: true`: a service follows the changes of another.
//!
//! The other's template gets a digest of itself ([`n::TEMPLATE`]); the follower's start gate names that digest. So a
//! change of the one is a change of the other's template — its containers are replaced — and they wait until the
//! containers of the new version meet the condition. Refused: a restart ordered by whoever runs `up`, which a change
//! through `kubectl` would not know of.

use std::collections::BTreeMap;

use naru_api::naru::names as n;
use serde_json::Value;

use super::{Context, label_value, names::digest};

impl Context<'_> {
    /// Ties every follower to what it follows, the followed first, so that changes go all the way down a chain.
    pub(super) fn tie_restarts(&self, workloads: &mut BTreeMap<&str, Value>) {
        let mut done: Vec<&str> = Vec::new();
        let names: Vec<&str> = workloads.keys().copied().collect();
        for name in names {
            self.tie(name, workloads, &mut done);
        }
    }

    fn tie<'n>(&'n self, name: &'n str, workloads: &mut BTreeMap<&str, Value>, done: &mut Vec<&'n str>) {
        if done.contains(&name) {
            return;
        }
        done.push(name);
        let Some(service) = self.project.services.get(name) else { return };
        let followed = service.depends_on.iter().filter(|(_, dependency)| dependency.restart == Some(true));
        for other in followed.map(|(other, _)| self.host(other)).filter(|other| *other != name) {
            self.tie(other, workloads, done);
            let Some(version) = workloads.get_mut(other).map(stamp) else { continue };
            if let Some(notes) = workloads.get_mut(name).and_then(notes) {
                let gates = notes.get(n::START_GATES).and_then(Value::as_str).unwrap_or("[]");
                let mut gates: Vec<Value> = serde_json::from_str(gates).unwrap_or_default();
                for gate in gates.iter_mut().filter(|gate| gate["service"] == label_value(other).as_str()) {
                    gate["template"] = version.clone().into();
                }
                notes.insert(n::START_GATES.to_owned(), Value::from(gates).to_string().into());
            }
        }
    }
}

fn notes(workload: &mut Value) -> Option<&mut serde_json::Map<String, Value>> {
    workload["spec"]["template"]["metadata"]["annotations"].as_object_mut()
}

/// Writes the digest of a workload's template into it, once.
fn stamp(workload: &mut Value) -> String {
    let version = digest(workload["spec"]["template"].to_string().as_bytes())[..12].to_owned();
    let Some(notes) = notes(workload) else { return version };
    let stamped = notes.entry(n::TEMPLATE).or_insert_with(|| version.clone().into());
    stamped.as_str().unwrap_or(&version).to_owned()
}
