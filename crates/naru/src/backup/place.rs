//! Backups at their places: finding one by its name, reading one, writing one.

use std::io;

use anyhow::Context;
use bytes::Bytes;
use naru_backup::{Depot, PipeReader, PipeWriter, pipe};
use tokio::task::JoinHandle;

/// The place and the name of a backup: of a path, `file:///folder/name` or `s3://bucket/prefix/name`.
///
/// # Errors
/// When it is none.
pub(super) fn locate(backup: &str) -> anyhow::Result<(Depot, String)> {
    let path = backup.strip_prefix("file://").unwrap_or(backup);
    let (place, name) = match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((place, name)) => (place, name),
        None => (".", path),
    };
    let name = Some(name).filter(|name| !name.is_empty() && !place.ends_with(":/"));
    let name =
        name.with_context(|| format!("{backup:?} names no backup: expected a file, or s3://bucket/prefix/name"))?;
    Ok((Depot::parse(place)?, name.to_owned()))
}

/// Runs `make` on a thread of its own, which writes a backup, and puts that under `name` when all of it is there.
/// `told` hears how many bytes there are. Gives the backup's size.
///
/// # Errors
/// When it cannot be made or written; nothing is there then.
pub(crate) async fn put<T: Send + 'static>(
    depot: &Depot,
    name: &str,
    size: u64,
    make: impl FnOnce(PipeWriter) -> anyhow::Result<T> + Send + 'static,
    mut told: impl FnMut(u64),
) -> anyhow::Result<(T, u64)> {
    let mut put = depot.put(name, size).await?;
    let (into, mut from) = pipe();
    let making: JoinHandle<anyhow::Result<T>> = tokio::task::spawn_blocking(move || make(into));
    let mut written = 0;
    let filled = loop {
        match from.next().await {
            Ok(None) => break Ok(()),
            Ok(Some(piece)) => {
                written += piece.len() as u64;
                if let Err(error) = put.write(piece).await {
                    break Err(error.into());
                }
                told(written);
            }
            Err(error) => break Err(anyhow::Error::from(error)),
        }
    };
    // Whoever makes it hears that nobody reads any more.
    drop(from);
    let made = making.await.context("the backup's thread ended")?;
    // The place's own fault comes first: the maker only saw that nobody read on.
    match (filled, made) {
        (Ok(()), Ok(made)) => Ok((made, put.finish().await?)),
        (Err(error), _) | (Ok(()), Err(error)) => {
            put.abandon().await;
            Err(error)
        }
    }
}

/// The body of an answer, as a thread reads it.
pub(super) fn body(mut body: naru_client::Body) -> PipeReader {
    use http_body_util::BodyExt;
    let (mut into, from) = pipe();
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => frame.into_data().map_err(|_| io::Error::other("there is more behind the backup")),
                Err(error) => Err(io::Error::other(format!("the connection to the server broke: {error}"))),
            };
            let last = piece.is_err();
            if into.send(piece).await.is_err() || last {
                return;
            }
        }
    });
    from
}

/// The first bytes of a backup: more than its header has.
pub(super) async fn beginning(depot: &Depot, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut from = depot.get(name).await?;
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < 128 << 10
        && let Some(piece) = from.next().await?
    {
        let piece: Bytes = piece;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_backup_is_found_by_path_and_address() {
        let found = |text: &str| super::locate(text).map(|(depot, name)| (depot.to_string(), name)).ok();
        let is = |place: &str, name: &str| Some((place.to_owned(), name.to_owned()));
        assert_eq!(found("a.backup"), is("file://.", "a.backup"));
        assert_eq!(found("/a.backup"), is("file:///", "a.backup"));
        assert_eq!(found("file:///mnt/a.backup"), is("file:///mnt", "a.backup"));
        for wrong in ["", "/mnt/", "s3://a", "http://x/y"] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
    }
}
