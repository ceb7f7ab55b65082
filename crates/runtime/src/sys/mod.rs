//! The system calls that need `unsafe`, behind safe functions. Everything above this module is ordinary safe Rust; what
//! rustix offers safely is called directly where it is needed.

#![allow(unsafe_code)]

mod bpf;
mod inherit;
mod message;
mod mount;
mod process;
mod signal;
mod terminal;

use std::io;

pub(crate) use bpf::attach_device_program;
pub(crate) use inherit::{end_after, inherit, inherited};
pub(crate) use message::{MAX_FDS, receive, send};
pub(crate) use mount::{make_read_only, mount, open_in_root, pivot_root, unmount};
pub(crate) use process::{
    Clone3, Forked, clone3, close_from, execute, exit_now, fchown_quietly, install_seccomp, join_by_file,
    join_by_pidfd, keep_only, limit_heap, lock_file, lock_holder, loopback_up, memfd, no_new_privileges, open_pidfd,
    reap, resource_limit, set_groups, set_ids, set_name, set_resource_limit, signal_by_pidfd, trim_heap, unshare,
    wait_for,
};
pub(crate) use signal::{SignalQueue, reset_signals, wait_for_signal};
pub(crate) use terminal::{TerminalPair, controlling, open_terminal, resize};

/// −1 becomes the thread's `errno`.
fn check<T: PartialEq + From<i8>>(result: T) -> io::Result<T> {
    if result == T::from(-1) { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_string(bytes: &[u8]) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
