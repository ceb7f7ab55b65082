//! What is told of a pod: its status, the ledger, and whoever looks at it.

use std::sync::Arc;

use jiff::Timestamp;
use naru_api::{View, k8s::api::core::v1::Pod};

use super::Worker;
use crate::{
    machine::{self, Marks, Power, Slot, StatusInput},
    pod::Holder,
    translate::qos,
};

impl Worker {
    pub(super) fn publish(&mut self) {
        let spec = self.pod.spec.as_ref();
        let gates = spec.into_iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
        let readiness_gates: Vec<String> = gates.map(|gate| gate.condition_type.clone()).collect();
        let conditions = self.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let host = self.node.config.addresses.borrow().clone();
        let status = machine::status(&StatusInput {
            desired: &self.desired,
            observed: &self.observed,
            conditions,
            readiness_gates: &readiness_gates,
            tested: &self.tested,
            pod: &format!("{}_{}({})", self.pod.name(), self.pod.namespace(), self.executor.uid),
            host: &host,
            generation: self.pod.metadata.generation,
            qos: spec.map_or("BestEffort", |spec| qos(spec).as_str()),
            now: Timestamp::now(),
        });
        let occupied = self.observed.is_occupied();
        self.node.claims.set(self.executor.uid.as_str(), |before| {
            let holder = before.cloned().unwrap_or_else(|| Holder::of(&self.pod));
            Holder { occupied, ..holder }
        });
        let cleaning = self.observed.cleaned || self.observed.busy.contains_key(&Slot::Folder);
        if !cleaning {
            self.save();
        }
        if self.gone_at.is_none() {
            self.status.tell(status);
        }
        self.view.send_replace(Arc::new(self.observed.clone()));
    }

    /// Keeps the ledger in step with the object and the power wish.
    fn save(&mut self) {
        let power = self.observed.power.clone();
        let marks = self.observed.marks();
        let same = |(pod, known, kept): &(Arc<Pod>, Option<Power>, Marks)| {
            Arc::ptr_eq(pod, &self.pod) && *known == power && *kept == marks
        };
        if self.saved.as_ref().is_some_and(same) {
            return;
        }
        let text = power.as_ref().map(machine::Power::text);
        let saved = self.node.ledger.save(self.executor.uid.as_str(), &self.pod, text.as_deref(), &marks);
        self.saved = Some((self.pod.clone(), power, marks));
        if let Err(error) = saved {
            tracing::warn!(pod = %self.executor.uid, %error, "the pod was not saved and is not found while the API is away");
        }
    }
}
