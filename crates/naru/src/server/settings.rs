//! What of a server's options belongs to the cluster: noted at every start, so that a backup has it, and taken at the
//! next where the command line does not say otherwise. A restored server is thereby the node that it was.

use std::fs;

use anyhow::Context;
use naru_backup::ServerSettings;
use naru_network::peers::ClusterNetwork;

use crate::cli::{NodeNetworkOptions, Place, ServerOptions};

/// Its name in the state folder.
pub(crate) const FILE: &str = "server.json";

/// What was noted; `None` where nothing was, or nothing that can be read.
pub(crate) fn read(place: &Place) -> Option<ServerSettings> {
    serde_json::from_slice(&fs::read(place.state_dir.join(FILE)).ok()?).ok()
}

/// Completes the options by what was noted. The ranges of addresses have defaults, which nobody needs to say: these mean
/// what the cluster has.
pub(super) fn complete(options: &mut ServerOptions, noted: Option<&ServerSettings>) {
    let Some(noted) = noted else { return };
    options.node_name.get_or_insert_with(|| noted.node_name.clone());
    let take = |given: &mut naru_api::Ranges, usual: &str, noted: &str| {
        if given.to_string() == usual {
            *given = noted.parse().unwrap_or(*given);
        }
    };
    take(&mut options.pod_network, crate::cli::POD_NETWORK, &noted.pod_network);
    take(&mut options.service_network, crate::cli::SERVICE_NETWORK, &noted.service_network);
}

/// What holds for the network of all nodes: what is said now over what was noted.
pub(super) fn between(options: &NodeNetworkOptions, noted: Option<&ServerSettings>) -> ClusterNetwork {
    let before = noted.and_then(|noted| noted.network.as_deref()).map(ClusterNetwork::parse).unwrap_or_default();
    ClusterNetwork {
        encrypt: options.encrypt_nodes.unwrap_or(before.encrypt),
        vxlan_id: options.vxlan_id.unwrap_or(before.vxlan_id),
        vxlan_port: options.vxlan_port.unwrap_or(before.vxlan_port),
        wireguard_port: options.wireguard_port.unwrap_or(before.wireguard_port),
        mtu: options.pod_mtu.or(before.mtu),
    }
}

/// Notes them.
///
/// # Errors
/// When the state folder cannot be written.
pub(super) fn write(place: &Place, settings: &ServerSettings) -> anyhow::Result<()> {
    if read(place).as_ref() == Some(settings) {
        return Ok(());
    }
    let path = place.state_dir.join(FILE);
    let text = serde_json::to_vec_pretty(settings)?;
    naru_identity::write_file(&path, &text, 0o600).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn options(words: &[&str]) -> ServerOptions {
        let cli = Cli::parse_from([&["naru", "server"], words].concat());
        let Command::Server(options) = cli.command else { panic!("a server") };
        *options
    }

    #[test]
    fn a_server_is_what_it_was_unless_told_otherwise() {
        let noted = ServerSettings {
            node_name: "one".to_owned(),
            pod_network: "10.50.0.0/16".to_owned(),
            service_network: "10.51.0.0/16".to_owned(),
            network: None,
            restored: None,
        };
        let settled = |words: &[&str], noted| {
            let mut options = options(words);
            complete(&mut options, noted);
            (
                options.node_name.unwrap_or_default(),
                options.pod_network.to_string(),
                options.service_network.to_string(),
            )
        };
        let is = |name: &str, pods: &str, services: &str| (name.to_owned(), pods.to_owned(), services.to_owned());
        assert_eq!(settled(&[], None), is("", "10.42.0.0/16", "10.43.0.0/16"));
        assert_eq!(settled(&[], Some(&noted)), is("one", "10.50.0.0/16", "10.51.0.0/16"));
        let both = ServerSettings {
            pod_network: "10.42.0.0/16,fd00:42::/48".to_owned(),
            service_network: "10.43.0.0/16,fd00:43::/112".to_owned(),
            ..noted.clone()
        };
        assert_eq!(
            settled(&[], Some(&both)),
            is("one", &both.pod_network, &both.service_network),
            "both families stay"
        );
        let told = ["--node-name", "two", "--pod-network", "10.60.0.0/16"];
        assert_eq!(settled(&told, Some(&noted)), is("two", "10.60.0.0/16", "10.51.0.0/16"));
    }

    #[test]
    fn encryption_stays_until_it_is_taken_back() {
        let mut noted = None;
        let mut start = |words: &[&str]| {
            let network = between(&options(words).between, noted.as_ref());
            noted = Some(ServerSettings {
                node_name: "one".to_owned(),
                pod_network: String::new(),
                service_network: String::new(),
                network: serde_json::to_string(&network).ok(),
                restored: None,
            });
            network
        };
        assert!(!start(&[]).encrypt);
        let told = start(&["--encrypt-nodes", "--wireguard-port", "51999", "--pod-mtu", "1300"]);
        assert_eq!((told.encrypt, told.wireguard_port, told.mtu, told.vxlan_port), (true, 51999, Some(1300), 8472));
        assert_eq!(start(&[]), told, "a start without the option does not end it");
        assert!(!start(&["--encrypt-nodes=false"]).encrypt);
    }
}
