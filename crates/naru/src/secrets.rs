//! `naru secrets`: the keys under which the cluster keeps its secrets and signs its tokens.
//!
//! The server does the work and goes on with it whatever becomes of this command, which asks and watches.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::Method;
use naru_client::Client;
use serde_json::Value;

use crate::cli::{Place, RotateKeys, SecretsCommand};
use crate::connect;
use crate::output::{LIVE, Table};

const PATH: &str = "/naru/v1/secrets";
/// How often the server is asked how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// Runs `naru secrets …`.
pub(crate) async fn run(place: &Place, command: SecretsCommand) -> anyhow::Result<ExitCode> {
    let client = connect::connect(place)?;
    match command {
        SecretsCommand::Ls { format } => list(&client, &format).await?,
        SecretsCommand::Rotate(options) => rotate(&client, &options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, format: &str) -> anyhow::Result<()> {
    let about = ask(client, Method::GET, "").await?;
    if format == "json" {
        println!("{}", serde_json::to_string_pretty(&about)?);
        return Ok(());
    }
    let mut table = Table::new(&["KEY", "FOR", "STATE"]);
    for (field, purpose) in [("sealing", "secrets"), ("tokens", "tokens")] {
        let keys = keys(&about[field]);
        for (at, key) in keys.iter().enumerate().rev() {
            let newest = at + 1 == keys.len();
            let state = match (newest, field) {
                (true, "tokens") => "signs".to_owned(),
                (true, _) => "seals".to_owned(),
                (false, "tokens") => "verifies".to_owned(),
                (false, _) => "opens".to_owned(),
            };
            table.row(vec![key.clone(), purpose.to_owned(), state]);
        }
    }
    table.print();
    let (stale, values) = (number(&about["sealing"]["stale"]), number(&about["sealing"]["values"]));
    if stale > 0 {
        eprintln!("{stale} of {values} values are sealed with older keys and are being sealed again");
    }
    Ok(())
}

async fn rotate(client: &Client, options: &RotateKeys) -> anyhow::Result<()> {
    let (field, make, drop) = match options.tokens {
        true => ("tokens", "rotate-tokens", "drop-tokens"),
        false => ("sealing", "rotate", "drop"),
    };
    let about = ask(client, Method::POST, make).await.context("there is no new key")?;
    println!("{}", keys(&about[field]).last().cloned().unwrap_or_default());
    if !options.tokens {
        watch(client, options.timeout).await?;
    }
    if options.drop_old {
        let before = keys(&about[field]).len();
        let left = ask(client, Method::POST, drop).await.context("the old keys stay")?;
        let gone = before.saturating_sub(keys(&left[field]).len());
        eprintln!("{gone} old {} taken away", if gone == 1 { "key was" } else { "keys were" });
    }
    Ok(())
}

/// Watches until everything is sealed with the newest key.
async fn watch(client: &Client, patience: Option<Duration>) -> anyhow::Result<()> {
    let (began, shown) = (Instant::now(), *LIVE && io::stderr().is_terminal());
    loop {
        let about = ask(client, Method::GET, "").await?;
        let (stale, values) = (number(&about["sealing"]["stale"]), number(&about["sealing"]["values"]));
        let done = values.saturating_sub(stale);
        if shown {
            let _ = write!(io::stderr(), "\r\x1b[K{done} of {values} sealed again");
        }
        if stale == 0 {
            if shown {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            eprintln!("{values} {} sealed with the new key", if values == 1 { "value is" } else { "values are" });
            return Ok(());
        }
        if patience.is_some_and(|patience| began.elapsed() >= patience) {
            bail!("{done} of {values} values are sealed again so far; the server goes on: see `naru secrets ls`");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask(client: &Client, method: Method, what: &str) -> anyhow::Result<Value> {
    let path = if what.is_empty() { PATH.to_owned() } else { format!("{PATH}?do={what}") };
    client.json(method, &path, "application/json", None).await.context("the server does not answer about its keys")
}

fn keys(of: &Value) -> Vec<String> {
    of["keys"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
