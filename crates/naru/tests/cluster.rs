//! From one machine to several: machines join, run pods, get lost, come back and leave.
//!
//! Every host is a network namespace of its own with real processes, on one wire with the others.

use std::time::{Duration, Instant};

use naru_testkit::{Host, HostOptions, Image, Lan, Output, eventually_within, until};
use serde_json::Value;

/// A server that replaces no pod within the time of a test, however slow the machine.
const PATIENT: &[&str] = &["--pod-eviction", "1h"];
/// Longer than any wait that is right.
const PATIENCE: Duration = Duration::from_secs(90);

fn start(lan: &Lan, idle: bool, server: &[&str]) -> Option<Host> {
    let options = HostOptions {
        idle,
        lan: Some(lan.clone()),
        server: server.iter().map(|word| (*word).to_owned()).collect(),
        ..HostOptions::default()
    };
    Host::start_with(env!("CARGO_BIN_EXE_naru"), options)
}

/// A server, and machines beside it that belong nowhere yet.
fn machines(count: usize, server: &[&str]) -> Option<(Host, Vec<Host>)> {
    let lan = Lan::new()?;
    let first = start(&lan, false, server)?;
    let others = (0..count).map(|_| start(&lan, true, &[])).collect::<Option<Vec<Host>>>()?;
    Some((first, others))
}

fn token(server: &Host, more: &[&str]) -> String {
    let arguments = [&["token", "create"], more].concat();
    let line = server.naru(&arguments).ok().text().trim().to_owned();
    assert_eq!(line.lines().count(), 1, "one line to paste: {line}");
    line.strip_prefix("naru join ").expect("a command").to_owned()
}

fn join(host: &Host, token: &str, name: &str) -> Output {
    host.naru(&["join", token, "--node-name", name])
}

/// A server and workers `w1`…, with the images of tests on each.
fn cluster(count: usize, server: &[&str]) -> Option<(Host, Vec<Host>)> {
    let (server, workers) = machines(count, server)?;
    let token = token(&server, &[]);
    for (at, worker) in workers.iter().enumerate() {
        join(worker, &token, &format!("w{}", at + 1)).ok();
        worker.load(Image::Busybox);
        worker.load(Image::Probe);
    }
    Some((server, workers))
}

fn nodes(server: &Host) -> Vec<Value> {
    server.naru(&["node", "ls", "--format", "json"]).ok().json().as_array().cloned().unwrap_or_default()
}

fn status_of(server: &Host, node: &str) -> String {
    let nodes = nodes(server);
    let found = nodes.iter().find(|row| row["Name"] == node);
    found.and_then(|row| row["Status"].as_str()).unwrap_or("absent").to_owned()
}

/// Pods of a namespace: name, node, whether it is ready and stays.
fn pods(server: &Host, namespace: &str) -> Vec<(String, String, bool)> {
    let list = server.kubectl(&["get", "pods", "-n", namespace, "-o", "json"]).ok().json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    pods.iter()
        .map(|pod| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            let stays = pod["metadata"].get("deletionTimestamp").is_none();
            (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]), ready && stays)
        })
        .collect()
}

fn ready_on(server: &Host, namespace: &str, node: &str) -> usize {
    pods(server, namespace).iter().filter(|(_, at, ready)| at == node && *ready).count()
}

fn deployment(replicas: usize) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {{matchLabels: {{app: web}}}}}}
      containers:
      - {{name: web, image: "naru.local/probe:1"}}
"#
    )
}

#[test]
fn a_machine_joins_runs_pods_and_leaves_without_a_trace() {
    let Some((server, others)) = machines(1, &[]) else { return };
    let worker = &others[0];
    let line = token(&server, &["--description", "for w1"]);
    server.naru(&["token", "ls"]).ok().says(&["for w1", "in "]);
    let begun = Instant::now();
    join(worker, &line, "w1").ok().says(&["w1 is ready", &worker.address().to_string()]);
    eprintln!("join to Ready: {:?}", begun.elapsed());
    worker.load(Image::Busybox);
    worker.load(Image::Probe);
    let row = nodes(&server).into_iter().find(|row| row["Name"] == "w1").expect("a node");
    assert_eq!((row["Role"].as_str(), row["PodSubnet"].as_str()), (Some("worker"), Some("10.42.1.0/24")), "{row}");

    // A project whose containers are on both, seen with their nodes, and reached wherever they are.
    let compose = "services:\n  web: {image: naru.local/probe:1, deploy: {replicas: 6}}\n";
    let project = server.project("both", compose);
    project.up(&[]).ok();
    let shown = until(
        "containers on both nodes",
        || project.ps(),
        |rows| rows.len() == 6 && ["node-1", "w1"].iter().all(|node| rows.iter().any(|row| row["Node"] == *node)),
    );
    project.naru(&["ps"]).ok().says(&["NODE", "w1", "node-1"]);
    let index = shown.iter().find(|row| row["Node"] == "w1").expect("one on w1")["Name"].as_str().unwrap_or_default();
    let index = index.rsplit('-').next().unwrap_or_default().to_owned();
    project.naru(&["exec", "--index", &index, "web", "sh", "-c", "echo from $((40 + 2))"]).ok().says(&["from 42"]);
    project.naru(&["logs", "web"]).ok();
    project.naru(&["stats", "--no-stream"]).ok().says(&["both-web-1"]);
    project.naru(&["top"]).ok().says(&["probe"]);
    let pod = shown.iter().find(|row| row["Node"] == "w1").expect("one")["Pod"].as_str().unwrap_or_default().to_owned();
    let namespace = server.kubectl(&["get", "pods", "-A", "-o", "json"]).ok().json();
    let namespace = namespace["items"].as_array().into_iter().flatten().find(|p| p["metadata"]["name"] == pod.as_str());
    let namespace = namespace.and_then(|p| p["metadata"]["namespace"].as_str()).expect("its namespace").to_owned();
    server.kubectl(&["exec", "-n", &namespace, &pod, "--", "echo", "through kubectl"]).ok().says(&["through kubectl"]);
    server.kubectl(&["cp", "-n", &namespace, "/etc/hostname", &format!("{pod}:/tmp/copied")]).ok();
    server.kubectl(&["exec", "-n", &namespace, &pod, "--", "test", "-s", "/tmp/copied"]).ok();
    server.kubectl(&["logs", "-n", &namespace, &pod]).ok();

    // The worker says who it is, and who answers.
    worker.naru(&["status"]).ok().says(&["w1 (Ready)", "All is well"]);
    worker.naru(&["ls"]).refuses(&["this machine is a worker"]);
    worker.naru(&["image", "ls"]).ok().says(&["naru.local/probe"]);
    server.naru(&["status"]).ok().says(&["w1", "node-1", "until 20"]);

    worker.naru(&["leave", "--yes"]).ok().says(&["has left"]);
    assert_eq!(status_of(&server, "w1"), "absent");
    until(
        "all on the server again",
        || project.ps(),
        |rows| rows.len() == 6 && rows.iter().all(|row| row["Node"] == "node-1" && row["State"] == "running"),
    );
    let left: Vec<String> = worker.ip("-o link show").expect("links").lines().map(str::to_owned).collect();
    assert_eq!(left.len(), 2, "lo and eth0 are all that is left: {left:?}");
    for folder in ["node", "pods", "network"] {
        assert!(!worker.state_dir().join(folder).exists(), "{folder} is left");
    }
    worker.naru(&["leave", "--yes"]).refuses(&["belongs to no cluster"]);
}

/// Nothing of a refused join is on the machine, nor in the cluster.
fn untouched(server: &Host, worker: &Host, count: usize) {
    for name in ["node", "node.new", "pods", "network"] {
        assert!(!worker.state_dir().join(name).exists(), "{name} was made");
    }
    assert_eq!(worker.ip("-o link show").expect("links").lines().count(), 2);
    assert_eq!(nodes(server).len(), count);
}

#[test]
fn whoever_may_not_join_is_told_why_and_nothing_is_half_done() {
    let Some((server, others)) = machines(2, &[]) else { return };
    let (worker, second) = (&others[0], &others[1]);
    let good = token(&server, &[]);
    join(worker, "hello", "w1").refuses(&["no join token"]);
    join(worker, &good[..good.len() - 9], "w1").refuses(&["incomplete or was altered"]);

    let removed = token(&server, &[]);
    server.naru(&["token", "rm", &removed]).ok();
    join(worker, &removed, "w1").refuses(&["not known here"]);
    let expired = token(&server, &["--ttl", "1s"]);
    eventually_within(PATIENCE, "the token expires", || {
        match server.naru(&["token", "ls"]).ok().text().contains("expired") {
            true => Ok(()),
            false => Err("not yet".into()),
        }
    });
    join(worker, &expired, "w1").refuses(&["expired at"]);
    untouched(&server, worker, 1);

    // Another cluster's authority, at this cluster's address.
    let Some(stranger) = Lan::new().and_then(|lan| start(&lan, false, &[])) else { return };
    let elsewhere = token(&stranger, &["--server", &server.address().to_string()]);
    join(worker, &elsewhere, "w1").refuses(&["is not the cluster that made this token"]);
    let nowhere = token(&server, &["--server", "198.18.7.250:6443"]);
    worker.naru(&["join", &nowhere]).refuses(&["cannot reach 198.18.7.250:6443"]);
    untouched(&server, worker, 1);
    drop(stranger);

    // An address in the cluster's ranges would answer for pods.
    worker.ip("address add 10.42.77.7/32 dev lo").expect("an address");
    join(worker, &good, "w1").refuses(&["10.42.77.7", "10.42.0.0/16"]);
    worker.ip("address del 10.42.77.7/32 dev lo").expect("without");
    untouched(&server, worker, 1);

    // So would a network of its own in them.
    worker.ip("route add 10.43.5.0/24 dev eth0").expect("a route");
    join(worker, &good, "w1").refuses(&["10.43.5.0/24", "eth0", "10.43.0.0/16", "ranges"]);
    worker.ip("route del 10.43.5.0/24 dev eth0").expect("without");
    untouched(&server, worker, 1);

    join(worker, &good, "node-1").refuses(&["the name node-1 is taken", "--node-name"]);
    untouched(&server, worker, 1);
    join(worker, &good, "w1").ok();
    join(second, &good, "w1").refuses(&["the name w1 is taken", &worker.address().to_string()]);
    untouched(&server, second, 2);
    join(worker, &good, "w2").refuses(&["belongs to the cluster", "naru leave"]);
    server.naru(&["join", &good]).refuses(&["is the server of a cluster of its own"]);
    server.naru(&["leave", "--yes"]).refuses(&["is a server, not a worker"]);
    assert_eq!(status_of(&server, "w1"), "Ready", "what was refused hurt nobody");

    // Of several addresses, one that answers is enough.
    let address = server.address().to_string();
    let once = token(&server, &["--once", "--server", "198.18.7.250", "--server", &address]);
    join(second, &once, "w2").ok();
    server.naru(&["token", "ls"]).ok().hides(&["one machine"]);
}

#[test]
fn pods_of_a_lost_node_are_replaced_elsewhere_within_ten_seconds() {
    let Some((server, workers)) = cluster(2, &[]) else { return };
    server.kubectl_fed(&deployment(6), &["apply", "-f", "-"]).ok();
    let spread = || ["node-1", "w1", "w2"].map(|node| ready_on(&server, "default", node));
    until("two on each", spread, |counts| *counts == [2, 2, 2]);

    let whole = |away: &str| {
        eventually_within(PATIENCE, "six are ready without the lost node", || {
            let pods = pods(&server, "default");
            let ready = pods.iter().filter(|(_, node, ready)| *ready && node != away).count();
            if ready == 6 { Ok(()) } else { Err(format!("{pods:?}")) }
        });
    };
    // The power goes.
    let begun = Instant::now();
    workers[0].kill_everything();
    whole("w1");
    let took = begun.elapsed();
    eprintln!("power off to replaced: {took:?}");
    assert_eq!(status_of(&server, "w1"), "Unknown");
    server.naru(&["status"]).refuses(&[]).says(&["node w1 is not ready"]);

    // The cable is pulled out of the other one: everything fits on the server.
    let begun = Instant::now();
    workers[1].cut();
    until("w2 is given up", || status_of(&server, "w2"), |status| status != "Ready");
    eprintln!("cable out to noticed: {:?}", begun.elapsed());
}

#[test]
fn a_node_that_was_cut_off_goes_on_and_ends_with_what_the_cluster_wants() {
    let Some((server, workers)) = cluster(1, &[]) else { return };
    let worker = &workers[0];
    server.kubectl_fed(&deployment(4), &["apply", "-f", "-"]).ok();
    until("two on each", || ready_on(&server, "default", "w1"), |count| *count == 2);
    let contained = || -> usize {
        let groups = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        groups
            .filter(|process| {
                let read = |name: &str| std::fs::read_to_string(process.path().join(name)).unwrap_or_default();
                read("cgroup").contains(worker.cgroup()) && read("cmdline").contains("probe")
            })
            .count()
    };
    assert_eq!(contained(), 2);
    let begun = Instant::now();
    worker.cut();
    until("replaced on the server", || ready_on(&server, "default", "node-1"), |count| *count == 4);
    eprintln!("cable out to replaced: {:?}", begun.elapsed());
    assert_eq!(contained(), 2, "what runs on the lost node goes on running");
    server.kubectl(&["scale", "deployment", "web", "--replicas=3"]).ok();
    let begun = Instant::now();
    worker.mend();
    until("the node is back", || status_of(&server, "w1"), |status| status == "Ready");
    eprintln!("cable in to Ready: {:?}", begun.elapsed());
    until("nothing of before is left there", contained, |count| *count == 0);
    until(
        "and the cluster has what it wants",
        || pods(&server, "default"),
        |pods| pods.len() == 3 && pods.iter().all(|(_, _, ready)| *ready),
    );
    server.naru(&["status"]).ok().says(&["All is well"]);
}

#[test]
fn the_server_may_stop_and_come_back_without_a_worker_noticing_more_than_that() {
    let Some((server, workers)) = cluster(1, PATIENT) else { return };
    server.kubectl_fed(&deployment(4), &["apply", "-f", "-"]).ok();
    until("two on each", || ready_on(&server, "default", "w1"), |count| *count == 2);
    let before = pods(&server, "default");
    server.kill_server();
    workers[0].naru(&["status"]).says(&["no server"]);
    server.start_server();
    until("the node is back", || status_of(&server, "w1"), |status| status == "Ready");
    let pod = before.iter().find(|(_, node, _)| node == "w1").expect("one there").0.clone();
    eventually_within(PATIENCE, "the worker's pods are reached", || {
        let output = server.kubectl(&["exec", &pod, "--", "echo", "still here"]);
        if output.stdout.contains("still here") { Ok(()) } else { Err(output.to_string()) }
    });
    assert_eq!(pods(&server, "default"), before, "no pod was replaced");
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_a_removed_node_stays_out() {
    let Some((server, others)) = machines(1, &["--node-certificate", "15s"]) else { return };
    let worker = &others[0];
    join(worker, &token(&server, &[]), "w1").ok();
    let read = || std::fs::read_to_string(worker.state_dir().join("node/node.crt")).unwrap_or_default();
    let first = read();
    until("a second certificate", read, |now| !now.is_empty() && *now != first);
    let second = read();
    until("a third", read, |now| !now.is_empty() && *now != second);
    assert_eq!(status_of(&server, "w1"), "Ready");
    worker.naru(&["status"]).ok().says(&["All is well"]);

    server.naru(&["node", "rm", "w1"]).ok().says(&["w1 is removed"]);
    worker.naru(&["status"]).says(&["w1 was removed from the cluster", "naru leave"]);
    assert_eq!(status_of(&server, "w1"), "absent");
    worker.naru(&["leave", "--yes"]).ok();
    join(worker, &token(&server, &[]), "w1").ok();
}

#[test]
fn a_node_is_cordoned_drained_labelled_and_tainted() {
    let Some((server, _workers)) = cluster(1, &[]) else { return };
    server.kubectl_fed(&deployment(4), &["apply", "-f", "-"]).ok();
    until("two on each", || ready_on(&server, "default", "w1"), |count| *count == 2);
    server.naru(&["node", "rm", "w1"]).refuses(&["still runs", "naru node drain w1"]);
    server.naru(&["node", "drain", "w1"]).ok().says(&["w1 is drained"]);
    until("all on the server", || ready_on(&server, "default", "node-1"), |count| *count == 4);
    assert!(pods(&server, "default").iter().all(|(_, node, _)| node == "node-1"));
    server.naru(&["node", "ls"]).ok().says(&["Drain"]);
    server.naru(&["node", "uncordon", "w1"]).ok();
    server.naru(&["node", "label", "w1", "disk=ssd", "kubernetes.io/os-"]).ok();
    server.naru(&["node", "taint", "w1", "gpu=yes:NoSchedule"]).ok();
    let node = server.naru(&["node", "inspect", "w1"]).ok().json()[0].clone();
    assert_eq!(node["metadata"]["labels"]["disk"], "ssd");
    assert!(node["spec"]["taints"].to_string().contains("gpu"), "{node}");
    server.naru(&["node", "taint", "w1", "gpu-"]).ok();
    server.naru(&["node", "inspect", "nobody"]).refuses(&["no node nobody", "w1"]);
    let alone = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone"}, "spec": {"nodeName": "w1",
        "terminationGracePeriodSeconds": 1, "containers": [{"name": "a", "image": "naru.local/probe:1"}]}}"#;
    server.kubectl_fed(alone, &["apply", "-f", "-"]).ok();
    until("it runs", || ready_on(&server, "default", "w1"), |count| *count == 1);
    server.naru(&["node", "drain", "w1"]).refuses(&["default/alone would be lost", "--force"]);
    server.naru(&["node", "drain", "--force", "w1"]).ok();
    server.naru(&["node", "rm", "w1"]).ok();
}

/// The process of a host's worker.
fn worker_pid(host: &Host) -> rustix::process::Pid {
    let text = std::fs::read_to_string(host.state_dir().join("node.lock")).expect("the worker's lock");
    rustix::process::Pid::from_raw(text.trim().parse().expect("a process")).expect("a process")
}

#[test]
fn a_worker_that_was_killed_finds_its_pods_again() {
    use rustix::process::{Signal, kill_process};
    let Some((server, workers)) = cluster(1, PATIENT) else { return };
    let worker = &workers[0];
    server.kubectl_fed(&deployment(4), &["apply", "-f", "-"]).ok();
    until("two on each", || ready_on(&server, "default", "w1"), |count| *count == 2);
    let before = pods(&server, "default");
    // Killed and started again in time: nobody is replaced, for containers do not hang on the worker.
    kill_process(worker_pid(worker), Signal::KILL).expect("kill the worker");
    eventually_within(PATIENCE, "the worker is gone", || {
        let output = worker.naru(&["status"]);
        if output.stdout.contains("the worker does not run") { Ok(()) } else { Err(output.to_string()) }
    });
    // Whatever needs it starts it, as `naru up` does with a server.
    worker.naru(&["image", "ls"]).ok().says(&["naru.local/probe"]);
    eventually_within(PATIENCE, "the node is back", || {
        let pod = before.iter().find(|(_, node, _)| node == "w1").expect("one there").0.clone();
        let output = server.kubectl(&["exec", &pod, "--", "echo", "still here"]);
        if output.stdout.contains("still here") { Ok(()) } else { Err(output.to_string()) }
    });
    assert_eq!(pods(&server, "default"), before, "no pod was replaced");
    // A second one is refused.
    worker.naru(&["agent"]).refuses(&["a worker runs here already"]);
    worker.naru(&["server"]).refuses(&["is a worker of a cluster"]);
}

#[test]
fn a_worker_that_hangs_is_lost_until_it_goes_on() {
    use rustix::process::{Signal, kill_process};
    let Some((server, workers)) = cluster(1, &[]) else { return };
    let worker = &workers[0];
    server.kubectl_fed(&deployment(4), &["apply", "-f", "-"]).ok();
    until("two on each", || ready_on(&server, "default", "w1"), |count| *count == 2);
    let begun = Instant::now();
    kill_process(worker_pid(worker), Signal::STOP).expect("stop the worker");
    until("replaced on the server", || ready_on(&server, "default", "node-1"), |count| *count == 4);
    eprintln!("hung to replaced: {:?}", begun.elapsed());
    kill_process(worker_pid(worker), Signal::CONT).expect("let the worker go on");
    until("the node is back", || status_of(&server, "w1"), |status| status == "Ready");
    until(
        "and nothing too many is there",
        || pods(&server, "default"),
        |pods| pods.len() == 4 && pods.iter().all(|(_, _, ready)| *ready),
    );
}

#[test]
fn four_workers_lose_two_at_once_and_the_rest_carries_everything() {
    let Some((server, workers)) = cluster(4, &[]) else { return };
    assert_eq!(nodes(&server).len(), 5);
    server.kubectl_fed(&deployment(10), &["apply", "-f", "-"]).ok();
    let all = ["node-1", "w1", "w2", "w3", "w4"];
    until("two on each", || all.map(|node| ready_on(&server, "default", node)), |counts| *counts == [2; 5]);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for worker in &workers[..2] {
            scope.spawn(|| worker.kill_everything());
        }
    });
    until(
        "ten on three",
        || ["node-1", "w3", "w4"].map(|node| ready_on(&server, "default", node)),
        |counts| counts.iter().sum::<usize>() == 10,
    );
    eprintln!("two of five without power to replaced: {:?}", begun.elapsed());
    for name in ["w1", "w2"] {
        server.naru(&["node", "rm", name]).refuses(&[]).says(&["--force"]);
        server.naru(&["node", "rm", "--force", name]).ok();
    }
    until("their pods are forgotten", || pods(&server, "default").len(), |count| *count == 10);
    server.naru(&["status"]).ok().says(&["All is well"]);
}

#[test]
fn what_was_only_cut_off_serves_again_as_soon_as_it_is_back() {
    let Some((server, workers)) = cluster(1, PATIENT) else { return };
    let worker = &workers[0];
    server.kubectl_fed(&deployment(4), &["apply", "-f", "-"]).ok();
    until("two on each", || ready_on(&server, "default", "w1"), |count| *count == 2);
    let names = || -> Vec<String> { pods(&server, "default").into_iter().map(|(name, _, _)| name).collect() };
    let before = names();
    worker.cut();
    until("the node is given up", || status_of(&server, "w1"), |status| status == "Unknown");
    until("its pods serve nobody", || ready_on(&server, "default", "w1"), |count| *count == 0);
    worker.mend();
    until("the node is back", || status_of(&server, "w1"), |status| status == "Ready");
    until("and so are its pods", || ready_on(&server, "default", "w1"), |count| *count == 2);
    assert_eq!(names(), before, "the same ones");
}

#[test]
fn a_worker_moves_over_to_another_address_of_the_server() {
    let Some((server, others)) = machines(1, &[]) else { return };
    let worker = &others[0];
    server.ip("address add 198.18.7.200/24 dev eth0").expect("a second address");
    let line = token(&server, &["--server", "198.18.7.200"]);
    join(worker, &line, "w1").ok().says(&["at 198.18.7.200:6443"]);
    worker.load(Image::Busybox);
    worker.load(Image::Probe);
    server.kubectl_fed(&deployment(2), &["apply", "-f", "-"]).ok();
    until("one on each", || ready_on(&server, "default", "w1"), |count| *count == 1);
    let before = pods(&server, "default");
    // It learned the server's own address when it connected; the one it came by goes.
    let known = || std::fs::read_to_string(worker.state_dir().join("node/cluster.json")).unwrap_or_default();
    until("the other address is known", known, |text| text.contains(&server.address().to_string()));
    server.ip("address del 198.18.7.200/24 dev eth0").expect("without it");
    let pod = before.iter().find(|(_, node, _)| node == "w1").expect("one there").0.clone();
    eventually_within(PATIENCE, "the worker is reached by the other", || {
        let output = server.kubectl(&["exec", &pod, "--", "echo", "moved over"]);
        if output.stdout.contains("moved over") { Ok(()) } else { Err(output.to_string()) }
    });
    until("it is as before", || pods(&server, "default"), |now| *now == before);
    assert_eq!(status_of(&server, "w1"), "Ready");
}

#[test]
fn a_drain_keeps_a_service_with_two_replicas_answering() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let Some((server, _workers)) = cluster(2, &[]) else { return };
    // Neither replica on the server, so that one at least has to move.
    server.naru(&["node", "cordon", "node-1"]).ok();
    let ready = "readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}";
    // A program that is told to end finishes what is under way: here it does so by not obeying for a while.
    let two = deployment(2).replace("probe:1\"}", &format!("probe:1\", args: ['--ignore-term'], {ready}}}"));
    let two = two.replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 3");
    server.kubectl_fed(&two, &["apply", "-f", "-"]).ok();
    server.kubectl(&["expose", "deployment", "web", "--port", "80", "--target-port", "8080"]).ok();
    server
        .kubectl(&[
            "patch",
            "service",
            "web",
            "-p",
            r#"{"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30777}]}}"#,
        ])
        .ok();
    until(
        "one on each worker",
        || ["w1", "w2"].map(|node| ready_on(&server, "default", node)),
        |counts| *counts == [1; 2],
    );
    let address = server.address();
    eventually_within(PATIENCE, "it answers", || server.get_from_outside(address, 30777, "/").map(drop));
    server.naru(&["node", "uncordon", "node-1"]).ok();
    let (done, asked, lost) = (AtomicBool::new(false), AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    match server.get_from_outside(address, 30777, "/") {
                        Ok(answer) if answer.status == 200 => {}
                        other => lost.lock().expect("the list").push(format!("{other:?}")),
                    }
                }
            });
        }
        for node in ["w1", "w2"] {
            let drained = server.naru(&["node", "drain", node]);
            if drained.code != 0 {
                done.store(true, Ordering::Relaxed);
            }
            drained.ok();
        }
        done.store(true, Ordering::Relaxed);
    });
    let lost = lost.into_inner().expect("the list");
    let asked = asked.into_inner();
    assert!(lost.is_empty() && asked > 20, "{} of {asked} requests were lost: {:?}", lost.len(), lost.first());
    assert_eq!(ready_on(&server, "default", "node-1"), 2);
}
