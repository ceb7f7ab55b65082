//! `/etc/hosts` and `/etc/resolv.conf` of a pod.

use std::{fmt::Write as _, net::IpAddr};

use naru_api::{k8s::api::core::v1::Pod, naru::names};

use crate::Dns;

/// The pod's host table: loopback, its own name, `hostAliases`, and the names that mean the node
/// (`naru.io/host-gateway-names`), whose address is `gateway`.
#[must_use]
pub fn hosts_file(
    pod: &Pod,
    hostname: &str,
    addresses: &[IpAddr],
    gateway: Option<IpAddr>,
    domain: &str,
    host_table: Option<&str>,
) -> String {
    let spec = pod.spec.as_ref();
    let mut text = match host_table {
        // Pods in the host's network see the host's own table.
        Some(table) => format!("{}\n", table.trim_end()),
        None => "# Written by Naru.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
            .to_owned(),
    };
    if host_table.is_none() {
        let subdomain = spec.and_then(|spec| spec.subdomain.as_deref()).filter(|name| !name.is_empty());
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let own_domain = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(names::DOMAINNAME));
        for address in addresses {
            let full = match own_domain {
                Some(own) => Some(format!("{hostname}.{own}\t")),
                None => subdomain.map(|subdomain| format!("{hostname}.{subdomain}.{namespace}.svc.{domain}\t")),
            };
            let _ = writeln!(text, "{address}\t{}{hostname}", full.unwrap_or_default());
        }
    }
    for alias in spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten()) {
        let _ = writeln!(text, "{}\t{}", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t"));
    }
    let note = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(names::HOST_GATEWAY_NAMES));
    let names: Vec<String> = note.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    if let Some(gateway) = gateway.filter(|_| !names.is_empty()) {
        let _ = writeln!(text, "{gateway}\t{}", names.join("\t"));
    }
    text
}

/// The pod's resolver configuration from `dnsPolicy` and `dnsConfig`; `host` is the node's own.
#[must_use]
pub fn resolv_conf(pod: &Pod, dns: &Dns, host: &str) -> String {
    let spec = pod.spec.as_ref();
    let on_host = spec.and_then(|spec| spec.host_network) == Some(true);
    let policy = match spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst") {
        // Kubernetes' own rule: ClusterFirst means the host's resolver for pods in the host's network.
        "ClusterFirst" if on_host => "Default",
        other => other,
    };
    let (mut servers, mut search, mut options) = match policy {
        "None" => (Vec::new(), Vec::new(), Vec::new()),
        "Default" => parse(host),
        _ => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            let domain = &dns.domain;
            let mut search = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            search.extend(parse(host).1);
            (vec![dns.server.to_string()], search, vec!["ndots:5".to_owned()])
        }
    };
    if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        servers.extend(config.nameservers.clone().unwrap_or_default());
        search.extend(config.searches.clone().unwrap_or_default());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            options.retain(|known| known.split(':').next() != Some(name.as_str()));
            options.push(option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}")));
        }
    }
    let mut seen = Vec::new();
    search.retain(|domain| {
        !seen.contains(domain) && {
            seen.push(domain.clone());
            true
        }
    });
    let mut text = String::new();
    // The C library reads three servers.
    for server in servers.iter().take(3) {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// Servers, search domains and options of a `resolv.conf`.
fn parse(text: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (mut servers, mut search, mut options) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => servers.extend(words.next()),
            Some("search" | "domain") => search = words.filter(|word| word != ".").collect(),
            Some("options") => options.extend(words),
            _ => {}
        }
    }
    (servers, search, options)
}
