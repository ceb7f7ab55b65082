//! Encryption between machines, through the program that users have: what the wire shows, keys that change under load,
//! turning it on and off, and who is not let in without it.

use std::path::Path;
use std::time::Duration;

use naru_testkit::{Cluster, Host, Output, Running, SeenPod, eventually_within, skipped, under_load, until};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");
/// Longer than any wait that is right.
const PATIENCE: Duration = Duration::from_secs(90);
const MARKER: &str = "readable-marker-8d1f";
/// Where pods have their addresses.
const PODS: [u8; 2] = [10, 42];
const NODES: [&str; 3] = ["node-1", "w1", "w2"];

/// A pod and its address.
struct Pod {
    seen: SeenPod,
    address: String,
}

/// A server and two workers, and a pod on each.
fn cluster(server: &[&str]) -> Option<(Cluster, Vec<Pod>)> {
    if !Path::new("/dev/net/tun").exists() && !Path::new("/sys/module/wireguard").exists() {
        return skipped("encryption needs the kernel's WireGuard or /dev/net/tun");
    }
    let cluster = Cluster::start(PROGRAM, 2, server)?;
    cluster.deploy(3, "");
    until("one on each", || cluster.ready_on(NODES), |counts| *counts == [1; 3]);
    let address = |pod: &SeenPod| {
        let path = "jsonpath={.status.podIP}";
        cluster.server.kubectl(&["get", "pod", &pod.name, "-o", path]).ok().text().trim().to_owned()
    };
    let pods = cluster.pods("default").into_iter().map(|seen| Pod { address: address(&seen), seen }).collect();
    Some((cluster, pods))
}

fn asks(cluster: &Cluster, from: &Pod, url: &str) -> Output {
    cluster.server.kubectl(&["exec", &from.seen.name, "--", "/probe", "--get", url])
}

/// Every pod reaches every other, and is seen by its own address.
#[track_caller]
fn all_reach_all(cluster: &Cluster, pods: &[Pod]) {
    for from in pods {
        for to in pods.iter().filter(|to| to.address != from.address) {
            let url = format!("{}:8080/remote", to.address);
            eventually_within(PATIENCE, &format!("{} reaches {}", from.seen.node, to.seen.node), || {
                let output = asks(cluster, from, &url);
                if output.code == 0 && output.text().trim() == from.address { Ok(()) } else { Err(output.to_string()) }
            });
        }
    }
}

/// What the wire shows while every pod says the marker to every other: whether it is readable, how many packets are those
/// of pods, and how many are encrypted.
#[track_caller]
fn shown(cluster: &Cluster, pods: &[Pod], port: u16) -> (bool, usize, usize) {
    all_reach_all(cluster, pods);
    let capture = cluster.lan.capture();
    for from in pods {
        for to in pods.iter().filter(|to| to.address != from.address) {
            let heard = asks(cluster, from, &format!("{}:8080/file/{MARKER}", to.address));
            assert!(heard.stderr.contains("404") || heard.stdout.contains("404"), "it arrived: {heard}");
        }
    }
    let frames = capture.end();
    (frames.contain(MARKER), frames.of_network(PODS), frames.of_port(port))
}

/// How each node reaches the others, as `naru status` tells.
#[track_caller]
fn ways(cluster: &Cluster, word: &str) {
    eventually_within(PATIENCE, &format!("every way is by {word}"), || {
        let output = cluster.server.naru(&["status"]);
        let lines: Vec<&str> = output.stdout.lines().filter(|line| line.starts_with("Ways of ")).collect();
        let right = |line: &&str| line.matches(&format!("by {word}")).count() == 2;
        if output.code == 0 && lines.len() == 3 && lines.iter().all(right) { Ok(()) } else { Err(output.to_string()) }
    });
}

fn key_of(cluster: &Cluster, node: &str) -> String {
    let node = cluster.server.kubectl(&["get", "node", node, "-o", "json"]).ok().json();
    node["metadata"]["annotations"]["naru.io/wireguard-key"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn nothing_between_machines_is_readable_and_keys_change_under_load() {
    let Some((cluster, pods)) = cluster(&["--encrypt-nodes", "--wireguard-port", "51999"]) else { return };
    ways(&cluster, "wireguard");
    let (readable, plain, encrypted) = shown(&cluster, &pods, 51999);
    assert!(!readable && plain == 0, "{plain} packets of pods on the wire, the marker among them: {readable}");
    assert!(encrypted > 20, "and yet something was carried: {encrypted}");
    let worker = &cluster.workers[0];
    worker.naru(&["doctor"]).says(&["encryption", "; in use", "the pods of every node are reached: "]);

    doors_have_the_clusters_port(worker);

    // A service that every machine's port leads to, wherever its pods are.
    cluster.expose(30788);
    let port = |host: &Host| host.get_from_outside(host.address(), 30788, "/host").map(drop);
    for host in [&cluster.server, worker, &cluster.workers[1]] {
        eventually_within(PATIENCE, "the port answers", || port(host));
    }
    let before = NODES.map(|node| key_of(&cluster, node));
    let ((), load) = under_load(&cluster.server, worker.address(), 30788, || {
        for node in NODES {
            cluster.server.naru(&["node", "rotate-key", node]).ok();
            let at = NODES.iter().position(|known| *known == node).expect("one of them");
            until("it has another key", || key_of(&cluster, node), |key| !key.is_empty() && *key != before[at]);
            all_reach_all(&cluster, &pods);
        }
    });
    assert!(load.asked > 50, "{load:?}");
    assert!(load.lost.is_empty(), "{} of {} requests: {:?}", load.lost.len(), load.asked, load.lost.first());
    ways(&cluster, "wireguard");

    // The engine of one dies: its helper, in userspace. Nobody restarts anything.
    let helper = helper_of(worker);
    if let Some(pid) = helper {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a helper");
        all_reach_all(&cluster, &pods);
    }
    keys_are_each_nodes_own(&cluster);
    who_has_no_key_has_no_way(&cluster);
    a_closed_port_is_told(&cluster);
}

/// Something on the way to a worker swallows encrypted packets: both the worker and the server say which port, and where.
fn a_closed_port_is_told(cluster: &Cluster) {
    let worker = &cluster.workers[0];
    let closed = worker.loses_received("udp dport 51999");
    eventually_within(PATIENCE, "the worker tells of it", || {
        let output = worker.naru(&["doctor"]);
        let told = output.stdout.contains("node w2 (") && output.stdout.contains("open UDP port 51999 between the two");
        if told && output.code != 0 { Ok(()) } else { Err(output.to_string()) }
    });
    cluster.server.naru(&["status"]).says(&["node w1 does not reach pods of other nodes: ", "open UDP port 51999"]);
    drop(closed);
    eventually_within(PATIENCE, "all is well", || {
        let output = cluster.server.naru(&["status"]);
        if output.code == 0 { Ok(()) } else { Err(output.to_string()) }
    });
}

/// Another firewall that has a place for exceptions gets one for the port that the cluster chose.
fn doors_have_the_clusters_port(host: &Host) {
    let nft = |words: &str| {
        let mut command = host.command("nft");
        command.arg(words);
        host.run(command, b"").ok().stdout
    };
    nft("table ip filter { chain ufw-before-input { }; }");
    let doors = || nft("list chain ip filter ufw-before-input");
    let doors = until("a door is made", doors, |text| text.contains("udp dport"));
    assert!(doors.contains("udp dport 51999") && !doors.contains("51820"), "{doors}");
    nft("delete table ip filter");
}

/// The helper process of a host.
fn helper_of(host: &Host) -> Option<rustix::process::Pid> {
    let socket = host.run_dir().join("helper.sock").display().to_string();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let found = processes.filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok()).find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<String> = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        words.iter().any(|word| word == "helper") && words.contains(&socket)
    });
    rustix::process::Pid::from_raw(found?)
}

/// A node that is not to be trusted any more cannot become another one's end of the tunnel.
fn keys_are_each_nodes_own(cluster: &Cluster) {
    let worker = &cluster.workers[0];
    let folder = worker.state_dir().join("node");
    let as_node = |arguments: &[&str]| {
        let mut kubectl = worker.command("kubectl");
        kubectl.arg("--server").arg(format!("https://{}:6443", cluster.server.address()));
        kubectl.arg("--tls-server-name=kubernetes");
        for (option, file) in
            [("--certificate-authority", "ca.crt"), ("--client-certificate", "node.crt"), ("--client-key", "node.key")]
        {
            kubectl.arg(option).arg(folder.join(file));
        }
        kubectl.args(arguments);
        worker.run(kubectl, b"")
    };
    let (own, other) = (key_of(cluster, "w1"), key_of(cluster, "w2"));
    let write = |node: &str| format!("{{\"metadata\":{{\"annotations\":{{\"{node}\":\"{own}\"}}}}}}");
    let patch = write("naru.io/wireguard-key");
    as_node(&["patch", "node", "w2", "--type=merge", "-p", &patch]).refuses(&["node w1 changes only its own Node"]);
    as_node(&["patch", "node", "w2", "--subresource=status", "--type=merge", "-p", &patch])
        .refuses(&["nodes \"w2\" is forbidden"]);
    assert_eq!(key_of(cluster, "w2"), other);
    // Nor does it turn encryption off for all.
    let off = json!({"metadata": {"annotations": {"naru.io/cluster-network": "{\"encrypt\": false}"}}}).to_string();
    as_node(&["patch", "node", "w1", "--type=merge", "-p", &off]).refuses(&["naru.io/cluster-network"]);
    // It was asked as that node, and not turned away as nobody.
    as_node(&["get", "node", "w2", "-o", "name"]).ok();
}

/// A node that has told no key, as one of a version that does not encrypt.
fn who_has_no_key_has_no_way(cluster: &Cluster) {
    let old =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "old"}, "spec": {"podCIDR": "10.42.77.0/24"}});
    cluster.server.kubectl_fed(&old.to_string(), &["apply", "-f", "-"]).ok();
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "198.18.7.200"}]}}).to_string();
    cluster.server.kubectl(&["patch", "node", "old", "--subresource=status", "--type=merge", "-p", &status]).ok();
    until(
        "it is told of",
        || cluster.server.naru(&["status"]).stdout,
        |text| text.contains("node old: it is to be encrypted, and that node has not told its key yet"),
    );
    for host in [&cluster.server, &cluster.workers[0], &cluster.workers[1]] {
        let routes = host.ip("route show 10.42.77.0/24").expect("routes");
        assert!(routes.trim().is_empty(), "no plain way to it: {routes}");
    }
    cluster.server.kubectl(&["delete", "node", "old"]).ok();
    until("and forgotten", || cluster.server.naru(&["status"]), |output| output.code == 0);
}

/// Starts the server anew with more words.
fn restarted(server: &Host, words: &[&str]) -> Running {
    server.stop_server();
    let mut command = server.server_command();
    command.args(words);
    let running = Host::spawn(command);
    until("the server answers", || server.naru(&["node", "ls"]), |output| output.code == 0);
    running
}

#[test]
fn encryption_is_turned_on_and_off_while_everything_runs() {
    let Some((cluster, pods)) = cluster(&[]) else { return };
    let server = &cluster.server;
    ways(&cluster, "route");
    let (readable, plain, _) = shown(&cluster, &pods, 51820);
    assert!(readable && plain > 0, "what is plain can be seen: {plain}");
    cluster.expose(30789);
    let (first, second) = (&cluster.workers[0], &cluster.workers[1]);
    for worker in [first, second] {
        let port = || worker.get_from_outside(worker.address(), 30789, "/host").map(drop);
        eventually_within(PATIENCE, "the port answers", port);
    }

    // For one node, by a word.
    server.kubectl(&["annotate", "node", "w2", "naru.io/network-mode=wireguard"]).ok();
    until(
        "the ways of w2 are encrypted",
        || server.naru(&["status"]),
        |output| output.stdout.contains("Ways of w2: node-1 by wireguard") && output.stdout.contains("w2 by wireguard"),
    );
    server.naru(&["status"]).says(&["w1 by route"]);
    server.kubectl(&["annotate", "node", "w2", "naru.io/network-mode-"]).ok();
    ways(&cluster, "route");

    // For all, under load through a worker's port: every way changes, and connections bear it.
    let mut running = None;
    let ((), load) = under_load(server, first.address(), 30789, || {
        running = Some(restarted(server, &["--encrypt-nodes"]));
        ways(&cluster, "wireguard");
        let (readable, plain, encrypted) = shown(&cluster, &pods, 51820);
        assert!(!readable && plain == 0 && encrypted > 20, "{readable} {plain} {encrypted}");
    });
    assert!(load.lost.is_empty(), "{} of {} requests: {:?}", load.lost.len(), load.asked, load.lost.first());

    // It stays, without the word.
    drop(running.take());
    let again = restarted(server, &[]);
    ways(&cluster, "wireguard");
    drop(again);
    let off = restarted(server, &["--encrypt-nodes=false"]);
    ways(&cluster, "route");
    let (readable, plain, encrypted) = shown(&cluster, &pods, 51820);
    assert!(readable && plain > 0 && encrypted == 0, "{readable} {plain} {encrypted}");
    until("no device is left", || first.ip("-o link").expect("links"), |links| !links.contains("naru-wg"));
    let rows: Vec<Value> = cluster.nodes();
    assert_eq!(rows.len(), 3);
    let before: Vec<SeenPod> = pods.into_iter().map(|pod| pod.seen).collect();
    assert_eq!(cluster.pods("default"), before, "nothing was restarted");
    drop(off);
}
