//! `logs`, and the logs of a foreground `up`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use http_body_util::BodyExt;
use naru_client::{Body, Client, empty_body};
use tokio::sync::mpsc;

use super::container::{Container, State, containers};
use super::progress::World;
use super::project::Target;
use crate::output::painted;

/// How logs are shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub follow: bool,
    /// Lines from the end; all unless given.
    pub tail: Option<u64>,
    pub since: Option<String>,
    pub timestamps: bool,
    pub colour: bool,
    pub prefix: bool,
    /// Only the replica of this number.
    pub index: Option<u32>,
}

impl Options {
    fn shows(&self, container: &Container) -> bool {
        self.index.is_none_or(|index| container.number == index)
    }
}

/// Reads `--tail`.
pub(crate) fn tail(text: &str) -> anyhow::Result<Option<u64>> {
    match text {
        "all" | "" => Ok(None),
        number => Ok(Some(number.parse().with_context(|| format!("--tail expects a number or all, not {number:?}"))?)),
    }
}

/// `naru logs`.
pub(crate) async fn logs(
    client: &Client,
    target: &Target,
    services: &[String],
    options: &Options,
) -> anyhow::Result<()> {
    let mut found = containers(client, target, services).await?;
    found.retain(|container| options.shows(container));
    if options.follow {
        let mut world = World::follow(client, &target.name, &target.namespace);
        let services = services.iter().cloned().collect();
        let mut printer = Printer::new(options);
        tokio::select! {
            result = follow(client, &mut world, &target.namespace, &services, options, &mut printer, |_| false) => result?,
            _ = tokio::signal::ctrl_c() => {}
        }
        return Ok(());
    }
    let mut printer = Printer::new(options);
    let width = found.iter().map(|c| short(c).chars().count()).max().unwrap_or(0);
    printer.widen(width);
    for container in &found {
        let Some(body) = open(client, &target.namespace, container, options).await? else { continue };
        let mut lines = Lines::new(body);
        while let Some(line) = lines.next().await? {
            printer.print(container, &line);
        }
    }
    Ok(())
}

/// Follows the logs of every container of `services` (all unless given), also of those that come later, until `over`
/// says so of the containers, or all of them have gone.
pub(crate) async fn follow(
    client: &Client,
    world: &mut World,
    namespace: &str,
    services: &BTreeSet<String>,
    options: &Options,
    printer: &mut Printer,
    over: impl Fn(&[Container]) -> bool,
) -> anyhow::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Container, Option<Vec<u8>>)>(256);
    let mut open_now: BTreeSet<(String, String, i64)> = BTreeSet::new();
    // Logs that came to their end.
    let mut done = 0;
    world.synced().await?;
    loop {
        let all = world.current();
        for container in all.iter().filter(|c| services.is_empty() || services.contains(&c.service)) {
            // Each start of a container is a log of its own to follow.
            let key = (container.pod.clone(), container.name.clone(), container.restarts);
            let has_log = !matches!(container.state, State::Waiting(..) | State::Removing);
            if has_log && options.shows(container) && open_now.insert(key.clone()) {
                printer.widen(short(container).chars().count());
                let mut options = options.clone();
                if container.restarts > 0 && open_now.iter().any(|k| k.0 == key.0 && k.1 == key.1 && k.2 < key.2) {
                    options.tail = None;
                    options.since = None;
                }
                tokio::spawn(pump(client.clone(), namespace.to_owned(), container.clone(), options, sender.clone()));
            }
        }
        if over(&all) {
            // What was written before the end is still on its way: the logs of what has ended come to their end.
            let ended = |c: &Container| all.iter().any(|now| now.attempt == c.attempt && !now.is_running());
            let mut open_logs =
                all.iter().filter(|c| !c.is_running() && !matches!(c.state, State::Waiting(..))).count();
            open_logs = open_logs.saturating_sub(done);
            let patience = std::time::Instant::now() + Duration::from_secs(2);
            while open_logs > 0 && std::time::Instant::now() < patience {
                match tokio::time::timeout(Duration::from_millis(500), receiver.recv()).await {
                    Ok(Some((container, Some(line)))) => printer.print(&container, &line),
                    Ok(Some((container, None))) if ended(&container) => open_logs -= 1,
                    Ok(Some(_)) => {}
                    _ => break,
                }
            }
            return Ok(());
        }
        tokio::select! {
            Some((container, line)) = receiver.recv() => {
                let mut next = Some((container, line));
                while let Some((container, line)) = next {
                    match line {
                        Some(line) => printer.print(&container, &line),
                        None => done += 1,
                    }
                    next = receiver.try_recv().ok();
                }
            }
            looked = world.tick(Duration::from_secs(60)) => looked?,
        }
    }
}

async fn pump(
    client: Client,
    namespace: String,
    container: Container,
    options: Options,
    sender: mpsc::Sender<(Container, Option<Vec<u8>>)>,
) {
    let mut options = Options { follow: true, ..options };
    loop {
        match open(&client, &namespace, &container, &options).await {
            Ok(Some(body)) => {
                let mut lines = Lines::new(body);
                let ended = loop {
                    match lines.next().await {
                        Ok(Some(line)) => {
                            if sender.send((container.clone(), Some(line))).await.is_err() {
                                return;
                            }
                        }
                        Ok(None) => break true,
                        Err(_) => break false,
                    }
                };
                if ended {
                    break;
                }
                // The server went away, and another may come: the log is taken up where it broke.
                options.tail = None;
                options.since = Some(jiff::Timestamp::now().to_string());
            }
            Ok(None) => break,
            Err(error) if refused(&error) => break,
            Err(_) => {}
        }
        if sender.is_closed() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let _ = sender.send((container, None)).await;
}

/// Whether the server answered, if only to refuse.
fn refused(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<naru_client::ClientError>()).any(|e| e.code().is_some())
}

async fn open(
    client: &Client,
    namespace: &str,
    container: &Container,
    options: &Options,
) -> anyhow::Result<Option<Body>> {
    let mut path = format!("/api/v1/namespaces/{namespace}/pods/{}/log?container={}", container.pod, container.name);
    if options.follow {
        path.push_str("&follow=true");
    } else {
        // What explains a crash stands in the log of the start before.
        path.push_str("&restarts=true");
    }
    if options.timestamps {
        path.push_str("&timestamps=true");
    }
    if let Some(lines) = options.tail {
        path.push_str(&format!("&tailLines={lines}"));
    }
    if let Some(since) = &options.since {
        path.push_str(&since_query(since)?);
    }
    match client.open(Method::GET, &path, None, empty_body()).await {
        Ok(response) => Ok(Some(response.into_body())),
        // A container that was never started has no log.
        Err(error) if matches!(error.code(), Some(400 | 404)) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read the log of {}", container.title)),
    }
}

fn since_query(since: &str) -> anyhow::Result<String> {
    Ok(format!("&sinceTime={}", since_time(since)?))
}

/// Reads `--since`: a span back from now, seconds since 1970, or a time.
pub(crate) fn since_time(since: &str) -> anyhow::Result<jiff::Timestamp> {
    if let Ok(second) = since.parse::<i64>() {
        return jiff::Timestamp::from_second(second).with_context(|| format!("--since {since}"));
    }
    if let Some(span) = naru_compose::units::Span::parse(since) {
        let second = jiff::Timestamp::now().as_second().saturating_sub(span.seconds());
        return jiff::Timestamp::from_second(second).with_context(|| format!("--since {since}"));
    }
    match since.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(at),
        Err(_) => {
            bail!("--since expects a time span such as 10m or a time such as 2026-01-31T12:00:00Z, not {since:?}")
        }
    }
}

/// The last lines of a container's log, for messages; empty when there are none.
pub(crate) async fn last_lines(client: &Client, namespace: &str, all: &[Container], title: &str) -> String {
    let Some(container) = all.iter().find(|c| c.title == title) else { return String::new() };
    let options = Options { tail: Some(10), ..Options::default() };
    let Ok(Some(body)) = open(client, namespace, container, &options).await else { return String::new() };
    let Ok(bytes) = body.collect().await else { return String::new() };
    let text = String::from_utf8_lossy(&bytes.to_bytes()).trim_end().to_owned();
    if text.is_empty() { String::new() } else { format!("; its last lines:\n    {}", text.replace('\n', "\n    ")) }
}

/// `web-1`.
fn short(container: &Container) -> String {
    format!("{}-{}", container.service, container.number)
}

/// Prints lines with the names of their containers.
pub(crate) struct Printer {
    colour: bool,
    prefix: bool,
    width: usize,
    order: BTreeMap<String, usize>,
}

impl Printer {
    pub fn new(options: &Options) -> Self {
        Self { colour: options.colour, prefix: options.prefix, width: 0, order: BTreeMap::new() }
    }

    /// Makes room for a longer name.
    pub fn widen(&mut self, width: usize) {
        self.width = self.width.max(width);
    }

    pub fn print(&mut self, container: &Container, line: &[u8]) {
        let mut out = Vec::with_capacity(line.len() + 32);
        if self.prefix {
            let next = self.order.len();
            let index = *self.order.entry(container.service.clone()).or_insert(next);
            let name = format!("{:width$}  |", short(container), width = self.width);
            out.extend_from_slice(painted(&name, index, self.colour).as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line);
        out.push(b'\n');
        // A reader that went away (`| head`) ends this program as it ends any other.
        if std::io::stdout().write_all(&out).and_then(|()| std::io::stdout().flush()).is_err() {
            std::process::exit(0);
        }
    }
}

/// A body cut into lines.
struct Lines {
    body: Body,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines {
    fn new(body: Body) -> Self {
        Self { body, buffer: Vec::new(), ended: false }
    }

    async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(if self.buffer.is_empty() { None } else { Some(std::mem::take(&mut self.buffer)) });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => bail!("the log stream broke: {error}"),
                None => self.ended = true,
            }
        }
    }
}
