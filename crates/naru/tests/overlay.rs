//! Pods of several machines: the same names, services, networks and published ports from everywhere, whichever way leads
//! from one machine to the other.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use naru_testkit::{Host, HostOptions, Image, Lan, ROUTER, eventually_within, until};
use serde_json::Value;

/// Longer than any wait that is right.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server and two workers on one wire.
fn cluster() -> Option<(Host, [Host; 2])> {
    let lan = Lan::new()?;
    let start = |idle| {
        let options = HostOptions { idle, lan: Some(lan.clone()), ..HostOptions::default() };
        Host::start_with(env!("CARGO_BIN_EXE_naru"), options)
    };
    let (server, workers) = (start(false)?, [start(true)?, start(true)?]);
    let line = server.naru(&["token", "create"]).ok().text().trim().to_owned();
    let token = line.strip_prefix("naru join ").expect("a command").to_owned();
    for (worker, name) in workers.iter().zip(["w1", "w2"]) {
        worker.naru(&["join", &token, "--node-name", name]).ok();
        worker.load(Image::Busybox);
        worker.load(Image::Probe);
    }
    Some((server, workers))
}

/// A pod of a project's service.
#[derive(Debug, Clone)]
struct Pod {
    namespace: String,
    name: String,
    node: String,
    address: String,
}

/// The pods of a Compose project that are ready.
fn pods(server: &Host, project: &str) -> Vec<Pod> {
    let selector = format!("naru.io/project={project}");
    let list = server.kubectl(&["get", "pods", "-A", "-l", &selector, "-o", "json"]).ok().json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    let pods = list["items"].as_array().into_iter().flatten().filter(ready);
    pods.map(|pod| Pod {
        namespace: text(&pod["metadata"]["namespace"]),
        name: text(&pod["metadata"]["name"]),
        node: text(&pod["spec"]["nodeName"]),
        address: text(&pod["status"]["podIP"]),
    })
    .collect()
}

/// What the probe in `pod` says after asking `url`.
fn asks(server: &Host, pod: &Pod, url: &str) -> Result<String, String> {
    let output = server.kubectl(&["exec", "-n", &pod.namespace, &pod.name, "--", "/probe", "--get", url]);
    if output.code == 0 { Ok(output.text().trim().to_owned()) } else { Err(output.to_string()) }
}

/// Waits until `asks` gives what `right` accepts.
fn finally(server: &Host, pod: &Pod, url: &str, right: impl Fn(&str) -> bool) {
    eventually_within(PATIENCE, &format!("{} on {} asks {url}", pod.name, pod.node), || match asks(server, pod, url) {
        Ok(text) if right(&text) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn pods_ports_names_and_networks_are_the_same_on_every_machine() {
    let Some((server, workers)) = cluster() else { return };
    // One of the workers is behind the tunnel although it is on the wire.
    server.kubectl(&["annotate", "node", "w2", "naru.io/network-mode=vxlan"]).ok();
    let compose =
        "services:\n  web:\n    image: naru.local/probe:1\n    ports: [\"8088:8080\"]\n    deploy: {replicas: 6}\n";
    let shop = server.project("shop", compose);
    shop.up(&[]).ok();
    let other =
        server.project("other", "services:\n  alien:\n    image: naru.local/probe:1\n    deploy: {mode: global}\n");
    other.up(&[]).ok();
    let nodes = |pods: &[Pod]| pods.iter().map(|pod| pod.node.clone()).collect::<BTreeSet<String>>();
    let web = until("web on every node", || pods(&server, "shop"), |pods| pods.len() == 6 && nodes(pods).len() == 3);
    let aliens = until("aliens on every node", || pods(&server, "other"), |pods| nodes(pods).len() == 3);
    let machines = [("node-1", &server), ("w1", &workers[0]), ("w2", &workers[1])];
    let one_each: Vec<&Pod> =
        machines.iter().map(|(node, _)| web.iter().find(|pod| pod.node == *node).expect("one")).collect();

    let everything_is_reached = |when: &str| {
        for from in &one_each {
            for to in &one_each {
                // The address they see is the pod's own, on every way.
                finally(&server, from, &format!("{}:8080/remote", to.address), |seen| seen.contains(&from.address));
            }
            finally(&server, from, "web:8080/host", |name| {
                web.iter().any(|pod| name.contains("web") || name.contains(&pod.name))
            });
        }
        for (name, host) in machines {
            let met = |from_outside: bool, address: IpAddr| {
                let answer = if from_outside {
                    host.get_from_outside(address, 8088, "/host")
                } else {
                    host.get(address, 8088, "/host")
                };
                answer.map(|answer| answer.body.trim().to_owned())
            };
            for (outside, address) in [
                (true, IpAddr::V4(host.address())),
                (false, host.address().into()),
                (false, Ipv4Addr::LOCALHOST.into()),
            ] {
                eventually_within(PATIENCE, &format!("{name} answers for all six {when}"), || {
                    let hosts: BTreeSet<String> = (0..40).filter_map(|_| met(outside, address).ok()).collect();
                    if hosts.len() == 6 { Ok(()) } else { Err(format!("{outside} {address}: {hosts:?}")) }
                });
            }
        }
        for alien in &aliens {
            for to in &one_each {
                let refused = asks(&server, alien, &format!("{}:8080/host", to.address));
                assert!(refused.is_err(), "{} on {} reached {} on {} {when}", alien.name, alien.node, to.name, to.node);
            }
            let through = asks(&server, alien, &format!("{}:8088/host", workers[0].address()));
            assert!(through.is_ok(), "what is published is for everybody {when}: {through:?}");
        }
    };
    let way_to_w2 = |host: &Host| host.ip("route show 10.42.2.0/24").expect("routes");
    until("the tunnel to w2", || way_to_w2(&server), |route| route.contains("naru-vx"));
    everything_is_reached("through a tunnel");

    // The wish is taken back while everything runs.
    server.kubectl(&["annotate", "node", "w2", "naru.io/network-mode-"]).ok();
    until("the wire to w2", || way_to_w2(&server), |route| route.contains("dev eth0"));
    until("no tunnel is left", || server.ip("-o link").expect("links"), |links| !links.contains("naru-vx"));
    everything_is_reached("on the wire");

    // A machine's address changes under it.
    let moved = Ipv4Addr::new(198, 18, 7, 77);
    let old = workers[0].address();
    for command in [
        &format!("address del {old}/24 dev eth0"),
        &format!("address add {moved}/24 dev eth0"),
        &format!("route replace default via {ROUTER}"),
    ] {
        workers[0].ip(command).expect("another address");
    }
    let way_to_w1 = |host: &Host| host.ip("route show 10.42.1.0/24").expect("routes");
    for host in [&server, &workers[1]] {
        until("w1 is found again", || way_to_w1(host), |route| route.contains("via 198.18.7.77"));
    }
    let there = one_each.iter().find(|pod| pod.node == "w1").expect("one on w1");
    for from in one_each.iter().filter(|pod| pod.node != "w1") {
        finally(&server, from, &format!("{}:8080/remote", there.address), |seen| seen.contains(&from.address));
    }

    // A node that nobody can believe hurts nobody, and is told of.
    server.naru(&["status"]).ok().says(&["All is well"]);
    let liar =
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "liar"}, "spec": {"podCIDR": "10.42.1.0/24"}}"#;
    server.kubectl_fed(liar, &["apply", "-f", "-"]).ok();
    let status = r#"{"status": {"addresses": [{"type": "InternalIP", "address": "198.18.7.200"}]}}"#;
    server.kubectl(&["patch", "node", "liar", "--subresource=status", "--type=merge", "-p", status]).ok();
    until(
        "it is told of",
        || server.naru(&["status"]).text().to_owned(),
        |text| text.contains("node liar: its pod addresses"),
    );
    finally(&server, one_each[0], &format!("{}:8080/remote", there.address), |seen| {
        seen.contains(&one_each[0].address)
    });
    server.kubectl(&["delete", "node", "liar"]).ok();
    until("and forgotten", || server.naru(&["status"]).text().to_owned(), |text| text.contains("All is well"));
}
