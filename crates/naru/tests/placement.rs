//! Which machines a Compose service is for, in Swarm's words, on three machines; and nodes as Swarm's users change them.

use std::collections::BTreeMap;

use naru_testkit::{Cluster, Project, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");

/// How many containers of a service run on each node.
fn places(project: &Project<'_>, service: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for row in project.ps().iter().filter(|row| row["Service"] == service && row["State"] == "running") {
        *found.entry(row["Node"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    found
}

#[track_caller]
fn run_on(project: &Project<'_>, service: &str, expected: &[(&str, usize)]) {
    let expected: BTreeMap<String, usize> = expected.iter().map(|(node, count)| ((*node).to_owned(), *count)).collect();
    until(service, || places(project, service), |found| *found == expected);
}

const COMPOSE: &str = "
services:
  ssd: {image: naru.local/probe:1, deploy: {replicas: 2, placement: {constraints: [node.labels.disk==ssd]}}}
  engine: {image: naru.local/probe:1, deploy: {placement: {constraints: [engine.labels.disk == ssd]}}}
  other: {image: naru.local/probe:1, deploy: {replicas: 2, placement: {constraints: [node.hostname != w1, node.role == worker]}}}
  manager: {image: naru.local/probe:1, deploy: {placement: {constraints: [node.role==manager, node.platform.os==linux, node.platform.arch==ARCH]}}}
  named: {image: naru.local/probe:1, deploy: {placement: {constraints: [node.id==w2]}}}
  everywhere: {image: naru.local/probe:1, deploy: {mode: global}}
  workers: {image: naru.local/probe:1, deploy: {mode: global, placement: {constraints: [node.role==worker]}}}
  zones: {image: naru.local/probe:1, deploy: {replicas: 4, placement: {preferences: [{spread: node.labels.topology.kubernetes.io/zone}]}}}
  apart: {image: naru.local/probe:1, deploy: {replicas: 3, placement: {max_replicas_per_node: 1}}}
";

#[test]
fn services_run_where_their_file_says() {
    let Some(cluster) = Cluster::apart(PROGRAM, 3, &[]) else { return };
    let token = cluster.token(&[]);
    for (at, more) in
        [["--label", "disk=ssd", "--zone", "a"], ["--label", "disk=hdd", "--zone", "b"]].iter().enumerate()
    {
        let (machine, name) = (&cluster.workers[at], format!("w{}", at + 1));
        machine.naru(&[&["join", &token, "--node-name", &name], &more[..]].concat()).ok();
    }
    cluster.server.naru(&["node", "label", "node-1", "topology.kubernetes.io/zone=a"]).ok();
    let arch = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    let compose = COMPOSE.replace("ARCH", arch);
    let shop = cluster.server.project("shop", &compose);
    shop.up(&[]);
    let one_each = [("node-1", 1), ("w1", 1), ("w2", 1)];
    for (service, expected) in [
        ("ssd", &[("w1", 2)][..]),
        ("engine", &[("w1", 1)]),
        ("other", &[("w2", 2)]),
        ("manager", &[("node-1", 1)]),
        ("named", &[("w2", 1)]),
        ("everywhere", &one_each),
        ("workers", &[("w1", 1), ("w2", 1)]),
        ("apart", &one_each),
    ] {
        run_on(&shop, service, expected);
    }
    let zones = places(&shop, "zones");
    assert_eq!(zones.get("w2"), Some(&2), "half of them in zone b: {zones:?}");

    // A fourth of those that keep apart waits, and says for what.
    shop.naru(&["up", "-d", "--wait", "--wait-timeout", "5", "--scale", "apart=4", "apart"])
        .refuses(&["apart", "had 1 replicas of the service already"]);
    // It gets the machine that comes, and so does whatever runs everywhere.
    cluster.welcome(&cluster.workers[2], &token, "w3");
    run_on(&shop, "apart", &[("node-1", 1), ("w1", 1), ("w2", 1), ("w3", 1)]);
    run_on(&shop, "everywhere", &[("node-1", 1), ("w1", 1), ("w2", 1), ("w3", 1)]);
    run_on(&shop, "workers", &[("w1", 1), ("w2", 1), ("w3", 1)]);

    // A wish that no machine fulfils.
    let nowhere = cluster.server.project(
        "nowhere",
        "services:\n  web: {image: naru.local/probe:1, deploy: {placement: {constraints: [node.labels.disk==tape]}}}\n",
    );
    nowhere
        .naru(&["up", "-d", "--wait", "--wait-timeout", "5"])
        .refuses(&["web", "4 node(s) didn't match Pod's node affinity/selector"]);
    cluster.server.naru(&["status"]).says(&["has no node: 0/4 nodes are available"]);
    cluster.server.naru(&["node", "update", "--label-add", "disk=tape", "w3"]).ok();
    run_on(&nowhere, "web", &[("w3", 1)]);
}

#[test]
fn nodes_are_listed_shown_and_changed_as_swarms_users_do() {
    let Some(cluster) = Cluster::start(PROGRAM, 2, &[]) else { return };
    let naru = |words: &[&str]| cluster.server.naru(words);
    cluster.deploy(4, "");
    until("all run", || cluster.ready_on(["node-1", "w1", "w2"]), |counts| counts.iter().sum::<usize>() == 4);
    naru(&["node", "ls"]).ok().says(&[
        "NAME",
        "STATUS",
        "AVAILABILITY",
        "ROLE",
        "AGE",
        "ADDRESS",
        "PODS",
        "VERSION",
        "Active",
        "manager",
    ]);
    assert_eq!(naru(&["node", "ls", "-q"]).ok().lines(), ["node-1", "w1", "w2"]);
    let inspected = naru(&["node", "inspect", "w1", "--format", "yaml"]).ok();
    inspected.says(&["kubernetes.io/hostname: w1", "kernelVersion:", "architecture:", "allocatable:", "machineID:"]);
    let node = naru(&["node", "inspect", "w1"]).ok().json()[0].clone();
    for key in ["cpu", "memory", "ephemeral-storage", "pods"] {
        assert!(node["status"]["capacity"][key].is_string(), "{key}: {node}");
    }
    let ps = naru(&["node", "ps", "w1"])
        .ok()
        .says(&["NAME", "NODE", "STATE", "Running", "naru.local/probe:1"])
        .hides(&["w2"]);
    assert_eq!(ps.lines().len(), 1 + cluster.ready_on(["w1"])[0]);
    assert_eq!(naru(&["node", "ps", "--format", "json"]).ok().json().as_array().map(Vec::len), Some(4));
    naru(&["node", "ps", "w9"]).refuses(&["there is no node w9: there are node-1, w1, w2"]);

    let availability = |node: &str| {
        let nodes = cluster.nodes();
        let row = nodes.iter().find(|row| row["Name"] == node).cloned().unwrap_or_default();
        row["Availability"].as_str().unwrap_or_default().to_owned()
    };
    naru(&["node", "update", "--availability", "pause", "w1"]).ok();
    assert_eq!(availability("w1"), "Pause");
    assert!(cluster.ready_on(["w1"])[0] > 0, "what runs goes on");
    naru(&["node", "update", "--availability", "drain", "--label-add", "disk=ssd", "w1"]).ok();
    assert_eq!((availability("w1").as_str(), cluster.ready_on(["w1"])), ("Drain", [0]));
    naru(&["node", "update", "--availability", "active", "--label-rm", "disk", "w1"]).ok();
    assert_eq!(availability("w1"), "Active");
    assert!(naru(&["node", "inspect", "w1"]).ok().json()[0]["metadata"]["labels"].get("disk").is_none());
    for (words, expected) in [
        (&["node", "update", "w1"][..], "nothing is to be changed: give --availability"),
        (&["node", "update", "--availability", "gone", "w1"], "active, pause, drain"),
        (&["node", "update", "--label-add", "a b=c", "w1"], "\"a b\" is no label's key"),
        (&["node", "label", "w1", "disk"], "disk: expected KEY=VALUE, or KEY- to remove it"),
        (&["node", "taint", "w1", "gpu:Never"], "expected KEY[=VALUE]:EFFECT"),
        (&["node", "promote", "w1"], "w1 cannot be made a server: a cluster has one server so far"),
        (&["node", "update", "--role", "manager", "w1"], "w1 cannot be made a server"),
        (&["node", "demote", "node-1"], "node-1 is the cluster's only server and cannot be made a worker"),
    ] {
        naru(words).refuses(&[expected]);
    }
    naru(&["node", "demote", "w1"]).ok().says(&["w1 is a worker"]);
}

#[test]
fn the_first_up_after_a_machine_joined_replaces_nothing() {
    let Some(cluster) = Cluster::apart(PROGRAM, 1, &[]) else { return };
    let project = cluster.server.project(
        "early",
        "services:\n  web: {image: naru.local/probe:1, deploy: {replicas: 2}}\n  \
         files: {image: naru.local/busybox:1, command: [sleep, '1000'], volumes: ['./data:/data']}\n",
    );
    project.write("data/page", "here\n");
    project.up(&[]);
    let containers = || {
        let mut rows: Vec<String> = project.ps().iter().map(|row| format!("{} {}", row["ID"], row["State"])).collect();
        rows.sort();
        rows
    };
    let before = until("all run", containers, |rows| rows.len() == 3 && rows.iter().all(|row| row.contains("running")));
    let made = || project.kubectl(&["get", "replicasets", "-o", "name"]).ok().lines().len();
    let sets = made();
    cluster.welcome(&cluster.workers[0], &cluster.token(&[]), "w1");
    project.up(&[]).ok().says(&["/data is on node node-1"]);
    assert_eq!((containers(), made()), (before, sets), "nothing was replaced, and nothing is on its way");
    // And what comes then goes by the same rules.
    project.up(&["--scale", "web=4", "--scale", "files=2"]).ok();
    until(
        "the files keep their service, the other has two machines",
        || project.ps(),
        |rows| {
            let on = |service: &str, node: &str| {
                rows.iter()
                    .filter(|row| row["Service"] == service && row["Node"] == node && row["State"] == "running")
                    .count()
            };
            on("files", "node-1") == 2 && on("web", "w1") > 0
        },
    );
}
