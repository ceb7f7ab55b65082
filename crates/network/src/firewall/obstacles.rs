//! What else on this machine drops packets of pods.

use serde_json::Value;

use super::{FirewallError, TAG, run};

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

/// Asks the kernel. Blocks; on machines with many rules for a while.
pub fn obstacles() -> Result<Vec<Obstacle>, FirewallError> {
    let output = run("nft", &["-j", "list", "ruleset"])?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(FirewallError::Refused { program: "nft", what: "-j list ruleset".into(), said });
    }
    let ruleset = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok(obstacles_in(&ruleset))
}

/// What in a ruleset (as `nft -j list ruleset` prints it) is in the way of pods. Pure.
pub fn obstacles_in(ruleset: &Value) -> Vec<Obstacle> {
    let empty = Vec::new();
    let entries = ruleset["nftables"].as_array().unwrap_or(&empty);
    let chains = entries.iter().filter_map(|entry| entry.get("chain"));
    let rules: Vec<&Value> = entries.iter().filter_map(|entry| entry.get("rule")).collect();
    chains
        .filter(|chain| chain["table"] != "naru" && is_ip(chain))
        .filter(|chain| chain["type"] == "filter" && matches!(chain["hook"].as_str(), Some("forward" | "input")))
        .filter_map(|chain| {
            let why = drops(chain, &rules)?;
            if excepted(chain, &rules) {
                return None;
            }
            let text = |key: &str| chain[key].as_str().unwrap_or_default().to_owned();
            Some(Obstacle {
                table: format!("{} {}", text("family"), text("table")),
                chain: text("name"),
                hook: text("hook"),
                why,
                advice: advice(chain),
            })
        })
        .collect()
}

fn is_ip(object: &Value) -> bool {
    matches!(object["family"].as_str(), Some("ip" | "inet"))
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

/// Whether something in the chain, or in a chain of the same table that it jumps to, accepts pods before that.
fn excepted(chain: &Value, rules: &[&Value]) -> bool {
    let mut todo = vec![chain["name"].as_str().unwrap_or_default().to_owned()];
    let mut seen = Vec::new();
    while let Some(name) = todo.pop() {
        if seen.contains(&name) {
            continue;
        }
        let here = rules.iter().filter(|rule| {
            rule["family"] == chain["family"] && rule["table"] == chain["table"] && rule["chain"] == name.as_str()
        });
        for rule in here {
            if accepts_pods(rule) {
                return true;
            }
            let targets = rule["expr"].as_array().into_iter().flatten().filter_map(|statement| {
                let jump = statement.get("jump").or_else(|| statement.get("goto"))?;
                Some(jump["target"].as_str()?.to_owned())
            });
            todo.extend(targets);
        }
        seen.push(name);
    }
    false
}

/// Our own exception, or one that somebody wrote for our interfaces.
fn accepts_pods(rule: &Value) -> bool {
    let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
    let accepts = statements.iter().any(|statement| statement.get("accept").is_some());
    let interface = statements.iter().any(|statement| {
        let right = &statement["match"]["right"];
        right.as_str().is_some_and(|name| name.starts_with("naru"))
    });
    accepts && (interface || rule["comment"] == TAG)
}

fn advice(chain: &Value) -> String {
    let text = |key: &str| chain[key].as_str().unwrap_or_default();
    let (family, table, name) = (text("family"), text("table"), text("name"));
    if table == "firewalld" {
        return "run: firewall-cmd --permanent --zone=trusted --add-interface=naru+ && firewall-cmd --reload".into();
    }
    let rule = |direction: &str| format!("nft insert rule {family} {table} {name} {direction} \"naru*\" accept");
    match text("hook") {
        "input" => format!("run: {}", rule("iifname")),
        _ => format!("run: {} && {}", rule("iifname"), rule("oifname")),
    }
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

    fn find(entries: &[Value]) -> Vec<String> {
        obstacles_in(&json!({"nftables": entries})).into_iter().map(|o| format!("{} {}", o.table, o.chain)).collect()
    }

    #[test]
    fn a_drop_policy_is_named_unless_pods_are_excepted() {
        let forward = chain("filter", "FORWARD", "forward", "drop");
        assert_eq!(find(std::slice::from_ref(&forward)), ["ip filter FORWARD"]);
        let jump = rule("filter", "FORWARD", json!([{"jump": {"target": "DOCKER-USER"}}]));
        let accept = rule(
            "filter",
            "DOCKER-USER",
            json!([{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "naru*"}}, {"accept": null}]),
        );
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
        let found = obstacles_in(&json!({"nftables": [chain("firewalld", "filter_FORWARD", "forward", "drop")]}));
        assert!(found[0].advice.contains("firewall-cmd"));
    }
}
