//! Short forms of ports: `[[HOST_IP:]PUBLISHED:]TARGET[/PROTOCOL]`, with ranges.

use super::name;
use crate::error::{ComposeError, Position};
use crate::yaml::{Node, Tree};

/// Makes every port of a list long, one entry for each container port.
pub(super) fn expand(list: &mut Node, path: &str) -> Result<(), ComposeError> {
    let Tree::List(items) = &mut list.tree else { return Ok(()) };
    let mut long = Vec::with_capacity(items.len());
    for (at, item) in items.drain(..).enumerate() {
        let path = format!("{path}[{at}]");
        match item.as_text() {
            Some(text) => long.extend(parse(text, &item.at, &path)?),
            None => {
                check(&item, &path)?;
                long.push(item);
            }
        }
    }
    for port in &mut long {
        super::default(port, "protocol", "tcp");
        super::default(port, "mode", "ingress");
    }
    *items = long;
    Ok(())
}

fn parse(text: &str, at: &Position, path: &str) -> Result<Vec<Node>, ComposeError> {
    let wrong = |what: &str| {
        ComposeError::invalid(
            at,
            path,
            format!("{what} in {text:?}: expected [[HOST_IP:]PUBLISHED:]TARGET[/PROTOCOL], ports from 1 to 65535"),
        )
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp") {
        return Err(wrong(&format!("unknown protocol {protocol:?}")));
    }
    let (front, target) = ports.rsplit_once(':').map_or((None, ports), |(front, target)| (Some(front), target));
    let targets = range(target).ok_or_else(|| wrong("bad container port"))?;
    let (host, published) = match front {
        None => (None, None),
        Some(front) => match front.rsplit_once(':') {
            Some((host, published)) => (Some(host.trim_start_matches('[').trim_end_matches(']')), Some(published)),
            None => (None, Some(front)),
        },
    };
    if let Some(host) = host
        && host.parse::<std::net::IpAddr>().is_err()
    {
        return Err(wrong("bad host address"));
    }
    let published = match published.filter(|p| !p.is_empty()) {
        None => None,
        Some(text) => Some((text, range(text).ok_or_else(|| wrong("bad published port"))?)),
    };
    let (first, last) = targets;
    let mut entries = Vec::new();
    for target in first..=last {
        let published = match &published {
            None => None,
            // One container port with a range: the first free port of the range is taken.
            Some((text, (low, high))) if first == last && low != high => Some((*text).to_owned()),
            Some((_, (low, high))) if high - low == last - first => Some((low + (target - first)).to_string()),
            Some(_) => return Err(wrong("the ranges differ in length")),
        };
        let value = |text: &str| Node::text(text, at);
        let mut entry = vec![(name("target", at), value(&target.to_string()))];
        if let Some(published) = published {
            entry.push((name("published", at), value(&published)));
        }
        if let Some(host) = host {
            entry.push((name("host_ip", at), value(host)));
        }
        entry.push((name("protocol", at), value(protocol)));
        entries.push(Node::map(entry, at));
    }
    Ok(entries)
}

fn check(item: &Node, path: &str) -> Result<(), ComposeError> {
    let target = item
        .get("target")
        .ok_or_else(|| ComposeError::invalid(&item.at, path, "expected `target`: the container's port"))?;
    if !target.as_int().is_some_and(|port| (1..=65535).contains(&port)) {
        return Err(ComposeError::invalid(&target.at, format!("{path}.target"), "expected a port from 1 to 65535"));
    }
    if let Some(published) = item.get("published").filter(|p| !p.is_null())
        && published.as_text().and_then(range).is_none()
    {
        let problem = "expected a port from 1 to 65535, or a range such as 8000-8010";
        return Err(ComposeError::invalid(&published.at, format!("{path}.published"), problem));
    }
    Ok(())
}

/// `80` or `8000-8010`, both ends from 1 to 65535.
pub(crate) fn range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|p| *p > 0);
    let (low, high) = (port(low)?, port(high)?);
    (low <= high).then_some((low, high))
}
