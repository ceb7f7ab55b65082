//! Defaults of pods and pod templates.

use serde_json::{Value, json};

use super::edit::{Object, child, each, is_unset, make, set, text};

/// A pod.
pub(super) fn pod(object: &mut Object) {
    make(object, "spec", |spec| {
        spec_defaults(spec);
        set(spec, "enableServiceLinks", true);
        for list in ["containers", "initContainers"] {
            each(spec, list, |container| make(container, "resources", requests_from_limits));
        }
    });
}

/// A pod template (`metadata` and `spec`).
pub(super) fn template(object: &mut Object) {
    make(object, "spec", spec_defaults);
}

/// Adds the tolerations that let a pod stay on an unreachable or not-ready node for `seconds`, unless it has its own.
pub fn default_tolerations(pod: &mut Value, seconds: i64) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let list = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    for taint in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |t: &Value| {
            let key = t.get("key").and_then(Value::as_str).unwrap_or_default();
            let effect = t.get("effect").and_then(Value::as_str).unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !list.iter().any(covers) {
            list.push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds,
            }));
        }
    }
}

fn spec_defaults(spec: &mut Object) {
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "restartPolicy", "Always");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "schedulerName", "default-scheduler");
    make(spec, "securityContext", |_| {});
    // The old and the new name of one field are kept alike.
    match (text(spec, "serviceAccountName").to_owned(), text(spec, "serviceAccount").to_owned()) {
        (name, _) if !name.is_empty() => drop(spec.insert("serviceAccount".to_owned(), name.into())),
        (_, old) if !old.is_empty() => drop(spec.insert("serviceAccountName".to_owned(), old.into())),
        _ => {}
    }
    let host_network = spec.get("hostNetwork").is_some_and(|h| h == true);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list, |container| container_defaults(container, host_network));
    }
    each(spec, "volumes", volume);
}

fn container_defaults(container: &mut Object, host_network: bool) {
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    let policy = pull_policy(text(container, "image"));
    set(container, "imagePullPolicy", policy);
    each(container, "ports", |port| {
        set(port, "protocol", "TCP");
        if host_network && port.get("hostPort").is_none_or(|p| *p == 0) {
            let same = port.get("containerPort").cloned().unwrap_or_default();
            port.insert("hostPort".to_owned(), same);
        }
    });
    each(container, "env", |variable| child(variable, "valueFrom", |from| child(from, "fieldRef", field_ref)));
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        child(container, name, probe);
    }
    child(container, "lifecycle", |lifecycle| {
        for hook in ["postStart", "preStop"] {
            child(lifecycle, hook, |hook| child(hook, "httpGet", http_get));
        }
    });
}

/// Images that may change under their name are pulled at every start.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let name = image.rsplit_once('/').map_or(image, |(_, name)| name);
    match name.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn field_ref(reference: &mut Object) {
    set(reference, "apiVersion", "v1");
}

fn probe(probe: &mut Object) {
    for (key, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(key).is_none_or(|v| *v == 0) {
            probe.insert(key.to_owned(), value.into());
        }
    }
    child(probe, "httpGet", http_get);
    child(probe, "grpc", |grpc| {
        if !grpc.contains_key("service") {
            grpc.insert("service".to_owned(), "".into());
        }
    });
}

fn http_get(get: &mut Object) {
    set(get, "path", "/");
    set(get, "scheme", "HTTP");
}

/// What a container is promised is at least what it may use, unless it says less.
fn requests_from_limits(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    make(resources, "requests", |requests| {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    });
}

fn volume(volume: &mut Object) {
    if volume.keys().all(|k| k == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        child(volume, source, |source| {
            set(source, "defaultMode", 0o644);
            each(source, "items", |item| child(item, "fieldRef", field_ref));
        });
    }
    child(volume, "projected", |projected| {
        each(projected, "sources", |source| {
            child(source, "serviceAccountToken", |token| set(token, "expirationSeconds", 3600));
            child(source, "downwardAPI", |api| each(api, "items", |item| child(item, "fieldRef", field_ref)));
        });
    });
    child(volume, "hostPath", |path| {
        if is_unset(path, "type") {
            path.insert("type".to_owned(), "".into());
        }
    });
    child(volume, "image", |image| {
        let policy = pull_policy(text(image, "reference"));
        set(image, "pullPolicy", policy);
    });
    child(volume, "ephemeral", |source| {
        child(source, "volumeClaimTemplate", |t| child(t, "spec", |spec| set(spec, "volumeMode", "Filesystem")));
    });
}
