//! etcd's messages, as far as they are used: the names and numbers are those of `etcdserverpb` and `mvccpb` (API v3).
//! Fields that are not used are left out, which protobuf allows.

use bytes::Bytes;

/// What every answer begins with.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ResponseHeader {
    /// The store's revision when the request was applied.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// One key with its value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The revision that created it, after it was last deleted.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// The revision that wrote it last.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// How often it was written since it was created.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// What it holds.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

/// Asks for the keys from `key` to before `range_end`; for one key where the end is empty.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeRequest {
    /// The first key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Where to end; not included.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// At most so many; all when zero.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// The state at this revision; the newest when zero.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// Without values.
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
}

/// The keys of a range.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeResponse {
    /// With the store's revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// In order.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// Whether there are more than the limit.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

impl RangeResponse {
    /// The store's revision when the range was read.
    pub fn revision(&self) -> u64 {
        revision(self.header.as_ref())
    }
}

/// Writes a key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRequest {
    /// Its name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// What it holds from now on.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Deletes the keys from `key` to before `range_end`, or one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRangeRequest {
    /// The first key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Where to end; not included. Empty for one key.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
}

/// The answer to a write inside of a transaction; nothing of it is used.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct WriteResponse {}

/// One step of a transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RequestOp {
    /// Which.
    #[prost(oneof = "Request", tags = "1, 2, 3")]
    pub request: Option<Request>,
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Request {
    /// Reads.
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    /// Writes.
    #[prost(message, tag = "2")]
    Put(PutRequest),
    /// Deletes.
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

impl RequestOp {
    /// Reads.
    pub fn range(range: RangeRequest) -> RequestOp {
        RequestOp { request: Some(Request::Range(range)) }
    }

    /// Writes a key.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> RequestOp {
        RequestOp { request: Some(Request::Put(PutRequest { key: key.into(), value: value.into() })) }
    }

    /// Deletes a key.
    pub fn delete(key: impl Into<Bytes>) -> RequestOp {
        let request = DeleteRangeRequest { key: key.into(), range_end: Bytes::new() };
        RequestOp { request: Some(Request::Delete(request)) }
    }
}

/// The answer to one step.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ResponseOp {
    /// Of which kind of step.
    #[prost(oneof = "Response", tags = "1, 2, 3")]
    pub response: Option<Response>,
}

/// What a step answered.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Response {
    /// What was read.
    #[prost(message, tag = "1")]
    Range(RangeResponse),
    /// It was written.
    #[prost(message, tag = "2")]
    Put(WriteResponse),
    /// It was deleted.
    #[prost(message, tag = "3")]
    Delete(WriteResponse),
}

impl ResponseOp {
    /// What a reading step read.
    pub fn range(&self) -> Option<&RangeResponse> {
        match &self.response {
            Some(Response::Range(range)) => Some(range),
            _ => None,
        }
    }
}

/// A condition of a transaction. One over a range holds when it holds for every key in it; a key that does not exist has
/// zero as its revision.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Compare {
    /// 0 equal, 1 greater, 2 less, 3 not equal.
    #[prost(int32, tag = "1")]
    pub(crate) result: i32,
    /// 0 version, 1 create revision, 2 mod revision, 3 value.
    #[prost(int32, tag = "2")]
    pub(crate) target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) key: Bytes,
    #[prost(oneof = "Target", tags = "6")]
    pub(crate) union: Option<Target>,
    #[prost(bytes = "bytes", tag = "64")]
    pub(crate) range_end: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Target {
    #[prost(int64, tag = "6")]
    ModRevision(i64),
}

impl Compare {
    const EQUAL: i32 = 0;
    const LESS: i32 = 2;
    const MOD_REVISION: i32 = 2;

    /// The key was last written at this revision; zero says that there is none.
    pub fn written_at(key: impl Into<Bytes>, revision: u64) -> Compare {
        Compare {
            result: Compare::EQUAL,
            target: Compare::MOD_REVISION,
            key: key.into(),
            union: Some(Target::ModRevision(revision.cast_signed())),
            range_end: Bytes::new(),
        }
    }

    /// No key of the range (one key where `range_end` is empty) was written after this revision.
    pub fn not_written_after(key: impl Into<Bytes>, range_end: impl Into<Bytes>, revision: u64) -> Compare {
        Compare {
            result: Compare::LESS,
            target: Compare::MOD_REVISION,
            key: key.into(),
            union: Some(Target::ModRevision(revision.cast_signed() + 1)),
            range_end: range_end.into(),
        }
    }

    /// Whether it holds, given the revisions at which the keys of the range were last written. For simulations.
    pub fn holds(&self, written_at: impl Fn(&[u8], &[u8]) -> Vec<u64>) -> bool {
        let Some(Target::ModRevision(wanted)) = self.union else { return false };
        let mut found = written_at(&self.key, &self.range_end);
        if found.is_empty() {
            found.push(0);
        }
        found.iter().all(|at| match self.result {
            Compare::EQUAL => at.cast_signed() == wanted,
            Compare::LESS => at.cast_signed() < wanted,
            _ => false,
        })
    }
}

/// All of `success` when every condition holds, else all of `failure`; at one revision.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxnRequest {
    /// The conditions.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Done when they hold.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// Done when one does not.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

/// What became of a transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxnResponse {
    /// With the store's revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Whether the conditions held.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// One for each step.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

impl TxnResponse {
    /// The revision at which it was done.
    pub fn revision(&self) -> u64 {
        revision(self.header.as_ref())
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct CompactionRequest {
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

/// An answer of which nothing is used.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct EmptyResponse {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub password: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct AuthenticateResponse {
    #[prost(string, tag = "2")]
    pub token: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WatchRequest {
    #[prost(oneof = "WatchUnion", tags = "1")]
    pub union: Option<WatchUnion>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum WatchUnion {
    #[prost(message, tag = "1")]
    Create(WatchCreateRequest),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WatchCreateRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
    /// Splits answers that are larger than a message may be.
    #[prost(bool, tag = "8")]
    pub fragment: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WatchAnswer {
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    #[prost(bool, tag = "3")]
    pub created: bool,
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    /// More of the same answer follows.
    #[prost(bool, tag = "7")]
    pub fragment: bool,
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}

/// One key was written or deleted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Event {
    #[prost(enumeration = "EventKind", tag = "1")]
    pub(crate) kind: i32,
    /// The key after it; of a deletion the name and the revision only.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EventKind {
    /// It was written.
    Put = 0,
    /// It was deleted.
    Delete = 1,
}

impl Event {
    /// An event, for simulations.
    pub fn new(kind: EventKind, kv: KeyValue) -> Event {
        Event { kind: kind.into(), kv: Some(kv) }
    }

    /// Whether the key is gone.
    pub fn is_deletion(&self) -> bool {
        self.kind == EventKind::Delete as i32
    }
}

pub(crate) fn revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| header.revision.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    /// As `etcdctl txn` sends them; the bytes were put together by hand from the protocol's numbers.
    #[test]
    fn messages_have_the_protocols_form() {
        let txn = TxnRequest {
            compare: vec![Compare::written_at("k", 0), Compare::not_written_after("a", "b", 4)],
            success: vec![RequestOp::put("k", "v"), RequestOp::delete("d")],
            failure: vec![RequestOp::range(RangeRequest { key: "k".into(), ..RangeRequest::default() })],
        };
        let expected: Vec<u8> = [
            // compare { target: MOD, key: "k", mod_revision: 0 }
            &[0x0a, 7, 0x10, 2, 0x1a, 1, b'k', 0x30, 0][..],
            // compare { result: LESS, target: MOD, key: "a", mod_revision: 5, range_end (64): "b" }
            &[0x0a, 13, 0x08, 2, 0x10, 2, 0x1a, 1, b'a', 0x30, 5, 0x82, 0x04, 1, b'b'],
            // success { put { key, value } }
            &[0x12, 8, 0x12, 6, 0x0a, 1, b'k', 0x12, 1, b'v'],
            // success { delete_range { key } }
            &[0x12, 5, 0x1a, 3, 0x0a, 1, b'd'],
            // failure { range { key } }
            &[0x1a, 5, 0x0a, 3, 0x0a, 1, b'k'],
        ]
        .concat();
        assert_eq!(txn.encode_to_vec(), expected);
    }

    #[test]
    fn conditions_hold_as_etcd_says() {
        let none = |_: &[u8], _: &[u8]| vec![];
        let at = |revisions: &'static [u64]| move |_: &[u8], _: &[u8]| revisions.to_vec();
        assert!(Compare::written_at("k", 0).holds(none));
        assert!(!Compare::written_at("k", 3).holds(none));
        assert!(Compare::written_at("k", 3).holds(at(&[3])));
        assert!(Compare::not_written_after("a", "b", 0).holds(none));
        assert!(Compare::not_written_after("a", "b", 4).holds(at(&[1, 4])));
        assert!(!Compare::not_written_after("a", "b", 4).holds(at(&[1, 5])));
    }
}
