//! Finding this machine's server, and starting it when none runs.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use naru_client::{Client, HttpTransport};

use crate::cli::Place;

/// How long a server that was just started may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// The unit that `naru install` makes.
pub(crate) const UNIT: &str = "/etc/systemd/system/naru.service";

/// A client of the server that runs.
///
/// # Errors
/// When none runs, or the user may not speak to it.
pub(crate) fn connect(place: &Place) -> anyhow::Result<Client> {
    let socket = place.socket();
    match UnixStream::connect(&socket) {
        Ok(_) => Ok(client(&socket)),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            bail!(
                "may not use {}: {}",
                socket.display(),
                way_in(&std::fs::read_to_string("/etc/group").unwrap_or_default())
            )
        }
        Err(_) => bail!(
            "no server runs on this machine (nothing answers at {}): `naru up` starts one, or run `naru server`",
            socket.display()
        ),
    }
}

/// How a user who may not speak to the server gets to; `groups` is the text of `/etc/group`.
fn way_in(groups: &str) -> String {
    let Some(line) = groups.lines().find(|line| line.starts_with("naru:")) else {
        return "run as root; for use without root, `sudo naru install` makes the group naru".to_owned();
    };
    let user = std::env::var("USER").unwrap_or_default();
    let members = line.rsplit(':').next().unwrap_or_default();
    if !user.is_empty() && members.split(',').any(|member| member == user) {
        return format!("{user} is in the group naru, but not in this session yet: log in again, or run `newgrp naru`");
    }
    "run as root, or join the group with `sudo usermod -aG naru $USER` and log in again".to_owned()
}

/// A client of the server, which is started when none runs.
///
/// # Errors
/// When it cannot be started; says what its log says.
pub(crate) async fn connect_or_start(place: &Place) -> anyhow::Result<Client> {
    if let Ok(client) = connect(place)
        && wait_until_ready(place, &client, None).await?
    {
        return Ok(client);
    }
    if UnixStream::connect(place.socket()).is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied) {
        return connect(place);
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "no server runs on this machine, and starting one needs root: run `sudo naru up`, or `sudo naru install` once"
        );
    }
    let mut child = if crate::install::has_unit(place) {
        let status = Command::new("systemctl").args(["start", "naru"]).status().context("cannot run systemctl")?;
        if !status.success() {
            bail!("the unit naru.service does not start: see `journalctl -u naru`");
        }
        None
    } else {
        Some(spawn(place)?)
    };
    let deadline = Instant::now() + START_DEADLINE;
    while UnixStream::connect(place.socket()).is_err() {
        if Instant::now() > deadline {
            bail!("the server does not answer: see {}", log_of(place));
        }
        if let Some((child, from)) = &mut child
            && let Ok(Some(status)) = child.try_wait()
        {
            bail!("the server ended at once ({status}): {}", what_it_said(place, *from));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let client = client(&place.socket());
    match wait_until_ready(place, &client, Some(deadline)).await? {
        true => Ok(client),
        false => {
            bail!("the server ended while it started: {}", what_it_said(place, child.map_or(0, |(_, from)| from)))
        }
    }
}

fn client(socket: &Path) -> Client {
    Client::new(Arc::new(HttpTransport::unix(socket)))
}

/// Waits until the server says that it is ready; false when it has gone meanwhile (the socket of one that was just
/// killed takes one more connection).
async fn wait_until_ready(place: &Place, client: &Client, deadline: Option<Instant>) -> anyhow::Result<bool> {
    let deadline = deadline.unwrap_or_else(|| Instant::now() + START_DEADLINE);
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        let answer = client.send(http::Method::GET, "/readyz", None, naru_client::empty_body());
        let Ok(answer) = tokio::time::timeout(left, answer).await else {
            bail!(
                "the server takes connections and does not answer: is it stopped? See {}, or end it (its process is in {})",
                log_of(place),
                place.state_dir.join("store/lock").display()
            );
        };
        match answer {
            Ok(_) => return Ok(true),
            Err(_) if UnixStream::connect(place.socket()).is_err() => return Ok(false),
            Err(error) if Instant::now() > deadline => {
                return Err(
                    anyhow::Error::new(error).context(format!("the server is not ready: see {}", log_of(place)))
                );
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Starts `naru server`, or `naru agent` on a worker, as a process of its own, which outlives this one; also gives where its part of the log begins.
fn spawn(place: &Place) -> anyhow::Result<(Child, u64)> {
    std::fs::create_dir_all(&place.state_dir)
        .with_context(|| format!("cannot make the state folder {}", place.state_dir.display()))?;
    let path = log_path(place);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&path).with_context(|| {
        let folder = place.state_dir.display();
        format!("cannot write to the state folder {folder} (NARU_STATE_DIR names another): {}", path.display())
    })?;
    let from = log.metadata().map_or(0, |meta| meta.len());
    let (role, arguments) = match crate::cluster::Membership::exists(place) {
        true => ("agent", "NARU_AGENT_ARGS"),
        false => ("server", "NARU_SERVER_ARGS"),
    };
    let mut command = Command::new(std::env::current_exe().context("cannot find the program's own file")?);
    command
        .arg("--state-dir")
        .arg(&place.state_dir)
        .arg("--run-dir")
        .arg(&place.run_dir)
        .arg(role)
        .args(std::env::var(arguments).unwrap_or_default().split_whitespace())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C of the user's terminal is not meant for the server.
        .process_group(0);
    Ok((command.spawn().context("cannot start the server")?, from))
}

/// Where the log of a server started in passing goes.
pub(crate) fn log_path(place: &Place) -> std::path::PathBuf {
    place.state_dir.join("server.log")
}

/// Where to read what the server or worker of this machine says.
pub(crate) fn log_of(place: &Place) -> String {
    match crate::install::has_unit(place) {
        true => "`journalctl -u naru`".to_owned(),
        false => log_path(place).display().to_string(),
    }
}

/// What a server that ended said of it: its error, or the last lines of its log.
pub(crate) fn what_it_said(place: &Place, from: u64) -> String {
    if crate::install::has_unit(place) {
        return format!("{} says why", log_of(place));
    }
    let path = log_path(place);
    let bytes = std::fs::read(&path).unwrap_or_default();
    let own = bytes.get(usize::try_from(from).unwrap_or(0)..).unwrap_or_default();
    let text = String::from_utf8_lossy(own);
    let lines: Vec<&str> = text.lines().collect();
    match lines.iter().rev().find_map(|line| line.strip_prefix("naru: ")) {
        Some(error) => error.to_owned(),
        None if !lines.is_empty() => format!("\n{}", lines[lines.len().saturating_sub(5)..].join("\n")),
        None => match rustix::fs::statvfs(&place.state_dir) {
            Ok(stat) if stat.f_bavail * stat.f_frsize < 1 << 20 => {
                format!("the disk of {} is full: make room there", place.state_dir.display())
            }
            _ => format!("{} says nothing of it; `naru server` in the foreground shows more", path.display()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::way_in;

    #[test]
    fn the_way_in_depends_on_the_group() {
        assert!(way_in("root:x:0:\n").contains("naru install"));
        assert!(way_in("naru:x:999:somebody\n").contains("usermod"));
    }
}
