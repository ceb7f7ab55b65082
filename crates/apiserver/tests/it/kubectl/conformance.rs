//! What `[Conformance]` asks of kubectl against a server without nodes; with nodes: `crates/naru/tests/kubectl/conformance.rs`.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use super::Kubectl;
use crate::custom;
use crate::support::within;

const CONTROLLER: &str = "
apiVersion: v1
kind: ReplicationController
metadata: {name: agnhost-primary, labels: {app: agnhost, role: primary}}
spec:
  replicas: 1
  selector: {app: agnhost, role: primary}
  template:
    metadata: {labels: {app: agnhost, role: primary}}
    spec:
      containers:
      - {name: agnhost-primary, image: 'agnhost:2', ports: [{name: agnhost-server, containerPort: 6379}]}
---
apiVersion: v1
kind: Service
metadata: {name: agnhost-primary, labels: {app: agnhost, role: primary}}
spec: {selector: {app: agnhost, role: primary}, ports: [{port: 6379, targetPort: agnhost-server}]}
";

impl Kubectl {
    fn file(&self, name: &str, text: impl AsRef<str>) -> PathBuf {
        let path = self.world.dir.path().join(name);
        std::fs::write(&path, text.as_ref()).expect("a file");
        path
    }

    /// What a command prints that succeeds.
    async fn text(&self, line: &str) -> String {
        let (text, ok) = self.run(line).await;
        assert!(ok, "kubectl {line}: {text}");
        text
    }

    async fn json(&self, line: &str) -> Value {
        let text = self.text(&format!("{line} -o json")).await;
        // Beside it stand warnings.
        let object = text.find('{').zip(text.rfind('}')).map_or("", |(from, to)| &text[from..=to]);
        serde_json::from_str(object).unwrap_or_else(|error| panic!("kubectl {line}: {error}: {text}"))
    }
}

#[tokio::test]
async fn the_server_tells_its_versions_and_where_it_is() {
    let Some(k) = Kubectl::find().await else { return };
    let versions = k.text("api-versions").await;
    assert!(versions.lines().any(|line| line == "v1"), "{versions}");
    k.ok("cluster-info", &["Kubernetes control plane", "is running at"]).await;
    let version = k.json("version").await;
    for side in ["clientVersion", "serverVersion"] {
        for field in ["gitVersion", "buildDate", "compiler", "platform"] {
            let told = version[side][field].as_str();
            assert!(told.is_some_and(|text| !text.is_empty()), "{side}.{field}: {version}");
        }
    }
    let number = |field: &str| version["serverVersion"][field].as_str().is_some_and(|n| n.parse::<u32>().is_ok());
    assert!(number("major") && number("minor"), "{version}");
}

#[tokio::test]
async fn a_difference_is_shown() {
    let Some(k) = Kubectl::find().await else { return };
    let deployment = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: httpd-deployment}}\nspec:\n  selector: {{matchLabels: \
             {{app: httpd}}}}\n  template:\n    metadata: {{labels: {{app: httpd}}}}\n    spec: {{containers: [{{name: httpd, \
             image: '{image}'}}]}}\n"
        )
    };
    k.file("d.yaml", deployment("agnhost:2"));
    k.ok("create -f d.yaml", &["created"]).await;
    k.file("d.yaml", deployment("busybox:1"));
    let (shown, same) = k.run("diff -f d.yaml").await;
    assert!(!same, "{shown}");
    let has = |sign: char, image: &str| shown.lines().any(|line| line.starts_with(sign) && line.contains(image));
    assert!(has('-', "agnhost:2") && has('+', "busybox:1"), "{shown}");
    k.ok("get deploy httpd-deployment -o jsonpath={..image}", &["agnhost:2"]).await;
}

#[tokio::test]
async fn controllers_and_services_are_exposed_and_described() {
    let Some(k) = Kubectl::find().await else { return };
    k.file("rc.yaml", CONTROLLER);
    k.ok("create -f rc.yaml", &["replicationcontroller/agnhost-primary created", "service/agnhost-primary created"])
        .await;
    k.ok("expose rc agnhost-primary --name=rm2 --port=1234 --target-port=6379", &["service/rm2 exposed"]).await;
    k.ok("expose service rm2 --name=rm3 --port=2345 --target-port=6379", &["service/rm3 exposed"]).await;
    for (name, port) in [("rm2", 1234), ("rm3", 2345)] {
        let spec = &k.json(&format!("get service {name}")).await["spec"];
        assert_eq!((&spec["ports"][0]["port"], &spec["ports"][0]["targetPort"]), (&json!(port), &json!(6379)));
        assert_eq!(spec["selector"], json!({"app": "agnhost", "role": "primary"}));
    }
    let expected = [
        "Name:",
        "agnhost-primary",
        "Namespace:",
        "default",
        "Selector:",
        "app=agnhost,role=primary",
        "Labels:",
        "Annotations:",
        "Replicas:",
        "0 current / 1 desired",
        "Pods Status:",
        "0 Running",
        "Pod Template:",
        "Image:",
        "agnhost:2",
    ];
    k.ok("describe rc agnhost-primary", &expected).await;
    let expected = [
        "Name:",
        "agnhost-primary",
        "Labels:",
        "app=agnhost",
        "Annotations:",
        "Selector:",
        "Type:",
        "ClusterIP",
        "IP:",
        "10.43.",
        "Port:",
        "6379/TCP",
        "Endpoints:",
        "Session Affinity:",
    ];
    k.ok("describe service agnhost-primary", &expected).await;
    k.ok(
        "describe namespace default",
        &["Name:", "default", "Labels:", "Annotations:", "Status:", "Active", "No resource quota"],
    )
    .await;
    k.ok("scale rc agnhost-primary --replicas=3 --current-replicas=1", &["scaled"]).await;
    k.ok("get rc agnhost-primary -o jsonpath={.spec.replicas}", &["3"]).await;
    k.fails("scale rc agnhost-primary --replicas=3 --current-replicas=1", "Expected replicas to be 1, was 3").await;
}

#[tokio::test]
async fn labels_and_annotations_come_and_go() {
    let Some(k) = Kubectl::find().await else { return };
    k.ok("run pause --image=pause:3", &["created"]).await;
    k.ok("label pods pause testing-label=testing-label-value", &["labeled"]).await;
    k.ok("get pod pause -L testing-label", &["TESTING-LABEL", "testing-label-value"]).await;
    k.ok("get pod -l testing-label=testing-label-value -o name", &["pod/pause"]).await;
    k.fails("label pods pause testing-label=other", "--overwrite is false").await;
    k.ok("label pods pause testing-label=other --overwrite", &["labeled"]).await;
    k.ok("label pods pause testing-label-", &["unlabeled"]).await;
    let shown = k.text("get pod pause -L testing-label").await;
    assert!(!shown.contains("other"), "{shown}");
    k.ok("get pod -l testing-label", &["No resources found"]).await;
    k.ok("annotate pods pause note=here", &["annotated"]).await;
    k.ok("annotate pods --all note=there --overwrite", &["annotated"]).await;
    k.ok("get pod pause -o jsonpath={.metadata.annotations.note}", &["there"]).await;
    k.ok("annotate pods pause note-", &["annotated"]).await;
}

#[tokio::test]
async fn a_pod_is_run_replaced_and_left_alone_by_a_dry_run() {
    let Some(k) = Kubectl::find().await else { return };
    k.ok("run e2e-test-httpd-pod --restart=Never --image=httpd:2 --labels=run=e2e", &["created"]).await;
    let mut pod = k.json("get pod e2e-test-httpd-pod").await;
    assert_eq!(pod["spec"]["containers"][0]["image"], "httpd:2");
    assert_eq!(
        (&pod["spec"]["restartPolicy"], pod["spec"]["containers"].as_array().map(Vec::len)),
        (&json!("Never"), Some(1))
    );
    let patch = r#"{"spec":{"containers":[{"name":"e2e-test-httpd-pod","image":"busybox:1"}]}}"#;
    k.ok(&format!("patch pod e2e-test-httpd-pod -p {patch} --dry-run=server"), &["patched"]).await;
    k.ok("get pod e2e-test-httpd-pod -o jsonpath={..image}", &["httpd:2"]).await;
    pod["spec"]["containers"][0]["image"] = "busybox:1".into();
    k.file("pod.json", pod.to_string());
    k.ok("replace -f pod.json", &["pod/e2e-test-httpd-pod replaced"]).await;
    k.ok("get pod e2e-test-httpd-pod -o jsonpath={..image}", &["busybox:1"]).await;
    pod["spec"]["containers"][0]["command"] = json!(["sleep", "1"]);
    for field in ["resourceVersion", "uid"] {
        pod["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    k.file("pod.json", pod.to_string());
    k.fails("replace -f pod.json", "pod updates may not change fields other than").await;
    k.ok("replace --force --grace-period=0 -f pod.json", &["replaced"]).await;
    k.ok("get pod e2e-test-httpd-pod -o jsonpath={..command[0]}", &["sleep"]).await;
}

/// The answer to a request for the versions of the core group.
async fn versions(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> Value {
    stream.write_all(b"GET /api/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let body = &text[text.find('{').unwrap_or_else(|| panic!("{text}"))..=text.rfind('}').expect("an end")];
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_proxy_leads_to_the_server_from_any_port_or_socket() {
    let Some(k) = Kubectl::find().await else { return };
    let mut proxy = k.start("proxy --port=0 --disable-filter");
    let mut lines = BufReader::new(proxy.stdout.take().expect("output")).lines();
    let line = within(lines.next_line()).await.expect("a line").expect("a line");
    let address = line.strip_prefix("Starting to serve on ").unwrap_or_else(|| panic!("{line}")).to_owned();
    let stream = within(TcpStream::connect(&address)).await.expect("it listens");
    assert_eq!(versions(stream).await["versions"], json!(["v1"]));
    let socket = k.world.dir.path().join("proxy.sock");
    let mut proxy = k.start(&format!("proxy --unix-socket={}", socket.display()));
    let mut lines = BufReader::new(proxy.stdout.take().expect("output")).lines();
    within(lines.next_line()).await.expect("a line").expect("a line");
    let stream = within(UnixStream::connect(&socket)).await.expect("it listens");
    assert_eq!(versions(stream).await["versions"], json!(["v1"]));
}

/// A definition of widgets with another schema, and a short name of its own.
fn definition(kind: &str, schema: &Value) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let mut definition = custom::definition();
    definition["metadata"]["name"] = format!("{plural}.example.com").into();
    definition["spec"]["names"] = json!({"plural": plural, "kind": kind});
    let version = &mut definition["spec"]["versions"][0];
    version["schema"]["openAPIV3Schema"] = schema.clone();
    for field in ["subresources", "additionalPrinterColumns", "selectableFields"] {
        version.as_object_mut().expect("a version").remove(field);
    }
    definition
}

fn foo() -> Value {
    json!({"type": "object", "description": "Foo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {"bars": {
            "type": "array", "description": "List of Bars and their specs.", "items": {"type": "object", "required": ["name"],
                "properties": {"name": {"type": "string", "description": "Name of Bar."}, "age": {"type": "string", "description": "Age of Bar."},
                    "bazs": {"type": "array", "description": "List of Bazs.", "items": {"type": "string"}}}}}}},
        "status": {"type": "object", "description": "Status of Foo"}}})
}

#[tokio::test]
async fn custom_resources_are_checked_and_explained_by_their_schema() {
    let Some(k) = Kubectl::find().await else { return };
    k.file("crd.json", definition("Foo", &foo()).to_string());
    k.ok("apply -f crd.json", &["created"]).await;
    let foo = |spec: &str| {
        format!(r#"{{"kind":"Foo","apiVersion":"example.com/v1","metadata":{{"name":"test-foo"}},"spec":{spec}}}"#)
    };
    k.file("ok.json", foo(r#"{"bars":[{"name":"test-bar"}]}"#));
    k.ok("create -f ok.json", &["created"]).await;
    k.ok("delete foos test-foo", &["deleted"]).await;
    k.ok("apply -f ok.json", &["created"]).await;
    k.ok("delete foos test-foo", &["deleted"]).await;
    for (name, spec, why) in [
        ("unknown", r#"{"foo":true}"#, "unknown field \"spec.foo\""),
        ("required", r#"{"bars":[{"age":"10"}]}"#, "name"),
    ] {
        k.file("bad.json", foo(spec));
        for verb in ["create", "apply"] {
            let (text, ok) = k.run(&format!("{verb} -f bad.json")).await;
            assert!(!ok && text.contains(why), "{name}: {verb}: {text}");
        }
    }
    k.ok(
        "explain foos",
        &[
            "KIND:",
            "Foo",
            "DESCRIPTION:",
            "Foo CRD for Testing",
            "apiVersion",
            "metadata",
            "spec",
            "Specification of Foo",
        ],
    )
    .await;
    k.ok("explain foos.metadata", &["FIELD: metadata", "<ObjectMeta>", "creationTimestamp"]).await;
    k.ok("explain foos.spec", &["FIELD: spec", "bars", "<[]Object>", "List of Bars and their specs."]).await;
    k.ok("explain foos.spec.bars", &["FIELD: bars", "-required-", "name", "Name of Bar.", "bazs", "<[]string>"]).await;
    k.fails("explain foos.spec.bars2", "field \"bars2\" does not exist").await;
}

#[tokio::test]
async fn what_definitions_leave_open_is_accepted_and_explained() {
    let Some(k) = Kubectl::find().await else { return };
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let root = json!({"type": "object", "description": "preserve-unknown-properties at root for Testing",
        "x-kubernetes-preserve-unknown-fields": true, "properties": {"spec": {"type": "object", "description": "Specification of Waldo",
            "properties": {"dummy": {"type": "string", "description": "Dummy property."}}}}});
    let nested = json!({"type": "object", "description": "preserve-unknown-properties in nested field for Testing",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "Specification of Garply",
            "properties": {"dummy": {"type": "string", "description": "Dummy property."}}}}});
    for (kind, schema, description) in [
        ("Empty", &open, "DESCRIPTION:"),
        ("Waldo", &root, "preserve-unknown-properties at root for Testing"),
        ("Garply", &nested, "preserve-unknown-properties in nested field for Testing"),
    ] {
        let plural = format!("{}s", kind.to_lowercase());
        k.file("crd.json", definition(kind, schema).to_string());
        k.ok("apply -f crd.json", &["created"]).await;
        let unknown = if kind == "Garply" { r#""spec":{"b":[{"c":"d"}]}"# } else { r#""a":{"b":[{"c":"d"}]}"# };
        let object =
            format!(r#"{{"kind":"{kind}","apiVersion":"example.com/v1","metadata":{{"name":"test"}},{unknown}}}"#);
        k.file("object.json", object);
        for verb in ["create", "apply"] {
            k.ok(&format!("{verb} -f object.json"), &["created"]).await;
            k.ok(&format!("get {plural} test -o jsonpath={{..b[0].c}}"), &["d"]).await;
            k.ok(&format!("delete {plural} test"), &["deleted"]).await;
        }
        k.ok(&format!("explain {plural}"), &["KIND:", kind, description]).await;
    }
    k.ok("explain garplys.spec", &["FIELD: spec", "Specification of Garply"]).await;
}
