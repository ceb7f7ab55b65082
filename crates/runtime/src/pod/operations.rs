//! [`Runtime`] for [`Pods`].

use std::path::PathBuf;

use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    ContainerConfig, ContainerName, ContainerState, ContainerUsage, ExecConfig, Exit, PodConfig, PodCreated, PodError,
    PodEvent, PodRecord, PodStats, PodUid, Pods, Reader, Resources, Runtime, Session, Started, Writer,
    client::{Inner, blocking},
    folder,
    link::Link,
    protocol::{Answer, Request},
    streams::{self, AttachedStdin, Master},
};

type Answering<'a, T> = BoxFuture<'a, Result<T, PodError>>;

impl Runtime for Pods {
    fn adopt(&self) -> Answering<'_, Vec<PodRecord>> {
        self.inner().adopt().boxed()
    }

    fn events(&self) -> Option<mpsc::UnboundedReceiver<PodEvent>> {
        self.take_events()
    }

    fn create(&self, config: PodConfig) -> Answering<'_, PodCreated> {
        self.inner().create(config).boxed()
    }

    fn start<'a>(&'a self, uid: &'a PodUid, config: ContainerConfig) -> Answering<'a, Started> {
        self.inner().start(uid, config).boxed()
    }

    fn signal<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName, signal: i32) -> Answering<'a, ()> {
        self.inner().simple(uid, "signal", Request::Signal { container: container.clone(), signal }).boxed()
    }

    fn kill<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answering<'a, ()> {
        self.inner().simple(uid, "kill", Request::Kill { container: container.clone() }).boxed()
    }

    fn pause<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answering<'a, ()> {
        let request = Request::Freeze { container: container.clone(), frozen: true };
        self.inner().simple(uid, "pause", request).boxed()
    }

    fn resume<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answering<'a, ()> {
        let request = Request::Freeze { container: container.clone(), frozen: false };
        self.inner().simple(uid, "resume", request).boxed()
    }

    fn update<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName, resources: Resources) -> Answering<'a, ()> {
        let request = Request::Update { container: container.clone(), resources: Box::new(resources) };
        self.inner().simple(uid, "update", request).boxed()
    }

    fn remove<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answering<'a, ()> {
        self.inner().simple(uid, "remove", Request::Remove { container: container.clone() }).boxed()
    }

    fn exec<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName, config: ExecConfig) -> Answering<'a, Session> {
        exec(self.inner(), uid, container, config).boxed()
    }

    fn attach<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answering<'a, Session> {
        attach(self.inner(), uid, container).boxed()
    }

    fn stats<'a>(&'a self, uid: &'a PodUid) -> Answering<'a, PodStats> {
        stats(self.inner(), uid).boxed()
    }

    fn processes<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answering<'a, Vec<i32>> {
        async move {
            let cgroup = self.inner().container_cgroup(uid, container).await?;
            Ok(blocking(move || cgroup.processes()).await)
        }
        .boxed()
    }

    fn state<'a>(&'a self, uid: &'a PodUid) -> Answering<'a, PodRecord> {
        self.inner().state(uid).boxed()
    }

    fn destroy<'a>(&'a self, uid: &'a PodUid) -> Answering<'a, ()> {
        self.inner().destroy(uid).boxed()
    }

    fn sweep<'a>(&'a self, uid: &'a PodUid) -> Answering<'a, ()> {
        self.inner().sweep(uid).boxed()
    }

    fn kill_supervisor<'a>(&'a self, uid: &'a PodUid) -> Answering<'a, ()> {
        self.inner().kill_supervisor(uid).boxed()
    }

    fn pod_dir(&self, uid: &PodUid) -> PathBuf {
        self.inner().folders(uid).state
    }
}

/// The end of a process, as its connection tells it.
fn end(uid: PodUid, mut link: Link) -> BoxFuture<'static, Result<Exit, PodError>> {
    async move {
        loop {
            match link.receive().await {
                Ok(received) => {
                    if let Answer::Ended(exit) = received.answer {
                        return Ok(exit);
                    }
                }
                Err(_) => return Err(PodError::SupervisorLost(uid)),
            }
        }
    }
    .boxed()
}

fn streams_failed(error: std::io::Error) -> PodError {
    folder::io_error("making streams for", "a process".as_ref())(error)
}

async fn exec(inner: &Inner, uid: &PodUid, name: &ContainerName, config: ExecConfig) -> Result<Session, PodError> {
    let mut theirs = Vec::new();
    let (mut stdin, mut stdout, mut stderr): (Option<Writer>, Option<Reader>, Option<Reader>) = (None, None, None);
    if config.terminal.is_none() {
        if config.stdin {
            let (their, our) = streams::way_in().map_err(streams_failed)?;
            theirs.push(their);
            stdin = Some(Box::new(our));
        }
        for slot in [&mut stdout, &mut stderr] {
            let (their, our) = streams::way_out().map_err(streams_failed)?;
            theirs.push(their);
            *slot = Some(Box::new(our));
        }
    }
    let wants_stdin = config.stdin;
    let request = Request::Exec { container: name.clone(), config: Box::new(config) };
    let (link, answer, fd) = inner.converse(uid, request, &streams::raw(&theirs)).await?;
    drop(theirs);
    let fd = match (answer, fd) {
        (Answer::Executing { .. }, fd) => fd,
        (Answer::StartFailed(failure), _) => return Err(PodError::Exec { container: name.clone(), failure }),
        _ => return Err(Inner::unexpected(uid, "exec")),
    };
    let mut terminal = None;
    if let Some(fd) = fd {
        let master = Master::new(fd).map_err(streams_failed)?;
        terminal = Some(master.terminal());
        if wants_stdin {
            stdin = Some(Box::new(master.clone()));
        }
        stdout = Some(Box::new(master));
    }
    Ok(Session { stdin, stdout, stderr, terminal, exit: end(uid.clone(), link) })
}

async fn attach(inner: &Inner, uid: &PodUid, name: &ContainerName) -> Result<Session, PodError> {
    let (out, stdout) = streams::wide_way_out().map_err(streams_failed)?;
    let (err, stderr) = streams::wide_way_out().map_err(streams_failed)?;
    let request = Request::Attach { container: name.clone() };
    let theirs = [out, err];
    let (link, answer, fd) = inner.converse(uid, request, &streams::raw(&theirs)).await?;
    drop(theirs);
    let (is_terminal, fd) = match (answer, fd) {
        (Answer::Attached { terminal }, fd) => (terminal, fd),
        _ => return Err(Inner::unexpected(uid, "attach")),
    };
    let mut session = Session {
        stdin: None,
        stdout: Some(Box::new(stdout)),
        stderr: None,
        terminal: None,
        exit: futures_util::future::pending().boxed(),
    };
    match fd {
        Some(fd) if is_terminal => {
            let master = Master::new(fd).map_err(streams_failed)?;
            session.terminal = Some(master.terminal());
            session.stdin = Some(Box::new(master));
        }
        Some(fd) => {
            let stdin = AttachedStdin::new(fd, link.stream()).map_err(streams_failed)?;
            session.stdin = Some(Box::new(stdin));
            session.stderr = Some(Box::new(stderr));
        }
        None => session.stderr = Some(Box::new(stderr)),
    }
    session.exit = end(uid.clone(), link);
    Ok(session)
}

async fn stats(inner: &Inner, uid: &PodUid) -> Result<PodStats, PodError> {
    let state = inner.supervisor_state(uid).await?;
    let config = inner.known.lock().get(uid).map(|known| known.config.clone());
    let config = config.ok_or_else(|| PodError::NoPod(uid.clone()))?;
    let pod = inner.cgroup(&config);
    Ok(blocking(move || PodStats {
        at: Timestamp::now(),
        pod: pod.usage(),
        containers: state
            .containers
            .into_iter()
            .filter(|(_, record)| matches!(record.state, ContainerState::Running { .. }))
            .map(|(name, record)| {
                let usage = pod.child(&format!("{name}.{}", record.attempt)).usage();
                ContainerUsage { name, usage }
            })
            .collect(),
        interfaces: folder::interfaces(state.created.supervisor_pid),
    })
    .await)
}
