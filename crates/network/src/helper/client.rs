//! The daemon's side: find the helper, adopt or start it, tell it everything, notice when it dies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::PodUid;
use crate::dns::Zone;

use super::process::HelperOptions;
use super::protocol::{PodResolver, Relay, Reply, Request, helper_version};
use super::{redirect, succession};

/// How long a helper may take to start, and to answer its oldest question. It may have to wait for its share of a machine
/// on which a hundred pods start at once.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many questions may be under way: those of one conversation are answered in order.
const UNDER_WAY: usize = 64;
/// How often what the helper could not do for a pod is asked of it again.
const AGAIN: Duration = Duration::from_secs(1);
/// Names that took the helper longer than this to take up are rested from for this many times as long, and no longer than
/// that: the names of a large cluster, all of which are sent at each change, must not keep a processor busy.
const SHORT: Duration = Duration::from_millis(20);
const REST: u32 = 8;
const LONGEST_REST: Duration = Duration::from_secs(3);
/// How long to wait before another one is started after one failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Which program to start as the helper.
#[derive(Debug, Clone)]
pub struct HelperProgram {
    /// The program, usually this very one.
    pub path: PathBuf,
    /// The arguments before the helper's own (`helper`).
    pub args: Vec<String>,
}

/// How to reach or start the helper.
#[derive(Debug, Clone)]
pub struct HelperConfig {
    /// The program.
    pub program: HelperProgram,
    /// Its options.
    pub options: HelperOptions,
    /// Where its complaints go.
    pub log: PathBuf,
}

/// Why the helper did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It said no.
    #[error("the helper refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It could not be started or died; it is being started again.
    #[error("the helper is not there; see {log} for its last words")]
    Gone {
        /// Where its complaints are.
        log: PathBuf,
    },
}

/// What is known of the helper.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HelperState {
    /// Its process; `None` while none is there.
    pub pid: Option<u32>,
    /// The revision of the newest names it has.
    pub revision: u64,
    /// Relays it could not open, with the reason.
    pub failed_relays: Vec<(Relay, String)>,
}

/// The handle of the task that talks to the helper. Dropping it leaves the helper running.
#[derive(Debug)]
pub struct Helper {
    zone: watch::Sender<(u64, Arc<Zone>)>,
    relays: watch::Sender<Vec<Relay>>,
    requests: mpsc::Sender<(Request, oneshot::Sender<Result<(), HelperError>>)>,
    pods: Arc<Mutex<BTreeMap<PodUid, PodResolver>>>,
    state: watch::Receiver<HelperState>,
    log: PathBuf,
}

impl Helper {
    /// Starts the task on the current runtime: it adopts a helper that is there, or starts one. `names` says whether
    /// names are known already; a helper that is adopted keeps its own until the first [`Helper::set_zone`].
    pub fn start(config: HelperConfig) -> Self {
        let (zone, wanted_zone) = watch::channel((0, Arc::new(Zone::default())));
        let (relays, wanted_relays) = watch::channel(Vec::new());
        let (requests, queue) = mpsc::channel(64);
        let (report, state) = watch::channel(HelperState::default());
        let pods = Arc::new(Mutex::default());
        let log = config.log.clone();
        let task = Task { config, wanted_zone, wanted_relays, queue, report, pods: Arc::clone(&pods), child: None };
        tokio::spawn(task.run());
        Self { zone, relays, requests, pods, state, log }
    }

    /// Replaces all names. Newest wins; [`HelperState::revision`] tells when they are served.
    pub fn set_zone(&self, revision: u64, zone: Arc<Zone>) {
        self.zone.send_replace((revision, zone));
    }

    /// Replaces all relays.
    pub fn set_relays(&self, relays: Vec<Relay>) {
        self.relays.send_if_modified(|current| {
            let differs = *current != relays;
            *current = relays;
            differs
        });
    }

    /// Makes 127.0.0.11 answer inside a pod; returns when it does. After `patience` the last reason why it does not is
    /// returned; it goes on being tried until [`Helper::detach`].
    pub async fn attach(&self, mut pod: PodResolver, patience: Duration) -> Result<(), HelperError> {
        pod.inode = redirect::inode(&pod.netns);
        self.pods.lock().insert(pod.uid.clone(), pod.clone());
        let deadline = Instant::now() + patience;
        let mut last = HelperError::Gone { log: self.log.clone() };
        loop {
            match tokio::time::timeout_at(deadline, self.request(Request::Attach(pod.clone()))).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = error,
                Err(_) => return Err(last),
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(last);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Lets go of a pod's namespace.
    pub async fn detach(&self, uid: &PodUid) -> Result<(), HelperError> {
        self.pods.lock().remove(uid);
        self.request(Request::Detach(uid.clone())).await
    }

    /// Lets go of every pod but these: for adoption after a restart of the daemon.
    pub async fn retain(&self, uids: Vec<PodUid>) -> Result<(), HelperError> {
        self.request(Request::Retain(uids)).await
    }

    /// What is known of the helper, now and as it changes.
    pub fn state(&self) -> watch::Receiver<HelperState> {
        self.state.clone()
    }

    /// Ends the helper for good, as removing the program does.
    pub async fn stop(self) -> Result<(), HelperError> {
        self.request(Request::Stop).await
    }

    async fn request(&self, request: Request) -> Result<(), HelperError> {
        let gone = || HelperError::Gone { log: self.log.clone() };
        let (answer, answered) = oneshot::channel();
        self.requests.send((request, answer)).await.map_err(|_| gone())?;
        // The task answers everything it takes, also with the helper's end.
        answered.await.map_err(|_| gone())?
    }
}

struct Task {
    config: HelperConfig,
    wanted_zone: watch::Receiver<(u64, Arc<Zone>)>,
    wanted_relays: watch::Receiver<Vec<Relay>>,
    queue: mpsc::Receiver<(Request, oneshot::Sender<Result<(), HelperError>>)>,
    report: watch::Sender<HelperState>,
    pods: Arc<Mutex<BTreeMap<PodUid, PodResolver>>>,
    child: Option<Child>,
}

/// An open conversation with a helper.
struct Line {
    read: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

/// What was asked and is not answered yet.
enum Awaited {
    Request {
        answer: oneshot::Sender<Result<(), HelperError>>,
        pod: Option<PodUid>,
        stop: bool,
    },
    /// A pod that the helper was told of before.
    Again(PodUid),
    Zone(u64),
    Relays,
}

/// The next names, once those before have been rested from.
async fn rested<T>(until: Option<Instant>, names: &mut watch::Receiver<T>) -> Result<(), watch::error::RecvError> {
    if let Some(until) = until {
        tokio::time::sleep_until(until).await;
    }
    names.changed().await
}

/// How long to rest from names that were sent at `asked` and are taken up `now`, the answer before theirs having come at
/// `before`: what was asked earlier, such as to open a pod's resolver, is not their price. Pure.
fn rest(asked: Instant, before: Option<Instant>, now: Instant) -> Option<Duration> {
    let took = now.duration_since(before.map_or(asked, |before| before.max(asked)));
    (took >= SHORT).then(|| (took * REST).min(LONGEST_REST))
}

/// The state of a conversation.
#[derive(Default)]
struct Talk {
    /// In the order of asking, which is that of the answers.
    awaited: VecDeque<(Instant, Awaited)>,
    /// Names are under way: newer ones wait, and replace one another meanwhile.
    zone: bool,
    /// Until when newer names wait although none are under way.
    rested: Option<Instant>,
    /// When the newest answer came: what was asked before it has only been worked on since.
    answered: Option<Instant>,
    /// Pods in which it could not answer.
    owed: BTreeSet<PodUid>,
    /// It was told to stop.
    stopped: bool,
}

impl Talk {
    async fn ask(&mut self, line: &mut Line, request: &Request, awaited: Awaited) -> io::Result<()> {
        self.awaited.push_back((Instant::now(), awaited));
        line.say(request).await
    }
}

impl Task {
    async fn run(mut self) {
        loop {
            match self.reach().await {
                Ok((line, pid)) => {
                    self.report.send_modify(|state| state.pid = Some(pid));
                    let ended = self.tell(line).await;
                    self.report.send_modify(|state| *state = HelperState::default());
                    match ended {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::warn!(%error, pid, "lost the helper; starting another one");
                            if error.kind() == io::ErrorKind::TimedOut {
                                // A hung one would go on taking its share of the questions.
                                signal(pid, rustix::process::Signal::KILL);
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, log = %self.config.log.display(), "cannot start the helper");
                    // Who waits is told, instead of waiting for what may never come.
                    while let Ok((_, answer)) = self.queue.try_recv() {
                        let _ = answer.send(Err(HelperError::Gone { log: self.config.log.clone() }));
                    }
                    if self.queue.is_closed() {
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Tells the helper everything now and everything that changes, several requests under way at once. `Ok` means that
    /// it is to be left alone.
    async fn tell(&mut self, mut line: Line) -> io::Result<()> {
        let mut talk = Talk::default();
        let known: Vec<PodResolver> = self.pods.lock().values().cloned().collect();
        for pod in known {
            talk.ask(&mut line, &Request::Attach(pod.clone()), Awaited::Again(pod.uid)).await?;
            while talk.awaited.len() >= UNDER_WAY {
                let reply =
                    tokio::time::timeout(PATIENCE, line.reply()).await.map_err(|_| io::ErrorKind::TimedOut)??;
                self.take(&mut talk, reply);
            }
        }
        if self.wanted_zone.borrow().0 > 0 {
            self.wanted_zone.mark_changed();
            self.wanted_relays.mark_changed();
        }
        let ended = self.converse(&mut line, &mut talk).await;
        for (_, awaited) in talk.awaited {
            if let Awaited::Request { answer, stop, .. } = awaited {
                // One that was told to stop may be gone before its last word arrives.
                let gone = || HelperError::Gone { log: self.config.log.clone() };
                let _ = answer.send(if stop { Ok(()) } else { Err(gone()) });
            }
        }
        if talk.stopped { self.reap().await } else { ended }
    }

    async fn converse(&mut self, line: &mut Line, talk: &mut Talk) -> io::Result<()> {
        loop {
            let patience = talk.awaited.front().map_or_else(Instant::now, |(since, _)| *since) + PATIENCE;
            tokio::select! {
                biased;
                reply = line.reply() => {
                    let reply = reply?;
                    self.take(talk, reply);
                    if talk.stopped && talk.awaited.is_empty() {
                        return Ok(());
                    }
                }
                // Requests before names: a pod's start waits for them.
                request = self.queue.recv(), if talk.awaited.len() < UNDER_WAY && !talk.stopped => {
                    let Some((request, answer)) = request else { return Ok(()) };
                    let stop = matches!(request, Request::Stop);
                    talk.stopped |= stop;
                    let pod = match &request {
                        Request::Attach(pod) => Some(pod.uid.clone()),
                        _ => None,
                    };
                    talk.ask(line, &request, Awaited::Request { answer, pod, stop }).await?;
                }
                changed = rested(talk.rested, &mut self.wanted_zone), if !talk.zone => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let (revision, zone) = self.wanted_zone.borrow_and_update().clone();
                    talk.zone = true;
                    talk.ask(line, &Request::Zone((*zone).clone()), Awaited::Zone(revision)).await?;
                }
                changed = self.wanted_relays.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let relays = self.wanted_relays.borrow_and_update().clone();
                    talk.ask(line, &Request::Relays(relays), Awaited::Relays).await?;
                }
                () = tokio::time::sleep_until(patience), if !talk.awaited.is_empty() => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                () = tokio::time::sleep(AGAIN), if !talk.owed.is_empty() && talk.awaited.is_empty() => {
                    for uid in std::mem::take(&mut talk.owed) {
                        let pod = self.pods.lock().get(&uid).cloned();
                        if let Some(pod) = pod {
                            talk.ask(line, &Request::Attach(pod), Awaited::Again(uid)).await?;
                        }
                    }
                }
            }
        }
    }

    /// Takes the reply to the oldest question.
    fn take(&self, talk: &mut Talk, reply: Reply) {
        let Some((asked, awaited)) = talk.awaited.pop_front() else { return };
        let now = Instant::now();
        let before = talk.answered.replace(now);
        let outcome = match &reply {
            Reply::Failed { reason } => Err(HelperError::Refused { reason: reason.clone() }),
            _ => Ok(()),
        };
        match (awaited, reply) {
            (Awaited::Request { answer, pod, .. }, _) => {
                if outcome.is_err() {
                    talk.owed.extend(pod);
                }
                let _ = answer.send(outcome);
            }
            (Awaited::Again(uid), Reply::Failed { reason }) => {
                tracing::debug!(pod = %uid, reason, "a pod's resolver is not opened yet");
                talk.owed.insert(uid);
            }
            (Awaited::Zone(revision), _) => {
                talk.zone = false;
                talk.rested = rest(asked, before, now).map(|rest| now + rest);
                self.report.send_modify(|state| state.revision = revision);
            }
            (Awaited::Relays, Reply::Relays { failed }) => {
                self.report.send_modify(|state| state.failed_relays = failed);
            }
            (Awaited::Again(_) | Awaited::Relays, _) => {}
        }
    }

    /// Adopts the helper that is there, has another one take over from one of another program, or starts one.
    async fn reach(&mut self) -> io::Result<(Line, u32)> {
        let mut before = None;
        if let Ok((line, version, pid)) = Line::open(&self.config.options.socket).await {
            if version == helper_version() && succession::is_of(pid, &self.config.program.path) {
                return Ok((line, pid));
            }
            tracing::info!(pid, version, "replacing a helper of another program");
            before = Some((line, pid));
        } else {
            self.reap().await?;
        }
        self.child = Some(self.spawn()?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Line::open(&self.config.options.socket).await {
                // The one from before answers until the new one has taken over.
                Ok((.., pid)) if before.as_ref().is_some_and(|(_, before)| *before == pid) => {}
                Ok((line, _, pid)) => {
                    if let Some((old, pid)) = before {
                        old.make_retire(pid).await;
                    }
                    return Ok((line, pid));
                }
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => {}
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                return Err(io::Error::other(format!("it ended at once ({status})")));
            }
            if Instant::now() >= deadline {
                return Err(io::Error::other("the new one does not take over"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let HelperConfig { program, options, log } = &self.config;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        Command::new(&program.path)
            // The program may be given by a path that says nothing to who lists processes.
            .arg0("naru")
            .args(&program.args)
            .args(options.to_args())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
    }

    /// Waits for a child that ended, so that it does not stay a zombie.
    async fn reap(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take()
            && tokio::time::timeout(PATIENCE, child.wait()).await.is_err()
        {
            child.kill().await?;
        }
        Ok(())
    }
}

impl Line {
    async fn open(socket: &std::path::Path) -> io::Result<(Self, String, u32)> {
        let (read, write) = UnixStream::connect(socket).await?.into_split();
        let mut line = Self { read: BufReader::new(read).lines(), write };
        match line.ask(&Request::Hello).await? {
            Reply::Hello { version, pid } => Ok((line, version, pid)),
            other => Err(io::Error::other(format!("unexpected greeting {other:?}"))),
        }
    }

    async fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        let conversation = async {
            self.say(request).await?;
            self.reply().await
        };
        tokio::time::timeout(PATIENCE, conversation).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn say(&mut self, request: &Request) -> io::Result<()> {
        let mut text = serde_json::to_string(request).map_err(io::Error::other)?;
        text.push('\n');
        tokio::time::timeout(PATIENCE, self.write.write_all(text.as_bytes()))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// The next reply; nothing is lost when the wait for it is given up.
    async fn reply(&mut self) -> io::Result<Reply> {
        let line = self.read.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }

    /// Makes sure that a helper whose place is taken ends: its successor has asked it to, and one that is too old to
    /// understand that is ended by signal.
    async fn make_retire(mut self, pid: u32) {
        if let Ok(Reply::Failed { .. }) = self.ask(&Request::Retire).await {
            signal(pid, rustix::process::Signal::TERM);
        }
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, signal).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rested_from_for_their_own_price() {
        let asked = Instant::now();
        let at = |milliseconds| asked + Duration::from_millis(milliseconds);
        assert_eq!(rest(asked, None, at(5)), None);
        assert_eq!(rest(asked, None, at(50)), Some(Duration::from_millis(400)));
        assert_eq!(rest(asked, None, at(5_000)), Some(LONGEST_REST));
        assert_eq!(rest(asked, Some(at(245)), at(250)), None, "the helper was opening a pod's resolver");
        assert_eq!(rest(at(200), Some(at(0)), at(250)), Some(Duration::from_millis(400)), "it was idle before");
    }
}
