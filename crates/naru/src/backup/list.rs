//! `naru backup ls`: which backups there are, and how the server's own are doing.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use jiff::Timestamp;
use naru_backup::{Depot, Header, Stored, is_whole};
use serde_json::{Value, json};

use super::place;
use crate::cli::{ListBackups, Place};
use crate::connect;
use crate::output::{Table, ago, size, warn};
use crate::server::schedule;

/// Runs the verb.
pub(super) async fn run(place: &Place, options: ListBackups) -> anyhow::Result<ExitCode> {
    let status = status(place).await;
    let address = options.from.clone().or_else(|| status.get("to").cloned());
    let Some(address) = address else {
        bail!("say where the backups are with --from (the server makes none by itself: `naru server --backup-to`)");
    };
    let depot = Depot::parse(&address)?;
    let mut rows = Vec::new();
    for stored in depot.list().await? {
        if stored.name.ends_with(".backup") {
            rows.push(row(&depot, &stored).await);
        }
    }
    rows.sort_by(|a, b| a["time"].as_str().cmp(&b["time"].as_str()));
    if options.format == "json" {
        println!("{}", serde_json::to_string_pretty(&json!({"place": address, "backups": rows, "schedule": status}))?);
    } else {
        print(&rows);
        tell(&status, &address);
    }
    Ok(ExitCode::SUCCESS)
}

/// What the server notes of its own backups; nothing where none runs, or it makes none.
async fn status(place: &Place) -> BTreeMap<String, String> {
    let Ok(client) = connect::connect(place) else { return BTreeMap::new() };
    schedule::noted(&client).await
}

async fn row(depot: &Depot, stored: &Stored) -> Value {
    let mut row = json!({"name": stored.name, "size": stored.size, "time": stored.written.to_string()});
    let header = match place::beginning(depot, &stored.name).await {
        Ok(bytes) => Header::peek(&mut &bytes[..]).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let whole = match depot {
        Depot::Folder(folder) => {
            let path = folder.path().join(&stored.name);
            let checked = tokio::task::spawn_blocking(move || {
                std::fs::File::open(path).ok().map(|mut file| is_whole(&mut file).unwrap_or(false))
            });
            checked.await.ok().flatten().unwrap_or(false)
        }
        // An object is never half there.
        Depot::Bucket(_) => true,
    };
    match header {
        Ok(header) => {
            let about = &header.about;
            row["time"] = about.time.to_string().into();
            row["cluster"] = about.cluster.clone().into();
            row["revision"] = about.revision.into();
            row["objects"] = about.objects.into();
            row["version"] = about.naru.clone().into();
            row["sealed"] = header.is_sealed().into();
            row["state"] = if whole { "whole" } else { "cut off" }.into();
        }
        Err(why) => row["state"] = why.into(),
    }
    row
}

fn print(rows: &[Value]) {
    let mut table = Table::new(&["NAME", "MADE", "SIZE", "REVISION", "CLUSTER", "VERSION", "SEALED", "STATE"]);
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let made = text("time").parse::<Timestamp>().map(|time| Timestamp::now().as_second() - time.as_second());
        table.row(vec![
            text("name"),
            made.map(|age| format!("{} ago", ago(age))).unwrap_or_default(),
            size(row["size"].as_u64().unwrap_or(0)),
            row["revision"].as_u64().map(|revision| revision.to_string()).unwrap_or_default(),
            text("cluster").chars().take(8).collect(),
            text("version"),
            match row["sealed"].as_bool() {
                Some(true) => "yes".to_owned(),
                Some(false) => "NO".to_owned(),
                None => String::new(),
            },
            text("state"),
        ]);
    }
    table.print();
}

/// How the server's own backups to this place are doing.
fn tell(status: &BTreeMap<String, String>, address: &str) {
    let text = |name: &str| status.get(name).map(String::as_str).unwrap_or_default();
    if text("to") != address {
        return;
    }
    println!("\nThe server makes one every {} and keeps {}", text("every"), text("keep"));
    if !text("error").is_empty() {
        warn(format!("the last one failed at {}: {}", text("failed"), text("error")));
    }
}
