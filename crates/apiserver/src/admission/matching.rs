//! Which requests a webhook or a policy is about: rules about resources, and selectors of namespaces and objects.

use std::sync::Arc;

use naru_api::{Kind, LabelSelector};
use naru_store::Key;
use serde_json::{Map, Value};

use super::chain::{Operation, Review};
use crate::object;

/// What somebody wants to be asked about.
#[derive(Debug)]
pub(super) struct Constraints {
    rules: Vec<Rule>,
    /// What they are not asked about all the same.
    excluded: Vec<Rule>,
    namespaces: LabelSelector,
    objects: LabelSelector,
    /// Objects of other versions than those of the rules are meant too.
    equivalent: bool,
}

/// `RuleWithOperations`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    /// Empty: all.
    names: Vec<String>,
    /// `Cluster`, `Namespaced` or `*`.
    scope: String,
}

/// That a request is meant, and in which form.
#[derive(Debug, Clone)]
pub(super) struct Match {
    /// Another version of the same objects than the request names.
    pub(super) other: Option<Arc<Kind>>,
}

// === impl Match ===

impl Match {
    /// The version in which the object is meant, if it is another one than the request names.
    pub(super) fn form(&self, review: &Review<'_>) -> Option<Arc<Kind>> {
        self.other.clone().filter(|_| !review.is_about_another_kind())
    }
}

// === impl Constraints ===

impl Constraints {
    /// Reads what a webhook or a policy says; `rules` is the field with the rules.
    pub(super) fn read(constraints: &Value, rules: &str) -> Constraints {
        let list = |field: &str| constraints[field].as_array().into_iter().flatten().map(Rule::read).collect();
        // A selector that cannot be read selects nothing; validation lets none in.
        let selector = |field: &str| match &constraints[field] {
            Value::Null => LabelSelector::everything(),
            selector => LabelSelector::from_object(selector).unwrap_or_else(|_| LabelSelector::nothing()),
        };
        Constraints {
            rules: list(rules),
            excluded: list("excludeResourceRules"),
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            equivalent: constraints["matchPolicy"] != "Exact",
        }
    }

    /// Whether a request is meant. Without any rule, whatever the selectors choose is.
    pub(super) fn matches(&self, review: &Review<'_>, object: Option<&Value>) -> Option<Match> {
        if self.excluded.iter().any(|rule| rule.covers(review, &review.route.kind)) {
            return None;
        }
        let found = if self.rules.is_empty() { Match { other: None } } else { self.covered(review)? };
        let chosen = in_namespace(review, &self.namespaces, object) && selected(&self.objects, object, review.old);
        chosen.then_some(found)
    }

    /// Whether there is any rule: a webhook without is never asked.
    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether a rule covers what is asked, in this version or in another of the same objects.
    fn covered(&self, review: &Review<'_>) -> Option<Match> {
        let kind = &review.route.kind;
        let by = |kind: &Kind| self.rules.iter().any(|rule| rule.covers(review, kind));
        if by(kind) {
            return Some(Match { other: None });
        }
        if !self.equivalent {
            return None;
        }
        let serving = review.core.serving();
        let mut others = serving.registry.iter().filter(|other| other.collection() == kind.collection());
        let other = others.find(|other| other.version != kind.version && by(other))?;
        Some(Match { other: Some(other.clone()) })
    }
}

// === impl Rule ===

impl Rule {
    fn read(rule: &Value) -> Rule {
        let list = |field: &str| -> Vec<String> {
            let words = rule[field].as_array().into_iter().flatten();
            words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        Rule {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: list("resources"),
            names: list("resourceNames"),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        }
    }

    fn covers(&self, review: &Review<'_>, kind: &Kind) -> bool {
        let has = |list: &[String], word: &str| list.iter().any(|known| known == "*" || known == word);
        let itself = &*review.route.collection == "namespaces";
        has(&self.operations, review.operation.as_str())
            && has(&self.groups, &kind.group)
            && has(&self.versions, &kind.version)
            && self.resources.iter().any(|resource| covers_resource(resource, &kind.plural, review.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == review.name))
            && match self.scope.as_str() {
                "Namespaced" => !itself && !review.namespace.is_empty(),
                "Cluster" => itself || review.namespace.is_empty(),
                _ => true,
            }
    }
}

fn covers_resource(rule: &str, resource: &str, subresource: &str) -> bool {
    let (of, sub) = rule.split_once('/').unwrap_or((rule, ""));
    (of == "*" || of == resource) && (sub == "*" || sub == subresource)
}

/// Whether the namespace is one of those that are selected. What is in none always is.
fn in_namespace(review: &Review<'_>, selector: &LabelSelector, object: Option<&Value>) -> bool {
    if selector.is_everything() {
        return true;
    }
    if &*review.route.collection == "namespaces" && review.operation != Operation::Connect {
        return selector.matches(&labels(object.or(review.old)));
    }
    if review.namespace.is_empty() {
        return true;
    }
    let entry = review.snapshot.get(&Key::new("namespaces", "", review.namespace));
    selector.matches(&entry.and_then(|entry| object::labels(&entry.served)).unwrap_or_default())
}

/// Whether the object, as it is or as it was, is one of those that are selected.
fn selected(selector: &LabelSelector, object: Option<&Value>, old: Option<&Value>) -> bool {
    let by = |object: &Value| object["metadata"].is_object() && selector.matches(&labels(Some(object)));
    selector.is_everything() || object.is_some_and(by) || old.is_some_and(by)
}

fn labels(object: Option<&Value>) -> Map<String, Value> {
    object.and_then(|object| object["metadata"]["labels"].as_object()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resources_are_covered_with_and_without_subresources() {
        for (rule, resource, subresource, covers) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/status", "pods", "status", true),
            ("pods/*", "pods", "status", true),
            ("pods/*", "pods", "", true),
            ("*", "pods", "", true),
            ("*", "pods", "status", false),
            ("*/*", "pods", "status", true),
            ("*/scale", "deployments", "scale", true),
            ("*/scale", "deployments", "", false),
            ("services", "pods", "", false),
        ] {
            assert_eq!(covers_resource(rule, resource, subresource), covers, "{rule} {resource}/{subresource}");
        }
    }

    #[test]
    fn an_object_is_selected_by_what_it_is_or_was() {
        let selector = LabelSelector::parse("app=web").unwrap();
        let (with, without) = (json!({"metadata": {"labels": {"app": "web"}}}), json!({"metadata": {}}));
        assert!(selected(&selector, Some(&with), None) && selected(&selector, Some(&without), Some(&with)));
        assert!(!selected(&selector, Some(&without), None) && !selected(&selector, None, None));
        assert!(selected(&LabelSelector::everything(), None, None));
        let options = json!({"kind": "PodAttachOptions"});
        assert!(
            !selected(&LabelSelector::parse("!app").unwrap(), Some(&options), None),
            "it has no labels to speak of"
        );
    }
}
