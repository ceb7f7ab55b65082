//! `cp`: files in and out of containers, as tar streams.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use http::Method;
use naru_client::{Client, empty_body, full_body};

use super::container::{Container, running};
use super::project::Target;
use crate::image::node::escape;

/// `naru cp`.
pub(crate) async fn copy(
    client: &Client,
    target: &Target,
    index: u32,
    follow_link: bool,
    source: &str,
    to: &str,
) -> anyhow::Result<()> {
    match (place(source), place(to)) {
        (Some((service, path)), None) => {
            if follow_link {
                bail!("--follow-link: only links of this machine are followed, not those of a container");
            }
            let container = running(client, target, service, index).await?;
            out(client, target, &container, path, to).await
        }
        (None, Some((service, path))) => {
            let container = running(client, target, service, index).await?;
            r#in(client, target, &container, (source, follow_link), path).await
        }
        _ => bail!("one of the two must be SERVICE:PATH and the other a path here or -"),
    }
}

/// `SERVICE:PATH`; a path that begins with `.` or `/` is one of this machine, whatever it holds.
fn place(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['.', '/']) {
        return None;
    }
    text.split_once(':').filter(|(service, path)| !service.is_empty() && !path.is_empty())
}

fn archive(target: &Target, container: &Container, path: &str) -> String {
    let node = container.object["spec"]["nodeName"].as_str().unwrap_or_default();
    format!(
        "/api/v1/nodes/{node}/proxy/archive/{}/{}/{}?path={}",
        target.namespace,
        container.pod,
        container.name,
        escape(path)
    )
}

async fn out(client: &Client, target: &Target, container: &Container, path: &str, to: &str) -> anyhow::Result<()> {
    let url = archive(target, container, path);
    let bytes = client.send(Method::GET, &url, None, empty_body()).await;
    let bytes = bytes.with_context(|| format!("cannot read {path} of {}", container.title))?;
    if to == "-" {
        return std::io::stdout().write_all(&bytes).context("cannot write the stream");
    }
    let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| ".".to_owned());
    let wished = PathBuf::from(to);
    let (folder, renamed) = if wished.is_dir() {
        (wished, None)
    } else {
        let parent = wished.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.is_dir() {
            bail!("the folder {} is not there", parent.display());
        }
        (parent.to_owned(), wished.file_name().map(|n| n.to_string_lossy().into_owned()))
    };
    let mut command = Command::new("tar");
    command.args(["-x", "-f", "-", "--no-same-owner", "-C"]).arg(&folder);
    if let Some(renamed) = renamed {
        // The archive's first part is the file's own name: it becomes the wished one.
        command.arg(format!("--transform=s,^{}\\b,{renamed},", name.replace(['.', ','], ".")));
    }
    feed(command, &bytes)
}

async fn r#in(
    client: &Client,
    target: &Target,
    container: &Container,
    (source, follow_link): (&str, bool),
    path: &str,
) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    if source == "-" {
        std::io::stdin().read_to_end(&mut bytes).context("cannot read the stream")?;
    } else {
        let from = Path::new(source);
        // The folder is looked up, the last part is not: a link is copied as a link unless its target is wanted.
        let is_link = !follow_link && std::fs::symlink_metadata(from).is_ok_and(|meta| meta.is_symlink());
        let full = match (is_link, from.parent(), from.file_name()) {
            (true, Some(parent), Some(name)) if !source.ends_with('/') => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                std::fs::canonicalize(parent).map(|parent| parent.join(name))
            }
            _ => std::fs::canonicalize(from),
        };
        let full = full.with_context(|| format!("cannot read {source}"))?;
        let (parent, name) = match (full.parent(), full.file_name()) {
            (Some(parent), Some(name)) if !source.ends_with("/.") => (parent.to_owned(), name.to_owned()),
            _ => (full.clone(), ".".into()),
        };
        let output = Command::new("tar")
            .args(["-c", "-f", "-", "-C"])
            .arg(parent)
            .arg(name)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run tar")?;
        if !output.status.success() {
            bail!("cannot pack {source}");
        }
        bytes = output.stdout;
    }
    let name = if source == "-" {
        String::new()
    } else {
        Path::new(source).file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    let url = format!("{}&name={}", archive(target, container, path), escape(&name));
    let sent = client.send(Method::PUT, &url, Some("application/x-tar"), full_body(bytes)).await;
    sent.map(drop).with_context(|| format!("cannot write {path} of {}", container.title))
}

fn feed(mut command: Command, bytes: &[u8]) -> anyhow::Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn().context("cannot run tar")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(bytes).context("tar does not take the stream")?;
    }
    let status = child.wait().context("cannot wait for tar")?;
    if status.success() { Ok(()) } else { bail!("cannot unpack: tar ended with {status}") }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_place_is_a_service_and_a_path() {
        assert_eq!(place("web:/etc/hosts"), Some(("web", "/etc/hosts")));
        for here in ["./a:b", "/a:b", "plain", ":x", "web:"] {
            assert_eq!(place(here), None, "{here}");
        }
    }
}
