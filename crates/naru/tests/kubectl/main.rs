//! An unmodified kubectl: its verbs over every kind.

mod conformance;

use std::collections::BTreeSet;

use naru_testkit::{Host, NODE, Output, eventually, missing, shared_host, until};
use serde_json::Value;

fn host() -> Option<&'static Host> {
    if missing(&["kubectl"]) {
        return None;
    }
    shared_host(env!("CARGO_BIN_EXE_naru"))
}

/// A namespace of one test.
struct Space {
    host: &'static Host,
    name: &'static str,
}

impl Space {
    fn new(name: &'static str) -> Option<Self> {
        let host = host()?;
        host.kubectl(&["create", "namespace", name]).ok();
        Some(Self { host, name })
    }

    #[track_caller]
    fn kubectl(&self, arguments: &[&str]) -> Output {
        self.host.kubectl(&[&["-n", self.name], arguments].concat())
    }

    #[track_caller]
    fn apply(&self, yaml: &str) -> Output {
        self.host.kubectl_fed(yaml, &["-n", self.name, "apply", "-f", "-"]).ok()
    }

    #[track_caller]
    fn get(&self, arguments: &[&str]) -> Value {
        self.kubectl(&[&["get", "-o", "json"], arguments].concat()).ok().json()
    }

    /// Waits for a condition, as users do.
    #[track_caller]
    fn wait(&self, what: &str, condition: &str) {
        self.kubectl(&["wait", what, &format!("--for={condition}"), "--timeout=60s"]).ok();
    }

    /// What the probe of a pod is answered.
    fn ask(&self, pod: &str, url: &str) -> Result<String, String> {
        let output = self.kubectl(&["exec", pod, "--", "/probe", "--get", url]);
        if output.code == 0 { Ok(output.text().to_owned()) } else { Err(output.to_string()) }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let all = self.host.kubectl(&["-n", self.name, "get", "all,events"]);
            eprintln!("--- {}\n--- the server\n{}", all.stdout, self.host.log_tail(15));
        }
        self.host.kubectl(&["delete", "namespace", self.name, "--wait=false"]);
    }
}

const PROBE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: probe, labels: {app: probe}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: 'naru.local/probe:1', ports: [{containerPort: 8080}]}]
";

fn deployment(name: &str, replicas: u32, more: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: naru.local/probe:1
        ports: [{{containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /health, port: 8080}}, periodSeconds: 1}}
        {more}
"
    )
}

#[test]
fn objects_are_made_shown_changed_and_deleted() {
    let Some(space) = Space::new("crud") else { return };
    space.apply(PROBE).says(&["pod/probe created"]);
    space.apply(PROBE).says(&["pod/probe unchanged"]);
    space.wait("pod/probe", "condition=Ready");
    space
        .kubectl(&["get", "pods"])
        .ok()
        .says(&["NAME", "READY", "STATUS", "RESTARTS", "AGE", "probe", "1/1", "Running"]);
    space.kubectl(&["get", "pods", "-o", "wide"]).ok().says(&["NODE", "node-1", "10.42."]);
    space.kubectl(&["get", "pods", "-A", "-l", "app=probe", "--no-headers"]).ok().says(&["crud"]);
    space.kubectl(&["get", "pods", "--field-selector=status.phase=Running", "-o", "name"]).ok().says(&["pod/probe"]);
    space.kubectl(&["describe", "pod", "probe"]).ok().says(&["Scheduled", "Started", "naru.local/probe:1", "Node:"]);
    space.kubectl(&["label", "pod", "probe", "tier=front"]).ok();
    space.kubectl(&["annotate", "pod", "probe", "note=here"]).ok();
    space.kubectl(&["create", "configmap", "words", "--from-literal=a=b"]).ok();
    for (kind, patch) in [
        ("merge", r#"{"data":{"c":"d"}}"#),
        ("strategic", r#"{"data":{"e":"f"}}"#),
        ("json", r#"[{"op":"remove","path":"/data/a"}]"#),
    ] {
        space.kubectl(&["patch", "configmap", "words", "--type", kind, "-p", patch]).ok();
    }
    assert_eq!(space.get(&["configmap", "words"])["data"], serde_json::json!({"c": "d", "e": "f"}));
    let mut edit = space.host.command("env");
    edit.arg("KUBE_EDITOR=sed -i /^..c:/s/d$/edited/").args(["kubectl", "--kubeconfig"]).arg(space.host.kubeconfig());
    edit.args(["-n", "crud", "edit", "configmap", "words"]);
    space.host.run(edit, b"").ok().says(&["edited"]);
    assert_eq!(space.get(&["configmap", "words"])["data"]["c"], "edited");
    space.host.kubectl_fed(PROBE, &["-n", "crud", "diff", "-f", "-"]);
    space.kubectl(&["apply", "--server-side", "--field-manager=other", "-f", "-"]);
    space.kubectl(&["delete", "pod", "probe"]).ok();
    space.kubectl(&["get", "pod", "probe"]).refuses(&["NotFound", "probe"]);
    for (yaml, says) in [
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: [{name: a, image: x}]}\n",
            "metadata.name",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, imagee: x}]}\n", "imagee"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n", "containers"),
    ] {
        space.host.kubectl_fed(yaml, &["-n", "crud", "apply", "-f", "-"]).refuses(&[says]);
    }
}

#[test]
fn the_server_describes_itself() {
    let Some(host) = host() else { return };
    host.kubectl(&["version"]).ok().says(&["Server Version: v1.3"]);
    host.kubectl(&["get", "--raw", "/readyz"]).ok().says(&["ok"]);
    host.kubectl(&["api-resources"]).ok().says(&["deployments", "deploy", "networkpolicies", "projects", "naru.io/v1"]);
    host.kubectl(&["explain", "deployment.spec.strategy"]).ok().says(&["RollingUpdate", "FIELDS"]);
    host.kubectl(&["cluster-info"]).ok().says(&["is running at"]);
    host.kubectl(&["get", "nodes"]).ok().says(&["node-1", "Ready"]);
    host.kubectl(&["describe", "node", "node-1"]).ok().says(&["Capacity", "Allocated resources", "MemoryPressure"]);
    host.kubectl(&["get", "storageclass"]).ok().says(&["(default)"]);
    host.kubectl(&["auth", "can-i", "create", "deployments"]).ok().says(&["yes"]);
    let nobody =
        host.kubectl(&["auth", "can-i", "create", "deployments", "--as", "system:serviceaccount:default:default"]);
    assert!(nobody.code == 1 && nobody.stdout.starts_with("no"), "{nobody}");
    host.kubectl(&["auth", "whoami"]).ok().says(&["naru-admin", "system:masters"]);
    host.kubectl(&["get", "pods", "--as", "somebody"]).refuses(&["forbidden", "somebody"]);
}

#[test]
fn logs_exec_cp_and_port_forward() {
    let Some(space) = Space::new("streams") else { return };
    space.kubectl(&["run", "probe", "--image=naru.local/probe:1", "--port=8080"]).ok();
    space.wait("pod/probe", "condition=Ready");
    space.kubectl(&["logs", "probe"]).ok().says(&["probe starts on probe"]);
    let mut follow = space.host.start_kubectl(&["-n", "streams", "logs", "-f", "probe", "--tail=1"]);
    follow.shows("probe listens");
    space.ask("probe", "127.0.0.1:8080/print/100/said").expect("printed");
    follow.shows("said 100");
    let output = space.kubectl(&["exec", "probe", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((output.code, output.stdout.as_str()), (7, "out\n"), "{output}");
    assert!(output.stderr.contains("err"), "{output}");
    let fed = space.host.kubectl_fed("given\n", &["-n", "streams", "exec", "-i", "probe", "--", "cat"]).ok();
    assert_eq!(fed.stdout, "given\n");
    space.host.kubectl_fed("x", &["-n", "streams", "attach", "-h"]).ok();
    let local = space.host.folder().join("in.txt");
    std::fs::write(&local, "copied\n").expect("a file");
    space.kubectl(&["cp", &local.to_string_lossy(), "probe:/tmp/in.txt"]).ok();
    assert_eq!(space.kubectl(&["exec", "probe", "--", "cat", "/tmp/in.txt"]).ok().stdout, "copied\n");
    space.kubectl(&["cp", "probe:/tmp/in.txt", "out.txt"]).ok();
    let mut forward = space.host.start_kubectl(&["-n", "streams", "port-forward", "pod/probe", "8501:8080"]);
    forward.shows("Forwarding from");
    for _ in 0..5 {
        let answer = eventually("the forwarded port", || space.host.get([127, 0, 0, 1], 8501, "/remote"));
        assert_eq!(answer.body, "127.0.0.1");
    }
    if missing(&["script"]) {
        return;
    }
    let mut terminal = space.host.command("script");
    let line = format!("kubectl --kubeconfig {} -n streams exec -it probe -- sh", space.host.kubeconfig().display());
    terminal.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    let mut terminal = Host::spawn(terminal);
    terminal.write(b"tty; echo sum $((40 + 2)); exit 6\n");
    terminal.shows("sum 42");
    terminal.shows("/dev/pts/");
    assert_eq!(terminal.wait().code, 6);
}

#[test]
fn deployments_roll_and_roll_back() {
    let Some(space) = Space::new("rolls") else { return };
    space.apply(&deployment("web", 3, "env: [{name: COLOR, value: red}]"));
    space.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok().says(&["successfully rolled out"]);
    space.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080", "--type=NodePort"]).ok();
    let port = space.get(&["service", "web"])["spec"]["ports"][0]["nodePort"].as_u64().expect("a node port") as u16;
    let color = || eventually("the node port answers", || space.host.get_from_outside(NODE, port, "/env/COLOR")).body;
    assert_eq!(color(), "red");

    space.kubectl(&["set", "env", "deployment/web", "COLOR=blue"]).ok();
    space.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    until("all are blue", || (0..10).map(|_| color()).collect::<BTreeSet<_>>(), |seen| seen.iter().eq(["blue"]));
    space.kubectl(&["rollout", "history", "deployment/web"]).ok().says(&["REVISION", "1", "2"]);
    space.kubectl(&["rollout", "undo", "deployment/web"]).ok();
    space.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    until("all are red again", || (0..10).map(|_| color()).collect::<BTreeSet<_>>(), |seen| seen.iter().eq(["red"]));

    space.kubectl(&["rollout", "pause", "deployment/web"]).ok();
    space.kubectl(&["set", "image", "deployment/web", "main=localhost:5999/nosuch:1"]).ok();
    let images = || space.get(&["pods", "-l", "app=web"])["items"].to_string();
    assert!(!images().contains("nosuch"), "a paused one does not roll");
    space.kubectl(&["rollout", "resume", "deployment/web"]).ok();
    until(
        "the bad image is named",
        || space.kubectl(&["get", "pods"]).stdout,
        |text| text.contains("ErrImagePull") || text.contains("ImagePullBackOff"),
    );
    let ready = space.get(&["deployment", "web"])["status"]["readyReplicas"].clone();
    assert!(ready.as_u64() >= Some(2), "a bad image takes no more than one away: {ready}");
    space.kubectl(&["rollout", "undo", "deployment/web"]).ok();
    space.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    space.kubectl(&["scale", "deployment/web", "--replicas=1"]).ok();
    until(
        "one is left",
        || space.get(&["pods", "-l", "app=web"])["items"].as_array().map(Vec::len),
        |count| *count == Some(1),
    );
    space.kubectl(&["delete", "deployment", "web", "--cascade=foreground"]).ok();
    until("its pods go with it", || space.get(&["pods"])["items"].as_array().map(Vec::len), |count| *count == Some(0));
}

#[test]
fn jobs_run_to_their_end() {
    let Some(space) = Space::new("jobs") else { return };
    space.apply("
apiVersion: batch/v1
kind: Job
metadata: {name: good}
spec:
  completions: 3
  parallelism: 2
  template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'naru.local/busybox:1', command: [echo, done]}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: bad}
spec:
  backoffLimit: 1
  template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'naru.local/busybox:1', command: [sh, -c, exit 3]}]}}
");
    space.wait("job/good", "condition=Complete");
    space.kubectl(&["get", "jobs"]).ok().says(&["good", "3/3"]);
    space.wait("job/bad", "condition=Failed");
    assert_eq!(space.get(&["job", "bad"])["status"]["failed"], 2);
    space.kubectl(&["logs", "job/good"]).ok().says(&["done"]);
}

#[test]
fn daemon_sets_and_stateful_names() {
    let Some(space) = Space::new("daemons") else { return };
    space.apply(
        "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: every}
spec:
  selector: {matchLabels: {app: every}}
  template:
    metadata: {labels: {app: every}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: 'naru.local/probe:1'}]}
",
    );
    space.kubectl(&["rollout", "status", "daemonset/every", "--timeout=60s"]).ok();
    let pods = space.get(&["pods", "-l", "app=every"]);
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(1), "one a node");
    let name = pods["items"][0]["metadata"]["name"].as_str().expect("a name").to_owned();
    space.kubectl(&["delete", "pod", &name]).ok();
    until(
        "it is made anew",
        || space.get(&["pods", "-l", "app=every"]),
        |pods| pods["items"].as_array().is_some_and(|items| items.len() == 1 && items[0]["metadata"]["name"] != *name),
    );
}

#[test]
fn volumes_follow_their_sources() {
    let Some(space) = Space::new("volumes") else { return };
    space.kubectl(&["create", "configmap", "words", "--from-literal=greeting=hello"]).ok();
    space.kubectl(&["create", "secret", "generic", "keys", "--from-literal=password=s3cret"]).ok();
    space.apply("
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: probe, labels: {kept: label}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers: [{name: first, image: 'naru.local/busybox:1', command: [sh, -c, 'echo from-init > /scratch/made'], volumeMounts: [{name: scratch, mountPath: /scratch}]}]
  containers:
  - name: main
    image: naru.local/probe:1
    env:
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: words, key: greeting}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: BOTH, value: '$(POD_NAME)-$(GREETING)'}
    volumeMounts:
    - {name: words, mountPath: /words}
    - {name: keys, mountPath: /keys, readOnly: true}
    - {name: scratch, mountPath: /scratch}
    - {name: data, mountPath: /data}
    - {name: about, mountPath: /about}
  volumes:
  - {name: words, configMap: {name: words}}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - {name: scratch, emptyDir: {}}
  - {name: data, persistentVolumeClaim: {claimName: data}}
  - {name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
");
    space.wait("pod/probe", "condition=Ready");
    let look = |script: &str| space.kubectl(&["exec", "probe", "--", "sh", "-c", script]).ok().stdout;
    assert_eq!(
        look("cat /words/greeting; echo; cat /keys/password; echo; stat -Lc %a /keys/password; cat /scratch/made"),
        "hello\ns3cret\n400\nfrom-init\n"
    );
    assert_eq!(look("echo $GREETING $PASSWORD $BOTH"), "hello s3cret probe-hello\n");
    assert_eq!(look("test $POD_IP = $(hostname -i) && cat /about/labels").trim(), "kept=\"label\"");
    assert_eq!(look("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace"), "volumes");
    look("echo kept > /data/kept");
    assert_eq!(space.get(&["pvc", "data"])["status"]["phase"], "Bound");
    space.kubectl(&["patch", "configmap", "words", "-p", r#"{"data":{"greeting":"goodbye"}}"#]).ok();
    until("a change reaches the running pod", || look("cat /words/greeting"), |text| text == "goodbye");
    let pod = space.get(&["pod", "probe"]);
    space.kubectl(&["delete", "pod", "probe"]).ok();
    let mut again = pod;
    for key in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
        again["metadata"].as_object_mut().expect("an object").remove(key);
    }
    again["spec"].as_object_mut().expect("an object").remove("nodeName");
    again.as_object_mut().expect("an object").remove("status");
    space.apply(&again.to_string());
    space.wait("pod/probe", "condition=Ready");
    assert_eq!(look("cat /data/kept"), "kept\n", "the claim keeps its data");
}

#[test]
fn probes_and_memory() {
    let Some(space) = Space::new("probes") else { return };
    let pod = |name: &str, more: &str| {
        format!(
            "
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: naru.local/probe:1
    {more}
"
        )
    };
    space.apply(&[
        pod("ready", "readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1, failureThreshold: 1}"),
        pod("alive", "livenessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1, failureThreshold: 1}"),
        pod("tcp", "readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}\n    startupProbe: {exec: {command: ['true']}}"),
        pod("never", "readinessProbe: {tcpSocket: {port: 9}, periodSeconds: 1}"),
        pod("fat", "resources: {limits: {memory: 32Mi}}"),
    ].concat());
    for name in ["ready", "alive", "tcp", "fat"] {
        space.wait(&format!("pod/{name}"), "condition=Ready");
    }
    space.kubectl(&["expose", "pod", "ready", "--port=8080"]).ok();
    let endpoints = || {
        space.get(&["endpointslices", "-l", "kubernetes.io/service-name=ready"])["items"]
            .to_string()
            .contains("\"ready\":true")
    };
    until("it is an endpoint", endpoints, |ready| *ready);
    space.ask("ready", "127.0.0.1:8080/health/bad").expect("told");
    space.wait("pod/ready", "condition=Ready=false");
    until("no endpoint any more", endpoints, |ready| !ready);
    assert_eq!(space.get(&["pod", "ready"])["status"]["containerStatuses"][0]["restartCount"], 0);

    space.ask("alive", "127.0.0.1:8080/health/bad").expect("told");
    until(
        "it is restarted",
        || space.get(&["pod", "alive"])["status"]["containerStatuses"][0]["restartCount"].clone(),
        |count| *count == 1,
    );
    space.kubectl(&["get", "events"]).ok().says(&["Unhealthy", "Killing"]);
    assert_eq!(space.get(&["pod", "never"])["status"]["containerStatuses"][0]["ready"], false);

    let _ = space.ask("fat", "127.0.0.1:8080/memory/200");
    let last = until(
        "killed for its memory",
        || space.get(&["pod", "fat"])["status"]["containerStatuses"][0]["lastState"]["terminated"].clone(),
        |last| !last.is_null(),
    );
    assert_eq!((&last["reason"], &last["exitCode"]), (&"OOMKilled".into(), &137.into()));
}

#[test]
fn services_of_every_kind() {
    let Some(space) = Space::new("services") else { return };
    space.apply(&deployment("web", 2, ""));
    space.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}], sessionAffinity: ClientIP}
---
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 8511, targetPort: 8080}]}
",
    );
    space.apply(PROBE);
    space.wait("pod/probe", "condition=Ready");
    space.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    let resolve = |name: &str| {
        let output = space.kubectl(&["exec", "probe", "--", "/probe", "--resolve", name]);
        output.lines().into_iter().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    until("a headless name is all pods", || resolve("headless"), |found| found.len() == 2);
    until("a plain one is one address", || resolve("plain"), |found| found.len() == 1);
    let answers: BTreeSet<String> =
        (0..6).map(|_| eventually("plain", || space.ask("probe", "plain:80/host"))).collect();
    assert_eq!(answers.len(), 1, "session affinity keeps a client where it was");
    let srv = space
        .kubectl(&["exec", "probe", "--", "nslookup", "-type=srv", "_http._tcp.headless.services.svc.cluster.local"])
        .ok();
    assert!(srv.stdout.contains("8080"), "{srv}");
    eventually("a load balancer is the host's address", || space.host.get_from_outside(NODE, 8511, "/host"));
    // A pod reaches its API server (busybox gets as far as its TLS), and its token is good there.
    let call = [
        "exec",
        "probe",
        "--",
        "sh",
        "-c",
        "wget -q -O- https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version",
    ];
    space.kubectl(&call).says(&["TLS"]);
    let token =
        space.kubectl(&["exec", "probe", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"]).ok();
    let mut whoami = space.host.command("kubectl");
    whoami.args([
        "--server=https://127.0.0.1:6443",
        "--insecure-skip-tls-verify",
        "auth",
        "whoami",
        "--token",
        token.text(),
    ]);
    space.host.run(whoami, b"").ok().says(&["system:serviceaccount:services:default"]);
}

#[test]
fn network_policies_deny_what_they_do_not_allow() {
    let Some(space) = Space::new("policies") else { return };
    for name in ["server", "friend", "stranger"] {
        space.apply(&PROBE.replace("probe}", &format!("{name}}}")).replace("name: probe,", &format!("name: {name},")));
        space.wait(&format!("pod/{name}"), "condition=Ready");
    }
    let server = space.get(&["pod", "server"])["status"]["podIP"].as_str().expect("an address").to_owned();
    let url = format!("{server}:8080/host");
    for from in ["friend", "stranger"] {
        eventually("without a policy everybody comes in", || space.ask(from, &url));
    }
    space.apply(
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guard}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: 8080}]}]
",
    );
    until("a stranger is kept out", || space.ask("stranger", &url).is_err(), |out| *out);
    eventually("a friend comes in", || space.ask("friend", &url));
    space.apply(
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: silent}
spec: {podSelector: {matchLabels: {app: friend}}, policyTypes: [Egress]}
",
    );
    until("a friend gets nowhere", || space.ask("friend", &url).is_err(), |out| *out);
    space.kubectl(&["delete", "networkpolicy", "--all"]).ok();
    eventually("without policies everybody comes in", || space.ask("stranger", &url));
}

#[test]
fn service_accounts_may_what_their_roles_say() {
    let Some(space) = Space::new("accounts") else { return };
    space.kubectl(&["create", "serviceaccount", "robot"]).ok();
    space.kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]).ok();
    space.kubectl(&["create", "rolebinding", "robot-reads", "--role=reader", "--serviceaccount=accounts:robot"]).ok();
    let token = space.kubectl(&["create", "token", "robot"]).ok().text().to_owned();
    let robot = |arguments: &[&str]| {
        let mut command = space.host.command("kubectl");
        command
            .args([
                "--server=https://127.0.0.1:6443",
                "--insecure-skip-tls-verify",
                "-n",
                "accounts",
                "--token",
                &token,
            ])
            .args(arguments);
        space.host.run(command, b"")
    };
    robot(&["get", "pods"]).ok();
    robot(&["get", "secrets"]).refuses(&["forbidden", "system:serviceaccount:accounts:robot"]);
    robot(&["delete", "pod", "any"]).refuses(&["forbidden"]);
    robot(&["get", "pods", "-n", "kube-system"]).refuses(&["forbidden"]);
}
