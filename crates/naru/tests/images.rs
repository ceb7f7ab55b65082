//! Images on several machines without a registry: they travel to the nodes that need them, and are the same there.

use naru_testkit::{Host, HostOptions, Image, Lan, Project, until};
use serde_json::Value;

/// A server and workers `w1`…; only the server has images.
fn cluster(count: usize) -> Option<(Host, Vec<Host>)> {
    let lan = Lan::new()?;
    let start = |idle: bool| {
        let options = HostOptions { idle, lan: Some(lan.clone()), ..HostOptions::default() };
        Host::start_with(env!("CARGO_BIN_EXE_naru"), options)
    };
    let server = start(false)?;
    let workers = (0..count).map(|_| start(true)).collect::<Option<Vec<Host>>>()?;
    let line = server.naru(&["token", "create"]).ok().text().trim().to_owned();
    let token = line.strip_prefix("naru join ").expect("a command");
    for (at, worker) in workers.iter().enumerate() {
        worker.naru(&["join", token, "--node-name", &format!("w{}", at + 1)]).ok();
    }
    server.load(Image::Busybox);
    server.load(Image::Probe);
    Some((server, workers))
}

/// The nodes on which containers of a project run, sorted.
fn places(project: &Project<'_>) -> Vec<String> {
    let running = project.ps().into_iter().filter(|row| row["State"] == "running");
    let mut nodes: Vec<String> = running.filter_map(|row| row["Node"].as_str().map(str::to_owned)).collect();
    nodes.sort();
    nodes
}

/// The identifier that an image has on a node, if it is there.
fn identity(server: &Host, node: &str, image: &str) -> Option<String> {
    let output = server.naru(&["image", "inspect", "--node", node, image]);
    if !output.stdout.starts_with('[') {
        return None;
    }
    let found: Value = serde_json::from_str(&output.stdout).ok()?;
    found[0]["id"].as_str().map(str::to_owned)
}

const EVERYWHERE: &str = "deploy: {mode: global}";

#[test]
fn an_image_of_one_node_reaches_those_that_need_it_and_a_moved_tag_means_the_same_everywhere() {
    let Some((server, workers)) = cluster(2) else { return };
    let nodes = ["node-1", "w1", "w2"];
    server.naru(&["image", "tag", "naru.local/busybox:1", "naru.local/app:1"]).ok();
    let text = format!("services:\n  web: {{image: naru.local/app:1, command: [sleep, '1000'], {EVERYWHERE}}}\n");
    let project = server.project("travels", &text);
    project.up(&[]).ok();
    until("one on each node", || places(&project), |places| *places == nodes);
    let own = identity(&server, "node-1", "naru.local/app:1").expect("where it was loaded");
    for node in ["w1", "w2"] {
        assert_eq!(identity(&server, node, "naru.local/app:1").as_ref(), Some(&own), "{node}");
        assert_eq!(identity(&server, node, "naru.local/probe:1"), None, "nobody there needs it");
    }
    let events = server.kubectl(&["get", "events", "-A", "-o", "json"]).ok().json();
    let events = events["items"].as_array().cloned().unwrap_or_default();
    let told = |word: &str| {
        let text = |event: &Value| event["message"].as_str().unwrap_or_default().to_owned();
        events.iter().filter(|event| event["reason"] == word).any(|event| text(event).contains("from node"))
    };
    assert!(told("Pulling") && told("Pulled"), "{events:?}");
    project.naru(&["ps"]).ok().says(&["naru.local/app:1"]).hides(&["sha256"]);
    project.naru(&["images"]).ok().says(&["NODE", "w1", "w2"]);
    let tells = || {
        let node = server.naru(&["node", "inspect", "w1"]).ok().json()[0].clone();
        node["status"]["images"].to_string()
    };
    until("the node tells of its images", tells, |images| images.contains("naru.local/app:1"));

    // The tag moves on the server alone.
    server.naru(&["image", "ls", "--node", "all"]).ok().says(&["NODES", "node-1, w1, w2"]);
    server.naru(&["image", "tag", "naru.local/probe:1", "naru.local/app:1"]).ok();
    let text = format!("services:\n  web: {{image: naru.local/app:1, {EVERYWHERE}}}\n");
    project.write("compose.yaml", &text);
    project.up(&[]).ok();
    let probe = identity(&server, "node-1", "naru.local/probe:1").expect("the other image");
    let ids = || -> Vec<String> {
        let shown = project.naru(&["images", "--format", "json"]).ok().json();
        let rows = shown.as_array().cloned().unwrap_or_default();
        rows.iter().filter_map(|row| row["ID"].as_str().map(str::to_owned)).collect()
    };
    until("the same bytes on every node", ids, |ids| {
        ids.len() == 3 && ids.iter().all(|id| !id.is_empty() && probe.contains(id.as_str()))
    });

    // Removed from one node.
    server.naru(&["image", "ls", "--node", "w9"]).refuses(&["no node w9", "node-1, w1, w2"]);
    project.naru(&["down"]).ok();
    server.naru(&["image", "rm", "--node", "w1", "naru.local/app:1"]).ok();
    assert_eq!(identity(&server, "w1", "naru.local/app:1"), None);
    drop(workers);
}

#[test]
fn a_service_with_files_of_this_machine_stays_on_it_and_its_user_is_told() {
    let Some((server, _workers)) = cluster(1) else { return };
    let text = "services:\n  web: {image: naru.local/busybox:1, command: [sleep, '1000'], volumes: ['./data:/data'], \
                deploy: {replicas: 3}}\n";
    let project = server.project("files", text);
    project.write("data/page", "here\n");
    project.up(&[]).ok().says(&["services.web.volumes", "/data is on node node-1"]);
    until("all on the server", || places(&project), |places| *places == ["node-1"; 3]);
}

#[test]
fn an_image_that_no_node_has_is_said_to_be_nowhere() {
    let Some((server, _workers)) = cluster(1) else { return };
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone"}, "spec": {"nodeName": "w1",
        "containers": [{"name": "a", "image": "127.0.0.1:9/nothing:1"}]}}"#;
    server.kubectl_fed(pod, &["apply", "-f", "-"]).ok();
    let said = || server.kubectl(&["get", "events", "-o", "json"]).ok().json().to_string();
    until("it says so", said, |text| text.contains("none of 1 other nodes has it"));
    // As soon as one has it, it travels.
    server.naru(&["image", "tag", "naru.local/probe:1", "127.0.0.1:9/nothing:1"]).ok();
    let phase = || {
        let pod = server.kubectl(&["get", "pod", "alone", "-o", "json"]).ok().json();
        pod["status"]["phase"].as_str().unwrap_or_default().to_owned()
    };
    until("it runs", phase, |phase| phase == "Running");
}
