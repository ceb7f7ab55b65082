//! One helper after another, of a newer program: both live for a while, so that names are answered all the time.
//!
//! The new one answers names beside the old one first (the DNS service's address takes several sockets, and in pods the
//! rules lead to the new sockets from one packet to the next). Then the old one lets go of what only one can hold, and the
//! new one takes that up. The old one ends when nothing that it carries is left. The alternative refused is handing
//! sockets over: a socket in a queue between two programs is a question that nobody answers.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::protocol::Request;
use super::relay;

/// How long the old one may take to let go.
const LETS_GO: Duration = Duration::from_secs(5);
/// How long pods' questions may still be led to the old one's sockets, as their first packet was.
const FLOWS: Duration = Duration::from_secs(3);
/// How long connections are carried on at most.
const CARRIES: Duration = Duration::from_secs(3600);

/// The helper that is there already.
pub(super) struct Predecessor(UnixStream);

impl Predecessor {
    pub(super) async fn find(socket: &Path) -> Option<Self> {
        UnixStream::connect(socket).await.ok().map(Self)
    }

    /// Has it let go. One that hangs or does not understand is the daemon's to end.
    pub(super) async fn retire(mut self) {
        let Ok(mut text) = serde_json::to_string(&Request::Retire) else { return };
        text.push('\n');
        let talk = async {
            self.0.write_all(text.as_bytes()).await?;
            BufReader::new(&mut self.0).lines().next_line().await
        };
        let _ = tokio::time::timeout(LETS_GO, talk).await;
    }
}

/// The end of this process's service.
pub(super) struct Retirement(watch::Sender<bool>);

impl Default for Retirement {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Retirement {
    pub(super) fn begin(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it has begun and nothing is left to do; `close` is called when no question comes any more.
    pub(super) async fn over(&self, close: impl FnOnce()) {
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
        tokio::time::sleep(FLOWS).await;
        close();
        let deadline = tokio::time::Instant::now() + CARRIES;
        while relay::carried() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Whether a process runs the program at `path`. Where that cannot be seen it is taken for granted.
pub(super) fn is_of(process: u32, path: &Path) -> bool {
    let file = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    match (file(format!("/proc/{process}/exe").as_ref()), file(path)) {
        (Some(running), Some(wanted)) => running == wanted,
        _ => true,
    }
}
