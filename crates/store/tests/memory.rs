//! The memory engine passes the suite.

mod suite;

use naru_store::{History, Options, Revision, Store};

async fn open(history: History) -> Option<((), Store)> {
    Some(((), Store::open(Options { history, ..Options::memory(suite::codec()) }).await.unwrap()))
}

conformance!(open);

#[tokio::test]
async fn revisions_lie_above_the_raised_one() {
    let options = Options { raise_above: Some(Revision(1000)), ..Options::memory(suite::codec()) };
    let store = Store::open(options).await.unwrap();
    assert!(store.snapshot().revision() > Revision(1000));
    assert!(suite::put(&store, "a", "v").await > Revision(1001));
}

/// Simulations depend on it: a commit is done when its future is first polled, on the caller's thread.
#[test]
fn commits_need_no_runtime() {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut opening = std::pin::pin!(Store::open(Options::memory(suite::codec())));
    let std::task::Poll::Ready(Ok(store)) = opening.as_mut().poll(&mut context) else { panic!("opening waits") };
    let mut put = std::pin::pin!(suite::put(&store, "a", "v"));
    assert!(put.as_mut().poll(&mut context).is_ready());
}
