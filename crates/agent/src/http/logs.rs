//! `GET /containerLogs/{namespace}/{pod}/{container}`.

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::{
    reply::{Refusal, Reply, streamed, typed},
    router::{Call, Found},
};
use crate::logs::{Filter, Reader, Source, attempts};

pub(super) fn logs(call: &Call, namespace: &str, pod: &str, container: &str) -> Reply {
    let found = call.pod(namespace, pod)?;
    let seen = found.observed.containers.get(container);
    let seen = seen.ok_or_else(|| Refusal::absent(format!("container {container:?} not found in pod {pod:?}")))?;
    let filter = filter(call).map_err(Refusal::bad)?;
    let dir = found.executor.paths.logs.join(container);
    let there = attempts(&dir);
    let previous = call.query.flag(&["previous"]);
    // By default the last attempt, as kubectl has it; with `restarts` every one that is kept, and those to come.
    let across = call.query.flag(&["restarts"]) && !previous;
    let chosen = match (previous, across) {
        (true, _) => there.iter().rev().nth(1),
        (false, true) => there.first(),
        (false, false) => there.last(),
    };
    let Some(from) = chosen.copied() else {
        if previous {
            let text = format!("previous terminated container {container:?} in pod {pod:?} not found");
            return Err(Refusal::bad(text));
        }
        if seen.starts == 0 {
            let text =
                format!("container {container:?} in pod {pod:?} is waiting to start: see `kubectl describe pod {pod}`");
            return Err(Refusal::bad(text));
        }
        return Ok(typed("text/plain", naru_client::empty_body()));
    };
    let filter = Filter { follow: filter.follow && !previous, ..filter };
    let (out, mut text) = mpsc::channel(16);
    let (forward, inbox) = mpsc::channel(16);
    let name = container.to_owned();
    let view = found.clone();
    tokio::task::spawn_blocking(move || {
        Reader::new(dir, filter, across, out).run(from, || source(&view, &name, from, across))
    });
    tokio::spawn(async move {
        while let Some(bytes) = text.recv().await {
            if forward.send(Ok(bytes)).await.is_err() {
                break;
            }
        }
    });
    Ok(typed("text/plain", streamed(inbox)))
}

/// Whether more of the log may come: the attempt runs, or (across restarts) the pod is there.
fn source(found: &Found, container: &str, attempt: u32, across: bool) -> Source {
    if found.view.has_changed().is_err() {
        return Source::Closed;
    }
    let observed = found.view.borrow().clone();
    let Some(seen) = observed.containers.get(container) else { return Source::Closed };
    let runs = seen.is_running() && seen.starts == attempt + 1;
    let may_come = across && !observed.finalized && observed.ending.is_none();
    if runs || may_come { Source::Open } else { Source::Closed }
}

fn filter(call: &Call) -> Result<Filter, String> {
    let query = &call.query;
    let seconds: Option<i64> = query.number("sinceSeconds")?;
    let since = match (query.get("sinceTime").filter(|text| !text.is_empty()), seconds) {
        (Some(text), _) => Some(text.parse().map_err(|_| format!("sinceTime={text:?}: expected RFC 3339"))?),
        (None, Some(seconds)) => Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, None) => None,
    };
    let stream = query.get("stream").filter(|name| !name.is_empty() && *name != "All");
    Ok(Filter {
        follow: query.flag(&["follow"]),
        tail: query.number("tailLines")?,
        since,
        timestamps: query.flag(&["timestamps"]),
        limit: query.number("limitBytes")?,
        stderr: stream.map(|name| name.eq_ignore_ascii_case("stderr")),
    })
}
