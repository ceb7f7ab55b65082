//! What the simulated cluster runs, and whether it does.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use naru_api::k8s::api::apps::v1::{DaemonSet, Deployment};
use naru_api::k8s::api::core::v1::{Namespace, Pod, Service};
use naru_client::{Client, ClientError, DynamicApi, ListOptions, Resource};
use serde_json::{Value, json};

const NAMESPACES: usize = 20;

/// How many pods of which shape: two DaemonSets, some large Deployments and many of a tenth of their size, each with a
/// Service.
pub struct Workload {
    pub daemon_sets: usize,
    /// Replicas of each Deployment.
    pub deployments: Vec<usize>,
}

impl Workload {
    /// So that about `pods` pods run on `nodes` nodes.
    pub fn of(nodes: usize, pods: usize) -> Workload {
        let daemon_sets = if pods >= nodes * 4 { 2 } else { 0 };
        let small = (pods / 1_500).max(10);
        let large = small * 10;
        let mut left = pods - daemon_sets * nodes;
        let mut deployments = vec![large; left / 7 / large];
        left -= deployments.len() * large;
        while left > 0 {
            let size = small.min(left);
            deployments.push(size);
            left -= size;
        }
        Workload { daemon_sets, deployments }
    }

    /// Pods of Deployments.
    pub fn replicas(&self) -> usize {
        self.deployments.iter().sum()
    }

    /// Makes everything.
    pub async fn create(&self, client: &Client) -> Result<(), ClientError> {
        let namespaces = client.dynamic(Resource::of::<Namespace>(), None);
        for number in 0..NAMESPACES {
            namespaces.create(&json!({"metadata": {"name": namespace(number)}})).await?;
        }
        for number in 0..self.daemon_sets {
            let name = format!("every-{number}");
            let sets = client.dynamic(Resource::of::<DaemonSet>(), Some("world-0"));
            sets.create(&json!({"metadata": {"name": name}, "spec": template(&name, None)})).await?;
        }
        let one = |(number, replicas): (usize, &usize)| {
            let (name, namespace, replicas) = (format!("web-{number}"), namespace(number), *replicas);
            async move {
                let services = client.dynamic(Resource::of::<Service>(), Some(&namespace));
                let service = json!({"metadata": {"name": name}, "spec": {"selector": {"app": name},
                    "ports": [{"port": 80, "targetPort": 8080}]}});
                made(&services, &service).await?;
                let deployments = client.dynamic(Resource::of::<Deployment>(), Some(&namespace));
                let spec = template(&name, Some(replicas));
                made(&deployments, &json!({"metadata": {"name": name}, "spec": spec})).await
            }
        };
        stream::iter(self.deployments.iter().enumerate().map(one)).buffer_unordered(16).try_collect().await
    }

    /// Waits until every Deployment says that all its replicas are ready; gives the time, or what is missing.
    pub async fn until_ready(&self, client: &Client, patience: Duration) -> Result<Instant, String> {
        let deployments = client.dynamic(Resource::of::<Deployment>(), None);
        let begin = Instant::now();
        loop {
            let looked = Instant::now();
            let list = deployments.list(&ListOptions::default()).await.map_err(|error| error.to_string())?;
            let short: Vec<String> = list.items.iter().filter_map(short).collect();
            if short.is_empty() && list.items.len() == self.deployments.len() {
                return Ok(looked);
            }
            if begin.elapsed() > patience {
                let some = short.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                let missing = list.items.iter().find(|deployment| self::short(deployment).is_some());
                let which = match missing {
                    Some(deployment) => unready(client, deployment).await,
                    None => String::new(),
                };
                return Err(format!("{} of {} are short: {some}{which}", short.len(), list.items.len()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Creates an object; a server that has too much to do is asked again, as it says itself.
async fn made(api: &DynamicApi, object: &Value) -> Result<(), ClientError> {
    loop {
        match api.create(object).await {
            Err(error) if error.is_retriable() => tokio::time::sleep(Duration::from_millis(200)).await,
            other => return other.map(drop),
        }
    }
}

/// What a Deployment lacks.
fn short(deployment: &Value) -> Option<String> {
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(0);
    let of = |field: &str| deployment["status"][field].as_i64().unwrap_or(0);
    let (ready, seen) = (of("readyReplicas"), of("observedGeneration") >= 1);
    (ready != wanted || !seen).then(|| format!("{} {ready}/{wanted}", deployment["metadata"]["name"]))
}

/// What keeps the pods of a Deployment from being ready.
async fn unready(client: &Client, deployment: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text(&deployment["metadata"]["name"]), text(&deployment["metadata"]["namespace"]));
    let pods = client.dynamic(Resource::of::<Pod>(), Some(&namespace));
    let selector = ListOptions { labels: format!("app={name}"), ..ListOptions::default() };
    let Ok(list) = pods.list(&selector).await else { return String::new() };
    let ready = |pod: &&Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|known| known["type"] == "Ready" && known["status"] == "True")
    };
    let of_one: Vec<String> = list
        .items
        .iter()
        .filter(|pod| !ready(pod))
        .map(|pod| format!("\n    {} on {}: {}", pod["metadata"]["name"], pod["spec"]["nodeName"], pod["status"]))
        .collect();
    format!("; {} has {} pods, of which are not ready:{}", name, list.items.len(), of_one.concat())
}

fn namespace(number: usize) -> String {
    format!("world-{}", number % NAMESPACES)
}

fn template(name: &str, replicas: Option<usize>) -> Value {
    let labels = json!({"app": name, "tier": "backend"});
    let container = json!({
        "name": "main", "image": "registry.example.org/team/service:1.4.2",
        "ports": [{"containerPort": 8080}],
        "env": [{"name": "MODE", "value": "production"}, {"name": "LEVEL", "value": "info"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
    });
    let mut spec = json!({
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    });
    if let Some(replicas) = replicas {
        spec["replicas"] = json!(replicas);
    }
    spec
}
