//! `POST /signal/{namespace}/{pod}/{container}?signal=`: what `docker kill` does.
//!
//! A container that is told to end (by KILL or by its own stop signal) stays down where Docker's rules hold, whatever its
//! restart rule; any other signal is only delivered. Docker holds a container down after *every* signal, so that one
//! which was asked to read its configuration anew and dies a week later stays dead: that is not copied. Pods without
//! Docker's rules restart as after any other end.

use naru_client::empty_body;

use super::{
    reply::{Refusal, Reply, typed},
    router::Call,
};
use crate::{machine::State, pod::Input, translate};

const KILL: i32 = 9;

pub(super) async fn signal(call: &Call, namespace: &str, pod: &str, container: &str) -> Reply {
    let found = call.pod(namespace, pod)?;
    let (uid, name) = found.running(container)?;
    let text = call.query.get("signal").filter(|text| !text.is_empty()).unwrap_or("KILL");
    let number = translate::signal(text).ok_or_else(|| {
        Refusal::bad(format!(
            "signal={text:?}: expected a signal's name (with or without SIG) or a number from 1 to 64"
        ))
    })?;
    let ends = number == KILL || number == found.executor.stop_signal(container);
    let paused = found.observed.containers.get(container).is_some_and(|seen| match seen.state {
        State::Running { paused, .. } => paused,
        _ => false,
    });
    let hold = |held| drop(found.inbox.send(Input::Hold { container: container.to_owned(), held }));
    // Before the signal: the end may be told sooner than this request's answer.
    if ends {
        hold(true);
    }
    let runtime = &*call.node().config.runtime;
    let sent = async {
        if number == KILL {
            return runtime.kill(&uid, &name).await;
        }
        // A frozen process cannot act on a signal.
        if ends && paused {
            runtime.resume(&uid, &name).await?;
        }
        runtime.signal(&uid, &name, number).await
    };
    match sent.await {
        Ok(()) => Ok(typed("text/plain", empty_body())),
        Err(error) => {
            if ends {
                hold(false);
            }
            Err(Refusal::failed(&error))
        }
    }
}
