//! Both ways of following, against scripted transports; the cache's laws against a model.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame as BodyFrame;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::cache::{Cache, Cached};
use super::*;
use crate::{Body, BoxedIo, Delta, Transport, TransportError, UpgradeError, full_body};

fn resource() -> Resource {
    Resource { group: "".into(), version: "v1".into(), kind: "Pod".into(), plural: "pods".into(), namespaced: true }
}

/// The view: the label `app`.
fn app(json: &[u8]) -> Result<String, BoxError> {
    let value: serde_json::Value = serde_json::from_slice(json)?;
    value["metadata"]["labels"]["app"].as_str().map(Into::into).ok_or_else(|| "no label app".into())
}

fn pod(name: &str, revision: u64, app: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"n","uid":"u-{name}","resourceVersion":"{revision}","labels":{{"app":"{app}"}}}}}}"#
    )
}

fn builder() -> InformerBuilder<String> {
    Informer::builder(resource(), app).index("app", |pod| vec![Arc::from(pod.view.as_str())])
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("happens before the deadline")
}

fn names(objects: &[Arc<Cached<String>>]) -> Vec<&str> {
    objects.iter().map(|object| &*object.key.name).collect()
}

/// A status code and the chunks of a body.
type Answer = (u16, Vec<String>);

/// Answers requests in turn with scripted bodies, recording what was asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
    found: Arc<watch::Sender<u64>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Script { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Script::default() }
    }
}

impl Transport for Script {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TransportError>> {
        self.asked.lock().push(request.uri().to_string());
        let answer = self.answers.lock().pop_front();
        Box::pin(async move {
            // A script that is over answers no more, as a silent server.
            let Some((code, chunks)) = answer else { return std::future::pending().await };
            let chunks = chunks.into_iter().map(|chunk| Ok(BodyFrame::data(Bytes::from(chunk))));
            let body: Body = StreamBody::new(stream::iter(chunks)).boxed_unsync();
            Ok(Response::builder().status(code).body(body).unwrap())
        })
    }

    fn upgrade(&self, _: Request<Body>) -> BoxFuture<'static, Result<(Response<()>, BoxedIo), UpgradeError>> {
        Box::pin(async { Err(UpgradeError::Transport(TransportError::Closed)) })
    }

    fn found(&self) -> Option<watch::Receiver<u64>> {
        Some(self.found.subscribe())
    }
}

fn list(revision: u64, next: &str, pods: &[String]) -> Answer {
    let metadata = format!(r#"{{"resourceVersion":"{revision}","continue":"{next}"}}"#);
    (200, vec![format!(r#"{{"kind":"PodList","metadata":{metadata},"items":[{}]}}"#, pods.join(","))])
}

fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

#[tokio::test]
async fn it_lists_by_pages_watches_resumes_and_starts_anew_when_the_revision_is_gone() {
    let expired = r#"{"kind":"Status","status":"Failure","reason":"Expired","code":410}"#;
    let changed = event("MODIFIED", &pod("a", 12, "y"));
    let (first, second) = changed.split_at(30);
    let script = Script::new([
        list(10, "page2", &[pod("a", 5, "x")]),
        list(10, "", &[pod("b", 6, "x")]),
        // Lines fall apart over chunks; the stream then ends.
        (200, vec![first.into(), second.into(), event("BOOKMARK", r#"{"metadata":{"resourceVersion":"15"}}"#)]),
        (200, vec![event("DELETED", &pod("b", 16, "x")), event("ERROR", expired)]),
        list(30, "", &[pod("c", 29, "z")]),
    ]);
    let informer = builder().fields("spec.nodeName=n1").start(&Client::new(Arc::new(script.clone())));
    soon(informer.synced()).await;
    soon(informer.reached(30)).await;
    assert_eq!(names(&informer.list()), ["c"], "a fresh list replaces everything");
    assert!(informer.by_index("app", "x").is_empty() && informer.by_index("app", "y").is_empty());
    let asked = soon(async {
        loop {
            let asked = script.asked.lock().clone();
            if asked.len() == 6 {
                return asked;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let path = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1";
    assert_eq!(asked[0], format!("{path}&limit=5000"));
    assert_eq!(asked[1], format!("{path}&limit=5000&continue=page2"));
    let watch =
        |after: u64| format!("{path}&watch=true&allowWatchBookmarks=true&resourceVersion={after}&timeoutSeconds=300");
    assert_eq!(asked[2..], [watch(10), watch(15), format!("{path}&limit=5000"), watch(30)]);
}

#[tokio::test]
async fn a_mark_is_no_change() {
    let mark = event("BOOKMARK", r#"{"metadata":{"resourceVersion":"15"}}"#);
    let script = Script::new([
        list(10, "", &[pod("a", 5, "x")]),
        (200, vec![event("MODIFIED", &pod("a", 12, "y")), mark]),
        (200, vec![event("DELETED", &pod("a", 16, "x"))]),
    ]);
    let informer = builder().start(&Client::new(Arc::new(script)));
    let mut seen = Vec::new();
    for revision in [10, 15, 16] {
        soon(informer.reached(revision)).await;
        seen.push((informer.revision() >= revision, informer.newest_change()));
    }
    // Whatever comes later may have come already.
    assert!(seen[0].1 >= 10 && seen[1].1 != 15 && seen[2] == (true, 16), "{seen:?}");
}

#[tokio::test]
async fn refusals_are_retried() {
    let refused = r#"{"kind":"Status","status":"Failure","reason":"ServiceUnavailable","code":503}"#;
    let script = Script::new([(503, vec![refused.into()]), list(3, "", &[pod("a", 2, "x")])]);
    let informer = builder().start(&Client::new(Arc::new(script)));
    soon(informer.synced()).await;
    assert_eq!(informer.get("n", "a").unwrap().revision, 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_found_again_is_asked_at_once() {
    let refused = r#"{"kind":"Status","status":"Failure","reason":"ServiceUnavailable","code":503}"#;
    let script = Script::new((0..20).map(|_| (503, vec![refused.to_owned()])));
    let _informer = builder().start(&Client::new(Arc::new(script.clone())));
    let asked = async |count: usize| {
        while script.asked.lock().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::Instant::now()
    };
    // By then it pauses for seconds.
    let failed = soon(asked(10)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    script.found.send_modify(|count| *count += 1);
    let again = soon(asked(11)).await;
    assert!(again - failed < Duration::from_secs(1), "{:?}", again - failed);
}

/// Offers frames itself, as the in-process transport does.
struct Direct {
    streams: Mutex<VecDeque<mpsc::UnboundedReceiver<Frame>>>,
    resumed: mpsc::UnboundedSender<Option<u64>>,
}

impl Transport for Direct {
    fn call(&self, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TransportError>> {
        Box::pin(async { Ok(Response::new(full_body(""))) })
    }

    fn upgrade(&self, _: Request<Body>) -> BoxFuture<'static, Result<(Response<()>, BoxedIo), UpgradeError>> {
        Box::pin(async { Err(UpgradeError::Transport(TransportError::Closed)) })
    }

    fn follow(&self, follow: Follow) -> Option<BoxStream<'static, Result<Frame, TransportError>>> {
        self.resumed.send(follow.after).unwrap();
        let frames = self.streams.lock().pop_front();
        Some(match frames {
            Some(frames) => {
                stream::unfold(frames, |mut frames| async { frames.recv().await.map(|frame| (Ok(frame), frames)) })
                    .boxed()
            }
            None => stream::pending().boxed(),
        })
    }
}

fn applied(name: &str, revision: u64, app: &str) -> Frame {
    let delta = Delta::Applied(ObjectRef::new("n", name), pod(name, revision, app).into());
    Frame::Changes { revision, changes: vec![delta] }
}

#[tokio::test]
async fn a_transports_own_feed_shares_its_bytes_resumes_and_tells_listeners_and_subscribers() {
    let (sender, frames) = mpsc::unbounded_channel();
    let (resumed, mut resumes) = mpsc::unbounded_channel();
    let direct = Direct { streams: Mutex::new([frames].into()), resumed };
    let informer = builder().keep_raw().start(&Client::new(Arc::new(direct)));
    let raw = Bytes::from(pod("a", 1, "x"));
    let objects = vec![
        (ObjectRef::new("n", "a"), raw.clone()),
        (ObjectRef::new("n", "b"), pod("b", 2, "x").into()),
        (ObjectRef::new("n", "odd"), Bytes::from_static(br#"{"metadata":{"resourceVersion":"2"}}"#)),
    ];
    sender.send(Frame::Reset { revision: 2, objects }).unwrap();
    soon(informer.synced()).await;
    assert_eq!(names(&informer.list_in("n")), ["a", "b"], "what cannot be read is left out");
    assert!(informer.list_in("m").is_empty());
    assert_eq!(informer.get("n", "a").unwrap().raw.as_ptr(), raw.as_ptr(), "the transport's bytes, not a copy");

    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    informer.listen(move |change: &Change<String>| {
        let side = |side: &Option<Arc<Cached<String>>>| side.as_ref().map(|object| object.view.to_string());
        log.lock().push((change.key().name.to_string(), side(&change.before), side(&change.after)));
    });
    let mut subscription = informer.subscribe();
    sender.send(applied("a", 3, "y")).unwrap();
    sender.send(applied("a", 4, "z")).unwrap();
    let gone = vec![Delta::Deleted(ObjectRef::new("n", "b"))];
    sender.send(Frame::Changes { revision: 5, changes: gone }).unwrap();
    soon(informer.reached(5)).await;
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        ("a".to_owned(), None, text("x")),
        ("b".to_owned(), None, text("x")),
        ("a".to_owned(), text("x"), text("y")),
        ("a".to_owned(), text("y"), text("z")),
        ("b".to_owned(), text("x"), None),
    ];
    assert_eq!(*told.lock(), expected);
    assert_eq!(&*soon(subscription.next()).await.name, "a");
    assert_eq!(&*soon(subscription.next()).await.name, "b");
    assert!(subscription.try_next().is_none(), "several changes of one object are one key");

    assert_eq!(soon(resumes.recv()).await, Some(None));
    drop(sender);
    assert_eq!(soon(resumes.recv()).await, Some(Some(5)), "a lost feed resumes where it broke off");
}

#[test]
fn pauses_double_up_to_a_bound_and_jitter_stays_within_half() {
    let pauses = |fraction| {
        let mut backoff = super::feed::Backoff::default();
        (0..40).map(|_| backoff.next(fraction).as_millis()).collect::<Vec<_>>()
    };
    let longest = pauses(1.0);
    assert_eq!(longest[..4], [20, 40, 80, 160]);
    assert_eq!(longest[39], 5000);
    for (low, high) in pauses(0.0).into_iter().zip(longest) {
        assert_eq!(low, high / 2);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Apply(u8, u8),
    Remove(u8),
    Reset(BTreeMap<u8, u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u8, 0..3_u8).prop_map(|(name, app)| Step::Apply(name, app)),
        2 => (0..6_u8).prop_map(Step::Remove),
        1 => prop::collection::btree_map(0..6_u8, 0..3_u8, 0..6).prop_map(Step::Reset),
    ]
}

proptest! {
    /// Whatever happens, objects and index agree with a plain map, and the changes told lead from state to state.
    #[test]
    fn the_cache_is_a_map_with_an_index(steps in prop::collection::vec(step(), 0..30)) {
        let keys: IndexFn<u8> = Arc::new(|object| vec![object.view.to_string().into()]);
        let mut cache = Cache::new(vec![("app", keys)]);
        let (mut model, mut followed) = (BTreeMap::new(), BTreeMap::new());
        let mut revision = 0;
        let mut object = |name: u8, app: u8| {
            revision += 1;
            let key = ObjectRef::new("n", &name.to_string());
            Arc::new(Cached { key, uid: "".into(), revision, deleting: false, raw: Bytes::new(), view: Arc::new(app) })
        };
        for step in steps {
            let changes = match step {
                Step::Apply(name, app) => {
                    model.insert(name, app);
                    vec![cache.apply(object(name, app))]
                }
                Step::Remove(name) => {
                    model.remove(&name);
                    cache.remove(&ObjectRef::new("n", &name.to_string())).into_iter().collect()
                }
                Step::Reset(to) => {
                    let objects = to.iter().map(|(name, app)| object(*name, *app)).collect();
                    model = to;
                    cache.reset(objects)
                }
            };
            for change in changes {
                let name: u8 = change.key().name.parse().unwrap();
                prop_assert_eq!(followed.get(&name).copied(), change.before.as_ref().map(|o| *o.view));
                match &change.after {
                    Some(object) => followed.insert(name, *object.view),
                    None => followed.remove(&name),
                };
            }
            prop_assert_eq!(&followed, &model);
            let all: BTreeMap<u8, u8> = cache.all().map(|o| (o.key.name.parse().unwrap(), *o.view)).collect();
            prop_assert_eq!(&all, &model);
            for app in 0..3_u8 {
                let filed: Vec<u8> =
                    cache.by_index("app", &app.to_string()).iter().map(|o| o.key.name.parse().unwrap()).collect();
                let expected: Vec<u8> = model.iter().filter(|(_, a)| **a == app).map(|(n, _)| *n).collect();
                prop_assert_eq!(filed, expected);
            }
        }
    }
}
