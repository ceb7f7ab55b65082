//! Which flow a request belongs to.

use std::sync::Arc;

use http::HeaderValue;
use serde::Deserialize;

use super::report::Counts;
use crate::authorization::Attributes;
use crate::user::{User, service_account_of};

/// The schemas, in the order in which they are asked.
#[derive(Debug, Default)]
pub(super) struct Flows {
    pub(super) schemas: Vec<Schema>,
}

/// A FlowSchema.
#[derive(Debug)]
pub(super) struct Schema {
    #[cfg(test)]
    pub(super) name: String,
    pub(super) uid: HeaderValue,
    pub(super) level: Arc<LevelOf>,
    pub(super) by: By,
    pub(super) rules: Vec<Rules>,
    pub(super) counts: Arc<Counts>,
}

/// The priority level of a schema.
#[derive(Debug)]
pub(super) struct LevelOf {
    pub(super) name: String,
    pub(super) uid: HeaderValue,
    /// The number of its seats; `None`: it is exempt.
    pub(super) seats: Option<u32>,
}

/// What tells the flows of one schema apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    Nothing,
    User,
    Namespace,
}

/// Whose requests a schema means, and which.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rules {
    #[serde(default)]
    subjects: Option<Vec<Subject>>,
    #[serde(default)]
    resource_rules: Option<Vec<Resources>>,
    #[serde(default)]
    non_resource_rules: Option<Vec<Paths>>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind")]
enum Subject {
    User {
        user: Named,
    },
    Group {
        group: Named,
    },
    ServiceAccount {
        #[serde(rename = "serviceAccount")]
        account: Account,
    },
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Account {
    namespace: String,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    #[serde(default)]
    cluster_scope: bool,
    #[serde(default)]
    namespaces: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Paths {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    paths: Vec<String>,
}

// === impl Flows ===

impl Flows {
    /// The place of the first schema that means the request, and what tells its flow from others of that schema. There is
    /// always one, the mandatory last, unless nothing is known yet.
    pub(super) fn classify<'a>(&self, user: &'a User, asked: &Attributes<'a>) -> (usize, &'a str) {
        let means = |schema: &Schema| schema.rules.iter().any(|rules| rules.mean(user, asked));
        let found = self.schemas.iter().position(means).unwrap_or(self.schemas.len());
        let by = self.schemas.get(found).map_or(By::Nothing, |schema| schema.by);
        let distinguisher = match by {
            By::Nothing => "",
            By::User => &user.name,
            By::Namespace => asked.namespace,
        };
        (found, distinguisher)
    }
}

// === impl Rules ===

impl Rules {
    fn mean(&self, user: &User, asked: &Attributes<'_>) -> bool {
        self.subjects.iter().flatten().any(|subject| subject.means(user))
            && match asked.path {
                Some(path) => self.non_resource_rules.iter().flatten().any(|rule| rule.mean(asked.verb, path)),
                None => self.resource_rules.iter().flatten().any(|rule| rule.mean(asked)),
            }
    }
}

impl Subject {
    fn means(&self, user: &User) -> bool {
        match self {
            Subject::User { user: named } => named.name == "*" || named.name == user.name,
            Subject::Group { group } => group.name == "*" || user.groups.contains(&group.name),
            Subject::ServiceAccount { account } => service_account_of(&user.name).is_some_and(|(namespace, name)| {
                account.namespace == namespace && (account.name == "*" || account.name == name)
            }),
        }
    }
}

impl Resources {
    fn mean(&self, asked: &Attributes<'_>) -> bool {
        let resource = |known: &String| match known.split_once('/') {
            Some((resource, subresource)) => asked.resource == resource && asked.subresource == subresource,
            None => known == "*" || (asked.subresource.is_empty() && known == asked.resource),
        };
        has(&self.verbs, asked.verb)
            && has(&self.api_groups, asked.group)
            && self.resources.iter().any(resource)
            && match asked.namespace {
                "" => self.cluster_scope,
                namespace => self.namespaces.as_ref().is_some_and(|known| has(known, namespace)),
            }
    }
}

impl Paths {
    fn mean(&self, verb: &str, path: &str) -> bool {
        let means = |known: &String| match known.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => known == path,
        };
        has(&self.verbs, verb) && self.paths.iter().any(means)
    }
}

fn has(known: &[String], asked: &str) -> bool {
    known.iter().any(|known| known == "*" || known == asked)
}
