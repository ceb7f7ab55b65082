//! `naru image …`: images of this machine, through its node's interface.

pub(crate) mod node;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use crate::cli::{ImageCommand, Place, RemoveImages};
use crate::connect::connect_or_start;
use crate::output::{Table, ago, size};
use node::{Line, NodeImages};

/// Runs one verb.
pub(crate) async fn run(place: Place, command: ImageCommand) -> anyhow::Result<ExitCode> {
    let images = NodeImages::find(&connect_or_start(&place).await?).await?;
    match command {
        ImageCommand::Ls { format, quiet } => list(&images, &format, quiet).await?,
        ImageCommand::Load { input, file } => {
            let names = load(&images, input.or(file)).await?;
            names.iter().for_each(|name| println!("Loaded image: {name}"));
        }
        ImageCommand::Save { images: names, output } => save(&images, &names, output).await?,
        ImageCommand::Pull { image, platform, quiet } => {
            let mut show = Bars::new(quiet);
            let id = images.pull(&image, platform.as_deref(), |line| show.line(&line)).await?;
            println!("{id}");
        }
        ImageCommand::Push { image, quiet } => {
            let mut show = Bars::new(quiet);
            let digest = images.push(&image, |line| show.line(&line)).await?;
            println!("{digest}");
        }
        ImageCommand::Tag { source, target } => images.tag(&source, &target).await?,
        ImageCommand::Rm(RemoveImages { images: names, force }) => {
            for name in &names {
                for line in images.remove(name, force).await? {
                    println!("{line}");
                }
            }
        }
        ImageCommand::Prune { all, force } => {
            let what = if all { "all images without a container" } else { "all dangling images" };
            if !force && !crate::install::confirm(&format!("This removes {what}. Are you sure?"))? {
                return Ok(ExitCode::FAILURE);
            }
            let (removed, bytes) = images.prune(all).await?;
            removed.iter().for_each(|name| println!("{name}"));
            println!("Total reclaimed space: {}", size(bytes));
        }
        ImageCommand::Inspect { images: names } => {
            let mut found = Vec::new();
            for name in &names {
                found.push(images.inspect(name).await?);
            }
            println!("{}", serde_json::to_string_pretty(&found)?);
        }
        ImageCommand::Import { image } => {
            let mut show = Bars::new(false);
            let id = images.import(&image, |line| show.line(&line)).await?;
            println!("{id}");
        }
    }
    Ok(ExitCode::SUCCESS)
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

async fn list(images: &NodeImages, format: &str, quiet: bool) -> anyhow::Result<()> {
    let mut rows: Vec<(String, String, String, String, u64)> = Vec::new();
    let found = images.list().await?;
    for image in &found {
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
        for tag in if tags.is_empty() { vec!["<none>:<none>"] } else { tags } {
            let (name, tag) = tag.rsplit_once(':').unwrap_or((tag, ""));
            let name = name.strip_prefix("docker.io/library/").or(name.strip_prefix("docker.io/")).unwrap_or(name);
            rows.push((name.to_owned(), tag.to_owned(), short.clone(), age.clone(), bytes));
        }
    }
    rows.sort();
    if quiet {
        let mut ids: Vec<&str> = rows.iter().map(|row| row.2.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().for_each(|id| println!("{id}"));
    } else if format == "json" {
        found.iter().for_each(|image| println!("{image}"));
    } else {
        let mut table = Table::new(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
        rows.into_iter().for_each(|(name, tag, id, age, bytes)| table.row(vec![name, tag, id, age, size(bytes)]));
        table.print();
    }
    Ok(())
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
