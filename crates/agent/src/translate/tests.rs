//! Tables of the translation.

use std::{collections::BTreeMap, sync::Arc};

use naru_api::k8s::api::core::v1::{Container, Pod};
use naru_runtime::{
    image::{ImageConfig, Rootfs},
    pod::{Capabilities, ContainerConfig, Seccomp},
};
use serde_json::{Value, json};

use super::*;
use crate::Dns;

fn pod(annotations: Value, spec: Value) -> Pod {
    let meta = json!({"name": "web-0", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}, "annotations": annotations});
    serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/entry".into()],
        cmd: vec!["serve".into()],
        env: vec!["PATH=/image/bin".into(), "FROM=image".into()],
        user: "app".into(),
        workdir: "/srv".into(),
        stop_signal: Some("SIGQUIT".into()),
        ..ImageConfig::default()
    }
}

fn translate_with(
    pod: &Pod,
    lookup: &Lookup,
    services: &BTreeMap<String, String>,
) -> Result<ContainerConfig, TranslateError> {
    let container: &Container = &pod.spec.as_ref().unwrap().containers[0];
    let rootfs = Rootfs { base: "/l".into(), lower: vec!["/l/1".into()] };
    let facts = Facts {
        node_name: "node".into(),
        host_ips: vec!["192.0.2.1".parse().unwrap()],
        pod_ips: vec!["10.42.0.2".parse().unwrap()],
        cpu_milli: 2000,
        memory: 8 << 30,
    };
    let paths = Paths::new("/state".as_ref(), "shop", "web-0", "u1");
    super::container(ContainerInput {
        pod,
        container,
        target: None,
        attempt: 3,
        image: &image(),
        rootfs: &rootfs,
        facts: &facts,
        lookup,
        services,
        paths: &paths,
        hostname: "web-0",
        mounts: Vec::new(),
    })
}

fn translate(annotations: Value, container: Value) -> Result<ContainerConfig, TranslateError> {
    let mut container = container;
    container["name"] = "c".into();
    translate_with(&pod(annotations, json!({"containers": [container]})), &Lookup::default(), &BTreeMap::new())
}

fn value<'a>(config: &'a ContainerConfig, name: &str) -> Option<&'a str> {
    config.env.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn references_expand_and_escapes_stay() {
    let known = |name: &str| (name == "A").then(|| "1".to_owned());
    for (text, expected) in [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("x$(A)y$", "x1y$"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$$$(A)", "$1"),
    ] {
        assert_eq!(expand(text, known), expected, "{text}");
    }
}

#[test]
fn command_and_args_replace_the_images() {
    for (container, expected) in [
        (json!({}), vec!["/entry", "serve"]),
        (json!({"args": ["a"]}), vec!["/entry", "a"]),
        (json!({"command": ["sh"]}), vec!["sh"]),
        (
            json!({"command": ["sh"], "args": ["-c", "$(V)"], "env": [{"name": "V", "value": "w"}]}),
            vec!["sh", "-c", "w"],
        ),
    ] {
        assert_eq!(translate(json!({}), container).unwrap().args, expected);
    }
}

#[test]
fn an_image_without_a_program_is_refused_with_its_name() {
    let container: Container = serde_json::from_value(json!({"name": "c", "image": "empty:1"})).unwrap();
    let error = args::args(&container, &ImageConfig::default(), |_| None).unwrap_err();
    assert!(error.to_string().contains("empty:1"));
}

#[test]
fn environment_comes_from_every_source() {
    let config_map = serde_json::from_value(json!({"data": {"k": "from-map", "x": "1"}})).unwrap();
    let secret = serde_json::from_value(json!({"data": {"p": "cGFzcw=="}})).unwrap();
    let lookup = Lookup {
        namespace: "shop".into(),
        config_maps: [("cm".to_owned(), Arc::new(config_map))].into(),
        secrets: [("s".to_owned(), Arc::new(secret))].into(),
    };
    let container = json!({"name": "c", "resources": {"limits": {"cpu": "1500m"}},
        "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "none", "optional": true}}],
        "env": [
            {"name": "PLAIN", "value": "v"}, {"name": "REF", "value": "$(PLAIN)-$(SVC_PORT)-$(LATER)"}, {"name": "LATER", "value": "l"},
            {"name": "FROM", "value": "spec"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
            {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": true}}}]});
    let services = [("SVC_PORT".to_owned(), "tcp://x".to_owned())].into();
    let config = translate_with(&pod(json!({}), json!({"containers": [container]})), &lookup, &services).unwrap();
    for (name, expected) in [
        ("PATH", "/image/bin"),
        ("HOSTNAME", "web-0"),
        ("FROM", "spec"),
        ("REF", "v-tcp://x-$(LATER)"),
        ("IP", "10.42.0.2"),
        ("APP", "web"),
        ("CPU", "2"),
        ("MEM", "8192"),
        ("KEY", "from-map"),
        ("PASS", "pass"),
        ("CM_x", "1"),
        ("SVC_PORT", "tcp://x"),
    ] {
        assert_eq!(value(&config, name), Some(expected), "{name}");
    }
    assert_eq!(value(&config, "GONE"), None);
}

#[test]
fn missing_references_name_what_is_missing() {
    for (source, expected) in [
        (json!({"configMapKeyRef": {"name": "cm", "key": "k"}}), "configmap \"cm\" not found"),
        (json!({"secretKeyRef": {"name": "s", "key": "k"}}), "secret \"s\" not found"),
        (json!({"fieldRef": {"fieldPath": "status.mood"}}), "status.mood"),
    ] {
        let error = translate(json!({}), json!({"env": [{"name": "X", "valueFrom": source}]})).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn users_come_from_the_container_then_the_pod_then_the_image() {
    let user = |outer: Value, inner: Value| {
        let spec = json!({"securityContext": outer, "containers": [{"name": "c", "securityContext": inner}]});
        translate_with(&pod(json!({}), spec), &Lookup::default(), &BTreeMap::new()).unwrap().user
    };
    assert_eq!(user(json!({}), json!({})).user, "app");
    assert_eq!(user(json!({"runAsUser": 1}), json!({})).user, "1");
    assert_eq!(user(json!({"runAsUser": 1}), json!({"runAsUser": 2, "runAsGroup": 3})).user, "2:3");
    assert_eq!(user(json!({"runAsGroup": 3}), json!({})).user, "app:3");
    let groups = user(json!({"supplementalGroups": [5], "fsGroup": 7, "runAsNonRoot": true}), json!({}));
    assert_eq!((groups.groups, groups.must_not_be_root), (vec![5, 7], true));
}

#[test]
fn the_default_is_confined_and_privileged_is_not() {
    let plain = translate(json!({}), json!({})).unwrap();
    assert_eq!(
        (plain.policy.seccomp.clone(), plain.policy.capabilities),
        (Seccomp::Default, Capabilities::container_default())
    );
    assert!(!plain.masked_paths.is_empty());
    let open = translate(json!({}), json!({"securityContext": {"privileged": true}})).unwrap();
    assert_eq!((open.policy.seccomp, open.policy.capabilities), (Seccomp::Unconfined, Capabilities::ALL));
    assert!(open.masked_paths.is_empty() && open.devices.host);
    let tight = json!({"securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "seccompProfile": {"type": "Unconfined"}, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}});
    let tight = translate(json!({}), tight).unwrap();
    assert!(tight.policy.no_new_privileges && tight.readonly_root);
    assert_eq!((tight.policy.seccomp, tight.policy.capabilities.iter().count()), (Seccomp::Unconfined, 1));
    assert!(translate(json!({}), json!({"securityContext": {"capabilities": {"add": ["NOPE"]}}})).is_err());
}

#[test]
fn limits_become_cgroup_values() {
    let resources =
        json!({"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}});
    let config = translate(json!({}), json!({"resources": resources})).unwrap().resources;
    assert_eq!(
        (config.cpu_shares, config.cpu_quota_us, config.cpu_period_us),
        (Some(256), Some(50_000), Some(100_000))
    );
    assert_eq!(config.memory_limit, Some(128 << 20));
    let tiny = translate(json!({}), json!({"resources": {"limits": {"cpu": "1m"}}})).unwrap().resources;
    assert_eq!((tiny.cpu_shares, tiny.cpu_quota_us), (Some(2), Some(1000)));
}

#[test]
fn annotations_refine_the_container() {
    let notes = json!({
        "naru.io/ulimits": r#"{"nofile":{"soft":10,"hard":20},"nproc":-1}"#,
        "naru.io/cgroup": r#"{"cpu_shares":512,"pids_limit":99,"mem_reservation":"32m","cpuset":"0","memswap_limit":-1}"#,
        "naru.io/logging": r#"{"max-size":"1m","max-file":"2"}"#,
        "naru.io/devices": r#"["/dev/null:/dev/x:r", {"source":"/dev/zero"}]"#,
        "naru.io/init": "true", "naru.io/tty": "true", "naru.io/oom-score-adj": "-5", "naru.io/restart": "always"});
    let config = translate(notes, json!({})).unwrap();
    assert_eq!(config.policy.rlimits.len(), 2);
    assert_eq!(config.policy.rlimits[1].hard, u64::MAX);
    let resources = &config.resources;
    assert_eq!(
        (resources.cpu_shares, resources.pids_limit, resources.memory_reservation),
        (Some(512), Some(99), Some(32 << 20))
    );
    assert_eq!((resources.memory_swap_limit, resources.cpuset_cpus.as_deref()), (Some(u64::MAX), Some("0")));
    assert_eq!(config.log.as_ref().map(|log| (log.max_size, log.max_files)), Some((1 << 20, 2)));
    assert_eq!(config.devices.list[0].access, "r");
    assert_eq!(config.devices.list[1].access, "rwm");
    assert!(config.init && config.terminal.is_some());
    assert_eq!(config.oom_score_adj, Some(-5));
    assert!(config.root.upper.ends_with("layers/c/kept/upper"), "a Docker-like restart keeps the writable layer");
    let plain = translate(json!({}), json!({})).unwrap();
    assert!(plain.root.upper.ends_with("layers/c/3/upper"));
    assert!(translate(json!({"naru.io/ulimits": "[]"}), json!({})).is_err());
}

#[test]
fn quality_of_service_follows_kubernetes() {
    let class = |resources: Value| {
        let pod = pod(json!({}), json!({"containers": [{"name": "c", "resources": resources}]}));
        let spec = pod.spec.unwrap();
        (qos(&spec), oom_score_adj(&spec, &spec.containers[0], 8 << 30))
    };
    assert_eq!(class(json!({})), (Qos::BestEffort, 1000));
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), (Qos::Guaranteed, -997));
    assert_eq!(class(json!({"requests": {"memory": "4Gi"}})), (Qos::Burstable, 500));
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), (Qos::Burstable, 999));
}

#[test]
fn stop_signals_by_name_and_number() {
    let container: Container = serde_json::from_value(json!({"name": "c"})).unwrap();
    let with = |text: &str| {
        stop_signal(&pod(json!({"naru.io/stop-signal": text}), json!({"containers": []})), &container, None)
    };
    assert_eq!([with("SIGINT"), with("usr1"), with("9"), with("RTMIN+3"), with("nonsense")], [2, 10, 9, 37, 15]);
    let plain = pod(json!({}), json!({"containers": []}));
    assert_eq!(stop_signal(&plain, &container, Some(&image())), 3);
    assert_eq!(stop_signal(&plain, &container, None), 15);
}

#[test]
fn resolver_follows_the_policy() {
    let dns = Dns::default();
    let host = "nameserver 192.0.2.53\nsearch corp.example\noptions timeout:1\n";
    let conf = |spec: Value| resolv_conf(&pod(json!({}), spec), &dns, host);
    let cluster = conf(json!({"containers": []}));
    assert_eq!(
        cluster,
        "nameserver 10.43.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local corp.example\noptions ndots:5\n"
    );
    assert!(conf(json!({"containers": [], "dnsPolicy": "Default"})).starts_with("nameserver 192.0.2.53\nsearch corp"));
    assert!(conf(json!({"containers": [], "hostNetwork": true})).contains("192.0.2.53"));
    let own = json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}});
    assert_eq!(conf(own), "nameserver 1.1.1.1\nsearch x\noptions ndots:2 edns0\n");
}

#[test]
fn hosts_hold_the_pods_own_name_and_aliases() {
    let spec = json!({"containers": [], "subdomain": "db", "hostAliases": [
        {"ip": "10.1.1.1", "hostnames": ["a", "b"]}]});
    let pod = pod(json!({"naru.io/host-gateway-names": "[\"me\", \"us\"]"}), spec);
    let text =
        hosts_file(&pod, "web-0", &["10.42.0.2".parse().unwrap()], "192.0.2.1".parse().ok(), "cluster.local", None);
    assert!(text.contains("127.0.0.1\tlocalhost\n"));
    assert!(text.contains("10.42.0.2\tweb-0.db.shop.svc.cluster.local\tweb-0\n"), "{text}");
    assert!(text.contains("10.1.1.1\ta\tb\n192.0.2.1\tme\tus\n"));
    let host = hosts_file(&pod, "node", &[], None, "cluster.local", Some("127.0.0.1 localhost\n10.0.0.1 node\n"));
    assert!(host.starts_with("127.0.0.1 localhost\n10.0.0.1 node\n10.1.1.1"));
}

#[test]
fn sandboxes_take_namespaces_and_parents() {
    let uid = || naru_runtime::pod::PodUid::new("u1").unwrap();
    let spec = json!({"containers": [{"name": "c"}], "hostNetwork": true, "hostPID": true, "shareProcessNamespace": true,
        "securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "9"}]}});
    let config = pod_config(&pod(json!({"naru.io/shm-size": "1m"}), spec), uid(), "cluster.local", None).unwrap();
    use naru_runtime::pod::NamespaceMode::{Host, Private};
    assert_eq!((config.network, config.uts, config.ipc), (Host, Host, Private));
    assert!(config.host_pid && config.share_process_namespace);
    assert_eq!((config.shm_size, config.cgroup_parent.to_str()), (Some(1 << 20), Some("besteffort")));
    assert_eq!(config.sysctls["net.core.somaxconn"], "9");
    let long = pod(json!({}), json!({"containers": [], "hostname": "x".repeat(80)}));
    assert_eq!(hostname(&long, "cluster.local").len(), 63);
}

#[test]
fn names_of_the_pod_and_of_the_machine() {
    let pod = |notes: serde_json::Value| -> naru_api::k8s::api::core::v1::Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web-1", "namespace": "shop", "annotations": notes},
            "spec": {"containers": [], "hostname": "web"},
        }))
        .unwrap()
    };
    let config =
        |pod| super::pod_config(pod, naru_runtime::pod::PodUid::new("u").unwrap(), "cluster.local", None).unwrap();
    let named = pod(serde_json::json!({"naru.io/domainname": "example.org"}));
    assert_eq!(config(&named).domainname.as_deref(), Some("example.org"));
    let hosts = super::hosts_file(&named, "web", &["10.42.0.9".parse().unwrap()], None, "cluster.local", None);
    assert!(hosts.contains("10.42.0.9\tweb.example.org\tweb\n"), "{hosts}");
    assert_eq!(config(&named).uts, naru_runtime::pod::NamespaceMode::Private);
    let shared = pod(serde_json::json!({"naru.io/uts": "host"}));
    assert_eq!(config(&shared).uts, naru_runtime::pod::NamespaceMode::Host);
}
