//! Services: virtual addresses and node ports, each held by at most one service.
//!
//! What a service holds is written beside it as reservations, one key an address or port, in the same transaction (and
//! with each address its IPAddress, see [`address`]). Two services that want the same one meet at that key and the later
//! is refused or draws again. Refused: a separate allocator with a bitmap, which must be repaired when it and the services
//! disagree.

mod families;

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use ipnet::IpNet;
use naru_api::{FieldError, Kind, Status, meta};
use naru_store::{Key, Snapshot};
use rand::RngExt;
use serde_json::{Value, json};

use super::Effects;
use super::address::{self, RESERVED, SHOWN, Space};
use crate::config::Settings;
use crate::encode;
use crate::state::Core;

const NODE_PORTS: &str = "nodeports.internal.naru.io";
/// Random draws before every candidate is looked at in turn.
const DRAWS: usize = 32;

/// Completes a service's addresses and node ports, keeping what it has.
///
/// # Errors
/// 422 for an address or port that is taken, outside its range or changed; 503 when none is left.
pub(crate) fn admit(
    core: &Core,
    snapshot: &Snapshot,
    kind: &Kind,
    old: Option<&Value>,
    service: &mut Value,
) -> Result<Effects, Status> {
    if !service["spec"].is_object() {
        return Ok(Effects::default());
    }
    let before: BTreeSet<Key> = old.map(held).into_iter().flatten().collect();
    let pool = Pool { settings: &core.settings, snapshot, before: &before, space: Space::of(snapshot) };
    families::complete(&pool, kind, old, service)?;
    node_ports(&pool, kind, old, service)?;
    let after: BTreeSet<Key> = held(service).into_iter().collect();
    let owner = format!("{}/{}", meta::namespace(service), meta::name(service));
    let (mut reserve, mut steady) = (Vec::new(), Vec::new());
    for key in after.difference(&before) {
        let value = match key.collection() {
            SHOWN => address::shown(core, key.name(), service)?,
            _ => reservation(key, &owner),
        };
        if key.collection() == RESERVED {
            let given = key.name().parse().ok().and_then(|address| pool.space.holding(address));
            steady.extend(given.map(|given| given.by.clone()));
        }
        reserve.push((key.clone(), value));
    }
    let release = before.difference(&after).cloned().collect();
    Ok(Effects { reserve, release, steady, ..Effects::default() })
}

/// The reservations that a service holds.
pub(crate) fn held(service: &Value) -> Vec<Key> {
    let spec = &service["spec"];
    let addresses = spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let addresses = addresses.filter(|a| !a.is_empty() && *a != "None");
    let addresses = addresses.flat_map(|address| [RESERVED, SHOWN].map(|of| Key::new(of, "", address)));
    let ports = spec["ports"].as_array().into_iter().flatten();
    let ports =
        ports.filter_map(|p| Some(port_key(u16::try_from(p["nodePort"].as_u64().filter(|n| *n > 0)?).ok()?, p)));
    addresses.chain(ports).collect()
}

/// What others hold, and may be drawn from.
struct Pool<'a> {
    settings: &'a Settings,
    snapshot: &'a Snapshot,
    before: &'a BTreeSet<Key>,
    /// Where addresses come from.
    space: Space,
}

impl Pool<'_> {
    fn is_free(&self, key: &Key) -> bool {
        self.before.contains(key) || self.snapshot.get(key).is_none()
    }

    /// Whether nobody else has an address, nor has reserved it.
    fn is_free_address(&self, address: &str) -> bool {
        [RESERVED, SHOWN].iter().all(|of| self.is_free(&Key::new(of, "", address)))
    }

    /// Draws an address of a family, the one of `like`.
    fn draw_address(&self, like: IpNet) -> Option<IpAddr> {
        let free = |address: IpAddr| self.is_free_address(&address.to_string());
        self.space.of_family(like).find_map(|range| address::draw(range, &free))
    }

    fn draw_port(&self, port: &Value, taken: &BTreeSet<Key>) -> Option<u16> {
        let range = self.settings.node_ports.clone();
        let free = |n: &u16| {
            let key = port_key(*n, port);
            !taken.contains(&key) && self.is_free(&key)
        };
        let mut random = rand::rng();
        let mut drawn = (0..DRAWS).map(|_| random.random_range(range.clone()));
        drawn.find(free).or_else(|| range.clone().find(free))
    }
}

fn reservation(key: &Key, owner: &str) -> Bytes {
    let (_, _, name) = key.parts();
    let value = json!({"kind": "Reservation", "apiVersion": "internal.naru.io/v1", "metadata": {"name": name},
        "owner": owner});
    encode::plain(&value).into()
}

fn port_key(number: u16, port: &Value) -> Key {
    let protocol = port["protocol"].as_str().unwrap_or("TCP").to_lowercase();
    Key::new(NODE_PORTS, "", &format!("{protocol}-{number}"))
}

fn invalid(kind: &Kind, service: &Value, path: &str, value: &Value, detail: &str) -> Status {
    Status::invalid(kind, meta::name(service), vec![FieldError::invalid(path, value, detail)])
}

fn node_ports(pool: &Pool<'_>, kind: &Kind, old: Option<&Value>, service: &mut Value) -> Result<(), Status> {
    let spec = &service["spec"];
    let wants = match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"].as_bool().unwrap_or(true),
        _ => false,
    };
    let may = matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    let mut ports = spec["ports"].as_array().cloned().unwrap_or_default();
    let mut taken = BTreeSet::new();
    for port in &mut ports {
        if !may {
            // A service that stops being reachable from outside gives its ports back.
            port.as_object_mut().and_then(|p| p.remove("nodePort"));
            continue;
        }
        let given = port["nodePort"].as_u64().filter(|n| *n > 0);
        let kept = given.or_else(|| old.and_then(|o| previous_port(o, port)));
        if let Some(number) = kept {
            let number = checked_port(pool, kind, service, port, number)?;
            taken.insert(port_key(number, port));
            port["nodePort"] = number.into();
        }
    }
    for port in ports.iter_mut().filter(|p| wants && p["nodePort"].as_u64().unwrap_or(0) == 0) {
        let number = pool.draw_port(port, &taken).ok_or_else(|| {
            Status::unavailable(format!("every node port of {:?} is taken by a service", pool.settings.node_ports))
        })?;
        taken.insert(port_key(number, port));
        port["nodePort"] = number.into();
    }
    if !ports.is_empty() {
        service["spec"]["ports"] = Value::Array(ports);
    }
    Ok(())
}

fn checked_port(pool: &Pool<'_>, kind: &Kind, service: &Value, port: &Value, number: u64) -> Result<u16, Status> {
    let range = &pool.settings.node_ports;
    let value = json!(number);
    let refuse = |detail: &str| invalid(kind, service, "spec.ports[].nodePort", &value, detail);
    let number = u16::try_from(number).ok().filter(|n| range.contains(n)).ok_or_else(|| {
        refuse(&format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            range.start(),
            range.end()
        ))
    })?;
    if pool.is_free(&port_key(number, port)) { Ok(number) } else { Err(refuse("provided port is already allocated")) }
}

/// The node port that the same port had before.
fn previous_port(old: &Value, port: &Value) -> Option<u64> {
    let same = |other: &&Value| {
        other["port"] == port["port"]
            && other["protocol"].as_str().unwrap_or("TCP") == port["protocol"].as_str().unwrap_or("TCP")
    };
    old["spec"]["ports"].as_array()?.iter().find(same)?["nodePort"].as_u64().filter(|n| *n > 0)
}
