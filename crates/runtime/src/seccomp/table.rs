//! Every system call this program knows, and the default decision about it.
//!
//! Allowed are calls that cannot leave a container's namespaces or that the kernel guards well by itself. Calls that need a
//! capability anyway are allowed together with it, so that a granted capability is of use. What is left is refused: old,
//! rarely used or historically dangerous (keyrings, io_uring, userfaultfd, new namespaces).

use std::collections::BTreeMap;

use super::rules::{Action, Clause, Compare, Rules};
use crate::pod::{Capabilities, Capability};

/// The default decision about one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Always,
    Never,
    /// With any of these capabilities.
    With(&'static [&'static str]),
    /// Only execution domains that change nothing of weight.
    Personality,
    /// Only families that cannot reach the host's hypervisor channel.
    Socket,
    /// Without new namespaces, but with SYS_ADMIN as one likes.
    Clone,
    /// Its flags lie in memory, where a filter cannot look: "not implemented" makes libraries use `clone`.
    Clone3,
}

struct Call {
    /// With the prefix `SYS_`.
    name: &'static str,
    number: u32,
    gate: Gate,
}

macro_rules! calls {
    ($($gate:expr => $($name:ident)*;)*) => {
        &[$($(Call { name: stringify!($name), number: libc::$name as u32, gate: $gate },)*)*]
    };
}

use Gate::{Always, Clone as GatedClone, Clone3, Never, Personality, Socket, With};

#[rustfmt::skip]
const COMMON: &[Call] = calls! {
    Always =>
        SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_adjtime
        SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect
        SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2
        SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64
        SYS_fallocate SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl
        SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs
        SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid
        SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid
        SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_get_robust_list SYS_getrusage
        SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr
        SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel SYS_ioctl SYS_io_destroy
        SYS_io_getevents SYS_ioprio_get SYS_ioprio_set SYS_io_setup SYS_io_submit SYS_kill
        SYS_landlock_add_rule SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat
        SYS_listen SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise SYS_membarrier
        SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall
        SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend
        SYS_mq_unlink SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall
        SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open
        SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll SYS_prctl
        SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_mrelease SYS_process_vm_readv
        SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead
        SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_removexattr
        SYS_renameat SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending
        SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait
        SYS_rt_tgsigqueueinfo SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
        SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getscheduler SYS_sched_rr_get_interval
        SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield
        SYS_seccomp SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto
        SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid
        SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_set_robust_list SYS_setsid SYS_setsockopt
        SYS_set_tid_address SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown
        SYS_sigaltstack SYS_signalfd4 SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync
        SYS_sync_file_range SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete
        SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime
        SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_utimensat
        SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev;
    With(&["SYS_ADMIN"]) =>
        SYS_fanotify_init SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_lookup_dcookie SYS_mount
        SYS_mount_setattr SYS_move_mount SYS_open_tree SYS_quotactl SYS_quotactl_fd SYS_setdomainname
        SYS_sethostname SYS_setns SYS_umount2 SYS_unshare;
    With(&["SYS_ADMIN", "BPF"]) => SYS_bpf;
    With(&["SYS_ADMIN", "PERFMON"]) => SYS_perf_event_open;
    With(&["SYS_ADMIN", "SYSLOG"]) => SYS_syslog;
    With(&["DAC_READ_SEARCH"]) => SYS_open_by_handle_at;
    With(&["SYS_BOOT"]) => SYS_reboot;
    With(&["SYS_CHROOT"]) => SYS_chroot;
    With(&["SYS_MODULE"]) => SYS_delete_module SYS_finit_module SYS_init_module;
    With(&["SYS_NICE"]) => SYS_get_mempolicy SYS_mbind SYS_set_mempolicy SYS_set_mempolicy_home_node;
    With(&["SYS_PACCT"]) => SYS_acct;
    With(&["SYS_PTRACE"]) => SYS_kcmp SYS_pidfd_getfd SYS_process_madvise;
    With(&["SYS_TIME"]) => SYS_clock_settime SYS_settimeofday;
    With(&["SYS_TTY_CONFIG"]) => SYS_vhangup;
    Personality => SYS_personality;
    Socket => SYS_socket;
    GatedClone => SYS_clone;
    Clone3 => SYS_clone3;
    Never =>
        SYS_add_key SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup SYS_kexec_load SYS_keyctl
        SYS_migrate_pages SYS_move_pages SYS_nfsservctl SYS_pivot_root SYS_request_key SYS_swapoff SYS_swapon
        SYS_userfaultfd;
};

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OWN: &[Call] = calls! {
    Always =>
        SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_ctl_old
        SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp
        SYS_get_thread_area SYS_inotify_init SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open
        SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir SYS_select SYS_set_thread_area SYS_signalfd
        SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utime SYS_utimes SYS_vfork;
    With(&["SYS_RAWIO"]) => SYS_ioperm SYS_iopl;
    Never => SYS__sysctl SYS_kexec_file_load SYS_sysfs SYS_uselib SYS_ustat;
};

#[cfg(target_arch = "aarch64")]
const OWN: &[Call] = &[];

/// Newer calls have the same number everywhere; libc does not name them all.
const NEW: &[Call] = &[
    Call { name: "SYS_io_pgetevents", number: if cfg!(target_arch = "aarch64") { 292 } else { 333 }, gate: Always },
    Call { name: "SYS_cachestat", number: 451, gate: Always },
    Call { name: "SYS_fchmodat2", number: 452, gate: Always },
    Call { name: "SYS_map_shadow_stack", number: 453, gate: Always },
    Call { name: "SYS_futex_wake", number: 454, gate: Always },
    Call { name: "SYS_futex_wait", number: 455, gate: Always },
    Call { name: "SYS_futex_requeue", number: 456, gate: Always },
    Call { name: "SYS_statmount", number: 457, gate: With(&["SYS_ADMIN"]) },
    Call { name: "SYS_listmount", number: 458, gate: With(&["SYS_ADMIN"]) },
    Call { name: "SYS_mseal", number: 462, gate: Always },
    Call { name: "SYS_setxattrat", number: 463, gate: Always },
    Call { name: "SYS_getxattrat", number: 464, gate: Always },
    Call { name: "SYS_listxattrat", number: 465, gate: Always },
    Call { name: "SYS_removexattrat", number: 466, gate: Always },
    Call { name: "SYS_open_tree_attr", number: 467, gate: With(&["SYS_ADMIN"]) },
];

fn all() -> impl Iterator<Item = &'static Call> {
    COMMON.iter().chain(OWN).chain(NEW)
}

/// Every known number.
pub(super) fn numbers() -> impl Iterator<Item = u32> {
    all().map(|call| call.number)
}

/// The number of a call by its name without prefix.
pub(super) fn number(name: &str) -> Option<u32> {
    all().find(|call| call.name.strip_prefix("SYS_") == Some(name)).map(|call| call.number)
}

/// Whether a set holds a capability of this name.
pub(super) fn holds(held: Capabilities, name: &str) -> bool {
    name.parse::<Capability>().is_ok_and(|capability| held.contains(capability))
}

/// New mount, cgroup, UTS, IPC, user, process and network namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// The default profile for a container with these capabilities.
pub(super) fn default_rules(held: Capabilities) -> Rules {
    let allow = || vec![Clause::always(Action::Allow)];
    let one = |argument, comparison| vec![Clause { when: vec![(argument, comparison)], action: Action::Allow }];
    let admin = holds(held, "SYS_ADMIN");
    let mut calls = BTreeMap::new();
    for call in all() {
        let clauses = match call.gate {
            Gate::Always => allow(),
            Gate::With(any) if any.iter().any(|name| holds(held, name)) => allow(),
            Gate::Clone | Gate::Clone3 if admin => allow(),
            Gate::Never | Gate::With(_) => continue,
            // The second argument on s390, which this program does not run on.
            Gate::Clone => one(0, Compare::Masked { mask: NEW_NAMESPACES, value: 0 }),
            Gate::Clone3 => vec![Clause::always(Action::Errno(libc::ENOSYS as u16))],
            Gate::Personality => {
                [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff].into_iter().flat_map(|v| one(0, Compare::Equal(v))).collect()
            }
            Gate::Socket => one(0, Compare::NotEqual(libc::AF_VSOCK as u64)),
        };
        calls.insert(call.number, clauses);
    }
    let refuse = Action::Errno(libc::EPERM as u16);
    Rules { calls, otherwise: refuse, unknown: Action::Errno(libc::ENOSYS as u16) }
}
