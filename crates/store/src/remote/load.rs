//! Reading everything at start.

use bytes::Bytes;
use naru_etcd::{Compare, Error, KeyValue, RangeRequest, RequestOp, TxnRequest};

use super::ask::patiently;
use super::kv::Kv;
use super::space::{Identity, Place, Space};
use crate::engine::{ClusterId, Loaded, Stored};
use crate::{OpenError, Revision};

/// How many keys are asked for at once: small enough for etcd to answer others in between.
const PAGE: i64 = 500;
/// How often loading begins anew because etcd was compacted meanwhile.
const ROUNDS: usize = 5;

/// Makes the store's identity where there is none, raises its offset when asked to, and reads all objects.
pub(super) async fn open(kv: &dyn Kv, space: &Space, raise: Option<Revision>) -> Result<Loaded, OpenError> {
    identify(kv, space, raise).await?;
    load(kv, space).await
}

/// Reads all objects at one revision.
pub(super) async fn load(kv: &dyn Kv, space: &Space) -> Result<Loaded, OpenError> {
    for _ in 0..ROUNDS {
        match scan(kv, space).await {
            Err(Scan::Etcd(Error::Compacted)) => {}
            Err(Scan::Etcd(source)) => return Err(OpenError::Etcd { source }),
            Err(Scan::Open(error)) => return Err(error),
            Ok(loaded) => return Ok(loaded),
        }
    }
    Err(OpenError::Etcd { source: Error::Compacted })
}

enum Scan {
    Etcd(Error),
    Open(OpenError),
}

async fn scan(kv: &dyn Kv, space: &Space) -> Result<Loaded, Scan> {
    let (mut key, range_end) = space.all();
    let (mut revision, mut objects, mut identity) = (0, Vec::new(), None);
    loop {
        let page = RangeRequest { key, range_end: range_end.clone(), limit: PAGE, revision, ..RangeRequest::default() };
        let page = patiently(kv, page).await.map_err(Scan::Etcd)?;
        if revision == 0 {
            revision = page.revision().cast_signed();
        }
        let Some(last) = page.kvs.last().map(|kv| kv.key.clone()) else { break };
        for kv in page.kvs {
            match space.place(&kv.key) {
                Place::Object(key) => objects.push(stored(key, kv)),
                Place::Identity => {
                    identity = Some(Identity::parse(space.prefix(), &kv.value).map_err(Scan::Open)?);
                }
                Place::Tick | Place::Guard => {}
                Place::Strange => tracing::warn!(key = ?kv.key, "a key in etcd is none of ours and is left alone"),
            }
        }
        if !page.more {
            break;
        }
        key = after(&last);
    }
    let foreign = || Scan::Open(OpenError::Foreign { prefix: space.prefix().to_owned() });
    let Identity { cluster, offset } = identity.ok_or_else(foreign)?;
    Ok(Loaded { sequence: revision.cast_unsigned(), offset, cluster, objects, torn: None })
}

fn stored(key: crate::Key, kv: KeyValue) -> Stored {
    let (created, modified) = (kv.create_revision.cast_unsigned(), kv.mod_revision.cast_unsigned());
    Stored { key, created, modified, value: kv.value }
}

/// The first key behind this one.
fn after(key: &Bytes) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

async fn identify(kv: &dyn Kv, space: &Space, raise: Option<Revision>) -> Result<(), OpenError> {
    let wanted = raise.map_or(0, |revision| revision.0);
    loop {
        let key = space.identity();
        let request = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let found = patiently(kv, request).await.map_err(|source| OpenError::Etcd { source })?;
        let (identity, at) = match found.kvs.first() {
            Some(found) => {
                let identity = Identity::parse(space.prefix(), &found.value)?;
                if identity.offset >= wanted {
                    return Ok(());
                }
                (Identity { offset: wanted, ..identity }, found.mod_revision.cast_unsigned())
            }
            None => {
                expect_nothing(kv, space).await?;
                (Identity { cluster: ClusterId(rand::random()), offset: wanted }, 0)
            }
        };
        let request = TxnRequest {
            compare: vec![Compare::written_at(key.clone(), at)],
            success: vec![RequestOp::put(key, identity.text())],
            failure: Vec::new(),
        };
        match kv.txn(request).await {
            // Whoever was first: what is there now is looked at again.
            Ok(_) => {}
            Err(error) if error.is_ambiguous() => {}
            Err(source) => return Err(OpenError::Etcd { source }),
        }
    }
}

/// Objects without an identity are an import that was cut off, or somebody else's.
pub(super) async fn expect_nothing(kv: &dyn Kv, space: &Space) -> Result<(), OpenError> {
    let (key, range_end) = space.all();
    let request = RangeRequest { key, range_end, limit: 1, keys_only: true, ..RangeRequest::default() };
    let found = patiently(kv, request).await.map_err(|source| OpenError::Etcd { source })?;
    match found.kvs.is_empty() {
        true => Ok(()),
        false => Err(OpenError::Foreign { prefix: space.prefix().to_owned() }),
    }
}
