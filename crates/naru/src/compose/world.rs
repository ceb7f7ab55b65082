//! Live copies of a project's objects, and of what the cluster warns of.
//!
//! Whoever waits for the project to become something waits in [`World::tick`]: it returns at each change, and at least
//! each second. So a wait never outlives the server without a word, and can say what it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context;
use naru_api::k8s::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use naru_api::k8s::api::batch::v1::Job;
use naru_api::k8s::api::core::v1::Pod;
use naru_api::naru::names as n;
use naru_client::{Client, Informer, Resource};
use serde_json::Value;
use tokio::sync::watch;

use super::container::{Container, State, of_pod};
use super::progress::{Goal, Progress, judge, judge_guest};
use super::trouble::Warnings;

/// Between two looks at what the cluster warns of, and whether it answers at all.
const LOOK: Duration = Duration::from_secs(1);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// So long a server may be away (systemd starts it again after one second).
const AWAY: Duration = Duration::from_secs(8);

/// Live copies of what progress is read from.
pub(crate) struct World {
    client: Client,
    project: String,
    namespace: String,
    pods: Informer<Value>,
    workloads: Vec<Informer<Value>>,
    sets: Informer<Value>,
    changes: Vec<watch::Receiver<u64>>,
    stale: BTreeSet<String>,
    warnings: Warnings,
    begun: Instant,
    looked: Instant,
    away: Option<Instant>,
}

impl World {
    /// Follows a namespace.
    pub fn follow(client: &Client, project: &str, namespace: &str) -> Self {
        let follow = |resource: Resource| {
            Informer::builder(resource, |json| Ok(serde_json::from_slice::<Value>(json)?))
                .namespace(namespace)
                .labels(n::PROJECT)
                .start(client)
        };
        let pods = follow(Resource::of::<Pod>());
        let workloads = vec![
            follow(Resource::of::<Deployment>()),
            follow(Resource::of::<DaemonSet>()),
            follow(Resource::of::<Job>()),
        ];
        let sets = follow(Resource::of::<ReplicaSet>());
        let changes = workloads.iter().chain([&pods, &sets]).map(Informer::changed).collect();
        Self {
            client: client.clone(),
            project: project.to_owned(),
            namespace: namespace.to_owned(),
            pods,
            workloads,
            sets,
            changes,
            stale: BTreeSet::new(),
            warnings: Warnings::default(),
            begun: Instant::now(),
            looked: Instant::now(),
            away: None,
        }
    }

    /// These starts of containers are over: their ends say nothing, others are under way.
    pub fn forget(&mut self, attempts: BTreeSet<String>) {
        self.stale = attempts;
    }

    /// The starts that are over.
    pub fn stale(&self) -> BTreeSet<String> {
        self.stale.clone()
    }

    /// Waits until the first copies are there.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn synced(&mut self) -> anyhow::Result<()> {
        loop {
            let all = async {
                for informer in self.workloads.iter().chain([&self.pods, &self.sets]) {
                    informer.synced().await;
                }
            };
            if tokio::time::timeout(LOOK, all).await.is_ok() {
                return Ok(());
            }
            self.look().await?;
        }
    }

    /// Waits for the next change of anything, or a moment: at most `most`, and never more than some seconds.
    ///
    /// # Errors
    /// When the server does not answer any more.
    pub async fn tick(&mut self, most: Duration) -> anyhow::Result<()> {
        let waits = self.changes.iter_mut().map(|receiver| Box::pin(receiver.changed()));
        // Who follows for long need not ask as often.
        let pause = if self.begun.elapsed() < LOOK * 60 { LOOK } else { LOOK * 5 };
        let _ = tokio::time::timeout(most.min(pause), futures_util::future::select_all(waits)).await;
        if self.looked.elapsed() >= pause {
            self.look().await?;
            self.looked = Instant::now();
        }
        Ok(())
    }

    /// Asks for the warnings, which also tells whether the server is there.
    async fn look(&mut self) -> anyhow::Result<()> {
        let error = match tokio::time::timeout(ANSWER, super::trouble::warnings(&self.client, &self.namespace)).await {
            Ok(Ok(found)) => {
                self.warnings = found;
                self.away = None;
                return Ok(());
            }
            // It answers, if only to refuse.
            Ok(Err(error)) if error.code().is_some() => return Ok(()),
            Ok(Err(error)) => anyhow::Error::new(error),
            Err(_) => anyhow::anyhow!("no answer within {} seconds", ANSWER.as_secs()),
        };
        if self.away.get_or_insert_with(Instant::now).elapsed() < AWAY {
            return Ok(());
        }
        Err(error).context(
            "the server does not answer any more (containers run on without it): `naru up` or `systemctl start naru` \
             starts it, then repeat this command",
        )
    }

    /// The project's containers, by service and number.
    pub fn containers(&self) -> Vec<Container> {
        let mut found: Vec<Container> =
            self.pods.list().iter().flat_map(|pod| of_pod(&self.project, &pod.view)).collect();
        found.retain(|container| container.evicted().is_none());
        for container in &mut found {
            container.trouble = self.warnings.of_container(container);
            container.unhealthy = container.unhealthy.take().or_else(|| self.warnings.of_end(container));
            if self.stale.contains(&container.attempt) && matches!(container.state, State::Exited(..)) {
                container.state = State::Waiting(String::new(), String::new());
            }
        }
        found.sort_by(|a, b| (&a.service, a.number, &a.pod).cmp(&(&b.service, b.number, &b.pod)));
        found
    }

    /// The containers of the present templates: not those that are being replaced or removed.
    pub fn current(&self) -> Vec<Container> {
        let workloads: Vec<_> = self.workloads.iter().flat_map(Informer::list).collect();
        let newest: BTreeMap<&str, Option<String>> = workloads
            .iter()
            .map(|w| {
                (w.view["metadata"]["labels"][n::SERVICE].as_str().unwrap_or_default(), self.newest_template(&w.uid))
            })
            .collect();
        let fits = |c: &Container| {
            let labels = &c.object["metadata"]["labels"];
            let host = labels[n::SERVICE].as_str().unwrap_or_default();
            let wanted = newest.get(host).cloned().flatten();
            c.state != State::Removing
                && (wanted.is_none() || labels[n::POD_TEMPLATE_HASH].as_str() == wanted.as_deref())
        };
        self.containers().into_iter().filter(fits).collect()
    }

    /// How far each service is: those with a workload, and those that live in another's pod.
    pub fn services(&self, goal: Goal) -> BTreeMap<String, Progress> {
        let containers = self.containers();
        let mut found = BTreeMap::new();
        for workload in self.workloads.iter().flat_map(Informer::list) {
            let service = workload.view["metadata"]["labels"][n::SERVICE].as_str().unwrap_or_default().to_owned();
            let own: Vec<&Container> = containers.iter().filter(|c| c.service == service).collect();
            let newest = self.newest_template(&workload.uid);
            found.insert(service, judge(&workload.view, newest.as_deref(), &own, goal));
        }
        for guest in containers.iter().filter(|c| c.state != State::Removing) {
            if !self
                .workloads
                .iter()
                .flat_map(Informer::list)
                .any(|w| w.view["metadata"]["labels"][n::SERVICE] == *guest.service)
            {
                let now = judge_guest(guest, goal);
                let worst = matches!(found.get(&guest.service), None | Some(Progress::Done(_)));
                if worst {
                    found.insert(guest.service.clone(), now);
                }
            }
        }
        found
    }

    /// The mark of the pods that a Deployment makes now; those of earlier templates are on their way out.
    fn newest_template(&self, deployment: &str) -> Option<String> {
        let own = |set: &Value| {
            let owners = set["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == deployment))
        };
        let revision = |set: &Value| {
            let note = &set["metadata"]["annotations"][n::DEPLOYMENT_REVISION];
            note.as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        };
        let sets = self.sets.list();
        let newest = sets.iter().filter(|set| own(&set.view)).max_by_key(|set| revision(&set.view))?;
        Some(newest.view["metadata"]["labels"][n::POD_TEMPLATE_HASH].as_str()?.to_owned())
    }
}
