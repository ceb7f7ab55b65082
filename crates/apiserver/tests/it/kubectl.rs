//! The real kubectl.

mod certificates;
mod conformance;
mod further;
mod verbs;

use std::process::Stdio;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::custom;
use crate::support::{World, within};

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'web:1', ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {key: value}
";

struct Kubectl {
    world: World,
}

impl Kubectl {
    /// `None`, said loudly, where there is no kubectl.
    async fn find() -> Option<Kubectl> {
        let found = Command::new("kubectl").args(["version", "--client"]).output().await;
        if !found.is_ok_and(|o| o.status.success()) {
            eprintln!("SKIPPED: kubectl is not installed");
            return None;
        }
        let world = World::start().await;
        let admin = world.authority.client_certificate("admin", &["system:masters"]).expect("a certificate");
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\nclusters: [{{name: t, cluster: {{server: 'https://{}', \
             certificate-authority-data: {}}}}}]\ncontexts: [{{name: t, context: {{cluster: t, user: t}}}}]\nusers: \
             [{{name: t, user: {{client-certificate-data: {}, client-key-data: {}}}}}]\n",
            world.address,
            BASE64.encode(world.authority.certificate()),
            BASE64.encode(admin.certificate),
            BASE64.encode(admin.key),
        );
        std::fs::write(world.dir.path().join("kubeconfig"), config).expect("a file");
        std::fs::write(world.dir.path().join("web.yaml"), MANIFEST).expect("a file");
        Some(Kubectl { world })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("kubectl");
        let dir = self.world.dir.path();
        command.args(line.split(' ')).current_dir(dir).env("KUBECONFIG", dir.join("kubeconfig")).env("HOME", dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Standard output and error, and whether it succeeded.
    async fn run(&self, line: &str) -> (String, bool) {
        let output = within(self.command(line).output()).await.expect("kubectl runs");
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status.success())
    }

    #[track_caller]
    fn check(&self, line: &str, (text, ok): (String, bool), expected: &[&str]) {
        assert!(ok, "kubectl {line}: {text}");
        for part in expected {
            assert!(text.contains(part), "kubectl {line}: expected {part:?} in\n{text}");
        }
    }

    async fn ok(&self, line: &str, expected: &[&str]) {
        let result = self.run(line).await;
        self.check(line, result, expected);
    }

    async fn fails(&self, line: &str, expected: &str) {
        let (text, ok) = self.run(line).await;
        assert!(!ok && text.contains(expected), "kubectl {line}: expected a failure with {expected:?}, got\n{text}");
    }

    fn start(&self, line: &str) -> Child {
        self.command(line).spawn().expect("kubectl starts")
    }
}

#[tokio::test]
async fn applies_shows_changes_and_deletes() {
    let Some(k) = Kubectl::find().await else { return };
    k.ok("version", &["v1.36.0+naru"]).await;
    k.ok("apply -f web.yaml", &["deployment.apps/web created", "service/web created", "configmap/conf created"]).await;
    k.ok("apply -f web.yaml", &["deployment.apps/web unchanged", "service/web unchanged", "configmap/conf unchanged"])
        .await;
    k.ok("get deploy,svc,cm -o wide", &["deployment.apps/web", "web:1", "service/web", "configmap/conf"]).await;
    k.ok("describe deploy web", &["Replicas:", "2 desired", "web:1"]).await;
    k.ok("describe svc web", &["10.43."]).await;
    k.ok("patch cm conf -p {\"data\":{\"key\":\"other\"}}", &["configmap/conf patched"]).await;
    k.ok("get cm conf -o jsonpath={.data.key}", &["other"]).await;
    k.ok("apply -f web.yaml", &["configmap/conf configured"]).await;
    k.ok("diff -f web.yaml", &[]).await;
    k.ok("scale deploy web --replicas=5", &["scaled"]).await;
    k.ok("set image deploy/web web=web:2", &["image updated"]).await;
    k.ok("get deploy web -o jsonpath={.spec.replicas}/{.spec.template.spec.containers[0].image}", &["5/web:2"]).await;
    k.ok("label deploy web tier=front", &["labeled"]).await;
    k.ok("get deploy -l tier=front -o name", &["deployment.apps/web"]).await;
    k.ok("replace -f web.yaml", &["deployment.apps/web replaced"]).await;
    k.ok("delete -f web.yaml", &["deployment.apps \"web\" deleted"]).await;
    k.fails("get deploy web", "NotFound").await;
}

#[tokio::test]
async fn typed_commands_work_whatever_encoding_they_send() {
    let Some(k) = Kubectl::find().await else { return };
    k.ok("create namespace shop", &["namespace/shop created"]).await;
    k.ok("create deployment web --image=web:1 --replicas=2 --port=80 -n shop", &["created"]).await;
    k.ok("get deploy web -n shop -o jsonpath={.spec.replicas}/{.spec.template.spec.containers[0].ports[0].containerPort}", &["2/80"]).await;
    k.ok("expose deploy web --port=80 -n shop", &["exposed"]).await;
    k.ok("create secret generic s --from-literal=p=hunter2 -n shop", &["created"]).await;
    k.ok("get secret s -n shop -o jsonpath={.data.p}", &["aHVudGVyMg=="]).await;
    k.ok("create configmap c --from-literal=a=b -n shop", &["created"]).await;
    k.ok("create job j --image=web:1 -n shop", &["created"]).await;
    k.ok("create cronjob c --image=web:1 --schedule=@hourly", &[]).await;
    k.ok("create serviceaccount robot -n shop", &["created"]).await;
    k.ok("create role reader --verb=get --resource=pods -n shop", &["created"]).await;
    k.ok("create rolebinding reader --role=reader --serviceaccount=shop:robot -n shop", &["created"]).await;
    k.ok("auth can-i get pods -n shop --as=system:serviceaccount:shop:robot", &["yes"]).await;
    k.fails("auth can-i delete pods -n shop --as=system:serviceaccount:shop:robot", "no").await;
    k.ok("auth can-i --list", &["*.*"]).await;
    k.ok("auth whoami", &["admin", "system:masters"]).await;
    k.ok("create token robot -n shop", &["ey"]).await;
    k.ok("run p --image=web:1 -n shop", &["pod/p created"]).await;
    k.ok("describe pod p -n shop", &["Pending", "kube-api-access-"]).await;
    k.ok("delete pod p -n shop", &["deleted"]).await;
    k.fails("create deployment web --image=web:1 -n nowhere", "namespaces \"nowhere\" not found").await;
}

#[tokio::test]
async fn applies_on_the_servers_side() {
    let Some(k) = Kubectl::find().await else { return };
    let file = |text: String| std::fs::write(k.world.dir.path().join("web.yaml"), text).expect("a file");
    k.ok("apply --server-side -f web.yaml", &["deployment.apps/web serverside-applied"]).await;
    k.ok("get deploy web -o yaml --show-managed-fields", &["manager: kubectl", "operation: Apply", "f:replicas"]).await;
    let (shown, _) = k.run("get deploy web -o yaml").await;
    assert!(!shown.contains("managedFields"), "{shown}");
    k.ok("scale deploy web --replicas=5", &["scaled"]).await;
    k.fails("apply --server-side -f web.yaml", "Apply failed with 1 conflict: conflict with \"kubectl\"").await;
    k.ok("apply --server-side --force-conflicts -f web.yaml", &["serverside-applied"]).await;
    k.ok("get deploy web -o jsonpath={.spec.replicas}", &["2"]).await;
    k.ok("apply --server-side --dry-run=server -f web.yaml", &["serverside-applied (server dry run)"]).await;
    k.ok("diff --server-side -f web.yaml", &[]).await;
    file(MANIFEST.replace("data: {key: value}", "data: {other: value}"));
    k.ok("apply --server-side -f web.yaml", &["configmap/conf serverside-applied"]).await;
    k.ok("get cm conf -o jsonpath={.data}", &["{\"other\":\"value\"}"]).await;
}

#[tokio::test]
async fn a_client_side_applier_moves_to_the_servers_side_and_back() {
    let Some(k) = Kubectl::find().await else { return };
    let file = |text: String| std::fs::write(k.world.dir.path().join("web.yaml"), text).expect("a file");
    k.ok("apply -f web.yaml", &["configmap/conf created"]).await;
    // Another value than the one the same client applied before is no conflict.
    file(MANIFEST.replace("replicas: 2", "replicas: 3"));
    k.ok("apply --server-side -f web.yaml", &["configmap/conf serverside-applied"]).await;
    k.ok("get deploy web -o jsonpath={.spec.replicas}", &["3"]).await;
    file(MANIFEST.replace("data: {key: value}", "data: {other: value}"));
    k.ok("apply --server-side -f web.yaml", &["configmap/conf serverside-applied"]).await;
    k.ok("get cm conf -o jsonpath={.data}", &["{\"other\":\"value\"}"]).await;
    file(MANIFEST.replace("data: {key: value}", "data: {third: value}"));
    k.ok("apply -f web.yaml", &["configmap/conf configured"]).await;
    k.ok("get cm conf -o jsonpath={.data}", &["{\"third\":\"value\"}"]).await;
}

#[tokio::test]
async fn describes_kinds_and_their_fields() {
    let Some(k) = Kubectl::find().await else { return };
    k.ok("api-resources", &["deployments", "networks", "naru.io/v1"]).await;
    k.ok("api-versions", &["apps/v1", "rbac.authorization.k8s.io/v1"]).await;
    k.ok("explain deployment.spec.replicas", &["replicas", "integer"]).await;
    k.ok("explain pods --recursive", &["containers", "image"]).await;
    k.ok("get all -A", &["service/kubernetes"]).await;
    k.ok("create deployment web --image=web:1", &["created"]).await;
    k.ok("autoscale deploy web --max=3", &["autoscaled", "set the number of replicas"]).await;
    k.ok("create ingress i --rule=a.b/*=web:80", &["Warning: this Ingress is kept, but no ingress controller"]).await;
    k.ok("cluster-info", &["is running at"]).await;
    std::fs::write(k.world.dir.path().join("wrong.yaml"), MANIFEST.replace("replicas", "replicaz")).expect("a file");
    k.fails("apply -f wrong.yaml", "replicaz").await;
    k.fails("create --validate=strict -f wrong.yaml", "replicaz").await;
    k.ok("delete -f wrong.yaml", &["deployment.apps \"web\" deleted"]).await;
    k.ok("create --validate=warn --dry-run=server -f wrong.yaml", &["unknown field \"spec.replicaz\""]).await;
    // Version 2 of the description is asked for in protobuf, and only where version 3 leads nowhere.
    k.ok("explain deployment.spec.template.spec.containers --output=plaintext-openapiv2", &["image", "<string>"]).await;
    let unknown = "apiVersion: example.org/v1\nkind: Gadget\nmetadata: {name: g}\n";
    std::fs::write(k.world.dir.path().join("unknown.yaml"), unknown).expect("a file");
    for verb in ["apply", "create", "apply --server-side"] {
        let expected = "no matches for kind \"Gadget\" in version \"example.org/v1\"";
        k.fails(&format!("{verb} -f unknown.yaml"), expected).await;
    }
}

#[tokio::test]
async fn watches_waits_and_edits() {
    let Some(k) = Kubectl::find().await else { return };
    let mut watch = k.start("get cm -w -o name");
    let mut lines = BufReader::new(watch.stdout.take().expect("output")).lines();
    let first = within(lines.next_line()).await.expect("a line").expect("a line");
    assert_eq!(first, "configmap/kube-root-ca.crt");
    k.ok("create configmap fresh --from-literal=a=b", &["created"]).await;
    let second = within(lines.next_line()).await.expect("a line").expect("a line");
    assert_eq!(second, "configmap/fresh");
    let wait = k.start("wait --for=jsonpath={.data.a}=c cm/fresh --timeout=20s");
    let script = k.world.dir.path().join("edit.sh");
    std::fs::write(&script, "#!/bin/sh\nsed -i 's/a: b/a: c/' \"$1\"\n").expect("a file");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
    let output = within(k.command("edit cm fresh").env("EDITOR", &script).output()).await.expect("kubectl runs");
    assert!(String::from_utf8_lossy(&output.stdout).contains("configmap/fresh edited"), "{output:?}");
    let waited = within(wait.wait_with_output()).await.expect("kubectl runs");
    assert!(waited.status.success(), "{waited:?}");
    k.ok("delete cm fresh --wait", &["deleted"]).await;
}

#[tokio::test]
async fn defines_kinds_and_uses_them() {
    let Some(k) = Kubectl::find().await else { return };
    let file = |name: &str, object: &serde_json::Value| {
        std::fs::write(k.world.dir.path().join(name), object.to_string()).expect("a file");
    };
    file("crd.yaml", &custom::definition());
    file("widget.yaml", &custom::widget("a", "red"));
    k.fails("apply -f widget.yaml", "no matches for kind \"Widget\" in version \"example.com/v1\"").await;
    k.ok("apply -f crd.yaml", &["customresourcedefinition.apiextensions.k8s.io/widgets.example.com created"]).await;
    k.ok("apply -f widget.yaml", &["widget.example.com/a created"]).await;
    k.ok("apply -f widget.yaml", &["widget.example.com/a unchanged"]).await;
    k.ok("wait --for=condition=Established crd/widgets.example.com --timeout=20s", &["condition met"]).await;
    k.ok("get wd", &["NAME", "COLOR", "red"]).await;
    k.ok("get toys -o name", &["widget.example.com/a"]).await;
    k.ok("explain widgets.spec.color", &["FIELD: color", "<string>"]).await;
    k.ok("api-resources --api-group=example.com", &["widgets", "wd", "Widget"]).await;
    k.ok("scale widget a --replicas=3", &["scaled"]).await;
    k.ok("get wd a -o jsonpath={.spec.copies}", &["3"]).await;
    k.ok("patch wd a --type=merge -p {\"spec\":{\"color\":\"blue\"}}", &["patched"]).await;
    k.ok("get wd --field-selector=spec.color=blue -o name", &["widget.example.com/a"]).await;
    let mut wrong = custom::widget("b", "red");
    wrong["spec"]["colour"] = "red".into();
    file("wrong.yaml", &wrong);
    k.fails("apply -f wrong.yaml", "unknown field \"spec.colour\"").await;
    k.ok("delete crd widgets.example.com", &["deleted"]).await;
    k.fails("get wd", "the server").await;
}

#[tokio::test]
async fn shows_what_nothing_acts_on_yet() {
    let Some(k) = Kubectl::find().await else { return };
    k.ok("create deployment web --image=web:1", &["created"]).await;
    k.ok("autoscale deploy web --max=3 --cpu-percent=70", &["autoscaled"]).await;
    k.ok("get hpa", &["REFERENCE", "Deployment/web", "cpu: <unknown>/70%", "MINPODS"]).await;
    k.ok("get horizontalpodautoscalers.v1.autoscaling web -o yaml", &["targetCPUUtilizationPercentage: 70"]).await;
    k.ok("describe hpa web", &["resource cpu on pods", "70%"]).await;
    k.ok("get cs", &["NAME", "STATUS", "etcd-0", "Healthy", "scheduler"]).await;
    k.ok("api-resources --categories=api-extensions -o name", &["customresourcedefinitions", "apiservices"]).await;
    k.ok("api-resources --api-group=resource.k8s.io", &["deviceclasses", "resourceclaims", "true"]).await;
    k.ok("explain resourceclaims.spec.devices.requests", &["firstAvailable", "exactly"]).await;
    k.ok("explain hpa.spec.behavior", &["scaleDown", "VERSION:    v2"]).await;
    k.ok("create priorityclass pc --value=5", &["created"]).await;
    k.ok("get runtimeclasses,csidrivers,csinodes", &["No resources found"]).await;
    k.ok("get flowschemas", &["PRIORITYLEVEL", "catch-all", "10000"]).await;
    k.ok("get servicecidrs", &["kubernetes", "10.43.0.0/16"]).await;
    k.ok("get ipaddresses", &["10.43.0.1", "services/default/kubernetes"]).await;
}
