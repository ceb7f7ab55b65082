use std::sync::Arc;

use serde_json::{Value, json};

use super::{addresses, ranges};
use crate::fixtures::{at, noon, view};
use crate::views::{IpAddress, ServiceCidr};

fn cidr(ranges: &[&str], more: &Value) -> Arc<ServiceCidr> {
    let mut object =
        json!({ "metadata": { "name": "more", "uid": "u", "resourceVersion": "5" }, "spec": { "cidrs": ranges } });
    crate::fixtures::merge(&mut object, more);
    Arc::new(view(object))
}

fn planned(cidr: &Arc<ServiceCidr>, needed: usize) -> String {
    ranges::plan(&ranges::View { cidr: cidr.clone(), needed }, noon()).to_string()
}

#[test]
fn a_range_is_protected_then_ready_and_goes_when_nothing_needs_it() {
    let own = "networking.k8s.io/service-cidr-finalizer";
    let fresh = cidr(&["192.0.2.0/24"], &json!({ "metadata": { "finalizers": ["x/y"] } }));
    let protecting = planned(&fresh, 0);
    assert!(
        protecting.contains(&format!(r#"["x/y","{own}"]"#)) && protecting.contains(r#""resourceVersion":"5""#),
        "{protecting}"
    );
    let protected = json!({ "metadata": { "finalizers": [own, "x/y"] } });
    let told = planned(&cidr(&["192.0.2.0/24"], &protected), 0);
    assert!(
        told.contains(r#""status":"True","type":"Ready""#) && told.contains("Kubernetes Service CIDR is ready"),
        "{told}"
    );
    let mut ready = protected.clone();
    ready["status"] = json!({ "conditions": [{ "type": "Ready", "status": "True", "message": "other words" }] });
    assert_eq!(planned(&cidr(&["192.0.2.0/24"], &ready), 0), "because: ready\n");
    ready["metadata"]["deletionTimestamp"] = at(0).into();
    let kept = planned(&cidr(&["192.0.2.0/24"], &ready), 2);
    assert!(
        kept.contains(r#""reason":"Terminating","status":"False""#) && kept.contains("There are still IPAddresses"),
        "{kept}"
    );
    let gone = planned(&cidr(&["192.0.2.0/24"], &ready), 0);
    assert!(gone.contains(r#"{"metadata":{"finalizers":["x/y"],"resourceVersion":"5"}}"#), "{gone}");
}

#[test]
fn a_range_is_needed_for_what_no_other_holds() {
    let narrow = cidr(&["192.0.2.0/24", "fd00::/112"], &json!({}));
    let addresses = ["192.0.2.7", "192.0.2.130", "10.43.0.1", "fd00::7", "nonsense"];
    let needed = |others: &[Arc<ServiceCidr>]| ranges::needed(&narrow, others, addresses.into_iter());
    assert_eq!(needed(&[]), 3);
    assert_eq!(needed(&[cidr(&["192.0.2.128/25"], &json!({}))]), 2);
    assert_eq!(needed(&[cidr(&["192.0.0.0/16"], &json!({})), cidr(&["fd00::/64"], &json!({}))]), 0);
}

fn look(shown: Option<Value>, holders: &[&str]) -> String {
    let shown = shown.map(|object| Arc::new(view::<IpAddress>(object)));
    let service = |name: &&str| {
        let metadata = json!({ "namespace": "shop", "name": name, "uid": name });
        Arc::new(view(json!({ "metadata": metadata, "spec": { "clusterIPs": ["10.43.0.9"] } })))
    };
    let holders = holders.iter().map(service).collect();
    addresses::plan(&addresses::View { address: "10.43.0.9".into(), shown, holders }).to_string()
}

#[test]
fn every_address_of_a_service_has_its_own_ip_address() {
    let shown = |labels: &Value, parent: &str| {
        json!({ "metadata": { "name": "10.43.0.9", "uid": "a", "labels": labels },
            "spec": { "parentRef": { "resource": "services", "namespace": "shop", "name": parent } } })
    };
    let ours = json!({ "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io" });
    assert_eq!(look(None, &["web"]), "because: it has no IPAddress\ncreate ipaddresses 10.43.0.9\n");
    assert_eq!(look(Some(shown(&ours, "web")), &["web"]), "because: up to date\n");
    assert_eq!(look(Some(shown(&ours, "web")), &["old", "web"]), "because: up to date\n");
    let bare = look(Some(shown(&json!({}), "web")), &["web"]);
    assert!(bare.contains("patch ipaddresses 10.43.0.9") && bare.contains("ipallocator.k8s.io"), "{bare}");
    let wrong = look(Some(shown(&ours, "other")), &["web"]);
    assert!(wrong.contains("delete ipaddresses 10.43.0.9") && wrong.contains("has a wrong reference"), "{wrong}");
    assert!(look(Some(shown(&ours, "web")), &[]).contains("delete ipaddresses 10.43.0.9"));
    assert_eq!(look(Some(shown(&json!({}), "web")), &[]), "because: not a Service's\n", "somebody reserved it");
    let mut leaving = shown(&ours, "other");
    leaving["metadata"]["deletionTimestamp"] = at(0).into();
    assert_eq!(look(Some(leaving), &["web"]), "because: on its way out\n");
}
