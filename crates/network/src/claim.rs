//! One server a network namespace: who keeps its table, its links and its names.
//!
//! Principle: the claim is an abstract unix socket. Abstract names belong to the *network namespace*, which is exactly
//! what may have one keeper; the kernel gives the name back when its holder dies, however it dies; and whoever comes too
//! late can ask the socket who holds it. The alternative refused is a lock file: it is found by its path, which two
//! servers with different folders, or in different mount namespaces, do not share.
//!
//! Rules, links and the helper outlive the server on purpose and hold nothing here: the next server of the same state
//! folder takes the claim at once.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The name of the socket.
const NAME: &str = "naru-net";
/// How long to wait for a holder that is on its way out: dead, with its descriptors still in a process it has just
/// forked, or ending in order.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the name is tried while waiting.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a holder may take to say who it is.
const ANSWER: Duration = Duration::from_millis(500);

/// Why this network namespace is not ours.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another server keeps it.
    #[error(
        "another naru server (process {pid}, state folder {state_dir}) keeps the pod network of this network namespace; \
         stop that one, or start this one in a network namespace of its own (ip netns add …)"
    )]
    Held {
        /// Its process.
        pid: i32,
        /// Its state folder.
        state_dir: PathBuf,
    },
    /// Somebody holds the name and does not say who it is.
    #[error(
        "process {pid} (user {uid}) holds the abstract socket @{NAME} of this network namespace and does not answer as a \
         naru server does; stop it"
    )]
    Silent {
        /// The process that opened the socket; 0 when it is not visible from here.
        pid: i32,
        /// Its user.
        uid: u32,
    },
    /// The socket could not be made.
    #[error("cannot claim this network namespace with the abstract socket @{NAME}")]
    Io(#[from] io::Error),
}

/// The claim on the calling thread's network namespace, until it is dropped.
#[derive(Debug)]
pub struct NetworkClaim {
    listener: Arc<UnixListener>,
    answers: Option<JoinHandle<()>>,
}

impl NetworkClaim {
    /// Claims the namespace for the server of `state_dir`. Waits a few seconds for an earlier server of the same folder
    /// that is still ending; a server of another folder is named at once.
    pub fn take(state_dir: &Path) -> Result<Self, ClaimError> {
        let own = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        let name = SocketAddr::from_abstract_name(NAME)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixListener::bind_addr(&name) {
                Ok(listener) => return Ok(Self::hold(listener, &own)?),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error.into()),
            }
            match ask(&name) {
                Err(held @ ClaimError::Held { .. }) if !is_of(&held, &own) => return Err(held),
                Err(error) if Instant::now() >= deadline => return Err(error),
                _ => std::thread::sleep(PAUSE),
            }
        }
    }

    fn hold(listener: UnixListener, own: &Path) -> io::Result<Self> {
        let listener = Arc::new(listener);
        let (heard, words) = (listener.clone(), format!("{}\n{}", std::process::id(), own.display()));
        let answers = std::thread::Builder::new().name("naru-claim".into()).spawn(move || {
            while let Ok((mut stream, _)) = heard.accept() {
                // Who asked may have gone.
                let _ = stream.write_all(words.as_bytes());
            }
        })?;
        Ok(Self { listener, answers: Some(answers) })
    }
}

impl Drop for NetworkClaim {
    fn drop(&mut self) {
        // Wakes the thread, whose handle is the last but this one.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(answers) = self.answers.take() {
            let _ = answers.join();
        }
    }
}

fn is_of(held: &ClaimError, own: &Path) -> bool {
    matches!(held, ClaimError::Held { state_dir, .. } if state_dir == own)
}

/// Who holds the name; `Ok` when nobody does any more.
fn ask(name: &SocketAddr) -> Result<(), ClaimError> {
    let Ok(mut stream) = UnixStream::connect_addr(name) else { return Ok(()) };
    let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(io::Error::from)?;
    let (pid, uid) = (peer.pid.as_raw_nonzero().get(), peer.uid.as_raw());
    let silent = ClaimError::Silent { pid, uid };
    stream.set_read_timeout(Some(ANSWER))?;
    stream.shutdown(Shutdown::Write).ok();
    let mut words = String::new();
    if stream.read_to_string(&mut words).is_err() || uid != 0 {
        return Err(silent);
    }
    let Some((pid, state_dir)) = words.split_once('\n') else { return Err(silent) };
    match pid.parse() {
        Ok(pid) => Err(ClaimError::Held { pid, state_dir: state_dir.into() }),
        Err(_) => Err(silent),
    }
}
