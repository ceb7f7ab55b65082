//! Wiring: what runs, and what ends it.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use naru_api::{
    View,
    k8s::api::core::v1::{Pod, Service},
};
use naru_client::{Body, BoxedIo, Informer, Resource};
use naru_runtime::pod::PodError;
use tokio::task::AbortHandle;

use crate::{
    Config,
    fleet::{Fleet, follow_neighbours, keep_erased},
    node,
    pod::{Claims, Ledger, Node, Objects, Puller, Recorder, ServiceView, Tokens},
    pressure,
};

/// A running agent. Dropping it ends its tasks; pods keep running and are found again at the next start.
pub struct Agent {
    fleet: Fleet,
    tasks: Vec<AbortHandle>,
    program: OnceLock<Arc<dyn NodeProgram>>,
}

/// What answers for the program that runs here: `/program` of the node's interface. The agent knows pods, not files of
/// programs.
pub trait NodeProgram: Send + Sync {
    /// Answers one request.
    fn answer(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>>;
}

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder of the agent's could not be made or read.
    #[error("cannot use {path} for the agent's state")]
    State {
        /// Which folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The runtime could not say which pods exist.
    #[error("cannot find the pods that run on this machine")]
    Adopt(#[source] PodError),
    /// Somebody else listens to the runtime.
    #[error("the runtime's events are taken: one agent a runtime")]
    Taken,
}

impl Agent {
    /// Adopts what runs and starts looking after this node's pods.
    ///
    /// # Errors
    /// When the state folder is unusable or the runtime cannot be asked.
    pub async fn start(config: Config) -> Result<Agent, StartError> {
        let state = |source| StartError::State { path: config.state_dir.clone(), source };
        let ledger = Ledger::open(&config.state_dir).map_err(state)?;
        let saved = ledger.load().map_err(state)?;
        // Events first, so that no exit falls between the two.
        let events = config.runtime.events().ok_or(StartError::Taken)?;
        let found = config.runtime.adopt().await.map_err(StartError::Adopt)?;
        let client = &config.client;
        let pods = Informer::builder(Resource::of::<Pod>(), |json| Ok(Pod::from_json(json)?))
            .fields(&format!("spec.nodeName={}", config.node_name))
            .start(client);
        let services =
            Informer::builder(Resource::of::<Service>(), |json| Ok(ServiceView::of(&Service::from_json(json)?)))
                .start(client);
        let (neighbours, gates) = follow_neighbours(client);
        let (watch, pressures) = pressure::first(&config);
        let node = Arc::new(Node {
            facts: node::translate_facts(&config),
            labels: node::labels(&config),
            events: Recorder::start(client.clone(), &config.node_name),
            objects: Objects::new(client.clone()),
            tokens: Tokens::new(client.clone()),
            puller: Puller::default(),
            ledger,
            claims: Claims::new(),
            services,
            host_resolver: host_resolver(),
            config: config.clone(),
        });
        let (fleet, feeds) = Fleet::new(node, pods, neighbours, found, events, gates);
        fleet.resume(saved);
        let tasks = vec![
            tokio::spawn(fleet.clone().run(feeds)).abort_handle(),
            tokio::spawn(keep_erased(fleet.clone())).abort_handle(),
            tokio::spawn(pressure::keep(fleet.clone(), watch)).abort_handle(),
            tokio::spawn(node::keep_registered(config.clone(), pressures)).abort_handle(),
            tokio::spawn(node::keep_images_told(config)).abort_handle(),
        ];
        Ok(Agent { fleet, tasks, program: OnceLock::new() })
    }

    /// Says who answers for the program. Without that nobody does.
    pub fn has_program(&self, program: Arc<dyn NodeProgram>) {
        let _ = self.program.set(program);
    }

    /// Serves the node's HTTP interface over one byte stream, until it ends.
    pub async fn serve(&self, stream: BoxedIo) {
        crate::http::serve(self.fleet.clone(), self.program.get().cloned(), stream).await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        for worker in self.fleet.workers().values() {
            worker.abandon();
        }
    }
}

/// The host's resolver: systemd's real upstream rather than its stub, which pods cannot reach.
fn host_resolver() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let own = read("/etc/resolv.conf").unwrap_or_default();
    if own.contains("127.0.0.53") { read("/run/systemd/resolve/resolv.conf").unwrap_or(own) } else { own }
}
