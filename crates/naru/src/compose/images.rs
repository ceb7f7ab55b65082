//! Images of a project: `images`, `pull`, and what `up` fetches before it starts anything.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use naru_client::Client;
use serde_json::{Value, json};

use super::container::containers;
use super::nodes::unpinned;
use super::project::{Project, Target};
use crate::image::Bars;
use crate::image::node::{NodeImages, nodes};
use crate::output::{Table, size};

/// The image of a service: what it names, or what its build makes.
pub(crate) fn image_of(project: &naru_compose::Project, name: &str) -> String {
    let own = project.services.get(name).and_then(|service| service.image.clone());
    own.unwrap_or_else(|| format!("{}-{name}", project.name))
}

/// Pulls what a project's services need and the machine does not have, each image once, before anything changes: a
/// missing image then leaves what runs as it is.
pub(crate) async fn fetch(client: &Client, project: &Project, quiet: bool) -> anyhow::Result<()> {
    let mut wanted: BTreeMap<String, bool> = BTreeMap::new();
    let mut must_be_here: Vec<(String, String)> = Vec::new();
    for (name, service) in &project.loaded.project.services {
        let policy = service.pull_policy.as_deref().unwrap_or("missing");
        if service.build.is_some() && policy != "always" {
            continue;
        }
        let always = policy == "always";
        if policy == "never" {
            must_be_here.push((name.clone(), image_of(&project.loaded.project, name)));
        } else if policy != "build" {
            *wanted.entry(image_of(&project.loaded.project, name)).or_default() |= always;
        }
    }
    if wanted.is_empty() && must_be_here.is_empty() {
        return Ok(());
    }
    let images = NodeImages::find(client).await?;
    for (service, image) in must_be_here {
        if !images.has(&image).await? {
            bail!(
                "services.{service}.image: {image} is not on this machine, and `pull_policy: never` forbids to pull it"
            );
        }
    }
    for (image, always) in wanted {
        // What another node has comes from there by need.
        if always || images.anywhere(&image).await?.is_none() {
            eprintln!(" Image {image}  Pulling");
            let mut bars = Bars::new(quiet);
            images.pull(&image, None, |line| bars.line(&line)).await.with_context(|| format!("cannot pull {image}"))?;
            eprintln!(" Image {image}  Pulled");
        }
    }
    Ok(())
}

/// How `naru pull` goes.
pub(crate) struct Pull {
    /// When one fails.
    pub go_on: bool,
    pub quiet: bool,
    pub ignore_buildable: bool,
    /// `missing`, `always`; always unless given.
    pub policy: Option<String>,
}

/// `naru pull`.
pub(crate) async fn pull(client: &Client, project: &Project, how: &Pull) -> anyhow::Result<()> {
    let images = NodeImages::find(client).await?;
    let own = &project.loaded.project;
    let names = own
        .services
        .iter()
        .filter(|(_, service)| service.build.is_none() || (service.image.is_some() && !how.ignore_buildable));
    let wanted: BTreeSet<String> = names.map(|(name, _)| image_of(own, name)).collect();
    if wanted.is_empty() {
        eprintln!("No images to pull");
    }
    let mut failed = Vec::new();
    for image in wanted {
        if how.policy.as_deref() == Some("missing") && images.has(&image).await? {
            continue;
        }
        eprintln!(" Image {image}  Pulling");
        let mut bars = Bars::new(how.quiet);
        match images.pull(&image, None, |line| bars.line(&line)).await {
            Ok(_) => eprintln!(" Image {image}  Pulled"),
            Err(error) if how.go_on => crate::output::warn(format!("{image}: {error:#}")),
            Err(error) => failed.push(format!("{image}: {error:#}")),
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

/// `naru images`.
pub(crate) async fn images(
    client: &Client,
    target: &Target,
    services: &[String],
    format: &str,
    quiet: bool,
) -> anyhow::Result<()> {
    let found = containers(client, target, services).await?;
    let several = nodes(client).await?.len() > 1;
    let mut rows: Vec<(String, String, String, String, u64, String)> = Vec::new();
    for container in &found {
        let node = container.object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        // As it was started: a tag may mean something else now.
        let own = container.object["spec"]["containers"].as_array().into_iter().flatten();
        let own = own.into_iter().find(|spec| spec["name"] == container.name.as_str());
        let image = own.and_then(|spec| spec["image"].as_str()).unwrap_or(&container.image);
        let record = NodeImages::of(client, &node).inspect(image).await.unwrap_or(Value::Null);
        let id = record["id"].as_str().unwrap_or_default().trim_start_matches("sha256:");
        let shown = unpinned(&container.image);
        let (name, tag) = shown.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((shown, "latest"));
        rows.push((
            container.title.clone(),
            name.to_owned(),
            tag.to_owned(),
            id.chars().take(12).collect(),
            record["size"].as_u64().unwrap_or(0),
            node,
        ));
    }
    if quiet {
        let ids: BTreeSet<&String> = rows.iter().map(|row| &row.3).collect();
        ids.iter().for_each(|id| println!("{id}"));
    } else if format == "json" {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(container, name, tag, id, bytes, node)| {
                json!({"ContainerName": container, "Repository": name, "Tag": tag, "ID": id, "Size": bytes, "Node": node})
            })
            .collect();
        println!("{}", Value::from(rows));
    } else {
        let mut heads = vec!["CONTAINER", "REPOSITORY", "TAG", "IMAGE ID", "SIZE"];
        if several {
            heads.push("NODE");
        }
        let mut table = Table::new(&heads);
        for (container, name, tag, id, bytes, node) in rows {
            let mut row = vec![container, name, tag, id, size(bytes)];
            if several {
                row.push(node);
            }
            table.row(row);
        }
        table.print();
    }
    Ok(())
}

/// Removes the images of a project that went: `down --rmi`.
pub(crate) async fn remove(client: &Client, names: &[String], local: bool, project: &str) -> anyhow::Result<()> {
    let own = format!("{project}-");
    let known = nodes(client).await?;
    let names: BTreeSet<&String> = names.iter().filter(|name| !local || name.starts_with(&own)).collect();
    for name in names {
        let (mut removed, mut kept) = (false, Vec::new());
        for node in known.iter().filter(|node| node.ready) {
            let images = NodeImages::of(client, &node.name);
            if known.len() > 1 && !images.has(name).await.unwrap_or(false) {
                continue;
            }
            match images.remove(name, false).await {
                Ok(_) => removed = true,
                Err(error) => kept.push(format!("{error:#}")),
            }
        }
        if removed {
            eprintln!(" Image {name}  Removed");
        }
        kept.iter().for_each(|error| crate::output::warn(format!("the image {name} stays: {error}")));
    }
    Ok(())
}
