//! Both addresses of a pod count before it is told to end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use naru_client::Client;
use serde_json::{Value, json};

use super::Script;
use crate::dataplane::sources::Sources;

fn slice(family: &str, address: IpAddr, ready: bool) -> Value {
    let name = format!("web-{}", family.to_lowercase());
    let endpoints = json!([{"addresses": [address], "conditions": {"ready": ready, "serving": true}}]);
    json!({"metadata": {"namespace": "shop", "name": name, "labels": {"kubernetes.io/service-name": "web"}},
           "addressType": family, "ports": [{"name": "", "port": 80, "protocol": "TCP"}], "endpoints": endpoints})
}

#[tokio::test]
async fn a_pod_is_out_of_services_when_no_family_leads_to_it() {
    let script = Script::default();
    let sources = Sources::start(&Client::new(Arc::new(script.clone())));
    sources.synced().await;
    let addresses: [IpAddr; 2] = ["10.42.0.7".parse().unwrap(), "fd00:42::a2a:7".parse().unwrap()];
    let [four, six] = addresses;
    let say = async |revision: u64, object: Value| {
        script.say("endpointslices", revision, &object);
        let reached = tokio::time::timeout(Duration::from_secs(20), sources.endpoints_reached(revision));
        reached.await.expect("the change is seen");
    };
    say(5, slice("IPv4", four, true)).await;
    say(6, slice("IPv6", six, true)).await;
    assert_eq!(sources.unlisted(&addresses).now_or_never(), None);
    say(7, slice("IPv4", four, false)).await;
    assert_eq!(sources.unlisted(&addresses).now_or_never(), None, "clients of the other family still come");
    say(8, slice("IPv6", six, false)).await;
    assert_eq!(sources.unlisted(&addresses).now_or_never(), Some(8), "and others know it by the later of both");
}
