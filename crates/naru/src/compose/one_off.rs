//! `run`: a command in a pod of its own, made from a service.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use naru_api::naru::names as n;
use naru_client::exec::{StreamOptions, attach};
use naru_client::{Client, DeleteOptions};
use serde_json::{Value, json};

use super::apply::{apply, report};
use super::container::{Container, State, pods};
use super::patience::{GIVE_UP, TELL};
use super::progress::{Goal, World, until};
use super::project::Project;
use super::up;
use crate::cli::{Place, ProjectOptions, RunOptions};
use crate::connect::connect_or_start;

/// `naru run`.
pub(crate) async fn run(place: &Place, of: &ProjectOptions, options: RunOptions) -> anyhow::Result<ExitCode> {
    let named = std::slice::from_ref(&options.service);
    let mut project = match super::overlay::of_run(&options) {
        Some(text) => Project::load_under(of, named, text)?,
        None => Project::load(of, named)?,
    };
    if let (Some(policy), Some(service)) = (&options.pull, project.loaded.project.services.get_mut(&options.service)) {
        service.pull_policy = Some(policy.clone());
    }
    let client = connect_or_start(place).await?;
    let tty = !options.no_tty && !options.detach && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    change(&mut project, &options, tty)?;
    up::narrow(&mut project, named, options.no_deps);
    super::ports::free(&client, &project).await?;
    super::ports::externals(&client, &project).await?;
    if options.build {
        let how = super::build::How { quiet: options.quiet_build || options.quiet, ..Default::default() };
        super::build::build(&client, &project, named, &how).await?;
    }
    let quiet = options.quiet_build || options.quiet;
    super::build::missing(&client, &project, super::build::Which::Missing, quiet).await?;
    super::images::fetch(&client, &project, options.quiet_pull || options.quiet).await?;
    super::nodes::settle(&client, &mut project).await?;
    let pod = pod(&project, &options)?;
    dependencies(&client, &mut project, &options).await?;
    let api = client.dynamic(pods(), Some(&project.namespace));
    let made = api.create(&pod).await.with_context(|| format!("cannot run {:?}", options.service))?;
    let name = made["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if options.detach {
        println!("{name}");
        return Ok(ExitCode::SUCCESS);
    }
    let code = attend(&client, &project, &name, tty).await;
    if options.rm || code.is_err() {
        let _ = api.delete(&name, &DeleteOptions::default().grace(0)).await;
    }
    code
}

/// The service as the command line wants it.
fn change(project: &mut Project, options: &RunOptions, tty: bool) -> anyhow::Result<()> {
    let Some(service) = project.loaded.project.services.get_mut(&options.service) else {
        bail!("no such service: {}", options.service);
    };
    if !options.command.is_empty() {
        service.command = Some(options.command.clone());
    }
    if let Some(entrypoint) = &options.entrypoint {
        service.entrypoint = Some(shell_words::split(entrypoint).context("--entrypoint: a quote is not closed")?);
        // The service's arguments are for its own entry point.
        if options.command.is_empty() {
            service.command = Some(Vec::new());
        }
    }
    for pair in &options.env {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (pair.as_str(), std::env::var(pair).ok()),
        };
        service.environment.insert(name.to_owned(), value);
    }
    if options.user.is_some() {
        service.user.clone_from(&options.user);
    }
    if options.workdir.is_some() {
        service.working_dir.clone_from(&options.workdir);
    }
    // As in Docker Compose: a one-off publishes nothing, has no name of the service's, and is not started again.
    if !options.service_ports && options.publish.is_empty() {
        service.ports.clear();
    }
    service.container_name = None;
    service.restart = Some("no".to_owned());
    service.healthcheck = None;
    service.stdin_open = Some(!options.detach);
    service.tty = Some(tty);
    if let Some(deploy) = &mut service.deploy {
        deploy.restart_policy = None;
        deploy.mode = None;
    }
    Ok(())
}

/// The pod of the one-off: the template that the service's own pods would have.
fn pod(project: &Project, options: &RunOptions) -> anyhow::Result<Value> {
    let objects = naru_compose::translate(&project.loaded.project)?.objects;
    let name = naru_compose::translate::object_name(&options.service);
    let owner = objects.iter().find(|o| o["kind"] == "Deployment" && o["metadata"]["name"] == name.as_str());
    let mut pod =
        owner.map(|o| o["spec"]["template"].clone()).context("the service has no pod of its own to run in")?;
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    let meta = &mut pod["metadata"];
    match &options.name {
        Some(name) => meta["name"] = naru_compose::translate::object_name(name).into(),
        None => meta["generateName"] = format!("{name}-run-").into(),
    }
    meta["labels"][n::COMPOSE_ONEOFF] = "True".into();
    // Not one of the service's replicas: its Service and its workload must not take it for one.
    if let Some(labels) = meta["labels"].as_object_mut() {
        labels.remove(n::SERVICE);
    }
    meta["labels"]["naru.io/one-off"] = naru_compose::translate::label_value(&options.service).into();
    if let Some(notes) = meta["annotations"].as_object_mut() {
        notes.remove(n::START_GATES);
    }
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["containers"][0]["stdinOnce"] = json!(!options.detach);
    publish(project, &options.service, &mut pod["spec"]["containers"][0])?;
    Ok(pod)
}

/// The ports that a one-off publishes are its own: no Service stands before it.
fn publish(project: &Project, name: &str, container: &mut Value) -> anyhow::Result<()> {
    let mut ports = Vec::new();
    for port in project.loaded.project.services.get(name).into_iter().flat_map(|service| &service.ports) {
        let published = port.published.as_deref().unwrap_or_default();
        let Ok(host) = published.parse::<u16>() else {
            bail!("services.{name}.ports: `naru run` publishes at one given port, as 8080:80, not {published:?}");
        };
        ports.push(json!({
            "containerPort": port.target, "hostPort": host, "hostIP": port.host_ip.clone().unwrap_or_default(),
            "protocol": port.protocol.to_uppercase(),
        }));
    }
    if !ports.is_empty() {
        container["ports"] = ports.into();
    }
    Ok(())
}

/// Starts what the service depends on, and what it needs besides: networks, volumes, configs.
async fn dependencies(client: &Client, project: &mut Project, options: &RunOptions) -> anyhow::Result<()> {
    let services = &mut project.loaded.project.services;
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = services[&options.service].depends_on.keys().cloned().collect();
    while let Some(name) = open.pop() {
        if let Some(service) = services.get(&name).filter(|_| !options.no_deps)
            && wanted.insert(name.clone())
        {
            open.extend(service.depends_on.keys().cloned());
        }
    }
    services.retain(|name, _| wanted.contains(name));
    let changes = apply(client, project, options.remove_orphans).await?;
    if !options.quiet {
        report(&changes);
    }
    if !wanted.is_empty() {
        let target = project.target();
        let mut world = World::follow(client, &target.name, &target.namespace);
        until(client, &mut world, &target.namespace, &wanted, Goal::Ready, None).await?;
    }
    Ok(())
}

/// Connects this terminal to the pod and waits for its end.
async fn attend(client: &Client, project: &Project, name: &str, tty: bool) -> anyhow::Result<ExitCode> {
    let container = wait_for(client, project, name, |c| !matches!(c.state, State::Waiting(..))).await?;
    let streams = |stdout: bool| StreamOptions {
        container: container.name.clone(),
        stdin: true,
        stdout,
        stderr: stdout && !tty,
        tty,
        ..StreamOptions::default()
    };
    if tty && container.is_running() {
        if let Ok(session) = attach(client, &project.namespace, name, &streams(true)).await {
            eprintln!("(if there is no prompt, press Enter)");
            let _ = super::exec::converse(name, session, true).await;
        }
    } else {
        // The log has every line from the first one on; an attachment only what comes after it. So output is read
        // there, and the attachment carries nothing but input.
        let input = async {
            match attach(client, &project.namespace, name, &streams(false)).await {
                Ok(session) if container.is_running() => {
                    let _ = super::exec::converse(name, session, false).await;
                }
                _ => {}
            }
            // The end is told by the log, never by the input.
            std::future::pending::<()>().await;
        };
        let path = format!("/api/v1/namespaces/{}/pods/{name}/log?follow=true", project.namespace);
        tokio::select! {
            shown = show_log(client, &path) => shown?,
            () = input => {}
        }
    }
    let ended = wait_for(client, project, name, |c| matches!(c.state, State::Exited(..))).await;
    let code = match ended.map(|c| c.state) {
        Ok(State::Exited(code, ..)) => code,
        _ => 1,
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(255)))
}

async fn show_log(client: &Client, path: &str) -> anyhow::Result<()> {
    let mut body = client.open(http::Method::GET, path, None, naru_client::empty_body()).await?.into_body();
    let mut out = std::io::stdout();
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        let frame = frame.map_err(|error| anyhow::anyhow!("the log stream broke: {error}"))?;
        if let Ok(data) = frame.into_data() {
            std::io::Write::write_all(&mut out, &data)?;
            std::io::Write::flush(&mut out)?;
        }
    }
    Ok(())
}

async fn wait_for(
    client: &Client,
    project: &Project,
    name: &str,
    good: impl Fn(&Container) -> bool,
) -> anyhow::Result<Container> {
    let mut world = World::follow(client, &project.loaded.project.name, &project.namespace);
    world.synced().await?;
    let begun = std::time::Instant::now();
    let mut told = String::new();
    loop {
        let found = world.containers().into_iter().find(|c| c.pod == name);
        if let Some(container) = found {
            if good(&container) {
                return Ok(container);
            }
            if let State::Waiting(reason, message) = &container.state
                && reason.contains("Err")
            {
                bail!("{reason}: {message}");
            }
            if let Some(why) = container.trouble.filter(|_| begun.elapsed() > TELL) {
                if begun.elapsed() > GIVE_UP && !super::trouble::passes(&why) {
                    bail!("{name} cannot be started: {why}");
                }
                if told != why {
                    eprintln!(" Container {name}  Waiting: {why}");
                    told = why;
                }
            }
        }
        world.tick(Duration::from_secs(60)).await?;
    }
}
