use serde_json::{Value, json};

use super::*;
use crate::fixtures::{definition, told};

fn crd() -> Value {
    definition(
        &json!({"type": "object", "properties": {"color": {"type": "string"}, "size": {"type": "object"}, "replicas": {"type": "integer"}}}),
    )
}

#[test]
fn a_definition_is_read() {
    let mut crd = crd();
    let version = &mut crd["spec"]["versions"][0];
    version["subresources"] = json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}});
    version["additionalPrinterColumns"] =
        json!([{"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1}]);
    version["selectableFields"] = json!([{"jsonPath": ".spec.color"}]);
    version["deprecated"] = json!(true);
    let mut newer = version.clone();
    (newer["name"], newer["storage"], newer["served"]) = (json!("v1beta1"), json!(false), json!(false));
    crd["spec"]["versions"] = json!([newer, version]);
    assert_eq!(told(&faults(&crd, None)), "");
    let read = Definition::read(&crd);
    assert_eq!(read.versions.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["v1", "v1beta1"]);
    let v1 = read.storage().expect("one is stored");
    assert_eq!((v1.name.as_str(), v1.status, v1.deprecation.as_deref()), ("v1", true, Some("")));
    assert_eq!(
        (v1.selectable.as_slice(), v1.columns.len(), v1.columns[0].priority),
        (&[".spec.color".to_owned()][..], 1, 1)
    );
    let object = json!({"spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "a=b"}});
    let scale = v1.scale.as_ref().expect("it can be scaled");
    assert_eq!(scale.wanted.first(&object), Some(&json!(3)));
    assert_eq!(scale.selector.as_ref().and_then(|s| s.first(&object)), Some(&json!("a=b")));
    assert_eq!((read.namespaced, read.names.short_names.as_slice()), (true, &["ct".to_owned()][..]));
    let other = Definition::read(&definition(&json!({"type": "object"})));
    assert_ne!(other.versions[0].hash, v1.hash);
    assert!(read.version("v1beta1").is_some_and(|v| !v.served) && read.version("v2").is_none());
}

#[test]
fn absent_fields_are_filled_in() {
    let mut bare = crd();
    let names = bare["spec"]["names"].as_object_mut().expect("names");
    names.remove("singular");
    names.remove("listKind");
    bare["spec"]["conversion"] = json!(null);
    fill(&mut bare);
    assert_eq!(bare["spec"]["names"]["singular"], "crontab");
    assert_eq!(bare["spec"]["names"]["listKind"], "CronTabList");
    assert_eq!(bare["spec"]["conversion"], json!({"strategy": "None"}));
    let mut hook = crd();
    hook["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"name": "n", "namespace": "s"}}, "conversionReviewVersions": ["v1"]}});
    fill(&mut hook);
    assert_eq!(hook["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"], 443);
    assert_eq!(told(&faults(&hook, None)), "");
    assert!(matches!(Definition::read(&hook).conversion, Conversion::Webhook { reviews, .. } if reviews == ["v1"]));
}

#[test]
fn what_is_wrong_with_a_definition_is_told() {
    for (pointer, value, expected) in [
        (
            "/metadata/name",
            json!("x"),
            "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
        ),
        ("/spec/group", json!(""), "spec.group: Required value"),
        (
            "/spec/group",
            json!("example"),
            "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
        ),
        (
            "/spec/scope",
            json!("World"),
            "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        ("/spec/names/kind", json!(""), "spec.names.kind: Required value"),
        (
            "/spec/names/listKind",
            json!("CronTab"),
            "spec.names.listKind: Invalid value: \"CronTab\": kind and listKind may not be the same",
        ),
        (
            "/spec/versions/0/storage",
            json!(false),
            "spec.versions: Invalid value: [\"v1\"]: must have exactly one version marked as storage version",
        ),
        (
            "/spec/versions/0/schema",
            json!({}),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            "/spec/versions/0/deprecationWarning",
            json!("x"),
            "spec.versions[0].deprecationWarning: Invalid value: \"x\": can only be set for deprecated versions",
        ),
        (
            "/spec/versions/0/subresources",
            json!({"scale": {"specReplicasPath": ".status.x", "statusReplicasPath": ".status.y"}}),
            "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec",
        ),
        (
            "/spec/versions/0/additionalPrinterColumns",
            json!([{"name": "A", "type": "text", "jsonPath": ".a"}]),
            "spec.versions[0].additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
        ),
        (
            "/spec/versions/0/additionalPrinterColumns",
            json!([{"name": "A", "type": "string", "jsonPath": "a"}]),
            "spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value: \"a\": must be a simple json path starting with .",
        ),
        (
            "/spec/versions/0/selectableFields",
            json!([{"jsonPath": ".spec.size"}]),
            "spec.versions[0].selectableFields[0].jsonPath: Invalid value: \".spec.size\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
        ),
        (
            "/spec/versions/0/selectableFields",
            json!([{"jsonPath": ".spec.gone"}]),
            "spec.versions[0].selectableFields[0].jsonPath: Invalid value: \".spec.gone\": is an invalid path: does not refer to a valid field",
        ),
        (
            "/spec/versions/0/selectableFields",
            json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.color"}]),
            "spec.versions[0].selectableFields[1].jsonPath: Duplicate value: \".spec.color\"",
        ),
        (
            "/spec/conversion",
            json!({"strategy": "Webhook"}),
            "spec.conversion.webhook.clientConfig: Required value: required when strategy is set to Webhook",
        ),
        (
            "/spec/conversion",
            json!({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v2"]}}),
            "spec.conversion.webhook.conversionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
        ),
        (
            "/spec/preserveUnknownFields",
            json!(true),
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ),
    ] {
        let mut crd = crd();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        crd.pointer_mut(parent).expect("a place")[key] = value;
        let found = told(&faults(&crd, None));
        assert!(found.lines().any(|line| line == expected), "{pointer}\n{found}");
    }
    let mut twice = crd();
    let again =
        json!({"name": "v1", "served": true, "storage": false, "schema": twice["spec"]["versions"][0]["schema"]});
    twice["spec"]["versions"].as_array_mut().expect("versions").push(again);
    assert!(told(&faults(&twice, None)).contains("must contain unique version names"));
}

#[test]
fn what_was_stored_stays_readable_and_names_stay() {
    let mut old = crd();
    prepare(None, &mut old);
    assert_eq!(old["status"]["storedVersions"], json!(["v1"]));
    let mut new = old.clone();
    new["spec"]["versions"][0]["name"] = json!("v2");
    prepare(Some(&old), &mut new);
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    let found = told(&faults(&new, Some(&old)));
    assert!(
        found.starts_with("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions"),
        "{found}"
    );
    let mut moved = old.clone();
    moved["spec"]["scope"] = json!("Cluster");
    assert_eq!(told(&faults(&moved, Some(&old))), "", "nobody relies on it yet");
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    assert_eq!(told(&faults(&moved, Some(&old))), "spec.scope: Invalid value: \"Cluster\": field is immutable");
}

#[test]
fn groups_of_kubernetes_need_an_approval() {
    let mut crd = crd();
    crd["spec"]["group"] = json!("stable.k8s.io");
    crd["metadata"]["name"] = json!("crontabs.stable.k8s.io");
    assert!(told(&faults(&crd, None)).starts_with("metadata.annotations[api-approved.kubernetes.io]: Required value"));
    for (annotation, fine) in [("https://example.com/1", true), ("unapproved, it is a test", true), ("yes", false)] {
        crd["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": annotation});
        assert_eq!(faults(&crd, None).is_empty(), fine, "{annotation}");
        let last =
            status(&crd, &Taken::default(), "t")["conditions"].as_array().and_then(|c| c.last().cloned()).expect("one");
        assert_eq!(last["type"], "KubernetesAPIApprovalPolicyConformant");
        assert_eq!(last["status"], if annotation.starts_with("https") { "True" } else { "False" });
    }
    let bare = |mut crd: Value| {
        crd["metadata"]["annotations"] = json!({});
        crd["status"] = json!({"storedVersions": ["v1"]});
        crd
    };
    let old = bare(crd);
    assert_eq!(told(&faults(&old, Some(&old))), "", "what was there before may stay");
}

#[test]
fn names_are_accepted_once_they_are_free() {
    let conditions = |status: &Value| -> Vec<String> {
        let word = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_owned();
        let of = |c: &Value| {
            let [kind, holds, reason, since] =
                ["type", "status", "reason", "lastTransitionTime"].map(|key| word(c, key));
            format!("{kind}={holds} {reason} {since}")
        };
        status["conditions"].as_array().into_iter().flatten().map(of).collect()
    };
    let mut taken = Taken::default();
    taken.add(&Names {
        plural: "others".into(),
        short_names: vec!["ct".into()],
        kind: "Other".into(),
        ..Names::default()
    });
    let mut crd = crd();
    crd["metadata"]["generation"] = json!(2);
    let refused = status(&crd, &taken, "t1");
    assert_eq!(conditions(&refused), ["NamesAccepted=False ShortNamesConflict t1", "Established=False NotAccepted t1"]);
    assert_eq!(refused["conditions"][0]["message"], "\"ct\" is already in use");
    assert_eq!(refused["conditions"][0]["observedGeneration"], 2);
    assert_eq!(
        refused["acceptedNames"],
        json!({"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList"})
    );
    crd["status"] = refused;
    let accepted = status(&crd, &Taken::default(), "t2");
    assert_eq!(
        conditions(&accepted),
        ["NamesAccepted=True NoConflicts t2", "Established=True InitialNamesAccepted t2"]
    );
    assert_eq!(accepted["acceptedNames"]["shortNames"], json!(["ct"]));
    crd["status"] = accepted.clone();
    assert_eq!(status(&crd, &Taken::default(), "t3"), accepted, "nothing changes, not even a time");
    // Who is served stays so, whatever others are called later.
    let kind = Taken { kinds: vec!["CronTab".into()], ..Taken::default() };
    let later = status(&crd, &kind, "t4");
    assert_eq!(conditions(&later), ["NamesAccepted=False KindConflict t4", "Established=True InitialNamesAccepted t2"]);
    assert_eq!(later["acceptedNames"]["kind"], "CronTab");
}
