//! Addresses of services as objects: IPAddresses, and ServiceCIDRs that give more of them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, World};
use crate::watching::Events;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

fn service(name: &str, spec: &Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (key, value) in spec.as_object().expect("an object") {
        service["spec"][key] = value.clone();
    }
    service
}

fn range(name: &str, range: &str) -> Value {
    json!({"metadata": {"name": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": [range]}})
}

fn by_hand(address: &str, namespace: &str, name: &str) -> Value {
    let parent = json!({"resource": "services", "namespace": namespace, "name": name});
    json!({"metadata": {"name": address}, "spec": {"parentRef": parent}})
}

/// The names of all IPAddresses.
async fn addresses(root: &Caller) -> BTreeSet<String> {
    let list = root.get(ADDRESSES).await.expect(200);
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

async fn create_many(root: &Caller, prefix: &str, count: usize) -> Vec<Answer> {
    let made = (0..count).map(|n| {
        let (root, service) = (root.clone(), service(&format!("{prefix}{n}"), &json!({})));
        tokio::spawn(async move { root.post(SERVICES, &service).await })
    });
    join_all(made).await.into_iter().map(|answer| answer.expect("an answer")).collect()
}

/// The addresses of services that were made.
fn given(answers: &[Answer]) -> Vec<Ipv4Addr> {
    let made = answers.iter().filter(|answer| answer.code == 201).map(Answer::json);
    made.map(|made| made["spec"]["clusterIP"].as_str().expect("an address").parse().expect("IPv4")).collect()
}

#[tokio::test]
async fn every_address_of_a_service_is_an_object_that_names_it() {
    let world = World::of_both_families().await;
    let root = world.root();
    assert_eq!(addresses(&root).await, BTreeSet::from(["10.43.0.1".to_owned()]), "the server's own");
    let both = root.post(SERVICES, &service("web", &json!({"ipFamilyPolicy": "RequireDualStack"}))).await.expect(201);
    let held = both["spec"]["clusterIPs"].as_array().expect("addresses");
    for (address, family) in held.iter().zip(["IPv4", "IPv6"]) {
        let object = root.get(&format!("{ADDRESSES}/{}", address.as_str().expect("text"))).await.expect(200);
        let labels = json!({"ipaddress.kubernetes.io/ip-family": family,
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
        assert_eq!(object["metadata"]["labels"], labels);
        let parent = json!({"resource": "services", "namespace": "default", "name": "web"});
        assert_eq!(object["spec"]["parentRef"], parent);
        assert!(object["metadata"]["uid"].is_string() && object["metadata"].get("generation").is_none(), "{object}");
    }
    assert_eq!(addresses(&root).await.len(), 3);
    let path = format!("{SERVICES}/web");
    root.put(&path, &service("web", &json!({"ipFamilyPolicy": "SingleStack"}))).await.expect(200);
    assert_eq!(addresses(&root).await.len(), 2, "the second went with the policy");
    let away = json!({"metadata": {"name": "web"}, "spec": {"type": "ExternalName", "externalName": "example.com"}});
    root.put(&path, &away).await.expect(200);
    assert_eq!(addresses(&root).await.len(), 1);
    root.put(&path, &service("web", &json!({"type": "ClusterIP"}))).await.expect(200);
    assert_eq!(addresses(&root).await.len(), 2);
    let dry = root.post(&format!("{SERVICES}?dryRun=All"), &service("dry", &json!({}))).await.expect(201);
    assert!(dry["spec"]["clusterIP"].is_string());
    root.delete(&path).await.expect(200);
    assert_eq!(addresses(&root).await.len(), 1, "a dry run takes none, and a service gives back what it had");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_given_out_to_the_last_address_and_never_twice() {
    let world = World::of_services("10.43.0.0/27").await;
    let root = world.root();
    let answers = create_many(&root, "a", 60).await;
    let first = given(&answers);
    assert_eq!(first.len(), 29, "all but the server's own");
    let refused = answers.iter().filter(|answer| answer.code != 201);
    refused.for_each(|answer| {
        assert!(answer.text().contains("every address of 10.43.0.0/27 is taken"), "{}", answer.text());
    });
    let distinct: BTreeSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), first.len(), "{first:?}");
    assert_eq!(addresses(&root).await.len(), 30);
    root.post(RANGES, &range("more", "192.0.2.0/28")).await.expect(201);
    let more = given(&create_many(&root, "b", 20).await);
    assert_eq!(more.len(), 14, "{more:?}");
    let net: ipnet::Ipv4Net = "192.0.2.0/28".parse().expect("a range");
    assert!(more.iter().all(|address| net.contains(address)), "{more:?}");
    assert_eq!(more.iter().collect::<BTreeSet<_>>().len(), 14);
    let victim = answers.iter().find(|answer| answer.code == 201).expect("one").json();
    let name = victim["metadata"]["name"].as_str().expect("a name");
    root.delete(&format!("{SERVICES}/{name}")).await.expect(200);
    let again = root.post(SERVICES, &service("again", &json!({}))).await.expect(201);
    assert_eq!(again["spec"]["clusterIP"], victim["spec"]["clusterIP"], "what is given back is given again");
}

#[tokio::test]
async fn an_address_is_reserved_by_hand_and_what_a_service_has_stays_its_own() {
    let world = World::start().await;
    let root = world.root();
    let fixed = |name: &str| service(name, &json!({"clusterIP": "10.43.0.50"}));
    root.post(ADDRESSES, &by_hand("10.43.0.50", "foo", "bar")).await.expect(201);
    assert!(root.post(SERVICES, &fixed("a")).await.refused(422).contains("provided IP is already allocated"));
    root.delete(&format!("{ADDRESSES}/10.43.0.50")).await.expect(200);
    root.post(SERVICES, &fixed("a")).await.expect(201);
    root.post(ADDRESSES, &by_hand("10.43.0.50", "foo", "bar")).await.refused(409);
    root.delete(&format!("{ADDRESSES}/10.43.0.50")).await.expect(200);
    assert!(root.post(SERVICES, &fixed("b")).await.refused(422).contains("provided IP is already allocated"));
    let refused = root.post(ADDRESSES, &by_hand("10.43.0.50", "foo", "bar")).await.refused(403);
    assert!(refused.contains("the address is held by the service default/a"), "{refused}");
    root.post(ADDRESSES, &by_hand("10.43.0.50", "default", "a")).await.expect(201);
    root.delete(&format!("{SERVICES}/a")).await.expect(200);
    root.get(&format!("{ADDRESSES}/10.43.0.50")).await.refused(404);
}

#[tokio::test]
async fn a_range_that_is_not_ready_or_goes_gives_nothing() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{RANGES}/more");
    let fixed = |name: &str| service(name, &json!({"clusterIP": format!("192.0.2.{}", name.len())}));
    root.post(RANGES, &range("more", "192.0.2.0/24")).await.expect(201);
    root.post(SERVICES, &fixed("a")).await.expect(201);
    for ends in ["192.0.2.0", "192.0.2.255"] {
        let ends = service("z", &json!({"clusterIP": ends}));
        assert!(root.post(SERVICES, &ends).await.refused(422).contains("not in the valid range"));
    }
    let ready = |status: &str| {
        json!({"status": {"conditions": [{"type": "Ready", "status": status, "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    root.patch(&format!("{path}/status"), "merge-patch", &ready("False")).await.expect(200);
    let refused = root.post(SERVICES, &fixed("bb")).await.refused(422);
    assert!(refused.contains("the provided IP is not in the valid range 10.43.0.0/16"), "{refused}");
    root.patch(&format!("{path}/status"), "merge-patch", &ready("True")).await.expect(200);
    root.post(SERVICES, &fixed("bb")).await.expect(201);
    let marked = root.delete(&path).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    root.post(SERVICES, &fixed("ccc")).await.refused(422);
    // Whoever has one keeps it.
    root.put(&format!("{SERVICES}/a"), &service("a", &json!({"selector": {"x": "y"}}))).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_is_taken_from_a_range_after_it_began_to_go() {
    let world = World::of_services("10.43.0.0/30").await;
    let root = world.root();
    // The only other address of the server's own range.
    root.post(SERVICES, &service("other", &json!({}))).await.expect(201);
    root.post(RANGES, &range("more", "192.0.2.0/24")).await.expect(201);
    let (made, marked) =
        tokio::join!(create_many(&root, "a", 100), async { root.delete(&format!("{RANGES}/more")).await.expect(200) });
    let version = |object: &Value| -> u64 {
        object["metadata"]["resourceVersion"].as_str().expect("a version").parse().expect("a number")
    };
    let end = version(&marked);
    for service in made.iter().filter(|answer| answer.code == 201).map(Answer::json) {
        assert!(version(&service) < end, "{service}");
    }
}

#[tokio::test]
async fn the_ranges_of_the_server_are_an_object() {
    let world = World::of_both_families().await;
    let root = world.root();
    let own = root.get(&format!("{RANGES}/kubernetes")).await.expect(200);
    assert_eq!(own["spec"]["cidrs"], json!(["10.43.0.0/16", "fd00:43::/112"]));
    let condition = &own["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("Ready"), &json!("True")));
    assert_eq!(condition["message"], "Kubernetes default Service CIDR is ready");
    let state = root.get(&format!("{RANGES}/kubernetes/status")).await.expect(200);
    assert_eq!((&state["kind"], &state["metadata"]["uid"]), (&json!("ServiceCIDR"), &own["metadata"]["uid"]));
    assert_eq!(root.get(RANGES).await.expect(200)["items"].as_array().map(Vec::len), Some(1));
    let mut events = Events::open(&root, &format!("{RANGES}?watch=true")).await;
    assert_eq!(events.step().await, ("ADDED".to_owned(), "kubernetes".to_owned()));
    root.delete(&format!("{RANGES}/kubernetes")).await.expect(200);
    assert_eq!(events.step().await.0, "DELETED");
    assert_eq!(events.step().await, ("ADDED".to_owned(), "kubernetes".to_owned()), "it comes back");
}

#[tokio::test]
async fn ip_addresses_live_their_whole_life() {
    let world = World::start().await;
    let root = world.root();
    let parent = json!({"group": "mygroup", "resource": "myresources", "namespace": "foo", "name": "bar"});
    let object = |name: &str, label: &str| json!({"metadata": {"name": name, "labels": {"type": label}}, "spec": {"parentRef": parent}});
    let one = format!("{ADDRESSES}/255.255.255.255");
    root.post(ADDRESSES, &object("255.255.255.255", "broadcast")).await.expect(201);
    root.post(ADDRESSES, &object("fe80::42:1dff:fe84:f9e2", "link-local")).await.expect(201);
    let patch = json!({"metadata": {"annotations": {"patched": "true"}}});
    let mut patched = root.patch(&one, "merge-patch", &patch).await.expect(200);
    patched["metadata"]["annotations"]["updated"] = "true".into();
    let updated = root.put(&one, &patched).await.expect(200);
    assert_eq!(updated["metadata"]["annotations"], json!({"patched": "true", "updated": "true"}));
    let mut moved = updated.clone();
    moved["spec"]["parentRef"]["name"] = "other".into();
    assert!(root.put(&one, &moved).await.refused(422).contains("field is immutable"));
    let selected = format!("{ADDRESSES}?labelSelector=type%3Dbroadcast");
    assert_eq!(root.get(&selected).await.expect(200)["items"].as_array().map(Vec::len), Some(1));
    let mut events = Events::open(&root, &format!("{selected}&watch=true")).await;
    assert_eq!(events.step().await, ("ADDED".to_owned(), "255.255.255.255".to_owned()));
    root.delete(&one).await.expect(200);
    assert_eq!(events.step().await.0, "DELETED");
    root.delete(&format!("{ADDRESSES}?labelSelector=type%3Dlink-local")).await.expect(200);
    let left = root.get(&format!("{ADDRESSES}?labelSelector=type%3Dlink-local")).await.expect(200);
    assert_eq!(left["items"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn a_second_range_joins_that_of_a_server_that_had_one() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{RANGES}/kubernetes");
    assert_eq!(root.get(&path).await.expect(200)["spec"]["cidrs"], json!(["10.43.0.0/16"]));
    world.again_of_services("10.43.0.0/16,fd00:43::/112").await;
    assert_eq!(root.get(&path).await.expect(200)["spec"]["cidrs"], json!(["10.43.0.0/16", "fd00:43::/112"]));
    world.again_of_services("10.99.0.0/16").await;
    assert_eq!(root.get(&path).await.expect(200)["spec"]["cidrs"][0], "10.43.0.0/16", "services have addresses of it");
}
