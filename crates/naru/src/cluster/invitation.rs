//! Looking at a cluster from outside, with nothing but a join line: is it the right one, is the clock right, do the
//! addresses fit; and asking for a certificate.

use std::error::Error as StdError;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Method;
use jiff::Timestamp;
use naru_client::{Client, ClientError, HttpTransport, TlsSettings};
use naru_identity::{JoinLine, PinnedAuthority, Requested};
use serde_json::{Value, json};

use super::clock;
use super::membership::SERVER_NAME;

/// A cluster that a join line led to.
pub(super) struct Invitation {
    client: Client,
    /// What the server says of the cluster.
    pub about: Value,
    /// The authority's certificate (PEM).
    pub authority: String,
    /// The address that answered.
    pub server: String,
}

/// Asks all servers of a line at once; the first that is the right one counts.
///
/// # Errors
/// Why none is.
pub(super) async fn open(line: &JoinLine) -> anyhow::Result<Invitation> {
    let mut refusals = Vec::new();
    let mut asked: FuturesUnordered<_> = line.servers.iter().map(|server| ask(line, server)).collect();
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(invitation) => {
                check_clock(&invitation.about)?;
                return Ok(invitation);
            }
            Err(error) => refusals.push(error),
        }
    }
    // What a server said tells more than that another could not be reached.
    let best = refusals.iter().position(|refusal| refusal.said).unwrap_or(0);
    match refusals.len() {
        0 => bail!("the join token names no server"),
        _ => Err(refusals.swap_remove(best).error),
    }
}

struct Refusal {
    error: anyhow::Error,
    /// A server answered.
    said: bool,
}

async fn ask(line: &JoinLine, server: &str) -> Result<Invitation, Refusal> {
    let pinned = PinnedAuthority::new(&line.authority);
    let settings = TlsSettings {
        server_name: Some(SERVER_NAME.to_owned()),
        verifier: Some(pinned.clone()),
        ..TlsSettings::default()
    };
    let unusable = |error: anyhow::Error| Refusal { error, said: false };
    let transport = HttpTransport::tcp(&format!("https://{server}"), &settings)
        .and_then(|transport| transport.with_token(&line.token.bearer()))
        .map_err(|error| unusable(anyhow::Error::new(error).context(format!("{server} is no server's address"))))?;
    let client = Client::new(Arc::new(transport));
    match client.json(Method::GET, "/naru/v1/cluster", "application/json", None).await {
        Ok(about) => {
            let der = pinned.authority().map(|der| der.as_ref().to_vec()).unwrap_or_default();
            Ok(Invitation { client, about, authority: pem(&der), server: server.to_owned() })
        }
        Err(error) => Err(word(error, server)),
    }
}

/// Puts a failure to be let in into words.
fn word(error: ClientError, server: &str) -> Refusal {
    if let Some(status) = error.status() {
        return Refusal { error: anyhow::anyhow!("{server} refuses: {}", status.message), said: true };
    }
    let mut causes = Vec::new();
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(this) = cause {
        causes.push(this.to_string());
        cause = this.source();
    }
    let text = causes.join(": ");
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["UnknownIssuer", "BadSignature", "invalid peer certificate: Other"]) {
        let error = anyhow::anyhow!(
            "{server} is not the cluster that made this token: its authority's key is another one. Either the token is \
             of another cluster, or somebody stands in between; nothing was sent"
        );
        return Refusal { error, said: true };
    }
    if has(&["NotValidYet", "not valid yet", "Expired", "expired"]) {
        let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
        let error = anyhow::anyhow!(
            "the certificate of {server} is not valid at this machine's time, which is {now}: set the clock right \
             (`timedatectl set-ntp true`), then join again"
        );
        return Refusal { error, said: true };
    }
    let last = causes.pop().unwrap_or_default();
    let error = anyhow::anyhow!(
        "cannot reach {server}: {last}. It must answer from this machine; another address can be given with \
         `naru token create --server HOST:PORT` or here with --server"
    );
    Refusal { error, said: false }
}

fn check_clock(about: &Value) -> anyhow::Result<()> {
    match clock::difference_to(about, clock::JOINING) {
        None => Ok(()),
        Some(how) => bail!(
            "this machine's clock is {how} the server's, and certificates would not be valid here: set it right \
             (`timedatectl set-ntp true`), then join again"
        ),
    }
}

/// The networks of a cluster, if this machine has no address in them already.
///
/// # Errors
/// Which address is in the way.
pub(super) fn networks(about: &Value, own: &[Ipv4Addr]) -> anyhow::Result<(naru_api::Ranges, naru_api::Ranges)> {
    let read = |name: &str| -> anyhow::Result<naru_api::Ranges> {
        about[name].as_str().and_then(|text| text.parse().ok()).with_context(|| format!("the server names no {name}"))
    };
    let (pods, services) = (read("podNetwork")?, read("serviceNetwork")?);
    let ranges = [(pods.v4, "pods", "--pod-network"), (services.v4, "services", "--service-network")];
    for (network, whose, flag) in ranges {
        if let Some(address) = own.iter().find(|address| network.contains(*address)) {
            bail!(
                "this machine's address {address} lies in {network}, the cluster's addresses of {whose}: they would \
                 answer for one another. Give the machine another address, or the cluster another range ({flag})"
            );
        }
    }
    Ok((pods, services))
}

/// The address under which the server sees this machine, where that is none of its own: something in between translates.
pub(super) fn translated(about: &Value, own: &[Ipv4Addr]) -> Option<Ipv4Addr> {
    let seen: Ipv4Addr = about["client"].as_str()?.parse().ok()?;
    // By a tunnel that ends on the server's machine, nothing is known of the way.
    (!seen.is_loopback() && !own.contains(&seen)).then_some(seen)
}

impl Invitation {
    /// Asks for the certificate of a node.
    ///
    /// # Errors
    /// What the server says against it.
    pub async fn certificate(&self, name: &str, wish: &Requested) -> anyhow::Result<String> {
        let request = certificate_request(name, wish);
        let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        let mut left = 3;
        let answer = loop {
            let sent = self.client.json(Method::POST, path, "application/json", Some(&request)).await;
            match sent {
                // The answer was lost on the way: the same key may ask again.
                Err(error) if error.status().is_none() && left > 0 => left -= 1,
                other => break other,
            }
        };
        match answer {
            Ok(answer) => certificate_of(&answer),
            Err(error) => match error.status() {
                Some(status) => bail!("{}", status.message),
                None => Err(error).context("the certificate was not signed"),
            },
        }
    }
}

/// The object that asks for a node's certificate.
pub(crate) fn certificate_request(name: &str, wish: &Requested) -> Value {
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": format!("node-{name}-")},
        "spec": {"signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth"],
            "request": BASE64.encode(&wish.request)},
    })
}

/// The certificate in the answer to that.
pub(crate) fn certificate_of(answer: &Value) -> anyhow::Result<String> {
    let text = answer["status"]["certificate"].as_str().context("the request waits for a person's approval")?;
    let bytes = BASE64.decode(text).context("the certificate is not readable")?;
    String::from_utf8(bytes).context("the certificate is not readable")
}

fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut lines = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.push_str(&String::from_utf8_lossy(line));
        lines.push('\n');
    }
    lines.push_str("-----END CERTIFICATE-----\n");
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_the_clusters_ranges_is_in_the_way() {
        let about = json!({"podNetwork": "10.42.0.0/16", "serviceNetwork": "10.43.0.0/16"});
        networks(&about, &[Ipv4Addr::new(192, 0, 2, 7)]).expect("fits");
        let error = networks(&about, &[Ipv4Addr::new(10, 43, 1, 1)]).expect_err("overlaps").to_string();
        assert!(error.contains("10.43.1.1") && error.contains("services"), "{error}");
        networks(&json!({}), &[]).expect_err("what is not said is not guessed");
    }

    #[test]
    fn a_machine_is_behind_translation_when_the_server_sees_another() {
        let own = [Ipv4Addr::new(192, 168, 1, 7), Ipv4Addr::new(172, 17, 0, 1)];
        let seen = |client: Value| translated(&json!({"client": client}), &own);
        assert_eq!(seen("203.0.113.9".into()), Some(Ipv4Addr::new(203, 0, 113, 9)));
        for nothing in [json!("192.168.1.7"), json!("127.0.0.1"), json!("2001:db8::1"), Value::Null] {
            assert_eq!(seen(nothing.clone()), None, "{nothing}");
        }
    }

    #[test]
    fn a_certificate_is_written_as_others_read_it() {
        let text = pem(&[7; 100]);
        assert!(
            text.starts_with("-----BEGIN CERTIFICATE-----\nBwcH") && text.lines().all(|line| line.len() <= 64),
            "{text}"
        );
    }
}
