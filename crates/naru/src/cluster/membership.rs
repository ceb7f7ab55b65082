//! What makes a machine a node of somebody else's cluster: a folder with its key, its certificate, whom it trusts and
//! where servers answer.
//!
//! The folder is replaced as a whole, so that a key never stands beside another key's certificate, whenever the power
//! goes.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;
use naru_client::{ClientCertificate, HttpTransport, TlsSettings};
use naru_identity::write_file;
use serde::{Deserialize, Serialize};

use crate::cli::Place;

/// The name that every server's certificate carries, whatever address it is reached at.
pub(crate) const SERVER_NAME: &str = "kubernetes";

/// A node's belonging to a cluster, as it is on disk.
#[derive(Clone)]
pub(crate) struct Membership {
    /// What is no secret.
    pub cluster: Cluster,
    /// The authority's certificate (PEM).
    pub authority: String,
    /// The node's certificate (PEM).
    pub certificate: String,
    /// The node's key (PEM).
    pub key: String,
}

/// `cluster.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cluster {
    /// Which cluster.
    pub cluster_id: String,
    /// Which node.
    pub node_name: String,
    /// Where servers answer, `host:port`: those that the join token named.
    pub servers: Vec<String>,
    /// The same, as the servers themselves say.
    #[serde(default)]
    pub reported: Vec<String>,
    /// Addresses of all pods.
    pub pod_network: naru_api::Ranges,
    /// Addresses of all services.
    pub service_network: naru_api::Ranges,
    /// When the certificate was signed.
    pub signed: Timestamp,
    /// The node's labels besides the standard ones.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The node's address, where it is not to be found out.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Whether that address means nothing to other nodes: it lies behind address translation.
    #[serde(default)]
    pub behind_nat: bool,
    /// What a server of the cluster said when this node was a member no more. It does not come back by itself then: a
    /// cluster that is restored from an older backup would take it in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<String>,
}

// === impl Cluster ===

impl Cluster {
    /// Every known server, each once.
    pub fn addresses(&self) -> Vec<String> {
        let mut all = self.servers.clone();
        all.extend(self.reported.iter().filter(|server| !self.servers.contains(server)).cloned());
        all
    }
}

// === impl Membership ===

impl Membership {
    /// The folder.
    pub fn folder(place: &Place) -> PathBuf {
        place.state_dir.join("node")
    }

    /// Whether this machine is a worker.
    pub fn exists(place: &Place) -> bool {
        Self::folder(place).join("cluster.json").exists()
    }

    /// Reads it; `None` on a machine that is no worker.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn load(place: &Place) -> anyhow::Result<Option<Membership>> {
        if !Self::exists(place) {
            return Ok(None);
        }
        let folder = Self::folder(place);
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let cluster = serde_json::from_str(&read("cluster.json")?).with_context(|| {
            format!("{} is damaged: run `naru leave`, then join again", folder.join("cluster.json").display())
        })?;
        let (authority, certificate, key) = (read("ca.crt")?, read("node.crt")?, read("node.key")?);
        Ok(Some(Membership { cluster, authority, certificate, key }))
    }

    /// Writes it, in place of what was there.
    ///
    /// # Errors
    /// When the folder cannot be written; what was there stays.
    pub fn save(&self, place: &Place) -> anyhow::Result<()> {
        let (folder, fresh) = (Self::folder(place), place.state_dir.join("node.new"));
        let _ = fs::remove_dir_all(&fresh);
        let write = || -> anyhow::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&fresh)?;
            write_file(&fresh.join("ca.crt"), self.authority.as_bytes(), 0o644)?;
            write_file(&fresh.join("node.crt"), self.certificate.as_bytes(), 0o644)?;
            write_file(&fresh.join("node.key"), self.key.as_bytes(), 0o600)?;
            write_file(&fresh.join("cluster.json"), &serde_json::to_vec_pretty(&self.cluster)?, 0o644)?;
            exchange(&fresh, &folder)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", folder.display()))?;
        let _ = fs::remove_dir_all(&fresh);
        Ok(())
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the folder does not go.
    pub fn remove(place: &Place) -> anyhow::Result<()> {
        let folder = Self::folder(place);
        // First what makes a member of it: half a folder is none.
        let _ = fs::remove_file(folder.join("cluster.json"));
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// A way to each server that is known.
    ///
    /// # Errors
    /// When a certificate is unusable.
    pub fn transports(&self) -> anyhow::Result<Vec<HttpTransport>> {
        let settings = TlsSettings {
            authorities: self.authority.clone().into_bytes(),
            client: Some(ClientCertificate {
                certificate: self.certificate.clone().into_bytes(),
                key: self.key.clone().into_bytes(),
            }),
            server_name: Some(SERVER_NAME.to_owned()),
            ..TlsSettings::default()
        };
        let servers = self.cluster.addresses();
        if servers.is_empty() {
            bail!("no server is known: run `naru leave`, then join again");
        }
        servers
            .iter()
            .map(|server| HttpTransport::tcp(&format!("https://{server}"), &settings).map_err(anyhow::Error::from))
            .collect()
    }

    /// When the certificate is to be renewed: after two thirds of its life.
    pub fn renew_at(&self) -> Timestamp {
        let Some((_, end)) = naru_identity::validity_of_pem(&self.certificate) else { return Timestamp::MIN };
        renew_at(self.cluster.signed, end)
    }
}

fn renew_at(signed: Timestamp, end: Timestamp) -> Timestamp {
    let life = end.as_second().saturating_sub(signed.as_second()).max(0);
    Timestamp::from_second(signed.as_second().saturating_add(life / 3 * 2)).unwrap_or(Timestamp::MIN)
}

/// Puts a folder in place of another, which may not be there, at once.
fn exchange(fresh: &Path, old: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    if old.exists() {
        match renameat_with(CWD, fresh, CWD, old, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // A filesystem that cannot: the moment between is survived by the copy beside.
            Err(_) => {
                fs::remove_dir_all(old)?;
                fs::rename(fresh, old)?;
            }
        }
    } else {
        fs::rename(fresh, old)?;
    }
    match old.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert_eq!(renew_at(at(1_000), at(1_300)), at(1_200));
        assert_eq!(renew_at(at(1_000), at(900)), at(1_000), "one that ended is renewed at once");
    }

    #[test]
    fn servers_of_the_token_come_first_and_each_once() {
        let text = serde_json::json!({"clusterId": "c", "nodeName": "n", "servers": ["a:1", "b:1"], "reported": ["b:1", "c:1"],
            "podNetwork": "10.42.0.0/16", "serviceNetwork": "10.43.0.0/16", "signed": "2026-01-01T00:00:00Z"});
        let cluster: Cluster = serde_json::from_value(text).expect("a cluster");
        assert_eq!(cluster.addresses(), ["a:1", "b:1", "c:1"]);
    }
}
