//! Addresses of the network, and URLs.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Function, Outcome, one, tenth, walk, walk_twice};
use crate::error::EvalError;
use crate::types::Sig;
use crate::types::Sig::{Bool, Int, List, Map as MapOf, Opaque as Of, String as Str};
use crate::value::{Key, Opaque, Value};

pub(super) const IP_NAME: &str = "net.IP";
pub(super) const CIDR_NAME: &str = "net.CIDR";
const URL_NAME: &str = "kubernetes.URL";
const IP: Sig = Of(IP_NAME);
const CIDR: Sig = Of(CIDR_NAME);
const URL: Sig = Of(URL_NAME);
const IS: &[(&[Sig], Sig)] = &[(&[IP], Bool)];
const URL_PART: &[(&[Sig], Sig)] = &[(&[URL], Str)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "ip",
        member: false,
        overloads: &[(&[Str], IP)],
        call: |args| Ok(made(Ip(parse_ip(text(&args[0])?)?))),
        cost: walk,
    },
    Function {
        name: "isIP",
        member: false,
        overloads: &[(&[Str], Bool)],
        call: |args| Ok(Value::Bool(parse_ip(text(&args[0])?).is_ok())),
        cost: walk,
    },
    Function {
        name: "ip.isCanonical",
        member: false,
        overloads: &[(&[Str], Bool)],
        call: |args| Ok(Value::Bool(parse_ip(text(&args[0])?)?.to_string() == text(&args[0])?)),
        cost: walk_twice,
    },
    Function {
        name: "family",
        member: true,
        overloads: &[(&[IP], Int)],
        call: |args| Ok(Value::Int(if ip(&args[0])?.is_ipv4() { 4 } else { 6 })),
        cost: one,
    },
    Function {
        name: "isUnspecified",
        member: true,
        overloads: IS,
        call: |args| is(args, |ip| ip.is_unspecified()),
        cost: one,
    },
    Function {
        name: "isLoopback",
        member: true,
        overloads: IS,
        call: |args| is(args, |ip| ip.is_loopback()),
        cost: one,
    },
    Function {
        name: "isLinkLocalMulticast",
        member: true,
        overloads: IS,
        call: |args| is(args, is_link_local_multicast),
        cost: one,
    },
    Function {
        name: "isLinkLocalUnicast",
        member: true,
        overloads: IS,
        call: |args| is(args, is_link_local),
        cost: one,
    },
    Function { name: "isGlobalUnicast", member: true, overloads: IS, call: |args| is(args, is_global), cost: one },
    Function {
        name: "cidr",
        member: false,
        overloads: &[(&[Str], CIDR)],
        call: |args| Ok(made(parse_cidr(text(&args[0])?)?)),
        cost: walk,
    },
    Function {
        name: "isCIDR",
        member: false,
        overloads: &[(&[Str], Bool)],
        call: |args| Ok(Value::Bool(parse_cidr(text(&args[0])?).is_ok())),
        cost: walk,
    },
    Function {
        name: "containsIP",
        member: true,
        overloads: &[(&[CIDR, IP], Bool), (&[CIDR, Str], Bool)],
        call: contains_ip,
        cost: addresses,
    },
    Function {
        name: "containsCIDR",
        member: true,
        overloads: &[(&[CIDR, CIDR], Bool), (&[CIDR, Str], Bool)],
        call: contains_cidr,
        cost: addresses,
    },
    Function {
        name: "ip",
        member: true,
        overloads: &[(&[CIDR], IP)],
        call: |args| Ok(made(Ip(cidr(&args[0])?.address))),
        cost: one,
    },
    Function {
        name: "masked",
        member: true,
        overloads: &[(&[CIDR], CIDR)],
        call: |args| Ok(made(cidr(&args[0])?.masked())),
        cost: one,
    },
    Function {
        name: "prefixLength",
        member: true,
        overloads: &[(&[CIDR], Int)],
        call: |args| Ok(Value::Int(cidr(&args[0])?.length.into())),
        cost: one,
    },
    Function {
        name: "url",
        member: false,
        overloads: &[(&[Str], URL)],
        call: |args| {
            parse_url(text(&args[0])?).map(made).ok_or_else(|| {
                EvalError::new(format!(
                    "URL parse error during conversion from string: parse {:?}: invalid URI for request",
                    text(&args[0]).unwrap_or("")
                ))
            })
        },
        cost: walk,
    },
    Function {
        name: "isURL",
        member: false,
        overloads: &[(&[Str], Bool)],
        call: |args| Ok(Value::Bool(parse_url(text(&args[0])?).is_some())),
        cost: walk,
    },
    Function {
        name: "getScheme",
        member: true,
        overloads: URL_PART,
        call: |args| Ok(Value::text(&*url(&args[0])?.scheme)),
        cost: one,
    },
    Function {
        name: "getHost",
        member: true,
        overloads: URL_PART,
        call: |args| Ok(Value::text(&*url(&args[0])?.host)),
        cost: one,
    },
    Function {
        name: "getHostname",
        member: true,
        overloads: URL_PART,
        call: |args| Ok(Value::text(url(&args[0])?.name_and_port().0)),
        cost: one,
    },
    Function {
        name: "getPort",
        member: true,
        overloads: URL_PART,
        call: |args| Ok(Value::text(url(&args[0])?.name_and_port().1)),
        cost: one,
    },
    Function {
        name: "getEscapedPath",
        member: true,
        overloads: URL_PART,
        call: |args| Ok(Value::text(&*url(&args[0])?.path)),
        cost: one,
    },
    Function {
        name: "getQuery",
        member: true,
        overloads: &[(&[URL], MapOf(&Str, &List(&Str)))],
        call: |args| Ok(query(&url(&args[0])?.query)),
        cost: one,
    },
];

fn addresses(args: &[Value], _: &Value) -> u64 {
    4 + args.get(1).map_or(0, |value| tenth(value.size()))
}

fn text(value: &Value) -> Result<&str, EvalError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(EvalError::no_overload()),
    }
}

#[derive(Debug, PartialEq)]
struct Ip(IpAddr);

#[derive(Debug, PartialEq)]
struct Cidr {
    address: IpAddr,
    length: u8,
}

#[derive(Debug, PartialEq)]
struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

macro_rules! opaque {
    ($type:ty, $name:expr, $text:expr) => {
        impl Opaque for $type {
            fn type_name(&self) -> &'static str {
                $name
            }

            fn equals(&self, other: &dyn Opaque) -> bool {
                other.as_any().downcast_ref::<$type>().is_some_and(|other| other == self)
            }

            fn text(&self) -> Option<String> {
                let text: fn(&$type) -> Option<String> = $text;
                text(self)
            }

            fn as_any(&self) -> &dyn Any {
                self
            }
        }
    };
}

opaque!(Ip, IP_NAME, |ip| Some(ip.0.to_string()));
opaque!(Cidr, CIDR_NAME, |cidr| Some(format!("{}/{}", cidr.address, cidr.length)));
opaque!(Url, URL_NAME, |_| None);

fn made(value: impl Opaque + 'static) -> Value {
    Value::Opaque(Arc::new(value))
}

fn opened<T: 'static>(value: &Value) -> Result<&T, EvalError> {
    match value {
        Value::Opaque(value) => value.as_any().downcast_ref(),
        _ => None,
    }
    .ok_or_else(EvalError::no_overload)
}

fn ip(value: &Value) -> Result<IpAddr, EvalError> {
    opened::<Ip>(value).map(|ip| ip.0)
}

fn cidr(value: &Value) -> Result<&Cidr, EvalError> {
    opened(value)
}

fn url(value: &Value) -> Result<&Url, EvalError> {
    opened(value)
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    let ip: IpAddr = text.parse().map_err(|_| {
        EvalError::new(format!("IP Address {text:?} parse error during conversion from string: unable to parse IP"))
    })?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(EvalError::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, EvalError> {
    let wrong = || {
        EvalError::new(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): no valid prefix"
        ))
    };
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let address = parse_ip(address)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let plain = !length.is_empty()
        && length.bytes().all(|byte| byte.is_ascii_digit())
        && (length == "0" || !length.starts_with('0'));
    let length = length.parse().ok().filter(|length| plain && *length <= most).ok_or_else(wrong)?;
    Ok(Cidr { address, length })
}

impl Cidr {
    fn masked(&self) -> Cidr {
        Cidr { address: mask(self.address, self.length), length: self.length }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4() && mask(ip, self.length) == mask(self.address, self.length)
    }
}

fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn contains_ip(args: &[Value]) -> Outcome {
    let other = match &args[1] {
        Value::String(text) => parse_ip(text)?,
        other => ip(other)?,
    };
    Ok(Value::Bool(cidr(&args[0])?.contains(other)))
}

fn contains_cidr(args: &[Value]) -> Outcome {
    let parsed;
    let other = match &args[1] {
        Value::String(text) => {
            parsed = parse_cidr(text)?;
            &parsed
        }
        other => cidr(other)?,
    };
    let outer = cidr(&args[0])?;
    Ok(Value::Bool(outer.length <= other.length && outer.contains(other.address)))
}

fn is(args: &[Value], holds: fn(IpAddr) -> bool) -> Outcome {
    Ok(Value::Bool(holds(ip(&args[0])?)))
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// As Go counts: everything but loopback, multicast, link-local, broadcast and nothing at all.
fn is_global(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !broadcast && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !is_link_local(ip)
}

/// An absolute URI, or an absolute path.
fn parse_url(text: &str) -> Option<Url> {
    if text.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ if text.starts_with('/') => (String::new(), text),
        _ => return None,
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) if !scheme.is_empty() => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        _ => ("", rest),
    };
    if !scheme.is_empty() && authority.is_empty() && !path.starts_with('/') && path.is_empty() {
        return None;
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (name, port) = split_port(host);
    let bracketed = name.starts_with('[') == name.ends_with(']') && (!name.contains(':') || name.starts_with('['));
    if !bracketed
        || port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit()))
        || host.contains(['<', '>', '"', '%'])
    {
        return None;
    }
    unescape(path, false)?;
    Some(Url { scheme, host: host.to_owned(), path: escape_path(path), query: query.to_owned() })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => (&host[..at], Some(&host[at + 1..])),
        _ => (host, None),
    }
}

impl Url {
    fn name_and_port(&self) -> (&str, &str) {
        let (name, port) = split_port(&self.host);
        (name.trim_start_matches('[').trim_end_matches(']'), port.unwrap_or(""))
    }
}

fn escape_path(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/$&+,:;=@!'()*%".contains(&byte);
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if plain(byte) { escaped.push(byte.into()) } else { escaped.push_str(&format!("%{byte:02X}")) }
    }
    escaped
}

fn unescape(text: &str, plus: bool) -> Option<String> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn query(text: &str) -> Value {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for part in text.split('&').filter(|part| !part.is_empty() && !part.contains(';')) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) {
            found.entry(key).or_default().push(Value::text(value));
        }
    }
    let entries = found.into_iter().map(|(key, values)| (Key::String(key.into()), Value::list(values)));
    Value::Map(Arc::new(entries.collect()))
}
