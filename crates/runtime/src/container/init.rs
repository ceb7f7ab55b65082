//! Process 1 where the program itself should not be it: collects orphans, forwards signals, ends as the program ends.

use std::os::fd::AsFd;

use super::policy;
use crate::sys;

/// Stands before one program until it ends, then ends the same way.
pub(crate) fn reap_forever(program: i32, handle: &impl AsFd) -> ! {
    policy::keep_only_kill();
    loop {
        let signal = sys::wait_for_signal();
        if signal == libc::SIGCHLD {
            while let Some((pid, status)) = sys::reap() {
                if pid == program {
                    let code =
                        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
                    sys::exit_now(code);
                }
            }
        } else if signal > 0 {
            let _ = sys::signal_by_pidfd(handle.as_fd(), signal);
        }
    }
}

/// Process 1 of a pod whose containers share one process namespace: only collects orphans, until it is killed.
pub(crate) fn pause() -> ! {
    sys::close_from(3);
    sys::set_name(c"naru-pause");
    policy::keep_only_kill();
    loop {
        if sys::wait_for_signal() == libc::SIGCHLD {
            while sys::reap().is_some() {}
        }
    }
}
