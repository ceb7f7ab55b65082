//! `naru upgrade`: who gets the program, in which order, and what is said of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use naru_api::meta;
use naru_client::{Client, ListOptions};
use serde_json::{Value, json};

use super::change::{Change, Phase};
use super::file::{self, Program};
use super::node::NodeState;
use super::remote::{Away, Remote, is_ready, nodes, version};
use super::rules::{Step, judge, left_behind};
use crate::cli::{Place, UpgradeOptions};
use crate::connect;
use crate::output::Table;

/// Between two looks at a node.
const LOOK: Duration = Duration::from_millis(100);
/// How long a node that is between two programs is not heard of.
const RETURNS: Duration = Duration::from_secs(10);
/// How long a node that was there may be away: its server may just have been replaced.
const BACK: Duration = Duration::from_secs(45);

/// One node as it is found.
struct Found {
    name: String,
    server: bool,
    version: String,
    state: Result<NodeState, Away>,
}

/// The program to be spread, and how.
struct Plan {
    client: Client,
    file: PathBuf,
    program: Program,
    seconds: u64,
    json: bool,
}

/// Runs `naru upgrade`.
pub(crate) async fn upgrade(place: &Place, options: &UpgradeOptions) -> anyhow::Result<ExitCode> {
    if crate::cluster::Membership::exists(place) {
        bail!("this machine is a worker: run `naru upgrade` on a server, which changes its workers as well");
    }
    let file = options.to.clone().map_or_else(file::own_path, Ok)?;
    let program = tokio::task::spawn_blocking({
        let file = file.clone();
        move || file::inspect(&file)
    });
    let program = program.await??;
    let client = reach(place).await?;
    let json = options.format == "json";
    let plan = Plan { client, file, program, seconds: options.timeout.as_secs(), json };
    let found = plan.find(&options.nodes).await?;
    let steps = plan.judge(&found).await?;
    if !json {
        plan.show(&found, &steps);
    }
    let refused = found.iter().zip(&steps).filter_map(|(found, step)| Some((found, step.as_ref().err()?)));
    let refused: Vec<String> = refused.map(|(found, why)| format!("{}: {why}", found.name)).collect();
    let work = found.iter().zip(&steps).filter(|(_, step)| matches!(step, Ok(Some(Step::Upgrade | Step::Downgrade))));
    let work: Vec<&Found> = work.map(|(found, _)| found).collect();
    let away: Vec<&Found> = found.iter().filter(|found| matches!(found.state, Err(Away::Absent(_)))).collect();
    if json {
        plan.tell(&json!({"step": "plan", "to": plan.program.version, "nodes": plan.rows(&found, &steps)}));
    }
    if !refused.is_empty() {
        bail!("nothing was changed: {}", refused.join("; "));
    }
    if options.check {
        return Ok(ExitCode::SUCCESS);
    }
    let question = format!("This changes {}; containers run on. Go on?", count(work.len(), "node"));
    if !work.is_empty() && !options.yes && !crate::install::confirm(&question)? {
        return Ok(ExitCode::FAILURE);
    }
    plan.work(&work, usize::from(options.parallel)).await?;
    for found in &away {
        plan.said(&found.name, "skipped", "it is away: run this again when it is back");
    }
    Ok(ExitCode::SUCCESS)
}

/// The server of this machine, once no change of its own program is on its way: an earlier attempt may just have been
/// broken off.
async fn reach(place: &Place) -> anyhow::Result<Client> {
    loop {
        let change = Change::read(place).filter(|change| change.phase == Phase::Replacing);
        let late = |change: &Change| Timestamp::now().duration_since(change.until).as_secs() > BACK.as_secs() as i64;
        match change {
            Some(change) if !late(&change) => tokio::time::sleep(LOOK).await,
            _ => return connect::connect(place),
        }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// What a node's row says of its step.
fn words(step: &Result<Option<Step>, String>) -> String {
    match step {
        Ok(Some(Step::Same)) => "runs it already".to_owned(),
        Ok(Some(Step::Upgrade)) => "upgrade".to_owned(),
        Ok(Some(Step::Downgrade)) => "downgrade".to_owned(),
        Ok(None) => "is away: skipped".to_owned(),
        Err(why) => format!("refused: {why}"),
    }
}

impl Plan {
    /// The nodes that are meant, servers first.
    async fn find(&self, wanted: &[String]) -> anyhow::Result<Vec<Found>> {
        let list = nodes(&self.client).list(&ListOptions::default()).await.context("cannot list nodes")?.items;
        for name in wanted {
            if !list.iter().any(|node| meta::name(node) == name) {
                let known: Vec<&str> = list.iter().map(meta::name).collect();
                bail!("there is no node {name}: there are {}", known.join(", "));
            }
        }
        let meant = list.iter().filter(|node| wanted.is_empty() || wanted.iter().any(|name| meta::name(node) == name));
        let mut found: Vec<Found> = stream::iter(meant)
            .map(|node| async move {
                Found {
                    name: meta::name(node).to_owned(),
                    server: meta::label(node, "node-role.kubernetes.io/control-plane").is_some(),
                    version: version(node),
                    state: self.look(node).await,
                }
            })
            .buffer_unordered(16)
            .collect()
            .await;
        found.sort_by(|a, b| (!a.server, &a.name).cmp(&(!b.server, &b.name)));
        Ok(found)
    }

    /// How a node is. One that counts as ready is there again in a moment.
    async fn look(&self, node: &Value) -> Result<NodeState, Away> {
        let (remote, begun) = (Remote::of(&self.client, meta::name(node)), Instant::now());
        loop {
            match remote.state().await {
                Err(Away::Absent(_)) if is_ready(node) && begun.elapsed() < RETURNS => tokio::time::sleep(LOOK).await,
                state => return state,
            }
        }
    }

    /// What is to happen on each; `Ok(None)` for those that are away.
    async fn judge(&self, found: &[Found]) -> anyhow::Result<Vec<Result<Option<Step>, String>>> {
        let all = nodes(&self.client).list(&ListOptions::default()).await.context("cannot list nodes")?.items;
        let versions: Vec<(String, String)> =
            all.iter().map(|node| (meta::name(node).to_owned(), version(node))).collect();
        let is_server = |node: &&Value| meta::label(node, "node-role.kubernetes.io/control-plane").is_some();
        let stays = |node: &&Value| !found.iter().any(|found| found.name == meta::name(node));
        let servers: Vec<(String, String)> = all
            .iter()
            .filter(is_server)
            .filter(stays)
            .map(|node| (meta::name(node).to_owned(), version(node)))
            .collect();
        let too_old = left_behind(&self.program.version, &servers);
        let behind = left_behind(&self.program.version, &versions);
        let steps = found.iter().map(|found| {
            let step = match &found.state {
                Ok(state) => judge(&state.program, &self.program).map(Some),
                Err(Away::Absent(_)) => Ok(None),
                Err(Away::TooOld) => Err(Away::TooOld.to_string()),
            };
            match step {
                Ok(Some(Step::Upgrade | Step::Downgrade)) if found.server && !behind.is_empty() => Err(format!(
                    "{} could not work with a server of {}: change them first, or remove them",
                    behind.join(", "),
                    self.program.version
                )),
                Ok(Some(Step::Upgrade | Step::Downgrade)) if !too_old.is_empty() => Err(format!(
                    "the server {} could not work with {}: change it first",
                    too_old.join(", "),
                    self.program.version
                )),
                step => step,
            }
        });
        Ok(steps.collect())
    }

    fn rows(&self, found: &[Found], steps: &[Result<Option<Step>, String>]) -> Vec<Value> {
        let row = |(found, step): (&Found, &Result<Option<Step>, String>)| {
            json!({"node": found.name, "role": if found.server { "server" } else { "worker" },
                "version": found.version, "to": self.program.version, "what": words(step)})
        };
        found.iter().zip(steps).map(row).collect()
    }

    fn show(&self, found: &[Found], steps: &[Result<Option<Step>, String>]) {
        let mut table = Table::new(&["NODE", "ROLE", "VERSION", "TO", "WHAT"]);
        for row in self.rows(found, steps) {
            let cell = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            table.row(["node", "role", "version", "to", "what"].map(cell).to_vec());
        }
        table.print();
    }

    fn tell(&self, event: &Value) {
        println!("{event}");
    }

    /// Says a step of one node.
    fn said(&self, node: &str, step: &str, text: &str) {
        match self.json {
            true => self.tell(&json!({"node": node, "step": step, "text": text})),
            false => println!("{node}: {text}"),
        }
    }

    /// Servers one after the other, then workers, so many at once. The first that fails is the last that is begun.
    async fn work(&self, work: &[&Found], parallel: usize) -> anyhow::Result<()> {
        let (servers, workers): (Vec<&Found>, Vec<&Found>) = work.iter().partition(|found| found.server);
        let mut left: Vec<&str> = work.iter().map(|found| found.name.as_str()).collect();
        for (group, at_once) in [(servers, 1), (workers, parallel.max(1))] {
            for some in group.chunks(at_once) {
                let done = futures_util::future::join_all(some.iter().map(|found| self.change(found))).await;
                left.retain(|name| !some.iter().any(|found| found.name == **name));
                let mut failed = Vec::new();
                for (found, done) in some.iter().zip(done) {
                    if let Err(error) = done {
                        self.said(&found.name, "failed", &format!("{error:#}"));
                        failed.push(format!("{}: {error:#}", found.name));
                    }
                }
                if !failed.is_empty() {
                    let rest =
                        if left.is_empty() { String::new() } else { format!("; not begun: {}", left.join(", ")) };
                    bail!("the upgrade stops at {}{rest}", failed.join("; "));
                }
            }
        }
        Ok(())
    }

    /// Changes one node, from wherever an earlier attempt left it.
    async fn change(&self, found: &Found) -> anyhow::Result<()> {
        let (node, begun) = (found.name.as_str(), Instant::now());
        let remote = Remote::of(&self.client, node);
        let mut state = self.settled(&remote).await?;
        if state.program.sha256 != self.program.sha256 {
            if state.staged.as_deref() != Some(&self.program.sha256) {
                self.said(node, "sending", &format!("sending {}", megabytes(self.program.size)));
                remote
                    .send(&self.file, &self.program, self.progress(node))
                    .await
                    .context("it does not take the program")?;
            }
            remote.begin(&self.program, self.seconds).await.context("the change does not begin")?;
            self.said(node, "replacing", &format!("{} → {}", state.program.version, self.program.version));
            state = self.settled(&remote).await?;
        }
        if state.program.sha256 != self.program.sha256 {
            let why = state.change.map(|change| change.why).unwrap_or_default();
            bail!("went back to {}: {why}", state.program.version);
        }
        self.ready(node).await?;
        for kept in &state.kept {
            self.said(node, "kept", &format!("a supervisor goes on with the program it has: {kept}"));
        }
        let ran = state.change.as_ref().map_or(0, |change| change.ran.len());
        let seconds = begun.elapsed().as_secs_f64();
        let text = format!("{}, {} ran on ({seconds:.1} s)", state.program.version, count(ran, "container"));
        self.said(node, "done", &text);
        Ok(())
    }

    /// Draws how much is sent, where somebody watches.
    fn progress(&self, node: &str) -> impl FnMut(u64) + Send + 'static {
        let (live, node, total) = (*crate::output::LIVE && !self.json, node.to_owned(), self.program.size.max(1));
        let mut shown = 0;
        move |sent| {
            let percent = sent * 100 / total;
            if live && percent > shown {
                shown = percent;
                eprint!("\r{node}: {percent} %{}", if percent == 100 { "\r\x1b[K" } else { "" });
            }
        }
    }

    /// How a node is once no change is on its way there.
    async fn settled(&self, remote: &Remote) -> anyhow::Result<NodeState> {
        let mut heard = Instant::now();
        loop {
            match remote.state().await {
                Ok(state) => match &state.change {
                    Some(Change { phase: Phase::Replacing, .. }) => heard = Instant::now(),
                    _ => return Ok(state),
                },
                Err(Away::TooOld) => bail!("{}", Away::TooOld),
                // While its program begins, or the server's.
                Err(Away::Absent(why)) if heard.elapsed() > BACK + Duration::from_secs(self.seconds) => {
                    bail!("is away since {} s: {why}", heard.elapsed().as_secs())
                }
                Err(Away::Absent(_)) => {}
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the cluster calls the node ready, with the new version.
    async fn ready(&self, node: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + BACK;
        loop {
            if let Ok(found) = nodes(&self.client).get(node).await
                && is_ready(&found)
                && version(&found) == self.program.version
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("runs the new program, and the cluster does not call it ready: see `naru status`");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
