//! A container's environment.

use std::collections::BTreeMap;

use naru_api::k8s::api::core::v1::{Container, EnvVarSource, Pod};

use super::{Facts, Lookup, TranslateError, expand, fields};

/// Variables in order, each name once: a later value replaces an earlier one in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Environment {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Environment {
    pub(super) fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    /// Values by name.
    pub(super) fn into_values(self) -> BTreeMap<String, String> {
        self.values
    }

    /// `NAME=value` lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.order.iter().map(|name| format!("{name}={}", self.values[name])).collect()
    }

    /// Adds lines as an image has them.
    pub(super) fn extend_lines(&mut self, lines: &[String]) {
        for line in lines {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            self.set(name, value.to_owned());
        }
    }
}

/// What the spec itself sets: `envFrom`, then `env`. `services` (from service links) can be referred to and overridden.
pub(super) fn environment(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    lookup: &Lookup,
    services: &BTreeMap<String, String>,
) -> Result<Environment, TranslateError> {
    let mut own = Environment::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let map = match (&source.config_map_ref, &source.secret_ref) {
            (Some(reference), _) => lookup.config_map(&reference.name, reference.optional == Some(true))?,
            (None, Some(reference)) => lookup.secret(&reference.name, reference.optional == Some(true))?,
            (None, None) => None,
        };
        for (key, value) in map.into_iter().flatten() {
            own.set(&format!("{prefix}{key}"), value);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value_from, &variable.value) {
            (Some(source), _) => match from(pod, container, facts, lookup, source)? {
                Some(value) => value,
                None => continue,
            },
            (None, value) => {
                let known = |name: &str| own.get(name).or_else(|| services.get(name).cloned());
                expand(value.as_deref().unwrap_or_default(), known)
            }
        };
        own.set(&variable.name, value);
    }
    let mut all = Environment::default();
    for (name, value) in services {
        if own.get(name).is_none() {
            all.set(name, value.clone());
        }
    }
    for name in &own.order {
        all.set(name, own.values[name].clone());
    }
    Ok(all)
}

fn from(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    lookup: &Lookup,
    source: &EnvVarSource,
) -> Result<Option<String>, TranslateError> {
    if let Some(reference) = &source.field_ref {
        return fields::field(pod, facts, &reference.field_path).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        let divisor = reference.divisor.as_ref().map(|quantity| quantity.0.as_str());
        let named = reference.container_name.as_deref().filter(|name| !name.is_empty());
        let other =
            named.and_then(|name| pod.spec.iter().flat_map(|spec| &spec.containers).find(|other| other.name == name));
        return fields::resource_field(other.unwrap_or(container), facts, &reference.resource, divisor).map(Some);
    }
    let (kind, name, key, optional, map) = if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional == Some(true);
        ("ConfigMap", &reference.name, &reference.key, optional, lookup.config_map(&reference.name, optional)?)
    } else if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional == Some(true);
        ("Secret", &reference.name, &reference.key, optional, lookup.secret(&reference.name, optional)?)
    } else {
        return Ok(Some(String::new()));
    };
    match map.and_then(|map| map.get(key).cloned()) {
        Some(value) => Ok(Some(value)),
        None if optional => Ok(None),
        None => Err(lookup.no_key(kind, name, key)),
    }
}
