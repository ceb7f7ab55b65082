//! Addresses of services: the ranges that they come from, and the IPAddress that shows each.
//!
//! Who has an address is settled by its reservation, which only the server writes; the IPAddress that clients see is written
//! beside it, in the same transaction. An IPAddress that somebody makes by hand takes that second key, so that no service
//! gets its address. Refused: the IPAddress alone, since whoever deletes one would free an address that is in use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use ipnet::IpNet;
use naru_api::naru::names::{ADDRESS_ALLOCATOR, ADDRESS_FAMILY, ADDRESS_MANAGER};
use naru_api::{Kind, Status, admit, meta};
use naru_store::{Key, Prefix, Revision, Snapshot};
use rand::RngExt;
use serde_json::{Value, json};

use crate::state::Core;
use crate::verbs::create::identify;
use crate::verbs::owners;
use crate::{encode, object};

/// The reservations of addresses.
pub(crate) const RESERVED: &str = "addresses.internal.naru.io";
/// IPAddresses.
pub(crate) const SHOWN: &str = "ipaddresses.networking.k8s.io";
/// ServiceCIDRs.
pub(crate) const RANGES: &str = "servicecidrs.networking.k8s.io";
/// The ServiceCIDR that the server was started with.
pub(crate) const DEFAULT: &str = "kubernetes";
/// How much of a range of IPv6 is drawn from.
const DRAWN_BITS: u8 = 16;
/// Random draws before every candidate is looked at in turn.
const DRAWS: usize = 32;

/// The ranges that addresses are given from now.
#[derive(Debug, Default)]
pub(crate) struct Space(Vec<Given>);

/// A range that addresses are given from.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) range: IpNet,
    /// The ServiceCIDR that gives it, as it was seen: it must still be so when an address is taken.
    pub(crate) by: (Key, Revision),
}

// === impl Space ===

impl Space {
    /// The ranges of all ServiceCIDRs that are ready, the one that the server was started with first.
    pub(crate) fn of(snapshot: &Snapshot) -> Space {
        let prefix = Prefix::collection(RANGES);
        let mut entries: Vec<_> = snapshot.range(&prefix).collect();
        entries.sort_by_key(|entry| entry.key.name() != DEFAULT);
        let mut given = Vec::new();
        for entry in entries {
            let cidr = object::parse(&entry.served);
            if !is_ready(&cidr) {
                continue;
            }
            let ranges = cidr["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let ranges = ranges.filter_map(|range| range.parse().ok());
            given.extend(ranges.map(|range| Given { range, by: (entry.key.clone(), entry.modified) }));
        }
        Space(given)
    }

    /// The range that gives an address.
    pub(crate) fn holding(&self, address: IpAddr) -> Option<&Given> {
        self.0.iter().find(|given| gives(given.range, address))
    }

    /// The ranges of the same family as `like`.
    pub(crate) fn of_family(&self, like: IpNet) -> impl Iterator<Item = IpNet> {
        let same = move |range: &IpNet| matches!(range, IpNet::V4(_)) == matches!(like, IpNet::V4(_));
        self.0.iter().map(|given| given.range).filter(same)
    }
}

/// Whether a ServiceCIDR gives addresses. One that nobody has judged yet does.
fn is_ready(cidr: &Value) -> bool {
    let conditions = cidr["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
    !meta::is_deleting(cidr) && ready.next().is_none_or(|condition| condition["status"] == "True")
}

/// Whether an address of a range is one that somebody can have: its first is nobody's, nor is the last of IPv4.
fn gives(range: IpNet, address: IpAddr) -> bool {
    range.contains(&address) && address != range.network() && (address.is_ipv6() || address != range.broadcast())
}

/// Draws a free address of a range. The lowest are left to services that name theirs (the API server's, DNS') while
/// there are others.
pub(crate) fn draw(range: IpNet, free: &dyn Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let (network, size) = match range {
        IpNet::V4(range) => (u128::from(u32::from(range.network())), 32 - range.prefix_len()),
        // Of a range without end, the beginning: nobody has so many services.
        IpNet::V6(range) => (u128::from(range.network()), (128 - range.prefix_len()).min(DRAWN_BITS)),
    };
    let address = |offset: u32| -> IpAddr {
        match range {
            IpNet::V4(_) => Ipv4Addr::from(network as u32 + offset).into(),
            IpNet::V6(_) => Ipv6Addr::from(network + u128::from(offset)).into(),
        }
    };
    let total = 1u64 << size;
    let last = u32::try_from(total.checked_sub(2)?).ok().filter(|last| *last > 0)?;
    let low = named_band(total) + 1;
    let is_free = |offset: &u32| free(address(*offset));
    let mut random = rand::rng();
    let mut drawn = (0..DRAWS).map(|_| random.random_range(low..=last));
    if let Some(found) = drawn.find(is_free) {
        return Some(address(found));
    }
    // From anywhere on, so that those who want the last ones at the same time do not all want the same.
    let start = rand::rng().random_range(low..=last);
    (start..=last).chain(low..start).chain(1..low).find(is_free).map(address)
}

/// How many of a range's lowest addresses are not drawn: a sixteenth, from 16 to 256, as in Kubernetes; none of a range
/// that has no more than that.
fn named_band(total: u64) -> u32 {
    const STEPS: u64 = 16;
    if total <= STEPS {
        return 0;
    }
    // Within the bounds of the clamp.
    u32::try_from((total / STEPS).clamp(16, 256)).unwrap_or(256)
}

/// The stored IPAddress of a service's address.
///
/// # Errors
/// When it cannot be encoded.
pub(crate) fn shown(core: &Core, address: &str, service: &Value) -> Result<Bytes, Status> {
    let route = core.route("networking.k8s.io", "v1", "ipaddresses")?;
    let kind = route.working_kind();
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let parent = json!({"resource": "services", "namespace": meta::namespace(service), "name": meta::name(service)});
    let mut object = json!({"kind": "IPAddress", "apiVersion": kind.api_version(),
        "metadata": {"name": address, "labels": {ADDRESS_FAMILY: family, ADDRESS_MANAGER: ADDRESS_ALLOCATOR}},
        "spec": {"parentRef": parent}});
    admit::prepare_create(kind, &mut object);
    identify(kind, &mut object);
    admit::default(kind, &mut object);
    owners::give(kind, &mut object, owners::SERVER);
    encode::encode(&core.sealer, &Key::new(SHOWN, "", address), &object).map_err(Status::internal)
}

/// Judges an IPAddress that somebody makes: an address that a service has may only be said to be that service's.
///
/// # Errors
/// 403 when another has it.
pub(crate) fn admit_by_hand(snapshot: &Snapshot, kind: &Kind, object: &Value) -> Result<(), Status> {
    let address = meta::name(object);
    // One that is there already is told as such.
    if snapshot.get(&Key::new(SHOWN, "", address)).is_some() {
        return Ok(());
    }
    let Some(entry) = snapshot.get(&Key::new(RESERVED, "", address)) else { return Ok(()) };
    let reservation = object::parse(&entry.served);
    let parent = &object["spec"]["parentRef"];
    let text = |field: &str| parent[field].as_str().unwrap_or_default();
    let named = format!("{}/{}", text("namespace"), text("name"));
    if text("group").is_empty() && text("resource") == "services" && reservation["owner"] == *named {
        return Ok(());
    }
    let owner = reservation["owner"].as_str().unwrap_or_default();
    Err(Status::forbidden(kind, address, &format!("the address is held by the service {owner}")))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_address_of_a_range_is_drawn_once_and_the_lowest_last() {
        for (range, count, low) in [
            ("10.43.0.0/27", 30, "10.43.0.17"),
            ("10.43.0.0/29", 6, "10.43.0.1"),
            ("fd00::/122", 62, "fd00::11"),
            ("10.43.0.0/31", 0, ""),
            ("10.43.0.0/32", 0, ""),
        ] {
            let range: IpNet = range.parse().expect("a range");
            let taken = RefCell::new(BTreeSet::new());
            let mut drawn = Vec::new();
            while let Some(address) = draw(range, &|address| !taken.borrow().contains(&address)) {
                assert!(gives(range, address) && taken.borrow_mut().insert(address), "{range}: {address}");
                drawn.push(address);
            }
            assert_eq!(drawn.len(), count, "{range}");
            if let Ok(low) = low.parse::<IpAddr>() {
                let named = drawn.iter().position(|address| *address < low).unwrap_or(count);
                assert!(drawn[named..].iter().all(|address| *address < low), "{range}: {drawn:?}");
            }
        }
    }

    #[test]
    fn the_ends_of_a_range_are_nobodys() {
        let four: IpNet = "10.43.0.0/24".parse().expect("a range");
        for (address, is) in [("10.43.0.0", false), ("10.43.0.1", true), ("10.43.0.254", true), ("10.43.0.255", false)]
        {
            assert_eq!(gives(four, address.parse().expect("an address")), is, "{address}");
        }
        let six: IpNet = "fd00::/112".parse().expect("a range");
        for (address, is) in [("fd00::", false), ("fd00::ffff", true), ("fd00::1:0", false)] {
            assert_eq!(gives(six, address.parse().expect("an address")), is, "{address}");
        }
    }

    #[test]
    fn a_range_that_goes_or_is_not_ready_gives_nothing() {
        let with = |metadata: Value, status: &str| json!({"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        assert!(is_ready(&json!({"metadata": {}})) && is_ready(&with(json!({}), "True")));
        assert!(!is_ready(&with(json!({}), "False")));
        assert!(!is_ready(&with(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), "True")));
    }
}
