//! `build`: handed to the builder that is there, its image loaded into this machine's store.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use naru_client::Client;
use naru_compose::model::Build;

use super::builder::{Builder, Order, bases, dockerfile, has_stage, is_remote};
use super::images::image_of;
use super::project::Project;
use crate::image::Bars;
use crate::image::node::NodeImages;

/// Which images are built before something starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Every one that can be.
    All,
    /// Those that are not there.
    Missing,
    /// None; one that is missing is an error.
    None,
}

/// How `naru build` goes.
#[derive(Debug, Default)]
pub(crate) struct How {
    pub no_cache: bool,
    pub pull: bool,
    /// `KEY=VALUE`, above those of the file.
    pub arguments: Vec<String>,
    pub quiet: bool,
    /// Send the images to their registries.
    pub push: bool,
    /// Keys of an SSH agent, above those of the file.
    pub ssh: Vec<String>,
}

/// Builds what `which` says.
pub(crate) async fn missing(client: &Client, project: &Project, which: Which, quiet: bool) -> anyhow::Result<()> {
    let buildable = project.loaded.project.services.iter().filter(|(_, service)| service.build.is_some());
    let buildable: Vec<_> = buildable.collect();
    if buildable.is_empty() {
        return Ok(());
    }
    let images = NodeImages::find(client).await?;
    let mut wanted = Vec::new();
    for (name, service) in buildable {
        let image = image_of(&project.loaded.project, name);
        let there = images.has(&image).await?;
        match which {
            Which::None if !there => {
                bail!("services.{name}: the image {image} is not on this machine, and --no-build forbids to build it")
            }
            Which::None => {}
            _ if which == Which::All || service.pull_policy.as_deref() == Some("build") || !there => {
                wanted.push(name.clone());
            }
            _ => {}
        }
    }
    if wanted.is_empty() { Ok(()) } else { build(client, project, &wanted, &How { quiet, ..How::default() }).await }
}

/// `naru build`: of `services`, or all that can be built.
pub(crate) async fn build(client: &Client, project: &Project, services: &[String], how: &How) -> anyhow::Result<()> {
    let own = &project.loaded.project;
    let wanted = own.services.iter().filter(|(name, _)| services.is_empty() || services.contains(name));
    let mut wanted: Vec<(&String, &Build)> =
        wanted.filter_map(|(name, service)| Some((name, service.build.as_ref()?))).collect();
    if wanted.is_empty() {
        eprintln!("No services to build");
        return Ok(());
    }
    let images = NodeImages::find(client).await?;
    let builder = Builder::find()?;
    while !wanted.is_empty() {
        // Those first that start from none of the others; in a circle, as they stand.
        let open: Vec<String> = wanted.iter().map(|(name, _)| image_of(own, name)).collect();
        let next = wanted.iter().position(|(name, build)| {
            let needs = needed(project, build).unwrap_or_default();
            !needs.iter().any(|image| open.contains(image) && *image != image_of(own, name))
        });
        let (name, build) = wanted.remove(next.unwrap_or(0));
        one(&images, builder, project, name, build, how).await?;
    }
    Ok(())
}

/// Builds one image, and loads it.
async fn one(
    images: &NodeImages,
    builder: Builder,
    project: &Project,
    name: &str,
    build: &Build,
    how: &How,
) -> anyhow::Result<()> {
    let own = &project.loaded.project;
    let image = image_of(own, name);
    eprintln!(" Image {image}  Building with {}", builder.program());
    let build = settled(project, build, how);
    if build.ssh.iter().any(|(id, path)| id == "default" && path.is_none())
        && std::env::var_os("SSH_AUTH_SOCK").is_none()
    {
        bail!(
            "services.{name}.build.ssh: no SSH agent is there (SSH_AUTH_SOCK is not set): start one, or name a key as default=PATH"
        );
    }
    let folder = Scratch::new()?;
    let secrets = secrets(project, name, &build, &folder)?;
    let inline = match &build.dockerfile_inline {
        Some(text) => Some(folder.file("Dockerfile", text.as_bytes())?),
        None => None,
    };
    let context = build.context.as_deref().unwrap_or(".");
    if !is_remote(context) && !Path::new(context).is_dir() {
        bail!("services.{name}.build.context: the folder {context} is not there");
    }
    let text = text_of(&build).with_context(|| format!("services.{name}.build.dockerfile"))?;
    if let (Some(text), Some(target)) = (&text, &build.target)
        && !has_stage(text, target)
    {
        bail!("services.{name}.build.target: the Dockerfile has no stage {target:?}");
    }
    hand_over(images, builder, project, &build, &folder).await?;
    let archive = folder.path.join("image.tar");
    let platform = platform(own.services.get(name).and_then(|s| s.platform.as_deref()), &build.platforms)
        .with_context(|| format!("services.{name}.build.platforms"))?;
    let order = Order {
        build: &build,
        image: &image,
        platform: platform.as_deref(),
        secrets: &secrets,
        inline: inline.as_deref(),
        archive: &archive,
        quiet: how.quiet,
    };
    for words in builder.commands(&order) {
        let mut command = Command::new(builder.program());
        command.args(&words);
        run(command, how.quiet).with_context(|| format!("services.{name}.build"))?;
    }
    let file = tokio::fs::File::open(&archive).await.context("the builder made no image")?;
    let mut bars = Bars::new(true);
    let loaded = images.load(file, |line| bars.line(&line)).await;
    loaded.with_context(|| format!("the image {image} was not loaded"))?;
    for tag in &build.tags {
        images.tag(&image, tag).await?;
    }
    eprintln!(" Image {image}  Built");
    if how.push {
        for target in std::iter::once(&image).chain(&build.tags) {
            eprintln!(" Image {target}  Pushing");
            images.push(target, |line| bars.line(&line)).await.with_context(|| format!("cannot push {target}"))?;
            eprintln!(" Image {target}  Pushed");
        }
    }
    Ok(())
}

/// The build with what the command line adds, and other services' images under their own names.
fn settled(project: &Project, build: &Build, how: &How) -> Build {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.clone(), None),
    };
    let mut build = build.clone();
    build.no_cache = Some(how.no_cache || build.no_cache == Some(true));
    build.pull = Some(how.pull || build.pull == Some(true));
    build.args.extend(how.arguments.iter().map(pair));
    build.ssh.extend(how.ssh.iter().map(pair));
    // `ssh: [default]` names the agent's keys; there is no path.
    build.ssh.values_mut().for_each(|path| *path = path.take().filter(|path| !path.is_empty()));
    for context in build.additional_contexts.values_mut().flatten() {
        if let Some(service) = context.strip_prefix("service:") {
            *context = format!("docker-image://{}", image_of(&project.loaded.project, service));
        }
    }
    build
}

/// The Dockerfile's text, where it is on this machine.
fn text_of(build: &Build) -> anyhow::Result<Option<String>> {
    let context = build.context.as_deref().unwrap_or(".");
    if let Some(text) = &build.dockerfile_inline {
        return Ok(Some(text.clone()));
    }
    if is_remote(context) {
        return Ok(None);
    }
    let usual =
        || ["Dockerfile", "Containerfile"].map(|name| Path::new(context).join(name)).into_iter().find(|p| p.is_file());
    let path = dockerfile(build, None).or_else(usual).unwrap_or_else(|| Path::new(context).join("Dockerfile"));
    std::fs::read_to_string(&path).map(Some).with_context(|| format!("cannot read {}", path.display()))
}

/// The images that a build starts from.
fn needed(project: &Project, build: &Build) -> anyhow::Result<Vec<String>> {
    let build = settled(project, build, &How::default());
    let contexts = build.additional_contexts.values().flatten();
    let mut found: Vec<String> =
        contexts.filter_map(|context| Some(context.strip_prefix("docker-image://")?.to_owned())).collect();
    let text = text_of(&build)?.unwrap_or_default();
    let named = |image: &String| build.additional_contexts.contains_key(image);
    found.extend(bases(&text, &build.args).into_iter().filter(|image| !named(image)));
    Ok(found)
}

/// Gives the builder the images that it starts from and does not have, but this machine has: those that were loaded
/// without a registry, and those that were built with another builder.
async fn hand_over(
    images: &NodeImages,
    builder: Builder,
    project: &Project,
    build: &Build,
    folder: &Scratch,
) -> anyhow::Result<()> {
    for image in needed(project, build).unwrap_or_default() {
        if builder.has(&image) || !images.has(&image).await.unwrap_or(false) {
            continue;
        }
        let path = folder.path.join("base.tar");
        let mut file = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        images
            .save(std::slice::from_ref(&image), &mut file)
            .await
            .with_context(|| format!("cannot hand {image} to the builder"))?;
        run(builder.take(&path), true).with_context(|| format!("{} does not take {image}", builder.program()))?;
    }
    Ok(())
}

/// The files of a build's secrets, by identifier. Secrets from variables become files that go with the folder.
fn secrets(
    project: &Project,
    name: &str,
    build: &Build,
    folder: &Scratch,
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in &build.secrets {
        let source = entry.as_str().or(entry["source"].as_str()).unwrap_or_default();
        let id = entry["target"].as_str().unwrap_or(source);
        let Some(secret) = project.loaded.project.secrets.get(source) else {
            bail!("services.{name}.build.secrets: no such secret: {source:?}");
        };
        let path = match (&secret.file, &secret.data) {
            (Some(path), _) => PathBuf::from(path),
            (None, Some(data)) => {
                let bytes = BASE64.decode(data).with_context(|| format!("secrets.{source}"))?;
                folder.file(&format!("secret-{}", files.len()), &bytes)?
            }
            (None, None) => bail!("services.{name}.build.secrets: {source:?} is external: a build needs its content"),
        };
        files.insert(id.to_owned(), path);
    }
    Ok(files)
}

/// The one platform to build for: an image of several cannot be loaded from an archive.
fn platform(service: Option<&str>, wished: &[String]) -> anyhow::Result<Option<String>> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => other,
    };
    match (service, wished) {
        (Some(own), []) => Ok(Some(own.to_owned())),
        (Some(own), list) if list.iter().any(|platform| platform == own) => Ok(Some(own.to_owned())),
        (Some(own), list) => bail!("the service's platform {own} is not among {}", list.join(", ")),
        (None, []) => Ok(None),
        (None, [one]) => Ok(Some(one.clone())),
        (None, list) if list.iter().any(|platform| platform == machine) => Ok(Some(machine.to_owned())),
        (None, list) => bail!("this machine is {machine}; choose one of {} with `platform`", list.join(", ")),
    }
}

/// Runs a builder. What it says goes to standard error: standard output is for results.
fn run(mut command: Command, quiet: bool) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let has = |name: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
    };
    // Without a runtime that works here, buildah can still run commands in a changed root. Its usual one, crun, takes
    // no machine on which both versions of control groups hold controllers.
    let hybrid =
        std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").is_ok_and(|text| !text.trim().is_empty());
    let runs = has("runc") || (has("crun") && !hybrid);
    if program == "buildah" && std::env::var_os("BUILDAH_ISOLATION").is_none() && !runs {
        command.env("BUILDAH_ISOLATION", "chroot");
    }
    command.stdin(Stdio::null());
    if quiet {
        let output = command.output().with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            bail!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        return Ok(());
    }
    let status = command.stdout(std::io::stderr()).status().with_context(|| format!("cannot run {program}"))?;
    if status.success() { Ok(()) } else { bail!("{program} failed ({status}); its output is above") }
}

/// A folder that goes when it is no longer needed. Nobody else may look into it: it may hold secrets.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("naru-build-{:016x}", rand::random::<u64>()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    fn file(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        use std::io::Write;
        let path = self.path.join(name);
        let file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(bytes)).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::platform;

    #[test]
    fn one_platform_is_built() {
        let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(platform(None, &[]).expect("none"), None);
        assert_eq!(platform(None, &list(&["linux/s390x"])).expect("one").as_deref(), Some("linux/s390x"));
        let two = list(&["linux/s390x", "linux/riscv64"]);
        assert_eq!(platform(Some("linux/s390x"), &two).expect("the service's").as_deref(), Some("linux/s390x"));
        assert!(platform(Some("linux/mips"), &two).is_err());
        assert!(platform(None, &two).is_err());
    }
}
