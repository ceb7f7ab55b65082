//! What is served at this moment: the kinds, the ways to them and the documents about them.
//!
//! Users add and remove kinds while requests are answered. What belongs together is replaced together: a request takes
//! what it needs once and keeps it to its end, and a document is never about other kinds than those of its [`Serving`].
//! Refused: a lock around a registry that changes, which every request would take.

use std::collections::HashMap;
use std::sync::Arc;

use naru_api::{Kind, Registry};

use crate::extension::Customs;
use crate::openapi::Documents;
use crate::routes::Routes;
use crate::state::Core;

/// What is served.
pub(crate) struct Serving {
    pub(crate) registry: Arc<Registry>,
    pub(crate) routes: Routes,
    pub(crate) documents: Documents,
}

// === impl Serving ===

impl Serving {
    /// A registry, served for the first time.
    pub(crate) fn of(registry: Arc<Registry>) -> Serving {
        Serving { routes: Routes::of(&registry), registry, documents: Documents::default() }
    }

    /// What is served after this one. Documents about groups in which nothing changes stay.
    fn next(&self, registry: Arc<Registry>, customs: &Customs) -> Serving {
        let (before, after) = (by_group(&self.registry), by_group(&registry));
        let unchanged = before.iter().filter(|(group, kinds)| after.get(*group) == Some(*kinds));
        let kept = unchanged.map(|((group, version), _)| ((*group).to_owned(), (*version).to_owned())).collect();
        Serving { routes: self.routes.next(&registry, customs), documents: self.documents.about(&kept), registry }
    }
}

/// Which entries the kinds of each group and version are.
fn by_group(registry: &Registry) -> HashMap<(&str, &str), Vec<*const Kind>> {
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for kind in registry.iter() {
        groups.entry((kind.group.as_ref(), kind.version.as_ref())).or_default().push(Arc::as_ptr(kind));
    }
    groups
}

// === impl Core ===

impl Core {
    /// What is served now.
    pub(crate) fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// Serves these kinds from now on; `customs` is what else is known of those that users defined. Called by whoever
    /// follows definitions and nobody else.
    pub(crate) fn serve(&self, registry: Registry, customs: &Customs) {
        let registry = Arc::new(registry);
        let next = self.serving().next(registry.clone(), customs);
        self.serving.store(Arc::new(next));
        self.kinds.send_replace(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    use crate::extension::fixture;

    #[test]
    fn documents_about_other_groups_stay() {
        let first = Serving::of(Registry::builtin());
        for path in ["v2", "v3/apis/apps/v1", "v3/apis/example.com/v1"] {
            first.documents.get(path, || Some(Bytes::from_static(b"{}"))).expect("made");
        }
        let (kinds, custom) = fixture::served("v1");
        let customs = Customs::from([(kinds[0].collection().to_owned(), custom)]);
        let registry = Arc::new(first.registry.with(kinds[0].clone()).expect("free"));
        let second = first.next(registry, &customs);
        let made = |path: &str| {
            let mut made = false;
            let _ = second.documents.get(path, || {
                made = true;
                Some(Bytes::new())
            });
            made
        };
        assert!(!made("v3/apis/apps/v1"), "nothing changed in it");
        assert!(made("v3/apis/example.com/v1") && made("v2"));
        assert!(second.routes.find("example.com", "v1", "widgets").is_some());
    }
}
