//! Signals as a descriptor, and putting them back for programs that are executed.

use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use super::check;

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; sigemptyset initialises it and sigaddset only changes it.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        set
    }
}

/// Blocked signals, readable as a descriptor.
#[derive(Debug)]
pub(crate) struct SignalQueue(OwnedFd);

impl SignalQueue {
    /// What a supervisor hears: its children's ends, and what a machine or a terminal sends to everyone.
    pub(crate) fn of_supervisor() -> io::Result<Self> {
        Self::new(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
    }

    /// Blocks `signals` and queues them instead.
    fn new(signals: &[i32]) -> io::Result<Self> {
        let set = set_of(signals);
        // SAFETY: both calls only read the set.
        let fd = unsafe {
            check(libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut()))?;
            check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
        };
        // SAFETY: the kernel just gave us this descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Takes every queued signal's number.
    pub(crate) fn drain(&self) -> Vec<i32> {
        let mut numbers = Vec::new();
        // SAFETY: signalfd_siginfo is plain data for which all zeroes is a valid value.
        let mut info: libc::signalfd_siginfo = unsafe { mem::zeroed() };
        // SAFETY: the view covers exactly the structure, which has no invalid bit patterns.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(
                ptr::from_mut(&mut info).cast::<u8>(),
                mem::size_of::<libc::signalfd_siginfo>(),
            )
        };
        while let Ok(read) = rustix::io::read(&self.0, &mut *bytes) {
            if read != bytes.len() {
                break;
            }
            // ssi_signo is the first field, in native order.
            numbers.push(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        numbers
    }
}

impl AsFd for SignalQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives every signal its default action and unblocks all: what a program expects at its start.
pub(crate) fn reset_signals() {
    // SAFETY: setting default actions and an empty mask cannot break memory; KILL, STOP and numbers that glibc keeps to
    // itself are refused by the kernel or glibc, which is fine.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let none = set_of(&[]);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Blocks every signal and waits for one: the loop of a process 1.
pub(crate) fn wait_for_signal() -> i32 {
    // SAFETY: the set is filled before use and outlives both calls.
    unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &all, ptr::null_mut());
        libc::sigwaitinfo(&all, ptr::null_mut())
    }
}
