//! One node that only pretends to run its pods; towards the server it is like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{Method, Request};
use ipnet::Ipv4Net;
use jiff::Timestamp;
use naru_api::k8s::ByteString;
use naru_api::k8s::api::coordination::v1::Lease;
use naru_api::k8s::api::core::v1::{Node, Pod};
use naru_client::{
    BoxError, BoxedIo, Client, ClientCertificate, ClientError, DeleteOptions, HttpTransport, Informer, ObjectRef,
    PatchKind, Resource, TUNNEL_PATH, TUNNEL_PROTOCOL, TlsSettings, Transport, empty_body, serve_tunnel,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::fleet::Door;
use super::followers::Followers;

/// As a real node.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Status writes of one node that are under way at once.
const ABREAST: usize = 8;

/// A node; its tasks end with it.
pub struct SimNode {
    #[allow(dead_code)] // the benchmark counts nodes, the test names them
    pub name: String,
    /// Pods that this node has been given.
    pub given: Arc<AtomicUsize>,
    off: CancellationToken,
    tasks: Vec<tokio::task::AbortHandle>,
}

/// What is read of a pod.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Seen {
    metadata: SeenMeta,
    spec: SeenSpec,
    status: SeenStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SeenMeta {
    uid: String,
    deletion_timestamp: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SeenSpec {
    containers: Vec<SeenContainer>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SeenContainer {
    name: String,
    image: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SeenStatus {
    phase: String,
    conditions: Vec<SeenCondition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SeenCondition {
    r#type: String,
    status: String,
}

impl SeenStatus {
    /// Whether the cluster knows that the pod runs and is ready: it forgets the latter where it gave a node up for lost.
    fn is_told(&self) -> bool {
        self.phase == "Running" && self.conditions.iter().any(|known| known.r#type == "Ready" && known.status == "True")
    }
}

/// What its tasks share.
struct Inner {
    name: String,
    address: Ipv4Addr,
    client: Client,
    transport: HttpTransport,
    given: Arc<AtomicUsize>,
    off: CancellationToken,
}

impl SimNode {
    /// Joins as a machine does: a key of its own, a certificate by the join token, then registration.
    pub async fn join(door: &Door, number: usize, invited: &Client, follow: bool) -> Result<SimNode, BoxError> {
        let name = format!("sim-{number:05}");
        let wish = naru_identity::request_certificate(&format!("system:node:{name}"), &["system:nodes"])?;
        let request = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"generateName": format!("node-{name}-")},
            "spec": {"signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth"],
                "request": ByteString(wish.request.into_bytes())},
        });
        let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        let answer = invited.json(Method::POST, path, "application/json", Some(&request)).await?;
        let certificate = serde_json::from_value::<ByteString>(answer["status"]["certificate"].clone())?.0;
        let tls = TlsSettings {
            authorities: door.authority.clone(),
            client: Some(ClientCertificate { certificate, key: wish.key.into_bytes() }),
            server_name: Some("kubernetes".to_owned()),
            ..TlsSettings::default()
        };
        let transport = HttpTransport::tcp(&door.url, &tls)?;
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + number as u32 + 1);
        let inner = Arc::new(Inner {
            name: name.clone(),
            address,
            client: Client::new(Arc::new(transport.clone())),
            transport,
            given: Arc::default(),
            off: CancellationToken::new(),
        });
        inner.register().await?;
        let subnet = inner.subnet().await?;
        let mut tasks = vec![
            tokio::spawn(inner.clone().connect()).abort_handle(),
            tokio::spawn(inner.clone().beat(number)).abort_handle(),
            tokio::spawn(inner.clone().insist()).abort_handle(),
            tokio::spawn(inner.clone().run_pods(subnet)).abort_handle(),
        ];
        if follow {
            let client = inner.client.clone();
            tasks.push(tokio::spawn(async move { Followers::start(&client).hold().await }).abort_handle());
        }
        let (given, off) = (inner.given.clone(), inner.off.clone());
        Ok(SimNode { name, given, off, tasks })
    }

    /// The power goes: nothing is said any more, and no connection is closed.
    pub fn power_off(&self) {
        self.off.cancel();
    }

    /// Whether the power went.
    pub fn is_off(&self) -> bool {
        self.off.is_cancelled()
    }
}

impl Drop for SimNode {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

impl Inner {
    async fn register(&self) -> Result<(), ClientError> {
        let nodes = self.client.dynamic(Resource::of::<Node>(), None);
        let labels = json!({"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": format!("zone-{}", self.address.octets()[3] % 4)});
        nodes.patch(&self.name, PatchKind::Merge, &json!({"metadata": {"labels": labels}})).await?;
        let resources =
            json!({"cpu": "32", "memory": "134217728Ki", "ephemeral-storage": "419430400Ki", "pods": "110"});
        let now = stamp();
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": "", "lastHeartbeatTime": now,
                "lastTransitionTime": now})
        };
        let status = json!({
            "addresses": [{"type": "InternalIP", "address": self.address.to_string()},
                {"type": "Hostname", "address": self.name}],
            "capacity": resources, "allocatable": resources,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
                condition("Ready", "True", "KubeletReady"),
            ],
            "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux", "kernelVersion": "6.12.0",
                "osImage": "Simulated", "machineID": self.name, "bootID": self.name, "systemUUID": self.name,
                "containerRuntimeVersion": "naru://0.1.0", "kubeletVersion": "v1.36.0+naru",
                "kubeProxyVersion": "v1.36.0+naru"},
        });
        nodes.patch_subresource(&self.name, "status", PatchKind::Merge, &json!({"status": status})).await.map(drop)
    }

    async fn subnet(&self) -> Result<Ipv4Net, BoxError> {
        let read = |json: &[u8]| -> Result<Option<String>, BoxError> {
            let node: Value = serde_json::from_slice(json)?;
            Ok(node["spec"]["podCIDR"].as_str().map(str::to_owned))
        };
        let own = Informer::builder(Resource::of::<Node>(), read)
            .fields(&format!("metadata.name={}", self.name))
            .start(&self.client);
        let mut changed = own.changed();
        loop {
            changed.mark_unchanged();
            if let Some(subnet) = own.get("", &self.name).and_then(|node| (*node.view).clone()) {
                return Ok(subnet.parse()?);
            }
            changed.changed().await?;
        }
    }

    /// Keeps the connection by which the server notices that this node lives.
    async fn connect(self: Arc<Self>) {
        while !self.off.is_cancelled() {
            if let Ok(io) = self.dial().await {
                let mut served =
                    std::pin::pin!(serve_tunnel(io, |stream: BoxedIo| Box::pin(async move { drop(stream) })));
                tokio::select! {
                    _ = served.as_mut() => {}
                    // Kept and never looked at again: that is what the server sees of a machine without power.
                    () = self.off.cancelled() => std::future::pending().await,
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn dial(&self) -> Result<BoxedIo, BoxError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(TUNNEL_PATH)
            .header(UPGRADE, TUNNEL_PROTOCOL)
            .header(CONNECTION, "Upgrade")
            .body(empty_body())?;
        let upgraded = self.transport.upgrade(request).await.map_err(|error| error.to_string())?;
        Ok(upgraded.1)
    }

    /// Says so when the cluster has given this node up although it is there, as a node does.
    async fn insist(self: Arc<Self>) {
        let ready = |json: &[u8]| -> Result<bool, BoxError> {
            let node: Value = serde_json::from_slice(json)?;
            let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            Ok(conditions.any(|known| known["type"] == "Ready" && known["status"] == "True"))
        };
        let own = Informer::builder(Resource::of::<Node>(), ready)
            .fields(&format!("metadata.name={}", self.name))
            .start(&self.client);
        let mut changed = own.changed();
        while !self.off.is_cancelled() && changed.changed().await.is_ok() {
            if own.get("", &self.name).is_some_and(|node| !*node.view) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let _ = self.register().await;
            }
        }
    }

    /// Renews the lease.
    async fn beat(self: Arc<Self>, number: usize) {
        let leases = self.client.dynamic(Resource::of::<Lease>(), Some("kube-node-lease"));
        let mut made = false;
        // Nodes start at any time.
        tokio::time::sleep(HEARTBEAT.mul_f64(number as f64 * 0.618 % 1.0)).await;
        let mut tick = tokio::time::interval(HEARTBEAT);
        while !self.off.is_cancelled() {
            tick.tick().await;
            if self.off.is_cancelled() {
                break;
            }
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
            let spec = json!({"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now});
            let told = match made {
                true => leases.patch(&self.name, PatchKind::Merge, &json!({"spec": spec})).await,
                false => {
                    let meta = json!({"name": self.name, "namespace": "kube-node-lease"});
                    leases
                        .create(&json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                        "metadata": meta, "spec": spec}))
                        .await
                }
            };
            made |= match told {
                Ok(_) => true,
                Err(error) => error.is_already_exists(),
            };
        }
    }

    async fn run_pods(self: Arc<Self>, subnet: Ipv4Net) {
        let pods = Informer::builder(Resource::of::<Pod>(), |json| Ok(serde_json::from_slice::<Seen>(json)?))
            .fields(&format!("spec.nodeName={}", self.name))
            .start(&self.client);
        let (changed, mut inbox) = mpsc::unbounded_channel();
        pods.listen(move |change| {
            let _ = changed.send(change.key().clone());
        });
        let slots = Arc::new(Semaphore::new(ABREAST));
        let mut free: BTreeSet<Ipv4Addr> = subnet.hosts().skip(1).collect();
        let mut known: BTreeMap<ObjectRef, (String, Ipv4Addr)> = BTreeMap::new();
        let (again, mut repeated) = mpsc::unbounded_channel::<ObjectRef>();
        loop {
            let key = tokio::select! {
                Some(key) = inbox.recv() => key,
                Some(key) = repeated.recv() => key,
                () = self.off.cancelled() => return,
            };
            let pod = pods.get_ref(&key);
            let same = |uid: &str| known.get(&key).is_some_and(|(known, _)| known == uid);
            if pod.as_ref().is_none_or(|pod| !same(&pod.view.metadata.uid))
                && let Some((_, address)) = known.remove(&key)
            {
                free.insert(address);
                self.given.fetch_sub(1, Relaxed);
            }
            let Some(pod) = pod else { continue };
            let uid = pod.view.metadata.uid.clone();
            let (_, address) = *known.entry(key.clone()).or_insert_with(|| {
                self.given.fetch_add(1, Relaxed);
                (uid.clone(), free.pop_first().unwrap_or(Ipv4Addr::UNSPECIFIED))
            });
            let leaving = pod.view.metadata.deletion_timestamp.is_some();
            if !leaving && pod.view.status.is_told() {
                continue;
            }
            let (inner, slots, again) = (self.clone(), slots.clone(), again.clone());
            tokio::spawn(async move {
                let Ok(_slot) = slots.acquire_owned().await else { return };
                if inner.off.is_cancelled() {
                    return;
                }
                let told = match leaving {
                    true => inner.delete(&key, &uid).await,
                    false => inner.tell(&key, &pod.view, address).await,
                };
                if let Err(error) = told
                    && error.is_retriable()
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let _ = again.send(key);
                }
            });
        }
    }

    async fn delete(&self, key: &ObjectRef, uid: &str) -> Result<(), ClientError> {
        let pods = self.client.dynamic(Resource::of::<Pod>(), Some(&key.namespace));
        pods.delete(&key.name, &DeleteOptions::exactly(uid).grace(0)).await.map(drop)
    }

    async fn tell(&self, key: &ObjectRef, pod: &Seen, address: Ipv4Addr) -> Result<(), ClientError> {
        let now = stamp();
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
        let containers: Vec<Value> = pod
            .spec
            .containers
            .iter()
            .map(|container| {
                json!({"name": container.name, "image": container.image, "imageID": container.image, "ready": true,
                    "started": true, "restartCount": 0, "containerID": format!("naru://{}", pod.metadata.uid),
                    "state": {"running": {"startedAt": now}}})
            })
            .collect();
        let conditions = ["PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled"];
        let status = json!({
            "phase": "Running", "startTime": now, "hostIP": self.address.to_string(),
            "hostIPs": [{"ip": self.address.to_string()}], "podIP": address.to_string(),
            "podIPs": [{"ip": address.to_string()}], "qosClass": "Burstable",
            "conditions": conditions.map(condition), "containerStatuses": containers,
        });
        let pods = self.client.dynamic(Resource::of::<Pod>(), Some(&key.namespace));
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
        pods.patch_subresource(&key.name, "status", PatchKind::Strategic, &patch).await.map(drop)
    }
}

fn stamp() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
