//! `naru install` and `naru uninstall`: Naru with the machine, and without.

mod words;

use std::io::{IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::cli::{InstallOptions, Place, UninstallOptions};
use crate::connect::UNIT;

/// Asks; yes only when a person says so.
///
/// # Errors
/// When nobody is there to answer.
pub(crate) fn confirm(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("{question} Nobody is there to answer: give --force or --yes if it is meant");
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// `naru install`.
pub(crate) async fn install(place: &Place, options: &InstallOptions) -> anyhow::Result<ExitCode> {
    must_be_root("install")?;
    let given = words::of(options)?;
    if !given.is_empty() && crate::cluster::Membership::exists(place) {
        bail!("this machine is a worker: the options of a server mean nothing here");
    }
    if !Path::new("/run/systemd/system").exists() {
        bail!("this machine has no systemd: start `naru server` from its own init, or let `naru up` start it");
    }
    let own = std::env::current_exe().context("cannot find the program's own file")?;
    let mut changed = false;
    if own != options.to {
        changed = !same(&own, &options.to);
        if changed {
            // Written beside and renamed, so that a running `naru` is never half a program.
            let beside = options.to.with_extension("new");
            std::fs::copy(&own, &beside).with_context(|| format!("cannot write {}", beside.display()))?;
            std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755))?;
            std::fs::rename(&beside, &options.to).with_context(|| format!("cannot write {}", options.to.display()))?;
        }
        println!("Program   {}{}", options.to.display(), if changed { "" } else { " (the same already)" });
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    if !groups.lines().any(|line| line.starts_with("naru:")) {
        run("groupadd", &["--system", "naru"])?;
        println!("Group     naru (its members need no sudo: `sudo usermod -aG naru $USER`)");
    }
    let before = std::fs::read_to_string(UNIT).unwrap_or_default();
    let text = unit(place, &options.to, &words::role(place, &given, &before));
    changed |= std::fs::read_to_string(UNIT).is_ok_and(|before| before != text);
    std::fs::write(UNIT, text).with_context(|| format!("cannot write {UNIT}"))?;
    let active = Command::new("systemctl").args(["is-active", "--quiet", "naru.service"]).status();
    let active = active.context("cannot run systemctl")?.success();
    // What was started in passing holds the state; the unit's could not have it.
    let alone = if active { None } else { end_what_runs(place).await? };
    for arguments in steps(active, changed) {
        run("systemctl", arguments)?;
    }
    crate::connect::connect_or_start(place).await.context("the unit was started, and does not answer")?;
    let word = match (active, changed, alone) {
        (true, true, _) => "restarted with the new program; containers ran on",
        (true, false, _) => "runs already, nothing changed",
        (false, _, Some(Alone::Server)) => {
            "started, in place of the server that `naru up` had started; containers ran on"
        }
        (false, _, Some(Alone::Worker)) => {
            "started, in place of the worker that `naru join` had started; containers ran on"
        }
        (false, _, None) => "started",
    };
    println!("Unit      {UNIT}, {word}");
    Ok(ExitCode::SUCCESS)
}

/// What ran without the unit.
enum Alone {
    Server,
    Worker,
}

async fn end_what_runs(place: &Place) -> anyhow::Result<Option<Alone>> {
    if stop_server(place).await?.is_some() {
        return Ok(Some(Alone::Server));
    }
    let worker = crate::cluster::worker_process(place);
    crate::cluster::stop_worker(place).await?;
    Ok(worker.map(|_| Alone::Worker))
}

/// Whether two files hold the same.
fn same(one: &Path, other: &Path) -> bool {
    let size = |path: &Path| std::fs::metadata(path).map(|meta| meta.len()).ok();
    size(one) == size(other) && std::fs::read(one).ok() == std::fs::read(other).ok()
}

/// What systemd is told. `enable --now` leaves a unit that runs as it is, with the old program.
fn steps(active: bool, changed: bool) -> Vec<&'static [&'static str]> {
    let mut steps: Vec<&'static [&'static str]> = vec![&["daemon-reload"], &["enable", "--now", "naru.service"]];
    if active && changed {
        steps.push(&["restart", "naru.service"]);
    }
    steps
}

/// The unit. Containers live on when the server ends or is upgraded: only its own process is killed
/// (`KillMode=process`), and their control groups are at the top of the tree, where systemd leaves them alone. It is
/// started again for ever (systemd's own limit is five times within ten seconds, then never again), after the clock is set
/// where something sets it, and after firewalls, whose rules ours are put into. A supervisor that falls to the memory
/// killer is no reason to end the server (`OOMPolicy=continue`).
fn unit(place: &Place, program: &Path, role: &str) -> String {
    format!(
        "[Unit]\nDescription=Naru container orchestrator\nDocumentation=https://github.com/naru-io/naru\n\
         After=network-online.target nss-lookup.target time-sync.target nftables.service firewalld.service ufw.service \
         docker.service\nWants=network-online.target\nStartLimitIntervalSec=0\n\n[Service]\nType=exec\n\
         ExecStart={} --state-dir {} --run-dir {} {}\nRestart=always\nRestartSec=1\nKillMode=process\n\
         OOMScoreAdjust=-999\nOOMPolicy=continue\nLimitNOFILE=1048576\nTasksMax=infinity\nRuntimeDirectory=naru\n\
         RuntimeDirectoryPreserve=yes\n\n[Install]\nWantedBy=multi-user.target\n",
        program.display(),
        place.state_dir.display(),
        place.run_dir.display(),
        role,
    )
}

/// Whether the unit is that of this state folder.
pub(crate) fn has_unit(place: &Place) -> bool {
    let unit = std::fs::read_to_string(UNIT).unwrap_or_default();
    unit.contains(&format!("--state-dir {} ", place.state_dir.display()))
}

/// Makes the unit start what this machine is by now: a server or a worker.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn refresh_unit(place: &Place) -> anyhow::Result<()> {
    if !has_unit(place) {
        return Ok(());
    }
    let before = std::fs::read_to_string(UNIT).with_context(|| format!("cannot read {UNIT}"))?;
    let after = words::with_role(&before, crate::cluster::Membership::exists(place));
    if after != before {
        std::fs::write(UNIT, after).with_context(|| format!("cannot write {UNIT}"))?;
        run("systemctl", &["daemon-reload"])?;
    }
    Ok(())
}

/// Stops the unit, where it is that of this state folder, and keeps it from starting with the machine.
///
/// # Errors
/// When systemd refuses.
pub(crate) fn stop_unit(place: &Place) -> anyhow::Result<()> {
    if has_unit(place) { run("systemctl", &["disable", "--now", "naru.service"]) } else { Ok(()) }
}

/// `naru uninstall`.
pub(crate) async fn uninstall(place: &Place, options: &UninstallOptions) -> anyhow::Result<ExitCode> {
    must_be_root("uninstall")?;
    let worker = crate::cluster::Membership::exists(place);
    let what = match (options.volumes, worker) {
        (true, false) => "all containers, images, volumes and the cluster's state",
        (true, true) => "all containers, images and volumes of this machine, which leaves its cluster",
        (false, _) => "all containers; images, volumes and state stay",
    };
    if !options.yes && !confirm(&format!("This removes {what}. Are you sure?"))? {
        return Ok(ExitCode::FAILURE);
    }
    // Before the certificate is gone; once the node is, its pods are replaced elsewhere.
    if worker && options.volumes {
        crate::cluster::tell_of_leaving(place).await;
    }
    // The unit may be that of another state folder.
    if has_unit(place) {
        run("systemctl", &["disable", "--now", "naru.service"])?;
        std::fs::remove_file(UNIT).with_context(|| format!("cannot remove {UNIT}"))?;
        run("systemctl", &["daemon-reload"])?;
    }
    stop_server(place).await?;
    crate::cluster::stop_worker(place).await?;
    crate::server::remove_everything(place).await?;
    let _ = std::fs::remove_dir_all(&place.run_dir);
    if options.volumes {
        remove_state(&place.state_dir)?;
    } else if worker {
        println!(
            "The cluster still counts on this machine: `naru install` brings it back, `sudo naru leave` ends that"
        );
    }
    println!("Removed. The program itself is a single file: {}", std::env::current_exe()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Removes the state folder. One that is a mount of its own (its own disk, most often) stays, emptied.
fn remove_state(folder: &Path) -> anyhow::Result<()> {
    use std::io::ErrorKind;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(&path),
            _ => std::fs::remove_file(&path),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            println!("{} is a mount of its own: it is empty now, and stays", folder.display());
            Ok(())
        }
        removed => removed.with_context(|| format!("cannot remove {}", folder.display())),
    }
}

/// Ends a server that runs on its own, by the process that holds the store's lock; gives that process.
async fn stop_server(place: &Place) -> anyhow::Result<Option<i32>> {
    let lock = place.state_dir.join("store").join("lock");
    let Some(pid) = std::fs::read_to_string(&lock).ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
        return Ok(None);
    };
    // The number may be another process' by now: only one that was started as a server is meant.
    let is_server = |pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"server")
    };
    if !is_server(pid) {
        return Ok(None);
    }
    if let Some(process) = rustix::process::Pid::from_raw(pid) {
        rustix::process::kill_process(process, rustix::process::Signal::TERM).context("cannot stop the server")?;
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    while is_server(pid) {
        if std::time::Instant::now() > deadline {
            bail!("the server (process {pid}) does not end");
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ok(Some(pid))
}

fn must_be_root(verb: &str) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        bail!("`naru {verb}` changes the machine, which needs root: run it with sudo")
    }
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program).args(arguments).status().with_context(|| format!("cannot run {program}"))?;
    if status.success() { Ok(()) } else { bail!("`{program} {}` failed ({status})", arguments.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_changed_program_restarts_a_running_server() {
        let restarts = |active, changed| steps(active, changed).iter().any(|step| step[0] == "restart");
        assert_eq!(
            [restarts(true, true), restarts(true, false), restarts(false, true), restarts(false, false)],
            [true, false, false, false]
        );
    }

    #[test]
    fn the_unit_keeps_containers_and_never_gives_up() {
        let place = Place { state_dir: "/nowhere/naru".into(), run_dir: "/nowhere/run".into() };
        let text = unit(&place, Path::new("/opt/naru"), "server");
        let section = |name: &str| {
            let rest = text.split_once(&format!("[{name}]\n")).expect("the section").1;
            rest.split("\n\n").next().expect("its lines").lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let has = |name: &str, line: &str| assert!(section(name).iter().any(|found| found == line), "{line}: {text}");
        // In another section systemd would ignore it.
        has("Unit", "StartLimitIntervalSec=0");
        has("Service", "KillMode=process");
        has("Service", "Restart=always");
        has("Service", "OOMPolicy=continue");
        has("Service", "ExecStart=/opt/naru --state-dir /nowhere/naru --run-dir /nowhere/run server");
        let after = section("Unit").into_iter().find(|line| line.starts_with("After=")).expect("an order");
        for other in ["network-online.target", "time-sync.target", "nftables.service", "ufw.service", "docker.service"]
        {
            assert!(after.contains(other), "{other}: {after}");
        }
    }

    #[test]
    fn programs_are_compared_by_what_they_hold() {
        let folder = std::env::temp_dir().join(format!("naru-same-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let [one, two] = ["one", "two"].map(|name| folder.join(name));
        std::fs::write(&one, "a").expect("write");
        assert!(!same(&one, &two), "there is none yet");
        std::fs::write(&two, "b").expect("write");
        assert!(!same(&one, &two), "of the same length, but another");
        std::fs::write(&two, "a").expect("write");
        assert!(same(&one, &two));
        remove_state(&folder).expect("removed");
        assert!(!folder.exists());
    }
}
