//! The downward API: what a pod can be told about itself.

use std::net::IpAddr;

use naru_api::{
    Quantity,
    k8s::api::core::v1::{Container, Pod},
};

use super::TranslateError;

/// What only the node knows of a pod.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The node's name.
    pub node_name: String,
    /// The node's addresses.
    pub host_ips: Vec<IpAddr>,
    /// The pod's addresses.
    pub pod_ips: Vec<IpAddr>,
    /// The node's allocatable CPU in thousandths, which stands for an absent limit.
    pub cpu_milli: i64,
    /// The node's allocatable memory in bytes, likewise.
    pub memory: i64,
}

/// A key of a map that is not there reads as empty.
pub type Missing = TranslateError;

/// The value of a `fieldRef`.
///
/// # Errors
/// When the path names nothing that pods can be told.
pub fn field(pod: &Pod, facts: &Facts, path: &str) -> Result<String, TranslateError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let addresses = |list: &[IpAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let value = match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => {
            spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_else(|| "default".into())
        }
        "status.hostIP" => addresses(&facts.host_ips).into_iter().next().unwrap_or_default(),
        "status.hostIPs" => addresses(&facts.host_ips).join(","),
        "status.podIP" => addresses(&facts.pod_ips).into_iter().next().unwrap_or_default(),
        "status.podIPs" => addresses(&facts.pod_ips).join(","),
        other => {
            let entry = |map: &str| other.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']").map(str::to_owned);
            if let Some(key) = entry("metadata.labels") {
                meta.labels.as_ref().and_then(|map| map.get(&key).cloned()).unwrap_or_default()
            } else if let Some(key) = entry("metadata.annotations") {
                meta.annotations.as_ref().and_then(|map| map.get(&key).cloned()).unwrap_or_default()
            } else {
                let hint = "use metadata.name, .namespace, .uid, .labels['key'], .annotations['key'], spec.nodeName, \
                            spec.serviceAccountName, status.hostIP(s) or status.podIP(s)";
                return Err(TranslateError::Field { field: other.to_owned(), hint });
            }
        }
    };
    Ok(value)
}

/// A map as a downward API file shows it: `key="value"` a line, quoted as Go does.
fn lines(map: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let quoted = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    quoted.collect::<Vec<_>>().join("\n")
}

/// The value of a `resourceFieldRef` for `container`, in units of `divisor`, rounded up.
///
/// # Errors
/// When the resource or the divisor is unknown.
pub fn resource_field(
    container: &Container,
    facts: &Facts,
    resource: &str,
    divisor: Option<&str>,
) -> Result<String, TranslateError> {
    let unknown = |hint| TranslateError::Field { field: resource.to_owned(), hint };
    let (kind, name) = resource.split_once('.').ok_or_else(|| unknown("expected limits.<name> or requests.<name>"))?;
    let resources = container.resources.as_ref();
    let list = match kind {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unknown("expected limits.<name> or requests.<name>")),
    };
    let written = list.and_then(|list| list.get(name)).and_then(|quantity| Quantity::parse(&quantity.0).ok());
    let divisor = match divisor {
        None | Some("" | "0") => Quantity::from_units(1),
        Some(text) => Quantity::parse(text).map_err(|_| unknown("the divisor is not a quantity"))?,
    };
    // In thousandths for CPU, where fractions are usual, and in whole units for all else.
    let (amount, unit) = match name {
        "cpu" => {
            let absent = if kind == "limits" { facts.cpu_milli } else { 0 };
            (written.map_or(absent, |quantity| quantity.milli()), divisor.milli())
        }
        "memory" => {
            let absent = if kind == "limits" { facts.memory } else { 0 };
            (written.map_or(absent, |quantity| quantity.value()), divisor.value())
        }
        _ => (written.map_or(0, |quantity| quantity.value()), divisor.value()),
    };
    let unit = unit.max(1);
    Ok(amount.div_euclid(unit).saturating_add(i64::from(amount.rem_euclid(unit) > 0)).to_string())
}
