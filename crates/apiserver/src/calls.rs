//! Calls of programs that extend the API: webhooks and aggregated servers.
//!
//! They are addressed by a URL or by a service. A service is looked up here, among its ready endpoints, instead of being
//! reached through its virtual address: the server needs no data plane for that, and passes over an endpoint that does not
//! answer. Connections are kept, a pool for each address and authority.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::BodyExt;
use naru_client::{HttpTransport, TlsSettings, Transport, TransportError, chain, full_body};
use naru_store::{Key, Prefix, Snapshot};
use parking_lot::Mutex;
use serde_json::Value;

use crate::object;

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 16 << 20;
/// How many pools of connections are kept.
const POOLS: usize = 128;
/// How many endpoints of a service are tried.
const TRIES: usize = 3;

/// Whom to call: `admissionregistration.k8s.io/v1 WebhookClientConfig` and its likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientConfig {
    to: To,
    /// PEM; empty for the machine's own.
    authority: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    Url(String),
    Service { namespace: String, name: String, path: String, port: u16 },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody to ask.
    #[error("{0}")]
    Nobody(String),
    /// It took too long.
    #[error("Post \"{url}\": context deadline exceeded")]
    Late { url: String },
    /// It cannot be reached, or the connection broke.
    #[error("Post \"{url}\": {why}")]
    Failed { url: String, why: String },
    /// It answered something else than was asked for.
    #[error("{0}")]
    Answer(String),
}

/// Keeps connections to those that were called.
#[derive(Default)]
pub(crate) struct Caller {
    pools: Mutex<HashMap<Pool, HttpTransport>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Pool {
    address: String,
    name: String,
    authority: Vec<u8>,
}

/// One way to whom is called.
pub(crate) struct Way {
    /// `https://10.42.0.7:8443`
    pub(crate) address: String,
    /// The name that the certificate must carry.
    pub(crate) name: String,
}

// === impl ClientConfig ===

impl ClientConfig {
    /// Reads a client configuration. What validation refuses is read as far as it goes.
    pub(crate) fn read(config: &Value) -> ClientConfig {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let to = match config["url"].as_str().filter(|url| !url.is_empty()) {
            Some(url) => To::Url(url.to_owned()),
            None => {
                let service = &config["service"];
                let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
                let (namespace, name, path) =
                    (text(&service["namespace"]), text(&service["name"]), text(&service["path"]));
                To::Service { namespace, name, path, port }
            }
        };
        let authority = config["caBundle"].as_str().unwrap_or_default();
        let authority = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, authority);
        ClientConfig { to, authority: authority.unwrap_or_default() }
    }

    /// As messages name it.
    pub(crate) fn url(&self) -> String {
        match &self.to {
            To::Url(url) => url.clone(),
            To::Service { namespace, name, path, port } => {
                format!("https://{name}.{namespace}.svc:{port}/{}", path.trim_start_matches('/'))
            }
        }
    }

    /// The path below the address.
    fn path(&self) -> String {
        match &self.to {
            To::Url(url) => {
                let after = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let path = after.find('/').map_or("/", |at| &after[at..]);
                path.split('#').next().unwrap_or_default().to_owned()
            }
            To::Service { path, .. } => format!("/{}", path.trim_start_matches('/')),
        }
    }

    /// The ways that lead there now, the best first.
    fn ways(&self, snapshot: &Snapshot) -> Result<Vec<Way>, CallError> {
        match &self.to {
            To::Url(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
                let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']).to_owned();
                Ok(vec![Way { address: format!("{scheme}://{host}"), name }])
            }
            To::Service { namespace, name, port, .. } => service(snapshot, namespace, name, *port),
        }
    }
}

/// The ways to a service's port: its ready endpoints, in another order each time; never none.
///
/// # Errors
/// When there is no such service, port or endpoint.
pub(crate) fn service(snapshot: &Snapshot, namespace: &str, name: &str, port: u16) -> Result<Vec<Way>, CallError> {
    let nobody = |why: String| Err(CallError::Nobody(why));
    let Some(entry) = snapshot.get(&Key::new("services", namespace, name)) else {
        return nobody(format!("service \"{name}\" not found"));
    };
    let service = object::parse(&entry.served);
    let server = format!("{name}.{namespace}.svc");
    if service["spec"]["type"] == "ExternalName" {
        let host = service["spec"]["externalName"].as_str().unwrap_or_default();
        return Ok(vec![Way { address: format!("https://{host}:{port}"), name: server }]);
    }
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(of) = ports.into_iter().find(|known| known["port"] == port) else {
        return nobody(format!("no service port {port} found for service {name:?}"));
    };
    let port_name = of["name"].as_str().unwrap_or_default();
    let mut ways = Vec::new();
    for entry in snapshot.range(&Prefix::namespace("endpointslices.discovery.k8s.io", namespace)) {
        let labels = object::labels(&entry.served);
        if labels.is_none_or(|labels| labels.get("kubernetes.io/service-name").is_none_or(|of| of != name)) {
            continue;
        }
        let slice = object::parse(&entry.served);
        let ports = slice["ports"].as_array().into_iter().flatten();
        let number = ports
            .into_iter()
            .find(|known| known["name"].as_str().unwrap_or_default() == port_name)
            .and_then(|known| known["port"].as_u64());
        let Some(number) = number else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let address = endpoint["addresses"][0].as_str().filter(|_| endpoint["conditions"]["ready"] != false);
            let Some(address) = address else { continue };
            let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            ways.push(Way { address: format!("https://{host}:{number}"), name: server.clone() });
        }
    }
    if ways.is_empty() {
        return nobody(format!("no endpoints available for service {name:?}"));
    }
    let first = rand::random_range(0..ways.len());
    ways.rotate_left(first);
    ways.truncate(TRIES);
    Ok(ways)
}

// === impl Caller ===

impl Caller {
    /// Sends `body` and returns the JSON that is answered with success.
    ///
    /// # Errors
    /// When nobody answers in time, or the answer is no JSON or no success.
    pub(crate) async fn post(
        &self,
        snapshot: &Snapshot,
        config: &ClientConfig,
        body: &Value,
        patience: Duration,
    ) -> Result<Value, CallError> {
        let seconds = format!("timeout={}s", patience.as_secs());
        let path = config.path();
        let path = format!("{path}{}{seconds}", if path.contains('?') { '&' } else { '?' });
        let url = format!("{}?{seconds}", config.url());
        let body = Bytes::from(body.to_string());
        let asked = async {
            let mut last = CallError::Nobody(format!("nobody to ask at {url}"));
            for way in config.ways(snapshot)? {
                match self.ask(config, &way, &path, &body, &url).await {
                    Err((error, true)) => last = error,
                    Err((error, false)) => return Err(error),
                    Ok(answer) => return Ok(answer),
                }
            }
            Err(last)
        };
        match tokio::time::timeout(patience, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Late { url }),
        }
    }

    /// Asks one; an error says whether another one may be asked, because this one never heard the question.
    async fn ask(
        &self,
        config: &ClientConfig,
        way: &Way,
        path: &str,
        body: &Bytes,
        url: &str,
    ) -> Result<Value, (CallError, bool)> {
        let failed = |error: &dyn std::error::Error| CallError::Failed { url: url.to_owned(), why: chain(error) };
        let transport = self.pool(config, way).map_err(|error| (failed(&error), false))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(full_body(body.clone()))
            .map_err(|error| (failed(&error), false))?;
        let response = transport.call(request).await.map_err(|error| {
            let unheard = matches!(error, TransportError::Connect { .. });
            (failed(&error), unheard)
        })?;
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| (failed(&*error), false))?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            if bytes.len() > LONGEST_ANSWER {
                return Err((CallError::Answer(format!("the answer has more than {LONGEST_ANSWER} bytes")), false));
            }
        }
        if !head.status.is_success() {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.chars().take(512).collect::<String>();
            let (code, reason) = (head.status.as_u16(), head.status.canonical_reason().unwrap_or_default());
            return Err((CallError::Answer(format!("the server answered {code} {reason}: {}", text.trim())), false));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| (CallError::Answer(format!("the answer is no JSON: {error}")), false))
    }

    fn pool(&self, config: &ClientConfig, way: &Way) -> Result<HttpTransport, TransportError> {
        let key = Pool { address: way.address.clone(), name: way.name.clone(), authority: config.authority.clone() };
        let mut pools = self.pools.lock();
        if let Some(transport) = pools.get(&key) {
            return Ok(transport.clone());
        }
        let tls = TlsSettings {
            authorities: config.authority.clone(),
            server_name: Some(way.name.clone()),
            ..TlsSettings::default()
        };
        let transport = HttpTransport::tcp(&way.address, &tls)?;
        if pools.len() >= POOLS {
            pools.clear(); // requests under way keep theirs; addresses of pods come and go
        }
        pools.insert(key, transport.clone());
        Ok(transport)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn configurations_are_read() {
        let url = ClientConfig::read(&json!({"url": "https://hooks.example.org:8443/a/b?c=d#e"}));
        assert_eq!(url.path(), "/a/b?c=d");
        let service =
            ClientConfig::read(&json!({"service": {"namespace": "shop", "name": "hook", "path": "validate"}}));
        assert_eq!(
            (service.path().as_str(), service.url().as_str()),
            ("/validate", "https://hook.shop.svc:443/validate")
        );
        let bare = ClientConfig::read(&json!({"url": "https://[::1]:9443"}));
        assert_eq!(bare.path(), "/");
    }
}
