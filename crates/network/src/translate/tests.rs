use serde_json::{Value, json};

use super::facts::*;
use super::*;
use crate::model::{EndpointState, Peers, PolicyPort};

fn viewpoint() -> Viewpoint {
    Viewpoint {
        node: "n1".into(),
        pod_subnet: "10.42.0.0/24".parse().unwrap(),
        gateway: Ipv4Addr::new(10, 42, 0, 1),
        six: None,
        domain: "cluster.local".into(),
    }
}

fn bytes(value: Value) -> Vec<u8> {
    serde_json::to_vec(&value).unwrap()
}

fn pod(namespace: &str, name: &str, last: u8, labels: Value, annotations: Value) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{name}"), "labels": labels,
                     "annotations": annotations},
        "spec": {"nodeName": "n1", "containers": [{"ports": [
            {"containerPort": 80, "name": "http"}, {"containerPort": 53, "name": "dns", "protocol": "UDP", "hostPort": 5353}]}]},
        "status": {"phase": "Running", "podIP": format!("10.42.0.{last}")},
    })
}

fn slice(namespace: &str, service: &str, ports: Value, endpoints: Value) -> Arc<SliceFacts> {
    let labels = json!({"kubernetes.io/service-name": service});
    let value = json!({"metadata": {"namespace": namespace, "name": format!("{service}-x"), "labels": labels},
                       "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
    Arc::new(SliceFacts::parse(&bytes(value)).unwrap())
}

fn service(namespace: &str, name: &str, annotations: Value, labels: Value, spec: Value) -> Arc<ServiceFacts> {
    let value = json!({"metadata": {"namespace": namespace, "name": name, "annotations": annotations, "labels": labels},
                       "spec": spec});
    Arc::new(ServiceFacts::parse(&bytes(value)).unwrap())
}

fn parse_pod(value: Value) -> Arc<PodFacts> {
    Arc::new(PodFacts::parse(&bytes(value)).unwrap())
}

fn policy(spec: Value) -> Arc<PolicyFacts> {
    let value = json!({"metadata": {"namespace": "shop", "name": "p"}, "spec": spec});
    Arc::new(PolicyFacts::parse(&bytes(value)).unwrap())
}

#[test]
fn endpoints_become_backends_by_port_name_and_state() {
    let cluster = Cluster {
        services: vec![service(
            "shop",
            "web",
            json!({}),
            json!({}),
            json!({"clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5", "fd00::5"], "type": "NodePort",
                   "ports": [{"name": "http", "port": 80, "targetPort": "http", "nodePort": 30080},
                             {"name": "admin", "port": 81, "protocol": "TCP"}],
                   "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local"}),
        )],
        slices: vec![
            slice(
                "shop",
                "web",
                json!([{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "admin", "port": 9090, "protocol": "TCP"}]),
                json!([
                    {"addresses": ["10.42.0.2"], "conditions": {"ready": true}, "nodeName": "n1"},
                    {"addresses": ["10.42.1.9"], "conditions": {}, "nodeName": "n2"},
                    {"addresses": ["10.42.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                    {"addresses": ["10.42.0.4"], "conditions": {"ready": false, "serving": false}},
                ]),
            ),
            slice("other", "web", json!([{"name": "http", "port": 1}]), json!([{"addresses": ["10.42.0.8"]}])),
        ],
        ..Cluster::default()
    };
    let translated = translate(&cluster, &viewpoint());
    let [web] = translated.desired.services.as_slice() else { panic!() };
    let both: [IpAddr; 2] = ["10.43.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
    assert_eq!(web.cluster_ips, both);
    assert!(web.affinity && web.external_local && !web.internal_local);
    let backends: Vec<(String, u16, bool, EndpointState)> = web.ports[0]
        .backends
        .iter()
        .map(|b| (b.endpoint.address.to_string(), b.port, b.endpoint.local, b.endpoint.state))
        .collect();
    assert_eq!(
        backends,
        [
            ("10.42.0.2".into(), 8080, true, EndpointState::Ready),
            ("10.42.0.3".into(), 8080, true, EndpointState::Draining),
            ("10.42.1.9".into(), 8080, false, EndpointState::Ready),
        ]
    );
    assert_eq!(web.ports[0].node_port, Some(30080));
    assert_eq!(web.ports[1].backends[0].port, 9090);
    let names = &translated.zone.services[0];
    assert_eq!(names.members.len(), 4, "names know also who is not ready");
    assert_eq!(names.ports.len(), 2);
}

#[test]
fn published_ports_come_with_their_relays() {
    let published =
        |ip: &str, port: u16| json!({"containerPort": 80, "hostPort": port, "hostIP": ip, "protocol": "TCP"});
    let ports =
        json!([published("", 8080), published("127.0.0.1", 8081), published("::1", 8082), published("0.0.0.0", 8083)]);
    let cluster = Cluster {
        services: vec![service(
            "shop",
            "web",
            json!({"naru.io/ports": ports.to_string(), "naru.io/all-ports": "true"}),
            json!({"naru.io/project": "shop", "naru.io/service": "web"}),
            json!({"clusterIP": "10.43.0.5"}),
        )],
        ..Cluster::default()
    };
    let translated = translate(&cluster, &viewpoint());
    let web = &translated.desired.services[0];
    assert!(web.all_ports && translated.zone.services[0].compose);
    let hosts: Vec<(Option<IpAddr>, u16)> = web.published.iter().map(|p| (p.host_ip, p.host_port)).collect();
    let loopback = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let every = Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    assert_eq!(hosts, [(None, 8080), (loopback, 8081), (loopback, 8082), (every, 8083)]);
    let relays: Vec<String> = translated.relays.iter().map(|relay| relay.listen.to_string()).collect();
    assert_eq!(relays, ["[::]:8080", "[::1]:8082"], "0.0.0.0 means IPv4 alone");
}

#[test]
fn a_published_port_leads_to_both_addresses_of_a_pod() {
    let ports = json!([{"containerPort": 80, "hostPort": 8080}, {"containerPort": 80, "hostPort": 8081, "hostIP": "2001:db8::1"}]);
    let mut web = pod("shop", "web", 2, json!({}), json!({}));
    web["status"]["podIPs"] = json!([{"ip": "10.42.0.2"}, {"ip": "fd00:42::a2a:2"}]);
    let endpoints =
        json!([{"addresses": ["10.42.0.2"], "nodeName": "n1"}, {"addresses": ["10.42.0.3"], "nodeName": "n1"}]);
    let cluster = Cluster {
        services: vec![service(
            "shop",
            "web",
            json!({"naru.io/ports": ports.to_string()}),
            json!({}),
            json!({"clusterIP": "10.43.0.5", "ports": [{"port": 80}]}),
        )],
        slices: vec![slice("shop", "web", json!([{"port": 80}]), endpoints)],
        pods: vec![parse_pod(web), parse_pod(pod("shop", "old", 3, json!({}), json!({})))],
        ..Cluster::default()
    };
    let translated = translate(&cluster, &viewpoint());
    let web = &translated.desired.services[0];
    let endpoints: Vec<String> = web.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    assert_eq!(endpoints, ["10.42.0.2", "10.42.0.3", "fd00:42::a2a:2"]);
    assert_eq!(web.ports[0].backends.len(), 2, "the service itself stays of one family");
    let hosts: Vec<(Option<IpAddr>, u16)> = web.published.iter().map(|p| (p.host_ip, p.host_port)).collect();
    let door = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(hosts, [(None, 8080), (door, 8081), (Some("2001:db8::1".parse().unwrap()), 8081)]);
    let relays: Vec<String> = translated.relays.iter().map(|relay| relay.listen.to_string()).collect();
    assert_eq!(relays, ["[::]:5353", "[::]:8080", "[2001:db8::1]:8081"], "for ::1, and for who has IPv4 alone");
    let pods: Vec<usize> = translated.desired.pods.iter().map(|pod| pod.addresses().count()).collect();
    assert_eq!((pods, translated.zone.pods[0].addresses().count()), (vec![2, 1], 2));
}

#[test]
fn a_host_port_has_one_owner() {
    let ports = json!([{"containerPort": 80, "hostPort": 8080}]).to_string();
    let make = |name: &str| {
        service("shop", name, json!({"naru.io/ports": ports}), json!({}), json!({"clusterIP": "10.43.0.9"}))
    };
    let cluster = Cluster { services: vec![make("b"), make("a")], ..Cluster::default() };
    let translated = translate(&cluster, &viewpoint());
    assert_eq!(translated.desired.services[0].published.len(), 1);
    assert_eq!(translated.desired.services[1].published.len(), 0);
    assert_eq!(translated.problems.len(), 1);
    assert!(translated.problems[0].contains("service shop/b") && translated.problems[0].contains("shop/a"));
}

#[test]
fn pods_that_share_the_host_or_are_done_have_no_place() {
    let mut host = pod("shop", "host", 3, json!({}), json!({}));
    host["spec"]["hostNetwork"] = true.into();
    let mut done = pod("shop", "done", 4, json!({}), json!({}));
    done["status"]["phase"] = "Succeeded".into();
    let mut away = pod("shop", "away", 5, json!({}), json!({}));
    away["spec"]["nodeName"] = "n2".into();
    let here = pod(
        "shop",
        "here",
        2,
        json!({}),
        json!({"naru.io/networks": r#"[{"name":"front","aliases":["www"],"ip":null}]"#}),
    );
    let cluster = Cluster { pods: [host, done, away, here].map(parse_pod).to_vec(), ..Cluster::default() };
    let translated = translate(&cluster, &viewpoint());
    let pods: Vec<(&str, bool, usize)> =
        translated.desired.pods.iter().map(|p| (p.uid.as_str(), p.local, p.host_ports.len())).collect();
    assert_eq!(pods, [("uid-here", true, 1), ("uid-away", false, 0)]);
    assert!(translated.desired.pods[0].networks.contains("front"));
    assert_eq!(translated.zone.pods[0].networks[0].aliases, ["www"]);
}

#[test]
fn compose_names_follow_the_labels() {
    let labels = json!({"naru.io/project": "my_shop", "naru.io/service": "Web_1", "naru.io/ordinal": "2"});
    let cluster = Cluster {
        services: vec![service(
            "shop",
            "web-1-abc",
            json!({}),
            json!({"naru.io/project": "my_shop", "naru.io/service": "Web_1"}),
            json!({"clusterIP": "10.43.0.5"}),
        )],
        pods: vec![parse_pod(pod("shop", "web-x", 2, labels, json!({})))],
        ..Cluster::default()
    };
    let zone = translate(&cluster, &viewpoint()).zone;
    assert_eq!(zone.pods[0].service.as_deref(), Some("web-1-abc"), "the object's name, not the label's");
    assert_eq!(zone.pods[0].names, ["my_shop-Web_1-2", "web-x"]);
}

#[test]
fn policies_are_resolved_to_addresses() {
    let namespace = |name: &str, team: &str| {
        let value = json!({"metadata": {"name": name, "labels": {"team": team}}});
        Arc::new(NamespaceFacts::parse(&bytes(value)).unwrap())
    };
    let pods = vec![
        parse_pod(pod("shop", "web", 2, json!({"app": "web"}), json!({}))),
        parse_pod(pod("shop", "api", 3, json!({"app": "api"}), json!({}))),
        parse_pod(pod("ops", "mon", 4, json!({"app": "mon"}), json!({}))),
        parse_pod(pod("ops", "web", 5, json!({"app": "web"}), json!({}))),
    ];
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], "ports": [{"port": "http"}]},
            {"from": [{"namespaceSelector": {"matchLabels": {"team": "ops"}}, "podSelector": {"matchLabels": {"app": "mon"}}},
                      {"ipBlock": {"cidr": "192.0.2.7/24", "except": ["192.0.2.0/28"]}}, {"ipBlock": {"cidr": "fd00::/8"}}],
             "ports": [{"port": 8000, "endPort": 8010, "protocol": "UDP"}]},
            {"ports": [{"protocol": "TCP"}]},
            {"from": []},
        ],
        "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ops"}}}], "ports": [{"port": "dns", "protocol": "UDP"}]}],
    });
    let cluster = Cluster {
        pods,
        namespaces: vec![namespace("shop", "sales"), namespace("ops", "ops")],
        policies: vec![policy(spec)],
        ..Cluster::default()
    };
    let translated = translate(&cluster, &viewpoint());
    let [policy] = translated.desired.policies.as_slice() else { panic!() };
    let ip = |last| IpAddr::V4(Ipv4Addr::new(10, 42, 0, last));
    let of = |addresses: &[u8]| addresses.iter().map(|last| ip(*last)).collect::<BTreeSet<_>>();
    assert_eq!(policy.pods, of(&[2]), "a policy selects pods of its own namespace");
    let ingress = policy.ingress.as_ref().unwrap();
    assert_eq!(ingress[0].peers, Peers::Of { pods: of(&[3]), blocks: vec![] });
    assert_eq!(ingress[0].ports, [PolicyPort::Named(Protocol::Tcp, [(ip(2), 80)].into())]);
    let Peers::Of { pods, blocks } = &ingress[1].peers else { panic!() };
    assert_eq!((pods, blocks.len()), (&of(&[4]), 2));
    assert_eq!(blocks[1].cidr, "fd00::/8".parse().unwrap());
    assert_eq!(blocks[0].cidr, "192.0.2.0/24".parse().unwrap());
    assert_eq!(ingress[1].ports, [PolicyPort::Range(Protocol::Udp, 8000..=8010)]);
    assert_eq!((&ingress[2].peers, ingress[2].ports.as_slice()), (&Peers::Any, &[PolicyPort::All(Protocol::Tcp)][..]));
    assert_eq!(ingress[3].peers, Peers::Any, "an empty list of peers is everybody");
    let egress = policy.egress.as_ref().unwrap();
    assert_eq!(egress[0].peers, Peers::Of { pods: of(&[4, 5]), blocks: vec![] });
    assert_eq!(egress[0].ports, [PolicyPort::Named(Protocol::Udp, [(ip(4), 53), (ip(5), 53)].into())]);
}

#[test]
fn what_a_policy_is_about_follows_its_types_or_its_rules() {
    let about = |spec: Value| {
        let facts = policy(spec);
        (facts.ingress.as_ref().map(Vec::len), facts.egress.as_ref().map(Vec::len))
    };
    assert_eq!(about(json!({"podSelector": {}})), (Some(0), None));
    assert_eq!(about(json!({"podSelector": {}, "egress": [{}]})), (Some(0), Some(1)));
    assert_eq!(about(json!({"podSelector": {}, "policyTypes": ["Egress"]})), (None, Some(0)));
    assert_eq!(about(json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]})), (Some(1), None));
}

#[test]
fn a_bad_annotation_is_named() {
    let value = json!({"metadata": {"namespace": "shop", "name": "web", "annotations": {"naru.io/ports": "80"}}});
    let error = ServiceFacts::parse(&bytes(value)).unwrap_err();
    assert!(error.to_string().contains("shop/web") && error.to_string().contains("naru.io/ports"), "{error}");
}

#[test]
fn a_plain_service_is_read() {
    let value = json!({"metadata": {"namespace": "shop", "name": "web"},
                       "spec": {"clusterIP": Ipv4Addr::new(10, 43, 1, 1), "ports": [{"port": 80, "protocol": "TCP"}]}});
    let facts = ServiceFacts::parse(&bytes(value)).unwrap();
    assert_eq!((facts.addresses.len(), facts.ports.len()), (1, 1));
}
