//! What requests for one resource are told apart by. Pure.

use naru_api::Subresource;

use crate::wire::path::Verb;

/// The subresources, and one place for whatever is none.
pub(super) const SUBRESOURCES: usize = Subresource::ALL.len() + 1;
/// How many kinds of requests there are for one path.
pub(super) const PLACES: usize = VERBS.len() * SCOPES.len() * 2;

/// The verbs as they are counted; the last two are no verbs of the API.
const VERBS: [&str; 10] =
    ["GET", "LIST", "WATCH", "POST", "PUT", "PATCH", "DELETE", "DELETECOLLECTION", "APPLY", "CONNECT"];
const APPLY: usize = 8;
const CONNECT: usize = 9;
const SCOPES: [&str; 3] = ["resource", "namespace", "cluster"];

/// How much a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One object.
    Resource,
    /// Those of a namespace.
    Namespace,
    /// All.
    Cluster,
}

/// What one request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Labels {
    verb: usize,
    scope: usize,
    dry_run: bool,
    subresource: Option<usize>,
}

// === impl Labels ===

impl Labels {
    /// `applies`: the patch is a server-side apply.
    pub(crate) fn new(verb: Verb, applies: bool, subresource: Option<&str>, scope: Scope, dry_run: bool) -> Labels {
        let below = subresource.map(|word| {
            let known = Subresource::from_path(word);
            (known, known.and_then(|known| Subresource::ALL.iter().position(|one| *one == known)))
        });
        let streams = matches!(
            below,
            Some((Some(Subresource::Exec | Subresource::Attach | Subresource::PortForward | Subresource::Proxy), _))
        );
        let verb = match verb {
            _ if streams => CONNECT,
            Verb::Patch if applies => APPLY,
            verb => verb as usize,
        };
        let subresource = below.map(|(_, at)| at.unwrap_or(SUBRESOURCES - 1));
        Labels { verb, scope: scope as usize, dry_run, subresource }
    }

    /// Those of a place.
    pub(super) fn of(subresource: Option<usize>, place: usize) -> Labels {
        let (dry_run, place) = (place % 2 == 1, place / 2);
        Labels { verb: place / SCOPES.len(), scope: place % SCOPES.len(), dry_run, subresource }
    }

    pub(super) fn place(&self) -> usize {
        (self.verb * SCOPES.len() + self.scope) * 2 + usize::from(self.dry_run)
    }

    pub(super) fn subresource(&self) -> Option<usize> {
        self.subresource
    }

    pub(super) fn verb(&self) -> &'static str {
        VERBS[self.verb]
    }

    pub(super) fn scope(&self) -> &'static str {
        SCOPES[self.scope]
    }

    pub(super) fn dry_run(&self) -> &'static str {
        if self.dry_run { "All" } else { "" }
    }

    /// The subresource's name.
    pub(super) fn below(&self) -> &'static str {
        match self.subresource {
            None => "",
            Some(at) => Subresource::ALL.get(at).map_or("other", |known| known.path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_its_name_and_every_place_its_labels() {
        let names = ["GET", "LIST", "WATCH", "POST", "PUT", "PATCH", "DELETE", "DELETECOLLECTION"];
        for (verb, name) in Verb::ALL.into_iter().zip(names) {
            let labels = Labels::new(verb, false, None, Scope::Cluster, false);
            assert_eq!(labels.verb(), name);
            assert_eq!(Labels::of(None, labels.place()), labels);
        }
        for (word, verb, name) in [("exec", "CONNECT", "exec"), ("log", "GET", "log"), ("apply", "GET", "other")] {
            let labels = Labels::new(Verb::Get, false, Some(word), Scope::Resource, true);
            assert_eq!(
                (labels.verb(), labels.below(), labels.dry_run(), labels.scope()),
                (verb, name, "All", "resource")
            );
            assert_eq!(Labels::of(labels.subresource(), labels.place()), labels);
            assert!(labels.place() < PLACES);
        }
    }
}
