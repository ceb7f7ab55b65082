//! Where etcd is and who asks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::ConfigError;

/// How long an endpoint may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection on which nothing came for so long is asked whether it is alive, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// Where etcd is and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Addresses of members, `http://host:2379` or `https://host:2379`. All of one cluster.
    pub endpoints: Vec<String>,
    /// For `https` endpoints.
    pub tls: Tls,
    /// For clusters with authentication by name and password.
    pub credentials: Option<Credentials>,
}

/// Files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that members' certificates may come from. Without it no `https` endpoint is believed.
    pub authority: Option<PathBuf>,
    /// Our own certificate, for members that ask for one.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The name to expect in members' certificates, where it is not the host of the endpoint.
    pub server_name: Option<String>,
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Its name.
    pub user: String,
    /// Its password; never shown.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

impl Config {
    /// The endpoints, ready to be connected to.
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>, ConfigError> {
        if self.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoints);
        }
        let tls = match self.endpoints.iter().any(|text| text.starts_with("https://")) {
            true => Some(self.tls.load()?),
            false => None,
        };
        self.endpoints.iter().map(|text| endpoint(text, tls.as_ref())).collect()
    }
}

fn endpoint(text: &str, tls: Option<&ClientTlsConfig>) -> Result<Endpoint, ConfigError> {
    let bad = |what: &'static str| ConfigError::Endpoint { endpoint: text.to_owned(), what };
    let secure = match text.split_once("://") {
        Some(("http", host)) if !host.is_empty() => false,
        Some(("https", host)) if !host.is_empty() => true,
        _ => return Err(bad("expected http://HOST:PORT or https://HOST:PORT")),
    };
    let mut endpoint = Endpoint::from_shared(text.to_owned()).map_err(|_| bad("this is not an address"))?;
    if let (true, Some(tls)) = (secure, tls) {
        endpoint = endpoint.tls_config(tls.clone()).map_err(|source| ConfigError::Tls { source })?;
    }
    Ok(endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        // Values are large beside HTTP/2's first window, and one connection carries everything.
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20))
}

impl Tls {
    fn load(&self) -> Result<ClientTlsConfig, ConfigError> {
        let mut config = ClientTlsConfig::new();
        match &self.authority {
            Some(path) => config = config.ca_certificate(Certificate::from_pem(read(path)?)),
            None => return Err(ConfigError::NoAuthority),
        }
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            (None, None) => {}
            _ => return Err(ConfigError::HalfIdentity),
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoints: &[&str]) -> Config {
        Config { endpoints: endpoints.iter().map(|text| (*text).to_owned()).collect(), ..Config::default() }
    }

    #[test]
    fn what_is_no_endpoint_is_named() {
        assert!(matches!(config(&[]).endpoints(), Err(ConfigError::NoEndpoints)));
        for bad in ["localhost:2379", "http://", "ftp://etcd:2379", "http://a b"] {
            let error = config(&["http://127.0.0.1:2379", bad]).endpoints().unwrap_err();
            assert!(matches!(&error, ConfigError::Endpoint { endpoint, .. } if endpoint == bad), "{error}");
        }
        assert_eq!(config(&["http://127.0.0.1:2379", "http://[::1]:2379"]).endpoints().unwrap().len(), 2);
    }

    #[test]
    fn tls_needs_an_authority_and_whole_pairs() {
        let mut secure = config(&["https://127.0.0.1:2379"]);
        assert!(matches!(secure.endpoints(), Err(ConfigError::NoAuthority)));
        secure.tls.authority = Some("/nowhere/ca.pem".into());
        let error = secure.endpoints().unwrap_err();
        assert!(matches!(&error, ConfigError::File { path, .. } if path == Path::new("/nowhere/ca.pem")), "{error}");
    }

    #[test]
    fn passwords_are_not_shown() {
        let credentials = Credentials { user: "naru".into(), password: "hush".into() };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
