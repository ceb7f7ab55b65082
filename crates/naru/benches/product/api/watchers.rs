//! A thousand watchers of one kind, a hundred writes a second: how long a change is on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;

use super::connection::{Connection, Endpoint, answer, request};
use crate::report;

const WATCHERS: usize = 1_000;
const WRITES: usize = 500;
const PERIOD: Duration = Duration::from_millis(10);
const WATCHED: &str = "/api/v1/namespaces/kube-public/configmaps";

pub async fn run(endpoint: &Arc<Endpoint>) -> Vec<Duration> {
    let begin = Instant::now();
    let ready = Arc::new(AtomicUsize::new(0));
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        watchers.push(tokio::spawn(watch(endpoint.connect().await, begin, ready.clone())));
    }
    while ready.load(Relaxed) < WATCHERS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut connection = endpoint.connect().await;
    let mut tick = tokio::time::interval(PERIOD);
    for number in 0..WRITES {
        tick.tick().await;
        let last = if number == WRITES - 1 { r#","last":"1""# } else { "" };
        let sent = begin.elapsed().as_micros();
        let body = format!(r#"{{"metadata":{{"name":"w{number}"}},"data":{{"sent":"{sent}"{last}}}}}"#);
        let (code, _) = answer(&mut connection, request(Method::POST, WATCHED, body.into())).await;
        assert_eq!(code, 201, "a ConfigMap is made");
    }
    let mut times = Vec::new();
    for watcher in watchers {
        times.extend(watcher.await.expect("a watch"));
    }
    times
}

pub fn print(times: &[Duration]) {
    report::value("p99 from write to 1,000 watchers at 100 writes/s", report::at(times, 99), "ms", Some(20.0));
    let (count, all) = (times.len(), WATCHERS * WRITES);
    report::note(&format!("median {:.1} ms; {count} of {all} deliveries", report::at(times, 50)));
}

/// How long each change was on its way, until the one that says it is the last.
async fn watch(mut connection: Connection, begin: Instant, ready: Arc<AtomicUsize>) -> Vec<Duration> {
    let path = format!("{WATCHED}?watch=1");
    let response = connection.send_request(request(Method::GET, &path, Bytes::new())).await.expect("a watch");
    let mut body = response.into_body();
    ready.fetch_add(1, Relaxed);
    let mut times = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let now = begin.elapsed();
        let text = String::from_utf8_lossy(&data);
        for part in text.split(r#""sent":""#).skip(1) {
            let sent = part.split('"').next().and_then(|digits| digits.parse().ok()).expect("a time");
            times.push(now.saturating_sub(Duration::from_micros(sent)));
        }
        if text.contains(r#""last""#) {
            break;
        }
    }
    times
}
