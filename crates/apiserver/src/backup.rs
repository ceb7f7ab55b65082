//! A backup of the whole cluster, streamed while everything goes on.
//!
//! Only for the all-mighty, whatever roles say: a backup holds the cluster's authority, and whoever has that once has the
//! cluster for good. What is in it is made by the server's owner, who knows its files; here it is only let through, at
//! the pace of whoever takes it.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Response, StatusCode};
use naru_api::{Reason, Status};
use naru_client::BoxError;
use tokio::sync::mpsc;

use crate::state::Core;
use crate::user::User;
use crate::wire::payload::Payload;
use crate::wire::respond;

/// Where it is asked for.
pub(crate) const PATH: &str = "/naru/v1/backup";
/// So many pieces may be under way.
const PIECES: usize = 16;
/// Writes are gathered to so many bytes.
const PIECE: usize = 64 << 10;

/// Makes backups.
pub trait BackupSource: Send + Sync + 'static {
    /// Writes one, of now; blocks the thread while it does.
    ///
    /// # Errors
    /// When it cannot be made; the reader is told by a stream that breaks off.
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Answers a request for a backup.
///
/// # Errors
/// 403 for all but the all-mighty, 404 where none can be made, 405 for anything but GET.
pub(crate) fn answer(core: &Arc<Core>, user: &User, method: &Method) -> Result<Response<Payload>, Status> {
    if !user.is_master() {
        let text =
            format!("a backup holds the cluster's keys: {} may not have it, only group system:masters", user.name);
        return Err(Status::new(Reason::Forbidden, text));
    }
    if *method != Method::GET {
        return Err(Status::new(
            Reason::MethodNotAllowed,
            format!("{method} is not supported on {PATH}: it can only be read"),
        ));
    }
    let source = core.backups.get().cloned().ok_or_else(Status::no_such_path)?;
    let (into, from) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { into, gathered: Vec::with_capacity(PIECE) };
        let written = source.write(&mut pieces).and_then(|()| pieces.flush());
        if let Err(error) = written {
            tracing::warn!(%error, "a backup broke off");
            let _ = pieces.into.blocking_send(Err(error.into()));
        }
    });
    let pieces = stream::unfold(from, async |mut from: mpsc::Receiver<Result<Bytes, BoxError>>| {
        let piece = from.recv().await?;
        Some((piece, from))
    });
    let kind = HeaderValue::from_static("application/vnd.naru.backup");
    let mut response = respond::typed(StatusCode::OK, kind, Bytes::new());
    *response.body_mut() = Payload::Stream(Box::pin(pieces));
    Ok(response)
}

struct Pieces {
    into: mpsc::Sender<Result<Bytes, BoxError>>,
    gathered: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.gathered, Vec::with_capacity(PIECE)));
        self.into.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
