//! The node's side: its program, as something that is asked about, sent and replaced (`/program` of its interface).

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use naru_client::{Body, Client, PatchKind, full_body};
use naru_runtime::pod::{ContainerState, Pods, Runtime};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::change::{Change, Phase, Ran, boot};
use super::file::{self, Program};
use super::remote::nodes;
use super::rules::{Step, judge};
use super::swap;
use crate::cli::Place;

/// How long a new program may take until everything is as it was, unless told otherwise.
pub(crate) const PATIENCE: u64 = 120;

/// Annotation of a Node: until when it may be silent.
const REPLACING: &str = "naru.io/replacing-until";
/// How long that is: the new program is there within a second or two, where nothing is wrong.
const SILENT: SignedDuration = SignedDuration::from_secs(20);

/// What a node says of its program.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeState {
    /// The one that runs.
    pub program: Program,
    /// What arrived and was found good.
    pub staged: Option<String>,
    /// Supervisors that are still to be replaced.
    pub pending: usize,
    /// Those that go on with the program they have, and why.
    pub kept: Vec<String>,
    /// The last change, or the one on its way.
    pub change: Option<Change>,
}

/// The program of this node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Replaceable(Arc<Inner>);

pub(super) struct Inner {
    pub(super) place: Place,
    pub(super) pods: Pods,
    path: PathBuf,
    own: OnceCell<Program>,
    staged: Mutex<Option<Program>>,
    /// Held by whoever changes something.
    change: tokio::sync::Mutex<()>,
    next: CancellationToken,
    /// The way to the cluster, and this node's name there.
    pub(super) cluster: OnceLock<(Client, String)>,
}

impl Replaceable {
    /// That of the process that calls. To be called at its start, while its file has its name.
    ///
    /// # Errors
    /// When the kernel does not say which file that is.
    pub fn new(place: &Place, pods: &Pods) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Inner {
            place: place.clone(),
            pods: pods.clone(),
            path: file::own_path()?,
            own: OnceCell::new(),
            staged: Mutex::new(None),
            change: tokio::sync::Mutex::new(()),
            next: CancellationToken::new(),
            cluster: OnceLock::new(),
        })))
    }

    /// Returns when another program is to take this one's place.
    pub async fn replaced(&self) {
        self.0.next.cancelled().await;
    }

    /// Whether it is to.
    pub fn is_replaced(&self) -> bool {
        self.0.next.is_cancelled()
    }

    /// Executes the new program in this process. Returns only when that fails.
    pub fn execute(&self) -> anyhow::Error {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| "naru".into());
        let error = Command::new(&self.0.path).arg0(name).args(arguments).exec();
        anyhow::Error::new(error).context(format!("cannot execute {}", self.0.path.display()))
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    /// The program that runs.
    pub(super) async fn own(&self) -> anyhow::Result<Program> {
        let read = || async { tokio::task::spawn_blocking(|| file::inspect(Path::new("/proc/self/exe"))).await? };
        self.own.get_or_try_init(read).await.cloned()
    }

    async fn state(&self) -> anyhow::Result<NodeState> {
        let renewal = self.pods.renewal().borrow().clone();
        Ok(NodeState {
            program: self.own().await?,
            staged: self.staged.lock().as_ref().map(|program| program.sha256.clone()),
            pending: renewal.pending,
            kept: renewal.kept.iter().map(|(pod, why)| format!("{pod}: {why}")).collect(),
            change: Change::read(&self.place),
        })
    }

    /// Takes a program and keeps it beside the one that runs, when it may take its place.
    async fn receive(&self, mut body: Incoming, sha256: &str) -> anyhow::Result<()> {
        let _alone = self.change.lock().await;
        self.must_be_free()?;
        *self.staged.lock() = None;
        let path = swap::staged(&self.path);
        let failed = || format!("cannot write {}: is the folder writable, the disk full?", path.display());
        let _ = tokio::fs::remove_file(&path).await;
        let mut file = tokio::fs::File::create(&path).await.with_context(failed)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the program broke off on its way")?;
            if let Ok(data) = frame.into_data() {
                file.write_all(&data).await.with_context(failed)?;
            }
        }
        file.flush().await.with_context(failed)?;
        drop(file);
        let good = self.good(sha256).await;
        match good {
            Ok(program) => *self.staged.lock() = Some(program),
            Err(error) => {
                let _ = tokio::fs::remove_file(&path).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// What arrived, when it is what was announced and may take this program's place.
    async fn good(&self, sha256: &str) -> anyhow::Result<Program> {
        let (path, sha256) = (self.path.clone(), sha256.to_owned());
        let new = tokio::task::spawn_blocking(move || swap::verify(&path, &sha256)).await??;
        match judge(&self.own().await?, &new) {
            Ok(_) => Ok(new),
            Err(why) => bail!("{why}"),
        }
    }

    fn must_be_free(&self) -> anyhow::Result<()> {
        match Change::read(&self.place) {
            Some(change) if change.phase == Phase::Replacing || self.next.is_cancelled() => {
                bail!("a change to {} is on its way", change.to.version)
            }
            _ => Ok(()),
        }
    }

    /// Begins the change to what arrived.
    async fn begin(&self, sha256: &str, seconds: u64) -> anyhow::Result<()> {
        let _alone = self.change.lock().await;
        self.must_be_free()?;
        let (own, to) = (self.own().await?, self.good(sha256).await?);
        if judge(&own, &to) == Ok(Step::Same) {
            bail!("this very program runs already");
        }
        let now = Timestamp::now();
        let patience = SignedDuration::from_secs(i64::try_from(seconds.clamp(5, 3600)).unwrap_or(3600));
        let mut change = Change {
            phase: Phase::Replacing,
            from: own,
            to,
            path: self.path.clone(),
            process: std::process::id() as i32,
            parent: rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get()),
            arguments: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            begun: now,
            until: now.saturating_add(patience).unwrap_or(now),
            boot: boot(),
            ran: self.running().await,
            why: "the new program begins".to_owned(),
        };
        change.write(&self.place)?;
        let begun = match tokio::task::block_in_place(|| swap::keep(&self.path)) {
            Ok(()) => self.start_watch().await.and_then(|()| swap::exchange(&self.path)),
            kept => kept,
        };
        if let Err(error) = begun {
            change.tell(&self.place, Phase::Interrupted, &format!("{error:#}"))?;
            return Err(error);
        }
        self.excuse(Some(now.saturating_add(SILENT).unwrap_or(now))).await;
        tracing::info!(from = change.from.version, to = change.to.version, "another program takes this one's place");
        let next = self.next.clone();
        // A moment, so that whoever asked is answered.
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            next.cancel();
        });
        Ok(())
    }

    /// Tells the cluster until when this node may be silent; without that its pods would be out of services meanwhile.
    pub(super) async fn excuse(&self, until: Option<Timestamp>) {
        let Some((client, node)) = self.cluster.get() else { return };
        let patch = json!({"metadata": {"annotations": {REPLACING: until.map(|until| until.to_string())}}});
        let nodes = nodes(client);
        let told = nodes.patch(node, PatchKind::Merge, &patch);
        match tokio::time::timeout(std::time::Duration::from_secs(5), told).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the cluster was not told of the change"),
            Err(_) => tracing::warn!("the cluster was not told of the change: it does not answer"),
        }
    }

    /// Starts the watch: this program, as a process that outlives this one's place being taken.
    async fn start_watch(&self) -> anyhow::Result<()> {
        let mut watch = tokio::process::Command::new("/proc/self/exe");
        watch.arg0("naru").arg("--state-dir").arg(&self.place.state_dir).arg("--run-dir").arg(&self.place.run_dir);
        let started = watch.arg("upgrade-watch").stdin(Stdio::null()).status().await;
        let status = started.context("cannot start the watch over the change")?;
        if status.success() { Ok(()) } else { bail!("the watch over the change does not start ({status})") }
    }

    /// Containers that run now.
    async fn running(&self) -> Vec<Ran> {
        let mut found = Vec::new();
        for pod in crate::server::known_pods(&self.place) {
            let Ok(uid) = naru_runtime::pod::PodUid::new(pod.clone()) else { continue };
            let Ok(record) = self.pods.state(&uid).await else { continue };
            for (container, record) in record.containers {
                if let ContainerState::Running { pid, .. } = record.state {
                    found.push(Ran { pod: pod.clone(), container: container.to_string(), pid });
                }
            }
        }
        found
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Body>, (StatusCode, String)> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let refuse = |error: anyhow::Error| (StatusCode::CONFLICT, format!("{error:#}"));
        let needed = || (StatusCode::BAD_REQUEST, "expected ?sha256=".to_owned());
        match *request.method() {
            Method::GET => {
                let state = self.state().await.map_err(refuse)?;
                return Ok(reply(StatusCode::OK, &json!(state)));
            }
            Method::PUT => {
                let sha256 = value("sha256").ok_or_else(needed)?.to_owned();
                self.receive(request.into_body(), &sha256).await.map_err(refuse)?;
            }
            Method::POST => {
                let sha256 = value("sha256").ok_or_else(needed)?;
                let seconds = value("seconds").and_then(|text| text.parse().ok()).unwrap_or(PATIENCE);
                self.begin(sha256, seconds).await.map_err(refuse)?;
            }
            _ => return Err((StatusCode::METHOD_NOT_ALLOWED, "expected GET, PUT or POST".to_owned())),
        }
        Ok(reply(StatusCode::OK, &json!({})))
    }
}

impl naru_agent::NodeProgram for Replaceable {
    fn answer(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        let inner = self.0.clone();
        Box::pin(async move {
            inner.route(request).await.unwrap_or_else(|(code, message)| {
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": message, "reason": "Conflict", "code": code.as_u16()});
                reply(code, &status)
            })
        })
    }
}

fn reply(code: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full_body(value.to_string()));
    *response.status_mut() = code;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
