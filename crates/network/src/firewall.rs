//! Living beside other firewalls.
//!
//! Principle: accepting in our table does not overrule a drop in another one, so where others *provide* a place for
//! exceptions (Docker's `DOCKER-USER`, ufw's `ufw-before-*`), one tagged pair of rules is put there, and removed again;
//! everywhere else nothing is changed, and [`obstacles`] names the table and chain that drops, for `naru doctor`.
//! The alternative refused is editing whatever drops: a firewall somebody wrote is a decision somebody made.

mod changes;
mod obstacles;

use std::process::{Command, Output};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::peers::{ClusterNetwork, VXLAN_INTERFACE};
use crate::wireguard;

pub use changes::Changes;
pub use obstacles::{Obstacle, Others, obstacles, obstacles_in};

/// The comment on every rule of ours in tables of others.
pub const TAG: &str = "naru: pods";
/// How the doors of tunnels begin.
const UDP: &str = "udp dport ";

/// A place for exceptions, and what passes there.
const PLACES: [(&str, &[Door]); 3] = [
    ("DOCKER-USER", &[Door::FromLinks, Door::ToLinks, Door::Led, Door::Answers]),
    ("ufw-before-forward", &[Door::FromLinks, Door::ToLinks, Door::Led, Door::Answers]),
    // Pods ask the node for names, and other nodes send tunnels to it.
    ("ufw-before-input", &[Door::FromLinks, Door::Tunnel, Door::Encrypted]),
];

/// The same for IPv6, in whose table Docker's chain has the same name. Tunnels are IPv4 outside.
const PLACES6: [(&str, &[Door]); 3] = [
    ("DOCKER-USER", &[Door::FromLinks, Door::ToLinks, Door::Led, Door::Answers]),
    ("ufw6-before-forward", &[Door::FromLinks, Door::ToLinks, Door::Led, Door::Answers]),
    ("ufw6-before-input", &[Door::FromLinks]),
];

/// A chain of another firewall, and what is let through there.
type Chain = (&'static str, &'static [Door]);

/// The tables where others have their places, by family.
const TABLES: [(&str, &[Chain]); 2] = [("ip", &PLACES), ("ip6", &PLACES6)];

/// What must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// What pods and tunnels send.
    FromLinks,
    /// What pods and tunnels get.
    ToLinks,
    /// What a port of this node leads to a pod of another one, past all links of ours.
    Led,
    /// The answers to that.
    Answers,
    /// Tunnels from other nodes, where there are any.
    Tunnel,
    /// The same, encrypted.
    Encrypted,
}

impl Door {
    /// For a tunnel: its device, and the UDP port at which it ends in a cluster whose servers say `network`.
    fn tunnel(self, network: &ClusterNetwork) -> Option<(&'static str, u16)> {
        match self {
            Self::Tunnel => Some((VXLAN_INTERFACE, network.vxlan_port)),
            Self::Encrypted => Some((wireguard::INTERFACE, network.wireguard_port)),
            _ => None,
        }
    }

    /// Whether it is needed now.
    fn needed(self, network: &ClusterNetwork) -> bool {
        let there = |name: &str| std::path::Path::new("/proc/sys/net/ipv4/conf").join(name).exists();
        self.tunnel(network).is_none_or(|(device, _)| there(device))
    }

    /// The UDP ports of the tunnels that this machine has now.
    fn tunnels(network: &ClusterNetwork) -> Vec<u16> {
        let doors = [Self::Tunnel, Self::Encrypted].into_iter().filter(|door| door.needed(network));
        doors.filter_map(|door| Some(door.tunnel(network)?.1)).collect()
    }

    /// What it takes, in the words of nft.
    fn nft(self, pods: impl Into<IpNet>, network: &ClusterNetwork) -> String {
        let pods = pods.into();
        let ip = if pods.addr().is_ipv4() { "ip" } else { "ip6" };
        match self {
            Self::FromLinks => "iifname \"naru*\"".into(),
            Self::ToLinks => "oifname \"naru*\"".into(),
            Self::Led => format!("ct status dnat {ip} daddr {pods}"),
            Self::Answers => format!("ct status dnat {ip} saddr {pods}"),
            Self::Tunnel | Self::Encrypted => format!("{UDP}{}", self.port(network)),
        }
    }

    fn port(self, network: &ClusterNetwork) -> u16 {
        self.tunnel(network).map_or(0, |(_, port)| port)
    }

    /// What it takes, in the words of iptables.
    fn legacy(self, pods: Ipv4Net, network: &ClusterNetwork) -> Vec<String> {
        let text = match self {
            Self::FromLinks => "-i naru+".to_owned(),
            Self::ToLinks => "-o naru+".to_owned(),
            Self::Led => format!("-d {pods} -m conntrack --ctstate DNAT"),
            Self::Answers => format!("-s {pods} -m conntrack --ctstate DNAT"),
            Self::Tunnel | Self::Encrypted => format!("-p udp --dport {}", self.port(network)),
        };
        let words = text.split(' ').map(str::to_owned);
        words.chain(["-m", "comment", "--comment", TAG, "-j", "ACCEPT"].map(str::to_owned)).collect()
    }
}

/// Another firewall's rules could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// A program could not be run.
    #[error("cannot run {program}; is it installed?")]
    Start {
        /// The program.
        program: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The kernel does not tell of changes.
    #[error("cannot subscribe to changes of other firewalls")]
    Changes(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A program said no.
    #[error("{program} {what} failed: {said}")]
    Refused {
        /// The program.
        program: &'static str,
        /// What was asked of it.
        what: String,
        /// What it said.
        said: String,
    },
}

/// Puts our exceptions where others provide a place for them; idempotent. `pods` are the addresses of all pods, and
/// `network` says at which ports tunnels of other nodes end; doors for other ports, of before, are taken away. Returns the
/// chains that have our exceptions now.
///
/// Blocks for some milliseconds. To be repeated when [`Changes`] tells, when there is a tunnel more or less, and now and then
/// where nobody tells: Docker and ufw may start or reload later.
pub fn allow_pods(pods: Ipv4Net, network: &ClusterNetwork) -> Result<Vec<String>, FirewallError> {
    let mut placed = Vec::new();
    for (chain, doors) in PLACES {
        placed.extend(place("ip", chain, doors, pods.into(), network)?);
        if legacy_chain(chain) {
            let doors = doors.iter().filter(|door| door.needed(network));
            let wanted: Vec<Vec<String>> = doors.map(|door| door.legacy(pods, network)).collect();
            for rule in wanted.iter().filter(|rule| legacy("-C", chain, rule).is_err()) {
                legacy("-I", chain, rule)?;
            }
            let is_tunnel = |rule: &Vec<String>| rule.iter().any(|word| word == "udp");
            for rule in legacy_rules(chain)?.into_iter().filter(is_tunnel) {
                if !wanted.iter().any(|wanted| is_tunnel(wanted) && same_port(wanted, &rule)) {
                    legacy("-D", chain, &rule)?;
                }
            }
            placed.push(format!("iptables-legacy {chain}"));
        }
    }
    Ok(placed)
}

/// As [`allow_pods`], for IPv6. Whoever has the older kernel interface there is told by nobody: what uses it for IPv6 is
/// older than what has a place for us.
pub fn allow_second(pods: Ipv6Net, network: &ClusterNetwork) -> Result<Vec<String>, FirewallError> {
    let placed: Result<Vec<_>, _> =
        PLACES6.iter().map(|(chain, doors)| place("ip6", chain, doors, pods.into(), network)).collect();
    Ok(placed?.into_iter().flatten().collect())
}

/// Puts what is missing into a chain, takes away tunnels' doors that are not needed, and says which chain it was; nothing
/// where there is no such chain.
fn place(
    family: &str,
    chain: &str,
    doors: &[Door],
    pods: IpNet,
    network: &ClusterNetwork,
) -> Result<Option<String>, FirewallError> {
    let Some(listing) = listing(family, chain)? else { return Ok(None) };
    let doors = doors.iter().filter(|door| door.needed(network));
    let wanted: Vec<String> = doors.map(|door| door.nft(pods, network)).collect();
    for door in wanted.iter().filter(|door| !has_rule(&listing, door)) {
        let rule = format!("{door} counter accept comment \"{TAG}\"");
        nft(&["insert", "rule", family, "filter", chain, &rule])?;
    }
    for handle in obsolete(&listing, &wanted) {
        nft(&["delete", "rule", family, "filter", chain, "handle", handle])?;
    }
    Ok(Some(format!("{family} filter {chain}")))
}

/// The handles of our doors for tunnels that are not wanted any more.
fn obsolete<'a>(listing: &'a str, wanted: &[String]) -> Vec<&'a str> {
    let lines = listing.lines().filter(|line| line.contains(TAG) && line.trim_start().starts_with(UDP));
    let others = lines.filter(|line| !wanted.iter().any(|door| is_rule(line, door)));
    others.filter_map(|line| Some(line.rsplit_once("# handle ")?.1.trim())).collect()
}

/// Removes our exceptions wherever they are.
pub fn forget_pods() -> Result<(), FirewallError> {
    for (family, chain) in
        TABLES.iter().flat_map(|(family, places)| places.iter().map(move |(chain, _)| (family, chain)))
    {
        for line in listing(family, chain)?.unwrap_or_default().lines().filter(|line| line.contains(TAG)) {
            if let Some((_, handle)) = line.rsplit_once("# handle ") {
                nft(&["delete", "rule", family, "filter", chain, "handle", handle.trim()])?;
            }
        }
    }
    for (chain, _) in PLACES {
        if legacy_chain(chain) {
            for rule in legacy_rules(chain)? {
                legacy("-D", chain, &rule)?;
            }
        }
    }
    Ok(())
}

/// Our rules in a chain, as `-D` takes them.
fn legacy_rules(chain: &str) -> Result<Vec<Vec<String>>, FirewallError> {
    let output = run("iptables-legacy", &["-w", "-S", chain])?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| legacy_ours(line, chain)).collect())
}

/// Whether two rules are of one port: printed, a rule has more words than it was written with.
fn same_port(rule: &[String], other: &[String]) -> bool {
    let port = |rule: &[String]| rule.iter().skip_while(|word| *word != "--dport").nth(1).cloned();
    port(rule) == port(other)
}

/// The words of one of our rules, as `iptables -S` prints it behind `-A <chain>`.
fn legacy_ours(line: &str, chain: &str) -> Option<Vec<String>> {
    let (before, after) = line.strip_prefix(&format!("-A {chain} "))?.split_once(&format!("\"{TAG}\""))?;
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    Some([words(before), vec![TAG.to_owned()], words(after)].concat())
}

fn has_rule(listing: &str, door: &str) -> bool {
    listing.lines().any(|line| line.contains(TAG) && is_rule(line, door))
}

/// Whether a line of a listing is the rule of this door, and not that of a port which begins alike.
fn is_rule(line: &str, door: &str) -> bool {
    line.trim_start().strip_prefix(door).is_some_and(|rest| rest.starts_with(' '))
}

/// The rules of a chain with their handles; `None` when there is no such chain.
fn listing(family: &str, chain: &str) -> Result<Option<String>, FirewallError> {
    let output = run("nft", &["-a", "list", "chain", family, "filter", chain])?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn nft(args: &[&str]) -> Result<(), FirewallError> {
    check("nft", args, run("nft", args)?)
}

/// Whether the older kernel interface is in use here and has this chain. Listing would load its modules, so the
/// kernel is asked first which tables it has.
fn legacy_chain(chain: &str) -> bool {
    let used = std::fs::read_to_string("/proc/net/ip_tables_names").is_ok_and(|names| names.contains("filter"));
    used && run("iptables-legacy", &["-w", "-n", "-L", chain]).is_ok_and(|output| output.status.success())
}

fn legacy(verb: &str, chain: &str, rule: &[String]) -> Result<(), FirewallError> {
    let mut args = vec!["-w", verb, chain];
    args.extend(rule.iter().map(String::as_str));
    check("iptables-legacy", &args, run("iptables-legacy", &args)?)
}

fn run(program: &'static str, args: &[&str]) -> Result<Output, FirewallError> {
    Command::new(program).args(args).output().map_err(|source| FirewallError::Start { program, source })
}

fn check(program: &'static str, args: &[&str], output: Output) -> Result<(), FirewallError> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(FirewallError::Refused { program, what: args.join(" "), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_ours_are_read_as_they_were_written() {
        let pods = "10.42.0.0/16".parse().unwrap();
        let printed =
            "-A DOCKER-USER -d 10.42.0.0/16 -m conntrack --ctstate DNAT -m comment --comment \"naru: pods\" -j ACCEPT";
        assert_eq!(legacy_ours(printed, "DOCKER-USER"), Some(Door::Led.legacy(pods, &ClusterNetwork::default())));
        assert_eq!(legacy_ours(printed, "FORWARD"), None);
        assert_eq!(legacy_ours("-A DOCKER-USER -j RETURN", "DOCKER-USER"), None);
    }
    #[test]
    fn doors_follow_the_clusters_ports() {
        let network = ClusterNetwork { vxlan_port: 847, wireguard_port: 51999, ..ClusterNetwork::default() };
        let doors = [Door::Tunnel, Door::Encrypted].map(|door| door.nft(Ipv4Net::default(), &network));
        assert_eq!(doors, ["udp dport 847", "udp dport 51999"]);
        let line = |port: u16, tag: &str, handle: u8| {
            format!("\t\tudp dport {port} counter packets 1 bytes 2 accept comment \"{tag}\" # handle {handle}\n")
        };
        let listing = line(8472, TAG, 4) + &line(51999, TAG, 5) + &line(8472, "mine", 6);
        assert!(!has_rule(&listing, &doors[0]) && has_rule(&listing, &doors[1]), "847 is not 8472");
        assert_eq!(obsolete(&listing, &doors), ["4"], "and what others opened is theirs");
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let printed = words("-p udp -m udp --dport 847 -m comment");
        assert!(same_port(&printed, &Door::Tunnel.legacy(Ipv4Net::default(), &network)));
        assert!(!same_port(&printed, &Door::Encrypted.legacy(Ipv4Net::default(), &network)));
    }
}
