//! `naru backup verify`: every byte of a backup read and checked with its key, nothing changed anywhere.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use naru_backup::{About, BackupError, BackupKey, Contents, Opening, PipeReader};
use serde_json::json;

use super::{key, place};
use crate::cli::VerifyBackup;
use crate::output::size;

/// Runs the verb.
pub(super) async fn run(options: VerifyBackup) -> anyhow::Result<ExitCode> {
    let key = key::or_unsealed(options.key.key_file.as_deref())?;
    let (depot, name) = place::locate(&options.backup)?;
    let from = depot.get(&name).await?;
    let checked = tokio::task::spawn_blocking(move || check(from, &key)).await?;
    let (about, bytes, sealed) = checked.with_context(|| format!("{} cannot be restored", options.backup))?;
    if options.format == "json" {
        println!(
            "{}",
            json!({"backup": options.backup, "whole": true, "size": bytes, "sealed": sealed, "time": about.time.to_string(),
                "cluster": about.cluster, "revision": about.revision, "objects": about.objects, "version": about.naru})
        );
    } else {
        println!("{} is whole and unaltered", options.backup);
        println!(
            "  made     {} by naru {} on {}",
            about.time.strftime("%Y-%m-%d %H:%M:%S UTC"),
            about.naru,
            about.node
        );
        println!("  cluster  {}", about.cluster);
        println!("  holds    {} objects at revision {}, {}", about.objects, about.revision, size(bytes));
        println!("  sealed   {}", if sealed { "yes" } else { "no: whoever reads it has the cluster's keys" });
    }
    Ok(ExitCode::SUCCESS)
}

fn check(from: PipeReader, key: &BackupKey) -> Result<(About, u64, bool), BackupError> {
    let mut opening = Opening::begin(from, key)?;
    let header = opening.header().clone();
    Contents::read(&mut opening)?;
    let mut buffer = vec![0; 64 << 10];
    while opening.read(&mut buffer).map_err(BackupError::from_io)? > 0 {}
    Ok((header.about.clone(), opening.position(), header.is_sealed()))
}
