//! The watch over a change: a process of the old program, which puts it back when the new one does not come up.
//!
//! It knows nothing but the note of the change and the daemon's process. The new program says in that note that all is
//! well; if it ends before, or the time is over, the watch acts, also when whoever asked for the change is gone.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, setsid};

use super::change::{Change, Phase};
use super::swap;
use crate::cli::Place;

/// How long whoever started the daemon has to start it again, before the watch does.
const SOMEBODY: Duration = Duration::from_secs(3);
/// The same for systemd, whose unit says when.
const SYSTEMD: Duration = Duration::from_secs(15);

/// `naru upgrade-watch`: starts the watch as nobody's child, or is it.
pub(crate) fn watch(place: &Place, detached: bool) -> anyhow::Result<ExitCode> {
    let Some(change) = Change::read(place).filter(|change| change.phase == Phase::Replacing) else {
        bail!("no change of the program is on its way here: `naru upgrade` begins one");
    };
    if !detached {
        Command::new("/proc/self/exe")
            .arg0("naru")
            .arg("--state-dir")
            .arg(&place.state_dir)
            .arg("--run-dir")
            .arg(&place.run_dir)
            .args(["upgrade-watch", "--detached"])
            .stdin(Stdio::null())
            .current_dir("/")
            .spawn()
            .context("cannot start the watch")?;
        return Ok(ExitCode::SUCCESS);
    }
    let _ = setsid();
    // Whoever ends the daemon with everything in its control group must not end what would start it again.
    naru_runtime::outlive_daemon(&crate::server::network::cgroup(place));
    let process = Pid::from_raw(change.process).context("the note names no process")?;
    let why = match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => wait(place, &change, &process),
        Err(_) => Some("the program ended at once".to_owned()),
    };
    let Some(why) = why else { return Ok(ExitCode::SUCCESS) };
    go_back(place, &change, &why)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the end of the change; says why it has to be taken back, if it has.
fn wait(place: &Place, change: &Change, process: &OwnedFd) -> Option<String> {
    loop {
        let current = Change::read(place).filter(|now| now.begun == change.begun && now.phase == Phase::Replacing)?;
        if ended(process, Duration::from_millis(100)) {
            return Some(format!("the program ended before everything was as it was (last: {})", current.why));
        }
        if Timestamp::now() > change.until {
            let seconds = change.until.duration_since(change.begun).as_secs();
            let _ = pidfd_send_signal(process, Signal::KILL);
            ended(process, Duration::from_secs(60));
            return Some(format!("not everything was as before within {seconds} s (last: {})", current.why));
        }
    }
}

/// Whether the daemon ends within a time.
fn ended(process: &OwnedFd, within: Duration) -> bool {
    let timeout = Timespec::try_from(within).ok();
    matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], timeout.as_ref()), Ok(1..))
}

/// Puts the old program back and lets it begin.
fn go_back(place: &Place, change: &Change, why: &str) -> anyhow::Result<()> {
    let mut told = Change::read(place).unwrap_or_else(|| change.clone());
    // One that was confirmed in its last moment stays; its daemon is needed all the same.
    if told.phase != Phase::Confirmed {
        swap::put_back(&change.path)?;
        told.tell(place, Phase::RolledBack, why)?;
    }
    let runs = || UnixStream::connect(place.socket()).is_ok();
    let by_systemd = std::env::var_os("INVOCATION_ID").is_some() && crate::install::has_unit(place);
    // A daemon whose parent is gone was started in passing, and by nobody again.
    let somebody = match (by_systemd, change.parent) {
        (true, _) => SYSTEMD,
        (false, ..=1) => Duration::ZERO,
        (false, _) => SOMEBODY,
    };
    let deadline = Instant::now() + somebody;
    while Instant::now() < deadline {
        if runs() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    if by_systemd {
        let status = Command::new("systemctl").args(["start", "naru.service"]).status();
        let status = status.context("cannot run systemctl")?;
        return if status.success() { Ok(()) } else { bail!("naru.service does not start ({status})") };
    }
    let mut arguments = change.arguments.iter();
    let name = arguments.next().map_or("naru", String::as_str);
    Command::new(&change.path)
        .arg0(name)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", change.path.display()))?;
    Ok(())
}
