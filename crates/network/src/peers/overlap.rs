//! Ranges that this machine uses already cannot be those of pods or services.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::model::Ipv6Config;

use super::underlay::is_ours;
use super::{HostNetwork, OverlayError, Underlay};

/// The ranges chosen cannot be used on this machine.
#[derive(Debug, thiserror::Error)]
pub enum OverlapError {
    /// The machine is in a network of the same addresses.
    #[error("{}", describe(.0))]
    Taken(Overlap),
    /// The same of the second family.
    #[error(
        "the {what} {ours} and this machine's address {address} ({interface}) have addresses in common, so one of them \
         could not be reached; choose another range with {option}"
    )]
    Second {
        /// Where the range is given.
        option: &'static str,
        /// What it is for.
        what: &'static str,
        /// The range.
        ours: Ipv6Net,
        /// The machine's address.
        address: Ipv6Addr,
        /// The interface that has it.
        interface: String,
    },
    /// The machine's networks could not be read.
    #[error("cannot compare the pod network with this machine's networks")]
    Unreadable(#[from] OverlayError),
}

/// Two ranges that meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    option: &'static str,
    what: &'static str,
    ours: Ipv4Net,
    theirs: HostNetwork,
    instead: Option<Ipv4Net>,
}

fn describe(overlap: &Overlap) -> String {
    let Overlap { option, what, ours, theirs, instead } = overlap;
    let instead = instead.map(|range| format!(", for instance {option} {range}")).unwrap_or_default();
    format!(
        "the {what} {ours} and the network {} of this machine ({}) have addresses in common, so one of them could not \
         be reached; choose another range with {option}{instead}",
        theirs.range, theirs.behind
    )
}

/// Refuses ranges that meet networks of this machine. All nodes of a cluster have the same ranges, so each looks before
/// it begins.
pub fn check_overlap(cluster_cidr: Ipv4Net, service_cidr: Ipv4Net) -> Result<(), OverlapError> {
    let underlay = Underlay::read(std::iter::empty())?;
    overlap(&underlay, cluster_cidr, service_cidr).map_or(Ok(()), |overlap| Err(OverlapError::Taken(overlap)))
}

/// As [`check_overlap`], for the second family: no address of the machine but ours may lie in a range.
pub fn check_second_overlap(second: &Ipv6Config) -> Result<(), OverlapError> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    second_overlap(&table, second).map_or(Ok(()), Err)
}

fn second_overlap(table: &str, second: &Ipv6Config) -> Option<OverlapError> {
    let ranges = [
        ("--pod-network", "pod network", second.cluster_cidr),
        ("--service-network", "service network", second.service_cidr),
    ];
    // Address, interface's number, prefix, scope, flags, interface.
    let addresses = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = Ipv6Addr::from(u128::from_str_radix(fields.first()?, 16).ok()?);
        let prefix = u8::from_str_radix(fields.get(2)?, 16).ok()?;
        Some((address, Ipv6Net::new(address, prefix).ok()?.trunc(), (*fields.get(5)?).to_owned()))
    });
    let foreign: Vec<_> = addresses.filter(|(_, _, interface)| !is_ours(interface)).collect();
    ranges.into_iter().find_map(|(option, what, ours)| {
        let meets = |network: &Ipv6Net| ours.contains(network) || network.contains(&ours);
        let (address, _, interface) = foreign.iter().find(|(_, network, _)| meets(network))?;
        Some(OverlapError::Second { option, what, ours, address: *address, interface: interface.clone() })
    })
}

/// The first overlap.
fn overlap(underlay: &Underlay, cluster_cidr: Ipv4Net, service_cidr: Ipv4Net) -> Option<Overlap> {
    let ranges =
        [("--pod-network", "pod network", cluster_cidr), ("--service-network", "service network", service_cidr)];
    ranges.into_iter().find_map(|(option, what, ours)| {
        let theirs = underlay.networks.iter().find(|network| meets(network, ours))?.clone();
        let others = [cluster_cidr, service_cidr];
        let free = |range: &Ipv4Net| {
            !underlay.networks.iter().any(|network| meets(network, *range))
                && !others.iter().any(|other| other.contains(range) || range.contains(other))
        };
        let instead = candidates().find(free);
        Some(Overlap { option, what, ours, theirs, instead })
    })
}

/// A network the machine is in must not meet ours at all. A mere route may be wider (a tunnel to all of 10.0.0.0/8): then
/// ours is the exception from it.
fn meets(network: &HostNetwork, ours: Ipv4Net) -> bool {
    ours.contains(&network.range) || network.connected && network.range.contains(&ours)
}

fn candidates() -> impl Iterator<Item = Ipv4Net> {
    let of = |a: u8, b: u8| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), 16);
    (44..=254).map(move |b| of(10, b)).chain((16..=31).map(move |b| of(172, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(networks: &[(&str, &str, bool)]) -> Underlay {
        let network = |(range, behind, connected): &(&str, &str, bool)| HostNetwork {
            range: range.parse().unwrap(),
            behind: (*behind).to_owned(),
            connected: *connected,
        };
        Underlay { networks: networks.iter().map(network).collect(), ..Underlay::default() }
    }

    fn found(networks: &[(&str, &str, bool)]) -> Option<String> {
        let (pods, services) = ("10.42.0.0/16".parse().unwrap(), "10.43.0.0/16".parse().unwrap());
        overlap(&machine(networks), pods, services).map(|overlap| OverlapError::Taken(overlap).to_string())
    }

    #[test]
    fn networks_of_the_machine_are_named_with_a_way_out() {
        let text = found(&[("192.0.2.0/24", "eth0", true), ("10.42.3.0/24", "eth1", true)]).unwrap();
        assert!(
            text.contains("pod network 10.42.0.0/16") && text.contains("10.42.3.0/24 of this machine (eth1)"),
            "{text}"
        );
        assert!(text.contains("--pod-network 10.44.0.0/16"), "{text}");
        let text = found(&[("10.40.0.0/13", "vpn0", true)]).unwrap();
        assert!(text.contains("--pod-network 10.48.0.0/16"), "a wider one, with what is free beside it: {text}");
        let text = found(&[("10.43.7.0/24", "tun0", false)]).unwrap();
        assert!(text.contains("service network") && text.contains("--service-network"), "{text}");
    }

    #[test]
    fn addresses_of_the_second_family_are_named() {
        let second = Ipv6Config {
            pod_subnet: "fd00:42::/64".parse().unwrap(),
            cluster_cidr: "fd00:42::/48".parse().unwrap(),
            service_cidr: "fd00:43::/112".parse().unwrap(),
            gateway: "fd00:42::a2a:1".parse().unwrap(),
        };
        let line = |address: &str, prefix: u8, interface: &str| {
            let address: Ipv6Addr = address.parse().unwrap();
            format!("{:032x} 02 {prefix:02x} 00 80 {interface}\n", u128::from(address))
        };
        let found = |table: String| second_overlap(&table, &second).map(|overlap| overlap.to_string());
        let own = line("fd00:42::a2a:1", 128, "naru-dns") + &line("::1", 128, "lo") + &line("2001:db8::7", 64, "eth0");
        assert_eq!(found(own.clone()), None);
        let text = found(own.clone() + &line("fd00:42:0:9::7", 64, "eth1")).unwrap();
        assert!(text.contains("pod network fd00:42::/48") && text.contains("fd00:42:0:9::7 (eth1)"), "{text}");
        let text = found(own + &line("fd00:43::1:0:0:1", 32, "vpn0")).unwrap();
        assert!(text.contains("service network") && text.contains("--service-network"), "a wider one: {text}");
    }

    #[test]
    fn wider_routes_and_neighbours_are_no_overlap() {
        assert_eq!(found(&[("10.0.0.0/8", "vpn0", false), ("10.41.0.0/16", "eth0", true)]), None);
    }
}
