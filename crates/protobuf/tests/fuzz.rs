//! Documents that nobody wrote: they are refused, or read, and what was read is written as it was read.

#[path = "../../api/tests/fuzz/mutate.rs"]
mod mutate;

use naru_api::Registry;
use naru_protobuf::{decode, encode};
use serde_json::{Value, json};

fn objects() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "n", "labels": {"a": "b"}, "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 3}}], "terminationGracePeriodSeconds": 0}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "n"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}, "template": {"metadata": {}, "spec": {"containers": []}}}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "n"}, "data": {"k": "AAEC/w=="}, "type": "Opaque", "immutable": false}),
        json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404, "details": {"name": "n", "causes": [{"field": "f"}]}}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "n"}, "spec": {"maxReplicas": -1,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Value", "value": "1500m"}}}]}}),
    ]
}

#[test]
fn documents() {
    let samples = objects().iter().map(|object| encode(object).expect("it is written").to_vec()).collect();
    let words = &[
        "k8s\u{0}",
        "\n",
        "\u{8}",
        "\u{10}",
        "\u{12}",
        "\u{1a}",
        "\u{7f}",
        "v1",
        "Pod",
        "\u{80}\u{80}\u{80}",
        "\u{0}",
        "{}",
    ];
    let pod = Registry::builtin().find("pods").cloned();
    mutate::bytes("documents", samples, words, move |body| {
        for kind in [None, pod.as_deref()] {
            let object = match decode(kind, body) {
                Ok(object) => object,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    continue;
                }
            };
            assert!(object.to_string().len() <= 1024 * body.len() + 4096, "{} bytes became too many", body.len());
            if let Ok(written) = encode(&object) {
                let again = decode(None, &written).expect("it reads back");
                let rewritten = encode(&again).expect("it is written again");
                // What has nothing in it is written where it stands, and not read.
                assert_eq!(decode(None, &rewritten), Ok(again), "{object}");
            }
        }
    });
}

/// Messages in messages, as deep as a body can make them: every group's number and every length fits all that follows.
#[test]
fn deep_documents() {
    let nested = |deep: usize| {
        // `JSONSchemaProps.not`, field 20, lies in itself without end.
        let mut inner = Vec::new();
        for _ in 0..deep {
            inner = field(20, &inner);
        }
        let schema = field(1, &inner);
        let version = field(7, &[field(1, b"v1"), field(4, &schema)].concat());
        let spec = field(2, &version);
        let kind = [field(1, b"apiextensions.k8s.io/v1"), field(2, b"CustomResourceDefinition")].concat();
        [b"k8s\0".to_vec(), field(1, &kind), field(2, &spec)].concat()
    };
    let samples = [1, 30, 55, 60, 64, 65, 200, 2000].map(nested).into();
    mutate::bytes("deep_documents", samples, &["\u{0}", "\u{7f}"], |body| {
        if let Err(error) = decode(None, body) {
            assert!(!error.to_string().is_empty());
        }
    });
}

/// A field with a length.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for mut value in [u64::from(number << 3 | 2), content.len() as u64] {
        while value > 0x7f {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    out.extend_from_slice(content);
    out
}

#[test]
fn objects_that_fit_no_type() {
    mutate::values("objects_that_fit_no_type", objects(), |[object, _]| match encode(object) {
        Ok(written) => {
            let again = decode(None, &written).expect("it reads back");
            let rewritten = encode(&again).expect("it is written again");
            assert_eq!(decode(None, &rewritten), Ok(again), "{object}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}
