//! Supervisors of another program than this one: each is asked to let this program take its place.

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use futures_util::{StreamExt, stream};

use super::{PodError, PodUid, client::Inner, protocol::Request};

/// Pods whose supervisors are replaced at the same time: each needs the processor for some milliseconds.
const AT_ONCE: usize = 4;

/// How far the supervisors of this machine are on their way to this program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Those that run another program and are still to be replaced.
    pub pending: usize,
    /// Those that were replaced.
    pub renewed: usize,
    /// Those that go on as they are, with the reason. The next start of the daemon asks again.
    pub kept: Vec<(PodUid, String)>,
}

/// Which file a program is.
fn file(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether this process runs another program than the one at `path`. A process that is gone does not.
fn runs_another(process: i32, path: &Path) -> bool {
    match (file(format!("/proc/{process}/exe").as_ref()), file(path)) {
        (Some(running), Some(wanted)) => running != wanted,
        _ => false,
    }
}

impl Inner {
    /// Lets this daemon's program take the place of a supervisor. Containers, sessions and waiting requests go on.
    pub(super) async fn renew(&self, uid: &PodUid) -> Result<(), PodError> {
        let command = &self.config.supervisor;
        let request = Request::Renew { program: command.program.clone(), args: command.args.clone() };
        self.simple(uid, "replacing the supervisor's program", request).await
    }

    /// Replaces those among these supervisors that run another program, beside everything else.
    pub(super) fn renew_all(self: &Arc<Self>, supervisors: Vec<(PodUid, i32)>) {
        let program = &self.config.supervisor.program;
        let other: Vec<PodUid> = supervisors
            .into_iter()
            .filter(|(_, process)| runs_another(*process, program))
            .map(|(uid, _)| uid)
            .collect();
        self.renewal.send_modify(|renewal| renewal.pending += other.len());
        let inner = self.clone();
        tokio::spawn(async move {
            let each = |uid: PodUid| {
                let inner = inner.clone();
                async move {
                    let done = inner.renew(&uid).await;
                    inner.renewal.send_modify(|renewal| {
                        renewal.pending -= 1;
                        match done {
                            // A pod that ended meanwhile needs no other program.
                            Ok(()) | Err(PodError::NoPod(_) | PodError::SupervisorLost(_)) => renewal.renewed += 1,
                            Err(error) => {
                                tracing::warn!(pod = %uid, %error, "a supervisor goes on with its own program");
                                renewal.kept.push((uid, error.to_string()));
                            }
                        }
                    });
                }
            };
            stream::iter(other).for_each_concurrent(AT_ONCE, each).await;
        });
    }
}
