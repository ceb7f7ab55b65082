//! Roles and bindings, arranged by subject.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use naru_api::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

use super::rules::{Attributes, Rule};
use crate::user::{User, service_account_of};

/// Where the objects of an index lie in the store.
pub(crate) const COLLECTIONS: [&str; 4] = [
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
];

/// The rules of one role.
pub(crate) type Rules = Arc<[Rule]>;

/// The compiled index.
#[derive(Debug, Default)]
pub(crate) struct Rbac {
    cluster: BySubject,
    namespaces: HashMap<String, BySubject>,
    roles: HashMap<(String, String), Rules>,
    /// Cluster roles that collect others and whose object holds other rules than those.
    outdated: Vec<(String, Rules)>,
}

type BySubject = HashMap<Subject, Vec<Granted>>;

/// The rules that a binding gives, and by which binding that is, in the words of Kubernetes.
#[derive(Debug, Clone)]
struct Granted {
    rules: Rules,
    by: Arc<str>,
}

/// The objects the index is compiled from, as they stand.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// By namespace (empty for cluster roles) and name.
    roles: HashMap<(String, String), Role>,
    /// By namespace (empty for cluster role bindings) and name.
    bindings: HashMap<(String, String), Binding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug, Deserialize)]
struct Role {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    rules: Option<Vec<Rule>>,
    #[serde(default, rename = "aggregationRule")]
    aggregation: Option<Aggregation>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: Option<serde_json::Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct Aggregation {
    #[serde(default, rename = "clusterRoleSelectors")]
    selectors: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct Binding {
    #[serde(rename = "roleRef")]
    role: RoleRef,
    #[serde(default)]
    subjects: Option<Vec<SubjectRef>>,
}

#[derive(Debug, Deserialize)]
struct RoleRef {
    kind: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct SubjectRef {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: String,
}

// === impl Follower ===

impl Follower {
    /// Takes in one object's state (`None`: it is gone). Objects that cannot be read grant nothing.
    pub(crate) fn take(&mut self, collection: &str, namespace: &str, name: &str, object: Option<&[u8]>) {
        let key = (namespace.to_owned(), name.to_owned());
        if collection.contains("bindings") {
            match object.and_then(|o| serde_json::from_slice(o).ok()) {
                Some(binding) => self.bindings.insert(key, binding),
                None => self.bindings.remove(&key),
            };
        } else {
            match object.and_then(|o| serde_json::from_slice(o).ok()) {
                Some(role) => self.roles.insert(key, role),
                None => self.roles.remove(&key),
            };
        }
    }

    /// Forgets everything of one collection.
    pub(crate) fn forget(&mut self, collection: &str) {
        let cluster = collection.starts_with("cluster");
        if collection.contains("bindings") {
            self.bindings.retain(|(namespace, _), _| namespace.is_empty() != cluster);
        } else {
            self.roles.retain(|(namespace, _), _| namespace.is_empty() != cluster);
        }
    }

    /// Compiles the index.
    pub(crate) fn compile(&self) -> Rbac {
        let mut index = Rbac::default();
        for (key, role) in &self.roles {
            let rules: Rules = match role.aggregation.is_some() && key.0.is_empty() {
                true => self.collected(&key.1, role).into(),
                false => role.rules.clone().unwrap_or_default().into(),
            };
            if role.aggregation.is_some() && key.0.is_empty() && *rules != *role.rules.as_deref().unwrap_or_default() {
                index.outdated.push((key.1.clone(), rules.clone()));
            }
            index.roles.insert(key.clone(), rules);
        }
        for ((namespace, name), binding) in &self.bindings {
            let home = if binding.role.kind == "ClusterRole" { "" } else { namespace.as_str() };
            let Some(rules) = index.roles.get(&(home.to_owned(), binding.role.name.clone())) else { continue };
            let by_subject = if namespace.is_empty() {
                &mut index.cluster
            } else {
                index.namespaces.entry(namespace.clone()).or_default()
            };
            let RoleRef { kind, name: role } = &binding.role;
            let by: Arc<str> = match namespace.as_str() {
                "" => format!("ClusterRoleBinding {name:?} of {kind} {role:?}").into(),
                namespace => format!("RoleBinding \"{name}/{namespace}\" of {kind} {role:?}").into(),
            };
            for subject in binding.subjects.iter().flatten().filter_map(|s| s.resolve(namespace)) {
                let granted = Granted { rules: rules.clone(), by: by.clone() };
                by_subject.entry(subject).or_default().push(granted);
            }
        }
        index
    }

    /// The rules of the cluster roles that a role aggregates, which may aggregate others in turn (whatever extends `view`
    /// extends `edit`). What stands in the role itself is what was collected before, and counts for nothing.
    fn collected(&self, name: &str, role: &Role) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        let mut seen = BTreeSet::from([name]);
        let mut open = vec![role];
        while let Some(role) = open.pop() {
            for (name, other) in self.aggregated(role) {
                if !seen.insert(name) {
                    continue;
                }
                if other.aggregation.is_some() {
                    open.push(other);
                    continue;
                }
                for rule in other.rules.iter().flatten() {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
        rules
    }

    /// The cluster roles that a role's aggregation rule selects, in order of their names.
    fn aggregated(&self, role: &Role) -> Vec<(&str, &Role)> {
        let Some(selectors) = role.aggregation.as_ref().and_then(|a| a.selectors.as_ref()) else { return vec![] };
        let selectors: Vec<_> = selectors.iter().filter_map(|s| LabelSelector::from_object(s).ok()).collect();
        let none = serde_json::Map::new();
        let mut chosen: Vec<_> = self
            .roles
            .iter()
            .filter(|((namespace, _), other)| {
                let labels = other.metadata.labels.as_ref().unwrap_or(&none);
                namespace.is_empty() && selectors.iter().any(|s| s.matches(labels))
            })
            .map(|((_, name), other)| (name.as_str(), other))
            .collect();
        chosen.sort_by_key(|(name, _)| *name);
        chosen
    }
}

// === impl SubjectRef ===

impl SubjectRef {
    fn resolve(&self, namespace: &str) -> Option<Subject> {
        Some(match self.kind.as_str() {
            "User" => Subject::User(self.name.clone()),
            "Group" => Subject::Group(self.name.clone()),
            "ServiceAccount" => {
                let home = if self.namespace.is_empty() { namespace } else { &self.namespace };
                Subject::User(format!("system:serviceaccount:{home}:{}", self.name))
            }
            _ => return None,
        })
    }
}

// === impl Rbac ===

impl Rbac {
    /// Whether `user` may do what is asked.
    pub(crate) fn allows(&self, user: &User, asked: &Attributes<'_>) -> bool {
        user.is_master() || self.rules_of(user, asked.namespace).any(|rule| rule.allows(asked))
    }

    /// Every rule that holds for `user` cluster-wide and in `namespace` (empty: only cluster-wide).
    pub(crate) fn rules_of<'s>(&'s self, user: &'s User, namespace: &str) -> impl Iterator<Item = &'s Rule> {
        let local = self.namespaces.get(namespace);
        subjects(user).flat_map(move |subject| self.granted(&subject, local)).flat_map(|granted| granted.rules.iter())
    }

    /// By what `user` may do what is asked, in the words of Kubernetes; empty for those who may do everything, and for
    /// those who may not.
    pub(crate) fn reason(&self, user: &User, asked: &Attributes<'_>) -> String {
        if user.is_master() {
            return String::new();
        }
        let local = self.namespaces.get(asked.namespace);
        for subject in subjects(user) {
            let mut granted = self.granted(&subject, local);
            let Some(granted) = granted.find(|granted| granted.rules.iter().any(|rule| rule.allows(asked))) else {
                continue;
            };
            let whom = match &subject {
                Subject::Group(name) => format!("Group {name:?}"),
                Subject::User(name) => match service_account_of(name) {
                    Some((namespace, name)) => format!("ServiceAccount \"{name}/{namespace}\""),
                    None => format!("User {name:?}"),
                },
            };
            return format!("RBAC: allowed by {} to {whom}", granted.by);
        }
        String::new()
    }

    /// What bindings give to a subject, cluster-wide and in a namespace.
    fn granted<'s>(
        &'s self,
        subject: &Subject,
        local: Option<&'s BySubject>,
    ) -> impl Iterator<Item = &'s Granted> + use<'s> {
        let local = local.and_then(|local| local.get(subject));
        self.cluster.get(subject).into_iter().chain(local).flatten()
    }

    /// Cluster roles that collect others, whose object does not hold what they collect; and what that is.
    pub(crate) fn outdated(&self) -> &[(String, Rules)] {
        &self.outdated
    }

    /// The rules of a role; `namespace` is empty for cluster roles.
    pub(crate) fn role(&self, namespace: &str, name: &str) -> Option<&[Rule]> {
        self.roles.get(&(namespace.to_owned(), name.to_owned())).map(|r| &**r)
    }
}

/// As whom a user may be given rights.
fn subjects(user: &User) -> impl Iterator<Item = Subject> {
    let groups = user.groups.iter().map(|group| Subject::Group(group.clone()));
    std::iter::once(Subject::User(user.name.clone())).chain(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn index(objects: &[(&str, &str, &str, Value)]) -> Rbac {
        let mut follower = Follower::default();
        for (plural, namespace, name, object) in objects {
            let collection = format!("{plural}.rbac.authorization.k8s.io");
            follower.take(&collection, namespace, name, Some(object.to_string().as_bytes()));
        }
        follower.compile()
    }

    fn get<'a>(resource: &'a str, namespace: &'a str) -> Attributes<'a> {
        Attributes { verb: "get", resource, namespace, ..Attributes::default() }
    }

    fn reading(resource: &str) -> Value {
        json!([{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}])
    }

    #[test]
    fn a_role_binding_grants_in_its_namespace_only() {
        let index = index(&[
            ("clusterroles", "", "reader", json!({"rules": reading("pods")})),
            (
                "rolebindings",
                "shop",
                "b",
                json!({"roleRef": {"kind": "ClusterRole", "name": "reader"},
                "subjects": [{"kind": "User", "name": "kim"}, {"kind": "ServiceAccount", "name": "bot"}]}),
            ),
        ]);
        let kim = User::new("kim", &[]);
        assert!(index.allows(&kim, &get("pods", "shop")));
        assert!(!index.allows(&kim, &get("pods", "bank")));
        assert!(!index.allows(&kim, &get("pods", "")));
        assert!(!index.allows(&kim, &get("secrets", "shop")));
        assert!(index.allows(&User::service_account("shop", "bot", "u"), &get("pods", "shop")));
        assert!(!index.allows(&User::service_account("bank", "bot", "u"), &get("pods", "shop")));
    }

    #[test]
    fn the_reason_names_the_binding_and_whom_it_is_for() {
        let index = index(&[
            ("clusterroles", "", "reader", json!({"rules": reading("pods")})),
            (
                "rolebindings",
                "shop",
                "b",
                json!({"roleRef": {"kind": "ClusterRole", "name": "reader"},
                "subjects": [{"kind": "User", "name": "kim"}, {"kind": "ServiceAccount", "name": "bot"}]}),
            ),
        ]);
        let by = "RBAC: allowed by RoleBinding \"b/shop\" of ClusterRole \"reader\" to ";
        let reason = |user: &User| index.reason(user, &get("pods", "shop"));
        assert_eq!(reason(&User::new("kim", &[])), format!("{by}User \"kim\""));
        assert_eq!(reason(&User::service_account("shop", "bot", "u")), format!("{by}ServiceAccount \"bot/shop\""));
        assert_eq!(reason(&User::new("lee", &[])), "");
        assert_eq!(reason(&User::master("root")), "");
    }

    #[test]
    fn a_cluster_binding_of_a_group_grants_everywhere_until_it_is_gone() {
        let mut follower = Follower::default();
        let role = json!({"rules": reading("pods")}).to_string();
        let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "Group", "name": "ops"}]})
        .to_string();
        follower.take(COLLECTIONS[2], "", "reader", Some(role.as_bytes()));
        follower.take(COLLECTIONS[3], "", "ops", Some(binding.as_bytes()));
        let ops = User::new("lee", &["ops"]);
        assert!(follower.compile().allows(&ops, &get("pods", "any")));
        follower.take(COLLECTIONS[3], "", "ops", None);
        assert!(!follower.compile().allows(&ops, &get("pods", "any")));
    }

    #[test]
    fn aggregated_roles_collect_rules_by_label() {
        let index = index(&[
            (
                "clusterroles",
                "",
                "view",
                json!({"aggregationRule": {"clusterRoleSelectors":
                [{"matchLabels": {"to-view": "true"}}]}}),
            ),
            (
                "clusterroles",
                "",
                "extra",
                json!({"metadata": {"labels": {"to-view": "true"}}, "rules": reading("pods")}),
            ),
            (
                "clusterrolebindings",
                "",
                "b",
                json!({"roleRef": {"kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "User", "name": "kim"}]}),
            ),
        ]);
        assert!(index.allows(&User::new("kim", &[]), &get("pods", "shop")));
    }

    #[test]
    fn a_collecting_role_is_outdated_until_it_holds_what_it_collects() {
        let mut follower = Follower::default();
        let mut take = |name: &str, role: Value| {
            follower.take(COLLECTIONS[2], "", name, Some(role.to_string().as_bytes()));
            follower.compile().outdated().iter().map(|(name, rules)| (name.clone(), rules.len())).collect::<Vec<_>>()
        };
        let collecting = |label: &str, rules: Value| {
            json!({"metadata": {"labels": {"to-edit": "true"}}, "rules": rules,
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}})
        };
        assert!(take("view", collecting("to-view", json!([]))).is_empty());
        let pods = json!({"metadata": {"labels": {"to-view": "true"}}, "rules": reading("pods")});
        assert_eq!(take("pods", pods), [("view".to_owned(), 1)]);
        assert!(take("view", collecting("to-view", reading("pods"))).is_empty());
        // What others wrote into it counts for nothing, and is taken out again.
        assert_eq!(take("view", collecting("to-view", reading("secrets"))), [("view".to_owned(), 1)]);
        let edit = take("edit", collecting("to-edit", json!([])));
        assert!(edit.contains(&("edit".to_owned(), 1)), "through view: {edit:?}");
        let index = follower.compile();
        assert_eq!(
            index.role("", "edit"),
            Some(&serde_json::from_value::<Vec<Rule>>(reading("pods")).expect("rules")[..])
        );
    }

    #[test]
    fn masters_need_no_rule_and_nobody_else_has_one() {
        let empty = Rbac::default();
        assert!(empty.allows(&User::master("root"), &get("pods", "shop")));
        assert!(!empty.allows(&User::new("kim", &[]), &get("pods", "shop")));
    }
}
