//! Node objects become ways, and stay in step with them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use naru_client::{Client, Delta, Frame, ObjectRef};
use naru_network::peers::Mode;
use serde_json::{Value, json};

use super::{Dataplane, Script, Spaces, attachment, config, enter};
use crate::dataplane::{DataplaneError, Ways};
use crate::network::PodNetwork;

const PATIENCE: Duration = Duration::from_secs(20);

fn node(name: &str, block: Option<&str>, address: &str, beats: u32) -> Value {
    json!({"metadata": {"name": name}, "spec": {"podCIDR": block},
           "status": {"addresses": [{"type": "InternalIP", "address": address}],
                      "conditions": [{"type": "Ready", "status": "True", "message": format!("beat {beats}")}]}})
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "`{script}` failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until something is as it should be.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
}

#[test]
fn nodes_become_ways() {
    if !rustix::process::geteuid().is_root() || Command::new("nft").arg("-v").output().is_err() {
        eprintln!("SKIPPED: the ways to other nodes: root and nft are needed");
        return;
    }
    let mut spaces = Spaces(Vec::new());
    let (host, pod) = (spaces.add("ways"), spaces.add("ways-pod"));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            enter(&host);
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(walk(&pod));
        });
        run.join().unwrap();
    });
}

async fn walk(pod: &Path) {
    sh("ip link set lo up; ip link add eth0 type veth peer name wire; ip addr add 198.51.100.1/24 dev eth0; \
        ip link set eth0 up; ip link set wire up; ip route add default via 198.51.100.254");
    refusal().await;
    let dir = tempfile::tempdir().unwrap();
    let script = Script::default();
    let api = Client::new(Arc::new(script.clone()));
    let plane = Dataplane::start(&api, config(dir.path())).unwrap();
    let modes = |ways: &Ways| ways.modes.iter().map(|(name, mode)| (name.clone(), *mode)).collect::<Vec<_>>();
    let reached = async |expected: &[(&str, Mode)]| {
        let expected: Vec<(String, Mode)> = expected.iter().map(|(name, mode)| ((*name).into(), *mode)).collect();
        let mut ways = plane.ways();
        let wait = ways.wait_for(|ways| ways.mtu.is_some() && modes(ways) == expected);
        let reached = tokio::time::timeout(PATIENCE, wait).await.map(|ways| ways.unwrap().clone());
        reached.unwrap_or_else(|_| panic!("{expected:?} never came: {:?}", *plane.ways().borrow()))
    };
    assert_eq!(reached(&[]).await.mtu, Some(1500));
    script.say("nodes", 5, &node("n1", Some("10.42.0.0/24"), "198.51.100.1", 1));
    script.say("nodes", 6, &node("n2", Some("10.42.1.0/24"), "198.51.100.2", 1));
    script.say("nodes", 7, &node("n3", None, "203.0.113.3", 1));
    assert_eq!(reached(&[("n2", Mode::Route)]).await.problems, Vec::<String>::new());
    // The third is given its block only now.
    script.say("nodes", 8, &node("n3", Some("10.42.2.0/24"), "203.0.113.3", 1));
    assert_eq!(reached(&[("n2", Mode::Route), ("n3", Mode::Vxlan)]).await.mtu, Some(1450));
    let routes = sh("ip route show proto 110");
    assert!(
        routes.contains("10.42.1.0/24 via 198.51.100.2") && routes.contains("10.42.2.0/24 via 10.42.2.1"),
        "{routes}"
    );
    until("the rules know whose tunnels to take", || sh("nft list set inet naru tunnels").contains("203.0.113.3"))
        .await;

    // A new pod's packets reach everybody.
    plane.attach(attachment("small", pod)).await.unwrap();
    assert!(sh("ip link show type veth").contains("mtu 1450"), "{}", sh("ip link show type veth"));

    // Heartbeats are no news.
    let before = plane.applied().borrow().revision;
    for beat in 2..12 {
        script.say("nodes", 7 + u64::from(beat), &node("n3", Some("10.42.2.0/24"), "203.0.113.3", beat));
    }
    script.say("nodes", 30, &node("n2", Some("10.42.1.0/24"), "198.51.100.22", 2));
    until("the node that moved is found", || sh("ip route show proto 110").contains("10.42.1.0/24 via 198.51.100.22"))
        .await;
    until("the rules know that it moved", || sh("nft list set inet naru tunnels").contains("198.51.100.22")).await;
    let after = plane.applied().borrow().revision;
    assert!(after - before <= 2, "{} new tables for one change that matters", after - before);

    // What somebody deletes comes back, and so does what another program breaks.
    for damage in ["ip route del 10.42.1.0/24", "ip link del naru-vx", "ip link set naru-vx down"] {
        let whole = || sh("ip route show proto 110; ip link show up");
        let good =
            |text: &str| ["10.42.1.0/24 via", "10.42.2.0/24 via", "naru-vx:"].iter().all(|part| text.contains(part));
        sh(damage);
        until(damage, || good(&whole())).await;
    }

    // Another process takes over while nobody answers: everything stays.
    drop(plane);
    let mute = Client::new(Arc::new(Mute));
    let plane = Dataplane::start(&mute, config(dir.path())).unwrap();
    assert!(sh("ip route show proto 110").contains("10.42.1.0/24 via 198.51.100.22"));
    drop(plane);
    assert!(sh("ip route show proto 110; bridge fdb show dev naru-vx").contains("203.0.113.3"));

    // And one that sees the nodes lets go of who left.
    let script = Script::default();
    let plane = Dataplane::start(&Client::new(Arc::new(script.clone())), config(dir.path())).unwrap();
    until("the ways to nobody are gone", || !sh("ip route show proto 110; ip link").contains("naru-vx")).await;
    script.say("nodes", 5, &node("n2", Some("10.42.1.0/24"), "198.51.100.2", 1));
    until("who is here is reached", || sh("ip route show proto 110").contains("10.42.1.0/24 via 198.51.100.2")).await;
    script.gone("nodes", 6, "n2");
    until("who left is not", || !sh("ip route show proto 110").contains("10.42.1.0/24")).await;
    plane.retain(&Default::default()).await;
}

/// A machine that is in the pods' range cannot become a node; one that is a node already goes on.
async fn refusal() {
    sh("ip addr add 10.42.9.1/24 dev eth0");
    let dir = tempfile::tempdir().unwrap();
    let api = Client::new(Arc::new(Script::default()));
    let refused = Dataplane::start(&api, config(dir.path())).map(drop).unwrap_err();
    assert!(matches!(refused, DataplaneError::Overlap(_)), "{refused}");
    let text = naru_network::chain(&refused);
    assert!(text.contains("10.42.9.0/24") && text.contains("--pod-network"), "{text}");
    sh("ip addr del 10.42.9.1/24 dev eth0");
    drop(Dataplane::start(&api, config(dir.path())).unwrap());
    sh("ip addr add 10.42.9.1/24 dev eth0");
    drop(Dataplane::start(&api, config(dir.path())).unwrap());
    sh("ip addr del 10.42.9.1/24 dev eth0");
}

/// An API server that never answers.
struct Mute;

impl naru_client::Transport for Mute {
    fn call(
        &self,
        _: http::Request<naru_client::Body>,
    ) -> naru_client::BoxFuture<'static, Result<http::Response<naru_client::Body>, naru_client::TransportError>> {
        Box::pin(std::future::pending())
    }

    fn upgrade(
        &self,
        _: http::Request<naru_client::Body>,
    ) -> naru_client::BoxFuture<'static, Result<(http::Response<()>, naru_client::BoxedIo), naru_client::UpgradeError>>
    {
        Box::pin(std::future::pending())
    }
}

impl Script {
    fn gone(&self, plural: &str, revision: u64, name: &str) {
        let delta = Delta::Deleted(ObjectRef::new("", name));
        self.0.lock()[plural].send(Frame::Changes { revision, changes: vec![delta] }).unwrap();
    }
}
