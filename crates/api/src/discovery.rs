//! Discovery documents.

use serde_json::Value;

use crate::kind::Registry;

/// `/api`: the versions of the core group. `server` is the address that clients are told (`host:port`).
pub fn api_versions(_registry: &Registry, _server: &str) -> Value {
    Value::Null
}

/// `/apis`: the groups.
pub fn api_group_list(_registry: &Registry) -> Value {
    Value::Null
}

/// `/apis/{group}`: one group.
pub fn api_group(_registry: &Registry, _group: &str) -> Option<Value> {
    None
}

/// `/api/v1`, `/apis/{group}/{version}`: the resources of one group and version.
pub fn api_resource_list(_registry: &Registry, _group: &str, _version: &str) -> Option<Value> {
    None
}

/// The aggregated form (`apidiscovery.k8s.io/v2`) of `/api` (`core`) or `/apis`.
pub fn aggregated(_registry: &Registry, _core: bool) -> Value {
    Value::Null
}
