//! `audit.k8s.io/v1 Policy`: how much of a request is written down. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::event::{Level, Stage};
use crate::authorization::Attributes;
use crate::user::User;

/// A policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

/// One rule. What is empty matches everything.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What is written of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    /// Which stages are left out, by their places in [`Stage::ALL`].
    omitted: [bool; Stage::ALL.len()],
    pub(super) omit_managed_fields: bool,
}

// === impl Policy ===

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &[u8]) -> Result<Policy, String> {
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let policy: Policy = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if (policy.api_version.as_str(), policy.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            let text = "expected apiVersion audit.k8s.io/v1 and kind Policy";
            return Err(format!("{text}, got {} and {}", policy.api_version, policy.kind));
        }
        if policy.rules.is_empty() {
            return Err("it has no rules: by it nothing would ever be written".to_owned());
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|why| format!("rules[{at}]: {why}"))?;
        }
        Ok(policy)
    }

    /// What is written of a request: the first rule that matches says so; where none does, nothing is.
    pub(super) fn judge(&self, user: &User, asked: &Attributes<'_>) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(user, asked));
        let omits = |stage: &Stage| {
            self.omit_stages.contains(stage) || rule.is_some_and(|rule| rule.omit_stages.contains(stage))
        };
        Verdict {
            level: rule.map_or(Level::None, |rule| rule.level),
            omitted: Stage::ALL.map(|stage| omits(&stage)),
            omit_managed_fields: rule.and_then(|rule| rule.omit_managed_fields).unwrap_or(self.omit_managed_fields),
        }
    }
}

// === impl Verdict ===

impl Verdict {
    pub(super) fn omits(&self, stage: Stage) -> bool {
        self.omitted[stage as usize]
    }
}

// === impl Rule ===

impl Rule {
    fn check(&self) -> Result<(), String> {
        if self.of_resources() && !self.paths.is_empty() {
            return Err("rules cannot apply to both regular resources and non-resource URLs".to_owned());
        }
        for path in self.paths.iter().filter(|path| *path != "*") {
            if !path.starts_with('/') {
                return Err(format!("nonResourceURLs: {path:?} must begin with a \"/\""));
            }
            if path.find('*').is_some_and(|at| at + 1 < path.len()) {
                return Err(format!("nonResourceURLs: {path:?}: a \"*\" may only stand at the end"));
            }
        }
        for resources in &self.resources {
            if resources.group.contains('/') {
                return Err(format!("resources: {:?} is a group and a version: give the group alone", resources.group));
            }
            if !resources.resource_names.is_empty() && resources.resources.is_empty() {
                return Err("using resourceNames requires at least one resource".to_owned());
            }
        }
        Ok(())
    }

    fn matches(&self, user: &User, asked: &Attributes<'_>) -> bool {
        let groups = &self.user_groups;
        is_free_or_has(&self.users, &user.name)
            && (groups.is_empty() || user.groups.iter().any(|group| groups.contains(group)))
            && is_free_or_has(&self.verbs, asked.verb)
            && self.is_about(asked)
    }

    /// Whether it is about resources alone.
    fn of_resources(&self) -> bool {
        !self.resources.is_empty() || !self.namespaces.is_empty()
    }

    fn is_about(&self, asked: &Attributes<'_>) -> bool {
        let of_resources = self.of_resources();
        match asked.path {
            Some(path) => !of_resources && (self.paths.is_empty() || self.paths.iter().any(|p| covers(p, path))),
            None if of_resources => {
                // What is in no namespace is in the empty one.
                is_free_or_has(&self.namespaces, asked.namespace)
                    && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.have(asked)))
            }
            None => self.paths.is_empty(),
        }
    }
}

fn is_free_or_has(list: &[String], word: &str) -> bool {
    list.is_empty() || list.iter().any(|known| known == word)
}

fn covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

// === impl Resources ===

impl Resources {
    fn have(&self, asked: &Attributes<'_>) -> bool {
        if self.group != asked.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        is_free_or_has(&self.resource_names, asked.name)
            && self.resources.iter().any(|pattern| {
                let whole = asked.combined();
                *pattern == whole
                    || pattern == "*"
                    || (!asked.subresource.is_empty() && pattern.strip_prefix("*/") == Some(asked.subresource))
                    || pattern.strip_suffix("/*") == Some(asked.resource)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Policy {
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n{rules}");
        Policy::read(text.as_bytes()).expect("a policy")
    }

    fn pods(verb: &'static str) -> Attributes<'static> {
        Attributes { verb, resource: "pods", namespace: "shop", name: "web", ..Attributes::default() }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = policy(
            r#"
- {level: None, users: ["system:kube-proxy"], verbs: [watch], resources: [{group: "", resources: [endpoints, services]}]}
- {level: None, userGroups: ["system:authenticated"], nonResourceURLs: ["/api*", /version]}
- {level: Request, resources: [{group: "", resources: [configmaps]}], namespaces: [kube-system]}
- {level: Metadata, resources: [{group: "", resources: [secrets, configmaps]}], omitStages: [ResponseStarted]}
- {level: RequestResponse, resources: [{group: ""}, {group: apps, resources: [deployments], resourceNames: [web]}],
   omitManagedFields: true}
- {level: Request, resources: [{group: batch, resources: ["*/status", "jobs/*"]}]}
- {level: Metadata, nonResourceURLs: ["/healthz*"]}
"#,
        );
        let kim = User::new("kim", &[]);
        let level = |user: &User, asked: Attributes<'_>| policy.judge(user, &asked).level;
        let services = Attributes { verb: "watch", resource: "services", ..Attributes::default() };
        assert_eq!(level(&User::new("system:kube-proxy", &[]), services), Level::None);
        assert_eq!(level(&kim, services), Level::RequestResponse);
        let path = |path| Attributes { verb: "get", path: Some(path), ..Attributes::default() };
        assert_eq!(level(&kim, path("/apis/apps")), Level::None);
        assert_eq!(level(&User::anonymous(), path("/healthz/etcd")), Level::Metadata);
        assert_eq!(level(&kim, path("/metrics")), Level::None, "no rule matches");
        let maps = |namespace| Attributes { resource: "configmaps", namespace, ..pods("get") };
        assert_eq!(level(&kim, maps("kube-system")), Level::Request);
        assert_eq!(level(&kim, maps("shop")), Level::Metadata);
        let deployments = |name| Attributes { group: "apps", resource: "deployments", name, ..pods("get") };
        assert_eq!(level(&kim, deployments("web")), Level::RequestResponse);
        assert_eq!(level(&kim, deployments("db")), Level::None);
        assert_eq!(level(&kim, Attributes { subresource: "scale", ..deployments("web") }), Level::None);
        let jobs = |subresource| Attributes { group: "batch", resource: "jobs", subresource, ..pods("get") };
        assert_eq!(level(&kim, jobs("status")), Level::Request);
        assert_eq!(level(&kim, jobs("other")), Level::Request);
        assert_eq!(level(&kim, jobs("")), Level::Request, "as in Kubernetes, where jobs/* means jobs, too");
        let verdict = policy.judge(&kim, &pods("get"));
        assert!(verdict.omit_managed_fields && verdict.omits(Stage::RequestReceived));
        let verdict = policy.judge(&kim, &maps("shop"));
        assert!(!verdict.omit_managed_fields && verdict.omits(Stage::ResponseStarted));
        assert!(!verdict.omits(Stage::ResponseComplete) && !verdict.omits(Stage::Panic));
    }

    #[test]
    fn a_policy_that_means_nothing_is_refused_with_the_reason() {
        let refused = |text: &str| Policy::read(text.as_bytes()).expect_err("refused");
        let head = "{apiVersion: audit.k8s.io/v1, kind: Policy";
        for (text, why) in [
            (
                "{apiVersion: audit.k8s.io/v1beta1, kind: Policy, rules: [{level: None}]}".to_owned(),
                "expected apiVersion",
            ),
            (format!("{head}}}"), "no rules"),
            (format!("{head}, rules: [{{level: All}}]}}"), "unknown variant"),
            (format!("{head}, rules: [{{users: [kim]}}]}}"), "missing field `level`"),
            (format!("{head}, rules: [{{level: None, user: [kim]}}]}}"), "unknown field `user`"),
            (format!("{head}, rules: [{{level: None, nonResourceURLs: [api]}}]}}"), "rules[0]: nonResourceURLs"),
            (format!("{head}, rules: [{{level: None, nonResourceURLs: ['/a*b']}}]}}"), "only stand at the end"),
            (
                format!("{head}, rules: [{{level: None, nonResourceURLs: ['/a'], namespaces: [b]}}]}}"),
                "cannot apply to both",
            ),
            (format!("{head}, rules: [{{level: None, resources: [{{group: apps/v1}}]}}]}}"), "give the group alone"),
            (
                format!("{head}, rules: [{{level: None, resources: [{{resourceNames: [a]}}]}}]}}"),
                "at least one resource",
            ),
            ("[".to_owned(), ""),
        ] {
            let told = refused(&text);
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
