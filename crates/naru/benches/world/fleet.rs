//! All simulated nodes, and the administrator's client beside them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use naru_client::{Client, ClientCertificate, HttpTransport, TlsSettings};

use super::node::SimNode;

/// Machines that join at the same time.
const ABREAST: usize = 64;

/// Where the server is, and how it is recognised.
pub struct Door {
    pub url: String,
    pub authority: Vec<u8>,
    /// The secret of a join token.
    pub token: String,
    pub administrator: ClientCertificate,
}

/// The nodes.
pub struct Fleet {
    pub nodes: Vec<SimNode>,
}

impl Door {
    fn client(&self, certificate: Option<ClientCertificate>, token: Option<&str>) -> Client {
        let tls = TlsSettings {
            authorities: self.authority.clone(),
            client: certificate,
            server_name: Some("kubernetes".to_owned()),
            ..TlsSettings::default()
        };
        let mut transport = HttpTransport::tcp(&self.url, &tls).expect("a transport");
        if let Some(token) = token {
            transport = transport.with_token(token).expect("a token");
        }
        Client::new(std::sync::Arc::new(transport))
    }

    /// The administrator's client: one connection of its own.
    pub fn administrator(&self) -> Client {
        self.client(Some(self.administrator.clone()), None)
    }
}

impl Fleet {
    /// Lets so many machines join; the first `followers` of them have a data plane that follows everything.
    pub async fn join(door: &Door, count: usize, followers: usize) -> Fleet {
        let invited = door.client(None, Some(&door.token));
        let joining = (0..count).map(|number| SimNode::join(door, number, &invited, number < followers));
        let joined: Vec<_> = stream::iter(joining).buffer_unordered(ABREAST).collect().await;
        let nodes =
            joined.into_iter().map(|node| node.unwrap_or_else(|error| panic!("a node did not join: {error:?}")));
        Fleet { nodes: nodes.collect() }
    }

    /// Pods that nodes with power have been given.
    pub fn given(&self) -> usize {
        self.nodes.iter().filter(|node| !node.is_off()).map(|node| node.given.load(Relaxed)).sum()
    }

    /// Waits until nodes with power have been given so many pods; gives the time, or how many there were when no more
    /// came for a long time.
    pub async fn until_given(&self, wanted: usize, patience: Duration) -> Result<Instant, usize> {
        let (mut best, mut since) = (0, Instant::now());
        loop {
            let given = self.given();
            if given == wanted {
                return Ok(Instant::now());
            }
            if given != best {
                (best, since) = (given, Instant::now());
            } else if since.elapsed() > patience {
                return Err(given);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
