//! How far a project is, service by service, watched live.
//!
//! What a service needs is decided by [`judge`], a pure function over the workload and its containers; the loop around
//! it waits for changes and draws.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::bail;
use naru_api::naru::names as n;
use naru_client::Client;
use serde_json::Value;

use super::container::{Container, State};
use super::patience::Patience;
pub(crate) use super::world::World;
use crate::output::{COLOUR_ERR, LIVE};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Processes run, or ran to a good end.
    Started,
    /// Health tests pass too.
    Ready,
}

/// How far a service is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Progress {
    /// Not there yet; why, in a few words.
    Pending(String),
    /// Not there yet, and something is in the way that may take care of itself or not: how many got there, and what.
    Stuck(i64, String),
    /// There; what it is, in one word.
    Done(&'static str),
    /// It will not get there by itself: the container, and why.
    Failed(String, String),
}

/// Reasons for which a container does not start until somebody mends something.
const HOPELESS: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerError",
    "CreateContainerConfigError",
    "RunContainerError",
    "StartError",
];
/// So many restarts in a row are a crash loop.
const CRASHES: i64 = 3;

/// How far a workload with these containers is. `newest` marks the pods of its present template, where it has several.
pub(crate) fn judge(workload: &Value, newest: Option<&str>, containers: &[&Container], goal: Goal) -> Progress {
    let status = &workload["status"];
    let number = |key: &str| status[key].as_i64().unwrap_or(0);
    // A Job tells no observed generation: its template never changes.
    if workload["kind"] != "Job"
        && number("observedGeneration") < workload["metadata"]["generation"].as_i64().unwrap_or(0)
    {
        return Progress::Pending(String::new());
    }
    let current = |c: &Container| {
        let mark = c.object["metadata"]["labels"][n::POD_TEMPLATE_HASH].as_str();
        c.state != State::Removing && (newest.is_none() || mark == newest)
    };
    let live: Vec<&Container> = containers.iter().copied().filter(|c| current(c)).collect();
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(back) = conditions.iter().find(|c| c["type"] == "naru.io/RolledBack" && c["status"] == "True") {
        let title = workload["metadata"]["labels"][n::SERVICE].as_str().unwrap_or_default().to_owned();
        let why = back["message"].as_str().unwrap_or("the new version failed");
        return Progress::Failed(title, format!("rolled back to the version before: {why}"));
    }
    if workload["spec"]["paused"] == true {
        let title = workload["metadata"]["labels"][n::SERVICE].as_str().unwrap_or_default().to_owned();
        let why = conditions.iter().find(|c| c["type"] == "Progressing" && c["reason"] == "DeploymentPaused");
        let why = why.and_then(|c| c["message"].as_str()?.strip_prefix("Deployment is paused: "));
        let name = workload["metadata"]["name"].as_str().unwrap_or_default();
        match why {
            Some(why) => return Progress::Failed(title, format!("the update is paused: {why}")),
            // Somebody's own pause: what the file changed waits for them.
            None if updated_less(workload) => {
                let what = format!("the update is paused: `kubectl rollout resume deploy/{name}` lets it go on");
                return Progress::Stuck(0, what);
            }
            None => {}
        }
    }
    if let Some((container, why)) = live.iter().find_map(|c| Some((c, hopeless(c)?))) {
        return Progress::Failed(container.title.clone(), why);
    }
    if let Some((container, why)) = live.iter().find_map(|c| Some((c, unhealthy(c, goal)?))) {
        // The controller has the last word on an update that it may take back.
        return if is_judged(workload) {
            Progress::Stuck(number("readyReplicas"), format!("{}: {why}", container.title))
        } else {
            Progress::Failed(container.title.clone(), why)
        };
    }
    if workload["kind"] == "Job" {
        let wanted = workload["spec"]["completions"].as_i64().unwrap_or(1);
        let text = format!("{}/{wanted} completed", number("succeeded"));
        return if number("succeeded") >= wanted { Progress::Done("Completed") } else { Progress::Pending(text) };
    }
    let (wanted, updated, total) = match workload["kind"].as_str() {
        Some("DaemonSet") => {
            (number("desiredNumberScheduled"), number("updatedNumberScheduled"), number("currentNumberScheduled"))
        }
        _ => (workload["spec"]["replicas"].as_i64().unwrap_or(1), number("updatedReplicas"), number("replicas")),
    };
    if updated < wanted || total != wanted || live.len() < containers.len() {
        // Pods that the quota or another rule forbids are not even made.
        let failure = conditions.iter().find(|c| c["type"] == "ReplicaFailure" && c["status"] == "True");
        if let Some(why) = failure.and_then(|c| c["message"].as_str()) {
            return Progress::Stuck(updated, format!("{} of {wanted} cannot be made: {why}", wanted - updated));
        }
        if let Some(what) = stuck(&live, wanted) {
            return Progress::Stuck(updated, what);
        }
        return Progress::Pending(format!("{updated}/{wanted} made"));
    }
    let good = |container: &Container| match &container.state {
        State::Running(_) => goal == Goal::Started || container.health.is_empty() || container.health == "healthy",
        State::Paused => true,
        State::Exited(0, ..) => !starts_again(container),
        _ => false,
    };
    let ready = live.iter().filter(|c| good(c)).count() as i64;
    match stuck(&live, wanted) {
        Some(what) if super::trouble::passes(&what) => return Progress::Pending(what),
        Some(what) => return Progress::Stuck(ready, what),
        None => {}
    }
    let each = workload["spec"]["template"]["spec"]["containers"].as_array().map_or(1, Vec::len) as i64;
    let ended = live.iter().any(|c| matches!(c.state, State::Exited(..)));
    if ready >= wanted * each.min(1) && live.iter().all(|c| good(c)) {
        return Progress::Done(match (ended, goal) {
            (true, _) => "Exited",
            (_, Goal::Ready) if live.iter().any(|c| !c.health.is_empty()) => "Healthy",
            _ => "Started",
        });
    }
    let waiting = live.iter().find_map(|container| match &container.state {
        State::Waiting(reason, _) if !reason.is_empty() => Some(reason.clone()),
        State::Running(_) if container.health == "starting" => Some("health: starting".to_owned()),
        State::Running(_) if container.health == "unhealthy" => Some("unhealthy".to_owned()),
        _ => None,
    });
    Progress::Pending(waiting.unwrap_or_else(|| format!("{ready}/{wanted} started")))
}

/// Whether not all of a workload's pods are of its present template.
fn updated_less(workload: &Value) -> bool {
    workload["status"]["updatedReplicas"].as_i64().unwrap_or(0) < workload["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// What keeps some of a service's containers from being started; the words of the first of them.
fn stuck(live: &[&Container], wanted: i64) -> Option<String> {
    let troubled: Vec<&Container> = live.iter().copied().filter(|c| c.trouble.is_some()).collect();
    let first = troubled.first()?;
    let placed = |c: &&&Container| super::trouble::unscheduled(&c.object).is_none();
    let what = if placed(&first) { "started" } else { "placed" };
    let count = troubled.iter().filter(|c| placed(c) == placed(&first)).count();
    let why = first.trouble.as_deref().unwrap_or_default();
    Some(match wanted {
        0 | 1 => format!("cannot be {what}: {why}"),
        _ => format!("{count} of {wanted} cannot be {what}: {why}"),
    })
}

/// How far a container is that lives in the pod of another service.
pub(crate) fn judge_guest(container: &Container, goal: Goal) -> Progress {
    match (hopeless(container).or_else(|| unhealthy(container, goal)), &container.state) {
        (Some(why), _) => Progress::Failed(container.title.clone(), why),
        (_, State::Running(_)) if goal == Goal::Ready && matches!(container.health, "starting" | "unhealthy") => {
            Progress::Pending(format!("health: {}", container.health))
        }
        (_, State::Running(_) | State::Paused) => Progress::Done("Started"),
        (_, State::Exited(0, ..)) if !starts_again(container) => Progress::Done("Exited"),
        (_, State::Waiting(reason, _)) => Progress::Pending(reason.clone()),
        _ => Progress::Pending(String::new()),
    }
}

/// Why a container will not get there by itself.
fn hopeless(container: &Container) -> Option<String> {
    match &container.state {
        State::Waiting(reason, message) if HOPELESS.contains(&reason.as_str()) => {
            Some(if message.is_empty() { reason.clone() } else { message.clone() })
        }
        State::Exited(code, reason, _) if *code != 0 && (container.restarts >= CRASHES || !starts_again(container)) => {
            let named = if reason == "OOMKilled" { " (out of memory)" } else { "" };
            Some(match &container.unhealthy {
                Some(why) => format!("was unhealthy and was ended (code {code}): {why}"),
                None => format!("exited with code {code}{named}"),
            })
        }
        _ => None,
    }
}

/// That a container which is to be healthy was found not to be: its test goes on, but nobody waits for it.
fn unhealthy(container: &Container, goal: Goal) -> Option<String> {
    let said = container.unhealthy.as_ref().filter(|_| goal == Goal::Ready && container.is_running())?;
    Some(format!("container is unhealthy: {said}"))
}

/// Whether an update's failure has consequences: not that of a first version, which has no way back.
fn is_judged(workload: &Value) -> bool {
    let notes = &workload["metadata"]["annotations"];
    let rule = notes[n::UPDATE].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let bears = rule.is_none_or(|rule| rule["failureAction"] == "continue");
    !bears && notes[n::DEPLOYMENT_REVISION].as_str().is_some_and(|revision| revision != "1")
}

/// Whether the restart rule starts a container again that ended as this one did.
fn starts_again(container: &Container) -> bool {
    let rule = container.object["metadata"]["annotations"][n::RESTART].as_str().unwrap_or("always");
    let failed = matches!(container.state, State::Exited(code, ..) if code != 0);
    match rule.split_once(':').map_or((rule, None), |(rule, most)| (rule, most.parse::<i64>().ok())) {
        ("no", _) => false,
        ("on-failure", most) => failed && most.is_none_or(|most| container.restarts < most),
        _ => true,
    }
}

/// Waits until every one of `services` is where `goal` wants it, drawing progress on standard error.
///
/// # Errors
/// When a service fails (its last log lines follow), or the deadline passes.
pub(crate) async fn until(
    client: &Client,
    world: &mut World,
    namespace: &str,
    services: &BTreeSet<String>,
    goal: Goal,
    timeout: Option<Duration>,
) -> anyhow::Result<()> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut board = Board::new();
    let mut patience = Patience::default();
    world.synced().await?;
    loop {
        let states = world.services(goal);
        let mut pending = Vec::new();
        for service in services {
            match states.get(service) {
                Some(Progress::Failed(container, why)) => {
                    board.finish();
                    let tail = super::logs::last_lines(client, namespace, &world.containers(), container).await;
                    bail!("{container}: {why}{tail}");
                }
                Some(Progress::Done(_)) => {}
                Some(Progress::Pending(why) | Progress::Stuck(_, why)) => pending.push(format!("{service} ({why})")),
                None => pending.push(service.clone()),
            }
        }
        if states.is_empty() && world.containers().is_empty() && !services.is_empty() {
            board.finish();
            bail!("the project was removed meanwhile");
        }
        board.draw(services, &states);
        let news = patience.look(services, &states, Instant::now());
        if !board.live {
            news.told.iter().for_each(|(service, why)| eprintln!(" Service {service}  Waiting: {why}"));
        }
        // Who gave a time of their own waits that long.
        if let Some((service, why)) = news.given_up.filter(|_| timeout.is_none()) {
            board.finish();
            bail!("{service}: {why} (it stays asked for, and starts as soon as it can)");
        }
        if pending.is_empty() {
            board.finish();
            return Ok(());
        }
        let left = deadline.map_or(Duration::from_secs(3600), |d| d.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            board.finish();
            bail!("not ready in time: {}", pending.join(", "));
        }
        let tick = if board.live { Duration::from_millis(200) } else { left };
        world.tick(tick.min(left)).await?;
    }
}

/// Progress on standard error: redrawn on a terminal, one line for each change elsewhere.
struct Board {
    live: bool,
    drawn: usize,
    told: BTreeMap<String, String>,
    begun: Instant,
}

impl Board {
    fn new() -> Self {
        Self { live: *LIVE, drawn: 0, told: BTreeMap::new(), begun: Instant::now() }
    }

    fn draw(&mut self, services: &BTreeSet<String>, states: &BTreeMap<String, Progress>) {
        let mut out = String::new();
        if self.live && self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A\x1b[J", self.drawn));
        }
        self.drawn = 0;
        let width = services.iter().map(|s| s.chars().count()).max().unwrap_or(0);
        // A line that the terminal wraps would be two to draw over.
        let room = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col.max(40)));
        let room = room.saturating_sub(width + 16);
        for service in services {
            let (mark, text) = match states.get(service) {
                Some(Progress::Done(word)) if *COLOUR_ERR => ("\x1b[32m✔\x1b[0m", (*word).to_owned()),
                Some(Progress::Done(word)) => ("✔", (*word).to_owned()),
                Some(Progress::Failed(_, why)) if *COLOUR_ERR => ("\x1b[31m✘\x1b[0m", why.clone()),
                Some(Progress::Failed(_, why)) => ("✘", why.clone()),
                Some(Progress::Pending(why) | Progress::Stuck(_, why)) => (self.spinner(), why.clone()),
                None => (self.spinner(), String::new()),
            };
            if self.live {
                let text: String = text.chars().take(room).collect();
                out.push_str(&format!(" {mark} Service {service:width$}  {text}\n"));
                self.drawn += 1;
            } else if matches!(states.get(service), Some(Progress::Done(_))) && self.told.get(service) != Some(&text) {
                out.push_str(&format!(" Service {service}  {text}\n"));
                self.told.insert(service.clone(), text);
            }
        }
        let _ = std::io::stderr().write_all(out.as_bytes());
    }

    fn spinner(&self) -> &'static str {
        const FRAMES: [&str; 8] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧"];
        FRAMES[(self.begun.elapsed().as_millis() / 100) as usize % FRAMES.len()]
    }

    fn finish(&mut self) {
        self.drawn = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::container::of_pod;
    use super::*;
    use serde_json::json;

    fn deployment(generation: i64, observed: i64, wanted: i64, updated: i64, total: i64) -> Value {
        json!({
            "kind": "Deployment",
            "metadata": {"generation": generation},
            "spec": {"replicas": wanted},
            "status": {"observedGeneration": observed, "updatedReplicas": updated, "replicas": total},
        })
    }

    fn container(status: &Value, restart: &str, probed: bool) -> Container {
        let probe = if probed { json!({}) } else { Value::Null };
        let mut spec = json!({"name": "web"});
        if probed {
            spec["readinessProbe"] = probe;
        }
        let mut status = status.clone();
        status["name"] = "web".into();
        let pod = json!({
            "metadata": {"name": "p", "labels": {n::SERVICE: "web"}, "annotations": {n::RESTART: restart}},
            "spec": {"containers": [spec]},
            "status": {"containerStatuses": [status]},
        });
        of_pod("shop", &pod).remove(0)
    }

    fn running(ready: bool, started: bool) -> Value {
        json!({"state": {"running": {}}, "ready": ready, "started": started})
    }

    #[test]
    fn started_and_healthy_are_two_goals() {
        let rolled = deployment(1, 1, 1, 1, 1);
        let starting = container(&running(false, false), "no", true);
        assert_eq!(judge(&rolled, None, &[&starting], Goal::Started), Progress::Done("Started"));
        assert_eq!(judge(&rolled, None, &[&starting], Goal::Ready), Progress::Pending("health: starting".into()));
        let healthy = container(&running(true, true), "no", true);
        assert_eq!(judge(&rolled, None, &[&healthy], Goal::Ready), Progress::Done("Healthy"));
    }

    #[test]
    fn what_is_unhealthy_is_not_waited_for_unless_its_update_is_judged() {
        let mut pod = container(&running(false, false), "always", true).object;
        pod["status"]["conditions"] =
            json!([{"type": n::UNHEALTHY, "status": "True", "message": "web: exit code 1: no table"}]);
        let sick = of_pod("shop", &pod).remove(0);
        assert_eq!(sick.health, "unhealthy");
        assert!(sick.status().ends_with("(unhealthy)"), "{}", sick.status());
        let mut workload = deployment(1, 1, 1, 1, 1);
        assert_eq!(judge(&workload, None, &[&sick], Goal::Started), Progress::Done("Started"));
        let failed = Progress::Failed("shop-web-1".into(), "container is unhealthy: exit code 1: no table".into());
        for (action, revision, judged) in
            [("rollback", "1", false), ("rollback", "2", true), ("pause", "2", true), ("continue", "2", false)]
        {
            let rule = json!({"failureAction": action}).to_string();
            workload["metadata"]["annotations"] = json!({n::UPDATE: rule, n::DEPLOYMENT_REVISION: revision});
            let found = judge(&workload, None, &[&sick], Goal::Ready);
            assert_eq!(matches!(found, Progress::Stuck(..)), judged, "{action} at {revision}: {found:?}");
            assert_eq!(found == failed, !judged, "{action} at {revision}: {found:?}");
        }
        pod["status"]["conditions"][0]["status"] = "False".into();
        assert_eq!(of_pod("shop", &pod)[0].health, "starting");
    }

    #[test]
    fn an_unfinished_roll_is_pending() {
        let up = container(&running(true, true), "no", false);
        for workload in [deployment(2, 1, 1, 1, 1), deployment(1, 1, 2, 1, 2), deployment(1, 1, 1, 1, 2)] {
            assert!(matches!(judge(&workload, None, &[&up], Goal::Started), Progress::Pending(_)), "{workload}");
        }
    }

    #[test]
    fn ends_are_judged_by_code_and_restart_rule() {
        let rolled = deployment(1, 1, 1, 1, 1);
        let ended = |code: i64, restart: &str, restarts: i64| {
            let status = json!({"state": {"terminated": {"exitCode": code}}, "restartCount": restarts});
            judge(&rolled, None, &[&container(&status, restart, false)], Goal::Ready)
        };
        assert_eq!(ended(0, "no", 0), Progress::Done("Exited"));
        assert!(matches!(ended(3, "no", 0), Progress::Failed(_, why) if why == "exited with code 3"));
        assert!(matches!(ended(3, "always", 0), Progress::Pending(_)));
        assert!(matches!(ended(3, "always", CRASHES), Progress::Failed(..)));
        assert!(matches!(ended(3, "on-failure:2", 2), Progress::Failed(..)));
        assert!(matches!(ended(3, "on-failure:2", 1), Progress::Pending(_)));
    }

    #[test]
    fn what_is_being_replaced_fails_nothing_but_is_waited_for() {
        let failed = json!({"state": {"terminated": {"exitCode": 4}}});
        let mut old = container(&failed, "no", false);
        old.object["metadata"]["labels"][n::POD_TEMPLATE_HASH] = "old".into();
        let mut new = container(&running(true, true), "no", false);
        new.object["metadata"]["labels"][n::POD_TEMPLATE_HASH] = "new".into();
        let judged = |own: &[&Container]| judge(&deployment(1, 1, 1, 1, 1), Some("new"), own, Goal::Started);
        assert!(matches!(judged(&[&old, &new]), Progress::Pending(_)));
        assert_eq!(judged(&[&new]), Progress::Done("Started"));
    }

    #[test]
    fn what_is_in_the_way_is_counted_and_named() {
        let up = container(&running(true, true), "no", false);
        let waiting = json!({"state": {"waiting": {"reason": "ContainerCreating"}}});
        let mut refused = container(&waiting, "no", false);
        refused.object["status"]["conditions"] =
            json!([{"type": "PodScheduled", "status": "False", "message": "no room"}]);
        refused.trouble = Some("no room".to_owned());
        let judged =
            |own: &[&Container], wanted| judge(&deployment(1, 1, wanted, wanted, wanted), None, own, Goal::Started);
        assert_eq!(
            judged(&[&up, &refused, &refused], 3),
            Progress::Stuck(1, "2 of 3 cannot be placed: no room".into())
        );
        assert_eq!(judged(&[&refused], 1), Progress::Stuck(0, "cannot be placed: no room".into()));
        let mut volume = container(&waiting, "no", false);
        volume.trouble = Some("FailedMount: gone".to_owned());
        assert_eq!(judged(&[&volume], 1), Progress::Stuck(0, "cannot be started: FailedMount: gone".into()));
    }

    #[test]
    fn a_paused_update_says_so() {
        let mut ended = container(&json!({"state": {"terminated": {"exitCode": 143}}}), "no", false);
        ended.unhealthy = Some("no page".to_owned());
        let mut workload = deployment(1, 1, 2, 1, 2);
        let judged = |workload: &Value| judge(workload, None, &[&ended], Goal::Ready);
        assert!(
            matches!(judged(&workload), Progress::Failed(_, why) if why.contains("unhealthy") && why.contains("no page"))
        );
        workload["spec"]["paused"] = true.into();
        assert!(matches!(judged(&workload), Progress::Stuck(_, why) if why.contains("rollout resume")));
        workload["status"]["conditions"] = json!([{
            "type": "Progressing", "reason": "DeploymentPaused", "message": "Deployment is paused: 1 of 2 failed",
        }]);
        assert!(matches!(judged(&workload), Progress::Failed(_, why) if why == "the update is paused: 1 of 2 failed"));
    }

    #[test]
    fn a_missing_image_fails_with_its_message() {
        let status = json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}});
        let judged = judge(&deployment(1, 1, 1, 1, 1), None, &[&container(&status, "no", false)], Goal::Started);
        assert!(matches!(judged, Progress::Failed(_, why) if why == "no such image"));
    }
}
