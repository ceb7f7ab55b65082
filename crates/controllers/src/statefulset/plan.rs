//! The decision about one StatefulSet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::View;
use super::make;
use crate::history::{self, HASH};
use crate::ownership::key;
use crate::plan::{Plan, Write};
use crate::pods::{Availability, availability};
use crate::resources::{PODS, STATEFUL_SETS};
use crate::views::{Pod, StatefulSet};

/// A set with its pods by number.
struct Look<'a> {
    set: &'a StatefulSet,
    pods: BTreeMap<i32, &'a Arc<Pod>>,
    first: i32,
    replicas: i32,
    parallel: bool,
    now: Timestamp,
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let set = &*view.set;
    let mut plan = Plan::nothing("in balance");
    let mut in_use: BTreeSet<String> =
        view.pods.iter().filter_map(|pod| pod.metadata.label(HASH).map(str::to_owned)).collect();
    let current = set.status["currentRevision"].as_str().unwrap_or_default();
    let current = view.revisions.iter().find(|revision| revision.metadata.name == current);
    in_use.extend(current.and_then(|revision| revision.metadata.label(HASH).map(str::to_owned)));
    let limit = set.spec.revision_history_limit.unwrap_or(10);
    let update = history::keep(&STATEFUL_SETS, &set.metadata, &set.spec.template, &view.revisions, &in_use, limit);
    // Below the partition pods are made of the template before.
    let (former, former_hash, former_name) = match current {
        Some(revision) => {
            let hash = revision.metadata.label(HASH).unwrap_or_default().to_owned();
            (history::template_of(revision), hash, revision.metadata.name.clone())
        }
        None => (set.spec.template.clone(), update.hash.clone(), update.name.clone()),
    };
    let look = Look {
        set,
        pods: view.pods.iter().filter_map(|pod| Some((make::number(set, pod)?, pod))).collect(),
        first: set.spec.ordinals.as_ref().and_then(|ordinals| ordinals["start"].as_i64()).unwrap_or(0) as i32,
        replicas: set.spec.replicas.unwrap_or(1).max(0),
        parallel: set.spec.pod_management_policy == "Parallel",
        now,
    };
    if !set.metadata.is_deleting() {
        plan.writes.extend(update.writes.clone());
        let partition = look.partition();
        let make = |number: i32| {
            let (template, hash) =
                if number < partition { (&former, &former_hash) } else { (&set.spec.template, &update.hash) };
            make::pod(set, template, hash, number, &view.claims)
        };
        let steady = look.supply(&mut plan, make) && look.shrink(&mut plan);
        if steady {
            look.roll(&mut plan, &update.hash, partition);
        }
    }
    look.status(&mut plan, &update.hash, &update.name, &former_hash, &former_name);
    plan
}

impl Look<'_> {
    fn wanted(&self) -> std::ops::Range<i32> {
        self.first..self.first.saturating_add(self.replicas)
    }

    fn partition(&self) -> i32 {
        let strategy = &self.set.spec.update_strategy;
        match (&strategy.rolling_update, strategy.kind.as_str()) {
            // Whoever is deleted by hand comes back as new.
            (_, "OnDelete") => self.first,
            (Some(rolling), _) => rolling.partition.max(self.first),
            (None, _) => self.first,
        }
    }

    fn available(&self, pod: &Pod) -> bool {
        !pod.metadata.is_deleting() && availability(pod, self.set.spec.min_ready_seconds, self.now) == Availability::Yes
    }

    fn delete(&self, plan: &mut Plan, pod: &Pod) {
        plan.push(Write::delete(PODS, key(&pod.metadata), &pod.metadata.uid));
    }

    /// Makes the pods that are missing: in order each when all before it are available, or all at once. Returns
    /// whether none is missing and (in order) all are available.
    fn supply(&self, plan: &mut Plan, make: impl Fn(i32) -> Vec<Write>) -> bool {
        let mut steady = true;
        for number in self.wanted() {
            match self.pods.get(&number) {
                None => {
                    plan.reason = format!("creating pod {number}").into();
                    plan.writes.extend(make(number));
                    steady = false;
                }
                Some(pod) if pod.is_finished() && !pod.metadata.is_deleting() => {
                    plan.reason = format!("replacing pod {number}").into();
                    self.delete(plan, pod);
                    steady = false;
                }
                Some(pod) if self.available(pod) => continue,
                Some(pod) => {
                    if let Availability::From(from) = availability(pod, self.set.spec.min_ready_seconds, self.now) {
                        plan.again_at(from);
                    }
                    if self.parallel && !pod.metadata.is_deleting() {
                        continue;
                    }
                    steady = false;
                }
            }
            if !self.parallel {
                return steady;
            }
        }
        steady
    }

    /// Takes away the pods beyond the number: from the highest, each when the one above it is gone, or all at once.
    fn shrink(&self, plan: &mut Plan) -> bool {
        let mut steady = true;
        for (number, pod) in self.pods.iter().rev().filter(|(number, _)| !self.wanted().contains(number)) {
            steady = false;
            if !pod.metadata.is_deleting() {
                plan.reason = format!("deleting pod {number}").into();
                self.delete(plan, pod);
            }
            if !self.parallel {
                break;
            }
        }
        steady
    }

    /// Replaces pods of another template, from the highest number down, one at a time.
    fn roll(&self, plan: &mut Plan, hash: &str, partition: i32) {
        if self.set.spec.update_strategy.kind == "OnDelete" {
            return;
        }
        for (number, pod) in self.pods.iter().rev().filter(|(number, _)| **number >= partition) {
            if pod.metadata.label(HASH) != Some(hash) {
                if !pod.metadata.is_deleting() {
                    plan.reason = format!("updating pod {number}").into();
                    self.delete(plan, pod);
                }
                return;
            }
            if !self.available(pod) {
                return;
            }
        }
    }

    fn status(&self, plan: &mut Plan, hash: &str, update: &str, former_hash: &str, former: &str) {
        let living = || self.pods.values().filter(|pod| !pod.metadata.is_deleting() && !pod.is_finished());
        let count = |test: &dyn Fn(&Pod) -> bool| living().filter(|pod| test(pod)).count();
        let updated = count(&|pod| pod.metadata.label(HASH) == Some(hash));
        let replicas = count(&|_| true);
        let available = count(&|pod| self.available(pod));
        let done = updated == replicas && available == replicas && i32::try_from(replicas) == Ok(self.replicas);
        let current = if done { update } else { former };
        let of_current = if done { updated } else { count(&|pod| pod.metadata.label(HASH) == Some(former_hash)) };
        let or_absent = |count: usize| if count == 0 { Value::Null } else { count.into() };
        let seen = json!({
            "observedGeneration": self.set.metadata.generation,
            "replicas": replicas,
            "readyReplicas": or_absent(count(&Pod::is_ready)),
            "availableReplicas": available,
            "currentReplicas": or_absent(of_current),
            "updatedReplicas": or_absent(updated),
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": 0,
        });
        let same =
            seen.as_object().is_some_and(|seen| seen.iter().all(|(name, value)| self.set.status[name] == *value));
        if !same {
            let patch = json!({ "metadata": { "uid": self.set.metadata.uid }, "status": seen });
            plan.push(Write::status(STATEFUL_SETS, key(&self.set.metadata), patch));
        }
    }
}
