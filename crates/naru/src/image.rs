//! `naru image …`: images of this machine or of other nodes, through their nodes' interface.

pub(crate) mod node;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use crate::cli::{ImageCommand, OnNode, Place, RemoveImages};
use crate::connect::connect_or_start;
use crate::output::{Table, ago, size};
use node::{Line, NodeImages};

/// Runs one verb.
pub(crate) async fn run(place: Place, command: ImageCommand) -> anyhow::Result<ExitCode> {
    let client = connect_or_start(&place).await?;
    let meant = async |on: &OnNode| NodeImages::meant(&client, on.node.as_deref()).await;
    match command {
        ImageCommand::Ls { on, format, quiet } => list(&meant(&on).await?, on.node.is_some(), &format, quiet).await?,
        ImageCommand::Load { on, input, file } => load_on(&meant(&on).await?, input.or(file)).await?,
        ImageCommand::Save { on, images: names, output } => save(one(&meant(&on).await?)?, &names, output).await?,
        ImageCommand::Pull { on, image, platform, quiet } => {
            for images in meant(&on).await? {
                let mut show = Bars::new(quiet);
                let id = images.pull(&image, platform.as_deref(), |line| show.line(&line)).await;
                println!("{}", id.with_context(|| format!("node {}", images.node))?);
            }
        }
        ImageCommand::Push { on, image, quiet } => {
            let mut show = Bars::new(quiet);
            let digest = one(&meant(&on).await?)?.push(&image, |line| show.line(&line)).await?;
            println!("{digest}");
        }
        ImageCommand::Tag { on, source, target } => {
            for images in meant(&on).await? {
                images.tag(&source, &target).await.with_context(|| format!("node {}", images.node))?;
            }
        }
        ImageCommand::Rm(RemoveImages { on, images: names, force }) => {
            remove(&meant(&on).await?, &names, force).await?
        }
        ImageCommand::Prune { on, all, force } => {
            let what = if all { "all images without a container" } else { "all dangling images" };
            if !force && !crate::install::confirm(&format!("This removes {what}. Are you sure?"))? {
                return Ok(ExitCode::FAILURE);
            }
            let mut freed = 0;
            for images in meant(&on).await? {
                let (removed, bytes) = images.prune(all).await.with_context(|| format!("node {}", images.node))?;
                removed.iter().for_each(|name| println!("{name}"));
                freed += bytes;
            }
            println!("Total reclaimed space: {}", size(freed));
        }
        ImageCommand::Inspect { on, images: names } => {
            let mut found = Vec::new();
            for images in meant(&on).await? {
                for name in &names {
                    found.push(images.inspect(name).await?);
                }
            }
            println!("{}", serde_json::to_string_pretty(&found)?);
        }
        ImageCommand::Import { image } => {
            let mut show = Bars::new(false);
            let id = NodeImages::find(&client).await?.import(&image, |line| show.line(&line)).await?;
            println!("{id}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The one node of a verb that has no meaning on several.
fn one(nodes: &[NodeImages]) -> anyhow::Result<&NodeImages> {
    match nodes {
        [one] => Ok(one),
        _ => anyhow::bail!("--node: expected the name of one node"),
    }
}

/// Loads an archive on every node that is meant.
async fn load_on(nodes: &[NodeImages], path: Option<std::path::PathBuf>) -> anyhow::Result<()> {
    if nodes.len() > 1 && path.is_none() {
        anyhow::bail!("standard input can be read once only: for several nodes, name a file with -i");
    }
    for images in nodes {
        let names = load(images, path.clone()).await;
        let place = if nodes.len() > 1 { format!(" on {}", images.node) } else { String::new() };
        for name in names.with_context(|| format!("node {}", images.node))? {
            println!("Loaded image: {name}{place}");
        }
    }
    Ok(())
}

/// Removes images wherever they are; that a node of several has one not is no failure.
async fn remove(nodes: &[NodeImages], names: &[String], force: bool) -> anyhow::Result<()> {
    for name in names {
        let mut there = Vec::new();
        for images in nodes {
            if nodes.len() == 1 || images.has(name).await? {
                there.push(images);
            }
        }
        if there.is_empty() {
            anyhow::bail!("no node has an image {name:?}; `naru image ls --node all` lists them");
        }
        for images in there {
            for line in images.remove(name, force).await? {
                println!("{line}");
            }
        }
    }
    Ok(())
}

/// Loads an archive from a file or standard input.
pub(crate) async fn load(images: &NodeImages, path: Option<std::path::PathBuf>) -> anyhow::Result<Vec<String>> {
    let mut show = Bars::new(!*crate::output::COLOUR_ERR);
    match path {
        Some(path) => {
            let file = tokio::fs::File::open(&path).await.with_context(|| format!("cannot read {}", path.display()))?;
            images
                .load(file, |line| show.line(&line))
                .await
                .with_context(|| format!("{} was not loaded", path.display()))
        }
        None => images.load(tokio::io::stdin(), |line| show.line(&line)).await.context("standard input was not loaded"),
    }
}

async fn save(images: &NodeImages, names: &[String], output: Option<std::path::PathBuf>) -> anyhow::Result<()> {
    use std::io::IsTerminal;
    for name in names {
        // Asked before a byte is written: a stream that has begun can only break off.
        if !images.has(name).await? {
            anyhow::bail!("no image {name:?} on this machine; `naru image ls` lists them");
        }
    }
    match output {
        None if std::io::stdout().is_terminal() => {
            anyhow::bail!("an archive is not for a terminal: name a file with -o")
        }
        None => images.save(names, &mut std::io::stdout()).await,
        Some(path) => {
            // Written beside and renamed: a broken connection leaves no half archive under the wished name.
            let beside = path.with_extension("part");
            let mut file =
                std::fs::File::create(&beside).with_context(|| format!("cannot write {}", beside.display()))?;
            let saved = images.save(names, &mut file).await;
            if saved.is_err() {
                let _ = std::fs::remove_file(&beside);
            }
            saved?;
            std::fs::rename(&beside, &path).with_context(|| format!("cannot write {}", path.display()))
        }
    }
}

async fn list(nodes: &[NodeImages], told: bool, format: &str, quiet: bool) -> anyhow::Result<()> {
    // Name, tag, short identifier, age, size; and the nodes that have it.
    let mut rows: BTreeMap<(String, String, String, String, u64), Vec<String>> = BTreeMap::new();
    for images in nodes {
        for image in images.list().await.with_context(|| format!("node {}", images.node))? {
            if format == "json" {
                let mut image = image.clone();
                if told {
                    image["node"] = images.node.clone().into();
                }
                println!("{image}");
            }
            for row in rows_of(&image) {
                rows.entry(row).or_default().push(images.node.clone());
            }
        }
    }
    if quiet {
        let ids: std::collections::BTreeSet<&str> = rows.keys().map(|row| row.2.as_str()).collect();
        ids.iter().for_each(|id| println!("{id}"));
    } else if format != "json" {
        let mut heads = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
        if told {
            heads.push("NODES");
        }
        let mut table = Table::new(&heads);
        for ((name, tag, id, age, bytes), nodes) in rows {
            let mut row = vec![name, tag, id, age, size(bytes)];
            if told {
                row.push(nodes.join(", "));
            }
            table.row(row);
        }
        table.print();
    }
    Ok(())
}

/// One row for each name of an image.
fn rows_of(image: &Value) -> Vec<(String, String, String, String, u64)> {
    let id = image["id"].as_str().unwrap_or_default();
    let short: String = id.trim_start_matches("sha256:").chars().take(12).collect();
    let created = image["created"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    // Images that are packed reproducibly carry the beginning of time.
    let age = created.filter(|at| at.as_second() > 0).map_or_else(
        || "N/A".to_owned(),
        |at| format!("{} ago", ago(jiff::Timestamp::now().as_second() - at.as_second())),
    );
    let bytes = image["size"].as_u64().unwrap_or(0);
    let tags: Vec<&str> = image["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let tags = if tags.is_empty() { vec!["<none>:<none>"] } else { tags };
    let row = |tag: &str| {
        let (name, tag) = tag.rsplit_once(':').unwrap_or((tag, ""));
        let name = name.strip_prefix("docker.io/library/").or(name.strip_prefix("docker.io/")).unwrap_or(name);
        (name.to_owned(), tag.to_owned(), short.clone(), age.clone(), bytes)
    };
    tags.into_iter().map(row).collect()
}

/// Progress of layers on standard error: bars on a terminal, nothing but ends elsewhere.
pub(crate) struct Bars {
    quiet: bool,
    live: bool,
    layers: Vec<(String, u64, u64, String)>,
    drawn: usize,
}

impl Bars {
    /// Bars that say nothing where they should be quiet.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, live: *crate::output::LIVE, layers: Vec::new(), drawn: 0 }
    }

    /// Takes one line of progress in.
    pub fn line(&mut self, line: &Line) {
        if self.quiet {
            return;
        }
        let row = (line.layer.clone(), line.current, line.total, line.status.clone());
        match self.layers.iter_mut().find(|(layer, ..)| *layer == line.layer) {
            Some(known) => {
                let news = known.3 != row.3;
                *known = row;
                if !self.live && !news {
                    return;
                }
            }
            None => self.layers.push(row),
        }
        if !self.live {
            eprintln!("{}: {}", line.layer, line.status);
            return;
        }
        let mut out = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
        for (layer, current, total, status) in &self.layers {
            let short: String = layer.trim_start_matches("sha256:").chars().take(12).collect();
            let filled = (current * 30).checked_div(*total).unwrap_or(0).min(30) as usize;
            let bar = format!("[{}{}]", "=".repeat(filled), " ".repeat(30 - filled));
            out.push_str(&format!("{short:12}  {status:12} {bar} {}/{}\n", size(*current), size(*total)));
        }
        self.drawn = self.layers.len();
        let _ = std::io::stderr().write_all(out.as_bytes());
    }
}
