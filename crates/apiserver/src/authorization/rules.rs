//! RBAC rules and what they match: pure.

use serde::{Deserialize, Serialize};

/// One question: what is to be done to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attributes<'a> {
    /// The verb; for plain paths the lower-case HTTP method.
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    /// Empty for cluster-wide questions.
    pub(crate) namespace: &'a str,
    /// Empty when no single object is meant.
    pub(crate) name: &'a str,
    /// The path, when no resource is meant.
    pub(crate) path: Option<&'a str>,
}

/// `rbac.authorization.k8s.io/v1 PolicyRule`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    #[serde(rename = "apiGroups", skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<String>,
    #[serde(rename = "resourceNames", skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) paths: Vec<String>,
}

// === impl Attributes ===

impl Attributes<'_> {
    /// The sentence a refused user reads (the words clients of Kubernetes know).
    pub(crate) fn refusal(&self, user: &str) -> String {
        if let Some(path) = self.path {
            return format!("User {user:?} cannot {} path {path:?}", self.verb);
        }
        let resource = self.combined();
        let wher = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", self.namespace)
        };
        format!("User {user:?} cannot {} resource {resource:?} in API group {:?} {wher}", self.verb, self.group)
    }

    pub(crate) fn combined(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

// === impl Rule ===

impl Rule {
    /// Whether the rule allows what is asked.
    pub(crate) fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !has(&self.verbs, asked.verb) {
            return false;
        }
        match asked.path {
            Some(path) => self.paths.iter().any(|p| covers_path(p, path)),
            None => {
                has(&self.groups, asked.group)
                    && self.resources.iter().any(|r| covers_resource(r, asked.resource, asked.subresource))
                    && (self.names.is_empty() || (!asked.name.is_empty() && self.names.iter().any(|n| n == asked.name)))
            }
        }
    }
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|w| w == "*" || w == word)
}

fn covers_resource(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    rule.split_once('/').is_some_and(|(r, s)| s == subresource && (r == "*" || r == resource))
}

fn covers_path(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => rule == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Rule { verbs: own(verbs), groups: own(groups), resources: own(resources), names: own(names), paths: vec![] }
    }

    fn pods(verb: &'static str) -> Attributes<'static> {
        Attributes { verb, resource: "pods", namespace: "shop", ..Attributes::default() }
    }

    #[test]
    fn verbs_groups_and_resources_must_all_match() {
        let read = rule(&["get", "list"], &[""], &["pods"], &[]);
        assert!(read.allows(&pods("get")));
        assert!(!read.allows(&pods("delete")));
        assert!(!read.allows(&Attributes { group: "apps", ..pods("get") }));
        assert!(!read.allows(&Attributes { resource: "secrets", ..pods("get") }));
        assert!(rule(&["*"], &["*"], &["*"], &[]).allows(&Attributes { subresource: "exec", ..pods("create") }));
    }

    #[test]
    fn subresources_are_granted_on_their_own() {
        let log = Attributes { subresource: "log", ..pods("get") };
        assert!(!rule(&["get"], &[""], &["pods"], &[]).allows(&log));
        assert!(rule(&["get"], &[""], &["pods/log"], &[]).allows(&log));
        assert!(rule(&["get"], &[""], &["*/log"], &[]).allows(&log));
        assert!(!rule(&["get"], &[""], &["pods/log"], &[]).allows(&pods("get")));
    }

    #[test]
    fn resource_names_limit_to_those_and_never_match_a_list() {
        let one = rule(&["get", "list"], &[""], &["pods"], &["web"]);
        assert!(one.allows(&Attributes { name: "web", ..pods("get") }));
        assert!(!one.allows(&Attributes { name: "db", ..pods("get") }));
        assert!(!one.allows(&pods("list")));
    }

    #[test]
    fn paths_match_exactly_or_by_prefix() {
        let paths =
            Rule { verbs: vec!["get".into()], paths: vec!["/healthz".into(), "/openapi/*".into()], ..Rule::default() };
        let get = |path| Attributes { verb: "get", path: Some(path), ..Attributes::default() };
        assert!(paths.allows(&get("/healthz")));
        assert!(!paths.allows(&get("/healthz/etcd")));
        assert!(paths.allows(&get("/openapi/v3/apis/apps/v1")));
        assert!(!paths.allows(&pods("get")));
        assert!(!rule(&["*"], &["*"], &["*"], &[]).allows(&get("/metrics")), "resources never grant paths");
    }
}
