//! One port to both ways of encrypting.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::helper::{Reply, Request};
use crate::netlink::{NetlinkError, Socket};

use super::kernel::Kernel;
use super::{Change, EngineKind, Preference, SeenDevice};

/// How long the helper may take: thousands of peers at once are seconds on a small machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the helper is asked of its tunnel.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Open the device, making it when there is none. One that is open stays as it is.
    Open,
    /// What have you?
    Read,
    /// Change this.
    Change(Vec<Change>),
    /// Close it, and forget all of it.
    Close,
}

/// Who encrypts on this machine.
pub(crate) enum Engine {
    Kernel(Kernel),
    Userspace(PathBuf),
}

impl Engine {
    /// Chooses: the kernel where it has WireGuard, the helper behind `socket` elsewhere.
    pub fn choose(preference: Preference, socket: &Path) -> Self {
        match Kernel::open() {
            Ok(kernel) if preference == Preference::Automatic => Self::Kernel(kernel),
            _ => Self::Userspace(socket.to_owned()),
        }
    }

    pub fn kind(&self) -> EngineKind {
        match self {
            Self::Kernel(_) => EngineKind::Kernel,
            Self::Userspace(_) => EngineKind::Userspace,
        }
    }

    /// The kind of link that its device is.
    pub fn link_kind(&self) -> &'static str {
        match self {
            Self::Kernel(_) => "wireguard",
            Self::Userspace(_) => "tun",
        }
    }

    /// Makes the device, or takes up the one there is. The packet size is set afterwards by whoever manages links.
    pub fn open(&self, route: &Socket, mtu: u32) -> Result<(), NetlinkError> {
        match self {
            Self::Kernel(kernel) => kernel.create(route, mtu),
            Self::Userspace(socket) => told(socket, Ask::Open),
        }
    }

    /// What the device has; `None` when nobody serves it.
    pub fn read(&self) -> Result<Option<SeenDevice>, NetlinkError> {
        match self {
            Self::Kernel(kernel) => kernel.read(),
            Self::Userspace(socket) => match ask(socket, Ask::Read)? {
                Reply::Tunnel(device) => Ok(device),
                other => Err(unexpected(&other)),
            },
        }
    }

    pub fn change(&self, changes: &[Change]) -> Result<(), NetlinkError> {
        match self {
            _ if changes.is_empty() => Ok(()),
            Self::Kernel(kernel) => kernel.change(changes),
            Self::Userspace(socket) => told(socket, Ask::Change(changes.to_vec())),
        }
    }

    /// Lets go of the device; the link itself is removed by whoever manages links.
    pub fn close(&self) -> Result<(), NetlinkError> {
        match self {
            Self::Kernel(_) => Ok(()),
            Self::Userspace(socket) => told(socket, Ask::Close),
        }
    }
}

/// Ends a tunnel that a helper may have, if there is a helper.
pub(crate) fn close_userspace(socket: &Path) {
    let _ = told(socket, Ask::Close);
}

fn told(socket: &Path, question: Ask) -> Result<(), NetlinkError> {
    match ask(socket, question)? {
        Reply::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> NetlinkError {
    let text = match reply {
        Reply::Failed { reason } => reason.clone(),
        other => format!("the helper answers {other:?}"),
    };
    NetlinkError::Socket(io::Error::other(text))
}

/// One question to the helper, over a conversation of its own. Blocks.
fn ask(socket: &Path, question: Ask) -> Result<Reply, NetlinkError> {
    let ask = || -> io::Result<Reply> {
        let mut stream = UnixStream::connect(socket)
            .map_err(|error| io::Error::new(error.kind(), format!("the helper does not answer yet: {error}")))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut text = serde_json::to_string(&Request::Tunnel(question)).map_err(io::Error::other)?;
        text.push('\n');
        stream.write_all(text.as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        serde_json::from_str(&line).map_err(io::Error::other)
    };
    ask().map_err(NetlinkError::Socket)
}
