//! Patterns and expressions that would take for ever.

use serde_json::{Value, json};

use super::{clipped, refused, unharmed};
use crate::custom::{DEFINITIONS, WIDGETS, definition, widget};
use crate::support::{Answer, MAPS, World, config_map};

/// The definition of widgets with other properties of their spec.
fn with(properties: Value) -> Value {
    let mut definition = definition();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] =
        json!({"type": "object", "properties": properties});
    definition["spec"]["versions"][0].as_object_mut().expect("a version").remove("selectableFields");
    definition
}

/// Accepted and harmless, or refused: never an error of the server.
#[track_caller]
fn answered(what: &str, answer: &Answer) {
    assert!(!answer.code.is_server_error(), "{what}: {} {}", answer.code, clipped(&answer.text()));
}

#[tokio::test]
async fn patterns_take_no_longer_than_what_they_read() {
    for (n, pattern) in
        ["^(a+)+$", "(a|aa)+$", "(.*a){25}$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y"].iter().enumerate()
    {
        let world = World::start().await;
        let root = world.root();
        root.post(DEFINITIONS, &with(json!({"color": {"type": "string", "pattern": pattern}}))).await.expect(201);
        let answer = root.post(WIDGETS, &widget(&format!("w{n}"), &format!("{}!", "a".repeat(10_000)))).await;
        answered(pattern, &answer);
        unharmed(&world).await;
    }
    let world = World::start().await;
    let root = world.root();
    for pattern in ["((a{1,1000}){1,1000}){1,1000}", "(?:a{65535}){65535}", &"(".repeat(100_000), &"a?".repeat(50_000)]
    {
        let answer = root.post(DEFINITIONS, &with(json!({"color": {"type": "string", "pattern": pattern}}))).await;
        answered(&clipped(pattern), &answer);
        if answer.code == 201 {
            answered(&clipped(pattern), &root.post(WIDGETS, &widget("w", &"a".repeat(2_000))).await);
            root.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.expect(200);
            crate::custom::until(&root, DEFINITIONS, |list| list.json()["items"] == json!([])).await;
        }
    }
    unharmed(&world).await;
}

#[tokio::test]
async fn rules_of_definitions_have_a_budget() {
    let rule = |rule: &str| {
        with(json!({"color": {"type": "string"}, "list": {"type": "array", "items": {"type": "integer"},
            "x-kubernetes-validations": [{"rule": rule}]}}))
    };
    let mut object = widget("w", "red");
    object["spec"]["list"] = (0..2_000).collect::<Vec<_>>().into();
    for text in [
        "self.all(a, self.all(b, self.all(c, self.all(d, a + b + c + d >= 0))))",
        "self.map(a, self.map(b, self.map(c, a * b * c))).size() > 0",
        "self.all(a, ('x'.matches('(x+x+)+y') || true) && self.all(b, string(b).replace('1', string(self)) != ''))",
    ] {
        let world = World::start().await;
        let root = world.root();
        let defined = root.post(DEFINITIONS, &rule(text)).await;
        answered(text, &defined);
        if defined.code == 201 {
            let answer = root.post(WIDGETS, &object).await;
            refused(text, &answer);
            assert!(answer.text().contains("cost") || answer.text().contains("budget"), "{}", clipped(&answer.text()));
        }
        unharmed(&world).await;
    }
}

#[tokio::test]
async fn policies_have_a_budget() {
    let world = World::start().await;
    let root = world.root();
    let long = |depth: usize| (0..depth).fold("'x'".to_owned(), |inner, _| format!("({inner} + {inner})"));
    for (what, expression) in [
        ("doubling", format!("size({}) > 0", long(14))),
        ("deep", format!("{}true{}", "(".repeat(5_000), ")".repeat(5_000))),
        ("nots", format!("{}true", "!".repeat(50_000))),
        ("a chain", vec!["true"; 20_000].join(" && ")),
        ("lists", format!("size({}{}) == 1", "[".repeat(5_000), "]".repeat(5_000))),
        ("unfinished", "[".repeat(100_000)),
    ] {
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "bomb"}, "spec": {
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                    "resources": ["configmaps"]}]},
                "validations": [{"expression": expression}]}});
        let base = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
        let made = root.post(base, &policy).await;
        answered(what, &made);
        if made.code == 201 {
            let binding =
                json!({"metadata": {"name": "bomb"}, "spec": {"policyName": "bomb", "validationActions": ["Deny"]}});
            let bindings = format!("{}bindings", base.trim_end_matches("policies").to_owned() + "policy");
            root.post(&bindings, &binding).await.expect(201);
            answered(what, &root.post(MAPS, &config_map("a", &[])).await);
            root.delete(&format!("{bindings}/bomb")).await.expect(200);
            root.delete(&format!("{base}/bomb")).await.expect(200);
            root.delete(&format!("{MAPS}/a")).await;
        }
    }
    unharmed(&world).await;
}
