use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::stream::{self, BoxStream, StreamExt};
use naru_client::{Body, BoxedIo, Client, Follow, Frame, Transport, TransportError, UpgradeError, empty_body};

use super::*;

/// A server without objects.
struct Empty;

impl Transport for Empty {
    fn call(&self, _: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, TransportError>> {
        Box::pin(async { Ok(http::Response::new(empty_body())) })
    }

    fn upgrade(
        &self,
        _: http::Request<Body>,
    ) -> BoxFuture<'static, Result<(http::Response<()>, BoxedIo), UpgradeError>> {
        Box::pin(async { Err(UpgradeError::Transport(TransportError::Closed)) })
    }

    fn follow(&self, _: Follow) -> Option<BoxStream<'static, Result<Frame, TransportError>>> {
        let reset = Frame::Reset { revision: 1, objects: Vec::new() };
        Some(stream::once(async { Ok(reset) }).chain(stream::pending()).boxed())
    }
}

/// A controller that does what the key's name says.
struct Toy {
    cluster: Arc<Cluster>,
    keys: Mutex<Option<Keys>>,
    turns: Mutex<HashMap<String, usize>>,
    broken: AtomicBool,
    running: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Toy {
    fn new() -> Arc<Toy> {
        let cluster = Cluster::start(&Client::new(Arc::new(Empty)), Arc::new(Timestamp::now));
        Arc::new(Toy {
            cluster,
            keys: Mutex::default(),
            turns: Mutex::default(),
            broken: AtomicBool::new(true),
            running: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        })
    }

    fn turns(&self, name: &str) -> usize {
        self.turns.lock().get(name).copied().unwrap_or(0)
    }

    fn add(&self, name: &str) {
        self.keys.lock().as_ref().expect("watching").add(&ObjectRef::cluster(name));
    }
}

impl Controller for Toy {
    type View = String;

    fn name(&self) -> &'static str {
        "toy"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        *self.keys.lock() = Some(keys.clone());
    }

    fn scan(&self) -> Vec<ObjectRef> {
        vec![ObjectRef::cluster("scanned")]
    }

    fn view(&self, key: &ObjectRef) -> Option<String> {
        *self.turns.lock().entry(key.name.to_string()).or_default() += 1;
        Some(key.name.to_string())
    }

    fn plan(&self, name: &String, now: Timestamp) -> Plan {
        let broken = self.broken.load(Ordering::SeqCst);
        assert!(!(name == "panics" && broken), "as it is meant to");
        let mut plan = Plan::nothing("done");
        if name == "again" && self.turns(name) < 3 {
            plan.again_at(now);
        }
        plan
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, _: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            let what = key.to_string();
            match (&*key.name, self.broken.load(Ordering::SeqCst)) {
                ("fails", true) => Err(ApplyError::Bug { what }),
                ("conflicts", true) => Err(ApplyError::Conflict { what }),
                ("ends", true) => Err(ApplyError::Ending { what }),
                _ => Ok(()),
            }
        })
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test]
async fn keys_are_repeated_until_they_settle_and_the_status_says_so() {
    let toy = Toy::new();
    let shutdown = CancellationToken::new();
    let running = start(toy.clone(), DriverOptions::default(), shutdown.clone());
    until("the first scan looks at everything", || toy.turns("scanned") == 1).await;
    for name in ["ends", "fails", "panics", "conflicts", "again"] {
        toy.add(name);
    }
    until("a plan may ask to look again", || toy.turns("again") == 3).await;
    for name in ["fails", "panics", "conflicts"] {
        until("what does not go well is repeated", || toy.turns(name) > 2).await;
    }
    let status = running.status();
    let failing: Vec<_> = status.failing.keys().map(|key| key.name.to_string()).collect();
    assert_eq!(failing, ["fails", "panics"], "a conflict is no failure");
    let failure = &status.failing[&ObjectRef::cluster("fails")];
    assert!(failure.count > 1 && failure.error == "fails");
    toy.broken.store(false, Ordering::SeqCst);
    until("what has been mended settles", || running.status().failing.is_empty()).await;
    assert_eq!(toy.turns("ends"), 1, "what ends with its namespace is not tried again");
    assert!(running.status().iterations > 8);
    assert_eq!(running.status().last.map(|last| last.reason), Some("done".into()));
    shutdown.cancel();
    running.ended().await;
}

#[tokio::test]
async fn one_key_is_never_worked_on_twice_at_once_and_several_are_up_to_the_bound() {
    let toy = Toy::new();
    let shutdown = CancellationToken::new();
    let options = DriverOptions { workers: 2, ..DriverOptions::default() };
    let running = start(toy.clone(), options, shutdown.clone());
    for round in 0..200 {
        toy.add("busy");
        if round % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    until("it is worked on", || toy.turns("busy") > 1).await;
    until("it settles", || running.status().waiting == 0 && running.status().running == 0).await;
    let alone = toy.most_at_once.load(Ordering::SeqCst);
    assert!(alone <= 2, "the busy key and the scanned one");
    for index in 0..50 {
        toy.add(&format!("key{index}"));
    }
    until("all are worked on", || (0..50).all(|index| toy.turns(&format!("key{index}")) == 1)).await;
    assert_eq!(toy.most_at_once.load(Ordering::SeqCst), 2);
    shutdown.cancel();
    running.ended().await;
}

#[tokio::test]
async fn everything_is_looked_at_now_and_then() {
    let toy = Toy::new();
    let shutdown = CancellationToken::new();
    let options = DriverOptions { rescan: Duration::from_millis(5), ..DriverOptions::default() };
    let running = start(toy.clone(), options, shutdown.clone());
    until("the scan comes back", || toy.turns("scanned") > 3).await;
    shutdown.cancel();
    running.ended().await;
}
