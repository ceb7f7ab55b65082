//! The commands of the builders that are known: docker, buildah, buildctl.
//!
//! Naru builds no images itself: a builder is a trade of its own, and whoever writes Dockerfiles has one. What a Compose
//! file asks for is put into the builder's own flags; one that lacks a flag refuses it in its own words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::bail;
use naru_compose::model::{Build, Texts};
use serde_json::Value;

/// The builders, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builder {
    Docker,
    Buildah,
    Buildctl,
}

/// One image to be built.
pub(crate) struct Order<'a> {
    pub build: &'a Build,
    /// The image's name.
    pub image: &'a str,
    /// The one platform it is for, if any is wished.
    pub platform: Option<&'a str>,
    /// Files of secrets, by identifier.
    pub secrets: &'a BTreeMap<String, PathBuf>,
    /// The Dockerfile when its text stands in the Compose file.
    pub inline: Option<&'a Path>,
    /// Where the image's archive is put.
    pub archive: &'a Path,
    pub quiet: bool,
}

impl Builder {
    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Buildah => "buildah",
            Self::Buildctl => "buildctl",
        }
    }

    /// The first builder that is there and works, or the one that `NARU_BUILDER` names.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> anyhow::Result<Self> {
        let works = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        match std::env::var("NARU_BUILDER").unwrap_or_default().as_str() {
            "docker" => return Ok(Self::Docker),
            "buildah" => return Ok(Self::Buildah),
            "buildctl" => return Ok(Self::Buildctl),
            "" => {}
            other => bail!("NARU_BUILDER is {other:?}: expected docker, buildah or buildctl"),
        }
        if works("docker", &["info", "--format", "{{.ServerVersion}}"]) {
            return Ok(Self::Docker);
        }
        if works("buildah", &["--version"]) {
            return Ok(Self::Buildah);
        }
        if works("buildctl", &["debug", "workers"]) {
            return Ok(Self::Buildctl);
        }
        bail!(
            "no builder is there: install buildah (`apt-get install buildah`), start a Docker engine, or run buildkitd \
             for buildctl"
        )
    }

    /// Whether the builder has an image of this name; true where it cannot be asked or given one.
    pub fn has(self, image: &str) -> bool {
        let mut command = Command::new(self.program());
        match self {
            Self::Docker => command.args(["image", "inspect", image]),
            Self::Buildah => command.args(["inspect", "--type", "image", image]),
            Self::Buildctl => return true,
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }

    /// What gives the builder an image from a docker archive.
    pub fn take(self, archive: &Path) -> Command {
        let mut command = Command::new(self.program());
        match self {
            Self::Docker => command.args(["load", "-q", "-i"]).arg(archive),
            _ => command.args(["pull", "-q"]).arg(format!("docker-archive:{}", archive.display())),
        };
        command
    }

    /// What is run for one image, in order; the last one leaves the archive.
    pub fn commands(self, order: &Order<'_>) -> Vec<Vec<String>> {
        match self {
            Self::Buildctl => vec![buildctl(order)],
            _ => vec![build(self, order), save(self, order)],
        }
    }
}

/// Whether a context is fetched by the builder itself.
pub(crate) fn is_remote(context: &str) -> bool {
    context.contains("://") || context.starts_with("git@") || context.starts_with("github.com/")
}

/// The Dockerfile's path, where it is not the usual one.
pub(crate) fn dockerfile(build: &Build, inline: Option<&Path>) -> Option<PathBuf> {
    let context = build.context.as_deref().unwrap_or(".");
    match (inline, &build.dockerfile) {
        (Some(path), _) => Some(path.to_owned()),
        (None, Some(path)) if is_remote(context) => Some(path.into()),
        (None, Some(path)) => Some(Path::new(context).join(path)),
        (None, None) => None,
    }
}

fn build(builder: Builder, order: &Order<'_>) -> Vec<String> {
    let mut words = vec![if builder == Builder::Docker { "build" } else { "bud" }.to_owned()];
    words.extend(["-t".to_owned(), order.image.to_owned()]);
    if let Some(path) = dockerfile(order.build, order.inline) {
        words.extend(["-f".to_owned(), path.display().to_string()]);
    }
    let build = order.build;
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    for (flag, map) in
        [("--build-arg", &build.args), ("--label", &build.labels), ("--build-context", &build.additional_contexts)]
    {
        pairs(map).for_each(|pair| add(flag, pair));
    }
    for (flag, value) in [("--target", &build.target), ("--network", &build.network), ("--isolation", &build.isolation)]
    {
        value.iter().for_each(|value| add(flag, value.clone()));
    }
    for (flag, list) in
        [("--cache-from", &build.cache_from), ("--cache-to", &build.cache_to), ("--allow", &build.entitlements)]
    {
        list.iter().for_each(|value| add(flag, value.clone()));
    }
    order.platform.iter().for_each(|platform| add("--platform", (*platform).to_owned()));
    order.secrets.iter().for_each(|(id, path)| add("--secret", format!("id={id},src={}", path.display())));
    pairs(&build.ssh).for_each(|key| add("--ssh", key));
    for (name, addresses) in &build.extra_hosts {
        texts(addresses).into_iter().for_each(|address| add("--add-host", format!("{name}:{address}")));
    }
    build.shm_size.iter().for_each(|size| add("--shm-size", size.0.to_string()));
    build.ulimits.iter().for_each(|(name, value)| add("--ulimit", format!("{name}={}", ulimit(value))));
    build.provenance.iter().for_each(|value| add("--provenance", value.clone()));
    build.sbom.iter().for_each(|value| add("--sbom", value.clone()));
    for (flag, wanted) in
        [("--no-cache", build.no_cache == Some(true)), ("--pull", build.pull == Some(true)), ("-q", order.quiet)]
    {
        if wanted {
            words.push(flag.to_owned());
        }
    }
    if build.privileged == Some(true) {
        words.extend(match builder {
            Builder::Docker => ["--allow".to_owned(), "security.insecure".to_owned()],
            _ => ["--cap-add".to_owned(), "ALL".to_owned()],
        });
    }
    words.push(build.context.clone().unwrap_or_else(|| ".".to_owned()));
    words
}

fn save(builder: Builder, order: &Order<'_>) -> Vec<String> {
    let archive = order.archive.display();
    match builder {
        Builder::Docker => ["save", "-o", &archive.to_string(), order.image].map(str::to_owned).to_vec(),
        _ => vec![
            "push".to_owned(),
            "-q".to_owned(),
            order.image.to_owned(),
            format!("docker-archive:{archive}:{}", order.image),
        ],
    }
}

fn buildctl(order: &Order<'_>) -> Vec<String> {
    let build = order.build;
    let context = build.context.clone().unwrap_or_else(|| ".".to_owned());
    let mut words: Vec<String> = ["build", "--frontend", "dockerfile.v0"].map(str::to_owned).to_vec();
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    let file = dockerfile(build, order.inline);
    if is_remote(&context) {
        add("--opt", format!("context={context}"));
        file.iter().for_each(|path| add("--opt", format!("filename={}", path.display())));
    } else {
        let folder = file.as_ref().and_then(|path| path.parent()).map_or(context.clone(), |p| p.display().to_string());
        add("--local", format!("context={context}"));
        add("--local", format!("dockerfile={folder}"));
        let name = file.as_ref().and_then(|path| path.file_name());
        name.iter().for_each(|name| add("--opt", format!("filename={}", name.to_string_lossy())));
    }
    for (name, value) in &build.args {
        let value = value.clone().or_else(|| std::env::var(name).ok()).unwrap_or_default();
        add("--opt", format!("build-arg:{name}={value}"));
    }
    for (name, value) in &build.labels {
        add("--opt", format!("label:{name}={}", value.clone().unwrap_or_default()));
    }
    for (name, value) in &build.additional_contexts {
        add("--opt", format!("context:{name}={}", value.clone().unwrap_or_default()));
    }
    build.target.iter().for_each(|target| add("--opt", format!("target={target}")));
    order.platform.iter().for_each(|platform| add("--opt", format!("platform={platform}")));
    order.secrets.iter().for_each(|(id, path)| add("--secret", format!("id={id},src={}", path.display())));
    pairs(&build.ssh).for_each(|key| add("--ssh", key));
    build.cache_from.iter().for_each(|cache| add("--import-cache", cache.clone()));
    build.cache_to.iter().for_each(|cache| add("--export-cache", cache.clone()));
    build.entitlements.iter().for_each(|right| add("--allow", right.clone()));
    add("--output", format!("type=docker,name={},dest={}", order.image, order.archive.display()));
    if build.no_cache == Some(true) {
        words.push("--no-cache".to_owned());
    }
    words
}

fn pairs(map: &Texts) -> impl Iterator<Item = String> {
    map.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    })
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

/// `1024`, or `{soft: 1024, hard: 2048}`.
fn ulimit(value: &Value) -> String {
    match (value.get("soft"), value.get("hard")) {
        (Some(soft), Some(hard)) => format!("{soft}:{hard}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        _ => value.to_string(),
    }
}

/// Whether a Dockerfile has a stage: by name, or counted from 0. Some builders build the last one when it has not.
pub(crate) fn has_stage(text: &str, wanted: &str) -> bool {
    let joined = text.replace("\\\n", " ");
    let froms = joined
        .lines()
        .map(str::trim)
        .filter(|line| line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("from")));
    froms.enumerate().any(|(at, line)| {
        let words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        let named = matches!(words[..], [_, _, r#as, name] if r#as.eq_ignore_ascii_case("as") && name.eq_ignore_ascii_case(wanted));
        named || wanted.parse() == Ok(at)
    })
}

/// The images that a Dockerfile starts from or copies from: what a builder must have or fetch.
pub(crate) fn bases(text: &str, arguments: &Texts) -> Vec<String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut stages: Vec<String> = vec!["scratch".to_owned()];
    let mut found: Vec<String> = Vec::new();
    let joined = text.replace("\\\n", " ");
    for line in joined.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let mut named = Vec::new();
        match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "ARG" => {
                for word in words {
                    let (name, default) = word.split_once('=').unwrap_or((word, ""));
                    let value = arguments.get(name).cloned().flatten();
                    values.insert(name.to_owned(), value.unwrap_or_else(|| default.trim_matches('"').to_owned()));
                }
            }
            "FROM" => {
                let words: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
                named.extend(words.first().map(|image| filled(image, &values)));
                if let [_, r#as, stage, ..] = words[..]
                    && r#as.eq_ignore_ascii_case("as")
                {
                    stages.push(stage.to_owned());
                }
            }
            "COPY" | "RUN" => {
                let flags = words.take_while(|word| word.starts_with("--"));
                let from = flags.filter_map(|flag| flag.split_once("from=")?.1.split(',').next());
                named.extend(from.map(|image| filled(image, &values)));
            }
            _ => {}
        }
        // A number is a stage counted from the first.
        named.retain(|name| !name.is_empty() && name.parse::<u32>().is_err() && !found.contains(name));
        found.extend(named);
    }
    found.retain(|name| !stages.contains(name));
    found
}

/// A name with its `$ARG` and `${ARG}` filled in.
fn filled(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    // The longest first: `$NAME` also begins `$NAME_OF`.
    let mut names: Vec<(&String, &String)> = values.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in names {
        text = text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dockerfile_starts_from() {
        let text = "ARG BASE=alpine\nARG TAG\n# FROM nothing\nFROM --platform=linux/amd64 ${BASE}:$TAG AS made\n\
                    FROM scratch\nFROM made as two\nCOPY --from=made /a /a\nCOPY --from=0 /a /b\n\
                    COPY \\\n --from=tools:1 /c /c\nRUN --mount=type=bind,from=more:2,target=/x true\n";
        let arguments: Texts = [("TAG".to_owned(), Some("3".to_owned()))].into();
        assert_eq!(bases(text, &arguments), ["alpine:3", "tools:1", "more:2"]);
    }

    #[test]
    fn stages_are_found_by_name_and_number() {
        let text = "FROM a\nFROM --platform=x b AS Second\n";
        let found = ["0", "1", "second", "2", "nosuch"].map(|stage| has_stage(text, stage));
        assert_eq!(found, [true, true, true, false, false]);
    }

    fn order(build: &Build, secrets: &BTreeMap<String, PathBuf>) -> Vec<Vec<String>> {
        let order = Order {
            build,
            image: "shop-web",
            platform: Some("linux/arm64"),
            secrets,
            inline: None,
            archive: Path::new("/x/image.tar"),
            quiet: false,
        };
        [Builder::Docker, Builder::Buildah, Builder::Buildctl].iter().flat_map(|b| b.commands(&order)).collect()
    }

    #[test]
    fn every_wish_becomes_a_flag() {
        let build: Build = serde_json::from_value(serde_json::json!({
            "context": "/ctx", "dockerfile": "Own", "args": {"A": "1", "B": null}, "target": "t", "labels": {"l": "v"},
            "additional_contexts": {"more": "/more"}, "cache_from": ["c"], "no_cache": true, "pull": true,
            "extra_hosts": {"h": ["10.0.0.1"]}, "ulimits": {"nofile": {"soft": 1, "hard": 2}}, "shm_size": "65536",
        }))
        .expect("a build");
        let secrets: BTreeMap<String, PathBuf> = [("key".to_owned(), "/s/key".into())].into();
        let commands = order(&build, &secrets);
        for (at, program) in [(0, "docker"), (2, "buildah")] {
            let text = commands[at].join(" ");
            for part in [
                "-t shop-web",
                "-f /ctx/Own",
                "--build-arg A=1",
                "--build-arg B ",
                "--target t",
                "--label l=v",
                "--build-context more=/more",
                "--cache-from c",
                "--no-cache",
                "--pull",
                "--platform linux/arm64",
                "--secret id=key,src=/s/key",
                "--add-host h:10.0.0.1",
                "--ulimit nofile=1:2",
                "--shm-size 65536",
            ] {
                assert!(text.contains(part), "{program}: {part} in {text}");
            }
            assert!(text.ends_with(" /ctx"), "{program}: {text}");
        }
        let text = commands[4].join(" ");
        for part in ["dockerfile=/ctx", "filename=Own", "build-arg:A=1", "context:more=/more", "platform=linux/arm64"] {
            assert!(text.contains(part), "buildctl: {part} in {text}");
        }
    }

    #[test]
    fn a_remote_context_keeps_its_dockerfile() {
        let build: Build =
            serde_json::from_value(serde_json::json!({"context": "https://x/y.git", "dockerfile": "d/Own"}))
                .expect("a build");
        let commands = order(&build, &BTreeMap::new());
        assert!(commands[0].join(" ").contains("-f d/Own"), "{:?}", commands[0]);
        assert!(commands[4].join(" ").contains("context=https://x/y.git"), "{:?}", commands[4]);
    }
}
