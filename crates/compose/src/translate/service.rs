//! The Service of a service: its virtual IP, its name, its published ports.

use std::collections::BTreeSet;

use naru_api::naru::names as n;
use serde_json::{Value, json};

use super::{Context, object_name};
use crate::canonical::range;
use crate::model::{Port, Service};

impl Context<'_> {
    /// The Service of `name`, whose pods are those of `host` (another service when it lives in that one's pod). None
    /// for what nobody can reach.
    pub(super) fn service(&self, name: &str, service: &Service, host: &str) -> Option<Value> {
        if matches!(service.network_mode.as_deref(), Some("host" | "none")) {
            return None;
        }
        let ports: Vec<Value> = container_ports(service)
            .into_iter()
            .map(|(port, protocol)| {
                let mut entry = json!({
                    "name": format!("{}-{port}", protocol.to_ascii_lowercase()),
                    "port": port,
                    "targetPort": port,
                    "protocol": protocol,
                });
                let said =
                    service.ports.iter().find(|p| p.target == port && p.protocol.to_ascii_uppercase() == protocol);
                if let Some(application) = said.and_then(|p| p.app_protocol.as_deref()) {
                    entry["appProtocol"] = application.into();
                }
                entry
            })
            .collect();
        let headless = service.deploy.as_ref().and_then(|d| d.endpoint_mode.as_deref()) == Some("dnsrr");
        let mut annotations = json!({n::TITLE: name, n::ALL_PORTS: "true"});
        let published: Vec<Value> = service.ports.iter().filter_map(published).collect();
        if !published.is_empty() {
            annotations[n::PORTS] = Value::from(published).to_string().into();
        }
        let mut spec = json!({
            "selector": self.labels(Some(host)),
            // `docker compose` finds a container that is not healthy yet by its name too; the virtual IP waits.
            "publishNotReadyAddresses": false,
        });
        let networks = service.networks.keys().filter_map(|key| self.project.networks.get(key));
        if networks.into_iter().any(|network| network.enable_ipv6 == Some(true)) {
            spec["ipFamilyPolicy"] = "PreferDualStack".into();
        }
        if !ports.is_empty() {
            spec["ports"] = ports.into();
        }
        if headless {
            spec["clusterIP"] = "None".into();
        } else if service.ports.iter().any(|port| port.published.is_none()) {
            // A port that is published nowhere in particular gets one of the node ports.
            spec["type"] = "NodePort".into();
        }
        Some(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": object_name(name),
                "namespace": self.namespace,
                "labels": self.labels(Some(name)),
                "annotations": annotations,
            },
            "spec": spec,
        }))
    }
}

/// Ports that a service is known to listen on: published or exposed, each once.
pub(super) fn container_ports(service: &Service) -> BTreeSet<(u16, &'static str)> {
    let protocol = |text: &str| if text == "udp" { "UDP" } else { "TCP" };
    let mut ports: BTreeSet<(u16, &'static str)> =
        service.ports.iter().map(|port| (port.target, protocol(&port.protocol))).collect();
    for entry in &service.expose {
        let (numbers, kind) = entry.split_once('/').unwrap_or((entry, "tcp"));
        if let Some((low, high)) = range(numbers) {
            ports.extend((low..=high).map(|port| (port, protocol(kind))));
        }
    }
    ports
}

fn published(port: &Port) -> Option<Value> {
    let (low, _) = range(port.published.as_deref()?)?;
    Some(json!({
        "containerPort": port.target,
        "hostPort": low,
        "hostIP": port.host_ip.clone().unwrap_or_default(),
        "protocol": if port.protocol == "udp" { "UDP" } else { "TCP" },
    }))
}
