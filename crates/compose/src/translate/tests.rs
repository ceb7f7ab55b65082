//! Projects and the objects they become.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::{Translation, read_contents, translate};
use crate::load::{Files, Request, load};

struct One(String);

impl Files for One {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.file_name().and_then(|n| n.to_str()) {
            Some("compose.yaml") => Ok(self.0.clone()),
            Some("secret.txt") => Ok("hunter2".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path).map(String::into_bytes)
    }
    fn exists(&self, path: &Path) -> bool {
        self.read(path).is_ok()
    }
}

fn try_translate(text: &str) -> Result<Translation, String> {
    let files = One(text.to_owned());
    let request = Request { current_dir: "/shop".into(), ..Request::default() };
    let mut project = load(&request, &files).map_err(|e| e.to_string())?.project;
    read_contents(&mut project, &files, &BTreeMap::new()).map_err(|e| e.to_string())?;
    translate(&project).map_err(|e| e.to_string())
}

fn objects(text: &str) -> Translation {
    try_translate(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

impl Translation {
    fn one(&self, kind: &str, name: &str) -> &Value {
        let found = self.objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name} in {:#?}", self.objects))
    }

    fn pod(&self, name: &str) -> &Value {
        let kinds = ["Deployment", "DaemonSet", "Job"];
        let owner = self
            .objects
            .iter()
            .find(|o| kinds.contains(&o["kind"].as_str().unwrap_or_default()) && o["metadata"]["name"] == name);
        &owner.unwrap_or_else(|| panic!("no workload {name}"))["spec"]["template"]
    }
}

fn note(object: &Value, key: &str) -> Value {
    let text = object["metadata"]["annotations"][key].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

#[test]
fn a_project_is_a_namespace_with_networks_claims_and_services() {
    let made = objects(
        "services: {web: {image: w, ports: ['8080:80'], volumes: ['data:/d']}, db: {image: d}}\nvolumes: {data: }",
    );
    assert_eq!(made.namespace, "shop");
    let kinds: Vec<_> = made.objects.iter().map(|o| o["kind"].as_str().expect("a kind")).collect();
    assert_eq!(
        kinds,
        ["Namespace", "Network", "PersistentVolumeClaim", "Deployment", "Deployment", "Service", "Service"]
    );
    let web = made.one("Service", "web");
    assert_eq!(web["spec"]["ports"], json!([{"name": "tcp-80", "port": 80, "targetPort": 80, "protocol": "TCP"}]));
    assert_eq!(
        note(web, "naru.io/ports"),
        json!([{"containerPort": 80, "hostPort": 8080, "hostIP": "", "protocol": "TCP"}])
    );
    assert_eq!(note(made.one("Service", "db"), "naru.io/all-ports"), true);
    let pod = made.pod("web");
    assert_eq!(pod["metadata"]["labels"]["naru.io/service"], "web");
    let networks = note(pod, "naru.io/networks");
    let network = networks[0]["name"].as_str().expect("a network");
    assert_eq!(made.one("Network", network)["spec"]["title"], "shop_default");
    assert_eq!(networks[0]["aliases"], json!(["web"]));
    let claim = &pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"];
    made.one("PersistentVolumeClaim", claim.as_str().expect("a claim"));
    assert_eq!(note(pod, "naru.io/copy-up"), json!([pod["spec"]["volumes"][0]["name"]]));
}

#[test]
fn networks_with_ipv6_ask_for_both_families() {
    let made = objects(
        "services: {web: {image: w, networks: [n, m]}, db: {image: d, networks: [m]}}\nnetworks: {n: {enable_ipv6: true}, m: }",
    );
    assert_eq!(made.one("Service", "web")["spec"]["ipFamilyPolicy"], "PreferDualStack");
    assert!(made.one("Service", "db")["spec"].get("ipFamilyPolicy").is_none());
}

#[test]
fn applying_twice_is_the_same() {
    let text = "services: {web: {image: w, configs: [c]}}\nconfigs: {c: {content: x}}";
    assert_eq!(objects(text), objects(text));
}

#[test]
fn another_content_is_another_object_and_rolls_its_services() {
    let of = |content: &str| {
        let made =
            objects(&format!("services: {{web: {{image: w, configs: [c]}}}}\nconfigs: {{c: {{content: {content}}}}}"));
        made.pod("web")["spec"]["volumes"][0]["configMap"]["name"].clone()
    };
    assert_ne!(of("x"), of("y"));
    let made = objects(
        "services: {web: {image: w, secrets: [{source: s, target: pw, mode: 0400}]}}\nsecrets: {s: {file: secret.txt}}",
    );
    let pod = made.pod("web");
    assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], "/run/secrets/pw");
    let secret = made.one("Secret", pod["spec"]["volumes"][0]["secret"]["secretName"].as_str().expect("a name"));
    assert_eq!(secret["data"]["data"], "aHVudGVyMg==");
    assert_eq!(pod["spec"]["volumes"][0]["secret"]["items"][0]["mode"], 0o400);
}

#[test]
fn a_secret_of_an_unset_variable_is_named() {
    let error = try_translate("services: {a: {image: a}}\nsecrets: {s: {environment: GONE}}").expect_err("not set");
    assert!(error.contains("secret s") && error.contains("GONE is not set"), "{error}");
}

#[test]
fn a_health_test_becomes_probes() {
    let made = objects(
        "services: {web: {image: w, healthcheck: {test: curl x, interval: 5s, timeout: 2s, retries: 4, start_period: 10s}}}",
    );
    let container = &made.pod("web")["spec"]["containers"][0];
    assert_eq!(container["livenessProbe"]["exec"]["command"], json!(["/bin/sh", "-c", "curl x"]));
    assert_eq!(
        (&container["livenessProbe"]["periodSeconds"], &container["livenessProbe"]["failureThreshold"]),
        (&json!(5), &json!(4))
    );
    // 10 s of start period and 4 tests of 5 s, looked at every second.
    assert_eq!(
        (&container["startupProbe"]["periodSeconds"], &container["startupProbe"]["failureThreshold"]),
        (&json!(1), &json!(30))
    );
    for none in ["{disable: true, test: x}", "{test: [NONE]}"] {
        let made = objects(&format!("services: {{web: {{image: w, healthcheck: {none}}}}}"));
        assert!(made.pod("web")["spec"]["containers"][0].get("livenessProbe").is_none());
        assert_eq!(note(made.pod("web"), "naru.io/no-healthcheck"), true);
    }
}

#[test]
fn what_kubernetes_would_expand_stays() {
    let made = objects("services: {web: {image: w, command: ['$$(X)'], environment: {A: '$$(B)'}}}");
    let container = &made.pod("web")["spec"]["containers"][0];
    assert_eq!((&container["args"][0], &container["env"][0]["value"]), (&json!("$$(X)"), &json!("$$(B)")));
}

#[test]
fn limits_set_nothing_aside() {
    let made = objects(
        "services: {a: {image: a, cpus: 0.5, mem_limit: 64m}, b: {image: b, deploy: {resources: {limits: {cpus: '2'}, reservations: {memory: 1g}}}}}",
    );
    assert_eq!(
        made.pod("a")["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "500m", "memory": "67108864"}, "requests": {"cpu": "0", "memory": "0"}})
    );
    assert_eq!(
        made.pod("b")["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "2000m"}, "requests": {"cpu": "0", "memory": "1073741824"}})
    );
}

#[test]
fn updates_start_first_unless_two_could_meet() {
    let strategy = |service: &str| {
        let made = objects(&format!("services: {{a: {{image: a, {service}}}}}\nvolumes: {{v: }}"));
        made.one("Deployment", "a")["spec"]["strategy"]["rollingUpdate"].clone()
    };
    let first = json!({"maxSurge": 1, "maxUnavailable": 0});
    let stop = json!({"maxSurge": 0, "maxUnavailable": 1});
    assert_eq!(strategy("scale: 3"), first);
    assert_eq!(strategy("volumes: ['v:/v']"), stop);
    assert_eq!(strategy("volumes: ['v:/v:ro']"), first);
    assert_eq!(strategy("container_name: x"), stop);
    assert_eq!(
        strategy("deploy: {update_config: {order: stop-first, parallelism: 0}}"),
        json!({"maxSurge": 0, "maxUnavailable": "100%"})
    );
}

#[test]
fn modes_choose_the_workload() {
    let made = objects(
        "services: {g: {image: g, deploy: {mode: global}}, j: {image: j, deploy: {mode: replicated-job, replicas: 2, restart_policy: {max_attempts: 1}}}}",
    );
    made.one("DaemonSet", "g");
    let job = made.one("Job", "j");
    assert_eq!((&job["spec"]["completions"], &job["spec"]["backoffLimit"]), (&json!(2), &json!(1)));
    assert_eq!(made.pod("j")["spec"]["restartPolicy"], "OnFailure");
}

#[test]
fn services_that_share_namespaces_share_a_pod() {
    let made = objects(
        "services: {app: {image: a, networks: [n]}, side: {image: s, network_mode: 'service:app', pid: 'service:app'}}\nnetworks: {n: }",
    );
    let pod = made.pod("app");
    let names: Vec<_> =
        pod["spec"]["containers"].as_array().expect("containers").iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["app", "side"]);
    assert_eq!(pod["spec"]["shareProcessNamespace"], true);
    assert!(!made.objects.iter().any(|o| o["kind"] == "Deployment" && o["metadata"]["name"] == "side"));
    let clash = try_translate(
        "services: {app: {image: a, user: '1'}, side: {image: s, user: '2', network_mode: 'service:app'}}",
    )
    .expect_err("a clash");
    assert!(clash.contains("services.side") && clash.contains("user"), "{clash}");
    try_translate("services: {a: {image: a, pid: 'service:b'}, b: {image: b, pid: 'service:c'}, c: {image: c}}")
        .expect_err("a chain");
}

#[test]
fn gates_restarts_and_kin_are_annotations() {
    let made = objects(
        "services: {web: {image: w, restart: 'on-failure:3', depends_on: {db: {condition: service_healthy}}, user: www, ulimits: {nofile: 9}, shm_size: 1m, pids_limit: 5, cpuset: '0', init: true, tty: true, logging: {options: {max-size: 1m}}, network_mode: none}, db: {image: d, deploy: {restart_policy: {condition: none}}}}",
    );
    let pod = made.pod("web");
    assert_eq!(note(pod, "naru.io/restart"), "on-failure:3");
    assert_eq!(
        note(pod, "naru.io/start-gates"),
        json!([{"service": "db", "condition": "service_healthy", "required": true}])
    );
    assert_eq!(pod["metadata"]["annotations"]["naru.io/user"], "www");
    assert_eq!(note(pod, "naru.io/ulimits"), json!({"nofile": {"soft": 9, "hard": 9}}));
    assert_eq!(note(pod, "naru.io/cgroup"), json!({"pids_limit": 5, "cpuset": "0"}));
    assert_eq!(note(pod, "naru.io/network-mode"), "none");
    assert_eq!(note(made.pod("db"), "naru.io/restart"), "no");
    assert!(!made.objects.iter().any(|o| o["kind"] == "Service" && o["metadata"]["name"] == "web"));
}

#[test]
fn names_that_objects_cannot_have_keep_their_original_beside() {
    let made = objects("name: my_shop\nservices: {My_Web: {image: w}}");
    assert!(made.namespace.starts_with("my-shop-"));
    assert_eq!(made.one("Namespace", &made.namespace)["metadata"]["labels"]["naru.io/project"], "my_shop");
    let deployment = made.objects.iter().find(|o| o["kind"] == "Deployment").expect("a deployment");
    assert_eq!(deployment["metadata"]["labels"]["naru.io/service"], "My_Web");
    assert!(deployment["metadata"]["name"].as_str().expect("a name").starts_with("my-web-"));
}

#[test]
fn a_link_is_an_alias_of_its_target() {
    let made = objects("services: {client: {image: c, links: ['web:linked', db]}, web: {image: w}, db: {image: d}}");
    assert_eq!(note(made.pod("web"), "naru.io/networks")[0]["aliases"], json!(["web", "linked"]));
    let gates = note(made.pod("client"), "naru.io/start-gates");
    assert_eq!(gates.as_array().map(Vec::len), Some(2));
}

#[test]
fn host_gateway_is_left_to_the_node() {
    let made = objects("services: {web: {image: w, extra_hosts: ['host.docker.internal:host-gateway', 'a:1.2.3.4']}}");
    let pod = made.pod("web");
    assert_eq!(note(pod, "naru.io/host-gateway-names"), json!(["host.docker.internal"]));
    assert_eq!(pod["spec"]["hostAliases"], json!([{"ip": "1.2.3.4", "hostnames": ["a"]}]));
}

#[test]
fn who_follows_another_waits_for_its_new_version() {
    let of = |image: &str| {
        objects(&format!(
            "services: {{db: {{image: '{image}'}}, web: {{image: w, depends_on: {{db: {{condition: service_healthy, restart: true}}}}}}, front: {{image: f, depends_on: {{web: {{restart: true}}}}}}, other: {{image: o, depends_on: [db]}}}}"
        ))
    };
    let (before, after) = (of("d:1"), of("d:2"));
    let version = note(before.pod("db"), "naru.io/template");
    assert_eq!(
        note(before.pod("web"), "naru.io/start-gates"),
        json!([{"service": "db", "condition": "service_healthy", "required": true, "template": version}])
    );
    // The change goes down the chain, and to nobody who did not ask for it.
    for name in ["db", "web", "front"] {
        assert_ne!(before.pod(name), after.pod(name), "{name}");
    }
    assert_eq!(before.pod("other"), after.pod("other"));
    assert_eq!(before, of("d:1"), "the same project is the same objects");
}

#[test]
fn what_runs_in_one_pod_does_not_wait_for_itself() {
    let made = objects(
        "services: {app: {image: a}, side: {image: s, network_mode: 'service:app', depends_on: [app]}, db: {image: d, depends_on: [side]}}",
    );
    assert!(note(made.pod("app"), "naru.io/start-gates").as_str().is_some_and(str::is_empty));
    // A service that lives in another's pod is waited for there.
    assert_eq!(note(made.pod("db"), "naru.io/start-gates")[0]["service"], "app");
}

#[test]
fn hooks_that_say_more_than_a_command_keep_it() {
    let made = objects(
        "services: {a: {image: a, post_start: [{command: [x, y], user: root, privileged: true, working_dir: /w, environment: [A=1]}, {command: z}]}, b: {image: b, pre_stop: [{command: bye}]}}",
    );
    let hooks = note(made.pod("a"), "naru.io/hooks");
    assert_eq!(
        hooks["a"]["postStart"],
        json!([{"command": ["x", "y"], "user": "root", "privileged": true, "working_dir": "/w", "environment": {"A": "1"}}, {"command": ["z"]}])
    );
    assert!(made.pod("a")["spec"]["containers"][0]["lifecycle"]["postStart"].is_object(), "the node is told by it");
    assert_eq!(note(made.pod("b"), "naru.io/hooks"), "");
    assert_eq!(made.pod("b")["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"], json!(["bye"]));
}

#[test]
fn owners_and_permissions_go_with_their_volumes() {
    let made = objects(
        "services: {a: {image: a, secrets: [{source: s, uid: '103', gid: '104', mode: 0440}], tmpfs: ['/t:size=1m,mode=0750,uid=5'], volumes: [{type: tmpfs, target: /u}]}}\nsecrets: {s: {file: secret.txt}}",
    );
    let pod = made.pod("a");
    let owners = note(pod, "naru.io/volume-owners");
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let owner = |path: &str| {
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path).expect(path);
        owners[mount["name"].as_str().expect("a name")].clone()
    };
    assert_eq!(owner("/run/secrets/s"), json!({"uid": 103, "gid": 104}));
    assert_eq!(owner("/t"), json!({"uid": 5, "mode": 0o750}));
    assert_eq!(owner("/u"), json!({"mode": 0o1777}));
}

#[test]
fn nodes_are_named_as_swarm_names_them() {
    let made = objects(
        "services: {a: {image: a, platform: linux/x86_64, deploy: {placement: {constraints: [node.id == n1, node.platform.arch==x86_64, engine.labels.disk!=hdd]}}}}",
    );
    let terms = &made.pod("a")["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(
        terms["nodeSelectorTerms"][0]["matchExpressions"],
        json!([
            {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]},
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
            {"key": "disk", "operator": "NotIn", "values": ["hdd"]},
        ])
    );
}

#[test]
fn names_devices_and_placement_reach_the_pod() {
    let made = objects(
        "services: {a: {image: a, hostname: h, domainname: example.org, device_cgroup_rules: ['c 1:3 mr'], ports: [{target: 80, published: '8080', app_protocol: http}], deploy: {placement: {constraints: [node.role == manager, node.labels.z != b], preferences: [{spread: node.labels.zone}], max_replicas_per_node: 2}}}, b: {image: b, uts: host}}",
    );
    let pod = made.pod("a");
    assert_eq!(note(pod, "naru.io/domainname"), "example.org");
    assert_eq!(note(pod, "naru.io/cgroup"), json!({"device_cgroup_rules": ["c 1:3 mr"]}));
    assert_eq!(note(pod, "naru.io/max-replicas-per-node"), 2);
    assert_eq!(made.one("Service", "a")["spec"]["ports"][0]["appProtocol"], "http");
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(
        terms["nodeSelectorTerms"][0]["matchExpressions"],
        json!([{"key": "naru.io/role", "operator": "In", "values": ["manager"]}, {"key": "z", "operator": "NotIn", "values": ["b"]}])
    );
    let spread = &pod["spec"]["topologySpreadConstraints"][0];
    assert_eq!((&spread["topologyKey"], &spread["whenUnsatisfiable"]), (&json!("zone"), &json!("ScheduleAnyway")));
    assert_eq!(note(made.pod("b"), "naru.io/uts"), "host");
}
