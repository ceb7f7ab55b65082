//! All pods of this node: which worker each has, and who is told what.
//!
//! Workers are known by uid, so a pod that was deleted and made again under the same name has two for a moment, and
//! neither sees the other's wishes.

mod erasing;
mod neighbours;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use naru_api::{View, k8s::api::core::v1::Pod, naru::names};
use naru_client::{Informer, ObjectRef};
use naru_runtime::pod::{PodEvent, PodLiveness, PodRecord, PodUid};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{broadcast, mpsc};

use crate::machine::Marks;
use crate::pod::{self, Handle, Input, Node, ObjectChange, Saved, Spawn};
pub(crate) use erasing::keep_erased;
pub(crate) use neighbours::{Neighbours, follow as follow_neighbours};

/// The workers, shared with the node's HTTP interface.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub node: Arc<Node>,
    pods: Informer<Pod>,
    neighbours: Neighbours,
    workers: Arc<Mutex<HashMap<String, Handle>>>,
    /// What the runtime found at boot and nobody has taken up.
    found: Arc<Mutex<BTreeMap<PodUid, PodRecord>>>,
    ended: mpsc::UnboundedSender<String>,
}

/// What the fleet's task listens to.
pub(crate) struct Feeds {
    pub runtime: mpsc::UnboundedReceiver<PodEvent>,
    pub objects: broadcast::Receiver<ObjectChange>,
    pub neighbours: mpsc::UnboundedReceiver<Arc<str>>,
    ended: mpsc::UnboundedReceiver<String>,
}

impl Fleet {
    /// Takes up what was saved and found; the API is asked by [`Fleet::run`].
    pub fn new(
        node: Arc<Node>,
        pods: Informer<Pod>,
        neighbours: Neighbours,
        found: Vec<PodRecord>,
        runtime: mpsc::UnboundedReceiver<PodEvent>,
        gates: mpsc::UnboundedReceiver<Arc<str>>,
    ) -> (Fleet, Feeds) {
        let (ended, ended_inbox) = mpsc::unbounded_channel();
        let found = found.into_iter().map(|record| (record.config.uid.clone(), record)).collect();
        let objects = node.objects.changes();
        let fleet =
            Fleet { node, pods, neighbours, workers: Arc::default(), found: Arc::new(Mutex::new(found)), ended };
        (fleet, Feeds { runtime, objects, neighbours: gates, ended: ended_inbox })
    }

    /// The workers by uid.
    pub fn workers(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        self.workers.lock()
    }

    /// Starts workers for pods that the ledger knows, before the API answers.
    pub fn resume(&self, saved: Vec<Saved>) {
        for Saved { pod, power, marks } in saved {
            self.spawn(Arc::new(pod), None, power, marks, false);
        }
    }

    /// Follows the API, the runtime and the pods' ends, for ever.
    pub async fn run(self, mut feeds: Feeds) {
        let mut pods = self.pods.subscribe();
        let pods_informer = self.pods.clone();
        let mut synced = std::pin::pin!(async move { pods_informer.synced().await });
        let mut complete = false;
        loop {
            tokio::select! {
                biased;
                Some(event) = feeds.runtime.recv() => self.runtime_event(event),
                key = pods.next() => self.reconcile(&key).await,
                () = &mut synced, if !complete => {
                    complete = true;
                    while let Some(key) = pods.try_next() {
                        self.reconcile(&key).await;
                    }
                    self.retire_unknown();
                    self.remove_orphans();
                }
                Some(uid) = feeds.ended.recv() => {
                    self.workers.lock().remove(&uid);
                }
                change = feeds.objects.recv() => self.object_changed(change),
                Some(namespace) = feeds.neighbours.recv() => self.gates_changed(&namespace),
            }
        }
    }

    /// Gives the workers of one name the newest object, starting one where there is none.
    async fn reconcile(&self, key: &ObjectRef) {
        let current = self.pods.get_ref(key).map(|cached| cached.view.clone());
        let uid = current.as_ref().map(|pod| pod.uid().to_owned());
        {
            let workers = self.workers.lock();
            for (known, worker) in workers.iter() {
                let pod = worker.pod();
                if pod.name() == &*key.name && pod.namespace() == &*key.namespace && Some(known) != uid.as_ref() {
                    worker.wish(pod, true);
                }
            }
            if let (Some(pod), Some(worker)) = (&current, uid.as_ref().and_then(|uid| workers.get(uid))) {
                return worker.wish(pod.clone(), false);
            }
        }
        if let Some(pod) = current {
            let record = self.fresh_record(pod.uid()).await;
            self.spawn(pod, record, None, Marks::default(), true);
        }
    }

    /// What the runtime knows of a pod that was found at boot: as it is now, not as it was then.
    async fn fresh_record(&self, uid: &str) -> Option<PodRecord> {
        let uid = PodUid::new(uid).ok()?;
        let found = self.found.lock().remove(&uid)?;
        match (&found.liveness, self.node.config.runtime.state(&uid).await) {
            (PodLiveness::Alive(_), Ok(record)) => Some(record),
            _ => Some(found),
        }
    }

    fn spawn(&self, pod: Arc<Pod>, record: Option<PodRecord>, power: Option<String>, marks: Marks, confirmed: bool) {
        let text = pod.uid().to_owned();
        let uid = match PodUid::new(text.as_str()) {
            Ok(uid) => uid,
            Err(error) => return tracing::warn!(pod = %pod.name(), %error, "a pod cannot be run"),
        };
        let record = record.or_else(|| self.found.lock().remove(&uid));
        let (ended, name) = (self.ended.clone(), text.clone());
        let judge = self.neighbours.judge();
        let spawn = Spawn { node: self.node.clone(), uid, pod, record, power, marks, confirmed, judge };
        let handle = pod::spawn(spawn, move || drop(ended.send(name)));
        self.workers.lock().insert(text, handle);
    }

    /// Pods that were resumed from the ledger and that the API no longer has.
    fn retire_unknown(&self) {
        let known: HashSet<String> = self.pods.list().iter().map(|cached| cached.uid.to_string()).collect();
        for (uid, worker) in self.workers.lock().iter() {
            if !known.contains(uid) {
                worker.wish(worker.pod(), true);
            }
        }
    }

    /// Sandboxes of pods that nobody knows: destroyed with everything they hold.
    fn remove_orphans(&self) {
        let orphans = std::mem::take(&mut *self.found.lock());
        for (uid, record) in orphans {
            let object = serde_json::json!({"metadata": {
                "name": record.config.name, "namespace": record.config.namespace, "uid": uid.as_str()},
                "spec": {"containers": []}});
            let Ok(pod) = serde_json::from_value::<Pod>(object) else { continue };
            tracing::info!(%uid, name = %record.config.name, "a pod that nobody knows is removed");
            self.spawn(Arc::new(pod.clone()), Some(record), None, Marks::default(), false);
            if let Some(worker) = self.workers.lock().get(uid.as_str()) {
                worker.wish(Arc::new(pod), true);
            }
        }
    }

    fn runtime_event(&self, event: PodEvent) {
        let (uid, input) = match event {
            PodEvent::Exited { uid, container, attempt, exit } => {
                (uid, Input::Exited { container: container.to_string(), attempt, exit })
            }
            PodEvent::SupervisorLost { uid } => {
                if let Some(record) = self.found.lock().get_mut(&uid) {
                    record.liveness = PodLiveness::SupervisorLost;
                }
                (uid, Input::SupervisorLost)
            }
        };
        // Without a worker the record is read afresh when one starts.
        if let Some(worker) = self.workers.lock().get(uid.as_str()) {
            let _ = worker.inbox.send(input);
        }
    }

    fn object_changed(&self, change: Result<ObjectChange, broadcast::error::RecvError>) {
        let workers = self.workers.lock();
        for worker in workers.values() {
            let input = match &change {
                Ok(change) if *change.namespace == *worker.pod().namespace() => Input::Object(change.clone()),
                Ok(_) => continue,
                Err(_) => Input::LookAgain,
            };
            let _ = worker.inbox.send(input);
        }
    }

    fn gates_changed(&self, namespace: &str) {
        for worker in self.workers.lock().values() {
            let pod = worker.pod();
            let gated = pod.metadata.annotations.as_ref().is_some_and(|notes| notes.contains_key(names::START_GATES));
            if gated && pod.namespace() == namespace {
                let _ = worker.inbox.send(Input::Gates);
            }
        }
    }
}
