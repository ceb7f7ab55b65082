//! Processes: making, joining, limiting, ending.

use std::{
    ffi::CString,
    fs::File,
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use super::{c_string, check};

/// linux/sched.h; libc gives it a type that is too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What to clone with.
#[derive(Debug, Default)]
pub(crate) struct Clone3<'a> {
    /// `CLONE_NEW*` and kin; `CLONE_PIDFD` is always added.
    pub(crate) flags: u64,
    /// Start inside this cgroup (v2).
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

/// Which side of a clone this is.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The child's id as this process counts.
        pid: i32,
        /// And its handle, which cannot come to mean another process.
        pidfd: OwnedFd,
    },
}

/// clone3(2) without sharing memory. **Only in a process with one thread**: then the child is an ordinary program state in
/// which everything may be called. The supervisor and the helpers it forks are the only callers.
pub(crate) fn clone3(wanted: &Clone3<'_>) -> io::Result<Forked> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain data for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = wanted.flags | libc::CLONE_PIDFD as u64;
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = wanted.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM, so that the child runs on a copy of this stack and heap; one thread only, so that no lock can be
    // held by a thread that the child lacks.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &args, mem::size_of_val(&args)) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel stored a new descriptor there because of CLONE_PIDFD.
    Ok(Forked::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Ends this process without running destructors or flushing buffers that it shares with its parent.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: always sound.
    unsafe { libc::_exit(code) }
}

/// execve(2): returns only on failure.
pub(crate) fn execute(program: &[u8], args: &[CString], env: &[CString]) -> io::Error {
    let program = match c_string(program) {
        Ok(program) => program,
        Err(error) => return error,
    };
    let list = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(ptr::null())).collect()
    };
    let (args, env) = (list(args), list(env));
    // SAFETY: both lists end with a null pointer, and the strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Collects one ended child: its id and wait status. `None` when none has ended.
pub(crate) fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::__WALL) };
    (pid > 0).then_some((pid, status))
}

/// Waits for one child's end and collects it.
pub(crate) fn wait_for(child: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        // SAFETY: siginfo_t is plain data; the call fills it or leaves it.
        let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
        // SAFETY: a valid descriptor and a structure that outlives the call.
        let waited = unsafe { libc::waitid(libc::P_PIDFD, child.as_raw_fd() as u32, &mut info, libc::WEXITED) };
        match check(waited) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// unshare(2).
pub(crate) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: one thread; nothing in memory refers to what is unshared.
    check(unsafe { libc::unshare(flags) })?;
    Ok(())
}

/// setns(2) with a process handle: several namespaces at once (5.8).
pub(crate) fn join_by_pidfd(pidfd: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    // SAFETY: a valid descriptor; one thread.
    check(unsafe { libc::setns(pidfd.as_raw_fd(), flags) })?;
    Ok(())
}

/// setns(2) with a namespace file.
pub(crate) fn join_by_file(namespace: BorrowedFd<'_>, flag: i32) -> io::Result<()> {
    // SAFETY: a valid descriptor; one thread.
    check(unsafe { libc::setns(namespace.as_raw_fd(), flag) })?;
    Ok(())
}

/// pidfd_open(2).
pub(crate) fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers and gives a new descriptor.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Any signal number, real-time ones too.
pub(crate) fn signal_by_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: integers and a null siginfo, which the call allows.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, ptr::null::<libc::siginfo_t>(), 0)
    })?;
    Ok(())
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) {
    // SAFETY: callers own no descriptor objects above `first` that they use afterwards.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Closes every descriptor from 3 on but one, which becomes number 3. Only for processes that never return: whatever else
/// owned a descriptor must not be dropped afterwards.
pub(crate) fn keep_only(kept: OwnedFd) -> OwnedFd {
    let raw = std::os::fd::IntoRawFd::into_raw_fd(kept);
    // SAFETY: 3 is ours from here on, by the contract above; dup3 refuses equal numbers, which is what is wanted.
    unsafe {
        libc::dup3(raw, 3, libc::O_CLOEXEC);
        close_from(4);
        OwnedFd::from_raw_fd(3)
    }
}

/// Supplementary groups.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length describe the slice. The raw call, because glibc's would signal other threads.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    Ok(())
}

/// All three group and user ids.
pub(crate) fn set_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: integers only.
    unsafe {
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Gives a descriptor's file to a user; failure is of no consequence.
pub(crate) fn fchown_quietly(fd: BorrowedFd<'_>, uid: u32) {
    // SAFETY: integers only; -1 leaves the group.
    unsafe { libc::fchown(fd.as_raw_fd(), uid, u32::MAX) };
}

/// PR_SET_NO_NEW_PRIVS.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    Ok(())
}

/// Installs a filter given as the bytes of `struct sock_filter`s.
pub(crate) fn install_seccomp(program: &[u8]) -> io::Result<()> {
    // The copy has the alignment that the kernel's structure asks for.
    let instructions: Vec<libc::sock_filter> = program
        .chunks_exact(8)
        .map(|c| libc::sock_filter {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        })
        .collect();
    let program = libc::sock_fprog { len: instructions.len() as u16, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the program and its instructions outlive the call, which only reads them; the kernel verifies them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program) })?;
    Ok(())
}

/// setrlimit by number.
pub(crate) fn set_resource_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure outlives the call; 0 means this process and no old value is asked for.
    check(unsafe { libc::prlimit64(0, resource as _, &limit, ptr::null_mut()) })?;
    Ok(())
}

/// Soft and hard limit by number.
pub(crate) fn resource_limit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call; no new value is given.
    check(unsafe { libc::prlimit64(0, resource as _, ptr::null(), &mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// The name that `ps` shows for this thread, at most 15 bytes.
pub(crate) fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the string is NUL-terminated and outlives the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Keeps the heap of a small process small: one arena, memory returned early.
pub(crate) fn limit_heap() {
    // SAFETY: sets allocator parameters; called before any other thread exists.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TOP_PAD, 4 * 1024);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 * 1024);
    }
}

/// Gives unused heap back.
pub(crate) fn trim_heap() {
    // SAFETY: always sound.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

fn write_lock(kind: i32) -> libc::flock {
    // SAFETY: flock is plain data for which all zeroes is a valid value: the whole file.
    let mut lock: libc::flock = unsafe { mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock
}

/// Takes a record lock on the whole file. It is this process's alone: children do not inherit it, execve keeps it.
pub(crate) fn lock_file(file: &File) -> io::Result<()> {
    let lock = write_lock(libc::F_WRLCK);
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) })?;
    Ok(())
}

/// The process that holds [`lock_file`]'s lock, if any does.
pub(crate) fn lock_holder(file: &File) -> io::Result<Option<i32>> {
    let mut lock = write_lock(libc::F_WRLCK);
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock) })?;
    Ok((lock.l_type != libc::F_UNLCK as libc::c_short).then_some(lock.l_pid))
}

/// Brings `lo` of this process's network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: the structure is plain data, zeroed and then filled; both requests read or write only it.
    unsafe {
        let socket = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = mem::zeroed();
        request.ifr_name[0] = b'l' as _;
        request.ifr_name[1] = b'o' as _;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request))?;
    }
    Ok(())
}

/// A memory file with this content.
pub(crate) fn memfd(name: &std::ffi::CStr, content: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name outlives the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor.
    let mut file = unsafe { File::from_raw_fd(fd) };
    io::Write::write_all(&mut file, content)?;
    Ok(file.into())
}
