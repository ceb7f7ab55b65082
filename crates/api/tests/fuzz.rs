//! Input that nobody meant: whatever reads what clients send says so in words, and neither panics, nor overflows the stack
//! of the threads that answer, nor grows a small body into a large object. What it takes it takes again as it was.

#[path = "fuzz/mutate.rs"]
mod mutate;

use std::sync::Arc;

use naru_api::apply::{Writer, apply};
use naru_api::{
    FieldSelector, FieldValidation, Format, Kind, LabelSelector, Quantity, Ranges, Registry, Status, admit, decode,
    meta, patch, validate,
};
use serde_json::{Value, json};

/// What punctuation, names and numbers objects are made of.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "1e-7",
    "0x10",
    "99999999999999999999",
    "9223372036854775807",
    "-0.0",
    "\"\"",
    "metadata",
    "spec",
    "status",
    "name",
    "labels",
    "containers",
    "ports",
    "managedFields",
    "f:",
    "apiVersion",
    "kind",
    "Pod",
    "v1",
    "\u{0}",
    "\u{feff}",
    "\u{10ffff}",
];
/// What YAML has besides.
const YAML_WORDS: &[&str] = &[
    "- ",
    ": ",
    "\n",
    "\n  ",
    "\n- ",
    "---\n",
    "...\n",
    "&a ",
    "*a",
    "<<: *a",
    "? ",
    "| ",
    ">-\n",
    "!!int ",
    "!!binary ",
    "0644",
    "yes",
    "~",
    "'",
    "\"",
    "#",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\t",
    "%YAML 1.1\n",
    "!",
    "@",
    "`",
    "metadata",
    "spec",
    "12:30:45",
    "2026-01-02",
    "1_000",
    ".inf",
    "\u{0}",
    "\r\n",
];

fn kind(name: &str) -> Arc<Kind> {
    Registry::builtin().find(name).cloned().unwrap_or_else(|| panic!("a kind {name}"))
}

/// Objects with a bit of everything that objects are made of.
fn objects() -> Vec<Value> {
    let pod = json!({"containers": [{"name": "c", "image": "i:1", "command": ["sh", "-c", "true"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": 1}},
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5}}],
        "volumes": [{"name": "v", "configMap": {"name": "m", "defaultMode": 420, "items": [{"key": "k", "path": "p"}]}}],
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}}});
    let meta = json!({"name": "n", "namespace": "default", "labels": {"app": "a"}, "annotations": {"x.y/z": "1"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "u"}], "finalizers": ["a.b/c"],
        "creationTimestamp": "2026-01-02T03:04:05Z"});
    vec![
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 3,
            "selector": {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": pod}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": {"app": "a"}, "type": "NodePort",
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
            "clusterIP": "10.96.0.7", "externalIPs": ["1.2.3.4"], "sessionAffinity": "ClientIP"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"k": "v\n"}, "binaryData": {"b": "aGk="}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": {"podSelector": {},
            "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80, "endPort": 90}]}]}}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": {"schedule": "*/5 * * * *", "timeZone": "Etc/UTC",
            "jobTemplate": {"spec": {"backoffLimit": 2, "template": {"spec": pod}}}}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
            "rules": [{"apiGroups": ["*"], "resources": ["pods", "pods/log"], "verbs": ["get"]}, {"nonResourceURLs": ["/healthz"], "verbs": ["get"]}]}),
    ]
}

fn kind_of(object: &Value) -> Option<Arc<Kind>> {
    Registry::builtin().by_api_version(meta::api_version(object), meta::kind(object)).cloned()
}

/// The kinds of the samples.
fn kinds() -> Vec<Arc<Kind>> {
    objects().iter().map(|object| kind_of(object).expect("a kind")).collect()
}

/// A refusal has words.
fn told(status: &Status) {
    assert!(!status.message.is_empty(), "a refusal says nothing: {status:?}");
}

/// What holds of an object that was read.
fn read(kind: &Kind, decoded: &decode::Decoded, body: usize) {
    let text = decoded.object.to_string();
    assert!(text.len() <= 64 * body + 4096, "{body} bytes became {}", text.len());
    assert!(decoded.warnings.iter().all(|warning| !warning.is_empty()));
    let again = decode(kind, text.as_bytes(), Format::Json, FieldValidation::Strict).expect("it reads back");
    assert_eq!(again.object, decoded.object);
    // Whatever was read is judged, however odd it is.
    let mut object = decoded.object.clone();
    admit::default(kind, &mut object);
    for error in validate::create(kind, &object) {
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn json_bodies() {
    let kinds = kinds();
    let samples = objects().iter().map(|object| object.to_string().into_bytes()).collect();
    mutate::bytes("json_bodies", samples, WORDS, move |body| {
        for kind in &kinds[..2] {
            match decode(kind, body, Format::Json, FieldValidation::Warn) {
                Ok(decoded) => read(kind, &decoded, body.len()),
                Err(status) => told(&status),
            }
        }
        match decode::untyped(body, Format::Json) {
            // Numbers with many digits may come back as their neighbour.
            Ok(value) => assert!(serde_json::from_str::<Value>(&value.to_string()).is_ok()),
            Err(status) => told(&status),
        }
    });
}

#[test]
fn yaml_bodies() {
    let kinds = kinds();
    let written = "apiVersion: v1\nkind: Pod\nmetadata: {name: n, labels: &l {a: b}}\nspec:\n  containers:\n  - name: c\n    \
                   image: \"i\"\n    args: [a, 'b', |-\n      c\n    ]\n  nodeSelector: *l\n  securityContext: {fsGroup: 0644}\n";
    let merged =
        "base: &b {a: 1, c: [1, 2]}\nother:\n  <<: *b\n  d: ~\n  e: >-\n    folded\n    text\n? key\n: value\n";
    let laughs =
        "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b]\n";
    let mut samples: Vec<Vec<u8>> = [written, merged, laughs].map(|text| text.as_bytes().to_vec()).into();
    samples.extend(objects().iter().take(3).map(|object| object.to_string().into_bytes()));
    mutate::bytes("yaml_bodies", samples, YAML_WORDS, move |body| {
        match decode(&kinds[0], body, Format::Yaml, FieldValidation::Warn) {
            // Aliases let an object grow, up to a bound.
            Ok(decoded) => read(&kinds[0], &decoded, body.len().max(1 << 20)),
            Err(status) => told(&status),
        }
        if let Err(status) = decode::applied(&kinds[0], body, FieldValidation::Strict) {
            told(&status);
        }
        match decode::untyped(body, Format::Yaml) {
            Ok(value) => assert!(serde_json::to_vec(&value).is_ok_and(|text| text.len() < 256 << 20)),
            Err(status) => told(&status),
        }
    });
}

/// Documents that lie in one another as deep as they may, and deeper.
#[test]
fn deep_bodies() {
    let kinds = kinds();
    let samples: Vec<Vec<u8>> = [20, 60, 100, 126, 127, 128, 129, 500, 20_000]
        .into_iter()
        .flat_map(|deep| {
            let lists = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
            let maps = format!("{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep));
            let block: String = (0..deep.min(300)).map(|indent| format!("{}a:\n", " ".repeat(indent))).collect();
            let known =
                format!("{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{{\"volumes\":{lists},\"x\":{maps}}}}}");
            [lists, maps, block, "- ".repeat(deep), known].map(String::into_bytes)
        })
        .collect();
    mutate::bytes("deep_bodies", samples, &["[", "{\"a\":", "- "], move |body| {
        for format in [Format::Json, Format::Yaml] {
            if let Err(status) = decode(&kinds[0], body, format, FieldValidation::Warn) {
                told(&status);
            }
            match decode::untyped(body, format) {
                Ok(value) => assert!(serde_json::from_str::<Value>(&value.to_string()).is_ok()),
                Err(status) => told(&status),
            }
        }
    });
}

#[test]
fn json_patches() {
    let samples = [
        json!([{"op": "test", "path": "/metadata/name", "value": "n"}, {"op": "replace", "path": "/spec/replicas", "value": 2}]),
        json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "d"}}, {"op": "remove", "path": "/metadata/labels/app"}]),
        json!([{"op": "copy", "from": "/spec", "path": "/spec/x"}, {"op": "move", "from": "/metadata/annotations", "path": "/a~1b~0c"}]),
        json!([{"op": "add", "path": "", "value": {}}, {"op": "add", "path": "/spec/containers/0", "value": null}]),
    ];
    let samples = samples.iter().map(|patch| patch.to_string().into_bytes()).collect();
    let words = &[
        "op",
        "copy",
        "move",
        "add",
        "remove",
        "replace",
        "test",
        "path",
        "from",
        "value",
        "/",
        "~0",
        "~1",
        "~",
        "-",
        "-1",
        "/spec",
        "/metadata",
        "/spec/containers/0",
        "18446744073709551616",
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        "null",
    ];
    let objects = objects();
    mutate::bytes("json_patches", samples, words, move |body| {
        for object in &objects[..3] {
            let mut changed = object.clone();
            match patch::json(&mut changed, body) {
                Ok(()) => assert!(changed.to_string().len() < 16 << 20, "a patch made a large object"),
                Err(status) => {
                    told(&status);
                    assert_eq!(&changed, object, "what is refused changes nothing");
                }
            }
            let Ok(Value::Array(operations)) = serde_json::from_slice(body) else { continue };
            let mut changed = object.clone();
            if !matches!(patch::operations(&mut changed, &operations), Ok(true)) {
                assert_eq!(&changed, object, "what is refused changes nothing");
            }
        }
    });
}

#[test]
fn merge_patches() {
    mutate::values("merge_patches", objects(), |[object, change]| {
        let mut once = object.clone();
        match patch::merge(&mut once, change) {
            Ok(()) => {
                let mut twice = once.clone();
                patch::merge(&mut twice, change).expect("it was taken before");
                assert_eq!(once, twice, "merged again it changes");
            }
            Err(status) => told(&status),
        }
        // What tells two objects apart makes one of the other, where there is no null.
        let (from, to) = (without_nulls(object), without_nulls(change));
        if let (Some(step), true) = (patch::merge_diff(&from, &to), to.is_object() && from.is_object()) {
            let mut made = from;
            patch::merge(&mut made, &step).expect("a merge patch");
            assert_eq!(made, to);
        }
    });
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn strategic_patches() {
    let mut samples = objects();
    samples.push(json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "$patch": "delete"}, {"name": "d", "$patch": "replace"}],
        "$setElementOrder/containers": [{"name": "d"}, {"name": "c"}], "$retainKeys": ["containers"], "volumes": [{"$patch": "replace"}]},
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"], "$patch": "merge"}}));
    mutate::values("strategic_patches", samples, |[object, change]| {
        let Some(kind) = kind_of(object) else { return };
        // The server patches what it took.
        let Ok(object) = decode::value(&kind, object.clone(), FieldValidation::Ignore) else { return };
        let mut changed = object.object;
        match patch::strategic(&kind, &mut changed, change) {
            Ok(()) => match decode::value(&kind, changed, FieldValidation::Ignore) {
                Ok(decoded) => read(&kind, &decoded, 1 << 20),
                Err(status) => told(&status),
            },
            Err(status) => told(&status),
        }
    });
}

#[test]
fn applied_configurations() {
    let writer = |manager| Writer { manager, subresource: "", now: "2026-01-01T00:00:00Z".parse().expect("a time") };
    let mut samples = objects();
    for object in objects() {
        let kind = kind_of(&object).expect("a kind");
        samples.extend(apply(&kind, None, &object, writer("one"), false, &|_, _| None));
    }
    let fields = json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}, "f:x": {"v:1": {}, "i:0": {}}}});
    samples.push(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "n", "managedFields": [
        {"manager": "m", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}]}}));
    mutate::values("applied_configurations", samples, move |[live, config]| {
        let Some(kind) = kind_of(live) else { return };
        let Ok(live) = decode::value(&kind, live.clone(), FieldValidation::Ignore) else { return };
        let mut config = config.clone();
        if let Some(map) = config.as_object_mut() {
            map.insert("apiVersion".to_owned(), kind.api_version().into());
            map.insert("kind".to_owned(), kind.kind.as_ref().into());
        }
        meta::unset(&mut config, "managedFields");
        let config = match decode::applied(&kind, config.to_string().as_bytes(), FieldValidation::Warn) {
            Ok(config) => config.object,
            Err(status) => return told(&status),
        };
        if let Err(status) = apply(&kind, Some(&live.object), &config, writer("two"), false, &|_, _| None) {
            told(&status);
        }
        let once = match apply(&kind, Some(&live.object), &config, writer("two"), true, &|_, _| None) {
            Ok(once) => once,
            Err(status) => return told(&status),
        };
        // Whoever says nothing owns nothing, and leaves no trace of having applied.
        if meta::at(&once, "metadata.managedFields").is_null() {
            return;
        }
        let twice = apply(&kind, Some(&once), &config, writer("two"), true, &|_, _| None).expect("it was taken before");
        assert_eq!(once, twice, "applied again it changes");
    });
}

#[test]
fn selectors() {
    let samples = [
        "a=b",
        "a==b,c!=d",
        "e in (f,g),h notin (i)",
        "j,!k,l>3,m<-4",
        "x.y/z=,metadata.name=n",
        "a=\\,\\=\\\\,b!=c",
        " a , b ",
    ];
    let words = &[
        "=",
        "!=",
        "==",
        "!",
        ",",
        " in ",
        " notin ",
        "(",
        ")",
        ">",
        "<",
        "\\",
        "a",
        "/",
        ".",
        "metadata.name",
        "é",
        "\u{0}",
    ];
    let pod = kind("pods");
    let object = objects().remove(0);
    mutate::text("selectors", &samples, words, move |text| {
        match LabelSelector::parse(text) {
            Ok(selector) => {
                let printed = selector.to_string();
                let again = LabelSelector::parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
                assert_eq!(again, selector, "{printed}");
                selector.matches(&meta::labels(&object).cloned().unwrap_or_default());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        match FieldSelector::parse(text) {
            Ok(selector) => {
                assert!(selector.check(&pod).is_ok() || !selector.is_everything());
                selector.matches(&object);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

#[test]
fn quantities_and_ranges() {
    let samples = [
        "100m",
        "1.5Gi",
        "-0.000001k",
        "12E3",
        "9223372036854775807",
        "1e-9",
        "+5Ti",
        "0.5n",
        "10.0.0.0/16,fd00::/112",
    ];
    let words = &[
        "m",
        "n",
        "u",
        "k",
        "M",
        "Ki",
        "Mi",
        "Ei",
        "E",
        "e",
        "-",
        "+",
        ".",
        "0",
        "9",
        "999999999999",
        "/",
        ":",
        ",",
        "é",
    ];
    mutate::text("quantities_and_ranges", &samples, words, |text| {
        match Quantity::parse(text) {
            Ok(quantity) => {
                let printed = quantity.to_string();
                let again = Quantity::parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
                assert_eq!(again.to_string(), printed);
                assert_eq!((again.value(), again.milli()), (quantity.value(), quantity.milli()), "{printed}");
                let none = quantity.minus(quantity);
                assert!(none.is_zero() && quantity.plus(none).value() == quantity.value(), "{printed}");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        if let Err(error) = text.parse::<Ranges>() {
            assert!(!error.to_string().is_empty());
        }
        if let Some(version) = naru_api::Version::parse(text) {
            assert!(version.works_with(&version));
        }
    });
}
