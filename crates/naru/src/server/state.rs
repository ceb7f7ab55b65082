//! Where the cluster's state is: in the state folder, or in etcd.
//!
//! A cluster moves to etcd by one start with `--etcd-servers`: what the folder holds is copied, with revisions that go on
//! above those that were issued, and only then does a note say that the state is in etcd. From then on the note is
//! followed, whatever the command line leaves out, and the folder is never opened again by mistake.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use naru_apiserver::StoreCodec;
use naru_store::{EtcdConfig, Held, ImportError, OpenError, Options, Store};

use crate::cli::{EtcdOptions, Place};

/// The note that the state is in etcd, in the state folder.
pub(crate) const NOTE: &str = "etcd.json";
/// The folder of a store of our own.
const FOLDER: &str = "store";
/// What became of it when the state moved: kept, as nobody can be sure before etcd has proved itself.
const MOVED: &str = "store.moved-to-etcd";
const PREFIX: &str = "/naru";

/// The cluster's state, and what keeps the machine's state folder for this server alone where that is not the store itself.
pub(super) struct State {
    pub(super) store: Store,
    _held: Option<Held>,
}

/// Opens the cluster's state, and moves it to etcd where the options ask for that first.
///
/// # Errors
/// When it cannot be opened, or the options would lead to another state than the cluster has.
pub(super) async fn open(place: &Place, options: &EtcdOptions, codec: Arc<StoreCodec>) -> anyhow::Result<State> {
    let folder = place.state_dir.join(FOLDER);
    let Some(note) = settle(read(&place.state_dir)?, options)? else {
        let store = Store::open(Options::embedded(folder, codec)).await;
        return Ok(State { store: store.context("the cluster's state cannot be opened")?, _held: None });
    };
    let config = config(&note)?;
    if is_used(&folder) {
        copy(&place.state_dir, &folder, &config, codec.clone()).await?;
        // From here on the state is in etcd, whatever happens.
        write(&place.state_dir, &note)?;
        fs::rename(&folder, place.state_dir.join(MOVED)).context("the moved state cannot be put aside")?;
        tracing::info!(
            kept = MOVED,
            "the cluster's state is in etcd now; what was in the state folder is kept beside it"
        );
    }
    let held = Store::hold(&folder).context("the state folder cannot be used")?;
    let store = Store::open(Options::etcd(config, codec))
        .await
        .with_context(|| format!("the cluster's state in etcd ({}) cannot be opened", note.servers.join(", ")))?;
    write(&place.state_dir, &note)?;
    Ok(State { store, _held: Some(held) })
}

/// What holds: what is said now over what was noted. Pure.
fn settle(noted: Option<EtcdOptions>, options: &EtcdOptions) -> anyhow::Result<Option<EtcdOptions>> {
    if options.servers.is_empty() {
        return Ok(noted);
    }
    let noted = noted.map(|noted| prefix(&noted).to_owned());
    let settled = EtcdOptions { prefix: options.prefix.clone().or(noted.clone()), ..options.clone() };
    if let Some(noted) = noted
        && noted.trim_end_matches('/') != prefix(&settled).trim_end_matches('/')
    {
        bail!(
            "this cluster's state is in etcd under {noted}, not {}: leave --etcd-prefix out, or give it as it was",
            prefix(&settled)
        );
    }
    Ok(Some(settled))
}

fn prefix(options: &EtcdOptions) -> &str {
    options.prefix.as_deref().unwrap_or(PREFIX)
}

/// How the store reaches etcd.
fn config(options: &EtcdOptions) -> anyhow::Result<EtcdConfig> {
    let credentials = match (&options.user, &options.password_file) {
        (Some(user), Some(file)) => {
            let password = fs::read_to_string(file)
                .with_context(|| format!("the password of etcd's user cannot be read from {}", file.display()))?;
            Some(naru_etcd::Credentials { user: user.clone(), password: password.trim_end().to_owned() })
        }
        _ => None,
    };
    let tls = naru_etcd::Tls {
        authority: options.authority.clone(),
        certificate: options.certificate.clone(),
        key: options.key.clone(),
        server_name: None,
    };
    let connection = naru_etcd::Config { endpoints: options.servers.clone(), tls, credentials };
    Ok(EtcdConfig { connection, prefix: prefix(options).to_owned() })
}

/// Whether a folder holds a state; a lock alone is none.
fn is_used(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name() != "lock")
}

/// Copies the state from the folder into etcd. What an attempt has copied that was cut off is refused there, with what to
/// do; what went through whole and was not noted is found again and needs no copy.
async fn copy(state: &Path, folder: &Path, config: &EtcdConfig, codec: Arc<StoreCodec>) -> anyhow::Result<()> {
    let own =
        Store::open(Options::embedded(folder, codec.clone())).await.context("the state to move cannot be opened")?;
    let (cluster, path) = (own.cluster(), state.join("moving-to-etcd"));
    let exported = {
        let (own, path) = (own.clone(), path.clone());
        tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let mut file = BufWriter::new(File::create(&path)?);
            let backup = own.export(&mut file)?;
            file.flush()?;
            Ok(backup)
        })
        .await?
    };
    own.close().await;
    let exported = exported.context("the state cannot be copied")?;
    let file = BufReader::new(File::open(&path)?);
    let imported = Store::import_into(config, file, None).await;
    let _ = fs::remove_file(&path);
    match imported {
        Ok(imported) => {
            let (objects, revision) = (exported.objects, imported.revision.0);
            tracing::info!(objects, revision, "copied the cluster's state to etcd");
            Ok(())
        }
        Err(ImportError::Store(OpenError::Foreign { .. })) => {
            let there = Store::open(Options::etcd(config.clone(), codec)).await?;
            let same = there.cluster() == cluster;
            there.close().await;
            if same {
                return Ok(());
            }
            bail!(
                "etcd holds another cluster's state under {}: choose another --etcd-prefix; nothing was changed",
                config.prefix
            )
        }
        Err(error) => {
            Err(error).context("the state cannot be moved to etcd; what was in the state folder is untouched")
        }
    }
}

fn read(state: &Path) -> anyhow::Result<Option<EtcdOptions>> {
    let path = state.join(NOTE);
    match fs::read(&path) {
        Ok(text) => {
            let note = serde_json::from_slice(&text);
            Ok(Some(
                note.with_context(|| format!("{} says where the cluster's state is and is damaged", path.display()))?,
            ))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write(state: &Path, note: &EtcdOptions) -> anyhow::Result<()> {
    if read(state)?.as_ref() == Some(note) {
        return Ok(());
    }
    let path = state.join(NOTE);
    let text = serde_json::to_vec_pretty(note)?;
    naru_identity::write_file(&path, &text, 0o600).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(servers: &[&str], prefix: Option<&str>) -> EtcdOptions {
        let servers = servers.iter().map(|server| (*server).to_owned()).collect();
        EtcdOptions { servers, prefix: prefix.map(str::to_owned), ..EtcdOptions::default() }
    }

    #[test]
    fn what_was_noted_holds_until_something_else_is_said() {
        assert_eq!(settle(None, &options(&[], None)).unwrap(), None);
        let first = settle(None, &options(&["http://a:2379"], None)).unwrap();
        assert_eq!(prefix(first.as_ref().unwrap()), "/naru");
        assert_eq!(settle(first.clone(), &options(&[], None)).unwrap(), first);
        let other = settle(first.clone(), &options(&["http://b:2379"], Some("/naru/"))).unwrap().unwrap();
        assert_eq!(other.servers, ["http://b:2379"]);
        let refused = settle(first, &options(&["http://b:2379"], Some("/other"))).unwrap_err().to_string();
        assert!(refused.contains("under /naru, not /other"), "{refused}");
    }
}
