//! A transaction in etcd's words.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use naru_etcd::{Compare, RangeRequest, RequestOp, TxnRequest};

use super::space::{Space, tick};
use crate::root::Root;
use crate::sequencer::Write;
use crate::txn::Reads;
use crate::{Key, Revision};

/// What the transaction is: conditions under which it sees what it saw, its writes, and the tick.
pub(super) struct Draft<'a> {
    pub space: &'a Space,
    pub root: &'a Root,
    pub offset: u64,
    pub reads: &'a Reads,
    pub writes: &'a BTreeMap<Key, Option<Write>>,
}

impl Draft<'_> {
    pub fn request(&self, instance: u64, token: u64) -> TxnRequest {
        let tick = tick(instance, token);
        let failure = vec![RequestOp::range(RangeRequest { key: self.space.tick(), ..RangeRequest::default() })];
        TxnRequest { compare: self.compare(), success: self.success(&tick), failure }
    }

    fn compare(&self) -> Vec<Compare> {
        let mut seen: BTreeMap<&Key, Option<Revision>> = BTreeMap::new();
        // What is written is compared, too: what was there before is told to watchers, and of two attempts of one
        // transaction whose answers were lost only one can happen.
        for key in self.writes.keys() {
            seen.insert(key, self.root.get(key).map(|entry| entry.modified));
        }
        seen.extend(self.reads.keys().iter().map(|(key, modified)| (key, *modified)));
        let at = |revision: Revision| revision.0 - self.offset;
        let keys =
            seen.into_iter().map(|(key, modified)| Compare::written_at(self.space.object(key), modified.map_or(0, at)));
        let collections: BTreeSet<Option<&str>> = self.reads.collections().collect();
        let base = at(self.root.revision);
        let collections = collections.into_iter().flat_map(|collection| {
            [self.space.objects(collection), self.space.deletions(collection)]
                .map(|(key, end)| Compare::not_written_after(key, end, base))
        });
        keys.chain(collections).collect()
    }

    fn success(&self, tick: &Bytes) -> Vec<RequestOp> {
        let mut steps = Vec::with_capacity(self.writes.len() + 2);
        let mut emptied = BTreeSet::new();
        for (key, write) in self.writes {
            match write {
                Some(write) => steps.push(RequestOp::put(self.space.object(key), write.stored.clone())),
                None => {
                    steps.push(RequestOp::delete(self.space.object(key)));
                    emptied.insert(key.collection());
                }
            }
        }
        steps
            .extend(emptied.into_iter().map(|collection| RequestOp::put(self.space.deleted(collection), tick.clone())));
        steps.push(RequestOp::put(self.space.tick(), tick.clone()));
        steps
    }
}
