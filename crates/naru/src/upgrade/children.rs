//! Children of the program that this process executed before: supervisors, the helper. They stay this process's children,
//! and nobody else collects them when they end.

use std::fs;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

/// Collects those that are there now, each when it ends.
pub(crate) fn collect_children() {
    // Their numbers cannot come to mean other processes: they are ours, and not collected yet.
    let open = |child: Pid| Some((child, pidfd_open(child, PidfdFlags::empty()).ok()?));
    let mut left: Vec<(Pid, OwnedFd)> = children().into_iter().filter_map(open).collect();
    if left.is_empty() {
        return;
    }
    let collector = std::thread::Builder::new().name("children".to_owned()).spawn(move || {
        while !left.is_empty() {
            let mut handles: Vec<PollFd<'_>> = left.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)).collect();
            if poll(&mut handles, None).is_err() {
                continue; // interrupted
            }
            let ended: Vec<bool> = handles.iter().map(|handle| !handle.revents().is_empty()).collect();
            let mut ended = ended.into_iter();
            left.retain(|(child, _)| {
                let over = ended.next() == Some(true);
                if over {
                    let _ = waitid(WaitId::Pid(*child), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
                }
                !over
            });
        }
    });
    if let Err(error) = collector {
        tracing::warn!(%error, "children of the program before this one are not collected");
    }
}

/// This process's children.
fn children() -> Vec<Pid> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|number| parent(*number) == Some(own)).filter_map(Pid::from_raw).collect()
}

/// Whose child a process is.
fn parent(process: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::zombie_processes)] // Nobody waits for it: that is what this is about.
    fn a_child_that_nobody_waits_for_is_collected() {
        let child = std::process::Command::new("sleep").arg("0.2").spawn().expect("a child");
        let number = child.id() as i32;
        assert!(children().iter().any(|child| child.as_raw_nonzero().get() == number));
        collect_children();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while parent(number).is_some() {
            assert!(std::time::Instant::now() < deadline, "it is still there");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
