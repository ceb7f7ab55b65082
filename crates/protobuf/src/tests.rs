use jiff::Timestamp;
use naru_api::schema::{Shape, TypeId, Types};
use naru_api::{Kind, Registry, meta};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::numbers::{Message, Slot};
use crate::wire::{put_bytes, put_number};

fn kind(group: &str, plural: &str) -> std::sync::Arc<Kind> {
    Registry::builtin().by_resource(group, "v1", plural).expect("served").clone()
}

/// A message, as a client builds it.
fn built(parts: &[(u64, Part<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, part) in parts {
        match part {
            Part::Number(n) => put_number(&mut out, *number, *n),
            Part::Text(text) => put_bytes(&mut out, *number, text.as_bytes()),
            Part::Bytes(bytes) => put_bytes(&mut out, *number, bytes),
        }
    }
    out
}

enum Part<'a> {
    Number(i64),
    Text(&'a str),
    Bytes(Vec<u8>),
}

use Part::{Bytes as B, Number as N, Text as T};

fn enveloped(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let meta = built(&[(1, T(api_version)), (2, T(kind))]);
    [&b"k8s\0"[..], &built(&[(1, B(meta)), (2, B(raw)), (3, T("")), (4, T(""))])].concat()
}

#[test]
fn pointers_keep_their_zeros_and_others_lose_them() {
    let spec = built(&[(1, N(0)), (5, N(0)), (7, N(0))]);
    let body = enveloped("apps/v1", "Deployment", built(&[(2, B(spec))]));
    let object = decode(Some(&kind("apps", "deployments")), &body).expect("an object");
    assert_eq!(object["spec"], json!({"replicas": 0}));
    // Written, a zero that stands there stays.
    let spec = json!({"replicas": 0, "paused": true});
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
    let bytes = encode(&object).expect("bytes");
    assert_eq!(decode(None, &bytes).expect("an object"), object);
}

#[test]
fn the_bytes_are_those_of_other_servers() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let expected = enveloped(
        "v1",
        "ConfigMap",
        built(&[(1, B(built(&[(1, T("a"))]))), (2, B(built(&[(1, T("k")), (2, T("v"))])))]),
    );
    assert_eq!(encode(&object).expect("bytes"), expected);
    // A volume's source is a message of its own, a probe's port either of two.
    let volume = json!({"name": "d", "emptyDir": {}});
    let probe = json!({"httpGet": {"port": "http"}, "periodSeconds": 3});
    let spec = json!({"volumes": [volume], "containers": [{"name": "c", "livenessProbe": probe}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": spec});
    let volume = built(&[(1, T("d")), (2, B(built(&[(2, T(""))])))]);
    let port = built(&[(1, N(1)), (2, N(0)), (3, T("http"))]);
    let probe = built(&[(1, B(built(&[(2, B(built(&[(2, B(port))])))]))), (4, N(3))]);
    let container = built(&[(1, T("c")), (10, B(probe))]);
    let spec = built(&[(1, B(volume)), (2, B(container))]);
    assert_eq!(encode(&pod).expect("bytes"), enveloped("v1", "Pod", built(&[(1, T("")), (2, B(spec))])));
    assert_eq!(decode(None, &encode(&pod).expect("bytes")).expect("a pod"), pod);
}

#[test]
fn lists_and_frames_are_made_of_messages() {
    let item = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let items = [message(&item("a")).expect("bytes"), message(&item("b")).expect("bytes")];
    let made =
        list("v1", "ConfigMapList", &json!({"resourceVersion": "7", "remainingItemCount": 3}), &items).expect("a list");
    let metadata = built(&[(2, T("7")), (4, N(3))]);
    let raw = built(&[(1, B(metadata)), (2, B(items[0].clone())), (2, B(items[1].clone()))]);
    assert_eq!(made, enveloped("v1", "ConfigMapList", raw));
    let document = encode(&item("a")).expect("bytes");
    let frame = watch_frame("ADDED", &document);
    let expected = built(&[(1, T("ADDED")), (2, B(built(&[(1, B(document.to_vec()))])))]);
    assert_eq!(frame[..4], u32::try_from(expected.len()).expect("short").to_be_bytes());
    assert_eq!(frame[4..], expected);
    let alone = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "a"}});
    assert_eq!(message(&alone).expect("bytes"), built(&[(1, B(built(&[(1, T("a"))])))]));
}

#[test]
fn refusals_and_options_travel_under_any_group() {
    let refusal = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": "gone",
        "reason": "Expired", "code": 410});
    assert_eq!(decode(None, &encode(&refusal).expect("bytes")).expect("a status"), refusal);
    let body = enveloped("policy/v1", "DeleteOptions", built(&[(1, N(0)), (4, T("Foreground"))]));
    let options = decode(None, &body).expect("options");
    assert_eq!((&options["gracePeriodSeconds"], &options["propagationPolicy"]), (&json!(0), &json!("Foreground")));
}

#[test]
fn schemas_of_definitions_have_values_of_several_forms() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}, "x-kubernetes-list-type": "set"},
        "b": {"type": "object", "additionalProperties": {"type": "integer", "maximum": 3, "minimum": 0.5, "default": 1}},
        "c": {"type": "object", "additionalProperties": true, "default": {"z": [null, "q"]}},
    }, "x-kubernetes-validations": [{"rule": "self.a.size() > 0", "optionalOldSelf": true}]});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"plural": "x", "kind": "X"}, "versions": [version]}});
    assert_eq!(decode(None, &encode(&crd).expect("bytes")).expect("a definition"), crd);
}

#[test]
fn every_served_kind_has_its_numbers() {
    for kind in Registry::builtin().iter().filter(|k| k.group != "naru.io") {
        let schema = kind.schema();
        assert!(Message::of(&schema.root().name).is_some(), "{} has no numbers", schema.root().name);
    }
}

#[test]
fn what_has_no_form_or_another_one_is_not_written() {
    let own = json!({"apiVersion": "naru.io/v1", "kind": "Network", "metadata": {"name": "x"}});
    assert!(encode(&own).is_err());
    assert!(!is_spoken(&Registry::builtin().by_resource("naru.io", "v1", "networks").expect("served").clone()));
    assert!(is_spoken(&kind("rbac.authorization.k8s.io", "clusterroles")) && is_spoken(&kind("", "pods")));
    for (field, value) in [("replicas", json!("many")), ("paused", json!(1)), ("selector", json!([]))] {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": {field: value}});
        let error = encode(&object).expect_err("refused").to_string();
        assert!(error.contains(&format!("DeploymentSpec.{field}")), "{error}");
    }
}

#[test]
fn what_is_broken_is_told() {
    let secrets = kind("", "secrets");
    let read = |raw: &[u8]| decode(Some(&secrets), &enveloped("v1", "Secret", raw.to_vec())).map(drop);
    assert_eq!(decode(Some(&secrets), b"{}"), Err(Malformed::Head));
    assert_eq!(read(&[0x0a, 0xff]), Err(Malformed::Short));
    assert_eq!(read(&[0x0a, 0x02, 0x0a, 0x05]), Err(Malformed::Short));
    assert_eq!(read(&built(&[(3, B(vec![0xff, 0xfe]))])), Err(Malformed::Text));
    assert_eq!(read(&built(&[(3, N(1))])), Err(Malformed::Form));
    assert_eq!(read(&built(&[(4000, N(1))])), Ok(()), "a newer client's field is passed over");
    let mut deep = Vec::new();
    for _ in 0..200 {
        deep = built(&[(28, B(deep))]);
    }
    let version = built(&[(1, T("v1")), (4, B(built(&[(1, B(deep))])))]);
    let body =
        enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition", built(&[(2, B(built(&[(7, B(version))])))]));
    assert_eq!(decode(None, &body), Err(Malformed::Depth));
}

/// Makes values of every shape, none of which is a zero.
struct Maker<'t> {
    types: &'t Types,
    state: u64,
}

impl Maker<'_> {
    fn next(&mut self, below: u64) -> u64 {
        // xorshift: the same from the same seed.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }

    fn object(&mut self, id: TypeId, depth: usize) -> Option<Map<String, Value>> {
        let of = self.types.get(id);
        let written = |field: &str| numbers_have(&of.name, field);
        let mut object = Map::new();
        for field in of.fields.iter().filter(|field| written(&field.name)) {
            if self.next(3) > 0 && depth > 0 {
                continue;
            }
            if let Some(value) = self.value(&field.shape, depth) {
                object.insert(field.name.to_string(), value);
            }
        }
        (!object.is_empty()).then_some(object)
    }

    fn value(&mut self, shape: &Shape, depth: usize) -> Option<Value> {
        let n = i64::try_from(self.next(1 << 30)).unwrap_or(1) + 1;
        let signed = if n % 5 == 0 { -n } else { n };
        let at = |nanos| Timestamp::new(n, nanos).ok();
        Some(match shape {
            Shape::Any | Shape::Open => json!({"k": [n, "x", null]}),
            Shape::String => format!("é{n}").into(),
            Shape::Bytes => "aGk=".into(),
            Shape::Int32 => signed.into(),
            Shape::Int64 => (signed * 4_000_000_000).into(),
            Shape::Number => json!(n as f64 + 0.5),
            Shape::Bool => true.into(),
            Shape::Quantity => format!("{n}Mi").into(),
            Shape::Time => meta::time(at(0)?).into(),
            Shape::MicroTime => meta::micro_time(at(123_456_000)?).into(),
            Shape::IntOrString => {
                if n % 2 == 0 {
                    n.into()
                } else {
                    "http".into()
                }
            }
            Shape::Object(_) if depth > 7 => return None,
            Shape::Object(id) if self.types.get(*id).any => match self.types.get(*id).name.rsplit('.').next() {
                Some("JSONSchemaPropsOrBool") => true.into(),
                Some("JSONSchemaPropsOrStringArray") => json!(["a", "b"]),
                Some("JSONSchemaPropsOrArray") => json!([{"type": "string"}, {"type": "object"}]),
                _ => json!([1, {"a": null}]),
            },
            Shape::Object(id) => Value::Object(self.object(*id, depth + 1)?),
            Shape::List(item) => {
                let length = self.next(2) + 1;
                let items: Vec<Value> = (0..length).filter_map(|_| self.value(item, depth + 1)).collect();
                (!items.is_empty()).then(|| items.into())?
            }
            Shape::Map(item) => json!({ format!("k{n}"): self.value(item, depth + 1)? }),
        })
    }
}

/// Whether a field of a type has a number, of its own or in a part.
fn numbers_have(name: &str, field: &str) -> bool {
    Message::of(name).is_some_and(|message| {
        message.iter().any(|(_, slot)| match slot {
            Slot::Field(known, _) => known == field,
            Slot::Inline(part) => {
                let package = name.rsplit_once('.').map_or("", |(package, _)| package);
                numbers_have(&format!("{package}.{part}"), field)
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back_equal(seed in 1..u64::MAX) {
        let types = Types::builtin();
        let mut maker = Maker { types: &types, state: seed };
        for kind in Registry::builtin().iter().filter(|kind| is_spoken(kind)) {
            let Some(object) = maker.object(kind.schema().root_id(), 0) else { continue };
            let mut object = Value::Object(object);
            object["apiVersion"] = kind.api_version().into();
            object["kind"] = kind.kind.as_ref().into();
            object["metadata"]["name"] = "x".into();
            let bytes = encode(&object).unwrap_or_else(|error| panic!("{}: {error}", kind.group_kind()));
            prop_assert_eq!(&decode(Some(kind), &bytes).expect("an object"), &object, "{}", kind.group_kind());
        }
    }

    #[test]
    fn every_type_of_object_reads_back_equal(seed in 1..u64::MAX) {
        let types = Types::builtin();
        let mut maker = Maker { types: &types, state: seed };
        let mut told = 0;
        for (id, of) in types.iter().filter(|(_, of)| of.field("metadata").is_some() && of.field("kind").is_some()) {
            // `io.k8s.api.apps.v1.Deployment`: the package says what documents are called.
            let parts: Vec<&str> = of.name.rsplit('.').collect();
            let (Some(kind), Some(version), Some(group)) = (parts.first(), parts.get(1), parts.get(2)) else { continue };
            let api_version = match *group {
                "core" => (*version).to_owned(),
                "apiextensions" | "apiregistration" => format!("{group}.k8s.io/{version}"),
                "meta" | "naru" => continue,
                group => format!("{group}/{version}"),
            };
            let Some(object) = maker.object(id, 0) else { continue };
            let mut object = Value::Object(object);
            object["apiVersion"] = api_version.as_str().into();
            object["kind"] = (*kind).into();
            object["metadata"]["name"] = "x".into();
            let bytes = encode(&object).unwrap_or_else(|error| panic!("{}: {error}", of.name));
            prop_assert_eq!(&decode(None, &bytes).expect("an object"), &object, "{}", &of.name);
            told += 1;
        }
        prop_assert!(told > 60, "only {told} types");
    }

    #[test]
    fn no_bytes_break_the_reader(raw in proptest::collection::vec(any::<u8>(), 0..200), at in 0..400usize, with in any::<u8>()) {
        let pods = kind("", "pods");
        let _ = decode(Some(&pods), &enveloped("v1", "Pod", raw));
        // A document of which one byte is another.
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}]}});
        let mut bytes = encode(&pod).expect("bytes").to_vec();
        let length = bytes.len();
        bytes[at % length] = with;
        let _ = decode(Some(&pods), &bytes);
        let _ = decode(None, &bytes[..at % length]);
    }
}
