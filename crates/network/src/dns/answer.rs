//! From a question to a message, purely.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::names::Names;
use super::resolve::{Found, Host, resolve, reverse};
use super::zone::PodNames;

/// How long an answer may be kept, in seconds: virtual addresses, …
const TTL: u32 = 5;
/// … and addresses of single pods.
const TTL_VOLATILE: u32 = 1;
/// How many aliases may lead to one another.
const LONGEST_CHAIN: usize = 8;
/// The largest datagram sent, whatever the client offers (fits every path without fragments).
pub(super) const LARGEST_DATAGRAM: u16 = 1232;

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Answered.
    Answer(Message),
    /// Somebody else's: to be asked upstream.
    Forward,
    /// Begun with an alias; the rest is the upstream answer for `target`.
    Chase {
        /// The answer so far.
        begun: Message,
        /// The name still to be resolved.
        target: Name,
    },
}

/// Answers `query` for the client at `client`. `turn` rotates lists of addresses, so that clients that take the first
/// one spread.
pub fn answer(names: &Names, client: IpAddr, query: &Message, turn: usize) -> Outcome {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.queries = query.queries.clone();
    if let Some(edns) = &query.edns {
        let mut ours = Edns::new();
        ours.set_max_payload(LARGEST_DATAGRAM);
        ours.set_dnssec_ok(edns.flags().dnssec_ok);
        response.edns = Some(ours);
        if edns.version() > 0 {
            return refuse(response, ResponseCode::BADVERS);
        }
    }
    if query.metadata.message_type != MessageType::Query {
        return refuse(response, ResponseCode::FormErr);
    }
    if query.metadata.op_code != OpCode::Query {
        return refuse(response, ResponseCode::NotImp);
    }
    let [question] = query.queries.as_slice() else { return refuse(response, ResponseCode::FormErr) };
    if question.query_class() != DNSClass::IN {
        return refuse(response, ResponseCode::Refused);
    }
    match question.query_type() {
        RecordType::AXFR | RecordType::IXFR => refuse(response, ResponseCode::Refused),
        RecordType::PTR => answer_reverse(names, question, response),
        _ => answer_forward(names, client, question, response, turn),
    }
}

fn answer_forward(names: &Names, client: IpAddr, question: &Query, mut response: Message, turn: usize) -> Outcome {
    let name = question.name();
    let wanted = question.query_type();
    let text = lower(name);
    let labels: Vec<&str> = text.split('.').filter(|label| !label.is_empty()).collect();
    let asker = names.pod_at(client);
    match resolve(names, asker, &labels) {
        Found::Foreign => Outcome::Forward,
        Found::Alias(target) => answer_alias(names, asker, target, response, turn),
        Found::Empty if wanted == RecordType::SOA && labels == names.domain() => {
            add_soa(names, &mut response);
            response.answers.append(&mut response.authorities);
            response.metadata.authoritative = true;
            Outcome::Answer(response)
        }
        found => Outcome::Answer(complete(names, name, wanted, found, response, turn)),
    }
}

/// Adds what was found for `name` and closes the answer.
fn complete(
    names: &Names,
    name: &Name,
    wanted: RecordType,
    found: Found,
    mut response: Message,
    turn: usize,
) -> Message {
    let takes = |kind| wanted == kind || wanted == RecordType::ANY;
    match found {
        Found::Addresses { addresses, volatile } if addresses.iter().any(|address| takes(kind_of(address))) => {
            let ttl = if volatile { TTL_VOLATILE } else { TTL };
            let wanted: Vec<&IpAddr> = addresses.iter().filter(|address| takes(kind_of(address))).collect();
            let (later, first) = wanted.split_at(turn % wanted.len().max(1));
            let records = first.iter().chain(later).map(|address| address_record(name.clone(), ttl, **address));
            response.answers.extend(records);
        }
        Found::Hosts(hosts) if takes(RecordType::SRV) => add_hosts(name, &hosts, &mut response),
        Found::Nothing => {
            response.metadata.response_code = ResponseCode::NXDomain;
            add_soa(names, &mut response);
        }
        // The name exists, but not with this type: IPv6 above all, where services have IPv4 alone.
        _ => add_soa(names, &mut response),
    }
    response.metadata.authoritative = true;
    response
}

/// Follows aliases as long as they stay with us; no upstream server knows our names.
fn answer_alias(
    names: &Names,
    asker: Option<&PodNames>,
    mut target: String,
    mut response: Message,
    turn: usize,
) -> Outcome {
    let Some(question) = response.queries.first().cloned() else { return refuse(response, ResponseCode::ServFail) };
    let (mut owner, wanted) = (question.name().clone(), question.query_type());
    for _ in 0..LONGEST_CHAIN {
        let Ok(mut next) = Name::from_utf8(&target) else { return refuse(response, ResponseCode::ServFail) };
        next.set_fqdn(true);
        response.answers.push(Record::from_rdata(owner, TTL, RData::CNAME(CNAME(next.clone()))));
        if wanted == RecordType::CNAME {
            return Outcome::Answer(response);
        }
        let text = lower(&next);
        let labels: Vec<&str> = text.split('.').collect();
        if !labels.ends_with(&names.domain().iter().map(String::as_str).collect::<Vec<_>>()) {
            return Outcome::Chase { begun: response, target: next };
        }
        match resolve(names, asker, &labels) {
            Found::Alias(further) => (owner, target) = (next, further),
            found => return Outcome::Answer(complete(names, &next, wanted, found, response, turn)),
        }
    }
    // They lead in a circle.
    response.answers.clear();
    refuse(response, ResponseCode::ServFail)
}

fn answer_reverse(names: &Names, question: &Query, mut response: Message) -> Outcome {
    let Some(address) = address_of(question.name()) else { return Outcome::Forward };
    let Some(name) = reverse(names, address).and_then(|name| Name::from_utf8(format!("{name}.")).ok()) else {
        return Outcome::Forward;
    };
    response.answers.push(Record::from_rdata(question.name().clone(), TTL, RData::PTR(PTR(name))));
    response.metadata.authoritative = true;
    Outcome::Answer(response)
}

fn add_hosts(name: &Name, hosts: &[Host], response: &mut Message) {
    let weight = (100 / hosts.len().max(1)).max(1) as u16;
    for host in hosts {
        let Ok(target) = Name::from_utf8(format!("{}.", host.name)) else { continue };
        let srv = SRV::new(0, weight, host.port, target.clone());
        response.answers.push(Record::from_rdata(name.clone(), TTL, RData::SRV(srv)));
        let records = host.addresses.iter().map(|address| address_record(target.clone(), TTL, *address));
        response.additionals.extend(records);
    }
}

/// Negative answers say for how long they may be believed.
fn add_soa(names: &Names, response: &mut Message) {
    let domain = &names.zone().domain;
    let parse = |text: String| Name::from_utf8(text).ok();
    let (Some(zone), Some(primary), Some(mailbox)) =
        (parse(format!("{domain}.")), parse(format!("ns.dns.{domain}.")), parse(format!("hostmaster.{domain}.")))
    else {
        return;
    };
    let soa = SOA::new(primary, mailbox, 1, 7200, 1800, 86400, TTL);
    response.authorities.push(Record::from_rdata(zone, TTL, RData::SOA(soa)));
}

fn address_record(name: Name, ttl: u32, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(name, ttl, data)
}

fn kind_of(address: &IpAddr) -> RecordType {
    if address.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}

fn refuse(mut response: Message, code: ResponseCode) -> Outcome {
    response.metadata.response_code = code;
    Outcome::Answer(response)
}

/// The name in lower case, labels joined with dots. Bytes that are no text match nothing of ours.
fn lower(name: &Name) -> String {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| byte.to_ascii_lowercase() as char));
    }
    text
}

/// The address in a name below `in-addr.arpa` or `ip6.arpa`.
fn address_of(name: &Name) -> Option<IpAddr> {
    let text = lower(name);
    if let Some(reversed) = text.strip_suffix(".ip6.arpa") {
        let digits: Vec<u32> = reversed
            .split('.')
            .rev()
            .map(|digit| (digit.len() == 1).then(|| u32::from_str_radix(digit, 16).ok()).flatten())
            .collect::<Option<_>>()?;
        let whole = digits.iter().fold(0u128, |whole, digit| whole << 4 | u128::from(*digit));
        return (digits.len() == 32).then(|| Ipv6Addr::from(whole).into());
    }
    let reversed = text.strip_suffix(".in-addr.arpa")?;
    let octets: Vec<u8> = reversed.split('.').rev().map(|octet| octet.parse().ok()).collect::<Option<_>>()?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into())
}

/// Encodes `message` into at most `limit` bytes: what does not fit is left out and the client told to ask over TCP.
pub(super) fn encode(mut message: Message, limit: usize) -> Option<Vec<u8>> {
    loop {
        let bytes = message.to_vec().ok()?;
        if bytes.len() <= limit {
            return Some(bytes);
        }
        if !message.additionals.is_empty() {
            message.additionals.clear();
            continue;
        }
        message.metadata.truncation = true;
        if message.answers.is_empty() {
            message.authorities.clear();
            return message.to_vec().ok().filter(|bytes| bytes.len() <= limit);
        }
        // Proportionally, so that thousands of records take a few rounds.
        let keep = message.answers.len() * limit / bytes.len();
        message.answers.truncate(keep.min(message.answers.len() - 1));
    }
}
