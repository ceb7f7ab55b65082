//! What is wanted of a pod, and the files that follow from it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use naru_api::{View, naru::names};

use super::{Done, MEASURED_EVERY, Refresh, Wish, Worker};
use crate::{
    machine::{self, Deletion, Gate, Presence},
    pod::{Note, ObjectChange},
    translate::{References, with_image_health},
    volumes,
};

impl Worker {
    /// Reads the newest wish and everything that depends on it.
    pub(super) fn take_wish(&mut self) {
        let Wish { pod, gone } = self.wishes.borrow_and_update().clone();
        let labels = (&pod.metadata.labels, &pod.metadata.annotations);
        let relabelled = labels != (&self.pod.metadata.labels, &self.pod.metadata.annotations);
        self.pod = pod;
        let now = Timestamp::now();
        if gone {
            self.gone_at.get_or_insert(now);
        }
        let text = self.pod.metadata.annotations.as_ref().and_then(|notes| notes.get(names::START_GATES));
        self.gates = match text.map(|text| serde_json::from_str(text)) {
            None => Vec::new(),
            Some(Ok(gates)) => gates,
            Some(Err(error)) => {
                self.executor.note(Note::warning("InvalidAnnotation", format!("{}: {error}", names::START_GATES)));
                Vec::new()
            }
        };
        self.want();
        self.observed.meet(&self.desired, now);
        if relabelled {
            // The downward API shows labels and annotations.
            self.refresh();
        }
    }

    pub(super) fn judge_gates(&mut self) {
        if !self.gates.is_empty() {
            self.want();
        }
    }

    pub(super) fn want(&mut self) {
        let (gate, reach) = match self.gates.as_slice() {
            [] => (Gate::Open, Vec::new()),
            gates => (self.judge)(self.pod.namespace(), gates),
        };
        self.executor.is_to_reach(reach);
        let spec = self.pod.spec.as_ref();
        let names = spec.into_iter().flat_map(|spec| &spec.containers).map(|container| &container.name);
        let images: BTreeMap<&String, _> = names.filter_map(|name| Some((name, self.executor.image(name)?))).collect();
        let found = with_image_health(&self.pod, |name| images.get(&name.to_owned()).map(|image| &image.config));
        (self.probed, self.tested) = found;
        let mut desired = machine::desired(&self.probed, gate);
        desired.hold.clone_from(&self.desired.hold);
        if let Some(at) = self.gone_at {
            // Nobody can say any more how long to wait.
            desired.deletion = Some(Deletion { deadline: at, forced: true });
        }
        if volumes::has_limits(&self.pod) && self.measure_at.is_none() {
            self.measure_at = Timestamp::now().checked_add(MEASURED_EVERY).ok();
        }
        self.desired = Arc::new(desired);
        self.executor.update(self.pod.clone(), self.desired.clone());
    }

    pub(super) fn refers_to(&self, change: &ObjectChange) -> bool {
        if *change.namespace != *self.pod.namespace() {
            return false;
        }
        let name = &*change.name;
        let (mut found, _) = volumes::needs(&self.pod);
        let spec = self.pod.spec.as_ref();
        let containers =
            spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
        for container in containers {
            let References { config_maps, secrets } = crate::translate::references(container);
            found.config_maps.extend(config_maps);
            found.secrets.extend(secrets);
        }
        match change.kind {
            "ConfigMap" => found.config_maps.contains(name),
            "Secret" => found.secrets.contains(name),
            _ => spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| {
                volume.ephemeral.is_some()
                    || volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.claim_name == name)
            }),
        }
    }

    /// Writes the pod's files again, if they were written before.
    pub(super) fn refresh(&mut self) {
        if self.observed.volumes != Presence::Present || self.desired.deletion.is_some() {
            return;
        }
        match self.refresh {
            Refresh::Idle => {
                self.refresh = Refresh::Running;
                let executor = self.executor.clone();
                self.tasks.spawn(async move { Done::Refreshed(executor.refresh().await) });
            }
            Refresh::Running | Refresh::Again => self.refresh = Refresh::Again,
        }
    }
}
