//! Keeping the index in step with roles and bindings.

use std::sync::Arc;

use naru_store::{Entry, Key, Revision};
use tokio_util::sync::CancellationToken;

use super::index::{COLLECTIONS, Follower};
use crate::follower::{self, Picture};
use crate::state::Core;

/// Reads all roles and bindings now, then follows them until `ended`.
pub(crate) fn follow(core: &Arc<Core>, ended: &CancellationToken) {
    let picture = Following { core: core.clone(), follower: Follower::default() };
    follower::follow(&core.store, &COLLECTIONS, picture, ended);
}

struct Following {
    core: Arc<Core>,
    follower: Follower,
}

impl Picture for Following {
    fn forget(&mut self, collection: &str) {
        self.follower.forget(collection);
    }

    fn take(&mut self, key: &Key, object: Option<&Arc<Entry>>) {
        let (collection, namespace, name) = key.parts();
        self.follower.take(collection, namespace, name, object.map(|entry| &*entry.served));
    }

    fn publish(&mut self, revision: Revision) {
        self.core.rbac.store(Arc::new(self.follower.compile()));
        self.core.rbac_revision.send_if_modified(|known| {
            let newer = revision.0.max(1) > *known;
            *known = (*known).max(revision.0).max(1);
            newer
        });
    }
}
