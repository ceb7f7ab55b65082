//! Backups that the server makes by itself: when, where to, and which old ones go.
//!
//! When the next one is due follows from the newest that is there, not from when the server started, so that a server
//! which restarts often still makes them. Old ones go only after a new one is complete. What went wrong is told three
//! times: in the log, as an event of the node, and by `naru backup ls`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use naru_api::k8s::api::core::v1::{ConfigMap, Event, Node};
use naru_backup::{BackupKey, BackupName, Depot, outdated};
use naru_client::{Client, DeleteOptions, Resource};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::backup::Backups;
use crate::backup::{needed_key, place};
use crate::cli::ScheduleOptions;

/// Where the server notes how its backups are doing.
const NAMESPACE: &str = "kube-system";
/// The ConfigMap in which it does.
const STATUS: &str = "naru-backups";
/// After a failure it is tried again so soon, or at the usual time where that is sooner.
const AGAIN: Duration = Duration::from_secs(600);
/// Whoever starts a server is busy with that first.
const SETTLE: Duration = Duration::from_secs(5);

/// When, where to and how.
pub(super) struct Schedule {
    address: String,
    depot: Depot,
    key: BackupKey,
    every: Duration,
    keep: usize,
}

/// How the last ones went.
#[derive(Default)]
struct Past {
    made: Option<Timestamp>,
    failed: Option<(Timestamp, String)>,
    name: String,
}

/// When the next backup is due.
fn due(past: &Past, started: Timestamp, every: Duration) -> Timestamp {
    let after = |time: Timestamp, wait: Duration| {
        time.checked_add(jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::MAX))
            .unwrap_or(Timestamp::MAX)
    };
    let usual = past.made.map_or_else(|| after(started, SETTLE.min(every)), |made| after(made, every));
    match &past.failed {
        Some((failed, _)) => after(*failed, AGAIN.min(every)),
        None => usual,
    }
}

// === impl Schedule ===

impl Schedule {
    /// What the options ask for; `None` when for nothing.
    ///
    /// # Errors
    /// When the place or the key is none: the server does not start then, for nobody would look later.
    pub fn of(options: &ScheduleOptions) -> anyhow::Result<Option<Schedule>> {
        let Some(address) = options.backup_to.clone() else { return Ok(None) };
        let depot = Depot::parse(&address).context("--backup-to")?;
        let file = options.backup_key_file.as_deref();
        let key = needed_key(file, options.backup_unsealed, "--backup-key-file", "--backup-unsealed")?;
        let (every, keep) = (options.backup_every.max(Duration::from_secs(1)), usize::from(options.backup_keep));
        Ok(Some(Schedule { address, depot, key, every, keep }))
    }

    /// Makes backups until `ended`.
    pub async fn run(self, backups: Backups, client: Client, ended: CancellationToken) {
        let started = Timestamp::now();
        let mut past = Past::default();
        match self.newest(&backups.cluster()).await {
            Ok(newest) => past.made = newest,
            Err(error) => past.failed = Some((started, chain(&error))),
        }
        self.note(&client, &backups, &past).await;
        loop {
            let wait = due(&past, started, self.every).duration_since(Timestamp::now());
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()) => {}
            }
            let now = Timestamp::now();
            let made = tokio::select! {
                () = ended.cancelled() => return,
                made = self.make(&backups) => made,
            };
            match made {
                Ok((name, size)) => {
                    tracing::info!(name, size, to = self.address, "a backup was made");
                    let text = format!("Backup {name} ({size} bytes) is at {}", self.address);
                    tell(&client, &backups, "BackupCreated", false, &text).await;
                    past = Past { made: Some(now), failed: None, name };
                }
                Err(error) => {
                    let why = chain(&error);
                    tracing::warn!(error = why, to = self.address, "a backup failed");
                    let text = format!("The backup to {} failed: {why}", self.address);
                    tell(&client, &backups, "BackupFailed", true, &text).await;
                    past.failed = Some((now, why));
                }
            }
            self.note(&client, &backups, &past).await;
        }
    }

    async fn newest(&self, cluster: &str) -> anyhow::Result<Option<Timestamp>> {
        let names = self.depot.list().await?;
        let parsed = names.iter().filter_map(|stored| BackupName::parse(&stored.name));
        Ok(parsed.filter(|name| name.automatic && name.is_of(cluster)).map(|name| name.time).max())
    }

    async fn make(&self, backups: &Backups) -> anyhow::Result<(String, u64)> {
        let before = self.depot.list().await?;
        let taken = backups.take().context("the cluster's keys cannot be read")?;
        let cluster = taken.about.cluster.clone();
        let name = BackupName::new(&cluster, taken.about.time, true).to_string();
        // About as large as the last one; that one is not removed before this one is there.
        let own =
            before.iter().filter(|stored| BackupName::parse(&stored.name).is_some_and(|name| name.is_of(&cluster)));
        let size = own.max_by_key(|stored| stored.written).map_or(1 << 20, |stored| stored.size + stored.size / 4);
        let key = self.key.clone();
        let write = move |into| taken.write(into, &key).map(drop).map_err(anyhow::Error::from);
        let ((), size) = place::put(&self.depot, &name, size, write, |_| {}).await?;
        let names = before.iter().map(|stored| stored.name.as_str()).chain([name.as_str()]);
        for old in outdated(names, &cluster, self.keep) {
            self.depot.remove(old).await.with_context(|| format!("{name} was made, but an old one stays"))?;
        }
        Ok((name, size))
    }

    /// Notes how they are doing, where `naru backup ls` reads it.
    async fn note(&self, client: &Client, backups: &Backups, past: &Past) {
        let time = |time: Timestamp| naru_api::meta::time(time).to_string();
        let mut data = json!({"to": self.address, "every": text(self.every), "keep": self.keep.to_string(),
            "node": backups.settings.node_name});
        if let Some(made) = past.made {
            data["made"] = time(made).into();
        }
        if !past.name.is_empty() {
            data["name"] = past.name.clone().into();
        }
        if let Some((failed, why)) = &past.failed {
            (data["failed"], data["error"]) = (time(*failed).into(), why.clone().into());
        }
        let maps = maps(client);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": STATUS, "namespace": NAMESPACE}});
        let written = match maps.replace(STATUS, &object).await {
            Err(error) if error.is_not_found() => maps.create(&object).await,
            written => written,
        };
        if let Err(error) = written {
            tracing::warn!(%error, "how backups are doing cannot be noted");
        }
    }
}

fn maps(client: &Client) -> naru_client::DynamicApi {
    client.dynamic(Resource::of::<ConfigMap>(), Some(NAMESPACE))
}

/// What the server notes of its own backups; nothing where it makes none.
pub(crate) async fn noted(client: &Client) -> BTreeMap<String, String> {
    let Ok(Some(map)) = maps(client).get_opt(STATUS).await else { return BTreeMap::new() };
    serde_json::from_value(map["data"].clone()).unwrap_or_default()
}

/// Forgets what an earlier start noted: this one makes no backups.
pub(super) async fn forget(client: Client) {
    match maps(&client).delete(STATUS, &DeleteOptions::default()).await {
        Err(error) if !error.is_not_found() => tracing::warn!(%error, "the note of former backups stays"),
        _ => {}
    }
}

/// An event of the server's node.
async fn tell(client: &Client, backups: &Backups, reason: &str, warning: bool, message: &str) {
    let node = &backups.settings.node_name;
    let uid = match client.dynamic(Resource::of::<Node>(), None).get(node).await {
        Ok(node) => node["metadata"]["uid"].clone(),
        Err(_) => Value::Null,
    };
    let time = naru_api::meta::time(Timestamp::now());
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"generateName": format!("{node}."), "namespace": "default"},
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid},
        "type": if warning { "Warning" } else { "Normal" },
        "reason": reason, "message": message, "firstTimestamp": time, "lastTimestamp": time, "count": 1,
        "source": {"component": "naru-backup"}, "reportingComponent": "naru-backup", "reportingInstance": node,
    });
    if let Err(error) = client.dynamic(Resource::of::<Event>(), Some("default")).create(&event).await {
        tracing::warn!(%error, "an event of a backup was not written");
    }
}

fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn text(every: Duration) -> String {
    match every.as_secs() {
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_follows_from_the_last_one_that_is_there() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let (started, hour) = (at(10_000), Duration::from_secs(3_600));
        let past = |made: Option<i64>, failed: Option<i64>| Past {
            made: made.map(at),
            failed: failed.map(|second| (at(second), "full".to_owned())),
            name: String::new(),
        };
        assert_eq!(due(&past(None, None), started, hour), at(10_005), "there is none yet");
        assert_eq!(due(&past(Some(9_000), None), started, hour), at(12_600), "a restart changes nothing");
        assert_eq!(due(&past(Some(1_000), None), started, hour), at(4_600), "overdue: at once");
        assert_eq!(due(&past(Some(9_000), Some(12_600)), started, hour), at(13_200), "sooner after a failure");
        assert_eq!(due(&past(None, Some(10_000)), started, Duration::from_secs(60)), at(10_060));
    }
}
