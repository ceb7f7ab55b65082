//! `naru install` and `naru uninstall`: Naru with the machine, and without.

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
    if !Path::new("/run/systemd/system").exists() {
        bail!("this machine has no systemd: start `naru server` from its own init, or let `naru up` start it");
    }
    let own = std::env::current_exe().context("cannot find the program's own file")?;
    if own != options.to {
        // Written beside and renamed, so that a running `naru` is never half a program.
        let beside = options.to.with_extension("new");
        std::fs::copy(&own, &beside).with_context(|| format!("cannot write {}", beside.display()))?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&beside, &options.to).with_context(|| format!("cannot write {}", options.to.display()))?;
        println!("Program   {}", options.to.display());
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    if !groups.lines().any(|line| line.starts_with("naru:")) {
        run("groupadd", &["--system", "naru"])?;
        println!("Group     naru (its members need no sudo: `sudo usermod -aG naru $USER`)");
    }
    std::fs::write(UNIT, unit(place, options)).with_context(|| format!("cannot write {UNIT}"))?;
    run("systemctl", &["daemon-reload"])?;
    run("systemctl", &["enable", "--now", "naru.service"])?;
    println!("Unit      {UNIT}, started");
    Ok(ExitCode::SUCCESS)
}

/// The unit. Containers live on when the server ends or is upgraded: only its own process is killed
/// (`KillMode=process`), and their control groups are at the top of the tree, where systemd leaves them alone.
fn unit(place: &Place, options: &InstallOptions) -> String {
    format!(
        "[Unit]\nDescription=Naru container orchestrator\nDocumentation=https://github.com/naru-io/naru\n\
         After=network-online.target nss-lookup.target firewalld.service ufw.service docker.service\n\
         Wants=network-online.target\n\n[Service]\nType=exec\n\
         ExecStart={} --state-dir {} --run-dir {} server\nRestart=always\nRestartSec=1\nKillMode=process\n\
         OOMScoreAdjust=-999\nLimitNOFILE=1048576\nTasksMax=infinity\nRuntimeDirectory=naru\n\
         RuntimeDirectoryPreserve=yes\n\n[Install]\nWantedBy=multi-user.target\n",
        options.to.display(),
        place.state_dir.display(),
        place.run_dir.display(),
    )
}

/// `naru uninstall`.
pub(crate) async fn uninstall(place: &Place, options: &UninstallOptions) -> anyhow::Result<ExitCode> {
    must_be_root("uninstall")?;
    let what = if options.volumes {
        "all containers, images, volumes and the cluster's state"
    } else {
        "all containers; images, volumes and state stay"
    };
    if !options.yes && !confirm(&format!("This removes {what}. Are you sure?"))? {
        return Ok(ExitCode::FAILURE);
    }
    let unit = std::fs::read_to_string(UNIT).unwrap_or_default();
    // The unit may be that of another state folder.
    if unit.contains(&format!("--state-dir {} ", place.state_dir.display())) {
        run("systemctl", &["disable", "--now", "naru.service"])?;
        std::fs::remove_file(UNIT).with_context(|| format!("cannot remove {UNIT}"))?;
        run("systemctl", &["daemon-reload"])?;
    }
    stop_server(place).await?;
    crate::server::remove_everything(place).await?;
    let _ = std::fs::remove_dir_all(&place.run_dir);
    if options.volumes {
        std::fs::remove_dir_all(&place.state_dir)
            .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .with_context(|| format!("cannot remove {}", place.state_dir.display()))?;
    }
    println!("Removed. The program itself is a single file: {}", std::env::current_exe()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Ends a server that runs on its own, by the process that holds the store's lock.
async fn stop_server(place: &Place) -> anyhow::Result<()> {
    let lock = place.state_dir.join("store").join("lock");
    let Some(pid) = std::fs::read_to_string(&lock).ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
        return Ok(());
    };
    // The number may be another process' by now: only one that was started as a server is meant.
    let is_server = |pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"server")
    };
    if !is_server(pid) {
        return Ok(());
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
    Ok(())
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
