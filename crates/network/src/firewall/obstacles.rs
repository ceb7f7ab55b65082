//! What else on this machine drops packets of pods.

use ipnet::{Ipv4Net, Ipv6Net};
use serde_json::Value;

use crate::peers::ClusterNetwork;

use super::{Door, FirewallError, TAG, UDP, run};

/// A chain of somebody else that drops what pods send or get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The table, with its family: `ip filter`.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// What it sees: `forward` (pods' packets to one another and out) or `input` (pods' packets to the node).
    pub hook: String,
    /// Why it is in the way.
    pub why: String,
    /// What to do about it.
    pub advice: String,
}

/// What must pass here, besides what pods of this machine send and get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    /// The addresses of all pods, where other nodes have some: those come and go by this machine's wires.
    pub pods: Option<Ipv4Net>,
    /// The IPv6 addresses of all pods, where pods have such: then chains of that family count too.
    pub second: Option<Ipv6Net>,
    /// UDP ports of this machine at which tunnels of other nodes end.
    pub tunnels: Vec<u16>,
}

/// Asks the kernel. `pods` are the addresses of all pods where other nodes have some, `second` their IPv6 addresses where
/// they have such, and `network` says at which ports tunnels end. Blocks; on machines with many rules for a while.
pub fn obstacles(
    pods: Option<Ipv4Net>,
    second: Option<Ipv6Net>,
    network: &ClusterNetwork,
) -> Result<Vec<Obstacle>, FirewallError> {
    let output = run("nft", &["-j", "list", "ruleset"])?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(FirewallError::Refused { program: "nft", what: "-j list ruleset".into(), said });
    }
    let ruleset = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let tunnels = if pods.is_some() { Door::tunnels(network) } else { Vec::new() };
    Ok(obstacles_in(&ruleset, &Others { pods, second, tunnels }))
}

/// What in a ruleset (as `nft -j list ruleset` prints it) is in the way of pods. Pure.
pub fn obstacles_in(ruleset: &Value, others: &Others) -> Vec<Obstacle> {
    let empty = Vec::new();
    let entries = ruleset["nftables"].as_array().unwrap_or(&empty);
    let chains = entries.iter().filter_map(|entry| entry.get("chain"));
    let rules: Vec<&Value> = entries.iter().filter_map(|entry| entry.get("rule")).collect();
    chains
        .filter(|chain| chain["table"] != "naru" && is_ip(chain, others))
        .filter(|chain| chain["type"] == "filter" && matches!(chain["hook"].as_str(), Some("forward" | "input")))
        .filter_map(|chain| {
            let why = drops(chain, &rules)?;
            let passes = passes(chain, &rules, others);
            if passes.suffices(chain, others) {
                return None;
            }
            let text = |key: &str| chain[key].as_str().unwrap_or_default().to_owned();
            Some(Obstacle {
                table: format!("{} {}", text("family"), text("table")),
                chain: text("name"),
                hook: text("hook"),
                why,
                advice: advice(chain, &passes, others),
            })
        })
        .collect()
}

fn is_ip(object: &Value, others: &Others) -> bool {
    match object["family"].as_str() {
        Some("ip" | "inet") => true,
        Some("ip6") => others.second.is_some(),
        _ => false,
    }
}

/// Why a chain drops what nothing in it accepts, if it does.
fn drops(chain: &Value, rules: &[&Value]) -> Option<String> {
    if chain["policy"] == "drop" {
        return Some("its policy is drop".into());
    }
    let last = of_chain(chain, rules).last()?;
    let statements = last["expr"].as_array()?;
    let verdict = |statement: &&Value| statement.get("drop").is_some() || statement.get("reject").is_some();
    // A rule without any condition: only a verdict, and perhaps a counter or a log.
    let unconditional = statements.iter().all(|s| verdict(&s) || s.get("counter").is_some() || s.get("log").is_some());
    (unconditional && statements.iter().any(|s| verdict(&s))).then(|| "its last rule refuses everything left".into())
}

fn of_chain<'a>(chain: &'a Value, rules: &'a [&'a Value]) -> impl Iterator<Item = &'a Value> {
    let same = |rule: &&&Value, key: &str, other: &str| rule[key] == chain[other];
    rules
        .iter()
        .filter(move |rule| {
            same(rule, "family", "family") && same(rule, "table", "table") && same(rule, "chain", "name")
        })
        .copied()
}

/// What a chain lets pass before it drops the rest.
#[derive(Debug, Default)]
struct Passes {
    /// Everything: the exception is our own.
    all: bool,
    /// What pods here send.
    from_pods: bool,
    /// What pods here get, from whomever.
    to_pods: bool,
    /// What ports of this machine lead to pods of other nodes.
    led: bool,
    /// Tunnels that end here.
    tunnels: Vec<u16>,
}

impl Passes {
    fn suffices(&self, chain: &Value, others: &Others) -> bool {
        let tunnels = || tunnels_of(chain, others).iter().all(|port| self.tunnels.contains(port));
        match (chain["hook"] == "forward", others.pods) {
            _ if self.all => true,
            (true, None) => self.from_pods || self.to_pods,
            (true, Some(_)) => self.from_pods && self.to_pods && self.led,
            (false, _) => self.from_pods && tunnels(),
        }
    }

    /// Adds what a rule lets pass, which accepts or goes where all is accepted.
    fn add(&mut self, rule: &Value, others: &Others) {
        let matches = statements(rule).iter().filter_map(|statement| statement.get("match"));
        let conditions: Vec<(String, &Value)> = matches.map(|m| (m["left"].to_string(), &m["right"])).collect();
        let naru = |right: &Value| right.as_str().is_some_and(|name| name.starts_with("naru"));
        self.all |= rule["comment"] == TAG;
        for (left, right) in &conditions {
            self.from_pods |= left.contains("iifname") && naru(right);
            self.to_pods |= left.contains("oifname") && naru(right);
            self.led |= left.contains("\"status\"") && *right == "dnat";
            // Trusting pods' addresses lets their packets in from the wire, and out of it.
            self.to_pods |= left.contains("saddr") && holds(right, others);
            if left.contains("dport") {
                self.tunnels.extend(others.tunnels.iter().filter(|port| *right == **port));
            }
        }
    }
}

fn statements(rule: &Value) -> &[Value] {
    rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether a condition holds for the addresses of all pods, of either family.
fn holds(right: &Value, others: &Others) -> bool {
    let (address, length) = (right["prefix"]["addr"].as_str(), right["prefix"]["len"].as_u64());
    let Some(range) = address.zip(length).map(|(address, length)| format!("{address}/{length}")) else { return false };
    let four = range.parse::<Ipv4Net>().is_ok_and(|range| others.pods.is_some_and(|pods| range.contains(&pods)));
    four || range.parse::<Ipv6Net>().is_ok_and(|range| others.second.is_some_and(|pods| range.contains(&pods)))
}

/// The tunnels whose packets a chain sees: their outside is IPv4.
fn tunnels_of<'a>(chain: &Value, others: &'a Others) -> &'a [u16] {
    if chain["family"] == "ip6" { &[] } else { &others.tunnels }
}

/// What something in the chain, or in a chain of the same table that it jumps to, lets pass.
fn passes(chain: &Value, rules: &[&Value], others: &Others) -> Passes {
    let of = |name: &str| {
        let name = name.to_owned();
        let same = |key: &'static str| move |rule: &&&Value| rule[key] == chain[key];
        rules.iter().filter(same("family")).filter(same("table")).filter(move |rule| rule["chain"] == name.as_str())
    };
    // A chain that ends with accepting all accepts what is led there by a condition, as firewalld's zones do.
    let accepts_all = |name: &str| {
        of(name)
            .next_back()
            .is_some_and(|last| statements(last).iter().any(|s| s.get("accept").is_some()) && !conditional(last))
    };
    let mut found = Passes::default();
    let mut todo = vec![chain["name"].as_str().unwrap_or_default().to_owned()];
    let mut seen = Vec::new();
    while let Some(name) = todo.pop() {
        if seen.contains(&name) {
            continue;
        }
        for rule in of(&name) {
            let targets = statements(rule).iter().filter_map(|statement| {
                let jump = statement.get("jump").or_else(|| statement.get("goto"))?;
                jump["target"].as_str()
            });
            let targets: Vec<&str> = targets.collect();
            let accepts = statements(rule).iter().any(|statement| statement.get("accept").is_some());
            if accepts || conditional(rule) && targets.iter().any(|target| accepts_all(target)) {
                found.add(rule, others);
            } else {
                todo.extend(targets.into_iter().map(str::to_owned));
            }
        }
        seen.push(name);
    }
    found
}

fn conditional(rule: &Value) -> bool {
    statements(rule).iter().any(|statement| statement.get("match").is_some())
}

/// The command that lets pass what does not.
fn advice(chain: &Value, passes: &Passes, others: &Others) -> String {
    let text = |key: &str| chain[key].as_str().unwrap_or_default();
    let (family, table, name) = (text("family"), text("table"), text("name"));
    let tunnels = || tunnels_of(chain, others).iter().filter(|port| !passes.tunnels.contains(port));
    let four = others.pods.filter(|_| family != "ip6");
    // Where other nodes have pods, they have addresses of both families.
    let second = others.second.filter(|_| family != "ip" && others.pods.is_some());
    if table == "firewalld" {
        let mut steps = vec!["--zone=trusted --add-interface=naru+".to_owned()];
        steps.extend(four.map(|pods| format!("--zone=trusted --add-source={pods}")));
        steps.extend(second.map(|pods| format!("--zone=trusted --add-source={pods}")));
        steps.extend(tunnels().map(|port| format!("--add-port={port}/udp")));
        let steps: String = steps.iter().map(|step| format!("firewall-cmd --permanent {step} && ")).collect();
        return format!("run: {steps}firewall-cmd --reload");
    }
    let network = ClusterNetwork::default();
    let mut doors = Vec::new();
    doors.extend((!passes.from_pods).then(|| Door::FromLinks.nft(Ipv4Net::default(), &network)));
    if text("hook") == "forward" {
        doors.extend((!passes.to_pods).then(|| Door::ToLinks.nft(Ipv4Net::default(), &network)));
        if !passes.led {
            doors.extend(four.into_iter().flat_map(|pods| [Door::Led, Door::Answers].map(|d| d.nft(pods, &network))));
            doors.extend(second.into_iter().flat_map(|pods| [Door::Led, Door::Answers].map(|d| d.nft(pods, &network))));
        }
    } else {
        doors.extend(tunnels().map(|port| format!("{UDP}{port}")));
    }
    let steps = doors.iter().map(|door| format!("nft insert rule {family} {table} {name} {door} accept"));
    format!("run: {}", steps.collect::<Vec<_>>().join(" && "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(table: &str, name: &str, hook: &str, policy: &str) -> Value {
        json!({"chain": {"family": "ip", "table": table, "name": name, "type": "filter", "hook": hook, "policy": policy}})
    }

    fn rule(table: &str, chain: &str, expr: Value) -> Value {
        json!({"rule": {"family": "ip", "table": table, "chain": chain, "expr": expr}})
    }

    fn interface(key: &str) -> Value {
        json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": "naru*"}})
    }

    fn find(entries: &[Value]) -> Vec<String> {
        obstacles_in(&json!({"nftables": entries}), &Others::default())
            .into_iter()
            .map(|o| format!("{} {}", o.table, o.chain))
            .collect()
    }

    #[test]
    fn a_drop_policy_is_named_unless_pods_are_excepted() {
        let forward = chain("filter", "FORWARD", "forward", "drop");
        assert_eq!(find(std::slice::from_ref(&forward)), ["ip filter FORWARD"]);
        let jump = rule("filter", "FORWARD", json!([{"jump": {"target": "DOCKER-USER"}}]));
        let accept = rule("filter", "DOCKER-USER", json!([interface("iifname"), {"accept": null}]));
        assert_eq!(find(&[forward.clone(), jump.clone()]), ["ip filter FORWARD"]);
        assert!(find(&[forward.clone(), jump, accept.clone()]).is_empty());
        assert_eq!(find(&[forward, accept]), ["ip filter FORWARD"], "a chain nobody jumps to excepts nobody");
    }

    #[test]
    fn a_final_refusal_counts_and_a_conditional_one_does_not() {
        let input = chain("mine", "in", "input", "accept");
        let reject = rule("mine", "in", json!([{"counter": {}}, {"reject": {"type": "icmpx"}}]));
        let conditional = rule("mine", "in", json!([{"match": {"right": 22}}, {"drop": null}]));
        assert_eq!(find(&[input.clone(), reject.clone()]), ["ip mine in"]);
        assert!(find(&[input.clone(), conditional.clone()]).is_empty());
        assert!(find(&[input, reject, conditional]).is_empty(), "only what ends the chain is unconditional");
    }

    #[test]
    fn our_table_other_hooks_and_open_chains_are_no_obstacles() {
        assert!(
            find(&[
                chain("naru", "forward", "forward", "drop"),
                chain("x", "output", "output", "drop"),
                chain("y", "forward", "forward", "accept"),
            ])
            .is_empty()
        );
    }

    /// What `firewalld` makes of a zone that trusts something, as far as it matters.
    fn firewalld(trusting: &[Value]) -> Value {
        let mut entries = vec![
            chain("firewalld", "filter_FORWARD", "forward", "accept"),
            rule(
                "firewalld",
                "filter_FORWARD",
                json!([
                {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}, {"accept": null}]),
            ),
            rule("firewalld", "filter_FORWARD", json!([{"jump": {"target": "filter_FORWARD_ZONES"}}])),
            rule("firewalld", "filter_FORWARD", json!([{"reject": {"type": "icmpx"}}])),
            rule("firewalld", "filter_FWD_trusted", json!([{"jump": {"target": "filter_FWD_trusted_allow"}}])),
            rule("firewalld", "filter_FWD_trusted", json!([{"accept": null}])),
            // Between interfaces of the zone; says nothing of what comes from elsewhere.
            rule("firewalld", "filter_FWD_trusted_allow", json!([interface("oifname"), {"accept": null}])),
        ];
        let to_zone = |condition: &Value| json!([condition, {"goto": {"target": "filter_FWD_trusted"}}]);
        entries.extend(trusting.iter().map(|condition| rule("firewalld", "filter_FORWARD_ZONES", to_zone(condition))));
        json!({ "nftables": entries })
    }

    #[test]
    fn a_zone_that_trusts_is_an_exception_for_what_it_trusts() {
        let pods: Ipv4Net = "10.42.0.0/16".parse().unwrap();
        let (alone, many) = (Others::default(), Others { pods: Some(pods), ..Others::default() });
        let found = obstacles_in(&firewalld(&[]), &many);
        assert_eq!(
            found[0].advice,
            "run: firewall-cmd --permanent --zone=trusted --add-interface=naru+ && firewall-cmd --permanent \
             --zone=trusted --add-source=10.42.0.0/16 && firewall-cmd --reload"
        );
        let link = interface("iifname");
        assert!(obstacles_in(&firewalld(std::slice::from_ref(&link)), &alone).is_empty());
        assert_eq!(obstacles_in(&firewalld(std::slice::from_ref(&link)), &many).len(), 1, "pods of others are refused");
        let source = json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
            "right": {"prefix": {"addr": "10.42.0.0", "len": 16}}}});
        assert!(obstacles_in(&firewalld(&[link, source]), &many).is_empty());
    }

    #[test]
    fn other_nodes_need_more_doors() {
        let pods = Some("10.42.0.0/16".parse().unwrap());
        let others = Others { pods, tunnels: vec![8472], ..Others::default() };
        let found = obstacles_in(
            &json!({"nftables": [chain("mine", "in", "input", "drop"), chain("mine", "fwd", "forward", "drop")]}),
            &others,
        );
        assert_eq!(
            found[0].advice,
            "run: nft insert rule ip mine in iifname \"naru*\" accept && nft insert rule ip mine in udp dport 8472 accept"
        );
        assert!(found[1].advice.contains("ct status dnat ip daddr 10.42.0.0/16 accept"), "{}", found[1].advice);
        // What is open already is not asked for again.
        let pods = rule("mine", "in", json!([interface("iifname"), {"accept": null}]));
        let found = obstacles_in(&json!({"nftables": [chain("mine", "in", "input", "drop"), pods]}), &others);
        assert_eq!(found[0].advice, "run: nft insert rule ip mine in udp dport 8472 accept");
    }
    #[test]
    fn the_second_family_has_chains_of_its_own() {
        let of = |hook: &str, name: &str| json!({"chain": {"family": "ip6", "table": "mine", "name": name, "type": "filter", "hook": hook, "policy": "drop"}});
        let ruleset = json!({"nftables": [of("input", "in"), of("forward", "fwd")]});
        let four = Others { pods: Some("10.42.0.0/16".parse().unwrap()), tunnels: vec![8472], second: None };
        assert!(obstacles_in(&ruleset, &four).is_empty(), "pods have no IPv6");
        let second = Some("fd00:42::/48".parse().unwrap());
        let found = obstacles_in(&ruleset, &Others { second, ..four });
        assert_eq!(
            found[0].advice, "run: nft insert rule ip6 mine in iifname \"naru*\" accept",
            "tunnels are IPv4 outside"
        );
        let led = "nft insert rule ip6 mine fwd ct status dnat ip6 daddr fd00:42::/48 accept";
        assert!(found[1].advice.contains(led) && !found[1].advice.contains("10.42"), "{}", found[1].advice);
        let alone = obstacles_in(&ruleset, &Others { second, ..Others::default() });
        assert!(alone.len() == 2 && !alone[1].advice.contains("ct status"), "{alone:?}");
    }
}
