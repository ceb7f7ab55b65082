//! Nobody may grant what they do not hold: checked when a role or binding is written.
//!
//! Kubernetes' rule: writing a role needs every right in it or the verb `escalate`; binding a role needs every right
//! in it or the verb `bind`. Without it, whoever may write roles in a namespace would own the cluster.

use super::rules::{Attributes, Rule};
use super::{Rbac, index::COLLECTIONS};
use crate::user::User;
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether `user` may write `object` into `collection`; the sentence to refuse with if not.
pub(crate) fn check(rbac: &Rbac, user: &User, collection: &str, namespace: &str, object: &Value) -> Result<(), String> {
    if user.is_master() || !COLLECTIONS.contains(&collection) {
        return Ok(());
    }
    let plural = collection.split('.').next().unwrap_or_default();
    if plural.ends_with("bindings") {
        let text = |key: &str| object["roleRef"][key].as_str().unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        let (home, resource) = if kind == "ClusterRole" { ("", "clusterroles") } else { (namespace, "roles") };
        let bind = Attributes { verb: "bind", group: GROUP, resource, namespace, name, ..Attributes::default() };
        if rbac.allows(user, &bind) {
            return Ok(());
        }
        // A binding to a role that is not there yet grants nothing now, but would when someone else makes the role.
        let rules = rbac.role(home, name).ok_or_else(|| format!("{resource} {name:?} not found"))?;
        return held(rbac, user, namespace, rules);
    }
    let name = naru_api::meta::name(object);
    let escalate =
        Attributes { verb: "escalate", group: GROUP, resource: plural, namespace, name, ..Attributes::default() };
    if rbac.allows(user, &escalate) {
        return Ok(());
    }
    if object.get("aggregationRule").is_some_and(|a| !a.is_null()) {
        // What it will collect is not known today: only who holds everything may write it.
        let all = |paths: bool| Rule {
            verbs: vec!["*".into()],
            groups: if paths { vec![] } else { vec!["*".into()] },
            resources: if paths { vec![] } else { vec!["*".into()] },
            names: vec![],
            paths: if paths { vec!["*".into()] } else { vec![] },
        };
        return held(rbac, user, "", &[all(false), all(true)]);
    }
    let rules: Vec<Rule> = serde_json::from_value(object["rules"].clone()).unwrap_or_default();
    held(rbac, user, namespace, &rules)
}

fn held(rbac: &Rbac, user: &User, namespace: &str, wanted: &[Rule]) -> Result<(), String> {
    let own: Vec<&Rule> = rbac.rules_of(user, namespace).collect();
    match wanted.iter().find(|rule| !covered(&own, rule)) {
        None => Ok(()),
        Some(rule) => Err(format!(
            "user {:?} is attempting to grant RBAC permissions not currently held: {}",
            user.name,
            serde_json::to_string(rule).unwrap_or_default()
        )),
    }
}

/// Whether every single right in `wanted` is held through some rule in `own`. A wildcard is a right of its own, held
/// only through a wildcard.
fn covered(own: &[&Rule], wanted: &Rule) -> bool {
    let paths = wanted.paths.iter().all(|path| {
        wanted.verbs.iter().all(|verb| {
            let asked = Attributes { verb, path: Some(path), ..Attributes::default() };
            own.iter().any(|rule| rule.allows(&asked))
        })
    });
    let no_name = [String::new()];
    let names = if wanted.names.is_empty() { &no_name[..] } else { &wanted.names[..] };
    paths
        && wanted.verbs.iter().all(|verb| {
            wanted.groups.iter().all(|group| {
                wanted.resources.iter().all(|combined| {
                    let (resource, subresource) = combined.split_once('/').unwrap_or((combined, ""));
                    names.iter().all(|name| {
                        let asked = Attributes { verb, group, resource, subresource, namespace: "", name, path: None };
                        own.iter().any(|rule| rule.allows(&asked))
                    })
                })
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).expect("a rule")
    }

    #[test]
    fn a_rule_is_covered_piece_by_piece() {
        let pods = rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}));
        let secrets = rule(json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}));
        let both = rule(json!({"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get"]}));
        assert!(covered(&[&pods, &secrets], &both));
        assert!(!covered(&[&pods], &both));
        assert!(!covered(&[&pods], &rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}))));
        assert!(!covered(&[&pods], &rule(json!({"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]}))));
        let one = rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["web"]}));
        assert!(covered(&[&pods], &one), "one object is less than all");
        assert!(!covered(&[&one], &pods), "all are more than one");
    }

    #[test]
    fn whoever_may_write_roles_cannot_make_themselves_master() {
        let mut follower = crate::authorization::index::Follower::default();
        let role = json!({"rules": [{"apiGroups": [GROUP], "resources": ["roles", "rolebindings"], "verbs": ["*"]}]});
        // `*` holds `escalate` and `bind` too, so name the verbs.
        let careful =
            json!({"rules": [{"apiGroups": [GROUP], "resources": ["roles", "rolebindings"], "verbs": ["create"]}]});
        for (name, role) in [("all", &role), ("careful", &careful)] {
            follower.take(COLLECTIONS[0], "shop", name, Some(role.to_string().as_bytes()));
            let binding =
                json!({"roleRef": {"kind": "Role", "name": name}, "subjects": [{"kind": "User", "name": name}]});
            follower.take(COLLECTIONS[1], "shop", name, Some(binding.to_string().as_bytes()));
        }
        let admin = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
        follower.take(COLLECTIONS[2], "", "cluster-admin", Some(admin.to_string().as_bytes()));
        let rbac = follower.compile();
        let kim = User::new("careful", &[]);
        check(&rbac, &kim, COLLECTIONS[0], "shop", &admin).expect_err("a role of everything");
        let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}});
        check(&rbac, &kim, COLLECTIONS[1], "shop", &binding).expect_err("a binding to everything");
        check(&rbac, &kim, COLLECTIONS[0], "shop", &careful).expect("what is held may be granted");
        check(&rbac, &User::new("all", &[]), COLLECTIONS[0], "shop", &admin).expect("escalate is a right");
        check(&rbac, &User::master("root"), COLLECTIONS[1], "shop", &binding).expect("masters may");
    }
}
