//! How far this node's rules are, told to who asks; and asking how far all others are.
//!
//! A revision is in force when what the kernel has was made from EndpointSlices up to it, whether or not they changed
//! anything: so a revision that says nothing of this node's services is followed as fast as any other.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{BoxFuture, Shared, WeakShared};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http::Method;
use naru_client::Client;
use naru_network::Applied;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::feed::Submission;

/// What nodes take to follow that cannot say when they have, and all of them where the server cannot: longer than any
/// that is well takes.
const UNSAID: Duration = Duration::from_millis(250);

/// The revisions of EndpointSlices that come into force, the present one first.
pub(super) fn in_force(
    submitted: watch::Receiver<Submission>,
    applied: watch::Receiver<Applied>,
) -> BoxStream<'static, u64> {
    let from = (submitted, applied, None);
    let revisions = stream::unfold(from, async |(mut submitted, mut applied, last)| {
        loop {
            let Submission { number, endpoints } = *submitted.borrow_and_update();
            if number > 0 && last != Some(endpoints) {
                applied.wait_for(|applied| applied.revision >= number).await.ok()?;
                return Some((endpoints, (submitted, applied, Some(endpoints))));
            }
            submitted.changed().await.ok()?;
        }
    });
    revisions.boxed()
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Everyone,
    /// These had not followed when the question ended.
    Behind(Vec<String>),
    /// Some cannot say, or nobody could be asked.
    Unknown,
}

type Question = Shared<BoxFuture<'static, Answer>>;

/// Asks the server. Pods that stop together ask together.
pub(super) struct Elsewhere {
    client: Client,
    /// Questions under way, by their revision.
    asked: Mutex<BTreeMap<u64, WeakShared<BoxFuture<'static, Answer>>>>,
}

impl Elsewhere {
    pub fn new(client: Client) -> Self {
        Self { client, asked: Mutex::default() }
    }

    /// Returns when every node has the endpoints of `revision` in force, or has had the time for it, but not after `until`.
    pub async fn followed(&self, revision: u64, until: Instant) {
        let known = Instant::now();
        let answer = loop {
            let answer = timeout_at(until, self.question(revision, until)).await;
            match answer {
                // The question may have been that of somebody with less patience.
                Ok(Answer::Behind(_)) if Instant::now() < until => {}
                Ok(answer) => break answer,
                Err(_) => break Answer::Behind(Vec::new()),
            }
        };
        match answer {
            Answer::Everyone => {}
            Answer::Unknown => sleep_until(until.min(known + UNSAID)).await,
            Answer::Behind(nodes) => {
                tracing::warn!(
                    revision,
                    nodes = nodes.join(" "),
                    "nodes have not followed in time; a pod stops all the same"
                );
            }
        }
    }

    /// A question that covers the revision: one under way, or a new one.
    fn question(&self, revision: u64, until: Instant) -> Question {
        let mut asked = self.asked.lock();
        asked.retain(|_, question| question.upgrade().is_some_and(|question| question.peek().is_none()));
        if let Some(question) = asked.range(revision..).find_map(|(_, question)| question.upgrade()) {
            return question;
        }
        let question = ask(self.client.clone(), revision, until).boxed().shared();
        asked.extend(question.downgrade().map(|weak| (revision, weak)));
        question
    }
}

#[derive(Deserialize)]
struct Told {
    behind: Vec<String>,
    unable: Vec<String>,
}

async fn ask(client: Client, revision: u64, until: Instant) -> Answer {
    let patience = until.saturating_duration_since(Instant::now()).as_millis();
    let path = format!("/naru/v1/dataplanes?revision={revision}&timeoutMilliseconds={patience}");
    let told = client.json(Method::GET, &path, "application/json", None).await.map_err(|error| error.to_string());
    match told.and_then(|told| Told::deserialize(told).map_err(|error| error.to_string())) {
        Ok(Told { behind, .. }) if !behind.is_empty() => Answer::Behind(behind),
        Ok(Told { unable, .. }) if unable.is_empty() => Answer::Everyone,
        Ok(_) => Answer::Unknown,
        Err(error) => {
            tracing::debug!(error, "nobody says whether other nodes have followed");
            Answer::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use naru_client::{Body, BoxedIo, Transport, TransportError, UpgradeError, full_body};
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    type Asked = (String, oneshot::Sender<(u16, &'static str)>);

    /// A server whose answers are the test's.
    struct Server(mpsc::UnboundedSender<Asked>);

    impl Transport for Server {
        fn call(
            &self,
            request: http::Request<Body>,
        ) -> BoxFuture<'static, Result<http::Response<Body>, TransportError>> {
            let (answer, answered) = oneshot::channel();
            let _ = self.0.send((request.uri().to_string(), answer));
            Box::pin(async move {
                let (code, text) = answered.await.map_err(|_| TransportError::Closed)?;
                let mut response = http::Response::new(full_body(text));
                *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
                Ok(response)
            })
        }

        fn upgrade(
            &self,
            _: http::Request<Body>,
        ) -> BoxFuture<'static, Result<(http::Response<()>, BoxedIo), UpgradeError>> {
            Box::pin(async { Err(UpgradeError::Transport(TransportError::Closed)) })
        }
    }

    fn server() -> (Arc<Elsewhere>, mpsc::UnboundedReceiver<Asked>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Arc::new(Elsewhere::new(Client::new(Arc::new(Server(sender))))), receiver)
    }

    fn waits(elsewhere: &Arc<Elsewhere>, revision: u64) -> tokio::task::JoinHandle<()> {
        let elsewhere = elsewhere.clone();
        tokio::spawn(async move { elsewhere.followed(revision, Instant::now() + Duration::from_secs(2)).await })
    }

    #[tokio::test(start_paused = true)]
    async fn pods_that_stop_together_ask_once() {
        let (elsewhere, mut asked) = server();
        let first = waits(&elsewhere, 9);
        let (path, answer) = asked.recv().await.unwrap();
        assert_eq!(path, "/naru/v1/dataplanes?revision=9&timeoutMilliseconds=2000");
        let (lower, higher) = (waits(&elsewhere, 8), waits(&elsewhere, 10));
        let (path, other) = asked.recv().await.unwrap();
        assert!(path.contains("revision=10"), "that one is not covered: {path}");
        answer.send((200, r#"{"behind": [], "unable": []}"#)).unwrap();
        first.await.unwrap();
        lower.await.unwrap();
        assert!(!higher.is_finished());
        other.send((200, r#"{"behind": [], "unable": []}"#)).unwrap();
        higher.await.unwrap();
        assert!(asked.try_recv().is_err());
    }

    /// How long the wait lasts, in the paused clock's milliseconds, when the server answers so.
    async fn lasts(code: u16, text: &'static str) -> u128 {
        let (elsewhere, mut asked) = server();
        let begun = Instant::now();
        let waiting = waits(&elsewhere, 9);
        asked.recv().await.unwrap().1.send((code, text)).unwrap();
        waiting.await.unwrap();
        begun.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_say_is_given_a_moment() {
        assert_eq!(lasts(200, r#"{"behind": [], "unable": []}"#).await, 0);
        assert_eq!(lasts(200, r#"{"behind": [], "unable": ["old"]}"#).await, 250);
        assert_eq!(lasts(404, "{}").await, 250, "a server of an earlier version");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded() {
        let (elsewhere, mut asked) = server();
        let begun = Instant::now();
        let waiting = waits(&elsewhere, 9);
        // Another's question that ended early is asked again, with what patience is left.
        tokio::time::sleep(Duration::from_millis(500)).await;
        asked.recv().await.unwrap().1.send((200, r#"{"behind": ["w1"], "unable": []}"#)).unwrap();
        let (path, _held) = asked.recv().await.unwrap();
        assert!(path.contains("timeoutMilliseconds=1500"), "{path}");
        waiting.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 2);
    }

    #[tokio::test]
    async fn a_revision_is_in_force_when_the_kernel_has_what_was_made_from_it() {
        let (submit, submitted) = watch::channel(Submission::default());
        let (apply, applied) = watch::channel(Applied::default());
        let mut told = in_force(submitted, applied);
        let mut next = async || tokio::time::timeout(PATIENCE, told.next()).await.expect("told");
        submit.send_replace(Submission { number: 1, endpoints: 10 });
        apply.send_modify(|applied| applied.revision = 1);
        assert_eq!(next().await, Some(10));
        // Two submissions that were put into force as one; the first of them changed nothing that is told.
        submit.send_replace(Submission { number: 2, endpoints: 10 });
        submit.send_replace(Submission { number: 3, endpoints: 12 });
        let apply = tokio::spawn(async move {
            apply.send_modify(|applied| applied.revision = 2);
            tokio::task::yield_now().await;
            let early = apply.borrow().revision;
            apply.send_modify(|applied| applied.revision = 3);
            (apply, early)
        });
        assert_eq!(next().await, Some(12));
        let (apply, early) = apply.await.unwrap();
        assert_eq!((early, apply.borrow().revision), (2, 3));
    }
}
