//! A cluster of both families: pods, services, names, ports and policies have IPv6 addresses on every machine, over wires
//! that need to know of IPv4 alone.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use naru_testkit::{Cluster, Host, Output, eventually_within, until};
use serde_json::{Value, json};

/// Longer than any wait that is right.
const PATIENCE: Duration = Duration::from_secs(90);

const RANGES: [&str; 4] =
    ["--pod-network", "10.42.0.0/16,fd00:42::/48", "--service-network", "10.43.0.0/16,fd00:43::/112"];

const SHOP: &str = "services:
  web:
    image: naru.local/probe:1
    ports: [\"8088:8080\"]
    networks: [both]
    deploy: {mode: global}
  plain:
    image: naru.local/probe:1
    networks: [one]
networks:
  both: {enable_ipv6: true}
  one:
";

/// A pod and its addresses.
#[derive(Debug, Clone)]
struct Pod {
    namespace: String,
    name: String,
    node: String,
    addresses: Vec<IpAddr>,
}

impl Pod {
    fn six(&self) -> Ipv6Addr {
        let six = self.addresses.iter().find_map(|address| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        });
        six.unwrap_or_else(|| panic!("no IPv6 address: {self:?}"))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The pods of a Compose service that are ready.
fn pods(server: &Host, service: &str) -> Vec<Pod> {
    let selector = format!("naru.io/service={service}");
    let list = server.kubectl(&["get", "pods", "-A", "-l", &selector, "-o", "json"]).ok().json();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let ready = |pod: &&Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let addresses = |pod: &Value| {
        let all = pod["status"]["podIPs"].as_array().into_iter().flatten();
        all.filter_map(|ip| ip["ip"].as_str()?.parse().ok()).collect()
    };
    let pods = items.iter().filter(ready).map(|pod| Pod {
        namespace: text(&pod["metadata"]["namespace"]),
        name: text(&pod["metadata"]["name"]),
        node: text(&pod["spec"]["nodeName"]),
        addresses: addresses(pod),
    });
    pods.collect()
}

fn probe(server: &Host, pod: &Pod, arguments: &[&str]) -> Output {
    server.kubectl(&[&["exec", "-n", &pod.namespace, &pod.name, "--", "/probe"], arguments].concat())
}

/// Waits until the probe in `pod` is told what `right` accepts.
#[track_caller]
fn finally(server: &Host, pod: &Pod, arguments: &[&str], right: impl Fn(&str) -> bool) {
    let what = format!("{} on {} does {arguments:?}", pod.name, pod.node);
    eventually_within(PATIENCE, &what, || {
        let output = probe(server, pod, arguments);
        if output.code == 0 && right(output.text().trim()) { Ok(()) } else { Err(output.to_string()) }
    });
}

/// The address of machine number `n` on the wire, which the cluster knows nothing of.
fn on_wire(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, n)
}

#[test]
fn both_families_work_on_every_machine() {
    let Some(cluster) = Cluster::start(env!("CARGO_BIN_EXE_naru"), 1, &RANGES) else { return };
    let (server, worker) = (&cluster.server, &cluster.workers[0]);
    let shop = server.project("shop", SHOP);
    shop.up(&[]).ok();
    let nodes = |pods: &Vec<Pod>| pods.iter().any(|pod| pod.node == "w1") && pods.len() == 2;
    let web = until("web on both machines", || pods(server, "web"), nodes);
    let plain = until("plain", || pods(server, "plain"), |pods| pods.len() == 1);
    addresses_are_told(server, &web);
    for from in &web {
        for to in &web {
            let seen = from.six().to_string();
            finally(server, from, &["--get", &format!("[{}]:8080/remote", to.six())], |told| told == seen);
        }
        finally(server, from, &["--resolve", "web"], |told| told.contains("fd00:43::") && told.contains("10.43."));
        finally(server, from, &["--resolve", "host.docker.internal"], |told| told.contains("fd00:42:"));
    }
    let service = server.kubectl(&["get", "service", "web", "-n", &web[0].namespace, "-o", "json"]).ok().json();
    let six = text(&service["spec"]["clusterIPs"][1]);
    finally(server, &web[0], &["--get", &format!("[{six}]:8080/remote")], |told| !told.is_empty());
    // The other service has one family, and a network of its own.
    finally(server, &plain[0], &["--resolve", "plain"], |told| !told.contains("fd00:43"));
    let alien = probe(server, &plain[0], &["--get", &format!("[{}]:8080/remote", web[0].six())]);
    assert_ne!(alien.code, 0, "networks part IPv6 too: {alien}");
    ports_answer(server, worker, &web);
    policies_hold(server, &web);
}

/// A cluster of one family gets the second when the server begins anew with two, and nothing is restarted for it.
#[test]
fn a_second_family_can_be_added() {
    let Some(host) = Host::start(env!("CARGO_BIN_EXE_naru")) else { return };
    let service = |name: &str| format!("services: {{{name}: {{image: naru.local/probe:1}}}}\n");
    let old = host.project("old", &service("before"));
    old.up(&[]).ok();
    let before = until("a pod", || pods(&host, "before"), |pods| pods.len() == 1);
    assert_eq!(before[0].addresses.len(), 1, "one family unless both are asked for: {before:?}");
    let restarts = |host: &Host| {
        let path = "jsonpath={.items[*].status.containerStatuses[*].containerID}";
        let list = ["get", "pods", "-n", &before[0].namespace, "-o", path];
        host.kubectl(&list).ok().text().to_owned()
    };
    let restarts_before = restarts(&host);
    host.stop_server();
    let noted = host.state_dir().join("server.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&noted).expect("settings")).expect("JSON");
    let plain = settings.clone();
    for (at, value) in [(0, RANGES[1]), (1, RANGES[3])] {
        let name = if at == 0 { "pod" } else { "service" };
        let key = settings.as_object().and_then(|s| s.keys().find(|key| key.starts_with(name)).cloned());
        settings[key.expect("a range")] = value.into();
    }
    std::fs::write(&noted, settings.to_string()).expect("settings");
    host.start_server();
    let new = host.project("new", &service("after"));
    new.up(&[]).ok();
    let after = until("a pod", || pods(&host, "after"), |pods| pods.len() == 1);
    assert_eq!(after[0].addresses.len(), 2, "{after:?}, after {plain}");
    // The pod that runs is the same, and gets its second address on the way.
    let same = |now: &Vec<Pod>| now.len() == 1 && now[0].name == before[0].name && now[0].addresses.len() == 2;
    let now = until("the pod of before has both", || pods(&host, "before"), same);
    assert_eq!(now[0].addresses[0], before[0].addresses[0]);
    assert_eq!(restarts(&host), restarts_before, "nothing was restarted");
    for address in after[0].addresses.iter().chain(&now[0].addresses) {
        eventually_within(PATIENCE, &format!("{address} answers"), || host.get(*address, 8080, "/host").map(drop));
    }
    until(
        "the node has a subnet of each family",
        || host.kubectl(&["get", "node", "node-1", "-o", "json"]).ok().json()["spec"]["podCIDRs"].clone(),
        |blocks| *blocks == json!(["10.42.0.0/24", "fd00:42::/64"]),
    );
}

/// Nodes, pods, services and slices tell of both families.
fn addresses_are_told(server: &Host, web: &[Pod]) {
    for (node, six) in [("node-1", "fd00:42::/64"), ("w1", "fd00:42:0:1::/64")] {
        until(
            "a node has a subnet of each family",
            || server.kubectl(&["get", "node", node, "-o", "json"]).ok().json()["spec"]["podCIDRs"].clone(),
            |blocks| blocks[1] == six,
        );
    }
    for pod in web {
        assert_eq!(pod.addresses.len(), 2, "{pod:?}");
        let IpAddr::V4(four) = pod.addresses[0] else { panic!("IPv4 first: {pod:?}") };
        assert_eq!(u128::from(pod.six()) as u32, u32::from(four), "each is read from the other: {pod:?}");
    }
    let namespace = web[0].namespace.as_str();
    let service = server.kubectl(&["get", "service", "web", "-n", namespace, "-o", "json"]).ok().json();
    assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]), "{service}");
    let slices = || {
        let of = ["get", "endpointslices", "-n", namespace, "-l", "kubernetes.io/service-name=web", "-o", "json"];
        let list = server.kubectl(&of).ok().json();
        let mut types: Vec<String> =
            list["items"].as_array().into_iter().flatten().map(|slice| text(&slice["addressType"])).collect();
        types.sort();
        types
    };
    until("slices of both families", slices, |types| *types == ["IPv4", "IPv6"]);
}

/// The published port answers on every machine, by its addresses and by ::1, and knows who asks from outside.
fn ports_answer(server: &Host, worker: &Host, web: &[Pod]) {
    for (host, n) in [(server, 1), (worker, 2)] {
        host.ip(&format!("-6 address add {}/64 dev eth0 nodad", on_wire(n))).expect("an address");
    }
    server.outside(|| {
        let add = format!("{}/64", on_wire(99));
        let added =
            std::process::Command::new("ip").args(["-6", "address", "add", &add, "dev", "br0", "nodad"]).status();
        assert!(added.is_ok_and(|status| status.success()), "an address outside");
    });
    let stranger = on_wire(99).to_string();
    for (host, n) in [(server, 1), (worker, 2)] {
        for address in [Ipv6Addr::LOCALHOST, on_wire(n)] {
            eventually_within(PATIENCE, &format!("machine {n} answers at [{address}]:8088"), || {
                host.get(address, 8088, "/host").map(drop)
            });
        }
        eventually_within(PATIENCE, &format!("machine {n} answers strangers"), || {
            let answer = host.get_from_outside(on_wire(n), 8088, "/remote")?.body;
            // A pod of the machine itself sees the client, one elsewhere the machine that was asked.
            let known = answer.contains(&stranger) || answer.contains("fd00:42:");
            if known { Ok(()) } else { Err(answer) }
        });
    }
    assert_eq!(web.len(), 2);
}

/// A policy that lets nobody in holds for both families.
fn policies_hold(server: &Host, web: &[Pod]) {
    let namespace = web[0].namespace.as_str();
    let policy = |name: &str, ingress: Value| {
        let spec = json!({"podSelector": {"matchLabels": {"naru.io/service": "web"}}, "policyTypes": ["Ingress"], "ingress": ingress});
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec})
    };
    let there = format!("[{}]:8080/remote", web[1].six());
    server.kubectl_fed(&policy("closed", json!([])).to_string(), &["apply", "-f", "-"]).ok();
    until("nobody is let in", || probe(server, &web[0], &["--get", &there]).code, |code| *code != 0);
    let block = json!([{"from": [{"ipBlock": {"cidr": format!("{}/128", web[0].six())}}]}]);
    server.kubectl_fed(&policy("open", block).to_string(), &["apply", "-f", "-"]).ok();
    finally(server, &web[0], &["--get", &there], |told| told == web[0].six().to_string());
    let IpAddr::V4(four) = web[1].addresses[0] else { panic!("IPv4 first") };
    let refused = probe(server, &web[0], &["--get", &format!("{four}:8080/remote")]);
    assert_ne!(refused.code, 0, "a block is of one family: {refused}");
}
