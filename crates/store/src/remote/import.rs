//! Making a store in etcd of a backup: the way from the embedded engine to this one, and back from a disaster.
//!
//! The identity is written last, so that an import that was cut off does not open as a store that has lost something; and
//! every step demands that there is none yet, so that of two imports, or of an import and a server's first start, one
//! wins.

use naru_etcd::{Compare, Error, RequestOp, TxnRequest};
use tokio::time::Instant;

use super::commit::Pause;
use super::kv::Kv;
use super::load::expect_nothing;
use super::space::{Identity, Space};
use super::{PATIENCE, space};
use crate::backup::{Backup, GAP, ImportError, Reading};
use crate::engine::log::format::{Item, read_body};
use crate::{OpenError, Revision};

/// A transaction is sent when it has so many writes or bytes: below etcd's limits (128 and 1.5 MiB), as they are set
/// where nobody has changed them, unless a single object is larger.
const MOST: usize = 100;
const BYTES: usize = 1 << 20;

pub(crate) async fn import(
    kv: &dyn Kv,
    prefix: &str,
    mut backup: impl std::io::Read,
    issued: Option<Revision>,
) -> Result<Backup, ImportError> {
    let space = Space::new(prefix);
    expect_nothing(kv, &space).await?;
    let mut reading = Reading::begin(&mut backup)?;
    let mut writing = Writing { kv, space: &space, steps: Vec::new(), bytes: 0 };
    let mut objects = 0;
    while let Some((head, body)) = reading.next(objects)? {
        let mut frame = Vec::new();
        let read = read_body(&head, &body, |item| {
            if let Item::Object { key, value, .. } = item {
                frame.push((space.object(&key), bytes::Bytes::copy_from_slice(value)));
            }
        });
        read.ok_or(ImportError::Damaged { offset: reading.at, what: "a record before it makes no sense" })?;
        objects += frame.len() as u64;
        for (key, value) in frame {
            writing.put(key, value).await?;
        }
    }
    writing.flush().await?;
    // Above what the backup's cluster can have issued since, whatever etcd's own count is.
    let above = reading.header.segment + reading.header.sequence + GAP;
    let offset = above.max(issued.map_or(0, |revision| revision.0));
    let cluster = reading.header.cluster;
    let identity = space::Identity { cluster, offset };
    let at = writing.finish(&identity).await?;
    Ok(Backup { cluster, revision: Revision(offset + at), objects })
}

struct Writing<'a> {
    kv: &'a dyn Kv,
    space: &'a Space,
    steps: Vec<RequestOp>,
    bytes: usize,
}

impl Writing<'_> {
    async fn put(&mut self, key: bytes::Bytes, value: bytes::Bytes) -> Result<(), ImportError> {
        let size = key.len() + value.len();
        if !self.steps.is_empty() && (self.steps.len() == MOST || self.bytes + size > BYTES) {
            self.flush().await?;
        }
        self.bytes += size;
        self.steps.push(RequestOp::put(key, value));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ImportError> {
        self.bytes = 0;
        let steps = std::mem::take(&mut self.steps);
        if steps.is_empty() { Ok(()) } else { self.send(steps).await.map(drop) }
    }

    async fn finish(&mut self, identity: &Identity) -> Result<u64, ImportError> {
        self.send(vec![RequestOp::put(self.space.identity(), identity.text())]).await
    }

    /// Sent until it is answered: doing it twice is doing it once. Gives etcd's revision of it.
    async fn send(&self, success: Vec<RequestOp>) -> Result<u64, ImportError> {
        let compare = vec![Compare::written_at(self.space.identity(), 0)];
        let request = TxnRequest { compare, success, failure: Vec::new() };
        let (mut pause, deadline) = (Pause::new(), Instant::now() + PATIENCE);
        loop {
            match self.kv.txn(request.clone()).await {
                Ok(answer) if answer.succeeded => return Ok(answer.revision()),
                Ok(_) => return Err(OpenError::Foreign { prefix: self.space.prefix().to_owned() }.into()),
                Err(Error::NoAnswer { .. } | Error::Busy { .. }) if Instant::now() < deadline => pause.wait().await,
                Err(source) => return Err(OpenError::Etcd { source }.into()),
            }
        }
    }
}
