//! The checks, each of which reads and changes nothing.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use super::Finding;
use crate::cli::Place;

/// Every finding, in the order in which a person would mend them.
pub(super) async fn all(place: &Place) -> Vec<Finding> {
    let mut findings = vec![
        root(),
        kernel(),
        overlay(place),
        nft(),
        tar(),
        cgroups(),
        capabilities(),
        forwarding(),
        folder(place),
        space(place),
        certificates(),
    ];
    match crate::cluster::Membership::load(place) {
        Ok(Some(membership)) => findings.push(worker(place, &membership)),
        _ => findings.extend([server(place), port(place)]),
    }
    findings.push(group());
    findings.extend(super::network::findings(place).await);
    findings
}

fn root() -> Finding {
    match rustix::process::geteuid().is_root() {
        true => Finding::ok("user", "root"),
        false => Finding::warning("user", "not root: some checks see less", "run `sudo naru doctor` for all of them"),
    }
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).filter_map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 10) {
        Finding::ok("kernel", release)
    } else {
        Finding::error(
            "kernel",
            format!("{release} is too old"),
            "Linux 5.10 or newer is needed: upgrade the distribution",
        )
    }
}

fn overlay(place: &Place) -> Finding {
    let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |name: &str| systems.lines().any(|line| line.ends_with(name));
    if !has("overlay") && !module("overlay") {
        return Finding::error("overlayfs", "the kernel has none", "load it: `modprobe overlay`");
    }
    let folder = place.state_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statfs(folder) {
        // An overlay cannot lie on an overlay or on a network file system.
        Ok(stat) if matches!(stat.f_type as u64, 0x794c_7630 | 0x6969) => Finding::error(
            "overlayfs",
            format!("{} is on a file system that cannot hold containers", folder.display()),
            "put the state elsewhere with --state-dir or NARU_STATE_DIR",
        ),
        _ => Finding::ok("overlayfs", "there"),
    }
}

fn nft() -> Finding {
    let output = Command::new("nft").args(["list", "tables"]).stdin(Stdio::null()).output();
    match output {
        Err(_) => Finding::error("nftables", "the program nft is not there", "install it: `apt-get install nftables`"),
        Ok(output) if !output.status.success() && rustix::process::geteuid().is_root() => Finding::error(
            "nftables",
            format!("nft does not work: {}", String::from_utf8_lossy(&output.stderr).trim()),
            "load the kernel's part: `modprobe nf_tables`",
        ),
        Ok(_) => Finding::ok("nftables", "there"),
    }
}

fn tar() -> Finding {
    match Command::new("tar").arg("--version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Finding::ok("tar", "there"),
        _ => {
            Finding::warning("tar", "the program is not there: `naru cp` needs it", "install it: `apt-get install tar`")
        }
    }
}

/// Registries are asked over TLS, which needs somebody to trust.
fn certificates() -> Finding {
    const CHECK: &str = "CA certificates";
    const BUNDLES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    match named.into_iter().chain(BUNDLES.map(Into::into)).any(|path| path.exists()) {
        true => Finding::ok(CHECK, "there"),
        false => Finding::warning(
            CHECK,
            "none: images cannot be pulled from registries",
            "install them: `apt-get install ca-certificates`",
        ),
    }
}

/// Whether what must survive can be written.
fn folder(place: &Place) -> Finding {
    const CHECK: &str = "state folder";
    let folder = place.state_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let shown = place.state_dir.display();
    let read_only =
        rustix::fs::statvfs(folder).is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    if read_only {
        return Finding::error(
            CHECK,
            format!("{shown} is on a read-only file system"),
            "mount it writable (`mount -o remount,rw …`), or name another folder with NARU_STATE_DIR",
        );
    }
    if !folder.is_dir() {
        return Finding::error(CHECK, format!("{} is no folder", folder.display()), "name another with NARU_STATE_DIR");
    }
    Finding::ok(CHECK, shown.to_string())
}

fn cgroups() -> Finding {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !controllers.is_empty() {
        let missing: Vec<&str> = ["cpu", "memory", "pids"]
            .into_iter()
            .filter(|name| !controllers.split(' ').any(|c| c.trim() == *name))
            .collect();
        return match missing.is_empty() {
            true => Finding::ok("control groups", "version 2"),
            false => Finding::warning(
                "control groups",
                format!("version 2 without {}", missing.join(", ")),
                "limits of these are not enforced: add cgroup_enable=memory to the kernel's command line and restart",
            ),
        };
    }
    let mounted = |name: &str| Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs").exists();
    let missing: Vec<&str> = ["cpu", "memory", "pids", "freezer"].into_iter().filter(|name| !mounted(name)).collect();
    match missing.len() {
        0 => Finding::ok("control groups", "version 1"),
        4 => Finding::error("control groups", "none are mounted", "mount them: `mount -t cgroup2 none /sys/fs/cgroup`"),
        _ => Finding::warning(
            "control groups",
            format!("version 1 without {}", missing.join(", ")),
            "limits of these are not enforced: mount them below /sys/fs/cgroup (the package cgroupfs-mount does)",
        ),
    }
}

fn capabilities() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok()).unwrap_or(0);
    let needed = [(12, "NET_ADMIN"), (21, "SYS_ADMIN"), (5, "KILL"), (7, "SETUID"), (27, "MKNOD")];
    let missing: Vec<&str> = needed.iter().filter(|(bit, _)| bits >> bit & 1 == 0).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        let text = format!("without {}", missing.join(", "));
        return Finding::error("capabilities", text, "run as root, outside of a container");
    }
    match bits >> 24 & 1 {
        1 => Finding::ok("capabilities", "all that are needed"),
        _ => Finding::warning(
            "capabilities",
            "without SYS_RESOURCE: raising a limit or protecting from the memory killer is refused by the kernel",
            "pods that ask for it start with a warning event instead; outside of a container root has it",
        ),
    }
}

fn forwarding() -> Finding {
    match fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default().trim() {
        "1" => Finding::ok("forwarding", "on"),
        _ => Finding::ok("forwarding", "off; the server turns it on, and guards the interfaces that were there before"),
    }
}

fn space(place: &Place) -> Finding {
    let folder = place.state_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(stat) = rustix::fs::statvfs(folder) else {
        return Finding::warning(
            "disk",
            format!("cannot look at {}", folder.display()),
            "name a folder that can be read with NARU_STATE_DIR, or run as root",
        );
    };
    let free = stat.f_bavail * stat.f_frsize;
    let text = format!("{} free at {}", crate::output::size(free), folder.display());
    match free {
        0..500_000_000 => Finding::error("disk", text, "`naru image prune -a` removes images that nothing uses"),
        500_000_000..5_000_000_000 => {
            Finding::warning("disk", text, "`naru image prune -a` removes images that nothing uses")
        }
        _ => Finding::ok("disk", text),
    }
}

fn server(place: &Place) -> Finding {
    match crate::connect::connect(place) {
        Ok(_) => Finding::ok("server", format!("answers at {}", place.socket().display())),
        Err(error) if place.socket().exists() => Finding::warning(
            "server",
            format!("{error:#}"),
            "`naru up` starts one; as another user than root, be a member of the group naru",
        ),
        Err(_) => Finding::warning(
            "server",
            format!("none runs: nothing answers at {}", place.socket().display()),
            "`naru up` in a project's folder starts one; `sudo naru install` starts it with the machine",
        ),
    }
}

fn worker(place: &Place, membership: &crate::cluster::Membership) -> Finding {
    let cluster = &membership.cluster;
    let whose = format!("node {} of the cluster at {}", cluster.node_name, cluster.addresses().join(" "));
    match crate::cluster::worker_process(place) {
        Some(pid) => Finding::ok("worker", format!("{whose}, process {pid}; `naru status` says more")),
        None => Finding::error(
            "worker",
            format!("{whose}: it does not run"),
            "`sudo naru agent`, or `sudo naru install` once to have it with the machine",
        ),
    }
}

fn port(place: &Place) -> Finding {
    if crate::connect::connect(place).is_ok() {
        return Finding::ok("port 6443", "the server's");
    }
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, 6443)) {
        Ok(_) => Finding::ok("port 6443", "free"),
        Err(_) => Finding::error(
            "port 6443",
            "another program listens there",
            "end it (`ss -ltnp 'sport = :6443'` says which), or run `naru server --listen 0.0.0.0:7443`",
        ),
    }
}

fn group() -> Finding {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    match groups.lines().any(|line| line.starts_with("naru:")) {
        true => Finding::ok("group naru", "there"),
        false => Finding::ok("group naru", "none: only root may use Naru; `sudo naru install` makes it"),
    }
}

/// Whether a module is there to be loaded.
pub(super) fn module(name: &str) -> bool {
    let status = Command::new("modinfo").arg(name).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[tokio::test]
    async fn whatever_is_wrong_says_how_to_mend_it() {
        for state_dir in ["/nowhere/naru", "/proc/version", "/sys/fs"] {
            let place = Place { state_dir: state_dir.into(), run_dir: "/nowhere/run".into() };
            for finding in all(&place).await {
                assert!(finding.level == Level::Ok || !finding.mend.is_empty(), "{state_dir}: {finding:?}");
            }
        }
    }

    #[test]
    fn a_file_is_no_state_folder() {
        let place = Place { state_dir: "/etc/hostname".into(), run_dir: "/nowhere".into() };
        assert_eq!(folder(&place).level, Level::Error);
    }
}
