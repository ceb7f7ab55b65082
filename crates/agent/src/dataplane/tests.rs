//! The whole way from an object's change to the kernel, in a network namespace of the test's own.

mod families;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use naru_api::k8s::api::core::v1::Pod;
use naru_client::{
    Body, BoxFuture, BoxStream, BoxedIo, Client, Delta, Follow, Frame, ObjectRef, Transport, TransportError,
    UpgradeError,
};
use naru_network::HelperProgram;
use naru_network::model::NodeConfig;
use parking_lot::Mutex;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Dataplane, DataplaneConfig};
use crate::network::{Attachment, PodNetwork};

/// Named namespaces, removed with the test.
struct Spaces(Vec<String>);

impl Spaces {
    fn add(&mut self, role: &str) -> PathBuf {
        // A word of its own: test runs in process namespaces of their own have the same process ids.
        let word = RandomState::new().build_hasher().finish() as u32;
        let name = format!("naru-dp-{word:08x}-{role}");
        assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
        self.0.push(name.clone());
        PathBuf::from("/run/netns").join(name)
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn enter(path: &PathBuf) {
    let netns = File::open(path).unwrap();
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// Runs `body` on a thread inside a namespace.
fn within<T: Send>(path: &PathBuf, body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            enter(path);
            body()
        });
        inside.join().unwrap()
    })
}

/// An API server that says what the test says.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<Frame>>>>);

impl Transport for Script {
    fn call(&self, _: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, TransportError>> {
        Box::pin(std::future::pending())
    }

    fn upgrade(
        &self,
        _: http::Request<Body>,
    ) -> BoxFuture<'static, Result<(http::Response<()>, BoxedIo), UpgradeError>> {
        Box::pin(std::future::pending())
    }

    fn follow(&self, follow: Follow) -> Option<BoxStream<'static, Result<Frame, TransportError>>> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let _ = sender.send(Frame::Reset { revision: 1, objects: Vec::new() });
        self.0.lock().insert(follow.plural, sender);
        Some(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|frame| frame.map(Ok))).boxed())
    }
}

impl Script {
    fn say(&self, plural: &str, revision: u64, object: &Value) {
        let key = ObjectRef::new(
            object["metadata"]["namespace"].as_str().unwrap_or_default(),
            object["metadata"]["name"].as_str().unwrap(),
        );
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        object["metadata"]["uid"] = format!("uid-{plural}-{}", key.name).into();
        let delta = Delta::Applied(key, serde_json::to_vec(&object).unwrap().into());
        let streams = self.0.lock();
        streams[plural].send(Frame::Changes { revision, changes: vec![delta] }).unwrap();
    }
}

fn config(dir: &std::path::Path) -> DataplaneConfig {
    DataplaneConfig {
        cluster: None,
        behind_nat: false,
        heard: tokio::sync::watch::channel(true).1,
        node_name: "n1".into(),
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        address: Some(Ipv4Addr::new(198, 51, 100, 1)),
        node: NodeConfig::default(),
        domain: "cluster.local".into(),
        // No helper: attaching must not depend on it.
        helper: HelperProgram { path: "/bin/false".into(), args: Vec::new() },
        resolv_conf: "/etc/resolv.conf".into(),
    }
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}")}, "spec": {"nodeName": "n1", "containers": []}})
}

fn attachment(name: &str, netns: &std::path::Path) -> Attachment {
    let pod: Pod = serde_json::from_value(pod(name)).unwrap();
    let uid = naru_runtime::pod::PodUid::new(format!("uid-{name}")).unwrap();
    Attachment { uid, netns: netns.to_path_buf(), pid: 0, pod: Arc::new(pod), warn: Arc::new(|_, _| {}) }
}

fn slice(addresses: &[IpAddr]) -> Value {
    let endpoints: Vec<Value> =
        addresses.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    json!({"metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
           "addressType": "IPv4", "ports": [{"name": "", "port": 80, "protocol": "TCP"}], "endpoints": endpoints})
}

fn ask(to: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn objects_become_rules_and_gone_pods_leave_at_once() {
    if !rustix::process::geteuid().is_root() || Command::new("nft").arg("-v").output().is_err() {
        eprintln!("SKIPPED: the data plane from objects to the kernel: root and nft are needed");
        return;
    }
    let mut spaces = Spaces(Vec::new());
    let (host, web, client) = (spaces.add("host"), spaces.add("web"), spaces.add("client"));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            enter(&host);
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(walk(&web, &client));
        });
        run.join().unwrap();
    });
}

async fn walk(web: &PathBuf, client: &PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::default();
    let api = Client::new(Arc::new(script.clone()));
    let plane = Dataplane::start_with(&api, config(dir.path()), Duration::from_millis(50)).unwrap();
    let patience = Duration::from_secs(20);
    let web_address = plane.attach(attachment("web", web)).await.unwrap()[0];
    let again = plane.attach(attachment("web", web)).await.unwrap()[0];
    assert_eq!(web_address, again, "a connected pod keeps its address");
    plane.attach(attachment("client", client)).await.unwrap();
    let listener = within(web, || TcpListener::bind("0.0.0.0:80").unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"web");
        }
    });

    let vip = Ipv4Addr::new(10, 43, 1, 1);
    let service = json!({"metadata": {"namespace": "shop", "name": "web"},
                         "spec": {"clusterIP": vip, "ports": [{"port": 80, "protocol": "TCP"}]}});
    script.say("services", 5, &service);
    script.say("endpointslices", 6, &slice(&[web_address]));
    tokio::time::timeout(patience, plane.settled(6)).await.expect("the endpoint never reached the kernel");
    // The service may still be on its way when the endpoints are not.
    let served = |applied: &naru_network::Applied| applied.desired.as_ref().is_some_and(|d| !d.services.is_empty());
    let shown = tokio::time::timeout(patience, plane.applied().wait_for(served)).await.map(drop);
    assert!(shown.is_ok(), "the service never reached the kernel: {:?}", *plane.applied().borrow());
    assert_eq!(within(client, || ask((vip, 80).into())).unwrap(), "web");

    // The pod goes; nobody has told the API yet.
    let uid = naru_runtime::pod::PodUid::new("uid-web").unwrap();
    plane.detach(&uid).await.unwrap();
    let IpAddr::V4(address) = web_address else { panic!() };
    tokio::time::timeout(patience, plane.withdrawn(address)).await.expect("the dead endpoint was kept");
    let refused = within(client, || ask((vip, 80).into())).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    // Another process takes over: what belongs to no pod is let go, what belongs to one stays.
    drop(plane);
    let plane = Dataplane::start_with(&api, config(dir.path()), Duration::from_millis(50)).unwrap();
    plane.retain(&BTreeSet::from(["uid-client".to_owned()])).await;
    let kept = plane.attach(attachment("client", client)).await.unwrap();
    assert_eq!(kept.len(), 1);
    plane.retain(&BTreeSet::new()).await;
    let gone = tokio::time::timeout(patience, async {
        while !naru_network::Links::list().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.expect("a link was left behind");
}
