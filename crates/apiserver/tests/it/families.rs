//! Services of both families of addresses: what is given, kept, refused and given back.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::support::World;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: &Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    for (key, value) in spec.as_object().expect("an object") {
        service["spec"][key] = value.clone();
    }
    service
}

/// Policy, families, and the families of the addresses.
fn shape(service: &Value) -> (String, Vec<String>, Vec<&'static str>) {
    let spec = &service["spec"];
    let texts = |field: &str| -> Vec<String> {
        spec[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let family = |address: &String| match address.parse() {
        Ok(IpAddr::V4(_)) => "4",
        Ok(IpAddr::V6(_)) => "6",
        Err(_) => "-",
    };
    assert_eq!(spec["clusterIP"], spec["clusterIPs"][0]);
    let policy = spec["ipFamilyPolicy"].as_str().unwrap_or_default().to_owned();
    (policy, texts("ipFamilies"), texts("clusterIPs").iter().map(family).collect())
}

fn is(policy: &str, families: &[&str], addresses: &[&'static str]) -> (String, Vec<String>, Vec<&'static str>) {
    (policy.to_owned(), families.iter().map(|f| (*f).to_owned()).collect(), addresses.to_vec())
}

#[tokio::test]
async fn a_service_has_the_families_that_it_asks_for() {
    let world = World::of_both_families().await;
    let root = world.root();
    for (name, spec, expected) in [
        ("plain", json!({}), is("SingleStack", &["IPv4"], &["4"])),
        (
            "prefers",
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            is("PreferDualStack", &["IPv4", "IPv6"], &["4", "6"]),
        ),
        (
            "requires",
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            is("RequireDualStack", &["IPv4", "IPv6"], &["4", "6"]),
        ),
        ("six", json!({"ipFamilies": ["IPv6"]}), is("SingleStack", &["IPv6"], &["6"])),
        (
            "six-first",
            json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}),
            is("PreferDualStack", &["IPv6", "IPv4"], &["6", "4"]),
        ),
        ("named", json!({"clusterIP": "fd00:43::99"}), is("SingleStack", &["IPv6"], &["6"])),
        (
            "both-named",
            json!({"ipFamilyPolicy": "RequireDualStack", "clusterIPs": ["10.43.7.7", "fd00:43::7"]}),
            is("RequireDualStack", &["IPv4", "IPv6"], &["4", "6"]),
        ),
        (
            "headless",
            json!({"clusterIP": "None", "ipFamilyPolicy": "PreferDualStack"}),
            is("PreferDualStack", &["IPv4", "IPv6"], &["-"]),
        ),
    ] {
        let made = root.post(SERVICES, &service(name, &spec)).await.expect(201);
        assert_eq!(shape(&made), expected, "{name}: {made}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_the_words_that_people_know() {
    let world = World::of_both_families().await;
    let root = world.root();
    for (spec, why) in [
        (
            json!({"ipFamilies": ["IPv4", "IPv6"]}),
            "must be RequireDualStack or PreferDualStack when multiple 'ipFamilies' are specified",
        ),
        (json!({"clusterIPs": ["10.43.7.7", "fd00:43::7"]}), "when multiple 'clusterIPs' are specified"),
        (json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv4"]}), "Duplicate value"),
        (json!({"ipFamilyPolicy": "Both"}), "Unsupported value"),
        (
            json!({"ipFamilies": ["IPv6"], "clusterIP": "10.43.7.7"}),
            "expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        (
            json!({"ipFamilyPolicy": "PreferDualStack", "clusterIPs": ["10.43.7.7", "10.43.7.8"]}),
            "may specify no more than one IP for each IP family",
        ),
        (json!({"clusterIP": "fd99::1"}), "the provided IP is not in the valid range fd00:43::/112"),
        (json!({"clusterIP": "10.43.7.7", "clusterIPs": ["10.43.7.8"]}), "first value must match `clusterIP`"),
    ] {
        let refused = root.post(SERVICES, &service("a", &spec)).await.refused(422);
        assert!(refused.contains(why), "{spec}: {refused}");
    }
    root.post(SERVICES, &service("first", &json!({"clusterIP": "fd00:43::42"}))).await.expect(201);
    let twice = root.post(SERVICES, &service("second", &json!({"clusterIP": "fd00:43::42"}))).await.refused(422);
    assert!(twice.contains("already allocated"), "{twice}");
}

#[tokio::test]
async fn a_second_family_comes_and_goes_with_the_policy() {
    let world = World::of_both_families().await;
    let root = world.root();
    let path = format!("{SERVICES}/a");
    let first = root.post(SERVICES, &service("a", &json!({}))).await.expect(201);
    let both = root.put(&path, &service("a", &json!({"ipFamilyPolicy": "PreferDualStack"}))).await.expect(200);
    assert_eq!(shape(&both), is("PreferDualStack", &["IPv4", "IPv6"], &["4", "6"]));
    assert_eq!(both["spec"]["clusterIP"], first["spec"]["clusterIP"]);
    let same = root.put(&path, &service("a", &json!({"selector": {"c": "d"}}))).await.expect(200);
    assert_eq!(same["spec"]["clusterIPs"], both["spec"]["clusterIPs"], "who says nothing keeps both");
    let turned = service("a", &json!({"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "PreferDualStack"}));
    assert!(root.put(&path, &turned).await.refused(422).contains("may not change once set"));
    let fewer = service(
        "a",
        &json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4"],
        "clusterIPs": [first["spec"]["clusterIP"]]}),
    );
    assert!(root.put(&path, &fewer).await.refused(422).contains("must be set to 'SingleStack' when releasing"));
    let single = root.put(&path, &service("a", &json!({"ipFamilyPolicy": "SingleStack"}))).await.expect(200);
    assert_eq!(shape(&single), is("SingleStack", &["IPv4"], &["4"]));
    let free = service("b", &json!({"clusterIP": both["spec"]["clusterIPs"][1]}));
    root.post(SERVICES, &free).await.expect(201);
}

#[tokio::test]
async fn a_cluster_of_one_family_has_one() {
    let world = World::start().await;
    let root = world.root();
    let prefers = root.post(SERVICES, &service("a", &json!({"ipFamilyPolicy": "PreferDualStack"}))).await.expect(201);
    assert_eq!(shape(&prefers), is("PreferDualStack", &["IPv4"], &["4"]));
    for (spec, why) in [
        (json!({"ipFamilyPolicy": "RequireDualStack"}), "this cluster is not configured for dual-stack services"),
        (json!({"ipFamilies": ["IPv6"]}), "not configured on this cluster"),
        (json!({"clusterIP": "fd00:43::7"}), "IPv6 is not configured on this cluster"),
    ] {
        let refused = root.post(SERVICES, &service("b", &spec)).await.refused(422);
        assert!(refused.contains(why), "{spec}: {refused}");
    }
    let external = json!({"type": "ExternalName", "externalName": "example.com", "ipFamilyPolicy": "SingleStack"});
    let refused = root.post(SERVICES, &service("c", &external)).await.refused(422);
    assert!(refused.contains("may not be used for ExternalName services"), "{refused}");
}
