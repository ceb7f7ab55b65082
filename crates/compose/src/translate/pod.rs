//! A service as a pod template.

use naru_api::naru::names as n;
use serde_json::{Map, Value, json};

use super::{Context, TranslateError, label_value, object_name, probes, texts, volumes::Mounts};
use crate::model::{Hook, Service};
use crate::units::Span;

const STOP_GRACE: i64 = 10;
/// Docker's word for the machine's own address as its containers see it.
pub(super) const HOST_GATEWAY: &str = "host-gateway";

impl Context<'_> {
    /// The template of a service's pods, with the services that live in the same pod.
    pub(super) fn template(&mut self, name: &str, service: &Service, guests: &[&str]) -> Result<Value, TranslateError> {
        self.notices(name, service);
        let mut mounts = self.mounts(name, service);
        let mut containers = vec![self.container(name, service, &mounts)];
        let mut annotations = self.pod_annotations(name, service);
        let mut labels = self.labels(Some(name));
        labels.insert(n::COMPOSE_PROJECT.to_owned(), label_value(&self.project.name).into());
        labels.insert(n::COMPOSE_SERVICE.to_owned(), label_value(name).into());
        labels.insert(n::COMPOSE_ONEOFF.to_owned(), "False".into());
        let mut shares_processes = false;
        for guest_name in guests {
            let Some(guest) = self.project.services.get(*guest_name) else { continue };
            let guest_mounts = self.mounts(guest_name, guest);
            containers.push(self.container(guest_name, guest, &guest_mounts));
            let others = self.pod_annotations(guest_name, guest);
            agree(&annotations, &others, name, guest_name)?;
            annotations.extend(others.into_iter().filter(|(key, _)| key != n::NETWORKS && key != n::START_GATES));
            shares_processes |= guest.pid.as_deref().is_some_and(|pid| pid.starts_with("service:"));
            mounts.extend(guest_mounts);
        }
        let hooks: Map<String, Value> = std::iter::once(&name)
            .chain(guests)
            .filter_map(|name| Some((object_name(name), hooks_note(self.project.services.get(*name)?)?)))
            .collect();
        if !hooks.is_empty() {
            annotations.insert(n::HOOKS.to_owned(), Value::from(hooks).to_string().into());
        }
        if !mounts.owners.is_empty() {
            annotations.insert(n::VOLUME_OWNERS.to_owned(), json!(mounts.owners).to_string().into());
        }
        if !mounts.copy_up.is_empty() {
            annotations.insert(n::COPY_UP.to_owned(), json!(mounts.copy_up).to_string().into());
        }
        let mut spec = json!({
            "containers": containers,
            "terminationGracePeriodSeconds": service.stop_grace_period.map_or(STOP_GRACE, Span::seconds),
            // What a container has no business with, Compose does not give it either.
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
        });
        if !mounts.volumes.is_empty() {
            spec["volumes"] = mounts.volumes.into();
        }
        for (wanted, field) in [
            (service.network_mode.as_deref() == Some("host"), "hostNetwork"),
            (service.pid.as_deref() == Some("host"), "hostPID"),
            (service.ipc.as_deref() == Some("host"), "hostIPC"),
            (shares_processes, "shareProcessNamespace"),
        ] {
            if wanted {
                spec[field] = true.into();
            }
        }
        if let Some(hostname) = &service.hostname {
            spec["hostname"] = hostname.clone().into();
        }
        name_service(&mut spec, service);
        security(&mut spec, service);
        placement(&mut spec, service, &self.labels(Some(name)));
        Ok(json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}))
    }

    /// What a service asks for and gets otherwise.
    fn notices(&mut self, name: &str, service: &Service) {
        let policy = service.pull_policy.as_deref().unwrap_or_default();
        if matches!(policy, "daily" | "weekly" | "refresh") || policy.starts_with("every_") {
            let text = format!("{policy:?} pulls what is missing and nothing more: `naru pull` looks for newer images");
            self.warn(format!("services.{name}.pull_policy"), text);
        }
    }

    fn container(&mut self, name: &str, service: &Service, mounts: &Mounts) -> Value {
        let image = service.image.clone().unwrap_or_else(|| format!("{}-{name}", self.project.name));
        let mut container = json!({
            "name": object_name(name),
            "image": image,
            "imagePullPolicy": match service.pull_policy.as_deref() {
                Some("always") => "Always",
                Some("never") => "Never",
                // What `up` has built is there, or on another node.
                _ => "IfNotPresent",
            },
        });
        // Kubernetes expands `$(NAME)` in these, Compose does not: it is written so that it stays.
        let literal = |text: &String| Value::from(text.replace("$(", "$$("));
        if let Some(entrypoint) = &service.entrypoint {
            container["command"] = entrypoint.iter().map(literal).collect();
        }
        if let Some(command) = &service.command {
            container["args"] = command.iter().map(literal).collect();
        }
        let environment: Vec<Value> = texts(&service.environment)
            .map(|(name, value)| json!({"name": name, "value": literal(&value.to_owned())}))
            .collect();
        if !environment.is_empty() {
            container["env"] = environment.into();
        }
        if let Some(dir) = &service.working_dir {
            container["workingDir"] = dir.clone().into();
        }
        if service.stdin_open == Some(true) {
            container["stdin"] = true.into();
        }
        if service.tty == Some(true) {
            container["tty"] = true.into();
        }
        if !mounts.mounts.is_empty() {
            container["volumeMounts"] = mounts.mounts.clone().into();
        }
        container["resources"] = resources(service);
        let context = security_context(service);
        if context.as_object().is_some_and(|c| !c.is_empty()) {
            container["securityContext"] = context;
        }
        let hook = |hooks: &[Hook]| hook_command(hooks).map(|command| json!({"exec": {"command": command}}));
        let mut lifecycle = Map::new();
        lifecycle.extend(hook(&service.post_start).map(|h| ("postStart".to_owned(), h)));
        lifecycle.extend(hook(&service.pre_stop).map(|h| ("preStop".to_owned(), h)));
        if !lifecycle.is_empty() {
            container["lifecycle"] = lifecycle.into();
        }
        let ports: Vec<Value> = super::service::container_ports(service)
            .into_iter()
            .map(|(port, protocol)| json!({"containerPort": port, "protocol": protocol}))
            .collect();
        if !ports.is_empty() {
            container["ports"] = ports.into();
        }
        probes::add(&mut container, service);
        container
    }
}

impl Mounts {
    fn extend(&mut self, other: Mounts) {
        for volume in other.volumes {
            if !self.volumes.contains(&volume) {
                self.volumes.push(volume);
            }
        }
        self.copy_up.extend(other.copy_up);
        self.owners.extend(other.owners);
    }
}

/// Annotations hold for the whole pod, so services that share one must not contradict one another.
fn agree(host: &Map<String, Value>, guest: &Map<String, Value>, a: &str, b: &str) -> Result<(), TranslateError> {
    let alone = [n::NETWORKS, n::START_GATES, n::CONTAINER_NAME];
    let clash = guest.iter().find(|(key, value)| {
        key.starts_with("naru.io/") && !alone.contains(&key.as_str()) && host.get(*key).is_some_and(|own| own != *value)
    });
    match clash {
        None => Ok(()),
        Some((key, value)) => {
            let own = host.get(key).cloned().unwrap_or_default();
            let what = key.trim_start_matches("naru.io/");
            let problem = format!("shares the pod of {a:?} but differs in {what}: {value} here, {own} there");
            Err(TranslateError { service: b.to_owned(), problem })
        }
    }
}

/// The hooks of a service where one says more than its command, or there are several: what `lifecycle` has no words for.
fn hooks_note(service: &Service) -> Option<Value> {
    let says_more = |hook: &Hook| Hook { command: hook.command.clone(), ..Hook::default() } != *hook;
    let needed = |hooks: &[Hook]| hooks.len() > 1 || hooks.iter().any(says_more);
    let note = json!({"postStart": service.post_start, "preStop": service.pre_stop});
    (needed(&service.post_start) || needed(&service.pre_stop)).then_some(note)
}

/// One command that runs every hook in turn.
fn hook_command(hooks: &[Hook]) -> Option<Vec<String>> {
    match hooks {
        [] => None,
        [one] => Some(one.command.clone()),
        several => {
            let lines: Vec<String> = several.iter().map(|hook| shell_words::join(&hook.command)).collect();
            Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), lines.join(" && ")])
        }
    }
}

/// Compose's limits do not set anything aside, its reservations do: a request is written even where it is nothing,
/// since Kubernetes would else take the limit for it.
fn resources(service: &Service) -> Value {
    let deploy = service.deploy.as_ref().and_then(|d| d.resources.as_ref());
    let (limits, reserved) = (deploy.and_then(|r| r.limits.as_ref()), deploy.and_then(|r| r.reservations.as_ref()));
    let milli = |cpus: f64| format!("{}m", (cpus * 1000.0).round() as i64);
    let cpu = limits.and_then(|l| l.cpus).or(service.cpus).filter(|c| *c > 0.0).map(milli);
    let memory = limits.and_then(|l| l.memory).or(service.mem_limit).filter(|m| m.0 > 0).map(|m| m.0.to_string());
    let reserved_cpu = reserved.and_then(|l| l.cpus).map(milli);
    let reserved_memory = reserved.and_then(|l| l.memory).or(service.mem_reservation).map(|m| m.0.to_string());
    let mut out = json!({"requests": {
        "cpu": reserved_cpu.unwrap_or_else(|| "0".to_owned()),
        "memory": reserved_memory.unwrap_or_else(|| "0".to_owned()),
    }});
    if let Some(cpu) = cpu {
        out["limits"]["cpu"] = cpu.into();
    }
    if let Some(memory) = memory {
        out["limits"]["memory"] = memory.into();
    }
    out
}

fn security_context(service: &Service) -> Value {
    let mut context = json!({});
    if service.privileged == Some(true) {
        context["privileged"] = true.into();
    }
    if service.read_only == Some(true) {
        context["readOnlyRootFilesystem"] = true.into();
    }
    for (key, list) in [("add", &service.cap_add), ("drop", &service.cap_drop)] {
        if !list.is_empty() {
            let plain = |cap: &String| Value::from(cap.trim_start_matches("CAP_").to_ascii_uppercase());
            context["capabilities"][key] = list.iter().map(plain).collect();
        }
    }
    for option in &service.security_opt {
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, "true"));
        match (name, value) {
            ("no-new-privileges", value) => context["allowPrivilegeEscalation"] = (value == "false").into(),
            ("seccomp", "unconfined") => context["seccompProfile"] = json!({"type": "Unconfined"}),
            ("seccomp", file) => context["seccompProfile"] = json!({"type": "Localhost", "localhostProfile": file}),
            ("apparmor", "unconfined") => context["appArmorProfile"] = json!({"type": "Unconfined"}),
            ("apparmor", name) => context["appArmorProfile"] = json!({"type": "Localhost", "localhostProfile": name}),
            ("systempaths", _) => context["procMount"] = "Unmasked".into(),
            _ => {}
        }
    }
    context
}

fn security(spec: &mut Value, service: &Service) {
    let sysctls: Vec<Value> =
        texts(&service.sysctls).map(|(name, value)| json!({"name": name, "value": value})).collect();
    if !sysctls.is_empty() {
        spec["securityContext"] = json!({"sysctls": sysctls});
    }
}

/// `dns*` and `extra_hosts`.
fn name_service(spec: &mut Value, service: &Service) {
    let mut config = json!({});
    if !service.dns.is_empty() {
        config["nameservers"] = json!(service.dns);
    }
    if !service.dns_search.is_empty() {
        config["searches"] = json!(service.dns_search);
    }
    if !service.dns_opt.is_empty() {
        config["options"] = service
            .dns_opt
            .iter()
            .map(|option| match option.split_once(':') {
                Some((name, value)) => json!({"name": name, "value": value}),
                None => json!({"name": option}),
            })
            .collect();
    }
    if config.as_object().is_some_and(|c| !c.is_empty()) {
        spec["dnsConfig"] = config;
    }
    let mut aliases: Vec<Value> = Vec::new();
    for (host, addresses) in &service.extra_hosts {
        // `host-gateway` is resolved by the node, which alone knows its address: it goes into an annotation.
        let real = addresses.iter().filter(|address| *address != HOST_GATEWAY);
        aliases.extend(real.map(|address| json!({"ip": address, "hostnames": [host]})));
    }
    if !aliases.is_empty() {
        spec["hostAliases"] = aliases.into();
    }
}

/// `deploy.placement` and `platform` as node affinity and spreading.
fn placement(spec: &mut Value, service: &Service, labels: &Map<String, Value>) {
    let mut rules: Vec<Value> = Vec::new();
    if let Some(platform) = &service.platform {
        let mut parts = platform.split('/');
        let (os, arch) = (parts.next(), parts.next());
        rules.extend(os.map(|os| json!({"key": "kubernetes.io/os", "operator": "In", "values": [os]})));
        let arch = arch.map(architecture);
        rules.extend(arch.map(|arch| json!({"key": "kubernetes.io/arch", "operator": "In", "values": [arch]})));
    }
    let placement = service.deploy.as_ref().and_then(|d| d.placement.as_ref());
    for constraint in placement.iter().flat_map(|p| &p.constraints) {
        let (key, operator, value) = match (constraint.split_once("!="), constraint.split_once("==")) {
            (Some((key, value)), _) => (key.trim(), "NotIn", value.trim()),
            (_, Some((key, value))) => (key.trim(), "In", value.trim()),
            _ => continue,
        };
        let value = if key == "node.platform.arch" { architecture(value) } else { value };
        rules.push(json!({"key": node_label(key), "operator": operator, "values": [value]}));
    }
    if !rules.is_empty() {
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": [{"matchExpressions": rules}]});
    }
    let spreads: Vec<Value> = placement
        .iter()
        .flat_map(|p| &p.preferences)
        .map(|preference| {
            json!({
                "maxSkew": 1,
                "topologyKey": node_label(&preference.spread),
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels},
            })
        })
        .collect();
    if !spreads.is_empty() {
        spec["topologySpreadConstraints"] = spreads.into();
    }
}

/// A processor's name as nodes have it: the kernel's names mean the same.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" | "arm64/v8" => "arm64",
        other => other,
    }
}

/// Swarm's names of a node's properties as labels.
fn node_label(key: &str) -> String {
    match key {
        // A node's identifier is its name.
        "node.hostname" | "node.id" => n::HOSTNAME.to_owned(),
        "node.platform.os" => "kubernetes.io/os".to_owned(),
        "node.platform.arch" => "kubernetes.io/arch".to_owned(),
        "node.role" => "naru.io/role".to_owned(),
        _ => {
            let label = key.strip_prefix("node.labels.").or_else(|| key.strip_prefix("engine.labels."));
            label.unwrap_or(key).to_owned()
        }
    }
}
