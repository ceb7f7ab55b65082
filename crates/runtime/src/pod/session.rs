//! A process started in, or a terminal attached to, a running container.

use std::{fmt, io, path::PathBuf};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Exit, PodError, RunAs, TerminalSize};

/// A process to start in a running container. It gets the container's namespaces, cgroup, capabilities and filter.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecConfig {
    /// Program and arguments, never empty.
    pub args: Vec<String>,
    /// Added to, and overriding, the container's environment.
    pub env: Vec<String>,
    /// `None`: the container's.
    pub cwd: Option<PathBuf>,
    /// `None`: the container's.
    pub user: Option<RunAs>,
    /// A terminal of this size; stdout and stderr are then one stream.
    pub terminal: Option<TerminalSize>,
    /// Connect stdin; otherwise it is `/dev/null`.
    pub stdin: bool,
    /// All capabilities and no filter, whatever the container has (`exec --privileged`).
    pub privileged: bool,
}

/// The way in.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;
/// A way out.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Streams of a process. They are the kernel's own pipes and terminals: nothing passes through the supervisor but what it
/// logs, so that a slow reader slows only the process it reads from (exec), or is cut off (attach).
pub struct Session {
    /// To the process; `None` when stdin was not asked for. Dropping it closes stdin (a terminal has no half-close).
    pub stdin: Option<Writer>,
    /// From the process.
    pub stdout: Option<Reader>,
    /// From the process; `None` with a terminal.
    pub stderr: Option<Reader>,
    /// The terminal, if there is one.
    pub terminal: Option<Terminal>,
    /// Ends with the process. For attach: the container's exit.
    pub exit: BoxFuture<'static, Result<Exit, PodError>>,
}

type Resize = Box<dyn Fn(TerminalSize) -> io::Result<()> + Send + Sync>;

/// A terminal whose size can be set.
pub struct Terminal(Resize);

impl Terminal {
    /// From the call that sets the size.
    pub fn new(resize: impl Fn(TerminalSize) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Box::new(resize))
    }

    /// Sets the size; the foreground process gets SIGWINCH.
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        (self.0)(size)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("terminal", &self.terminal.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terminal")
    }
}
