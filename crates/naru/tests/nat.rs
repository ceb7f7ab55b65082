//! A machine behind address translation is a node like the others: it dials out, and so do the ways to its pods.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use naru_testkit::{Cluster, Host, HostOptions, Image, Lan, SeenPod, eventually_within, skipped, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");
/// Longer than any wait that is right.
const PATIENCE: Duration = Duration::from_secs(90);
const NODES: [&str; 3] = ["node-1", "w1", "home"];

fn address(cluster: &Cluster, pod: &SeenPod) -> String {
    let path = "jsonpath={.status.podIP}";
    cluster.server.kubectl(&["get", "pod", &pod.name, "-o", path]).ok().text().trim().to_owned()
}

/// Every pod reaches every other, and is seen by its own address.
#[track_caller]
fn all_reach_all(cluster: &Cluster, pods: &[SeenPod], when: &str) {
    for from in pods {
        let own = address(cluster, from);
        for to in pods.iter().filter(|to| to.node != from.node) {
            let url = format!("{}:8080/remote", address(cluster, to));
            eventually_within(PATIENCE, &format!("{} reaches {} {when}", from.node, to.node), || {
                let output = cluster.server.kubectl(&["exec", &from.name, "--", "/probe", "--get", &url]);
                if output.code == 0 && output.text().trim() == own { Ok(()) } else { Err(output.to_string()) }
            });
        }
    }
}

#[test]
fn a_machine_behind_translation_is_a_node_like_the_others() {
    if !Path::new("/dev/net/tun").exists() && !Path::new("/sys/module/wireguard").exists() {
        return skipped("ways through translation need the kernel's WireGuard or /dev/net/tun").unwrap_or_default();
    }
    let Some(cluster) = Cluster::start(PROGRAM, 1, &[]) else { return };
    let Some(private) = Lan::behind(&cluster.lan) else { return };
    let options = HostOptions { idle: true, lan: Some(private.clone()), ..HostOptions::default() };
    let Some(home) = Host::start_with(PROGRAM, options) else { return };
    let server = &cluster.server;
    let joined = Cluster::join(&home, &cluster.token(&[]), "home").ok();
    joined
        .says(&["Node home is ready", &format!("hidden behind a translator (the server sees {})", private.seen_as())]);
    home.load(Image::Busybox);
    home.load(Image::Probe);
    let annotation = || server.naru(&["node", "inspect", "home"]).ok().json()[0]["metadata"]["annotations"].clone();
    until("it says so itself", annotation, |all| all["naru.io/behind-nat"] == "true");
    let other = server.naru(&["node", "inspect", "w1"]).ok().json();
    assert!(other[0]["metadata"]["annotations"].get("naru.io/behind-nat").is_none(), "{other}");

    cluster.deploy(3, "");
    until("one on each", || cluster.ready_on(NODES), |counts| *counts == [1; 3]);
    let pods = cluster.pods("default");
    all_reach_all(&cluster, &pods, "at first");
    // Others keep their plain way.
    let text = until("all is well", || server.naru(&["status"]), |output| output.code == 0).stdout;
    assert!(text.contains("home by wireguard") && text.contains("w1 by route"), "{text}");

    // What users do with its pods.
    let there = pods.iter().find(|pod| pod.node == "home").expect("one there");
    server.kubectl(&["exec", &there.name, "--", "/probe", "--get", "127.0.0.1:8080/host"]).ok().says(&[&there.name]);
    server.kubectl(&["logs", &there.name]).ok();
    // A port answers for all three at every machine, also at the one that nobody can call.
    cluster.expose(30790);
    let met = |host: &Host| -> BTreeSet<String> {
        let names = (0..40).filter_map(|_| host.get(host.address(), 30790, "/host").ok());
        names.map(|answer| answer.body.trim().to_owned()).collect()
    };
    for host in [server, &cluster.workers[0], &home] {
        eventually_within(PATIENCE, "a port answers for all three", || {
            let names = met(host);
            if names.len() == 3 { Ok(()) } else { Err(format!("{names:?}")) }
        });
    }

    // The translator is turned off and on: whoever called is called by nobody until it calls again.
    private.forget_flows();
    until("it is back", || cluster.status_of("home"), |status| status == "Ready");
    all_reach_all(&cluster, &pods, "after the translator forgot");
    assert_eq!(cluster.pods("default").len(), 3);
    eventually_within(PATIENCE, "all is well", || {
        let output = server.naru(&["status"]);
        if output.code == 0 { Ok(()) } else { Err(output.to_string()) }
    });
    // Who says that others reach it is believed.
    home.naru(&["leave", "--yes"]).ok();
    let output = home.naru(&["join", &cluster.token(&[]), "--node-name", "home", "--behind-nat=false"]).ok();
    assert!(!output.stdout.contains("hidden"), "{output}");
    let said = annotation();
    assert!(said.get("naru.io/behind-nat").is_none(), "{said}");
}
