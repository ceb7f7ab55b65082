//! The rules of devices and of the drivers that bring volumes, and of states that are written apart.

use super::extended::{changed, judged};
use super::*;

#[test]
fn devices() {
    let request = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}});
    let devices =
        json!({"requests": [request], "constraints": [{"requests": ["gpu"], "matchAttribute": "example.com/numa"}]});
    let valid = json!({"metadata": {"name": "a"}, "spec": {"devices": devices}});
    judged(
        "resourceclaims",
        &valid,
        &[
            (
                "/spec/devices/requests/0/exactly",
                json!(null),
                "exactly one of `exactly` or `firstAvailable` is required",
            ),
            (
                "/spec/devices/requests/0/exactly/deviceClassName",
                json!(null),
                "exactly.deviceClassName: Required value",
            ),
            (
                "/spec/devices/requests/0/exactly/allocationMode",
                json!("Some"),
                "supported values: \"All\", \"ExactCount\"",
            ),
            (
                "/spec/devices/requests/0/exactly/count",
                json!(-1),
                "exactly.count: Invalid value: -1: must be greater than zero",
            ),
            ("/spec/devices/requests/0/name", json!("GPU"), "requests[0].name: Invalid value: \"GPU\""),
            (
                "/spec/devices/requests",
                json!([request, request]),
                "spec.devices.requests[1].name: Duplicate value: \"gpu\"",
            ),
            ("/spec/devices/constraints/0/requests", json!(["tpu"]), "must be the name of a request in the claim"),
            ("/spec/devices/constraints/0/matchAttribute", json!("numa"), "must include a domain"),
            ("/spec/devices/config", json!([{}]), "spec.devices.config[0].opaque: Required value"),
        ],
    );
    let errors = changed("resourceclaims", &valid, "/spec/devices/requests/0/name", json!("tpu"));
    assert!(
        errors.iter().any(|e| e.starts_with("spec: Invalid value") && e.ends_with("field is immutable")),
        "{errors:?}"
    );
    let device =
        json!({"name": "d0", "attributes": {"model": {"string": "x"}}, "capacity": {"memory": {"value": "1Gi"}}});
    let valid = json!({"metadata": {"name": "a"}, "spec": {"driver": "d.example.com", "nodeName": "n", "devices": [device],
        "pool": {"name": "p", "resourceSliceCount": 1}}});
    judged(
        "resourceslices",
        &valid,
        &[
            (
                "/spec/nodeName",
                json!(null),
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`",
            ),
            ("/spec/allNodes", json!(true), "but multiple fields are set"),
            (
                "/spec/pool/resourceSliceCount",
                json!(0),
                "resourceSliceCount: Invalid value: 0: must be greater than zero",
            ),
            (
                "/spec/devices/0/attributes/model",
                json!({}),
                "attributes[model]: Required value: exactly one value must be specified",
            ),
            ("/spec/devices/0/attributes/my-model", json!({"int": 1}), "a valid C identifier must"),
        ],
    );
    assert_eq!(changed("resourceslices", &valid, "/spec/driver", json!("e.example.com")).len(), 1);
}

#[test]
fn drivers_of_volumes() {
    let valid = json!({"metadata": {"name": "a"}, "spec": {"tokenRequests": [{"audience": ""}]}});
    judged(
        "csidrivers",
        &valid,
        &[
            ("/spec/fsGroupPolicy", json!("Odd"), "spec.fsGroupPolicy: Unsupported value: \"Odd\""),
            (
                "/spec/tokenRequests",
                json!([{"audience": "a"}, {"audience": "a"}]),
                "tokenRequests[1].audience: Duplicate value: \"a\"",
            ),
            ("/spec/tokenRequests/0/expirationSeconds", json!(5), "may not specify a duration less than 10 minutes"),
            ("/spec/volumeLifecycleModes", json!(["Short"]), "volumeLifecycleModes[0]: Unsupported value: \"Short\""),
        ],
    );
    let errors = changed("csidrivers", &valid, "/spec/attachRequired", json!(false));
    assert_eq!(errors, ["spec.attachedRequired: Invalid value: false: field is immutable"]);
    let driver = json!({"name": "d.example.com", "nodeID": "n", "allocatable": {"count": 1}});
    let valid = json!({"metadata": {"name": "n"}, "spec": {"drivers": [driver]}});
    judged(
        "csinodes",
        &valid,
        &[
            ("/spec/drivers", json!([driver, driver]), "spec.drivers[1].name: Duplicate value"),
            ("/spec/drivers/0/nodeID", json!(null), "spec.drivers[0].nodeID: Required value"),
            ("/spec/drivers/0/allocatable/count", json!(-1), "allocatable.count: Invalid value: -1"),
            ("/spec/drivers/0/topologyKeys", json!(["a b"]), "spec.drivers[0]: Invalid value: \"a b\""),
        ],
    );
    fine("csinodes", json!({"metadata": {"name": "n"}}));
    assert_eq!(changed("csinodes", &valid, "/spec/drivers/0/nodeID", json!("m")).len(), 1);
    assert!(changed("csinodes", &valid, "/spec/drivers/0/allocatable/count", json!(7)).is_empty());
    let valid = json!({"metadata": {"name": "a"}, "storageClassName": "fast", "capacity": "1Gi"});
    judged(
        "csistoragecapacities",
        &valid,
        &[
            ("/storageClassName", json!(null), "storageClassName: Invalid value: \"\""),
            ("/capacity", json!("-1"), "capacity: Invalid value: \"-1\": must be greater than or equal to 0"),
            ("/nodeTopology", json!({"matchLabels": {"a": "b c"}}), "nodeTopology.matchLabels: Invalid value"),
        ],
    );
    assert_eq!(changed("csistoragecapacities", &valid, "/storageClassName", json!("slow")).len(), 1);
    let valid = json!({"metadata": {"name": "a"}, "spec": {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}});
    judged(
        "volumeattachments",
        &valid,
        &[
            ("/spec/attacher", json!(null), "spec.attacher: Required value"),
            ("/spec/nodeName", json!("N"), "spec.nodeName: Invalid value: \"N\""),
            (
                "/spec/source",
                json!({}),
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            ),
        ],
    );
    assert_eq!(changed("volumeattachments", &valid, "/spec/nodeName", json!("m")).len(), 1);
    let valid = json!({"metadata": {"name": "a"}, "driverName": "d.example.com", "parameters": {"a": "b"}});
    judged(
        "volumeattributesclasses",
        &valid,
        &[
            ("/driverName", json!("a b"), "driverName: Invalid value: \"a b\""),
            ("/parameters", json!({}), "parameters: Required value: must contain at least one key/value pair"),
            ("/driverName", json!(null), "driverName: Required value"),
        ],
    );
    let errors = changed("vac", &valid, "/parameters/a", json!("c"));
    assert_eq!(errors, ["parameters: Forbidden: updates to parameters are forbidden."]);
}

#[test]
fn states_that_are_written_apart() {
    let of = |name: &str, old: Value, new: Value| -> Vec<String> {
        let whole = |status: Value| json!({"metadata": {"name": "a", "namespace": "n"}, "status": status});
        status(&kind(name), &whole(old), &whole(new)).iter().map(ToString::to_string).collect()
    };
    let errors = of("hpa", json!({}), json!({"currentReplicas": -1}));
    assert_eq!(errors, ["status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"]);
    let errors =
        of("resourceclaims", json!({}), json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]}));
    assert_eq!(errors, ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]);
    let (one, two) = (json!({"allocation": {"devices": {}}}), json!({"allocation": {"devices": {"results": []}}}));
    assert_eq!(of("resourceclaims", one, two).len(), 1, "an allocation stays");
    let errors = of("apiservices", json!({}), json!({"conditions": [{"type": "Available", "status": "Perhaps"}]}));
    assert_eq!(errors.len(), 1);
    let errors = of("flowschemas", json!({}), json!({"conditions": [{"type": "Dangling"}, {"type": "Dangling"}]}));
    assert_eq!(errors, ["status.conditions[1].type: Duplicate value: \"Dangling\""]);
}
