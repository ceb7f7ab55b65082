//! MutatingAdmissionPolicies: changes that are bound to what they are about; and what expressions may ask about rights.

use serde_json::{Value, json};

use crate::support::{Caller, MAPS, World, config_map};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";
const JUDGING: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const JUDGING_BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const ROLE_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

fn policy(name: &str, resource: &str, mutations: &[Value], more: Value) -> Value {
    let rule = json!({"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]});
    let mut spec =
        json!({"matchConstraints": {"resourceRules": [rule]}, "mutations": mutations, "reinvocationPolicy": "Never"});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": spec})
}

/// Makes a policy and binds it to whatever it is about.
async fn bound(root: &Caller, name: &str, resource: &str, mutations: &[Value], more: Value) {
    let policy = policy(name, resource, mutations, more);
    let answer = root.post(POLICIES, &policy).await.expect(201);
    let mut spec = json!({"policyName": name});
    if answer["spec"]["paramKind"].is_object() {
        spec["paramRef"] = json!({"name": "params", "parameterNotFoundAction": "Allow"});
    }
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": format!("{name}-everywhere")}, "spec": spec});
    let answer = root.post(BINDINGS, &binding).await;
    answer.expect(201);
    assert!(!answer.headers.contains_key("warning"), "it has an effect: {:?}", answer.headers);
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
}

#[tokio::test]
async fn a_bound_policy_changes_what_is_made() {
    let world = World::start().await;
    let root = world.root();
    let sidecar = apply(
        "Object{spec: Object.spec{
            replicas: variables.wanted,
            template: Object.spec.template{spec: Object.spec.template.spec{
                initContainers: [Object.spec.template.spec.initContainers{name: 'mesh', image: 'mesh:1', restartPolicy: 'Always'}],
                containers: object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers{
                    name: c.name,
                    env: [Object.spec.template.spec.containers.env{name: 'MESH', value: 'on'}]
                })
            }}
        }}",
    );
    let labels = patch(
        "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'seen': string(object.spec.replicas)}},
          JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/by'), value: request.userInfo.username.size() > 0 ? 'policy' : ''}]",
    );
    let variables =
        json!({"variables": [{"name": "wanted", "expression": "object.spec.replicas < 2 ? 2 : object.spec.replicas"}]});
    bound(&root, "mesh", "deployments", &[sidecar, labels], variables).await;
    let made = root.post(DEPLOYMENTS, &deployment("web", 1)).await.expect(201);
    assert_eq!(made["spec"]["replicas"], 2);
    assert_eq!(
        made["metadata"]["labels"],
        json!({"seen": "2", "example.com/by": "policy"}),
        "changes follow one another"
    );
    let pod = &made["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["initContainers"][0]["name"], &pod["initContainers"][0]["imagePullPolicy"]),
        (&json!("mesh"), &json!("IfNotPresent"))
    );
    assert_eq!(
        (&pod["containers"][0]["image"], &pod["containers"][0]["env"][0]["name"]),
        (&json!("web:1"), &json!("MESH"))
    );
    assert_eq!(root.get(&format!("{DEPLOYMENTS}/web")).await.expect(200)["spec"], made["spec"], "it is stored so");
    let patched =
        root.patch(&format!("{DEPLOYMENTS}/web"), "merge-patch", &json!({"spec": {"replicas": 0}})).await.expect(200);
    assert_eq!(
        (&patched["spec"]["replicas"], &patched["metadata"]["generation"]),
        (&json!(2), &json!(1)),
        "nothing came of it"
    );
    // Other resources are not changed, and nothing is without the binding.
    let map = root.post(MAPS, &config_map("a", &[])).await.expect(201);
    assert_eq!(map["metadata"].get("labels"), None);
    root.delete(&format!("{BINDINGS}/mesh-everywhere")).await.expect(200);
    let made = root.post(DEPLOYMENTS, &deployment("plain", 1)).await.expect(201);
    assert_eq!((&made["spec"]["replicas"], made["metadata"].get("labels")), (&json!(1), None));
}

#[tokio::test]
async fn annotations_are_added_to_deployments() {
    let world = World::start().await;
    let root = world.root();
    let add = apply(
        "\n Object{\n metadata: Object.metadata{\n annotations: {\n \"mutated-by\": \"admission-policy\"\n }\n }\n }",
    );
    let selector = json!({"matchLabels": {"mutated": "true"}});
    let rule =
        json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
    let constraints = json!({"matchConstraints": {"namespaceSelector": selector, "resourceRules": [rule]}});
    bound(&root, "annotate", "deployments", &[add], constraints).await;
    let made = root.post(DEPLOYMENTS, &deployment("before", 1)).await.expect(201);
    assert_eq!(made["metadata"].get("annotations"), None, "its namespace is not selected");
    let label = json!({"metadata": {"labels": {"mutated": "true"}}});
    root.patch("/api/v1/namespaces/default", "merge-patch", &label).await.expect(200);
    let mut own = deployment("after", 1);
    own["metadata"]["annotations"] = json!({"own": "yes"});
    let made = root.post(DEPLOYMENTS, &own).await.expect(201);
    assert_eq!(made["metadata"]["annotations"], json!({"own": "yes", "mutated-by": "admission-policy"}));
    let dry = root.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("dry", 1)).await.expect(201);
    assert_eq!(dry["metadata"]["annotations"], json!({"mutated-by": "admission-policy"}));
}

#[tokio::test]
async fn policies_see_what_others_did_and_once_more_if_they_want() {
    let world = World::start().await;
    let root = world.root();
    let looks = |label: &str| {
        patch(&format!(
            "has(object.data) && 'late' in object.data && !('{label}' in object.data) \
             ? [JSONPatch{{op: 'add', path: '/data/{label}', value: 'saw it'}}] : []"
        ))
    };
    bound(&root, "a-once", "configmaps", &[looks("once")], json!({})).await;
    bound(&root, "b-again", "configmaps", &[looks("again")], json!({"reinvocationPolicy": "IfNeeded"})).await;
    let adds = apply("Object{data: Object.data{late: params.data.word}}");
    let conditions = json!([{"name": "not-exempt", "expression": "object.metadata.name != params.data.exempt"}]);
    let params = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConditions": conditions});
    bound(&root, "c-adds", "configmaps", &[adds], params).await;
    bound(&root, "d-after", "configmaps", &[looks("after")], json!({})).await;
    let nothing = root.post(MAPS, &config_map("params", &[("word", "hello"), ("exempt", "me")])).await.expect(201);
    assert_eq!(nothing["data"].get("late"), None, "there were no parameters");
    let made = root.post(MAPS, &config_map("seen", &[("own", "1")])).await.expect(201);
    assert_eq!(made["data"], json!({"own": "1", "late": "hello", "again": "saw it", "after": "saw it"}));
    let exempt = root.post(MAPS, &config_map("me", &[("own", "1")])).await.expect(201);
    assert_eq!(exempt["data"], json!({"own": "1"}));
}

#[tokio::test]
async fn changes_that_cannot_be_made_refuse_unless_the_policy_says_otherwise() {
    let world = World::start().await;
    let root = world.root();
    let whole = apply(
        "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{nodeSelector: {'a': 'b'}}}}}",
    );
    bound(&root, "whole", "deployments", &[whole], json!({})).await;
    let answer = root.post(DEPLOYMENTS, &deployment("web", 1)).await;
    let why = "policy 'whole' with binding 'whole-everywhere' denied request: error applying patch: invalid \
               ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.nodeSelector";
    assert_eq!(answer.refused(403), why);
    assert_eq!(
        (&answer.json()["reason"], &answer.json()["details"]["causes"][0]["message"]),
        (&json!("Invalid"), &json!(why))
    );
    for (mutation, says) in [
        (
            apply("Object{spec: Object.metadata{}}"),
            "type mismatch: unexpected type name \"Object.metadata\", expected \"Object.spec\"",
        ),
        (apply("Object{spec: Object.spec{replica: 1}}"), ".spec.replica: field not declared in schema"),
        (apply("Object{spec: Object.spec{replicas: object.spec.none}}"), "resulted in error: no such key: none"),
        (patch("[JSONPatch{op: 'remove', path: '/spec/none'}]"), "JSONPath: "),
    ] {
        let spec = json!({"spec": {"mutations": [mutation]}});
        root.patch(&format!("{POLICIES}/whole"), "merge-patch", &spec).await.expect(200);
        let found = root.post(DEPLOYMENTS, &deployment("web", 1)).await.refused(403);
        assert!(found.contains(says), "{found}");
    }
    let ignore = json!({"spec": {"failurePolicy": "Ignore"}});
    root.patch(&format!("{POLICIES}/whole"), "merge-patch", &ignore).await.expect(200);
    root.post(DEPLOYMENTS, &deployment("web", 1)).await.expect(201);
    // What a patch makes of an object has to be one, whatever the policy says; a test that does not hold is no failure.
    let unknown = json!({"spec": {"mutations": [patch("[JSONPatch{op: 'add', path: '/spec/none', value: 1}]")]}});
    root.patch(&format!("{POLICIES}/whole"), "merge-patch", &unknown).await.expect(200);
    assert!(root.post(DEPLOYMENTS, &deployment("other", 1)).await.refused(500).contains("spec.none"));
    let steps = "[JSONPatch{op: 'test', path: '/spec/replicas', value: 7}, JSONPatch{op: 'remove', path: '/spec'}]";
    root.patch(&format!("{POLICIES}/whole"), "merge-patch", &json!({"spec": {"mutations": [patch(steps)]}}))
        .await
        .expect(200);
    root.post(DEPLOYMENTS, &deployment("other", 1)).await.expect(201);
    let renames = json!({"spec": {"mutations": [apply("Object{metadata: Object.metadata{name: 'mine'}}")]}});
    root.patch(&format!("{POLICIES}/whole"), "merge-patch", &renames).await.expect(200);
    assert!(root.post(DEPLOYMENTS, &deployment("third", 1)).await.refused(422).contains("metadata.name"));
}

#[tokio::test]
async fn policies_whose_expressions_mean_nothing_are_refused() {
    let world = World::start().await;
    let root = world.root();
    let wrong = policy("wrong", "deployments", &[apply("'text'"), patch("[JSONPatch{op: 1}]")], json!({}));
    let answer = root.post(POLICIES, &wrong).await;
    answer.refused(422);
    let causes = answer.json()["details"]["causes"].clone();
    assert_eq!(causes[0]["field"], "spec.mutations[0].applyConfiguration.expression");
    assert_eq!(causes[0]["message"], "Invalid value: \"'text'\": must evaluate to Object but got string");
    assert_eq!(causes[1]["field"], "spec.mutations[1].jsonPatch.expression");
    assert!(
        causes[1]["message"].as_str().is_some_and(|text| text.contains("expected type of field 'op' is 'string'")),
        "{causes}"
    );
}

#[tokio::test]
async fn subresources_are_changed_too() {
    let world = World::start().await;
    let root = world.root();
    let cap = apply("Object{spec: Object.spec{replicas: 3}}");
    let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments/scale"]});
    let more = json!({"matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "many", "expression": "object.kind == 'Scale' && object.spec.replicas > 3"}]});
    bound(&root, "cap", "deployments", &[cap], more).await;
    root.post(DEPLOYMENTS, &deployment("web", 5)).await.expect(201);
    let scale = format!("{DEPLOYMENTS}/web/scale");
    let scaled = root.patch(&scale, "merge-patch", &json!({"spec": {"replicas": 9}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 3);
    assert_eq!(root.get(&format!("{DEPLOYMENTS}/web")).await.expect(200)["spec"]["replicas"], 3);
}

#[tokio::test]
async fn parameters_of_kinds_that_users_define_have_the_version_that_is_named() {
    let world = World::start().await;
    let root = world.root();
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "word": {"type": "string"}}}}}});
    let version =
        |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
    let spec = json!({"group": "example.com", "scope": "Namespaced", "versions": [version("v1", true), version("v2", false)],
        "names": {"plural": "words", "singular": "word", "kind": "Word", "listKind": "WordList"}});
    let definition = json!({"metadata": {"name": "words.example.com"}, "spec": spec});
    root.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await.expect(201);
    let word = json!({"metadata": {"name": "params"}, "spec": {"word": "hello"}});
    root.post("/apis/example.com/v1/namespaces/default/words", &word).await.expect(201);
    let says = apply("Object{data: Object.data{said: params.spec.word + ' ' + params.apiVersion}}");
    let kind = json!({"paramKind": {"apiVersion": "example.com/v2", "kind": "Word"}});
    bound(&root, "says", "configmaps", &[says], kind).await;
    let made = root.post(MAPS, &config_map("a", &[])).await.expect(201);
    assert_eq!(made["data"], json!({"said": "hello example.com/v2"}));
}

fn judging(name: &str, spec: Value) -> Value {
    let rule = json!({"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let mut whole = json!({"matchConstraints": {"resourceRules": [rule]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": whole})
}

/// Grants a user rights in the default namespace.
async fn grant(root: &Caller, user: &str, verbs: &[&str]) {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": user},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]});
    root.post(ROLES, &role).await.expect(201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"},
            {"kind": "ServiceAccount", "name": user, "namespace": "default"}]});
    root.post(ROLE_BINDINGS, &binding).await.expect(201);
}

#[tokio::test]
async fn expressions_ask_who_may_do_what() {
    let world = World::start().await;
    let root = world.root();
    grant(&root, "kim", &["create", "approve"]).await;
    grant(&root, "lee", &["create"]).await;
    let rules = json!({"variables": [{"name": "may", "expression": "authorizer.requestResource.check('approve').allowed()"}],
    "validations": [
        {"expression": "variables.may", "message": "nobody approved", "reason": "Forbidden"},
        {"expression": "authorizer.serviceAccount('default', 'lee').group('').resource('configmaps').namespace('default').check('create').allowed()"},
        {"expression": "!authorizer.serviceAccount('default', 'lee').group('').resource('secrets').namespace('default').check('create').allowed()"},
        {"expression": "authorizer.path('/healthz').check('get').errored() == false"},
    ]});
    root.post(JUDGING, &judging("approved", rules)).await.expect(201);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "approved"}, "spec": {"policyName": "approved", "validationActions": ["Deny"]}});
    root.post(JUDGING_BINDINGS, &binding).await.expect(201);
    root.post(MAPS, &config_map("root", &[])).await.expect(201);
    let (kim, lee) = (world.user("kim", &[]), world.user("lee", &[]));
    kim.post(MAPS, &config_map("kim", &[])).await.expect(201);
    assert!(lee.post(MAPS, &config_map("lee", &[])).await.refused(403).ends_with("nobody approved"));
}

#[tokio::test]
async fn the_status_of_a_policy_says_what_its_kinds_do_not_have() {
    let world = World::start().await;
    let root = world.root();
    let good = json!({"validations": [{"expression": "object.data.all(key, key.size() < 9)"}]});
    let made = root.post(JUDGING, &judging("checked", good)).await.expect(201);
    assert_eq!(made["status"], json!({"observedGeneration": 1, "typeChecking": {}}));
    let wrong = json!({"spec": {"validations": [{"expression": "object.dat.size() < 3", "messageExpression": "string(object.spec)"}]}});
    let path = format!("{JUDGING}/checked");
    let changed = root.patch(&path, "merge-patch", &wrong).await.expect(200);
    assert_eq!(changed["status"]["observedGeneration"], 2);
    let warnings = &changed["status"]["typeChecking"]["expressionWarnings"];
    assert_eq!(warnings[0]["fieldRef"], "spec.validations[0].expression");
    assert_eq!(
        warnings[0]["warning"],
        "/v1, Kind=ConfigMap: ERROR: <input>:1:7: undefined field 'dat'\n | object.dat.size() < 3\n | ......^\n"
    );
    assert_eq!(warnings[1]["fieldRef"], "spec.validations[0].messageExpression");
    // What is said of it otherwise stays.
    let labelled = root.patch(&path, "merge-patch", &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    assert_eq!(labelled["status"], changed["status"]);
}

#[tokio::test]
async fn policies_see_the_version_that_they_name() {
    let world = World::start().await;
    let root = world.root();
    let rule = json!({"apiGroups": ["autoscaling"], "apiVersions": ["v2"], "operations": ["CREATE"], "resources": ["horizontalpodautoscalers"]});
    let constraints = json!({"resourceRules": [rule]});
    let mut changes = policy(
        "few",
        "horizontalpodautoscalers",
        &[apply("Object{spec: Object.spec{maxReplicas: object.spec.metrics.size() + 2}}")],
        json!({"matchConstraints": constraints}),
    );
    changes["spec"]["matchConditions"] =
        json!([{"name": "other", "expression": "request.kind.version == 'v2' && request.requestKind.version == 'v1'"}]);
    root.post(POLICIES, &changes).await.expect(201);
    let binding = |kind: &str, more: Value| {
        let mut binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": "few"}, "spec": {"policyName": "few"}});
        for (field, value) in more.as_object().into_iter().flatten() {
            binding["spec"][field] = value.clone();
        }
        binding
    };
    root.post(BINDINGS, &binding("MutatingAdmissionPolicyBinding", json!({}))).await.expect(201);
    let rules = json!({"matchConstraints": constraints,
        "validations": [{"expression": "object.spec.metrics[0].resource.target.averageUtilization < 60", "message": "too much"}]});
    root.post(JUDGING, &judging("few", rules)).await.expect(201);
    let judges = binding("ValidatingAdmissionPolicyBinding", json!({"validationActions": ["Deny"]}));
    root.post(JUDGING_BINDINGS, &judges).await.expect(201);
    let older = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let scaler = |percentage: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
            "maxReplicas": 9, "targetCPUUtilizationPercentage": percentage,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}})
    };
    assert!(root.post(older, &scaler(70)).await.refused(422).ends_with("too much"));
    let made = root.post(older, &scaler(50)).await.expect(201);
    assert_eq!((&made["apiVersion"], &made["spec"]["maxReplicas"]), (&json!("autoscaling/v1"), &json!(3)));
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 50);
}
