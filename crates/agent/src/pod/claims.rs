//! Who holds which claims on this node, so that a pod does not start on the data of one that is still ending.
//!
//! Kubernetes lets pods share a claim, and so does this: two pods that both live may. But a pod that is on its way out,
//! or whose object is gone already, is about to be replaced, and what replaces it (a database above all) must find its
//! files left by everybody. The first start of a pod therefore waits until every ending pod with one of its claims has
//! no process left. Waiting by name in the client would guard only who uses that client.
//!
//! Refused: waiting at every start. A container that crashes beside an ending neighbour, with which it shared the claim
//! all the time, would stay down for the neighbour's whole grace.

use std::collections::{BTreeMap, BTreeSet};

use naru_api::{View, k8s::api::core::v1::Pod};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::volumes;

/// One pod's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The claims it writes to; `None` where nobody knows any more what the pod was.
    pub claims: Option<BTreeSet<String>>,
    /// On its way out, or gone from the API.
    pub ending: bool,
    /// Seen in the API since this process started.
    pub confirmed: bool,
    /// It has, or may have, processes.
    pub occupied: bool,
}

/// All pods of this node.
pub(crate) struct Claims {
    holders: Mutex<BTreeMap<String, Holder>>,
    changed: watch::Sender<()>,
}

impl Holder {
    /// From the object.
    pub fn of(pod: &Pod) -> Holder {
        let spec = pod.spec.as_ref();
        // A sandbox that was found without an object: the agent makes up one without containers.
        let known = spec.is_some_and(|spec| !spec.containers.is_empty());
        let volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
        let written = volumes
            .filter(|volume| volume.persistent_volume_claim.as_ref().is_none_or(|claim| claim.read_only != Some(true)));
        let claims = written.filter_map(|volume| volumes::claim_name(pod, volume)).collect();
        Holder {
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            claims: known.then_some(claims),
            ending: pod.metadata.deletion_timestamp.is_some(),
            confirmed: false,
            occupied: false,
        }
    }

    /// The claim that this pod must wait for, while `other` has it.
    fn waits_for<'a>(&'a self, other: &'a Holder) -> Option<&'a str> {
        // What the API has not confirmed yet may be gone there: only a pod that is new can tell the difference.
        let leaving = other.ending || (self.confirmed && !other.confirmed);
        if !leaving || !other.occupied || self.namespace != other.namespace {
            return None;
        }
        let own = self.claims.as_ref()?;
        let shared = match &other.claims {
            Some(claims) => own.intersection(claims).next(),
            None => own.first(),
        };
        shared.map(String::as_str)
    }
}

impl Claims {
    /// Of a node without pods.
    pub fn new() -> Claims {
        Claims { holders: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Signals every change that may let a pod go on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Puts in or changes one pod's part; the change sees `None` before there is one.
    pub fn set(&self, uid: &str, change: impl FnOnce(Option<&Holder>) -> Holder) {
        let mut holders = self.holders.lock();
        let holder = change(holders.get(uid));
        if holders.get(uid) != Some(&holder) {
            holders.insert(uid.to_owned(), holder);
            drop(holders);
            self.changed.send_replace(());
        }
    }

    /// Whether a pod has, or may have, processes.
    pub fn is_occupied(&self, uid: &str) -> bool {
        self.holders.lock().get(uid).is_some_and(|holder| holder.occupied)
    }

    /// Forgets a pod.
    pub fn leave(&self, uid: &str) {
        if self.holders.lock().remove(uid).is_some() {
            self.changed.send_replace(());
        }
    }

    /// Why a pod has to wait, if it has to.
    pub fn wait(&self, uid: &str) -> Option<String> {
        let holders = self.holders.lock();
        let own = holders.get(uid)?;
        let others = holders.iter().filter(|(other, _)| *other != uid);
        others.filter_map(|(_, other)| Some((other, own.waits_for(other)?))).next().map(|(other, claim)| {
            let Holder { name, .. } = other;
            format!("waits until pod {name}, which is ending, lets go of persistentvolumeclaim {claim:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holder(name: &str, claims: &[&str]) -> Holder {
        let volumes: Vec<_> =
            claims.iter().map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}})).collect();
        let object = json!({"metadata": {"name": name, "namespace": "n"},
            "spec": {"containers": [{"name": "c"}], "volumes": volumes}});
        let pod: Pod = serde_json::from_value(object).unwrap();
        Holder { confirmed: true, occupied: true, ..Holder::of(&pod) }
    }

    fn wait(new: Holder, old: Holder) -> Option<String> {
        let claims = Claims::new();
        claims.set("new", |_| new);
        claims.set("old", |_| old);
        claims.wait("new")
    }

    #[test]
    fn the_claims_of_an_ending_pod_are_waited_for() {
        let new = holder("new", &["data", "more"]);
        let old = holder("old", &["data"]);
        assert_eq!(wait(new.clone(), old.clone()), None, "both live");
        let ending = Holder { ending: true, ..old };
        let text = wait(new.clone(), ending.clone()).unwrap();
        assert!(text.contains("pod old") && text.contains("\"data\""), "{text}");
        assert_eq!(wait(new.clone(), Holder { occupied: false, ..ending.clone() }), None, "no process is left");
        assert_eq!(wait(new.clone(), Holder { namespace: "m".into(), ..ending.clone() }), None, "another namespace");
        assert_eq!(wait(holder("new", &["more"]), ending), None, "another claim");
        let unknown = Holder { claims: None, ending: true, ..holder("old", &[]) };
        assert!(wait(new, unknown).is_some(), "nobody knows what it has");
    }

    #[test]
    fn what_the_api_has_not_confirmed_holds_back_only_what_is_new() {
        let new = holder("new", &["data"]);
        let kept = Holder { confirmed: false, ..holder("old", &["data"]) };
        assert!(wait(new.clone(), kept.clone()).is_some());
        assert_eq!(wait(Holder { confirmed: false, ..new }, kept), None, "while the API is away both go on");
    }

    #[test]
    fn readers_harm_nobody() {
        let object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{"name": "c"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data", "readOnly": true}}]}});
        let reader: Pod = serde_json::from_value(object).unwrap();
        assert_eq!(Holder::of(&reader).claims, Some(BTreeSet::new()));
    }

    #[test]
    fn changes_are_signalled_and_repetitions_are_not() {
        let claims = Claims::new();
        let mut changes = claims.changes();
        claims.set("u", |_| holder("p", &["data"]));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        claims.set("u", |before| before.unwrap().clone());
        assert!(!changes.has_changed().unwrap());
        claims.leave("u");
        assert!(changes.has_changed().unwrap());
    }
}
