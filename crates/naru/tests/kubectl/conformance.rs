//! What `[Conformance]` asks of kubectl and of service accounts where pods really run.

use naru_testkit::{NODE, Output, eventually, until};
use serde_json::{Value, json};

use super::{PROBE, Space};

/// A web server that keeps what is written: a script that busybox runs for each request.
const BOOK: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: script}
data:
  book: |
    #!/bin/sh
    printf 'Content-Type: text/plain\r\n\r\n'
    [ -n "$QUERY_STRING" ] && echo "$QUERY_STRING" >> /data/entries
    cat /data/entries 2>/dev/null || true
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: agnhost-primary, labels: {app: agnhost, tier: backend}}
spec:
  selector: {matchLabels: {app: agnhost, role: primary}}
  template:
    metadata: {labels: {app: agnhost, role: primary}}
    spec:
      terminationGracePeriodSeconds: 1
      volumes: [{name: script, configMap: {name: script, defaultMode: 0755}}, {name: data, emptyDir: {}}]
      containers:
      - name: primary
        image: naru.local/busybox:1
        command: [httpd, -f, -p, "8000", -h, /www]
        ports: [{containerPort: 8000}]
        volumeMounts: [{name: script, mountPath: /www/cgi-bin}, {name: data, mountPath: /data}]
        readinessProbe: {tcpSocket: {port: 8000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: agnhost-primary}
spec: {selector: {app: agnhost, role: primary}, ports: [{port: 6379, targetPort: 8000}]}
"#;

fn controller(name: &str, replicas: u32) -> String {
    format!(
        "
apiVersion: v1
kind: ReplicationController
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{name: {name}, version: demo}}
  template:
    metadata: {{labels: {{name: {name}, version: demo}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: main, image: 'naru.local/probe:1', ports: [{{containerPort: 8080}}]}}]
"
    )
}

/// The pods of a controller that run and stay.
fn running(space: &Space, name: &str) -> Vec<String> {
    let list = space.get(&["pods", "-l", &format!("name={name}")]);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let runs = |pod: &&Value| pod["status"]["phase"] == "Running" && pod["metadata"].get("deletionTimestamp").is_none();
    items.iter().filter(runs).filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

#[track_caller]
fn until_running(space: &Space, name: &str, count: usize) -> Vec<String> {
    until(&format!("{count} pods of {name} run"), || running(space, name), |pods| pods.len() == count)
}

#[test]
fn a_guestbook_keeps_what_is_written_and_goes() {
    let Some(space) = Space::new("guestbook") else { return };
    space.apply(BOOK);
    space.apply(&super::deployment("frontend", 2, ""));
    space.kubectl(&["expose", "deployment", "frontend", "--port=80", "--target-port=8080", "--type=NodePort"]).ok();
    for name in ["agnhost-primary", "frontend"] {
        space.kubectl(&["rollout", "status", &format!("deployment/{name}"), "--timeout=60s"]).ok();
    }
    let port =
        space.get(&["service", "frontend"])["spec"]["ports"][0]["nodePort"].as_u64().expect("a node port") as u16;
    let ask = |query: &str| {
        let path = format!("/get/agnhost-primary:6379/cgi-bin/book{query}");
        let answer = space.host.get_from_outside(NODE, port, &path)?;
        if answer.status == 200 { Ok(answer.body) } else { Err(format!("{answer:?}")) }
    };
    eventually("the frontend reaches what is behind it", || ask(""));
    eventually("an entry is written", || ask("?TestEntry"));
    let read =
        until("it is read through either frontend", || ask("").unwrap_or_default(), |text| text.contains("TestEntry"));
    assert!(read.lines().all(|line| line == "TestEntry"), "{read}");
    space.kubectl(&["delete", "deployment,service,configmap", "--all", "--cascade=foreground"]).ok();
    until(
        "nothing runs any more",
        || space.get(&["pods"])["items"].as_array().map(Vec::len),
        |count| *count == Some(0),
    );
}

#[test]
fn a_replication_controller_is_made_scaled_and_stopped() {
    let Some(space) = Space::new("update-demo") else { return };
    space.apply(&controller("nautilus", 2)).says(&["replicationcontroller/nautilus created"]);
    let first = until_running(&space, "nautilus", 2);
    for (replicas, count) in [("1", 1), ("2", 2)] {
        space.kubectl(&["scale", "rc", "nautilus", "--replicas", replicas, "--timeout=60s"]).ok().says(&["scaled"]);
        until_running(&space, "nautilus", count);
    }
    let name = &first[0];
    let expected = [
        "Name:",
        "Namespace:",
        "update-demo",
        "Node:",
        "node-1",
        "Labels:",
        "name=nautilus",
        "Status:",
        "Running",
        "IP:",
        "10.42.",
        "Controlled By:",
        "ReplicationController/nautilus",
        "Image:",
        "naru.local/probe:1",
        "State:",
        "QoS Class:",
    ];
    let pod = running(&space, "nautilus").into_iter().next().unwrap_or_else(|| name.clone());
    space.kubectl(&["describe", "pod", &pod]).ok().says(&expected);
    space.kubectl(&["describe", "rc", "nautilus"]).ok().says(&[
        "2 current / 2 desired",
        "2 Running / 0 Waiting",
        "SuccessfulCreate",
    ]);
    space.host.kubectl(&["describe", "node", "node-1"]).ok().says(&[
        "Name:",
        "Labels:",
        "Addresses:",
        "Non-terminated Pods:",
        &pod,
    ]);
    space.host.kubectl(&["describe", "namespace", "update-demo"]).ok().says(&["Status:", "Active"]);

    space.kubectl(&["delete", "rc", "nautilus"]).ok();
    until("its pods go", || running(&space, "nautilus").len(), |count| *count == 0);
}

#[test]
fn pods_of_a_controller_are_patched_one_by_one() {
    let Some(space) = Space::new("patches") else { return };
    space.apply(&controller("agnhost", 2));
    for pod in until_running(&space, "agnhost", 2) {
        space
            .kubectl(&["patch", "pod", &pod, "-p", r#"{"metadata":{"annotations":{"x":"y"}}}"#])
            .ok()
            .says(&["patched"]);
    }
    let pods = space.get(&["pods", "-l", "name=agnhost"]);
    let noted = pods["items"].as_array().into_iter().flatten().filter(|pod| pod["metadata"]["annotations"]["x"] == "y");
    assert_eq!(noted.count(), 2, "{pods}");
}

#[test]
fn logs_are_had_in_part() {
    let Some(space) = Space::new("logs") else { return };
    space.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: says}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: 'naru.local/busybox:1', command: [sh, -c, 'exec 2>&1; for n in 1 2 3 4 5 6 7 8 9 10; do echo line $n; done; sleep 1000']}
  - {name: other, image: 'naru.local/busybox:1', command: [sh, -c, 'echo beside; exec sleep 1000']}
",
    );
    space.wait("pod/says", "condition=Ready");
    let logs =
        |arguments: &[&str]| -> Output { space.kubectl(&[&["logs", "says", "-c", "main"], arguments].concat()).ok() };
    until("all is said", || logs(&[]).lines().len(), |count| *count == 10);
    assert_eq!(logs(&["--tail=1"]).stdout, "line 10\n");
    assert_eq!(logs(&["--limit-bytes=1"]).stdout, "l");
    let stamped = logs(&["--tail=1", "--timestamps"]);
    let (time, rest) = stamped.text().split_once(' ').expect("a time and a line");
    assert_eq!(rest, "line 10");
    assert!(
        time.len() > 20 && time.as_bytes()[10] == b'T' && time.ends_with(|c: char| c == 'Z' || c.is_ascii_digit()),
        "{time}"
    );
    assert_eq!(logs(&["--since=24h"]).lines().len(), 10);
    // What is older than a second is found by a time that is waited for: the log itself says when it was written.
    let old = logs(&["--since-time", "2999-01-01T00:00:00Z"]);
    assert_eq!(old.stdout, "");
    until("a second has passed", || logs(&["--since=1s"]).lines().len(), |count| *count == 0);
    space
        .kubectl(&["logs", "says", "--all-containers", "--prefix"])
        .ok()
        .says(&["[pod/says/other] beside", "[pod/says/main] line 1"]);
    space.kubectl(&["logs", "says", "-c", "nobody"]).refuses(&["container nobody is not valid for pod says"]);
    space.kubectl(&["logs", "says", "--previous", "-c", "main"]).refuses(&["previous terminated container"]);
}

#[test]
fn every_namespace_keeps_the_clusters_certificate() {
    let Some(space) = Space::new("root-ca") else { return };
    let read = || space.kubectl(&["get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"]).stdout;
    let certificate = until("it is made", read, |text| text.contains("BEGIN CERTIFICATE"));
    space.kubectl(&["delete", "configmap", "kube-root-ca.crt"]).ok();
    until("it is made again", read, |text| *text == certificate);
    space.kubectl(&["patch", "configmap", "kube-root-ca.crt", "-p", r#"{"data":{"ca.crt":""}}"#]).ok();
    until("it is as it was", read, |text| *text == certificate);
}

#[test]
fn pods_find_their_accounts_token_where_they_look() {
    let Some(space) = Space::new("tokens") else { return };
    space.apply(PROBE);
    let projected = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "projected"}, "spec": {
        "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
        "volumes": [{"name": "token", "projected": {"defaultMode": 0o440, "sources": [
            {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}]}}],
        "containers": [{"name": "main", "image": "naru.local/busybox:1", "command": ["sleep", "1000"],
            "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/tokens"}]}]}});
    space.apply(&projected.to_string());
    for pod in ["probe", "projected"] {
        space.wait(&format!("pod/{pod}"), "condition=Ready");
    }
    let look = |pod: &str, path: &str| space.kubectl(&["exec", pod, "--", "cat", path]).ok().stdout;
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert_eq!(look("probe", &format!("{folder}/namespace")), "tokens");
    assert!(look("probe", &format!("{folder}/ca.crt")).contains("BEGIN CERTIFICATE"));
    let own = look("probe", &format!("{folder}/token"));
    let other = look("projected", "/var/run/secrets/tokens/token");
    let review = |token: &str, audiences: Value| {
        let object = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token.trim(), "audiences": audiences}});
        space.host.kubectl_fed(&object.to_string(), &["create", "-f", "-", "-o", "json"]).ok().json()["status"].clone()
    };
    for (token, audiences) in [(&own, Value::Null), (&other, json!(["vault"]))] {
        let status = review(token, audiences);
        assert_eq!(
            (&status["authenticated"], &status["user"]["username"]),
            (&json!(true), &json!("system:serviceaccount:tokens:default")),
            "{status}"
        );
    }
    assert_ne!(review(&other, json!(["elsewhere"]))["authenticated"], true, "it is for the vault alone");
    let mode = space.kubectl(&["exec", "projected", "--", "stat", "-Lc", "%a", "/var/run/secrets/tokens/token"]).ok();
    assert_eq!(mode.text(), "440");
    space.kubectl(&["exec", "projected", "--", "ls", folder]).refuses(&["No such file"]);
}

#[test]
fn attach_and_debug_reach_into_running_pods() {
    let Some(space) = Space::new("reach") else { return };
    space.apply(
        &PROBE.replace("image: 'naru.local/probe:1'", "image: 'naru.local/busybox:1', stdin: true, command: [cat]"),
    );
    space.wait("pod/probe", "condition=Ready");
    let mut attached = space.host.start_kubectl(&["-n", "reach", "attach", "-i", "probe"]);
    eventually("what is typed comes back", || {
        attached.write(b"heard\n");
        let seen = attached.stdout();
        if seen.contains("heard") { Ok(()) } else { Err(seen + &attached.stderr()) }
    });
    space
        .kubectl(&[
            "debug",
            "probe",
            "--image=naru.local/busybox:1",
            "--container=look",
            "--attach=false",
            "--",
            "sleep",
            "1000",
        ])
        .ok();
    let state = || space.get(&["pod", "probe"])["status"]["ephemeralContainerStatuses"][0]["state"].clone();
    until("the debugger runs", state, |state| state["running"].is_object());
    let seen = space.kubectl(&["exec", "probe", "-c", "look", "--", "echo", "from within"]).ok();
    assert_eq!(seen.text(), "from within");
}
