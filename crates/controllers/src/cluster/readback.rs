//! Waiting until an informer shows what was written.

use futures_util::future::BoxFuture;
use naru_client::{Informer, ObjectRef};

/// An informer without its type.
pub(super) trait Followed: Send + Sync {
    /// Waits until everything up to a revision is visible.
    fn reached(&self, revision: u64) -> BoxFuture<'_, ()>;

    /// Waits until the object with this uid is seen to be gone or on its way out.
    fn leaving<'a>(&'a self, key: &'a ObjectRef, uid: &'a str) -> BoxFuture<'a, ()>;
}

impl<V: Send + Sync + 'static> Followed for Informer<V> {
    fn reached(&self, revision: u64) -> BoxFuture<'_, ()> {
        Box::pin(Informer::reached(self, revision))
    }

    fn leaving<'a>(&'a self, key: &'a ObjectRef, uid: &'a str) -> BoxFuture<'a, ()> {
        let mut changed = self.changed();
        Box::pin(async move {
            while self.get_ref(key).is_some_and(|object| &*object.uid == uid && !object.deleting) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}
