use naru_api::Registry;
use serde_json::json;

use super::*;

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Builds messages as a client does.
#[derive(Default)]
struct Builder(Vec<u8>);

impl Builder {
    fn varint(mut self, mut n: u64) -> Self {
        while n >= 0x80 {
            self.0.push(u8::try_from(n & 0x7f).expect("seven bits") | 0x80);
            n >>= 7;
        }
        self.0.push(u8::try_from(n).expect("seven bits"));
        self
    }

    fn number(self, field: u64, n: i64) -> Self {
        self.varint(field << 3).varint(n.cast_unsigned())
    }

    fn bytes(self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut built = self.varint(field << 3 | 2).varint(bytes.len() as u64);
        built.0.extend_from_slice(bytes);
        built
    }
}

fn message() -> Builder {
    Builder::default()
}

fn enveloped(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let meta = message().bytes(1, api_version).bytes(2, kind).0;
    [MAGIC, &message().bytes(1, meta).bytes(2, raw).bytes(3, "").bytes(4, "").0].concat()
}

fn kind(group: &str, plural: &str) -> std::sync::Arc<Kind> {
    Registry::builtin().by_resource(group, "v1", plural).expect("served").clone()
}

#[test]
fn what_kubectl_sends_for_auth_can_i_is_read() {
    let attributes = message().bytes(1, "default").bytes(2, "create").bytes(3, "").bytes(5, "pods").bytes(7, "").0;
    let metadata = message().bytes(1, "").bytes(8, "").0;
    let review =
        message().bytes(1, metadata).bytes(2, message().bytes(1, attributes).0).bytes(3, message().number(1, 0).0).0;
    let body = enveloped("authorization.k8s.io/v1", "SelfSubjectAccessReview", review);
    let object = decode(Some(&kind("authorization.k8s.io", "selfsubjectaccessreviews")), &body).expect("an object");
    assert_eq!(
        object["spec"],
        json!({"resourceAttributes": {"namespace": "default", "verb": "create", "resource": "pods"}})
    );
    assert_eq!(object["kind"], "SelfSubjectAccessReview");
}

#[test]
fn pointers_keep_their_zeros_and_others_lose_them() {
    let spec = message().number(1, 0).number(5, 0).number(7, 0).0;
    let body = enveloped("apps/v1", "Deployment", message().bytes(2, spec).0);
    let object = decode(Some(&kind("apps", "deployments")), &body).expect("an object");
    assert_eq!(object["spec"], json!({"replicas": 0}));
}

#[test]
fn every_form_of_value_is_read() {
    let source = message().bytes(2, "").0; // emptyDir, set and empty
    let volume = message().bytes(1, "data").bytes(2, source).0;
    let limit = message().bytes(1, "memory").bytes(2, message().bytes(1, "64Mi").0).0;
    let port = message().number(1, 1).number(2, 0).bytes(3, "http").0;
    let get = message().bytes(1, "/").bytes(2, port).0;
    let probe = message().bytes(1, message().bytes(2, get).0).number(2, 0).number(3, 5).0;
    let selector = message().bytes(1, message().bytes(1, "conf").0).bytes(2, "key").0;
    let variable = message().bytes(1, "A").bytes(2, "").bytes(3, message().bytes(3, selector).0).0;
    let container = message()
        .bytes(1, "web")
        .bytes(3, "sh")
        .bytes(3, "-c")
        .bytes(7, variable)
        .bytes(8, message().bytes(1, limit).0)
        .bytes(10, probe)
        .0;
    let spec = message().bytes(1, volume).bytes(2, container).number(4, -1).0;
    let time = message().number(1, 0).0;
    let metadata = message().bytes(1, "p").bytes(11, message().bytes(1, "app").bytes(2, "web").0).bytes(8, time).0;
    let body = enveloped("v1", "Pod", message().bytes(1, metadata).bytes(2, spec).0);
    let object = decode(Some(&kind("", "pods")), &body).expect("an object");
    assert_eq!(
        object["metadata"],
        json!({"name": "p", "labels": {"app": "web"}, "creationTimestamp": "1970-01-01T00:00:00Z"})
    );
    assert_eq!(object["spec"]["volumes"], json!([{"name": "data", "emptyDir": {}}]));
    assert_eq!(object["spec"]["terminationGracePeriodSeconds"], -1);
    assert_eq!(
        object["spec"]["containers"],
        json!([{"name": "web", "command": ["sh", "-c"],
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "key"}}}],
        "resources": {"limits": {"memory": "64Mi"}},
        "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "timeoutSeconds": 5}}])
    );
}

#[test]
fn secrets_are_base64_and_extras_are_lists() {
    let data = message().bytes(1, "p").bytes(2, b"hunter2").0;
    let body = enveloped("v1", "Secret", message().bytes(2, data).0);
    assert_eq!(decode(Some(&kind("", "secrets")), &body).expect("an object")["data"], json!({"p": "aHVudGVyMg=="}));
    let extra = message().bytes(1, "k").bytes(2, message().bytes(1, "a").bytes(1, "b").0).0;
    let body =
        enveloped("authorization.k8s.io/v1", "SubjectAccessReview", message().bytes(2, message().bytes(5, extra).0).0);
    let object = decode(Some(&kind("authorization.k8s.io", "subjectaccessreviews")), &body).expect("an object");
    assert_eq!(object["spec"]["extra"], json!({"k": ["a", "b"]}));
}

#[test]
fn documents_that_are_no_kinds_are_read_too() {
    let options = message().number(1, 0).0;
    let body = enveloped("policy/v1", "Eviction", message().bytes(1, message().bytes(1, "p").0).bytes(2, options).0);
    assert_eq!(decode(None, &body).expect("a document")["deleteOptions"], json!({"gracePeriodSeconds": 0}));
    let body = enveloped("v1", "DeleteOptions", message().number(1, 0).bytes(4, "Foreground").0);
    let object = decode(None, &body).expect("a document");
    assert_eq!((&object["gracePeriodSeconds"], &object["propagationPolicy"]), (&json!(0), &json!("Foreground")));
}

#[test]
fn every_cut_and_every_flipped_byte_is_survived() {
    let metadata = message().bytes(1, "p").bytes(11, message().bytes(1, "app").bytes(2, "web").0).0;
    let body = enveloped(
        "v1",
        "Pod",
        message().bytes(1, metadata).bytes(2, message().bytes(2, message().bytes(1, "c").0).0).0,
    );
    let pods = kind("", "pods");
    for end in 0..body.len() {
        let _ = decode(Some(&pods), &body[..end]);
    }
    for at in 0..body.len() {
        for bit in 0..8 {
            let mut altered = body.clone();
            altered[at] ^= 1 << bit;
            let _ = decode(Some(&pods), &altered);
        }
    }
    decode(Some(&pods), b"{}").expect_err("JSON");
    decode(Some(&pods), &[MAGIC, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat())
        .expect_err("a length beyond all");
}
