//! `build`: handed to the builder that is there, its image loaded into this machine's store.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use naru_client::Client;
use naru_compose::model::Build;

use super::images::image_of;
use super::project::Project;
use crate::image::Bars;
use crate::image::node::NodeImages;

/// The builders that are known, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Builder {
    Docker,
    Buildah,
    Buildctl,
}

/// Builds the images that are not there; all that can be built when `every`.
pub(crate) async fn missing(client: &Client, project: &mut Project, every: bool) -> anyhow::Result<()> {
    let images = NodeImages::find(client).await?;
    let mut wanted = Vec::new();
    for (name, service) in &project.loaded.project.services {
        if service.build.is_some() {
            let image = image_of(&project.loaded.project, name);
            if every || service.pull_policy.as_deref() == Some("build") || !images.has(&image).await? {
                wanted.push(name.clone());
            }
        }
    }
    if wanted.is_empty() { Ok(()) } else { build(client, project, &wanted, false, false, &[]).await }
}

/// `naru build`.
pub(crate) async fn build(
    client: &Client,
    project: &Project,
    services: &[String],
    no_cache: bool,
    pull: bool,
    arguments: &[String],
) -> anyhow::Result<()> {
    let images = NodeImages::find(client).await?;
    let own = &project.loaded.project;
    let wanted: Vec<(&String, &Build)> = own
        .services
        .iter()
        .filter(|(name, _)| services.is_empty() || services.contains(name))
        .filter_map(|(name, service)| Some((name, service.build.as_ref()?)))
        .collect();
    if wanted.is_empty() {
        eprintln!("No services to build");
        return Ok(());
    }
    let builder = find()?;
    for (name, build) in wanted {
        let image = image_of(own, name);
        eprintln!(" Image {image}  Building with {}", program(builder));
        let build = Build {
            no_cache: Some(no_cache || build.no_cache == Some(true)),
            pull: Some(pull || build.pull == Some(true)),
            args: build
                .args
                .clone()
                .into_iter()
                .chain(arguments.iter().map(|pair| match pair.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (pair.clone(), None),
                }))
                .collect(),
            ..build.clone()
        };
        let folder = Scratch::new()?;
        let archive = folder.path.join("image.tar");
        for mut command in commands(builder, &build, &image, &folder.path) {
            let shown = command.get_program().to_string_lossy().into_owned();
            let status = command
                .stdin(Stdio::null())
                .status()
                .with_context(|| format!("services.{name}.build: cannot run {shown}"))?;
            if !status.success() {
                bail!("services.{name}.build: {shown} failed ({status}); its output is above");
            }
        }
        let file = tokio::fs::File::open(&archive).await.context("the builder made no image")?;
        let mut bars = Bars::new(true);
        images
            .load(file, |line| bars.line(&line))
            .await
            .with_context(|| format!("the image {image} was not loaded"))?;
        for tag in &build.tags {
            images.tag(&image, tag).await?;
        }
        eprintln!(" Image {image}  Built");
    }
    Ok(())
}

fn program(builder: Builder) -> &'static str {
    match builder {
        Builder::Docker => "docker",
        Builder::Buildah => "buildah",
        Builder::Buildctl => "buildctl",
    }
}

/// The first builder that is there and works.
fn find() -> anyhow::Result<Builder> {
    let works = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if works("docker", &["info"]) {
        return Ok(Builder::Docker);
    }
    if works("buildah", &["--version"]) {
        return Ok(Builder::Buildah);
    }
    if works("buildctl", &["debug", "workers"]) {
        return Ok(Builder::Buildctl);
    }
    bail!(
        "no builder is there: install buildah (`apt-get install buildah`), start a Docker engine, or run buildkitd for buildctl"
    )
}

/// What is run for one image; the last one leaves `image.tar` in `folder`.
fn commands(builder: Builder, build: &Build, image: &str, folder: &std::path::Path) -> Vec<Command> {
    let context = build.context.clone().unwrap_or_else(|| ".".to_owned());
    let archive = folder.join("image.tar");
    let dockerfile = match &build.dockerfile_inline {
        Some(text) => {
            let path = folder.join("Dockerfile");
            // A failure to write shows as the builder's missing file.
            let _ = std::fs::write(&path, text);
            Some(path)
        }
        None => build.dockerfile.as_ref().map(|path| std::path::Path::new(&context).join(path)),
    };
    match builder {
        Builder::Docker | Builder::Buildah => {
            let mut command = Command::new(program(builder));
            command.args(if builder == Builder::Docker { ["build"] } else { ["bud"] });
            command.args(["-t", image]);
            if let Some(path) = dockerfile {
                command.arg("-f").arg(path);
            }
            flags(&mut command, build);
            command.arg(&context);
            let mut save = Command::new(program(builder));
            match builder {
                Builder::Docker => save.args(["save", "-o"]).arg(&archive).arg(image),
                _ => save.args(["push", "-q", image]).arg(format!("docker-archive:{}:{image}", archive.display())),
            };
            vec![command, save]
        }
        Builder::Buildctl => {
            let mut command = Command::new("buildctl");
            let dir = dockerfile.as_ref().and_then(|path| path.parent()).map(std::path::Path::to_owned);
            command.args(["build", "--frontend", "dockerfile.v0", "--local"]).arg(format!("context={context}"));
            command
                .arg("--local")
                .arg(format!("dockerfile={}", dir.unwrap_or_else(|| context.clone().into()).display()));
            if let Some(name) = dockerfile.as_ref().and_then(|path| path.file_name()) {
                command.arg("--opt").arg(format!("filename={}", name.to_string_lossy()));
            }
            for (name, value) in &build.args {
                command.arg("--opt").arg(format!("build-arg:{name}={}", value.clone().unwrap_or_default()));
            }
            if let Some(target) = &build.target {
                command.arg("--opt").arg(format!("target={target}"));
            }
            if build.no_cache == Some(true) {
                command.arg("--no-cache");
            }
            command.arg("--output").arg(format!("type=docker,name={image},dest={}", archive.display()));
            vec![command]
        }
    }
}

/// Flags that docker and buildah share.
fn flags(command: &mut Command, build: &Build) {
    let pairs = |command: &mut Command, flag: &str, map: &naru_compose::model::Texts| {
        for (name, value) in map {
            command.arg(flag).arg(match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
        }
    };
    pairs(command, "--build-arg", &build.args);
    pairs(command, "--label", &build.labels);
    pairs(command, "--build-context", &build.additional_contexts);
    for (flag, value) in [("--target", &build.target), ("--network", &build.network), ("--isolation", &build.isolation)]
    {
        if let Some(value) = value {
            command.arg(flag).arg(value);
        }
    }
    for (flag, list) in
        [("--cache-from", &build.cache_from), ("--cache-to", &build.cache_to), ("--platform", &build.platforms)]
    {
        for value in list {
            command.arg(flag).arg(value);
        }
    }
    if build.no_cache == Some(true) {
        command.arg("--no-cache");
    }
    if build.pull == Some(true) {
        command.arg("--pull");
    }
}

/// A folder that goes when it is no longer needed.
struct Scratch {
    path: std::path::PathBuf,
}

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("naru-build-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
