//! Profiles in Docker's JSON form, which is also what Kubernetes' `Localhost` profiles are written in.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    rules::{Action, Clause, Compare, Rules},
    table,
};
use crate::pod::Capabilities;

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    /// Not the expected JSON.
    #[error("seccomp profile: {0}")]
    Malformed(String),
    /// More instructions than the kernel takes.
    #[error("seccomp profile: {0} instructions are more than the kernel's 4096")]
    TooLong(usize),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    /// The older form of one name.
    name: Option<String>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

const OWN_ARCHITECTURES: [&str; 2] =
    if cfg!(target_arch = "aarch64") { ["arm64", "aarch64"] } else { ["amd64", "x86_64"] };

fn action(name: &str, errno: Option<u16>) -> Result<Action, ProfileError> {
    let number = errno.unwrap_or(libc::EPERM as u16);
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(number),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRACE" => Action::Trace(number),
        other => return Err(ProfileError::Malformed(format!("action {other:?} is not supported"))),
    })
}

fn comparison(argument: &Argument) -> Result<(u8, Compare), ProfileError> {
    let v = argument.value;
    if argument.index > 5 {
        return Err(ProfileError::Malformed(format!("argument {}: calls have 6, from 0", argument.index)));
    }
    let compare = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Compare::Equal(v),
        "SCMP_CMP_NE" => Compare::NotEqual(v),
        "SCMP_CMP_LT" => Compare::Less(v),
        "SCMP_CMP_LE" => Compare::LessOrEqual(v),
        "SCMP_CMP_GE" => Compare::GreaterOrEqual(v),
        "SCMP_CMP_GT" => Compare::Greater(v),
        "SCMP_CMP_MASKED_EQ" => Compare::Masked { mask: v, value: argument.value_two },
        other => return Err(ProfileError::Malformed(format!("comparison {other:?} is not known"))),
    };
    Ok((argument.index, compare))
}

impl Entry {
    /// Whether the entry is meant for this machine and container. Every kernel this program runs on is newer than any
    /// `minKernel` in use.
    fn applies(&self, held: Capabilities) -> bool {
        let own = |arches: &[String]| arches.iter().any(|a| OWN_ARCHITECTURES.contains(&a.as_str()));
        let any = |caps: &[String]| caps.iter().any(|name| table::holds(held, name));
        (self.includes.arches.is_empty() || own(&self.includes.arches))
            && (self.includes.caps.is_empty() || self.includes.caps.iter().all(|name| table::holds(held, name)))
            && !own(&self.excludes.arches)
            && !any(&self.excludes.caps)
            && self.excludes.min_kernel.is_none()
    }
}

/// Reads a profile. Calls that this machine does not have are left out, as Docker leaves them out.
pub(super) fn parse(text: &str, held: Capabilities) -> Result<Rules, ProfileError> {
    let profile: Profile = serde_json::from_str(text).map_err(|error| ProfileError::Malformed(error.to_string()))?;
    let otherwise = action(&profile.default_action, profile.default_errno_ret)?;
    let mut calls: BTreeMap<u32, Vec<Clause>> = BTreeMap::new();
    for entry in profile.syscalls.iter().filter(|e| e.applies(held)) {
        let action = action(&entry.action, entry.errno_ret)?;
        let arguments = entry.args.as_deref().unwrap_or_default();
        let when = arguments.iter().map(comparison).collect::<Result<Vec<_>, _>>()?;
        for number in entry.names.iter().chain(&entry.name).filter_map(|name| table::number(name)) {
            let clauses = calls.entry(number).or_default();
            let clause = Clause { when: when.clone(), action };
            // Conditions come before what holds always.
            let at = if clause.when.is_empty() {
                clauses.len()
            } else {
                clauses.iter().take_while(|c| !c.when.is_empty()).count()
            };
            clauses.insert(at, clause);
        }
    }
    let unknown =
        if matches!(otherwise, Action::Allow | Action::Log) { otherwise } else { Action::Errno(libc::ENOSYS as u16) };
    Ok(Rules { calls, otherwise, unknown })
}
