//! The decision about one Deployment.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use naru_api::naru::names;
use serde_json::{Map, Value, json};

use super::View;
use super::bounds::Bounds;
use super::failure::{self, Pause, Verdict};
use super::revision::{self, DESIRED, MOST};
use super::rolling::{self, Hold, Size};
use super::scale::{self, Share};
use super::status::{self, Doing};
use super::template;
use super::update::{FailureAction, UpdateRule};
use crate::ownership::{adopt, controller_of, key, release, selector};
use crate::plan::{Notice, Plan, Write};
use crate::resources::{DEPLOYMENTS, REPLICA_SETS};
use crate::views::{Deployment, Pod, ReplicaSet};

/// A Deployment with its sets told apart.
pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Deployment,
    /// The set of the present template.
    pub(super) new: Option<&'a ReplicaSet>,
    /// The others, from the oldest to the youngest.
    pub(super) old: Vec<&'a ReplicaSet>,
    pub(super) bounds: Bounds,
    pub(super) rule: Option<UpdateRule>,
    view: &'a View,
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let rollout = Rollout::of(view);
    let deployment = rollout.deployment;
    let mut plan = Plan::nothing("complete");
    let mut doing = Doing::default();
    if deployment.metadata.is_deleting() {
        plan.reason = "being deleted".into();
    } else if ownership(&mut plan, view) {
        // Whose the sets are must be certain before any of them changes.
        return plan;
    } else if deployment.spec.paused && failure::pause(deployment) == Pause::Overtaken {
        failure::lift(&mut plan, deployment);
    } else if deployment.spec.paused || rollout.is_scaled() {
        plan.reason = if deployment.spec.paused { "paused" } else { "scaling" }.into();
        rollout.scale(&mut plan);
    } else if !rollout.judged(&mut plan, now) {
        doing = rollout.roll(&mut plan, now);
        if rollout.is_complete() {
            plan.writes.extend(revision::expire(deployment, &rollout.old));
        }
    }
    rollout.revise(&mut plan);
    status::write(&mut plan, &rollout, &doing, now);
    plan
}

/// Adopts and releases sets.
fn ownership(plan: &mut Plan, view: &View) -> bool {
    let deployment = &*view.deployment;
    let wanted = selector(&deployment.spec.selector);
    let strays = view.sets.iter().filter(|set| !wanted.matches(&set.metadata.labels) && !set.metadata.is_deleting());
    plan.writes.extend(strays.map(|set| release(REPLICA_SETS, &set.metadata, &deployment.metadata.uid)));
    let found = view.orphans.iter().filter(|set| !set.metadata.is_deleting());
    let owner = controller_of(&DEPLOYMENTS, &deployment.metadata);
    plan.writes.extend(found.map(|set| adopt(REPLICA_SETS, &set.metadata, owner.clone())));
    if !plan.writes.is_empty() {
        plan.reason = "adopting and releasing replica sets".into();
    }
    !plan.writes.is_empty()
}

fn asked(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

impl<'a> Rollout<'a> {
    pub(super) fn of(view: &'a View) -> Self {
        let deployment = &*view.deployment;
        let mut sets: Vec<&ReplicaSet> = view.sets.iter().map(|set| &**set).collect();
        sets.sort_by_key(|set| (set.metadata.creation_timestamp, set.metadata.name.clone()));
        // The oldest of several equal ones, so that every look agrees.
        let present = sets.iter().position(|set| template::same(&set.spec.template, &deployment.spec.template));
        let new = present.map(|index| sets.remove(index));
        let update = UpdateRule::of(&deployment.metadata, names::UPDATE);
        let way_back = failure::record(deployment).and_then(|_| UpdateRule::of(&deployment.metadata, names::ROLLBACK));
        let rule = way_back.or(update);
        let bounds = Bounds::of(deployment, rule.as_ref());
        Rollout { deployment, new, old: sets, bounds, rule, view }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'a ReplicaSet> {
        self.old.iter().copied().chain(self.new)
    }

    pub(super) fn pods_of(&self, set: &ReplicaSet) -> &'a [Arc<Pod>] {
        self.view.pods.get(&set.metadata.uid).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every pod is of the present template and available.
    pub(super) fn is_complete(&self) -> bool {
        let total: i32 = self.all().map(|set| set.status.replicas).sum();
        let current = |set: &ReplicaSet| set.status.observed_generation >= set.metadata.generation;
        self.new.is_some_and(|new| {
            current(new)
                && asked(new) == self.bounds.replicas
                && new.status.replicas == self.bounds.replicas
                && new.status.available_replicas == self.bounds.replicas
        }) && total == self.bounds.replicas
    }

    fn size(&self, set: &ReplicaSet) -> Size {
        let standing = self.pods_of(set).iter().filter(|pod| !pod.is_finished()).count();
        Size {
            asked: asked(set),
            available: set.status.available_replicas,
            standing: i32::try_from(standing).unwrap_or(i32::MAX),
        }
    }

    /// How many of the new pods need not be waited for: those that serve, and where failures are borne, those that
    /// failed, because an update that goes on regardless would otherwise wait for them for ever.
    fn passed(&self, new: &ReplicaSet) -> i32 {
        let available = new.status.available_replicas;
        match &self.rule {
            Some(rule) if rule.failure_action == FailureAction::Continue || self.is_overruled() => {
                available.saturating_add(failure::fallen(self.pods_of(new), rule)).min(asked(new))
            }
            _ => available,
        }
    }

    /// Somebody has told a paused update to go on.
    fn is_overruled(&self) -> bool {
        matches!(failure::pause(self.deployment), Pause::Ended(_) | Pause::Overruled)
    }

    /// The number asked for has changed since the sets were sized.
    fn is_scaled(&self) -> bool {
        self.all().filter(|set| asked(set) > 0).any(|set| {
            let desired = set.metadata.annotation(DESIRED).and_then(|desired| desired.parse::<i32>().ok());
            desired.is_some_and(|desired| desired != self.bounds.replicas)
        })
    }

    /// Fits the sets to a changed number, without rolling out anything.
    fn scale(&self, plan: &mut Plan) {
        let active: Vec<&ReplicaSet> = self.all().filter(|set| asked(set) > 0).collect();
        let latest = self.new.or_else(|| self.old.last().copied());
        let only = match active.as_slice() {
            [] => latest,
            [one] => Some(*one),
            _ => None,
        };
        if let Some(set) = only {
            return self.resize(plan, set, self.bounds.replicas);
        }
        let saturated = self
            .new
            .filter(|new| asked(new) == self.bounds.replicas && new.status.available_replicas == self.bounds.replicas);
        if saturated.is_some() {
            return self.old.iter().for_each(|set| self.resize(plan, set, 0));
        }
        let share = |set: &&ReplicaSet| {
            let most = set.metadata.annotation(MOST).and_then(|most| most.parse().ok());
            Share { asked: asked(set), of: most.unwrap_or(self.deployment.status.replicas) }
        };
        let shares: Vec<Share> = active.iter().map(share).collect();
        let sizes = scale::proportional(&shares, self.bounds.most());
        for (set, size) in active.into_iter().zip(sizes) {
            self.resize(plan, set, size);
        }
    }

    /// Changes a set's size and remembers what it was sized for.
    fn resize(&self, plan: &mut Plan, set: &ReplicaSet, to: i32) {
        let mut annotations = Map::new();
        for (name, value) in revision::sizes(&self.bounds) {
            if set.metadata.annotation(&name) != Some(&value) {
                annotations.insert(name, value.into());
            }
        }
        let from = asked(set);
        if from == to && (annotations.is_empty() || to == 0) {
            return;
        }
        plan.push(revision::resize(set, Some(to), annotations, Value::Null));
        if from != to {
            self.tell_scaling(plan, &set.metadata.name, from, to);
        }
    }

    fn tell_scaling(&self, plan: &mut Plan, name: &str, from: i32, to: i32) {
        let meta = &self.deployment.metadata;
        let direction = if to > from { "up" } else { "down" };
        plan.notices.push(Notice {
            resource: DEPLOYMENTS,
            key: key(meta),
            uid: meta.uid.clone(),
            warning: false,
            reason: "ScalingReplicaSet",
            message: format!("Scaled {direction} replica set {name} from {from} to {to}"),
        });
    }

    /// Judges an update by its rule. Returns whether that is all there is to do.
    fn judged(&self, plan: &mut Plan, now: Timestamp) -> bool {
        let Some(rule) = &self.rule else { return false };
        match failure::judge(self, rule, now) {
            // Whoever resumes a paused update wants it, failures or not.
            Verdict::Failed(_) if self.is_overruled() => false,
            Verdict::Failed(why) => failure::act(plan, self, rule, &why),
            Verdict::Pending(again) => {
                again.into_iter().for_each(|again| plan.again_at(again));
                false
            }
            Verdict::Good => {
                if let Some(new) = self.new {
                    let settled = Map::from_iter([(names::SETTLED.to_owned(), "true".into())]);
                    plan.push(revision::resize(new, None, settled, Value::Null));
                }
                false
            }
        }
    }

    /// Moves the rollout on.
    fn roll(&self, plan: &mut Plan, now: Timestamp) -> Doing {
        let old: Vec<Size> = self.old.iter().map(|set| self.size(set)).collect();
        let new = self.new.map(|set| Size { available: self.passed(set), ..self.size(set) }).unwrap_or_default();
        let next = rolling::step(&self.bounds, new, &old, self.hold(plan, now));
        for (set, size) in self.old.iter().zip(&next.old) {
            if asked(set) != *size {
                plan.reason = "rolling out".into();
                self.resize(plan, set, *size);
            }
        }
        let Some(set) = self.new else { return self.create(plan, next.new) };
        if next.new != asked(set) {
            plan.reason = "rolling out".into();
        }
        self.adjust(plan, set, next.new);
        Doing::default()
    }

    /// What may not move yet: under `Recreate` the new pods while old ones exist, and between two groups of a service
    /// with a pause the first half of the next group.
    fn hold(&self, plan: &mut Plan, now: Timestamp) -> Hold {
        if self.deployment.spec.strategy.kind == "Recreate" {
            let stand = self.old.iter().any(|set| self.size(set).standing > 0);
            return Hold { growth: stand, shrinkage: false };
        }
        let Some(rule) = self.rule.as_ref().filter(|rule| !rule.delay.is_zero()) else { return Hold::default() };
        let left: i32 = self.old.iter().map(|set| asked(set)).sum();
        let Some(new) = self.new.filter(|_| left > 0) else { return Hold::default() };
        let half = if self.bounds.counts_leaving {
            left + asked(new) < self.bounds.replicas
        } else {
            left + asked(new) > self.bounds.replicas
        };
        let under_way = half || self.passed(new) < asked(new);
        let last = self.pods_of(new).iter().filter_map(|pod| pod.ready_since()).max();
        let pause = SignedDuration::try_from(rule.delay).unwrap_or(SignedDuration::MAX);
        let due = last.map(|last| last.saturating_add(pause).unwrap_or(Timestamp::MAX)).filter(|due| *due > now);
        due.into_iter().for_each(|due| plan.again_at(due));
        let hold = under_way || due.is_some();
        if self.bounds.counts_leaving {
            Hold { growth: false, shrinkage: hold }
        } else {
            Hold { growth: hold, shrinkage: false }
        }
    }

    /// Brings the present set to its size and in step with the Deployment.
    fn adjust(&self, plan: &mut Plan, set: &ReplicaSet, to: i32) {
        let revision = revision::wanted(Some(set), &self.old);
        let wanted = revision::annotations(self.deployment, &self.bounds, revision);
        let mut annotations = revision::difference(set, &wanted).unwrap_or_default();
        if annotations.contains_key(names::DEPLOYMENT_REVISION) {
            // A template that comes back is judged anew.
            annotations.insert(names::SETTLED.into(), Value::Null);
        }
        let mut extra = Map::new();
        if set.spec.min_ready_seconds != self.deployment.spec.min_ready_seconds {
            extra.insert("minReadySeconds".into(), self.deployment.spec.min_ready_seconds.into());
        }
        let size = (asked(set) != to).then_some(to);
        if size.is_some() || !annotations.is_empty() || !extra.is_empty() {
            plan.push(revision::resize(set, size, annotations, Value::Object(extra)));
        }
        if let Some(to) = size {
            self.tell_scaling(plan, &set.metadata.name, asked(set), to);
        }
    }

    fn create(&self, plan: &mut Plan, size: i32) -> Doing {
        let deployment = self.deployment;
        let meta = &deployment.metadata;
        let hash = template::hash(&deployment.spec.template, deployment.status.collision_count);
        let name = format!("{}-{hash}", meta.name);
        if self.view.leaving.contains(&name) {
            // A successor of the same name has come before the former owner's sets were released: they will be ours.
            plan.reason = "waiting for a replica set to be released".into();
            return Doing::default();
        }
        if self.view.taken.contains(&name) || self.old.iter().any(|set| set.metadata.name == name) {
            plan.reason = "the replica set's name is taken".into();
            return Doing { collision: true, creates: None };
        }
        let mut pod_template = deployment.spec.template.clone();
        pod_template["metadata"]["labels"][names::POD_TEMPLATE_HASH] = hash.as_str().into();
        let mut selector = deployment.spec.selector.clone();
        selector["matchLabels"][names::POD_TEMPLATE_HASH] = hash.as_str().into();
        let revision = revision::wanted(None, &self.old);
        plan.reason = "rolling out".into();
        plan.push(Write::create(
            REPLICA_SETS,
            json!({
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": name,
                    "namespace": meta.namespace,
                    "labels": pod_template["metadata"]["labels"],
                    "annotations": revision::annotations(deployment, &self.bounds, revision),
                    "ownerReferences": [controller_of(&DEPLOYMENTS, meta)],
                },
                "spec": {
                    "replicas": size,
                    "minReadySeconds": deployment.spec.min_ready_seconds,
                    "selector": selector,
                    "template": pod_template,
                },
            }),
        ));
        if size > 0 {
            self.tell_scaling(plan, &name, 0, size);
        }
        Doing { creates: Some(name), collision: false }
    }

    /// Shows the revision on the Deployment itself, and forgets a rollback or a pause that a newer template has
    /// overtaken.
    fn revise(&self, plan: &mut Plan) {
        let meta = &self.deployment.metadata;
        let mut annotations = Map::new();
        if !self.deployment.spec.paused && !meta.is_deleting() {
            let wanted = revision::wanted(self.new, &self.old).to_string();
            if meta.annotation(names::DEPLOYMENT_REVISION) != Some(&wanted) {
                annotations.insert(names::DEPLOYMENT_REVISION.into(), wanted.into());
            }
        }
        if meta.annotation(names::ROLLED_BACK).is_some() && failure::record(self.deployment).is_none() {
            annotations.insert(names::ROLLED_BACK.into(), Value::Null);
        }
        match failure::pause(self.deployment) {
            Pause::Ended(record) => drop(annotations.insert(names::UPDATE_PAUSED.into(), record.to_string().into())),
            Pause::Overtaken => drop(annotations.insert(names::UPDATE_PAUSED.into(), Value::Null)),
            Pause::Foreign | Pause::Standing(_) | Pause::Overruled => {}
        }
        let rolls_back = |write: &Write| *write.resource() == DEPLOYMENTS;
        if !annotations.is_empty() && !plan.writes.iter().any(rolls_back) {
            let patch = json!({ "metadata": { "uid": meta.uid, "annotations": annotations } });
            // What a controller notes is no change of what is wanted: it must not count as a generation.
            plan.push(Write::status(DEPLOYMENTS, key(meta), patch));
        }
    }
}
