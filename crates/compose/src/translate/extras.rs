//! The annotations of a pod: what Compose says and Kubernetes has no field for.

use naru_api::naru::names as n;
use serde_json::{Map, Value, json};

use super::{Context, object_name, texts, user_labels};
use crate::model::{Dependency, Service};

impl Context<'_> {
    /// Annotations of the pods of a service.
    pub(super) fn pod_annotations(&mut self, name: &str, service: &Service) -> Map<String, Value> {
        let mut notes = user_labels(&service.labels);
        notes.extend(texts(&service.annotations).map(|(key, value)| (key.to_owned(), value.into())));
        let mut set = |key: &str, value: String| {
            notes.insert(key.to_owned(), value.into());
        };
        set(n::RESTART, restart(service));
        let networks: Vec<Value> = service
            .networks
            .iter()
            .map(|(key, reference)| {
                let object = self.project.networks.get(key).map_or_else(|| object_name(key), |net| object_name(&net.name));
                let mut aliases = vec![name.to_owned()];
                aliases.extend(service.container_name.clone());
                aliases.extend(reference.iter().flat_map(|r| r.aliases.iter().cloned()));
                aliases.extend(self.linked_as(name, key));
                aliases.dedup();
                json!({"name": object, "aliases": aliases, "ip": reference.as_ref().and_then(|r| r.ipv4_address.clone())})
            })
            .collect();
        if !networks.is_empty() {
            set(n::NETWORKS, Value::from(networks).to_string());
        }
        let gates = self.gates(name, service);
        if !gates.is_empty() {
            set(n::START_GATES, Value::from(gates).to_string());
        }
        let gateway = |addresses: &Vec<String>| addresses.iter().any(|address| address == super::pod::HOST_GATEWAY);
        let hosts: Vec<&String> =
            service.extra_hosts.iter().filter(|(_, addresses)| gateway(addresses)).map(|(host, _)| host).collect();
        if !hosts.is_empty() {
            set(n::HOST_GATEWAY_NAMES, json!(hosts).to_string());
        }
        if service.network_mode.as_deref() == Some("none") {
            set(n::NETWORK_MODE, "none".to_owned());
        }
        if let Some(domain) = &service.domainname {
            set(n::DOMAINNAME, domain.clone());
        }
        if service.uts.as_deref() == Some("host") {
            set(n::UTS, "host".to_owned());
        }
        let most = service.deploy.as_ref().and_then(|d| d.placement.as_ref()?.max_replicas_per_node);
        if let Some(most) = most.filter(|most| *most > 0) {
            set(n::MAX_PER_NODE, most.to_string());
        }
        if let Some(user) = &service.user {
            set(n::USER, user.clone());
        }
        if !service.group_add.is_empty() {
            set(n::GROUP_ADD, json!(service.group_add).to_string());
        }
        if let Some(signal) = &service.stop_signal {
            set(n::STOP_SIGNAL, signal.clone());
        }
        if let Some(size) = service.shm_size {
            set(n::SHM_SIZE, size.0.to_string());
        }
        if !service.ulimits.is_empty() {
            set(n::ULIMITS, json!(service.ulimits).to_string());
        }
        let off = |check: &crate::model::Healthcheck| {
            let none = check.test.as_ref().is_some_and(|test| test.first().is_some_and(|word| word == "NONE"));
            check.disable == Some(true) || none
        };
        if service.healthcheck.as_ref().is_some_and(off) {
            set(n::NO_HEALTHCHECK, "true".to_owned());
        }
        if service.init == Some(true) {
            set(n::INIT, "true".to_owned());
        }
        if let Some(logging) = &service.logging {
            let mut options: Map<String, Value> =
                texts(&logging.options).map(|(key, value)| (key.to_owned(), value.into())).collect();
            options.retain(|key, _| key == "max-size" || key == "max-file");
            set(n::LOGGING, Value::Object(options).to_string());
        }
        if !service.devices.is_empty() {
            set(n::DEVICES, json!(service.devices).to_string());
        }
        if service.tty == Some(true) {
            set(n::TTY, "true".to_owned());
        }
        if let Some(score) = service.oom_score_adj {
            set(n::OOM_SCORE_ADJ, score.to_string());
        }
        if let Some(container) = &service.container_name {
            set(n::CONTAINER_NAME, container.clone());
        }
        let cgroup = cgroup(service);
        if !cgroup.is_empty() {
            set(n::CGROUP, Value::Object(cgroup).to_string());
        }
        notes
    }
}

impl Context<'_> {
    /// What must have happened before the containers of `name` start. What runs in the same pod starts with it.
    fn gates(&self, name: &str, service: &Service) -> Vec<Value> {
        let others = service.depends_on.iter().filter(|(other, _)| self.host(other) != self.host(name));
        others
            .map(|(other, Dependency { condition, required, .. })| {
                let service = super::label_value(self.host(other));
                json!({"service": service, "condition": condition, "required": required.unwrap_or(true)})
            })
            .collect()
    }

    /// The names under which services on the network `network` link to `name`.
    fn linked_as(&self, name: &str, network: &str) -> Vec<String> {
        let on_it = self.project.services.values().filter(|service| service.networks.contains_key(network));
        let links = on_it.flat_map(|service| &service.links).filter_map(|link| link.split_once(':'));
        links.filter(|(other, _)| *other == name).map(|(_, alias)| alias.to_owned()).collect()
    }
}

/// Docker's word for when the container is started again: `restart`, or what `deploy.restart_policy` says of it.
pub(super) fn restart(service: &Service) -> String {
    if let Some(policy) = service.deploy.as_ref().and_then(|d| d.restart_policy.as_ref()) {
        return match (policy.condition.as_deref(), policy.max_attempts) {
            (Some("none"), _) => "no".to_owned(),
            (Some("on-failure"), Some(times)) => format!("on-failure:{times}"),
            (Some("on-failure"), None) => "on-failure".to_owned(),
            _ => "always".to_owned(),
        };
    }
    service.restart.clone().unwrap_or_else(|| "no".to_owned())
}

fn cgroup(service: &Service) -> Map<String, Value> {
    let limits = service.deploy.as_ref().and_then(|d| d.resources.as_ref()?.limits.as_ref());
    let pids = service.pids_limit.or_else(|| limits.and_then(|l| l.pids));
    let whole = |number: f64| number as i64;
    let entries = [
        ("cpu_shares", service.cpu_shares.map(|n| whole(n).into())),
        ("cpu_quota", service.cpu_quota.map(|n| whole(n).into())),
        ("cpu_period", service.cpu_period.map(|n| whole(n).into())),
        ("cpuset", service.cpuset.clone().map(Value::from)),
        ("mem_reservation", service.mem_reservation.map(|s| s.0.into())),
        ("memswap_limit", service.memswap_limit.map(|s| s.0.into())),
        ("mem_swappiness", service.mem_swappiness.map(Value::from)),
        ("pids_limit", pids.map(Value::from)),
        ("device_cgroup_rules", (!service.device_cgroup_rules.is_empty()).then(|| json!(service.device_cgroup_rules))),
        ("blkio_config", service.blkio_config.as_ref().map(|b| json!(b))),
    ];
    entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}
