//! `naru token`: invitations for machines.

use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::Method;
use jiff::Timestamp;
use naru_api::k8s::api::core::v1::Secret;
use naru_client::{Client, DeleteOptions, ListOptions, Resource};
use naru_identity::{BootstrapToken, JoinLine};
use serde_json::{Value, json};

use crate::cli::{Place, TokenCommand};
use crate::connect;
use crate::output::Table;

const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "bootstrap-token-";
const TYPE: &str = "bootstrap.kubernetes.io/token";

/// Runs `naru token …`.
pub(crate) async fn run(place: &Place, command: TokenCommand) -> anyhow::Result<ExitCode> {
    let client = match &command {
        TokenCommand::Create { .. } => connect::connect_or_start(place).await?,
        _ => connect::connect(place)?,
    };
    match command {
        TokenCommand::Create { ttl, description, servers, once } => {
            create(&client, ttl, &description.unwrap_or_default(), &servers, once).await?
        }
        TokenCommand::Ls { format } => list(&client, &format).await?,
        TokenCommand::Rm { ids } => remove(&client, &ids).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(
    client: &Client,
    ttl: std::time::Duration,
    description: &str,
    servers: &[String],
    once: bool,
) -> anyhow::Result<()> {
    let about = client.json(Method::GET, "/naru/v1/cluster", "application/json", None).await;
    let about = about.context("the server does not say where it can be reached")?;
    let authority = about["authority"].as_str().context("the server does not name its authority")?.to_owned();
    let reported = about["servers"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let servers: Vec<String> = match servers {
        [] => reported.collect(),
        given => given.iter().map(|server| with_port(server)).collect(),
    };
    if servers.is_empty() {
        bail!("this machine has no address that others could reach it by: say which with --server HOST:PORT");
    }
    forget_old(client).await;
    let token = BootstrapToken::generate();
    let expires = Timestamp::now().checked_add(ttl).context("--ttl is too long")?;
    let mut data = json!({
        "token-id": token.id, "token-secret": token.secret, "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:naru:worker",
        "expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    if !description.is_empty() {
        data["description"] = description.into();
    }
    if once {
        data["usage-once"] = "true".into();
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": TYPE, "stringData": data,
        "metadata": {"name": format!("{PREFIX}{}", token.id), "namespace": NAMESPACE}});
    secrets(client).create(&secret).await.context("the token cannot be kept")?;
    println!("naru join {}", JoinLine { authority, token, servers });
    Ok(())
}

/// How long expired tokens are listed before they are taken away.
const KEEP: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Takes tokens away that expired long ago. That it fails is no reason not to make a new one.
async fn forget_old(client: &Client) {
    let Ok(list) = secrets(client).list(&ListOptions::default()).await else { return };
    for secret in list.items.iter().filter(|secret| secret["type"] == TYPE) {
        let end = field(secret, "expiration").parse::<Timestamp>();
        if end.is_ok_and(|end| Timestamp::now().duration_since(end) > KEEP) {
            let name = secret["metadata"]["name"].as_str().unwrap_or_default();
            let _ = secrets(client).delete(name, &DeleteOptions::default()).await;
        }
    }
}

fn field(secret: &Value, name: &str) -> String {
    let bytes = secret["data"][name].as_str().and_then(|text| BASE64.decode(text).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A server's address as it was given, with the usual port where none is named.
pub(super) fn with_port(server: &str) -> String {
    let server = server.trim_start_matches("https://").trim_end_matches('/');
    let bare_v6 = server.parse::<std::net::Ipv6Addr>().is_ok();
    match server.rsplit_once(':') {
        _ if bare_v6 => format!("[{server}]:6443"),
        Some((_, port)) if port.parse::<u16>().is_ok() => server.to_owned(),
        _ => format!("{server}:6443"),
    }
}

fn secrets(client: &Client) -> naru_client::DynamicApi {
    client.dynamic(Resource::of::<Secret>(), Some(NAMESPACE))
}

async fn list(client: &Client, format: &str) -> anyhow::Result<()> {
    let list = secrets(client).list(&ListOptions::default()).await.context("the tokens cannot be listed")?;
    let mut table = Table::new(&["ID", "EXPIRES", "USES", "DESCRIPTION"]);
    let mut rows = Vec::new();
    for secret in list.items.iter().filter(|secret| secret["type"] == TYPE) {
        let expiration = field(secret, "expiration");
        let once = field(secret, "usage-once") == "true";
        rows.push(json!({"id": field(secret, "token-id"), "expires": expiration, "once": once,
            "description": field(secret, "description")}));
        let when = match expiration.parse::<Timestamp>() {
            Ok(end) => left(end.as_second() - Timestamp::now().as_second()),
            Err(_) => "never".to_owned(),
        };
        let uses = if once { "one machine" } else { "any number" };
        table.row(vec![field(secret, "token-id"), when, uses.to_owned(), field(secret, "description")]);
    }
    match format {
        "json" => println!("{}", serde_json::to_string_pretty(&rows)?),
        _ => table.print(),
    }
    Ok(())
}

fn left(seconds: i64) -> String {
    if seconds <= 0 { "expired".to_owned() } else { format!("in {}", crate::output::ago(seconds)) }
}

async fn remove(client: &Client, ids: &[String]) -> anyhow::Result<()> {
    for id in ids {
        // The whole line is as good as the identifier, and what people have at hand.
        let id = JoinLine::parse(id).map_or_else(|_| id.clone(), |line| line.token.id);
        match secrets(client).delete(&format!("{PREFIX}{id}"), &DeleteOptions::default()).await {
            Ok(_) => println!("{id}"),
            Err(error) if error.is_not_found() => bail!("there is no token {id}: see `naru token ls`"),
            Err(error) => return Err(error).with_context(|| format!("token {id} cannot be removed")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_has_the_usual_port_unless_it_names_one() {
        for (given, expected) in [
            ("192.0.2.1", "192.0.2.1:6443"),
            ("192.0.2.1:7443", "192.0.2.1:7443"),
            ("https://a.example.org:443/", "a.example.org:443"),
            ("2001:db8::1", "[2001:db8::1]:6443"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(super::with_port(given), expected);
        }
    }
}
