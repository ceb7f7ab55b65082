//! A server, the controllers, and a pretended node; all gone with the value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use naru_apiserver::{ApiServer, Config, MASTERS, Settings, StoreCodec, User};
use naru_client::{BoxFuture, BoxedIo, Client, DeleteOptions, DialError, Informer, NodeDialer, PatchKind, Resource};
use naru_controllers::{Controllers, Options};
use naru_identity::{Authority, Sealer, TokenSigner};
use naru_store::Store;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// How long anything awaited may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    pub client: Client,
    pub controllers: Controllers,
    /// Pods and nodes as the test sees them.
    pub pods: Informer<Value>,
    shutdown: CancellationToken,
    /// Follows what is defined for as long as it is there.
    _server: ApiServer,
    _dir: tempfile::TempDir,
}

struct NoNodes;

impl NodeDialer for NoNodes {
    fn dial(&self, node: &str) -> BoxFuture<'static, Result<BoxedIo, DialError>> {
        let node = node.to_owned();
        Box::pin(async move { Err(DialError::NotConnected { node }) })
    }
}

/// A resource by its names.
pub fn resource(group: &'static str, kind: &'static str, plural: &'static str, namespaced: bool) -> Resource {
    Resource { group: group.into(), version: "v1".into(), kind: kind.into(), plural: plural.into(), namespaced }
}

pub fn deployments() -> Resource {
    resource("apps", "Deployment", "deployments", true)
}

pub fn replica_sets() -> Resource {
    resource("apps", "ReplicaSet", "replicasets", true)
}

pub fn pods() -> Resource {
    resource("", "Pod", "pods", true)
}

pub fn namespaces() -> Resource {
    resource("", "Namespace", "namespaces", false)
}

pub fn config_maps() -> Resource {
    resource("", "ConfigMap", "configmaps", true)
}

pub fn services() -> Resource {
    resource("", "Service", "services", true)
}

impl World {
    pub async fn start() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let pki = dir.path().join("pki");
        let authority = Arc::new(Authority::open_or_create(&pki).expect("an authority"));
        let sealer = Arc::new(Sealer::open_or_create(&pki.join("seal.key")).expect("a sealer"));
        let codec = Arc::new(StoreCodec::new(sealer.clone()));
        let store = Store::open(naru_store::Options::memory(codec)).await.expect("a store");
        let certificate = authority.certificate().to_owned();
        let server = ApiServer::new(Config {
            store,
            registry: naru_api::Registry::builtin(),
            authority,
            tokens: Arc::new(TokenSigner::open_or_create(&pki.join("sa.key")).expect("a signer")),
            sealer,
            dialer: Arc::new(NoNodes),
            settings: Settings::default(),
        })
        .await
        .expect("a server");
        let user = User { name: "test".into(), groups: vec![MASTERS.into()], ..User::default() };
        let client = Client::new(server.transport(Arc::new(user)));
        let shutdown = CancellationToken::new();
        pretend_node(&client).await;
        let volumes = dir.path().join("volumes").to_str().expect("a plain path").to_owned();
        let options = Options { authority: certificate, volumes, kinds: server.kinds(), ..Options::default() };
        let controllers = naru_controllers::start(client.clone(), options, shutdown.clone()).await;
        let pods = Informer::builder(pods(), |json| Ok(serde_json::from_slice(json)?)).start(&client);
        pods.synced().await;
        World { client, controllers, pods, shutdown, _server: server, _dir: dir }
    }

    /// Creates an object in the namespace that it names.
    pub async fn create(&self, resource: Resource, object: Value) -> Value {
        let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
        self.client.dynamic(resource, namespace.as_deref()).create(&object).await.expect("created")
    }

    /// Reads an object until it is as wanted.
    pub async fn until(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let scope = (!namespace.is_empty()).then_some(namespace);
        let api = self.client.dynamic(resource.clone(), scope);
        let mut last = Value::Null;
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                last = api.get_opt(name).await.expect("an answer").unwrap_or_default();
                if wanted(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        assert!(
            waited.is_ok(),
            "{} {name} never came to be as wanted, it is {last:#}; {:#?}",
            resource.plural,
            self.failing()
        );
        last
    }

    /// Waits until the pods are as wanted.
    pub async fn until_pods(&self, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut changed = self.pods.changed();
        let mut last = Vec::new();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                last = self.pods.list().iter().map(|pod| (*pod.view).clone()).collect::<Vec<_>>();
                if wanted(&last) {
                    return;
                }
                changed.changed().await.expect("the informer lives");
            }
        })
        .await;
        assert!(waited.is_ok(), "the pods never came to be as wanted, they are {last:#?}; {:#?}", self.failing());
        last
    }

    /// Asks the controllers to end.
    pub fn stop(&self) {
        self.shutdown.cancel();
    }

    fn failing(&self) -> Vec<String> {
        let statuses = self.controllers.status();
        let failing = statuses.iter().flat_map(|status| status.failing.iter().map(move |f| (status.name, f)));
        failing.map(|(name, (key, failure))| format!("{name} {key}: {}", failure.error)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

pub fn is_leaving(pod: &Value) -> bool {
    pod["metadata"].get("deletionTimestamp").is_some()
}

/// A node that says of every pod that it runs and is ready, and lets it go when it is to be deleted.
async fn pretend_node(client: &Client) {
    let nodes = client.dynamic(resource("", "Node", "nodes", false), None);
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } });
    nodes.create(&node).await.expect("a node");
    let ready = json!({ "status": { "allocatable": { "cpu": "64", "memory": "64Gi", "pods": "500" }, "conditions": [{ "type": "Ready", "status": "True" }] } });
    nodes.patch_subresource("n1", "status", PatchKind::Merge, &ready).await.expect("a ready node");
    let pods: Informer<Value> = Informer::builder(pods(), |json| Ok(serde_json::from_slice(json)?)).start(client);
    let (client, mut changes) = (client.clone(), pods.subscribe());
    tokio::spawn(async move {
        let address = AtomicU32::new(2);
        loop {
            let key = changes.next().await;
            let Some(pod) = pods.get_ref(&key) else { continue };
            let client = client.clone();
            let address = address.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move { pretend(&client, &pod.view, address).await });
        }
    });
}

async fn pretend(client: &Client, pod: &Value, address: u32) {
    let (namespace, name) = (pod["metadata"]["namespace"].as_str(), pod["metadata"]["name"].as_str());
    let (Some(namespace), Some(name)) = (namespace, name) else { return };
    let api = client.dynamic(pods(), Some(namespace));
    // Whatever fails here has been overtaken by another change, which comes by as well.
    if is_leaving(pod) {
        let _ = api.delete(name, &DeleteOptions::default().grace(0)).await;
    } else if pod["spec"].get("nodeName").is_some()
        && pod["status"]["phase"] == "Pending"
        && pod["metadata"]["annotations"].get("test/hold").is_none()
    {
        let ip = format!("10.42.{}.{}", address / 250, address % 250 + 1);
        let outcome = pod["metadata"]["annotations"]["test/outcome"].as_str().unwrap_or("Running");
        let status = json!({
            "phase": outcome, "podIP": ip, "podIPs": [{ "ip": ip }],
            "conditions": [{ "type": "Ready", "status": if outcome == "Running" { "True" } else { "False" }, "lastTransitionTime": naru_api::meta::time(jiff::Timestamp::now()) }],
        });
        let _ = api.patch_subresource(name, "status", PatchKind::Strategic, &json!({ "status": status })).await;
    }
}
