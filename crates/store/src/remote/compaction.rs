//! Making etcd forget, so that it does not grow for ever.
//!
//! Every server looks as often as history is kept here, and writes down the newest revision under `compacted` unless
//! another has done so since it looked last; whoever did compacts to what it had written down the time before. So etcd
//! keeps between one and two such times, and a server that was away for less goes on without reading everything anew.

use std::sync::Arc;
use std::time::Duration;

use naru_etcd::{Compare, Error, RangeRequest, RequestOp, TxnRequest};

use super::Shared;

pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    let mut seen = None;
    loop {
        match round(&shared, seen).await {
            Ok(now) => seen = Some(now),
            Err(error) => tracing::debug!(%error, "etcd is not compacted this time"),
        }
        tokio::time::sleep(every).await;
    }
}

/// What a server saw under `compacted`, and the revision that it would compact to the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    written_at: u64,
    revision: u64,
}

pub(super) async fn round(shared: &Shared, seen: Option<Seen>) -> Result<Seen, Error> {
    let key = shared.space.compacted();
    let look = RequestOp::range(RangeRequest { key: key.clone(), ..RangeRequest::default() });
    let Some(seen) = seen else {
        let found = shared.kv.txn(TxnRequest { success: vec![look], ..TxnRequest::default() }).await?;
        return Ok(Seen { written_at: written_at(&found), revision: found.revision() });
    };
    let request = TxnRequest {
        compare: vec![Compare::written_at(key.clone(), seen.written_at)],
        success: vec![RequestOp::put(key, seen.revision.to_string())],
        failure: vec![look],
    };
    let answer = shared.kv.txn(request).await?;
    if !answer.succeeded {
        return Ok(Seen { written_at: written_at(&answer), revision: answer.revision() });
    }
    match shared.kv.compact(seen.revision).await {
        Ok(()) | Err(Error::Compacted) => {}
        Err(error) => return Err(error),
    }
    Ok(Seen { written_at: answer.revision(), revision: answer.revision() })
}

fn written_at(answer: &naru_etcd::TxnResponse) -> u64 {
    let found = answer.responses.first().and_then(|answer| answer.range()?.kvs.first());
    found.map_or(0, |kv| kv.mod_revision.cast_unsigned())
}
