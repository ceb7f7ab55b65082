//! Where an informer's frames come from: the transport's own feed, or LIST and then WATCH.

use std::time::Duration;

use futures_util::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use tokio::sync::watch;

use super::frames::{Line, Page};
use crate::lines::Lines;
use crate::{BoxError, Client, ClientError, Follow, Frame, Resource, empty_body};

/// Objects asked for in one page of a list.
const PAGE: &str = "5000";
/// How long one watch lasts before it is asked for anew, in seconds.
const WATCH_SECONDS: u64 = 300;
/// A watch that says nothing for this long beyond its own end is taken for dead.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 30);

/// Why a stretch of following ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error("the revision is no longer known")]
    Gone,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the stream of changes cannot be read")]
    Stream(#[source] BoxError),
}

/// Feeds frames for ever: resumes after breaks, backs off on errors, starts anew when the server has forgotten.
pub(super) async fn run(client: Client, resource: Resource, mut follow: Follow, mut take: impl FnMut(Frame)) {
    let mut backoff = Backoff::default();
    let mut found = client.transport().found();
    loop {
        // A way that is found while this attempt fails counts: the attempt was made before.
        found.as_mut().map(watch::Receiver::mark_unchanged);
        let mut came = false;
        let mut last = follow.after;
        let outcome = stretch(&client, &resource, &follow, &mut |frame| {
            came = true;
            last = Some(revision_of(&frame));
            take(frame);
        })
        .await;
        follow.after = last;
        if came {
            backoff = Backoff::default();
        }
        match outcome {
            Ok(()) => {}
            Err(FeedError::Gone) => follow.after = None,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(collection = %resource.plural, error = crate::chain(error), "following broke off; will resume");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next(rand_fraction())) => {}
            () = changed(&mut found) => backoff = Backoff::default(),
        }
    }
}

/// When a way to the server was found; never where nobody says so.
async fn changed(found: &mut Option<watch::Receiver<u64>>) {
    if let Some(found) = found
        && found.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn revision_of(frame: &Frame) -> u64 {
    match frame {
        Frame::Reset { revision, .. } | Frame::Changes { revision, .. } => *revision,
    }
}

/// Follows until the stream ends.
async fn stretch(
    client: &Client,
    resource: &Resource,
    follow: &Follow,
    take: &mut (impl FnMut(Frame) + ?Sized),
) -> Result<(), FeedError> {
    if let Some(mut frames) = client.transport().follow(follow.clone()) {
        while let Some(frame) = frames.next().await {
            take(frame.map_err(|error| FeedError::Stream(error.into()))?);
        }
        return Ok(());
    }
    let after = match follow.after {
        Some(after) => after,
        None => {
            let (revision, objects) = list(client, resource, follow).await?;
            take(Frame::Reset { revision, objects });
            revision
        }
    };
    watch(client, resource, follow, after, take).await
}

type Objects = Vec<(crate::ObjectRef, bytes::Bytes)>;

async fn list(client: &Client, resource: &Resource, follow: &Follow) -> Result<(u64, Objects), FeedError> {
    let mut all = Objects::new();
    let mut next = String::new();
    loop {
        let path = query(follow).add("limit", PAGE).add("continue", &next);
        let path = path.onto(&resource.collection_path(follow.namespace.as_deref()));
        let body = gone_or(client.send(Method::GET, &path, None, empty_body()).await)?;
        let page = Page::read(&body).map_err(FeedError::Stream)?;
        all.extend(page.objects);
        if page.next.is_empty() {
            return Ok((page.revision, all));
        }
        next = page.next;
    }
}

async fn watch(
    client: &Client,
    resource: &Resource,
    follow: &Follow,
    after: u64,
    take: &mut (impl FnMut(Frame) + ?Sized),
) -> Result<(), FeedError> {
    let path = query(follow)
        .flag("watch", true)
        .flag("allowWatchBookmarks", true)
        .add("resourceVersion", &after.to_string())
        .add("timeoutSeconds", &WATCH_SECONDS.to_string())
        .onto(&resource.collection_path(follow.namespace.as_deref()));
    let mut body = gone_or(client.open(Method::GET, &path, None, empty_body()).await)?.into_body();
    let mut lines = Lines::default();
    loop {
        let frame = match tokio::time::timeout(SILENCE, body.frame()).await {
            Ok(None) => return Ok(()),
            Ok(Some(frame)) => frame.map_err(FeedError::Stream)?,
            Err(_) => return Err(FeedError::Stream("the server has gone silent".into())),
        };
        let Ok(data) = frame.into_data() else { continue };
        lines.push(data);
        while let Some(line) = lines.next() {
            match Line::read(&line).map_err(FeedError::Stream)? {
                Line::Frame(frame) => take(frame),
                Line::Error(status) => return gone_or(Err(client.refusal("watch", &path, 500, &status))),
            }
        }
    }
}

fn query(follow: &Follow) -> crate::resource::Query {
    crate::resource::Query::default().add("labelSelector", &follow.labels).add("fieldSelector", &follow.fields)
}

fn gone_or<T>(result: Result<T, ClientError>) -> Result<T, FeedError> {
    result.map_err(|error| if error.is_gone() { FeedError::Gone } else { error.into() })
}

/// Pauses between attempts: short at first, doubling, with jitter so that many informers do not return at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(5);

    /// The next pause; `fraction` in 0..1 places it between a half and the whole of its bound.
    pub(super) fn next(&mut self, fraction: f64) -> Duration {
        let bound = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(Self::LONGEST);
        self.failures += 1;
        bound.mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0)
    }
}

fn rand_fraction() -> f64 {
    rand::random()
}
