//! An API server in memory: objects, patches, and followers. It knows no rule but what the agent needs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use naru_api::Registry;
use naru_client::{
    Body, BoxFuture, BoxStream, BoxedIo, Client, Delta, Follow, Frame, ObjectRef, Transport, TransportError,
    UpgradeError, full_body,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

/// Long enough for a machine that builds something else at the same time.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Key = (String, String, String);

struct Follower {
    follow: Follow,
    frames: mpsc::UnboundedSender<Result<Frame, TransportError>>,
}

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Value>,
    followers: Vec<Follower>,
    /// Pods that had an address and then none while they ran.
    bereft: Vec<String>,
}

/// The server.
pub struct Api {
    state: Mutex<State>,
    /// One change at a time, from reading what was there to writing what comes: else the agent's report of a status and
    /// a test's change of the same pod undo each other.
    writer: Mutex<()>,
    changed: watch::Sender<u64>,
    registry: Arc<Registry>,
    /// Nobody answers.
    pub away: AtomicBool,
}

#[derive(Clone)]
struct Wire(Arc<Api>);

impl Api {
    pub fn new() -> Arc<Api> {
        Arc::new(Api {
            state: Mutex::default(),
            writer: Mutex::default(),
            changed: watch::Sender::new(0),
            registry: Registry::builtin(),
            away: AtomicBool::new(false),
        })
    }

    pub fn client(self: &Arc<Api>) -> Client {
        Client::new(Arc::new(Wire(self.clone())))
    }

    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state.lock().objects.get(&(plural.into(), namespace.into(), name.into())).cloned()
    }

    pub fn pod(&self, name: &str) -> Option<Value> {
        self.get("pods", "default", name)
    }

    pub fn events(&self, reason: &str) -> Vec<Value> {
        let state = self.state.lock();
        state
            .objects
            .iter()
            .filter(|((plural, ..), event)| plural == "events" && event["reason"] == reason)
            .map(|(_, event)| event.clone())
            .collect()
    }

    /// Creates or replaces an object.
    pub fn put(&self, plural: &str, object: Value) {
        let _alone = self.writer.lock();
        self.replace(plural, object);
    }

    fn replace(&self, plural: &str, object: Value) {
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text("namespace"), text("name"));
        self.store(key, Some(object));
    }

    /// A pod bound to the node `node`.
    pub fn run(&self, name: &str, mut spec: Value, annotations: Value) {
        spec["nodeName"] = json!("node");
        let uid = format!("uid-{name}");
        self.put("pods", json!({"apiVersion": "v1", "kind": "Pod", "metadata":
            {"name": name, "namespace": "default", "uid": uid, "annotations": annotations, "labels": {"app": name}}, "spec": spec}));
    }

    /// The same for a pod of a Compose project.
    pub fn run_compose(&self, name: &str, mut spec: Value, annotations: Value) {
        spec["nodeName"] = json!("node");
        let uid = format!("uid-{name}");
        let labels = json!({"naru.io/project": "shop", "naru.io/service": name});
        self.put("pods", json!({"apiVersion": "v1", "kind": "Pod", "metadata":
            {"name": name, "namespace": "default", "uid": uid, "annotations": annotations, "labels": labels}, "spec": spec}));
    }

    pub fn annotate(&self, name: &str, key: &str, value: &str) {
        let _alone = self.writer.lock();
        let mut pod = self.pod(name).unwrap();
        pod["metadata"]["annotations"][key] = json!(value);
        self.replace("pods", pod);
    }

    /// Asks for a pod's deletion.
    pub fn delete(&self, name: &str, grace: i64) {
        let _alone = self.writer.lock();
        let Some(mut pod) = self.pod(name) else { return };
        let at = jiff::Timestamp::now().checked_add(Duration::from_secs(grace as u64)).unwrap();
        pod["metadata"]["deletionTimestamp"] = json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.replace("pods", pod);
    }

    /// Removes an object without asking anybody.
    pub fn forget(&self, plural: &str, namespace: &str, name: &str) {
        let _alone = self.writer.lock();
        self.store((plural.into(), namespace.into(), name.into()), None);
    }

    /// Whether a running pod's address was never taken back.
    pub fn never_without_address(&self, name: &str) -> bool {
        !self.state.lock().bereft.iter().any(|bereft| bereft == name)
    }

    /// Waits until a pod fits.
    pub async fn until(&self, name: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                changed.borrow_and_update();
                if let Some(pod) = self.pod(name).filter(|pod| fits(pod)) {
                    return pod;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(pod) => pod,
            Err(_) => panic!("{name} is never {what}: {:#}", self.pod(name).unwrap_or_default()["status"]),
        }
    }

    pub async fn until_gone(&self, name: &str) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while self.pod(name).is_some() {
                changed.changed().await.unwrap();
            }
        };
        assert!(
            tokio::time::timeout(PATIENCE, wait).await.is_ok(),
            "{name} stays: {:#}",
            self.pod(name).unwrap_or_default()
        );
    }

    fn store(&self, key: Key, object: Option<Value>) {
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        let before = state.objects.get(&key).cloned();
        let (plural, namespace, name) = key.clone();
        let after = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = json!(revision.to_string());
            if object["metadata"]["uid"].is_null() {
                object["metadata"]["uid"] = json!(format!("u{revision}"));
            }
            object
        });
        let address =
            |object: &Option<Value>| object.as_ref().is_some_and(|object| object["status"]["podIP"].is_string());
        if address(&before)
            && after.is_some()
            && !address(&after)
            && after.as_ref().is_some_and(|pod| pod["status"]["phase"] == "Running")
        {
            state.bereft.push(name.clone());
        }
        match &after {
            Some(object) => drop(state.objects.insert(key, object.clone())),
            None => drop(state.objects.remove(&key)),
        }
        let reference = ObjectRef::new(&namespace, &name);
        state.followers.retain(|follower| {
            let fits = |object: &Option<Value>| object.as_ref().is_some_and(|object| follower.fits(&plural, object));
            let change = match (fits(&before), fits(&after)) {
                (_, true) => Delta::Applied(reference.clone(), after.as_ref().unwrap().to_string().into()),
                (true, false) => Delta::Deleted(reference.clone()),
                (false, false) => return !follower.frames.is_closed(),
            };
            follower.frames.send(Ok(Frame::Changes { revision, changes: vec![change] })).is_ok()
        });
        drop(state);
        self.changed.send_replace(revision);
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8], kind: &str) -> (StatusCode, Value) {
        let parts: Vec<&str> = path.split('?').next().unwrap().split('/').filter(|part| !part.is_empty()).collect();
        let rest = if parts[0] == "api" { &parts[2..] } else { &parts[3..] };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, sub) = (rest[0], rest.get(1).copied().unwrap_or(""), rest.get(2).copied().unwrap_or(""));
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let absent = || {
            (
                StatusCode::NOT_FOUND,
                json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": path}),
            )
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let _alone = self.writer.lock();
        match *method {
            Method::POST if sub == "token" => {
                let end = jiff::Timestamp::now().checked_add(Duration::from_secs(3600)).unwrap();
                (StatusCode::CREATED, json!({"status": {"token": "a-token", "expirationTimestamp": end.to_string()}}))
            }
            Method::POST => {
                let mut object = body;
                if !namespace.is_empty() {
                    object["metadata"]["namespace"] = json!(namespace);
                }
                self.replace(plural, object.clone());
                (StatusCode::CREATED, object)
            }
            Method::GET => self.get(plural, namespace, name).map_or_else(absent, |object| (StatusCode::OK, object)),
            Method::PATCH => {
                let Some(mut object) = self.get(plural, namespace, name) else { return absent() };
                let uid = &body["metadata"]["uid"];
                if !uid.is_null() && *uid != object["metadata"]["uid"] {
                    return (
                        StatusCode::CONFLICT,
                        json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409}),
                    );
                }
                if kind.contains("strategic") {
                    let known = self.registry.iter().find(|known| *known.plural == *plural).unwrap().clone();
                    naru_api::patch::strategic(&known, &mut object, &body).unwrap();
                } else {
                    naru_api::patch::merge(&mut object, &body).unwrap();
                }
                self.store(key, Some(object.clone()));
                (StatusCode::OK, object)
            }
            Method::DELETE => {
                let Some(object) = self.get(plural, namespace, name) else { return absent() };
                let uid = &body["preconditions"]["uid"];
                if !uid.is_null() && *uid != object["metadata"]["uid"] {
                    return (
                        StatusCode::CONFLICT,
                        json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409}),
                    );
                }
                self.store(key, None);
                (StatusCode::OK, object)
            }
            _ => absent(),
        }
    }
}

impl Follower {
    fn fits(&self, plural: &str, object: &Value) -> bool {
        let Follow { plural: wanted, namespace, labels, fields, .. } = &self.follow;
        let place = namespace.as_ref().is_none_or(|namespace| object["metadata"]["namespace"] == **namespace);
        let label = labels.is_empty() || !object["metadata"]["labels"][labels.as_str()].is_null();
        let field = fields.strip_prefix("spec.nodeName=").is_none_or(|node| object["spec"]["nodeName"] == node);
        wanted == plural && place && label && field
    }
}

impl Transport for Wire {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TransportError>> {
        let api = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body: Bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            if api.away.load(Ordering::SeqCst) {
                return Err(TransportError::Closed);
            }
            let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            let (code, value) = api.answer(&parts.method, &path, &body, kind);
            let mut response = Response::new(full_body(value.to_string()));
            *response.status_mut() = code;
            Ok(response)
        })
    }

    fn upgrade(&self, _: Request<Body>) -> BoxFuture<'static, Result<(Response<()>, BoxedIo), UpgradeError>> {
        Box::pin(async { Err(TransportError::Closed.into()) })
    }

    fn follow(&self, follow: Follow) -> Option<BoxStream<'static, Result<Frame, TransportError>>> {
        if self.0.away.load(Ordering::SeqCst) {
            return Some(futures_util::stream::iter([Err(TransportError::Closed)]).boxed());
        }
        let (frames, mut inbox) = mpsc::unbounded_channel();
        let mut state = self.0.state.lock();
        let follower = Follower { follow, frames };
        let objects = state.objects.iter().filter(|((plural, ..), object)| follower.fits(plural, object));
        let objects =
            objects.map(|((_, namespace, name), object)| (ObjectRef::new(namespace, name), object.to_string().into()));
        let reset = Frame::Reset { revision: state.revision, objects: objects.collect() };
        let _ = follower.frames.send(Ok(reset));
        state.followers.push(follower);
        Some(futures_util::stream::poll_fn(move |context| inbox.poll_recv(context)).boxed())
    }
}
