//! Living beside other firewalls.
//!
//! Principle: accepting in our table does not overrule a drop in another one, so where others *provide* a place for
//! exceptions (Docker's `DOCKER-USER`, ufw's `ufw-before-*`), one tagged pair of rules is put there, and removed again;
//! everywhere else nothing is changed, and [`obstacles`] names the table and chain that drops, for `naru doctor`.
//! The alternative refused is editing whatever drops: a firewall somebody wrote is a decision somebody made.

mod obstacles;

use std::process::{Command, Output};

pub use obstacles::{Obstacle, obstacles, obstacles_in};

/// The comment on every rule of ours in tables of others.
pub const TAG: &str = "naru: pods";

/// A place for exceptions, and which of the two directions it takes.
const PLACES: [(&str, &[&str]); 3] = [
    ("DOCKER-USER", &["iifname", "oifname"]),
    ("ufw-before-forward", &["iifname", "oifname"]),
    // Pods ask the node for names.
    ("ufw-before-input", &["iifname"]),
];

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

/// Puts our exceptions where others provide a place for them; idempotent. Returns the chains that have them now.
///
/// Blocks for some milliseconds. To be repeated now and then: Docker and ufw may start or reload later.
pub fn allow_pods() -> Result<Vec<String>, FirewallError> {
    let mut placed = Vec::new();
    for (chain, directions) in PLACES {
        if let Some(listing) = listing(chain)? {
            for direction in directions {
                if !has_rule(&listing, direction) {
                    let rule = format!("{direction} \"naru*\" counter accept comment \"{TAG}\"");
                    nft(&["insert", "rule", "ip", "filter", chain, &rule])?;
                }
            }
            placed.push(format!("ip filter {chain}"));
        }
        if legacy_chain(chain) {
            for direction in directions {
                let rule = legacy_rule(direction);
                if legacy("-C", chain, &rule).is_err() {
                    legacy("-I", chain, &rule)?;
                }
            }
            placed.push(format!("iptables-legacy {chain}"));
        }
    }
    Ok(placed)
}

/// Removes our exceptions wherever they are.
pub fn forget_pods() -> Result<(), FirewallError> {
    for (chain, directions) in PLACES {
        for line in listing(chain)?.unwrap_or_default().lines().filter(|line| line.contains(TAG)) {
            if let Some((_, handle)) = line.rsplit_once("# handle ") {
                nft(&["delete", "rule", "ip", "filter", chain, "handle", handle.trim()])?;
            }
        }
        if legacy_chain(chain) {
            for direction in directions {
                let rule = legacy_rule(direction);
                while legacy("-D", chain, &rule).is_ok() {}
            }
        }
    }
    Ok(())
}

fn has_rule(listing: &str, direction: &str) -> bool {
    listing.lines().any(|line| line.contains(TAG) && line.trim_start().starts_with(direction))
}

/// The rules of a chain with their handles; `None` when there is no such chain.
fn listing(chain: &str) -> Result<Option<String>, FirewallError> {
    let output = run("nft", &["-a", "list", "chain", "ip", "filter", chain])?;
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

fn legacy_rule(direction: &str) -> [&'static str; 8] {
    let side = if direction == "iifname" { "-i" } else { "-o" };
    [side, "naru+", "-m", "comment", "--comment", TAG, "-j", "ACCEPT"]
}

fn legacy(verb: &str, chain: &str, rule: &[&str]) -> Result<(), FirewallError> {
    let args = [&["-w", verb, chain], rule].concat();
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
