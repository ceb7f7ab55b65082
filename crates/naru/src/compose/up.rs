//! `up`, `create`, `scale`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use naru_api::k8s::api::apps::v1::Deployment;
use naru_client::{Client, PatchKind, Resource};
use serde_json::json;

use super::apply::{Change, apply, report};
use super::container::{Container, State};
use super::logs;
use super::patience::Patience;
use super::progress::{Goal, World, until};
use super::project::{Project, Target};
use crate::cli::{Place, UpOptions};
use crate::connect::connect_or_start;
use crate::output;

/// `naru up`.
pub(crate) async fn up(place: &Place, options: UpOptions) -> anyhow::Result<ExitCode> {
    let mut project = Project::load(&options.project, &options.services.services)?;
    for wish in &options.scale {
        let (service, count) = scale_of(wish)?;
        let Some(found) = project.loaded.project.services.get_mut(&service) else {
            bail!("--scale {wish}: no such service: {service}");
        };
        found.scale = Some(count);
        if let Some(deploy) = &mut found.deploy {
            deploy.replicas = None;
        }
    }
    if let Some(policy) = &options.pull {
        for service in project.loaded.project.services.values_mut() {
            service.pull_policy = Some(policy.clone());
        }
    }
    let client = connect_or_start(place).await?;
    narrow(&mut project, &options.services.services, options.no_deps);
    super::ports::free(&client, &project).await?;
    super::ports::externals(&client, &project).await?;
    let builds = match (options.build, options.no_build) {
        (true, _) => super::build::Which::All,
        (_, true) => super::build::Which::None,
        _ => super::build::Which::Missing,
    };
    super::build::missing(&client, &project, builds, options.quiet_build).await?;
    super::images::fetch(&client, &project, options.quiet_pull).await?;
    super::nodes::settle(&client, &mut project).await?;
    if options.no_recreate {
        keep_existing(&client, &mut project).await?;
    }
    if options.no_start {
        hold(&mut project);
    }
    ended(&client, &project).await?;
    let changes = apply(&client, &project, options.remove_orphans).await?;
    report(&changes);
    if options.force_recreate {
        recreate(&client, &project, &changes).await?;
    }
    if options.no_start {
        return Ok(ExitCode::SUCCESS);
    }
    let stale = resume(&client, &project, &changes).await?;
    let services: BTreeSet<String> = project.loaded.project.services.keys().cloned().collect();
    let target = project.target();
    let mut world = World::follow(&client, &target.name, &target.namespace);
    world.forget(stale);
    if options.detach || options.wait {
        let goal = if options.wait { Goal::Ready } else { Goal::Started };
        let timeout = options.wait_timeout.map(Duration::from_secs);
        until(&client, &mut world, &target.namespace, &services, goal, timeout).await?;
        return Ok(ExitCode::SUCCESS);
    }
    foreground(&client, &target, &mut world, &services, &options).await
}

/// Shows logs until everything has ended, a container's end ends it, or the user does.
async fn foreground(
    client: &Client,
    target: &Target,
    world: &mut World,
    services: &BTreeSet<String>,
    options: &UpOptions,
) -> anyhow::Result<ExitCode> {
    let abort =
        options.abort_on_container_exit || options.abort_on_container_failure || options.exit_code_from.is_some();
    let show = logs::Options {
        follow: true,
        timestamps: options.timestamps,
        colour: !options.no_color && *output::COLOUR,
        prefix: !options.no_log_prefix,
        ..logs::Options::default()
    };
    let mut printer = logs::Printer::new(&show);
    let names: Vec<String> = services.iter().cloned().collect();
    let shown = attached(services, options)?;
    eprintln!("Attaching to {}", shown.iter().cloned().collect::<Vec<_>>().join(", "));
    let watched = options.exit_code_from.clone();
    let over = |all: &[Container]| {
        let own: Vec<&Container> = all.iter().filter(|c| services.contains(&c.service)).collect();
        let ended = |c: &&Container| matches!(c.state, State::Exited(..)) && ends_for_good(c);
        if abort {
            match &watched {
                Some(service) => own.iter().any(|c| c.service == *service && ended(c)),
                None if options.abort_on_container_failure => {
                    own.iter().any(|c| ended(c) && !matches!(c.state, State::Exited(0, ..)))
                        || (!own.is_empty() && own.len() >= services.len() && own.iter().all(ended))
                }
                None => own.iter().any(ended),
            }
        } else {
            !own.is_empty() && own.len() >= services.len() && own.iter().all(ended)
        }
    };
    let stale = world.stale();
    let interrupted = std::cell::Cell::new(false);
    {
        let logs = logs::follow(client, world, &target.namespace, &shown, &show, &mut printer, over);
        // Logs go on while everything stops: what is said at the end is often what matters.
        let stop = async {
            tokio::signal::ctrl_c().await?;
            interrupted.set(true);
            eprintln!("\nGracefully stopping… (press Ctrl-C again to kill)");
            tokio::select! {
                result = super::power::stop(client, target, &names, options.timeout) => result,
                _ = tokio::signal::ctrl_c() => super::power::kill(client, target, &names, "SIGKILL").await,
            }
        };
        tokio::pin!(logs);
        tokio::pin!(stop);
        tokio::select! {
            shown = &mut logs => {
                shown?;
                if interrupted.get() {
                    stop.await?;
                }
            }
            stopped = &mut stop => {
                stopped?;
                let _ = tokio::time::timeout(Duration::from_millis(300), logs).await;
            }
            result = failure(client, target, services, &stale) => return result.map(|()| ExitCode::FAILURE),
        }
    }
    if interrupted.get() {
        return Ok(ExitCode::from(130));
    }
    let code = exit_code(&world.current(), options.exit_code_from.as_deref(), services);
    if abort {
        eprintln!("Aborting on container exit…");
        super::power::stop(client, target, &names, options.timeout).await?;
    }
    Ok(ExitCode::from(code))
}

/// The services whose logs are shown: those that are named, unless told otherwise.
fn attached(services: &BTreeSet<String>, options: &UpOptions) -> anyhow::Result<BTreeSet<String>> {
    if let Some(unknown) = options.attach.iter().chain(&options.no_attach).find(|name| !services.contains(*name)) {
        bail!("no such service: {unknown}");
    }
    let named = if options.attach_dependencies { &[][..] } else { &options.services.services[..] };
    let named = if options.attach.is_empty() { named } else { &options.attach[..] };
    let wanted = services.iter().filter(|name| named.is_empty() || named.contains(name));
    Ok(wanted.filter(|name| !options.no_attach.contains(name)).cloned().collect())
}

/// The code of `--exit-code-from`, else of the first container that failed.
fn exit_code(all: &[Container], from: Option<&str>, services: &BTreeSet<String>) -> u8 {
    let own = all.iter().filter(|c| from.map_or(services.contains(&c.service), |from| c.service == from));
    own.filter_map(|c| match c.state {
        State::Exited(code, ..) if code != 0 => Some(u8::try_from(code).unwrap_or(1)),
        _ => None,
    })
    .next()
    .unwrap_or(0)
}

/// Ends with an error when a service cannot start at all (no image, bad configuration): its logs would stay empty.
async fn failure(
    client: &Client,
    target: &Target,
    services: &BTreeSet<String>,
    stale: &BTreeSet<String>,
) -> anyhow::Result<()> {
    use super::progress::Progress;
    let mut world = World::follow(client, &target.name, &target.namespace);
    world.forget(stale.clone());
    world.synced().await?;
    let mut patience = Patience::default();
    loop {
        let containers = world.containers();
        let states = world.services(Goal::Started);
        let news = patience.look(services, &states, std::time::Instant::now());
        news.told.iter().for_each(|(service, why)| eprintln!(" Service {service}  Waiting: {why}"));
        if let Some((service, why)) = news.given_up {
            bail!("{service}: {why}");
        }
        for (service, progress) in states {
            let waits =
                |title: &str| containers.iter().any(|c| c.title == title && matches!(c.state, State::Waiting(..)));
            match progress {
                Progress::Failed(title, why) if services.contains(&service) && waits(&title) => bail!("{title}: {why}"),
                _ => {}
            }
        }
        world.tick(Duration::from_secs(60)).await?;
    }
}

/// Whether the restart rule leaves an ended container as it is.
fn ends_for_good(container: &Container) -> bool {
    let rule = container.object["metadata"]["annotations"][naru_api::naru::names::RESTART].as_str().unwrap_or("always");
    match rule.split_once(':').map_or(rule, |(rule, _)| rule) {
        "no" => true,
        "on-failure" => matches!(container.state, State::Exited(0, ..)),
        _ => false,
    }
}

/// `naru scale`.
pub(crate) async fn scale(client: &Client, target: &Target, wishes: &[String]) -> anyhow::Result<()> {
    let deployments = client.dynamic(Resource::of::<Deployment>(), Some(&target.namespace));
    let mut services = BTreeSet::new();
    for wish in wishes {
        let (service, count) = scale_of(wish)?;
        let name = naru_compose::translate::object_name(&service);
        let patch = json!({"spec": {"replicas": count}});
        match deployments.patch_subresource(&name, "scale", PatchKind::Merge, &patch).await {
            Ok(_) => services.insert(service),
            Err(error) if error.is_not_found() => bail!("no such service: {service}"),
            Err(error) => return Err(error).with_context(|| format!("cannot scale {service}")),
        };
    }
    let mut world = World::follow(client, &target.name, &target.namespace);
    until(client, &mut world, &target.namespace, &services, Goal::Started, None).await
}

fn scale_of(wish: &str) -> anyhow::Result<(String, i64)> {
    let parsed =
        wish.split_once('=').and_then(|(service, count)| Some((service.to_owned(), count.parse::<u32>().ok()?)));
    match parsed {
        Some((service, count)) => Ok((service, i64::from(count))),
        None => bail!("expected SERVICE=NUM, as web=3, found {wish:?}"),
    }
}

/// Keeps the named services and, unless told otherwise, what they depend on.
pub(crate) fn narrow(project: &mut Project, named: &[String], no_deps: bool) {
    if named.is_empty() {
        return;
    }
    let services = &project.loaded.project.services;
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = named.to_vec();
    while let Some(name) = open.pop() {
        if let Some(service) = services.get(&name)
            && wanted.insert(name)
        {
            let shared = [&service.network_mode, &service.pid, &service.ipc];
            open.extend(shared.iter().filter_map(|mode| Some(mode.as_deref()?.strip_prefix("service:")?.to_owned())));
            if !no_deps {
                open.extend(service.depends_on.keys().cloned());
                open.extend(service.links.iter().filter_map(|link| Some(link.split(':').next()?.to_owned())));
            }
        }
    }
    project.loaded.project.services.retain(|name, _| wanted.contains(name));
}

/// Pods are made but nothing in them is started.
fn hold(project: &mut Project) {
    for service in project.loaded.project.services.values_mut() {
        service.annotations.insert(naru_api::naru::names::POWER.to_owned(), Some("stopped".to_owned()));
    }
}

/// Leaves out the services that exist.
async fn keep_existing(client: &Client, project: &mut Project) -> anyhow::Result<()> {
    for resource in super::down::workloads() {
        let list = client.dynamic(resource, Some(&project.namespace)).list(&Default::default()).await?;
        for workload in list.items {
            if let Some(service) = workload["metadata"]["labels"][naru_api::naru::names::SERVICE].as_str() {
                project.loaded.project.services.remove(service);
            }
        }
    }
    Ok(())
}

/// Replaces the pods of services that did not change, as `kubectl rollout restart` does.
async fn recreate(client: &Client, project: &Project, changes: &[Change]) -> anyhow::Result<()> {
    let deployments = client.dynamic(Resource::of::<Deployment>(), Some(&project.namespace));
    let same = changes.iter().filter(|c| c.kind == "Deployment" && c.action == "unchanged");
    for service in same.filter_map(|c| c.service.as_deref()) {
        let now = jiff::Timestamp::now().to_string();
        let patch =
            json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
        let name = naru_compose::translate::object_name(service);
        deployments
            .patch(&name, PatchKind::Merge, &patch)
            .await
            .with_context(|| format!("cannot replace {service}"))?;
    }
    Ok(())
}

/// Waits until what an earlier `down` ended is gone: its successor would not know of it, and two containers of one
/// service would meet on its volumes.
async fn ended(client: &Client, project: &Project) -> anyhow::Result<()> {
    let target = project.target();
    let mut world = World::follow(client, &target.name, &target.namespace);
    world.synced().await?;
    let parting = |world: &World| -> Vec<Container> {
        let all = world.containers().into_iter();
        // A service that is being rolled keeps its own order; only one without a workload has a successor to come.
        let known = world.services(Goal::Started);
        all.filter(|c| c.state == State::Removing && !known.contains_key(&c.service)).collect()
    };
    let mut told = false;
    let deadline = std::time::Instant::now() + Duration::from_secs(600);
    loop {
        let left = parting(&world);
        if left.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = left.iter().map(|c| c.title.as_str()).collect();
        if !std::mem::replace(&mut told, true) {
            eprintln!(" Waiting for {} to end", names.join(", "));
        }
        if std::time::Instant::now() > deadline {
            bail!("these do not end: {}", names.join(", "));
        }
        world.tick(Duration::from_secs(1)).await?;
    }
}

/// Starts what an earlier `stop` left stopped, and what ended by itself; gives the starts that are thereby over.
///
/// Only of services that did not change: the pods of a changed one are on their way out, and starting their old command
/// once more could do harm (think of a migration).
async fn resume(client: &Client, project: &Project, changes: &[Change]) -> anyhow::Result<BTreeSet<String>> {
    let same = |service: &str| {
        let mut workloads = changes.iter().filter(|c| matches!(c.kind.as_str(), "Deployment" | "DaemonSet" | "Job"));
        workloads.any(|c| c.service.as_deref() == Some(service) && c.action == "unchanged")
    };
    let mut stale = BTreeSet::new();
    let pods = client.dynamic(super::container::pods(), Some(&project.namespace));
    let list = pods.list(&naru_client::ListOptions::labels(naru_api::naru::names::SERVICE)).await?;
    for pod in list.items {
        let meta = &pod["metadata"];
        let power = meta["annotations"][naru_api::naru::names::POWER].as_str().unwrap_or("running");
        let service = meta["labels"][naru_api::naru::names::SERVICE].as_str().unwrap_or_default();
        let ours = same(&naru_compose::translate::label_value(service));
        let containers = super::container::of_pod("", &pod);
        let ended = containers.iter().any(|c| matches!(c.state, State::Exited(..)));
        if ours && (matches!(power, "stopped" | "paused") || ended) {
            let word = format!("running@{}", jiff::Timestamp::now().as_millisecond());
            let patch = json!({"metadata": {"annotations": {naru_api::naru::names::POWER: word}}});
            match pods.patch(meta["name"].as_str().unwrap_or_default(), PatchKind::Merge, &patch).await {
                Err(error) if !error.is_not_found() => return Err(error).context("cannot start a stopped container"),
                _ => stale.extend(containers.into_iter().map(|c| c.attempt).filter(|attempt| !attempt.is_empty())),
            }
        }
    }
    Ok(stale)
}
