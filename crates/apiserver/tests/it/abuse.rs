//! Input that nobody sends by mistake: a clear refusal, bounded work, and everybody else unharmed.

mod bodies;
mod connections;
mod expressions;
mod shapes;

use http::Method;

use crate::support::{Answer, Caller, World};

/// A refusal that says what was wrong with the request, not with the server.
#[track_caller]
fn refused(what: &str, answer: &Answer) {
    assert!(answer.code.is_client_error(), "{what}: {} {}", answer.code, clipped(&answer.text()));
    assert!(answer.bytes.len() < 64 << 10, "{what}: the refusal itself has {} bytes", answer.bytes.len());
}

fn clipped(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Whether others are still served: one request is answered, one object is written and goes.
async fn unharmed(world: &World) {
    let root = world.root();
    assert_eq!(root.get("/readyz").await.code, 200);
    let map = crate::support::config_map("still-here", &[]);
    root.post(crate::support::MAPS, &map).await.expect(201);
    root.delete(&format!("{}/still-here", crate::support::MAPS)).await.expect(200);
}

/// Runs a test with room for the frames of an unoptimised build: several times as large as those that are shipped, which a
/// thread of the usual size holds as deep as anything may nest.
fn roomy<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    };
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(run).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn sent(caller: &Caller, kind: &str, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
    caller.with("content-type", kind).send(Method::POST, path, body).await
}
