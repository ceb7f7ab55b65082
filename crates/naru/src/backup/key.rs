//! Where the key of backups comes from: a file or a variable, never an argument, which every process could read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use naru_backup::BackupKey;

use crate::output;

const VARIABLE: &str = "NARU_BACKUP_KEY";

/// `naru backup key`.
pub(super) fn print() -> anyhow::Result<ExitCode> {
    let key = BackupKey::generate()?;
    println!("{}", key.text().context("a new key has no text")?);
    Ok(ExitCode::SUCCESS)
}

/// The key that was given, if any was.
///
/// # Errors
/// When it cannot be read, or is none.
fn given(file: Option<&Path>) -> anyhow::Result<Option<BackupKey>> {
    let Some(path) = file else {
        return match std::env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => {
                BackupKey::parse(&text).map(Some).with_context(|| format!("{VARIABLE} holds no key"))
            }
            _ => Ok(None),
        };
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the key in {}", path.display()))?;
    let open = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0);
    if open {
        output::warn(format!("others can read the key in {}: `chmod 600` it", path.display()));
    }
    BackupKey::parse(&text).map(Some).with_context(|| format!("{} holds no key", path.display()))
}

/// The key that was given, or none: then only unsealed backups can be read.
///
/// # Errors
/// When it cannot be read, or is none.
pub(crate) fn or_unsealed(file: Option<&Path>) -> anyhow::Result<BackupKey> {
    Ok(given(file)?.unwrap_or(BackupKey::Unsealed))
}

/// The key that new backups are sealed with; `flag` and `bare` are the words that name a file, and that ask for none.
///
/// # Errors
/// When none was given and that was not meant, or it is none.
pub(crate) fn needed(file: Option<&Path>, unsealed: bool, flag: &str, bare: &str) -> anyhow::Result<BackupKey> {
    if unsealed {
        return Ok(BackupKey::Unsealed);
    }
    match given(file)? {
        Some(key) => Ok(key),
        None => bail!(
            "a backup holds the cluster's keys and is sealed with one: make it with `naru backup key`, keep it in a file, \
             and give {flag} FILE or {VARIABLE}. {bare} makes a backup that anyone can read"
        ),
    }
}
