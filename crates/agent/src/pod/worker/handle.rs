//! A worker from outside: what it is told, and what is known of it.

use std::{net::IpAddr, sync::Arc};

use naru_api::k8s::api::core::v1::Pod;
use naru_runtime::pod::Exit as RuntimeExit;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    machine::{Gate, GateSpec, Observed},
    pod::{Executor, Holder, ObjectChange},
    probes::Verdict,
};

/// What is wanted: the newest object, or its absence.
#[derive(Clone)]
pub(crate) struct Wish {
    /// The object as last seen.
    pub pod: Arc<Pod>,
    /// It is no longer in the API.
    pub gone: bool,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A container's process ended.
    Exited {
        /// Which container.
        container: String,
        /// Which attempt, counted from 0.
        attempt: u32,
        /// How.
        exit: RuntimeExit,
    },
    /// The supervisor is gone.
    SupervisorLost,
    /// A container is about to get a signal that ends it, on request; or (`held` false) did not get it.
    Hold {
        /// Which container.
        container: String,
        /// Whether it stays down.
        held: bool,
    },
    /// The node runs short of something, and this pod has to go.
    Evict {
        /// Why.
        message: String,
        /// The longest time between TERM and KILL.
        grace: std::time::Duration,
    },
    /// A probe's verdict changed.
    Probe(Verdict),
    /// An object of the pod's namespace changed.
    Object(ObjectChange),
    /// Pods that start gates look at changed.
    Gates,
    /// Changes were missed: look at everything.
    LookAgain,
}

/// Judges the start gates of a pod in a namespace; names the pods that an open one leads to.
pub(crate) type Judge = Arc<dyn Fn(&str, &[GateSpec]) -> (Gate, Vec<(String, IpAddr)>) + Send + Sync>;

/// A running worker.
pub(crate) struct Handle {
    /// What happened goes here.
    pub inbox: mpsc::UnboundedSender<Input>,
    /// The pod's effects and folders, for the node's interface.
    pub executor: Arc<Executor>,
    /// What is known, after every change.
    pub view: watch::Receiver<Arc<Observed>>,
    pub(super) wish: watch::Sender<Wish>,
    pub(super) task: JoinHandle<()>,
}

impl Handle {
    /// Gives the worker a newer wish, which the API has told.
    pub fn wish(&self, pod: Arc<Pod>, gone: bool) {
        // At once: another pod's worker may be about to start on this one's data.
        let Executor { node, uid, .. } = &*self.executor;
        node.claims.set(uid.as_str(), |before| {
            let known = Holder::of(&pod);
            let occupied = before.is_some_and(|before| before.occupied);
            Holder { ending: gone || known.ending, confirmed: true, occupied, ..known }
        });
        self.wish.send_replace(Wish { pod, gone });
    }

    /// Whether the pod is gone from this node.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// The object as last seen.
    pub fn pod(&self) -> Arc<Pod> {
        self.wish.borrow().pod.clone()
    }

    /// Ends the worker without touching its pod.
    pub fn abandon(&self) {
        self.task.abort();
    }
}
