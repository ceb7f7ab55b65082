//! How long a supervisor may take to answer.
//!
//! A supervisor does nothing itself that may block for long, so one that is silent for this long is stopped, hangs in the
//! kernel, or belongs to a machine that cannot give it any time. Whoever waits is told so; only a kill that was not
//! answered gives anybody the right to end the supervisor.

use std::time::Duration;

use super::protocol::Request;

/// For what the supervisor does at once.
const PROMPT: Duration = Duration::from_secs(5);
/// For a kill: after it the supervisor itself may be killed.
const KILL: Duration = Duration::from_secs(10);
/// For what needs a child of the supervisor's.
const SLOW: Duration = Duration::from_secs(15);
/// For the state after the daemon's start: a silent supervisor costs its pod everything that runs in it.
const STATE: Duration = Duration::from_secs(30);
/// For another program to show that it can take the pod over.
const RENEW: Duration = Duration::from_secs(40);
/// For mounts, which may be on slow disks.
const START: Duration = Duration::from_secs(120);

/// The time until the first answer.
pub(super) fn limit(request: &Request) -> Duration {
    match request {
        Request::Signal { .. } | Request::CloseStdin | Request::State => PROMPT,
        Request::Kill { .. } => KILL,
        Request::Exec { .. }
        | Request::Attach { .. }
        | Request::Freeze { .. }
        | Request::Update { .. }
        | Request::Remove { .. }
        | Request::Destroy => SLOW,
        Request::Subscribe => STATE,
        Request::Start(_) => START,
        Request::Renew { .. } => RENEW,
    }
}
