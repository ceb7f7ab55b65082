//! Waiting for nodes that speak over pipes.

use std::collections::BTreeMap;

use naru_client::{BoxFuture, BoxedIo, DialError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

/// Hands every stream that is opened to a node to the test.
#[derive(Default)]
struct Wires(Mutex<BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>>);

impl NodeDialer for Wires {
    fn dial(&self, node: &str) -> BoxFuture<'static, Result<BoxedIo, DialError>> {
        let wire = self.0.lock().get(node).cloned();
        let node = node.to_owned();
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(1 << 16);
            let taken = wire.is_some_and(|wire| wire.send(far).is_ok());
            if taken { Ok(Box::new(near) as BoxedIo) } else { Err(DialError::NotConnected { node }) }
        })
    }
}

/// A cluster of nodes that say what the test says.
struct World {
    wires: Arc<Wires>,
    present: watch::Sender<Arc<BTreeSet<String>>>,
    planes: Arc<Dataplanes>,
}

/// A node's end.
struct Node(mpsc::UnboundedReceiver<DuplexStream>);

impl World {
    fn new() -> World {
        World::after(&[], Duration::ZERO)
    }

    /// A server that has just started and found these nodes ready.
    fn after(nodes: &[&str], grace: Duration) -> World {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        let returning = Returning { nodes, until: Some(Instant::now() + grace) };
        let wires = Arc::new(Wires::default());
        let present = watch::Sender::new(Arc::default());
        let planes = Dataplanes::new(present.subscribe(), wires.clone(), returning);
        World { wires, present, planes }
    }

    fn connect(&self, name: &str) -> Node {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.wires.0.lock().insert(name.to_owned(), sender);
        self.present.send_modify(|names| {
            Arc::make_mut(names).insert(name.to_owned());
        });
        Node(receiver)
    }

    fn disconnect(&self, name: &str) {
        self.wires.0.lock().remove(name);
        self.present.send_modify(|names| {
            Arc::make_mut(names).remove(name);
        });
    }

    fn ask(&self, revision: u64, within: Duration) -> tokio::task::JoinHandle<Outcome> {
        let planes = self.planes.clone();
        tokio::spawn(async move { planes.reached(revision, within).await })
    }
}

impl Node {
    /// Takes the question and answers with these bytes; more may be written.
    async fn answer(&mut self, text: &str) -> DuplexStream {
        let stream = tokio::time::timeout(PATIENCE, self.0.recv()).await.expect("asked");
        let mut stream = stream.expect("connected");
        let mut request = vec![0; 4096];
        let count = stream.read(&mut request).await.expect("a request");
        let request = String::from_utf8_lossy(&request[..count]).into_owned();
        assert!(request.starts_with("GET /dataplane HTTP/1.1"), "{request}");
        stream.write_all(text.as_bytes()).await.expect("written");
        stream
    }

    async fn begins(&mut self, revision: u64) -> DuplexStream {
        let mut stream = self.answer("HTTP/1.1 200 OK\r\n\r\n").await;
        says(&mut stream, revision).await;
        stream
    }
}

async fn says(stream: &mut DuplexStream, revision: u64) {
    stream.write_all(format!("{{\"revision\":{revision}}}\n").as_bytes()).await.expect("written");
}

async fn ends(question: tokio::task::JoinHandle<Outcome>) -> Outcome {
    tokio::time::timeout(PATIENCE, question).await.expect("in time").expect("no panic")
}

fn all() -> Outcome {
    Outcome { behind: vec![], unable: vec![] }
}

/// Waits until the hub has taken something in.
async fn lowest(world: &World, wanted: u64) {
    let mut lowest = world.planes.lowest.subscribe();
    let known = tokio::time::timeout(PATIENCE, lowest.wait_for(|now| *now == wanted)).await;
    known.expect("told").expect("open");
}

#[tokio::test]
async fn the_answer_comes_when_the_last_node_has_followed() {
    let world = World::new();
    assert_eq!(ends(world.ask(7, LONG)).await, all(), "there is nobody to wait for");
    let (mut a, mut b) = (world.connect("a"), world.connect("b"));
    let question = world.ask(7, LONG);
    let (_a, mut b) = (a.begins(9).await, b.begins(5).await);
    lowest(&world, 5).await;
    let sooner = world.ask(5, LONG);
    assert_eq!(ends(sooner).await, all(), "the same streams serve others");
    assert!(!question.is_finished(), "b is not there yet");
    says(&mut b, 7).await;
    assert_eq!(ends(question).await, all());
}

#[tokio::test]
async fn who_has_not_followed_in_time_is_named() {
    let world = World::new();
    let (mut a, mut b, _silent) = (world.connect("a"), world.connect("b"), world.connect("c"));
    let question = world.ask(7, Duration::from_millis(200));
    let (_a, _b) = (a.begins(9).await, b.begins(5).await);
    assert_eq!(ends(question).await.behind, ["b", "c"]);
}

#[tokio::test]
async fn who_disconnects_is_not_waited_for_and_who_comes_is() {
    let world = World::new();
    let (mut a, mut b) = (world.connect("a"), world.connect("b"));
    let question = world.ask(7, LONG);
    let (_a, b) = (a.begins(9).await, b.begins(5).await);
    lowest(&world, 5).await;
    let mut late = world.connect("late");
    lowest(&world, 0).await;
    world.disconnect("b");
    drop(b);
    let mut late = late.begins(6).await;
    lowest(&world, 6).await;
    assert!(!question.is_finished());
    says(&mut late, 8).await;
    assert_eq!(ends(question).await, all());
}

#[tokio::test]
async fn a_word_of_before_counts_for_nothing_once_the_stream_broke() {
    let world = World::new();
    let mut a = world.connect("a");
    let stream = {
        assert!(!world.ask(7, LONG).is_finished());
        a.begins(9).await
    };
    lowest(&world, 9).await;
    drop(stream);
    lowest(&world, 0).await;
    let question = world.ask(7, LONG);
    let _again = a.begins(8).await;
    assert_eq!(ends(question).await, all());
}

#[tokio::test]
async fn nodes_of_an_earlier_version_are_named_and_not_waited_for() {
    let world = World::new();
    let (mut old, mut new) = (world.connect("old"), world.connect("new"));
    let question = world.ask(7, LONG);
    let _old = old.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").await;
    let _new = new.begins(7).await;
    assert_eq!(ends(question).await, Outcome { behind: vec![], unable: vec!["old".into()] });
}

#[tokio::test(start_paused = true)]
async fn streams_are_closed_when_nobody_has_asked_for_a_while() {
    let world = World::new();
    let mut a = world.connect("a");
    let question = world.ask(7, LONG);
    let mut stream = a.begins(7).await;
    ends(question).await;
    assert_eq!(world.planes.lowest.subscribe().borrow().to_owned(), 7, "still open for the next");
    let mut rest = Vec::new();
    // The clock goes on by itself up to whatever is due next: the end of the stream.
    stream.read_to_end(&mut rest).await.expect("closed");
    let followed = world.planes.followed.lock();
    assert!(followed.tasks.is_empty() && followed.keeper.is_none() && followed.waiting == 0);
}

#[tokio::test]
async fn nodes_that_were_there_before_the_server_started_are_waited_for() {
    let world = World::after(&["a", "b"], LONG);
    let mut a = world.connect("a");
    let question = world.ask(7, LONG);
    let _a = a.begins(9).await;
    let late = world.ask(7, Duration::from_millis(50));
    assert_eq!(ends(late).await.behind, ["b"], "it leads what it led, though it is not back yet");
    let mut b = world.connect("b");
    let _b = b.begins(8).await;
    assert_eq!(ends(question).await, all());
}

#[tokio::test]
async fn nodes_that_do_not_come_back_are_given_up() {
    let world = World::after(&["a"], Duration::ZERO);
    assert_eq!(ends(world.ask(7, LONG)).await, all());
}
