//! What the Pod Security Standards ask of a pod: one function a control, each telling what breaks it in the words that
//! users of Kubernetes know. Pure.
//!
//! The standards: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, as of 1.36.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Level;

/// Something that breaks a standard: what, and who does it.
pub(super) type Violation = (&'static str, String);
type Check = fn(&Pod<'_>) -> Option<Violation>;

/// The controls of the baseline.
const BASELINE: [Check; 12] = [
    app_armor,
    default_capabilities,
    host_namespaces,
    host_path,
    host_ports,
    probe_hosts,
    privileged,
    proc_mount,
    se_linux,
    baseline_seccomp,
    sysctls,
    windows_host_process,
];
/// What the restricted standard adds. Its capabilities and seccomp profiles stand in for those of the baseline.
const RESTRICTED: [Check; 6] =
    [escalation, restricted_capabilities, volume_types, run_as_non_root, run_as_root, restricted_seccomp];

/// A pod's specification with its metadata.
pub(super) struct Pod<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
}

/// What in a pod breaks a standard.
pub(super) fn violations(pod: &Pod<'_>, level: Level) -> Vec<Violation> {
    let judge = |checks: &[Check]| checks.iter().filter_map(|check| check(pod)).collect::<Vec<_>>();
    match level {
        Level::Privileged => Vec::new(),
        Level::Baseline => judge(&BASELINE),
        Level::Restricted => {
            let mut found = judge(&RESTRICTED);
            let stricter = ["unrestricted capabilities", "seccompProfile"];
            let known: Vec<&str> = found.iter().map(|(what, _)| *what).filter(|what| stricter.contains(what)).collect();
            found.extend(judge(&BASELINE).into_iter().filter(|(what, _)| match *what {
                "non-default capabilities" => !known.contains(&"unrestricted capabilities"),
                what => !known.contains(&what),
            }));
            found
        }
    }
}

impl<'a> Pod<'a> {
    /// Containers of all three sorts.
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| spec[list].as_array().into_iter().flatten())
    }

    /// Names of the containers for which something holds.
    fn those(&self, holds: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| holds(container)).map(name).collect()
    }

    fn context(&self) -> &'a Value {
        &self.spec["securityContext"]
    }

    /// The security contexts of the pod and of its containers.
    fn contexts(&self) -> impl Iterator<Item = &'a Value> {
        std::iter::once(self.context()).chain(self.containers().map(|container| &container["securityContext"]))
    }

    fn is_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// The pod and those containers whose security context does something.
    fn setters(&self, does: impl Fn(&'a Value) -> bool) -> Option<String> {
        let mut setters = Vec::new();
        if does(self.context()) {
            setters.push("pod".to_owned());
        }
        let bad = self.those(|container| does(&container["securityContext"]));
        if !bad.is_empty() {
            setters.push(containers(&bad));
        }
        (!setters.is_empty()).then(|| setters.join(" and "))
    }
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

fn quoted<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    words.into_iter().map(|word| format!("{:?}", word.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural<'w>(count: usize, one: &'w str, many: &'w str) -> &'w str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let fine = |profile: &str| matches!(profile, "" | "runtime/default") || profile.starts_with("localhost/");
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let mut bad: Vec<String> = annotations
        .filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .filter_map(|(key, value)| Some((key, value.as_str().filter(|profile| !fine(profile))?)))
        .map(|(key, profile)| format!("{key}={profile:?}"))
        .collect();
    let of = |context: &Value| context["appArmorProfile"]["type"] == "Unconfined";
    if let Some(setters) = pod.setters(of) {
        bad.push(format!("{setters} must not set AppArmor profile type to \"Unconfined\""));
    }
    let what = plural(bad.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    (!bad.is_empty()).then(|| (what, bad.join(", ")))
}

fn default_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    const DEFAULT: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let detail = added(pod, &DEFAULT)?;
    Some(("non-default capabilities", detail))
}

/// Who adds capabilities other than those that are allowed.
fn added(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    let of = |container: &'_ Value| -> Vec<String> {
        let all = texts(&container["securityContext"]["capabilities"]["add"]);
        all.filter(|capability| !allowed.contains(capability)).map(str::to_owned).collect()
    };
    let names = pod.those(|container| !of(container).is_empty());
    let bad: BTreeSet<String> = pod.containers().flat_map(of).collect();
    (!names.is_empty()).then(|| {
        format!("{} must not include {} in securityContext.capabilities.add", containers(&names), quoted(&bad))
    })
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!shared.is_empty()).then(|| ("host namespaces", shared.join(", ")))
}

fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let bad: Vec<&str> = volumes.filter(|volume| volume.get("hostPath").is_some()).map(name).collect();
    let detail = || format!("{} {}", plural(bad.len(), "volume", "volumes"), quoted(&bad));
    (!bad.is_empty()).then(|| ("hostPath volumes", detail()))
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let of = |container: &Value| -> Vec<u64> {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports.filter_map(|port| port["hostPort"].as_u64()).filter(|port| *port != 0).collect()
    };
    let bad = pod.those(|container| !of(container).is_empty());
    let ports: BTreeSet<String> = pod.containers().flat_map(of).map(|port| port.to_string()).collect();
    let detail = || {
        let (uses, word) = (plural(bad.len(), "uses", "use"), plural(ports.len(), "hostPort", "hostPorts"));
        let list: Vec<&str> = ports.iter().map(String::as_str).collect();
        format!("{} {uses} {word} {}", containers(&bad), list.join(", "))
    };
    (!bad.is_empty()).then(|| ("hostPort", detail()))
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Violation> {
    let of = |container: &Value| -> Vec<String> {
        let handlers =
            ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
        let found = handlers.iter().filter_map(|at| container.pointer(at));
        let hosts = found.flat_map(|handler| [&handler["httpGet"]["host"], &handler["tcpSocket"]["host"]]);
        hosts.filter_map(Value::as_str).filter(|host| !host.is_empty()).map(str::to_owned).collect()
    };
    let bad = pod.those(|container| !of(container).is_empty());
    let hosts: BTreeSet<String> = pod.containers().flat_map(of).collect();
    let detail = || {
        let uses = plural(bad.len(), "uses", "use");
        let word = plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts");
        format!("{} {uses} {word} {}", containers(&bad), quoted(&hosts))
    };
    (!bad.is_empty()).then(|| ("probe or lifecycle host", detail()))
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.those(|container| container["securityContext"]["privileged"] == true);
    (!bad.is_empty())
        .then(|| ("privileged", format!("{} must not set securityContext.privileged=true", containers(&bad))))
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    if pod.spec["hostUsers"] == false {
        return None; // its root is nobody outside
    }
    let of = |container: &Value| {
        let kind = container["securityContext"]["procMount"].as_str().unwrap_or_default().to_owned();
        Some(kind).filter(|kind| !matches!(kind.as_str(), "" | "Default"))
    };
    let bad = pod.those(|container| of(container).is_some());
    let kinds: BTreeSet<String> = pod.containers().filter_map(of).collect();
    let detail = || format!("{} must not set securityContext.procMount to {}", containers(&bad), quoted(&kinds));
    (!bad.is_empty()).then(|| ("procMount", detail()))
}

fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    const TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let text = |context: &Value, field: &str| context["seLinuxOptions"][field].as_str().unwrap_or_default().to_owned();
    let bad = |context: &Value| {
        !TYPES.contains(&text(context, "type").as_str())
            || !text(context, "user").is_empty()
            || !text(context, "role").is_empty()
    };
    let setters = pod.setters(bad)?;
    let types: BTreeSet<String> =
        pod.contexts().map(|context| text(context, "type")).filter(|kind| !TYPES.contains(&kind.as_str())).collect();
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(&types)));
    }
    for field in ["user", "role"] {
        if pod.contexts().any(|context| !text(context, field).is_empty()) {
            data.push(format!("{field} may not be set"));
        }
    }
    Some(("seLinuxOptions", format!("{setters} set forbidden securityContext.seLinuxOptions: {}", data.join("; "))))
}

fn seccomp(context: &Value) -> Option<&str> {
    context["seccompProfile"]["type"].as_str()
}

fn baseline_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| seccomp(context) == Some("Unconfined"))?;
    Some(("seccompProfile", format!("{setters} must not set securityContext.seccompProfile.type to \"Unconfined\"")))
}

fn restricted_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let bad = |context: &Value| seccomp(context).is_some_and(|kind| !matches!(kind, "RuntimeDefault" | "Localhost"));
    if let Some(setters) = pod.setters(bad) {
        let kinds: BTreeSet<&str> = pod.contexts().filter(|context| bad(context)).filter_map(seccomp).collect();
        let text = format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted(kinds));
        return Some(("seccompProfile", text));
    }
    if seccomp(pod.context()).is_some() {
        return None;
    }
    let silent = pod.those(|container| seccomp(&container["securityContext"]).is_none());
    let detail = || {
        let who = containers(&silent);
        format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"")
    };
    (!silent.is_empty()).then(|| ("seccompProfile", detail()))
}

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    const SAFE: [&str; 12] = [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    ];
    let set = pod.context()["sysctls"].as_array().into_iter().flatten();
    let bad: Vec<&str> = set.map(name).filter(|name| !SAFE.contains(name)).collect();
    (!bad.is_empty()).then(|| ("forbidden sysctls", bad.join(", ")))
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| context["windowsOptions"]["hostProcess"] == true)?;
    Some(("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true")))
}

fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let bad = pod.those(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    let detail = || format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
    (!bad.is_empty()).then(|| ("allowPrivilegeEscalation != false", detail()))
}

fn restricted_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let mut details = Vec::new();
    let keeps =
        pod.those(|container| texts(&container["securityContext"]["capabilities"]["drop"]).all(|it| it != "ALL"));
    if !keeps.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeps)));
    }
    details.extend(added(pod, &["NET_BIND_SERVICE"]));
    (!details.is_empty()).then(|| ("unrestricted capabilities", details.join("; ")))
}

fn volume_types(pod: &Pod<'_>) -> Option<Violation> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let of = |volume: &Value| -> Option<String> {
        let mut fields = volume.as_object()?.keys().filter(|key| *key != "name");
        let kind = fields.next().map_or("unknown", String::as_str);
        (!ALLOWED.contains(&kind)).then(|| kind.to_owned())
    };
    let volumes = || pod.spec["volumes"].as_array().into_iter().flatten();
    let bad: Vec<&str> = volumes().filter(|volume| of(volume).is_some()).map(name).collect();
    let kinds: BTreeSet<String> = volumes().filter_map(of).collect();
    let detail = || {
        let (who, uses) = (plural(bad.len(), "volume", "volumes"), plural(bad.len(), "uses", "use"));
        let kind = plural(kinds.len(), "type", "types");
        format!("{who} {} {uses} restricted volume {kind} {}", quoted(&bad), quoted(&kinds))
    };
    (!bad.is_empty()).then(|| ("restricted volume types", detail()))
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    const WHAT: &str = "runAsNonRoot != true";
    if pod.spec["hostUsers"] == false {
        return None; // its root is nobody outside
    }
    if let Some(setters) = pod.setters(|context| context["runAsNonRoot"] == false) {
        return Some((WHAT, format!("{setters} must not set securityContext.runAsNonRoot=false")));
    }
    if pod.context()["runAsNonRoot"] == true {
        return None;
    }
    let silent = pod.those(|container| container["securityContext"]["runAsNonRoot"] != true);
    let detail = || format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent));
    (!silent.is_empty()).then(|| (WHAT, detail()))
}

fn run_as_root(pod: &Pod<'_>) -> Option<Violation> {
    if pod.spec["hostUsers"] == false {
        return None;
    }
    let setters = pod.setters(|context| context["runAsUser"] == 0)?;
    Some(("runAsUser=0", format!("{setters} must not set runAsUser=0")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(spec: Value, level: Level) -> Vec<String> {
        let pod = Pod { metadata: &json!({}), spec: &spec };
        violations(&pod, level).into_iter().map(|(what, detail)| format!("{what} ({detail})")).collect()
    }

    /// A pod that keeps the strictest standard.
    fn strict() -> Value {
        json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "a", "securityContext": {"allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]}}}]})
    }

    #[test]
    fn a_plain_pod_keeps_the_baseline_and_not_more() {
        let plain = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        assert!(told(plain.clone(), Level::Baseline).is_empty());
        assert_eq!(
            told(plain.clone(), Level::Restricted),
            [
                "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false)",
                "unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"])",
                "runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true)",
                "seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
            ]
        );
        assert!(told(strict(), Level::Restricted).is_empty());
        assert!(told(plain, Level::Privileged).is_empty());
    }

    #[test]
    fn each_control_is_broken_by_what_it_forbids() {
        // Where, what, and how the message begins; at the level that has the control.
        let cases = [
            ("/hostPID", json!(true), "host namespaces (hostPID=true)"),
            ("/containers/0/securityContext/privileged", json!(true), "privileged (container \"a\""),
            (
                "/containers/0/securityContext/capabilities/add",
                json!(["NET_ADMIN"]),
                "unrestricted capabilities (container \"a\" must not include \"NET_ADMIN\"",
            ),
            ("/volumes", json!([{"name": "v", "hostPath": {"path": "/"}}]), "hostPath volumes (volume \"v\")"),
            (
                "/volumes",
                json!([{"name": "v", "nfs": {}}]),
                "restricted volume types (volume \"v\" uses restricted volume type \"nfs\")",
            ),
            (
                "/containers/0/ports",
                json!([{"hostPort": 80}, {"hostPort": 81}]),
                "hostPort (container \"a\" uses hostPorts 80, 81)",
            ),
            (
                "/containers/0/livenessProbe",
                json!({"httpGet": {"host": "x"}}),
                "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"x\")",
            ),
            ("/containers/0/securityContext/procMount", json!("Unmasked"), "procMount (container \"a\""),
            (
                "/securityContext/seLinuxOptions",
                json!({"type": "x", "user": "u"}),
                "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set)",
            ),
            ("/securityContext/seccompProfile/type", json!("Unconfined"), "seccompProfile (pod must not set"),
            ("/securityContext/sysctls", json!([{"name": "kernel.msgmax"}]), "forbidden sysctls (kernel.msgmax)"),
            ("/securityContext/windowsOptions", json!({"hostProcess": true}), "hostProcess (pod must not set"),
            (
                "/securityContext/appArmorProfile",
                json!({"type": "Unconfined"}),
                "forbidden AppArmor profile (pod must not",
            ),
            (
                "/containers/0/securityContext/runAsNonRoot",
                json!(false),
                "runAsNonRoot != true (container \"a\" must not set",
            ),
            ("/securityContext/runAsUser", json!(0), "runAsUser=0 (pod must not set runAsUser=0)"),
        ];
        for (at, value, begins) in cases {
            let mut spec = strict();
            let (parent, field) = at.rsplit_once('/').unwrap();
            spec.pointer_mut(parent).unwrap()[field] = value;
            let told = told(spec, Level::Restricted);
            assert!(told.iter().any(|text| text.starts_with(begins)), "{at}: {told:?}");
        }
    }
}
