//! Rights and limits of a process: set one after another, in the only order in which each is still permitted.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{
    failure::{At, Outcome, refuse},
    report::Reporter,
    user::Identity,
};
use crate::{
    pod::{AppArmor, Capabilities, ProcessPolicy, Rlimit, StartStep},
    sys,
};

const OWN_PROFILE: &str = "naru-default";

/// Writes this process's readiness to be killed. Must run while the host's `/proc` is still there.
pub(super) fn oom_score(wanted: Option<i32>, report: &Reporter) -> Outcome {
    let path = "/proc/self/oom_score_adj";
    let now: i32 = fs::read_to_string(path).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
    let wanted = wanted.unwrap_or(0);
    if wanted == now {
        return Ok(());
    }
    match fs::write(path, wanted.to_string()) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
            report.warn(&format!("OOM score {wanted} not set, the machine does not permit it: it stays {now}"));
            Ok(())
        }
        done => done.at(StartStep::Policy, || format!("writing {wanted} to {path}")),
    }
}

/// Opens the file that takes the AppArmor profile of the next exec, if one is wanted. The host's `/proc` is used, since a
/// container's could be covered by something else.
pub(super) fn prepare_apparmor(wanted: &AppArmor) -> Outcome<Option<(File, String)>> {
    let name = match wanted {
        AppArmor::Unconfined => return Ok(None),
        AppArmor::Named(name) if name == "unconfined" => return Ok(None),
        AppArmor::Named(name) => name.as_str(),
        AppArmor::Default => OWN_PROFILE,
    };
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with('Y'));
    let loaded = || {
        let list = fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
        list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(profile, _)| profile == name))
    };
    match (enabled && loaded(), wanted) {
        (true, _) => {
            let open = |path: &str| File::options().write(true).open(path);
            let file = open("/proc/self/attr/apparmor/exec").or_else(|_| open("/proc/self/attr/exec"));
            file.at(StartStep::Policy, || "opening the AppArmor attribute").map(|f| Some((f, name.to_owned())))
        }
        (false, AppArmor::Default) => Ok(None),
        (false, _) => refuse(StartStep::Policy, format!("AppArmor profile {name} is not loaded on this machine")),
    }
}

fn resource(name: &str) -> Option<u32> {
    Some(match name {
        "cpu" => libc::RLIMIT_CPU,
        "fsize" => libc::RLIMIT_FSIZE,
        "data" => libc::RLIMIT_DATA,
        "stack" => libc::RLIMIT_STACK,
        "core" => libc::RLIMIT_CORE,
        "rss" => libc::RLIMIT_RSS,
        "nproc" => libc::RLIMIT_NPROC,
        "nofile" => libc::RLIMIT_NOFILE,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "as" => libc::RLIMIT_AS,
        "locks" => libc::RLIMIT_LOCKS,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        _ => return None,
    })
}

/// Sets process limits; what may not be raised is set as high as it may.
pub(super) fn limits(limits: &[Rlimit], report: &Reporter) -> Outcome {
    for limit in limits {
        let Some(number) = resource(&limit.name) else {
            return refuse(StartStep::Policy, format!("unknown process limit {:?}", limit.name));
        };
        let done = sys::set_resource_limit(number, limit.soft.min(limit.hard), limit.hard);
        if done.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::EPERM)) {
            let hard = sys::resource_limit(number).map_or(0, |(_, hard)| hard);
            let _ = sys::set_resource_limit(number, limit.soft.min(hard), hard);
            report.warn(&format!(
                "limit {} = {} not set, the machine does not permit more than {hard}",
                limit.name, limit.hard
            ));
            continue;
        }
        done.at(StartStep::Policy, || format!("setting limit {} to {}", limit.name, limit.hard))?;
    }
    Ok(())
}

fn set_of(capabilities: Capabilities) -> CapabilitySet {
    CapabilitySet::from_bits_retain(capabilities.bits())
}

/// What this process could give.
fn available() -> Capabilities {
    let held = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    Capabilities::from_bits(held)
}

/// Takes the identity, capabilities and filter. Afterwards only the exec is left.
pub(super) fn become_user(
    policy: &ProcessPolicy,
    user: &Identity,
    seccomp: Option<BorrowedFd<'_>>,
    report: &Reporter,
) -> Outcome {
    let step = StartStep::Policy;
    let filter = seccomp.map(read_all).transpose().at(step, || "reading the system call filter")?;
    let granted = policy.capabilities.intersection(available());
    let missing = policy.capabilities.difference(granted);
    // Privileged containers ask for everything; what the machine lacks is only told when it was asked for by name.
    if !missing.is_empty() && policy.capabilities != Capabilities::ALL {
        let names: Vec<_> = missing.iter().map(|c| c.name()).collect();
        report.warn(&format!("capabilities not granted, this machine lacks them: {}", names.join(", ")));
    }
    for capability in available().difference(granted).iter() {
        let one = CapabilitySet::from_bits_retain(1 << capability.number());
        rustix::thread::remove_capability_from_bounding_set(one)
            .at(step, || format!("dropping capability {capability}"))?;
    }
    if let (Some(filter), false) = (&filter, policy.no_new_privileges) {
        // Without no_new_privs only CAP_SYS_ADMIN may install a filter, and that is about to go.
        sys::install_seccomp(filter).at(step, || "installing the system call filter")?;
    }
    sys::set_groups(&user.groups).at(StartStep::User, || format!("setting groups {:?}", user.groups))?;
    rustix::thread::set_keep_capabilities(true).at(step, || "keeping capabilities")?;
    sys::set_ids(user.uid, user.gid)
        .at(StartStep::User, || format!("becoming user {} group {}", user.uid, user.gid))?;
    rustix::thread::set_keep_capabilities(false).at(step, || "keeping capabilities")?;
    let ambient = policy.ambient.intersection(granted);
    let sets = CapabilitySets { effective: set_of(granted), permitted: set_of(granted), inheritable: set_of(ambient) };
    rustix::thread::set_capabilities(None, sets).at(step, || "setting capabilities")?;
    for capability in ambient.iter() {
        let one = CapabilitySet::from_bits_retain(1 << capability.number());
        rustix::thread::configure_capability_in_ambient_set(one, true)
            .at(step, || format!("raising ambient capability {capability}"))?;
    }
    if policy.no_new_privileges {
        sys::no_new_privileges().at(step, || "setting no_new_privs")?;
        if let Some(filter) = &filter {
            sys::install_seccomp(filter).at(step, || "installing the system call filter")?;
        }
    }
    Ok(())
}

/// Leaves process 1 of a container with an init nothing but the right to signal.
pub(super) fn keep_only_kill() {
    let kill = CapabilitySet::KILL;
    let sets = CapabilitySets { effective: kill, permitted: kill, inheritable: CapabilitySet::empty() };
    let _ = rustix::thread::set_capabilities(None, sets);
}

/// The descriptor is shared with every other start: reading at positions leaves its offset alone.
fn read_all(fd: BorrowedFd<'_>) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; rustix::fs::fstat(fd)?.st_size as usize];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pread(fd, &mut bytes[done..], done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Names the profile for the coming exec.
pub(super) fn confine(profile: Option<(File, String)>) -> Outcome {
    if let Some((mut file, name)) = profile {
        file.write_all(format!("exec {name}").as_bytes())
            .at(StartStep::Policy, || format!("entering AppArmor profile {name}"))?;
    }
    Ok(())
}

/// Gives the standard streams to the user, so that `/dev/stdout` can be opened.
pub(super) fn own_streams(user: &Identity) {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        // Not the host's /dev/null.
        let facts = rustix::fs::fstat(stream);
        let is_null = facts.is_ok_and(|f| f.st_rdev == rustix::fs::makedev(1, 3));
        if !is_null {
            sys::fchown_quietly(stream.as_fd(), user.uid);
        }
    }
}
