//! `naru backup create`: the server makes it of the running cluster, and it is sealed here, where its key is.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::Method;
use jiff::Timestamp;
use naru_backup::{About, BackupError, BackupKey, BackupName, Depot, Opening, PipeReader, PipeWriter, Sealing};
use serde_json::json;

use super::{WITHOUT, key, place};
use crate::cli::{CreateBackup, Place};
use crate::output::{COLOUR_ERR, LIVE, size};
use crate::{connect, output};

/// Between two signs of progress.
const TELL: Duration = Duration::from_millis(200);

/// Runs the verb.
pub(super) async fn run(place: &Place, options: CreateBackup) -> anyhow::Result<ExitCode> {
    let file = options.key.key_file.as_deref();
    let key = key::needed(file, options.unsealed, "--key-file", "--unsealed")?;
    let client = connect::connect(place)?;
    let about = client.json(Method::GET, "/naru/v1/cluster", "application/json", None).await;
    let about = about.context("the server does not say whose backup it would be")?;
    let cluster = about["clusterId"].as_str().unwrap_or_default().to_owned();
    let (depot, name) = target(&options, &cluster)?;
    let answer = client.open(Method::GET, "/naru/v1/backup", None, naru_client::empty_body()).await;
    let plain = place::body(answer.context("the server makes no backup")?.into_body());
    let mut bar = Progress::new();
    let seal = key.clone();
    let made = place::put(&depot, &name, 0, move |into| reseal(plain, into, &seal), |bytes| bar.tell(bytes)).await;
    bar.end();
    let (about, bytes) = made.context("no backup was made")?;
    let sealed = key != BackupKey::Unsealed;
    let path = match &depot {
        Depot::Folder(folder) => folder.path().join(&name).display().to_string(),
        bucket @ Depot::Bucket(_) => format!("{bucket}/{name}"),
    };
    let path = path.strip_prefix("./").unwrap_or(&path);
    if options.format == "json" {
        println!(
            "{}",
            json!({"backup": path, "size": bytes, "sealed": sealed, "time": about.time.to_string(),
                "cluster": about.cluster, "revision": about.revision, "objects": about.objects, "version": about.naru,
                "volumes": false})
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{path}");
    let how = if sealed { "sealed" } else { "NOT sealed: whoever reads it has the cluster's keys" };
    eprintln!("{} objects at revision {}, {}, {how}", about.objects, about.revision, size(bytes));
    eprintln!("{WITHOUT}");
    Ok(ExitCode::SUCCESS)
}

fn target(options: &CreateBackup, cluster: &str) -> anyhow::Result<(Depot, String)> {
    let own = BackupName::new(cluster, Timestamp::now(), false).to_string();
    let Some(output) = &options.output else {
        return Ok((Depot::parse(options.to.as_deref().unwrap_or("."))?, own));
    };
    if output.as_os_str() == "-" {
        bail!("a backup is written whole or not at all, which standard output cannot promise: name a file with -o");
    }
    if output.is_dir() {
        return Ok((Depot::parse(&output.to_string_lossy())?, own));
    }
    let name = output.file_name().with_context(|| format!("{} names no file", output.display()))?;
    let folder = output.parent().map(|folder| folder.to_string_lossy().into_owned()).filter(|f| !f.is_empty());
    if let Some(folder) = folder.as_deref().filter(|folder| !std::path::Path::new(folder).is_dir()) {
        bail!("the folder {folder} is not there");
    }
    Ok((Depot::parse(folder.as_deref().unwrap_or("."))?, name.to_string_lossy().into_owned()))
}

/// Reads the server's backup, which is checked by that, and writes it sealed.
fn reseal(plain: PipeReader, into: PipeWriter, key: &BackupKey) -> anyhow::Result<About> {
    let mut opening = Opening::begin(plain, &BackupKey::Unsealed).context("the server's answer is no backup")?;
    let about = opening.header().about.clone();
    let mut sealing = Sealing::begin(into, about.clone(), key)?;
    io::copy(&mut opening, &mut sealing).map_err(BackupError::from_io)?;
    sealing.finish()?;
    Ok(about)
}

/// How far it is, drawn over on a terminal.
pub(super) struct Progress {
    shown: bool,
    last: Instant,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { shown: false, last: Instant::now() }
    }

    pub(super) fn tell(&mut self, bytes: u64) {
        if self.last.elapsed() < TELL || !*LIVE || !io::stderr().is_terminal() {
            return;
        }
        (self.shown, self.last) = (true, Instant::now());
        let (dim, plain) = if *COLOUR_ERR { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let _ = write!(io::stderr(), "\r\x1b[K{dim}{}{plain}", output::size(bytes));
    }

    pub(super) fn end(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
