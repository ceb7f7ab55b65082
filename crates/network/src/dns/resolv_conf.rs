//! The `/etc/resolv.conf` of a pod.

use std::fmt::Write as _;
use std::net::IpAddr;

/// What a pod's resolver should do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodResolv {
    /// The name servers, the cluster's own first.
    pub servers: Vec<IpAddr>,
    /// Domains appended to short names.
    pub searches: Vec<String>,
    /// Options, as `name` or `name:value`.
    pub options: Vec<String>,
}

impl PodResolv {
    /// What a pod of `namespace` gets when it asks for nothing special: the cluster's server and its search domains.
    ///
    /// `ndots:1`, where Kubernetes has 5: this server understands every shortening as it stands, so foreign names need
    /// not be tried below three search domains first.
    pub fn cluster_first(server: IpAddr, namespace: &str, domain: &str) -> Self {
        Self {
            servers: vec![server],
            searches: vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()],
            options: vec!["ndots:1".into()],
        }
    }
}

/// The text of the file.
pub fn pod_resolv_conf(resolv: &PodResolv) -> String {
    let mut text = String::new();
    for server in &resolv.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !resolv.searches.is_empty() {
        let _ = writeln!(text, "search {}", resolv.searches.join(" "));
    }
    if !resolv.options.is_empty() {
        let _ = writeln!(text, "options {}", resolv.options.join(" "));
    }
    text
}
