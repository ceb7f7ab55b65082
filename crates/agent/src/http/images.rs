//! `/images`: the machine's images.
//!
//! Long operations answer at once with lines of JSON: `{"layer","status","current","total"}` for progress, then one
//! result, or `{"error"}`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Incoming;
use naru_client::BoxError;
use naru_runtime::image::{
    Auth, Digest, ImageError, ImageRecord, Images, Progress, ProgressEvent, PruneOptions, PullOptions, PullPolicy,
    PushOptions, Reference, Source, Step,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::io::{ReaderStream, StreamReader};

use super::{
    query::Query,
    reply::{Refusal, Reply, json_reply, streamed, typed},
    router::Call,
};

/// How much of a blob is read at once.
const CHUNK: usize = 256 << 10;

pub(super) async fn images(call: Call) -> Reply {
    let images = call.node().config.images.clone();
    let path = call.path.clone();
    let path: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
    let used = call.fleet.images_in_use();
    let query = &call.query;
    let name = || query.get("name").map(str::to_owned).ok_or_else(|| Refusal::bad("the query needs a name"));
    let target = |text: &str| Reference::parse(text).map_err(|error| refuse(&error));
    match (call.request.method().clone(), path.as_slice()) {
        (Method::GET, []) => list(images).await,
        (Method::GET, ["inspect"]) => {
            let name = name()?;
            let image = apart(async move || images.inspect(&name).await).await?;
            Ok(json_reply(&record(&image)))
        }
        (Method::GET, ["offer"]) => offer(images, target(&name()?)?).await,
        (Method::GET, ["blobs", digest]) => {
            let digest = digest.parse::<Digest>().map_err(|error| refuse(&error))?;
            let from = query.number("from").map_err(Refusal::bad)?.unwrap_or(0);
            blob(images, target(&name()?)?, digest, from).await
        }
        (Method::GET, ["usage"]) => {
            let usage = apart(async move || images.usage(&used).await).await?;
            Ok(json_reply(&json!(usage)))
        }
        (Method::GET, ["save"]) => Ok(save(images, query.all("name"))),
        (Method::POST, ["load"]) => Ok(load(images, call.request)),
        (Method::POST, ["pull"]) => pull(images, target(&name()?)?, query),
        (Method::POST, ["push"]) => {
            let name = name()?;
            let target = target(query.get("target").unwrap_or(&name))?;
            Ok(lines(async move |progress| {
                let options = PushOptions { progress, ..PushOptions::default() };
                images.push(&name, &target, options).await.map(|digest| json!({"digest": digest.to_string()}))
            }))
        }
        (Method::POST, ["import"]) => {
            let reference = target(&name()?)?;
            Ok(lines(async move |progress| {
                images.import_from_docker(&reference, progress).await.map(|image| record(&image))
            }))
        }
        (Method::POST, ["tag"]) => {
            let source = query.get("source").unwrap_or_default().to_owned();
            let target = target(query.get("target").unwrap_or_default())?;
            apart(async move || images.tag(&source, &target).await).await?;
            Ok(json_reply(&json!({})))
        }
        (Method::DELETE, []) => {
            let (name, force) = (name()?, query.flag(&["force"]));
            let removed = apart(async move || images.remove(&name, force, &used).await).await?;
            Ok(json_reply(&json!(removed)))
        }
        (Method::POST, ["prune"]) => {
            let options = PruneOptions { all: query.flag(&["all"]), in_use: used };
            let removed = apart(async move || images.prune(options).await).await?;
            Ok(json_reply(&json!(removed)))
        }
        (method, _) => {
            let text = format!("this node does not serve {method} /{}", call.path.join("/"));
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text))
        }
    }
}

/// Runs an operation on a thread of its own: it may block, and its future may not move between threads.
async fn apart<T, F>(work: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: AsyncFnOnce() -> Result<T, ImageError> + Send + 'static,
{
    let handle = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || handle.block_on(work())).await;
    done.map_err(|error| Refusal::failed(&error))?.map_err(|error| refuse(&error))
}

fn refuse(error: &ImageError) -> Refusal {
    let code = match error {
        ImageError::NotFound { .. } | ImageError::NotInRegistry { .. } => StatusCode::NOT_FOUND,
        ImageError::Reference { .. } | ImageError::DigestSyntax { .. } | ImageError::Ambiguous { .. } => {
            StatusCode::BAD_REQUEST
        }
        ImageError::InUse { .. } => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::new(code, crate::chain(error))
}

fn record(image: &ImageRecord) -> Value {
    json!(image)
}

async fn list(images: Images) -> Reply {
    let found = apart(async move || images.list().await).await?;
    let found: Vec<Value> = found.iter().map(record).collect();
    Ok(json_reply(&json!({"images": found})))
}

/// What this node can give of an image to another one.
async fn offer(images: Images, reference: Reference) -> Reply {
    let offer = images.offer(&reference).await.map_err(|error| refuse(&error))?;
    let offer = offer.ok_or_else(|| Refusal::absent(format!("no image {reference} on this node")))?;
    Ok(json_reply(&json!(offer)))
}

/// A document or layer of an image, exactly as it is kept.
async fn blob(images: Images, reference: Reference, digest: Digest, from: u64) -> Reply {
    let found = images.open_blob(&reference, &digest, from).await.map_err(|error| refuse(&error))?;
    let (file, length) = found.ok_or_else(|| Refusal::absent(format!("no {digest} of {reference} on this node")))?;
    let chunks = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
    let frames = chunks.map_ok(Frame::data).map_err(BoxError::from);
    let mut response = typed("application/octet-stream", StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    Ok(response)
}

fn pull(images: Images, reference: Reference, query: &Query) -> Reply {
    let policy = match query.get("policy") {
        Some("missing" | "IfNotPresent") => PullPolicy::IfNotPresent,
        _ => PullPolicy::Always,
    };
    let auth = query.get("auth").map_or(Auth::Configured, |text| Auth::DockerConfig(text.to_owned()));
    let platform = query.get("platform").filter(|text| !text.is_empty());
    let platform = platform.map(str::parse).transpose().map_err(|error: ImageError| refuse(&error))?;
    Ok(lines(async move |progress| {
        let options = PullOptions { auth, policy, platform, progress };
        images.pull(&reference, options).await.map(|pulled| record(&pulled.image))
    }))
}

fn load(images: Images, request: Request<Incoming>) -> http::Response<naru_client::Body> {
    let frames = BodyStream::new(request.into_body().map_err(std::io::Error::other));
    let data = frames.try_filter_map(async |frame| Ok(frame.into_data().ok()));
    let reader = StreamReader::new(Box::pin(data));
    lines(async move |progress| {
        let loaded = images.load(Source::Stream(Box::new(reader)), progress).await?;
        let names: Vec<String> =
            loaded.iter().map(|image| image.tags.first().cloned().unwrap_or_else(|| image.id.to_string())).collect();
        Ok(json!({"images": names}))
    })
}

fn save(images: Images, names: Vec<String>) -> http::Response<naru_client::Body> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (sender, inbox) = mpsc::channel::<Result<Bytes, BoxError>>(4);
    let handle = tokio::runtime::Handle::current();
    let saving = tokio::task::spawn_blocking(move || handle.block_on(images.save(&names, Box::new(far))));
    tokio::spawn(async move {
        let mut chunks = ReaderStream::with_capacity(near, CHUNK);
        while let Ok(Some(chunk)) = chunks.try_next().await {
            if sender.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
        let failure: Option<BoxError> = match saving.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Box::new(error)),
            Err(error) => Some(Box::new(error)),
        };
        if let Some(error) = failure {
            tracing::warn!(error = %crate::chain(&*error), "an archive was not completed");
            // The broken connection tells the client that the archive is not whole.
            let _ = sender.send(Err(error)).await;
        }
    });
    typed("application/x-tar", streamed(inbox))
}

/// Answers with the progress of a long operation and its result.
fn lines<F>(work: F) -> http::Response<naru_client::Body>
where
    F: AsyncFnOnce(Progress) -> Result<Value, ImageError> + Send + 'static,
{
    let (sender, mut outbox) = mpsc::unbounded_channel::<Value>();
    let (forward, inbox) = mpsc::channel(16);
    let teller = Arc::new(sender.clone());
    let progress = Progress::to(move |event| drop(teller.send(line(&event))));
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let last = match handle.block_on(work(progress)) {
            Ok(value) => value,
            Err(error) => json!({"error": crate::chain(&error)}),
        };
        // A client that went away does not stop the operation.
        let _ = sender.send(last);
    });
    tokio::spawn(async move {
        while let Some(value) = outbox.recv().await {
            if forward.send(Ok(Bytes::from(format!("{value}\n")))).await.is_err() {
                return;
            }
        }
    });
    typed("application/x-ndjson", streamed(inbox))
}

fn line(event: &ProgressEvent) -> Value {
    let (status, current, total) = match &event.step {
        Step::Waiting => ("Waiting".to_owned(), 0, 0),
        Step::Exists => ("Already exists".to_owned(), 0, 0),
        Step::Downloading { done, total } => ("Downloading".to_owned(), *done, total.unwrap_or(0)),
        Step::Uploading { done, total } => ("Pushing".to_owned(), *done, *total),
        Step::Unpacking { done, total } => ("Extracting".to_owned(), *done, *total),
        Step::Retrying { attempt, reason } => (format!("Retrying (attempt {attempt}): {reason}"), 0, 0),
        Step::Done => ("Done".to_owned(), 0, 0),
    };
    json!({"layer": event.item, "status": status, "current": current, "total": total})
}
