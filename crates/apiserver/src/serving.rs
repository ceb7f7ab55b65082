//! What is served at this moment: the kinds, the ways to them and the documents about them.
//!
//! Users add and remove kinds while requests are answered. What belongs together is replaced together: a request takes
//! what it needs once and keeps it to its end, and a document is never about other kinds than those of its [`Serving`].
//! Refused: a lock around a registry that changes, which every request would take.

use std::collections::BTreeSet;
use std::sync::Arc;

use naru_api::Registry;

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
        let served =
            |registry: &Registry| -> BTreeSet<(String, String)> { registry.group_versions().into_iter().collect() };
        let unchanged = |group: &str, version: &str| {
            let mut before = self.registry.of(group, version);
            let mut after = registry.of(group, version);
            loop {
                match (before.next(), after.next()) {
                    (None, None) => return true,
                    (Some(a), Some(b)) if Arc::ptr_eq(a, b) => {}
                    _ => return false,
                }
            }
        };
        let both = served(&self.registry);
        let mut kept = both.intersection(&served(&registry)).cloned().collect::<BTreeSet<_>>();
        kept.retain(|(group, version)| unchanged(group, version));
        let documents = self.documents.about(&kept);
        Serving { routes: self.routes.next(&registry, customs), documents, registry }
    }
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
