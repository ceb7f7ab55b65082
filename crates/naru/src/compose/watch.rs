//! `wait`, `events`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use naru_api::k8s::api::core::v1::Event;
use naru_client::{Client, ListOptions, Resource, WatchEvent};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::container::State;
use super::progress::World;
use super::project::Target;

/// `naru wait`.
pub(crate) async fn wait(client: &Client, target: &Target, services: &[String]) -> anyhow::Result<ExitCode> {
    super::container::containers(client, target, services).await?;
    let mut world = World::follow(client, &target.name, &target.namespace);
    world.synced().await?;
    loop {
        let now = world.containers();
        let own: Vec<_> = now.iter().filter(|c| services.contains(&c.service)).collect();
        if own.is_empty() {
            bail!("no containers of {}", services.join(", "));
        }
        let codes: Vec<i64> = own
            .iter()
            .filter_map(|c| match c.state {
                State::Exited(code, ..) => Some(code),
                _ => None,
            })
            .collect();
        if codes.len() == own.len() {
            for container in &own {
                if let State::Exited(code, ..) = container.state {
                    println!("container {:?} exited with status code {code}", container.title);
                }
            }
            let worst = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
            return Ok(ExitCode::from(u8::try_from(worst).unwrap_or(1)));
        }
        world.tick(Duration::from_secs(60)).await?;
    }
}

/// `naru events`.
pub(crate) async fn events(
    client: &Client,
    target: &Target,
    services: &[String],
    as_json: bool,
    since: Option<&str>,
) -> anyhow::Result<()> {
    let since = since.map(super::logs::since_time).transpose()?;
    // Before the first line is shown: whoever has seen one may end this, and well.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot follow signals")?;
    let events = client.dynamic(Resource::of::<Event>(), Some(&target.namespace));
    let list = events.list(&ListOptions::default()).await.context("cannot list events")?;
    let start = list.resource_version;
    let wanted = |event: &Value| {
        let name = event["involvedObject"]["name"].as_str().unwrap_or_default();
        services.is_empty() || services.iter().any(|s| name.starts_with(&format!("{s}-")) || name == s)
    };
    if let Some(since) = since {
        let mut before = list.items;
        before.retain(|event| wanted(event) && time(event).parse::<jiff::Timestamp>().is_ok_and(|at| at >= since));
        before.sort_by(|a, b| time(a).cmp(time(b)));
        before.iter().for_each(|event| print(event, as_json));
    }
    let mut stream = events.watch(&ListOptions::default(), &start).await.context("cannot follow events")?;
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            _ = interrupt.recv() => return Ok(()),
        };
        let Some(event) = event else { bail!("the server closed the stream: run it again") };
        let (WatchEvent::Added(event) | WatchEvent::Modified(event)) = event.context("the stream of events broke")?
        else {
            continue;
        };
        if wanted(&event) {
            print(&event, as_json);
        }
    }
}

fn time(event: &Value) -> &str {
    let at = [&event["lastTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]];
    at.into_iter().find_map(Value::as_str).unwrap_or_default()
}

fn print(event: &Value, as_json: bool) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let at = time(event);
    let object = &event["involvedObject"];
    let (kind, name) = (text(&object["kind"]).to_lowercase(), text(&object["name"]));
    if as_json {
        println!(
            "{}",
            json!({
                "time": at, "type": kind, "action": event["reason"], "id": object["uid"], "name": name,
                "attributes": {"message": event["message"], "namespace": object["namespace"]},
            })
        );
    } else {
        println!("{at} {kind} {} {name}: {}", text(&event["reason"]), text(&event["message"]));
    }
}
