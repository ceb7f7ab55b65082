//! Asking for the newest revision, one question for all who ask while another is under way.

use std::sync::Arc;

use naru_etcd::{Error, RangeRequest, RangeResponse};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::commit::Pause;
use super::kv::Kv;
use super::{PATIENCE, Shared};
use crate::StoreError;

/// Puts questions to the task that asks.
pub(super) struct Asker(mpsc::UnboundedSender<oneshot::Sender<Result<u64, Error>>>);

impl Asker {
    pub fn start(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) -> Asker {
        let (questions, asked) = mpsc::unbounded_channel();
        tasks.spawn(run(shared.clone(), asked));
        Asker(questions)
    }

    /// The revision of etcd's newest transaction of ours. One that is asked for now is not answered by a question that
    /// was put before.
    pub async fn newest(&self) -> Result<u64, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).map_err(|_| StoreError::Closed)?;
        match answered.await {
            Ok(Ok(revision)) => Ok(revision),
            Ok(Err(source)) => Err(StoreError::Unavailable { source }),
            Err(_) => Err(StoreError::Closed),
        }
    }
}

async fn run(shared: Arc<Shared>, mut asked: mpsc::UnboundedReceiver<oneshot::Sender<Result<u64, Error>>>) {
    let mut all = Vec::new();
    while asked.recv_many(&mut all, usize::MAX).await > 0 {
        let answer = ask(&shared).await;
        // Who went away needs no answer.
        all.drain(..).for_each(|waiting| drop(waiting.send(answer.clone())));
    }
}

async fn ask(shared: &Shared) -> Result<u64, Error> {
    let request = RangeRequest { key: shared.space.tick(), ..RangeRequest::default() };
    let found = patiently(&*shared.kv, request).await?;
    Ok(found.kvs.first().map_or(0, |tick| tick.mod_revision.cast_unsigned()))
}

/// Reads, and asks again for a while when nobody answers.
pub(super) async fn patiently(kv: &dyn Kv, request: RangeRequest) -> Result<RangeResponse, Error> {
    let (deadline, mut pause) = (Instant::now() + PATIENCE, Pause::new());
    loop {
        match kv.range(request.clone()).await {
            Err(Error::NoAnswer { .. } | Error::Busy { .. }) if Instant::now() < deadline => pause.wait().await,
            answered => return answered,
        }
    }
}
