//! Following collections of the store: everything as it is, then every change, in order and without a gap.
//!
//! What some objects mean to the server itself (who may do what, which kinds there are) is kept ready as a [`Picture`], so
//! that requests ask a picture and never the objects. Making one costs more than a change is worth when many come at once;
//! so whatever came while the last changes were taken in is taken in together. Refused: waiting a little for more, which
//! every single change would pay.

use std::sync::Arc;

use futures_util::FutureExt;
use naru_store::{Batch, Entry, Key, Prefix, Revision, Snapshot, Store, Watch, WatchEnd};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How many batches are taken in together at most.
const TOGETHER: usize = 64;

/// What is known of some collections.
pub(crate) trait Picture: Send + 'static {
    /// Forgets everything of a collection: what is still there is told again.
    fn forget(&mut self, collection: &str);

    /// Takes in one object's state; `None`: it is gone.
    fn take(&mut self, key: &Key, object: Option<&Arc<Entry>>);

    /// Lets everybody see what was taken in. It is the state of this revision.
    fn publish(&mut self, revision: Revision);
}

/// Draws a picture of collections as they are now, then keeps it up to date until `ended`.
pub(crate) fn follow<P: Picture>(
    store: &Store,
    collections: &'static [&'static str],
    mut picture: P,
    ended: &CancellationToken,
) {
    let snapshot = store.snapshot();
    collections.iter().for_each(|collection| draw(&snapshot, collection, &mut picture));
    picture.publish(snapshot.revision());
    let picture = Arc::new(Mutex::new(picture));
    for collection in collections {
        let (store, picture, ended) = (store.clone(), picture.clone(), ended.clone());
        let after = snapshot.revision();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = keep(&store, collection, &picture, after) => {}
            }
        });
    }
}

fn draw<P: Picture>(snapshot: &Snapshot, collection: &str, picture: &mut P) {
    picture.forget(collection);
    for entry in snapshot.range(&Prefix::collection(collection)) {
        picture.take(&entry.key, Some(entry));
    }
}

async fn keep<P: Picture>(store: &Store, collection: &str, picture: &Mutex<P>, after: Revision) {
    let redraw = || {
        let snapshot = store.snapshot();
        // Published while it is locked, so that an older state never replaces a newer one.
        let mut picture = picture.lock();
        draw(&snapshot, collection, &mut *picture);
        picture.publish(snapshot.revision());
        snapshot.revision()
    };
    let mut from = after;
    loop {
        let Ok(mut watch) = store.watch(Prefix::collection(collection), from) else {
            from = redraw();
            continue;
        };
        loop {
            let taken = match watch.next().await {
                Ok(batch) => take(&mut watch, batch, &mut *picture.lock()),
                Err(end) => Err(end),
            };
            match taken {
                Ok(()) => {}
                Err(WatchEnd::Lagged) => {
                    from = redraw();
                    break;
                }
                Err(WatchEnd::Closed) => return,
            }
        }
    }
}

/// Takes in a batch and those that are there by then.
fn take<P: Picture>(watch: &mut Watch, first: Batch, picture: &mut P) -> Result<(), WatchEnd> {
    let mut revision = first.revision;
    let mut next = Some(Ok(first));
    let mut end = Ok(());
    for left in (0..TOGETHER).rev() {
        match next {
            Some(Ok(batch)) => {
                batch.changes.iter().for_each(|change| picture.take(&change.key, change.after.as_ref()));
                revision = batch.revision;
            }
            Some(Err(why)) => {
                end = Err(why);
                break;
            }
            None => break,
        }
        next = if left > 0 { watch.next().now_or_never() } else { None };
    }
    picture.publish(revision);
    end
}
