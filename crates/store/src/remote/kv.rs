//! What is asked of etcd, so that tests can put a simulated one in its place.

use std::pin::Pin;

use bytes::Bytes;
use naru_etcd::{Client, Error, RangeRequest, RangeResponse, TxnRequest, TxnResponse, WatchResponse, Watcher};

/// A future in a box, because the port is used as an object.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A key-value store with etcd's promises.
pub(crate) trait Kv: Send + Sync + 'static {
    /// Reads a range; linearizable unless it names a revision.
    fn range(&self, request: RangeRequest) -> Boxed<'_, Result<RangeResponse, Error>>;
    /// Does a transaction, once. After an ambiguous error it may have happened, or may yet.
    fn txn(&self, request: TxnRequest) -> Boxed<'_, Result<TxnResponse, Error>>;
    /// Follows the keys from `key` to before `end`, from a revision on.
    fn watch(&self, key: Bytes, end: Bytes, start: u64) -> Boxed<'_, Result<Box<dyn Changes>, Error>>;
    /// Forgets what was before a revision.
    fn compact(&self, revision: u64) -> Boxed<'_, Result<(), Error>>;
}

/// A watch under way.
pub(crate) trait Changes: Send {
    /// The next whole revisions.
    fn next(&mut self) -> Boxed<'_, Result<WatchResponse, Error>>;
}

impl Kv for Client {
    fn range(&self, request: RangeRequest) -> Boxed<'_, Result<RangeResponse, Error>> {
        Box::pin(async move { Client::range(self, &request).await })
    }

    fn txn(&self, request: TxnRequest) -> Boxed<'_, Result<TxnResponse, Error>> {
        Box::pin(Client::txn(self, request))
    }

    fn watch(&self, key: Bytes, end: Bytes, start: u64) -> Boxed<'_, Result<Box<dyn Changes>, Error>> {
        Box::pin(async move {
            let watcher = Client::watch(self, key, end, start).await?;
            Ok(Box::new(watcher) as Box<dyn Changes>)
        })
    }

    fn compact(&self, revision: u64) -> Boxed<'_, Result<(), Error>> {
        Box::pin(Client::compact(self, revision))
    }
}

impl Changes for Watcher {
    fn next(&mut self) -> Boxed<'_, Result<WatchResponse, Error>> {
        Box::pin(Watcher::next(self))
    }
}
